//! One line of an event stream: WHATWG HTML, 9.2.6.

use std::time::Duration;

/// A line, by what it means.
pub(super) enum Line<'l> {
    Blank,
    Comment(&'l str),
    Data(&'l str),
    Event(&'l str),
    Id(&'l str),
    Retry(&'l str),
    Unknown,
}

impl<'l> Line<'l> {
    #[inline(always)]
    pub(super) fn parse(line: &'l str) -> Self {
        if let Some(rest) = line.strip_prefix("data") {
            Self::field(Self::Data, rest)
        } else if let Some(rest) = line.strip_prefix("id") {
            Self::field(Self::Id, rest)
        } else if let Some(rest) = line.strip_prefix("event") {
            Self::field(Self::Event, rest)
        } else if let Some(rest) = line.strip_prefix("retry") {
            Self::field(Self::Retry, rest)
        } else if let Some(text) = line.strip_prefix(':') {
            Self::Comment(text)
        } else if line.is_empty() {
            Self::Blank
        } else {
            Self::Unknown
        }
    }

    /// Parses what follows a field name: nothing, or a colon, an optional space and the value.
    #[inline(always)]
    fn field(name: fn(&'l str) -> Self, rest: &'l str) -> Self {
        match rest.strip_prefix(':') {
            Some(value) => name(value.strip_prefix(' ').unwrap_or(value)),
            None if rest.is_empty() => name(rest),
            None => Self::Unknown,
        }
    }
}

/// "If the field value consists of only ASCII digits"; a longer time becomes `u64::MAX`
/// milliseconds.
pub(super) fn parse_retry(value: &str) -> Option<Duration> {
    let millis = value.bytes().try_fold(0_u64, |millis, byte| {
        byte.is_ascii_digit().then(|| {
            millis
                .saturating_mul(10)
                .saturating_add(u64::from(byte - b'0'))
        })
    })?;
    (!value.is_empty()).then(|| Duration::from_millis(millis))
}
