//! The difference between two streams, in words.

use std::{fmt, iter};

use crate::decode::Decoded;
use crate::recording::Recorded;

/// The first difference between two streams.
///
/// It is displayed as a sentence: `item 3 differs in its data: expected "hey", got "hay"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub(super) index: usize,
    pub(super) field: &'static str,
    pub(super) expected: String,
    pub(super) got: String,
}

impl Difference {
    /// Returns the number of events, reconnection times and comments that are the same.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Returns the name of the field that differs.
    ///
    /// It is `kind`, `type`, `data`, `last event ID`, `reconnection time`, `time`, or `text`
    /// (of a comment).
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// Describes the expected value.
    ///
    /// Long text is cut to the part around the difference.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Describes the actual value.
    ///
    /// Long text is cut as in [`expected`](Self::expected).
    #[must_use]
    pub fn got(&self) -> &str {
        &self.got
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index,
            field,
            expected,
            got,
        } = self;
        write!(
            f,
            "item {index} differs in its {field}: expected {expected}, got {got}"
        )
    }
}

/// Describes an item in words.
pub(super) fn describe(item: Option<&Recorded<'_>>) -> String {
    match item.map(Recorded::decoded) {
        None => "the end".to_owned(),
        Some(Decoded::Event(event)) => format!(
            "an event of type {:?} with the data {}",
            event.event(),
            excerpt(event.data(), 0)
        ),
        Some(Decoded::Retry(retry)) => format!("a reconnection time of {retry:?}"),
        Some(Decoded::Comment(text)) => format!("a comment {}", excerpt(text, 0)),
    }
}

/// Returns the parts of two texts around their first difference.
pub(super) fn excerpts(expected: &str, got: &str) -> Option<(String, String)> {
    if expected == got {
        return None;
    }
    let same = iter::zip(expected.chars(), got.chars()).take_while(|(one, other)| one == other);
    let begin = same.count().saturating_sub(MAX_SHOWN / 4);
    Some((excerpt(expected, begin), excerpt(got, begin)))
}

/// Returns the text, or the part from the character at `begin` on if it is long.
fn excerpt(text: &str, begin: usize) -> String {
    if text.chars().nth(MAX_SHOWN).is_none() && begin < MAX_SHOWN {
        return format!("{text:?}");
    }
    let part: String = text.chars().skip(begin).take(MAX_SHOWN).collect();
    let before = if begin > 0 { "…" } else { "" };
    let has_more = text.chars().nth(begin + MAX_SHOWN).is_some();
    let after = if has_more { "…" } else { "" };
    format!("{before}{part:?}{after}")
}

/// The characters of a text that are shown.
const MAX_SHOWN: usize = 80;
