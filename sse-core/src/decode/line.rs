//! One line of an event stream: WHATWG HTML, 9.2.6.

use std::time::Duration;

/// A line, by what it means.
pub(super) enum Line<'l> {
    Blank,
    Comment(&'l [u8]),
    Data(&'l [u8]),
    Event(&'l [u8]),
    Id(&'l [u8]),
    Retry(&'l [u8]),
    Unknown,
}

impl<'l> Line<'l> {
    #[inline(always)]
    pub(super) fn parse(line: &'l [u8]) -> Self {
        match line {
            [b'd', b'a', b't', b'a', rest @ ..] => Self::field(Self::Data, rest),
            [b'i', b'd', rest @ ..] => Self::field(Self::Id, rest),
            [b'e', b'v', b'e', b'n', b't', rest @ ..] => Self::field(Self::Event, rest),
            [b'r', b'e', b't', b'r', b'y', rest @ ..] => Self::field(Self::Retry, rest),
            [b':', text @ ..] => Self::Comment(text),
            [] => Self::Blank,
            _ => Self::Unknown,
        }
    }

    /// Parses what follows a field name: nothing, or a colon, an optional space and the value.
    #[inline(always)]
    fn field(name: fn(&'l [u8]) -> Self, rest: &'l [u8]) -> Self {
        match rest {
            [b':', b' ', value @ ..] | [b':', value @ ..] => name(value),
            [] => name(rest),
            _ => Self::Unknown,
        }
    }
}

/// "If the field value consists of only ASCII digits"; a longer time becomes `u64::MAX`
/// milliseconds.
pub(super) fn parse_retry(value: &[u8]) -> Option<Duration> {
    let millis = value.iter().try_fold(0_u64, |millis, byte| {
        byte.is_ascii_digit().then(|| {
            millis
                .saturating_mul(10)
                .saturating_add(u64::from(byte - b'0'))
        })
    })?;
    (!value.is_empty()).then(|| Duration::from_millis(millis))
}
