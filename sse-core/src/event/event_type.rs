//! The event type.

use std::borrow::Cow;

use super::error::{Field, FieldError};
use super::text::impl_text;

/// An event type: one line of text that selects the client's listeners.
///
/// The text is checked once, at construction. Without a type, or with the empty one, an event
/// is a `message`.
///
/// ```
/// use sse_core::EventType;
///
/// const TICK: EventType = EventType::from_static("tick");
/// let error = EventType::new("tick\rid: 7").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "the event type has a carriage return at byte 4; remove it or send the text as data",
/// );
/// # let _ = TICK;
/// ```
#[derive(Clone)]
pub struct EventType<'a>(Cow<'a, str>);

impl<'a> EventType<'a> {
    /// Checks `text` and makes it a type.
    ///
    /// # Errors
    ///
    /// A carriage return or a line feed.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, FieldError> {
        let text = text.into();
        match memchr::memchr2(b'\r', b'\n', text.as_bytes()) {
            Some(offset) => Err(FieldError::character(Field::EventType, &text, offset)),
            None => Ok(Self::trusted(text)),
        }
    }

    /// Returns the same type with its own copy of the text.
    #[must_use]
    pub fn into_owned(self) -> EventType<'static> {
        EventType(Cow::Owned(self.0.into_owned()))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Makes a type of text that is known to have no line break.
    pub(crate) const fn trusted(text: Cow<'a, str>) -> Self {
        Self(text)
    }
}

impl EventType<'static> {
    /// Makes a constant type, checked at compile time in a `const`.
    ///
    /// # Panics
    ///
    /// On text that [`EventType::new`] rejects; in a `const` that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(!has_line_break(text), "an event type is one line of text");
        Self::trusted(Cow::Borrowed(text))
    }
}

impl_text!(EventType);

const fn has_line_break(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if matches!(bytes[at], b'\r' | b'\n') {
            return true;
        }
        at += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: EventType = EventType::from_static("tick");

    #[test]
    fn any_single_line_of_text_is_a_type() {
        for text in [
            "",
            " ",
            "a b",
            ":",
            "\u{feff}",
            "\0",
            "\u{2028}\u{85}\x0b\x0c",
            "日本",
        ] {
            assert_eq!(EventType::new(text).unwrap(), text);
        }
        assert_eq!(TICK.as_str(), "tick");
    }

    #[test]
    #[should_panic(expected = "an event type is one line of text")]
    fn a_constant_is_checked() {
        let _ = EventType::from_static("a\r");
    }

    #[test]
    fn a_type_is_small() {
        assert!(size_of::<EventType>() <= 24);
    }
}
