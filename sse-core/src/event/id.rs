//! The event ID.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::{Fault, Field, FieldError};
use super::text::impl_text;

/// An event ID, which a client returns in `Last-Event-ID` when it reconnects.
///
/// The text is checked once, at construction. It must survive a request header: no control
/// character ([RFC 9110, 5.5]), no space or tab at either end, where headers are trimmed, and
/// at most [`MAX_LEN`](Self::MAX_LEN) bytes. Integers convert without an allocation. The empty
/// ID is legal and resets the client's last event ID ([WHATWG HTML, 9.2.6]).
///
/// Prefer visible ASCII: some clients cannot write other characters into a header.
///
/// ```
/// use sse_core::EventId;
///
/// const FIRST: EventId = EventId::from_static("first");
/// assert_eq!(EventId::from(54).as_str(), "54");
/// assert_eq!(EventId::new("1716-0")?.as_str(), "1716-0");
/// assert!(EventId::new("1\ndata: forged").is_err());
/// # let _ = FIRST;
/// # Ok::<(), sse_core::FieldError>(())
/// ```
///
/// [RFC 9110, 5.5]: https://www.rfc-editor.org/rfc/rfc9110#section-5.5
/// [WHATWG HTML, 9.2.6]: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
#[derive(Clone)]
pub struct EventId<'a>(Repr<'a>);

impl<'a> EventId<'a> {
    /// The maximum length: 1,024 bytes.
    ///
    /// Servers and proxies limit a request head to 8 KiB or more, so an ID of this length fits.
    pub const MAX_LEN: usize = 1024;

    /// Checks `text` and makes it an ID.
    ///
    /// # Errors
    ///
    /// A control character, a space or a tab at either end, or more than
    /// [`MAX_LEN`](Self::MAX_LEN) bytes.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, FieldError> {
        let text = text.into();
        match id_fault(text.as_bytes()) {
            None => Ok(Self::trusted(text)),
            Some(IdFault::Control(offset)) => {
                Err(FieldError::character(Field::EventId, &text, offset))
            }
            Some(IdFault::OuterBlank) => Err(FieldError::new(Field::EventId, Fault::OuterBlank)),
            Some(IdFault::TooLong) => {
                let limit = Self::MAX_LEN;
                Err(FieldError::new(Field::EventId, Fault::TooLong { limit }))
            }
        }
    }

    /// Checks an ID that another program sent, such as one of a recording.
    ///
    /// Returns `None` where [`new`](Self::new) fails, and counts that in
    /// [`dropped`](Self::dropped): the event is forwarded without an ID.
    pub fn foreign(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let id = Self::new(text).ok();
        if id.is_none() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        id
    }

    /// Returns the same ID with its own copy of the text.
    #[must_use]
    pub fn into_owned(self) -> EventId<'static> {
        EventId(match self.0 {
            Repr::Text(text) => Repr::Text(Cow::Owned(text.into_owned())),
            Repr::Integer(digits) => Repr::Integer(digits),
        })
    }

    /// Returns the text, by value.
    #[cfg(feature = "client")]
    pub(crate) fn into_text(self) -> Cow<'a, str> {
        match self.0 {
            Repr::Text(text) => text,
            Repr::Integer(digits) => digits.as_str().to_owned().into(),
        }
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Text(text) => text,
            Repr::Integer(digits) => digits.as_str(),
        }
    }

    /// Makes an ID of text that is known to have no control character.
    pub(crate) const fn trusted(text: Cow<'a, str>) -> Self {
        Self(Repr::Text(text))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Text(text) => text.as_bytes(),
            Repr::Integer(digits) => digits.as_bytes(),
        }
    }
}

impl EventId<'static> {
    /// Returns how many [foreign](Self::foreign) IDs this process has dropped.
    #[must_use]
    pub fn dropped() -> u64 {
        DROPPED.load(Ordering::Relaxed)
    }

    /// Makes a constant ID, checked at compile time in a `const`.
    ///
    /// # Panics
    ///
    /// On text that [`EventId::new`] rejects; in a `const` that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(
            id_fault(text.as_bytes()).is_none(),
            "an event ID has no control character, no blank at either end, and at most 1024 bytes"
        );
        Self::trusted(Cow::Borrowed(text))
    }
}

impl_text!(EventId);

macro_rules! impl_from_integer {
    ($($integer:ty)*) => {$(
        impl From<$integer> for EventId<'_> {
            fn from(integer: $integer) -> Self {
                Self(Repr::Integer(Digits::new(integer)))
            }
        }
    )*};
}

impl_from_integer!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

#[derive(Clone)]
enum Repr<'a> {
    Text(Cow<'a, str>),
    Integer(Digits),
}

/// The digits and the sign of a 64-bit integer.
#[derive(Clone, Copy)]
struct Digits {
    bytes: [u8; 20],
    len: u8,
}

impl Digits {
    fn new(integer: impl itoa::Integer) -> Self {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(integer).as_bytes();
        let mut bytes = [0; 20];
        bytes[..text.len()].copy_from_slice(text);
        #[expect(clippy::cast_possible_truncation, reason = "20 bytes at most")]
        let len = text.len() as u8;
        Self { bytes, len }
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// The number of foreign IDs that were dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Why a text is not an event ID.
enum IdFault {
    /// A control character at this offset.
    Control(usize),
    OuterBlank,
    TooLong,
}

/// Checks whether a request header can carry `text` unchanged.
///
/// Only ASCII's control characters matter. Those from U+0080 to U+009F are two bytes of UTF-8
/// in a header, both of them `obs-text` (RFC 9110, 5.5), and are returned unchanged.
const fn id_fault(text: &[u8]) -> Option<IdFault> {
    match text {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => return Some(IdFault::OuterBlank),
        _ if text.len() > EventId::MAX_LEN => return Some(IdFault::TooLong),
        _ => {}
    }
    let mut at = 0;
    while at < text.len() {
        if text[at].is_ascii_control() {
            return Some(IdFault::Control(at));
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::event::EventType;

    #[test]
    fn an_error_names_the_field_the_character_and_the_offset() {
        let id = |text| EventId::new(text).map(|_| ()).unwrap_err().to_string();
        let event_type = |text| EventType::new(text).map(|_| ()).unwrap_err().to_string();
        for (got, expected) in [
            (id("a\nb"), "the event ID has a line feed at byte 1"),
            (id("\r"), "the event ID has a carriage return at byte 0"),
            (id("é\0"), "the event ID has a NUL at byte 2"),
            (id("1\r\n"), "the event ID has a carriage return at byte 1"),
            (
                event_type("tick\n"),
                "the event type has a line feed at byte 4",
            ),
            (
                event_type("a\rb\n"),
                "the event type has a carriage return at byte 1",
            ),
        ] {
            assert_eq!(
                got,
                format!("{expected}; remove it or send the text as data")
            );
        }
        let error = EventId::new("a\nb").unwrap_err();
        assert_eq!(error.field(), Field::EventId);
        assert_eq!(
            error.fault(),
            Fault::Character {
                character: '\n',
                offset: 1
            }
        );
    }

    /// RFC 9110, 5.5: a field value has no control character, and no space or tab at either end.
    #[test]
    fn an_id_is_any_text_that_a_request_header_can_carry() {
        let longest = "x".repeat(EventId::MAX_LEN);
        let too_long = "x".repeat(EventId::MAX_LEN + 1);
        for text in [
            "",
            "a b",
            "a:b",
            "\u{feff}",
            "\u{2028}\u{85}\u{a0}",
            "日本",
            &longest,
        ] {
            assert_eq!(EventId::new(text).unwrap(), text);
            assert_eq!(EventId::foreign(text).unwrap(), text);
        }
        let send_as_data = "remove it or send the text as data";
        let blank = "starts or ends with a space or a tab, which request headers lose; remove it";
        for (text, sentence) in [
            (
                "a\u{1}b",
                &*format!("has '\\u{{1}}' at byte 1; {send_as_data}"),
            ),
            (
                "\u{1b}[0m",
                &format!("has '\\u{{1b}}' at byte 0; {send_as_data}"),
            ),
            (
                "7\x7f",
                &format!("has '\\u{{7f}}' at byte 1; {send_as_data}"),
            ),
            ("a\tb", &format!("has '\\t' at byte 1; {send_as_data}")),
            ("\x0b", &format!("has '\\u{{b}}' at byte 0; {send_as_data}")),
            (" ", blank),
            (" 7", blank),
            ("7 ", blank),
            ("\t7", blank),
            ("7\t", blank),
            (&too_long, "has more than 1024 bytes; shorten it"),
        ] {
            let error = EventId::new(text).unwrap_err();
            assert_eq!(error.to_string(), format!("the event ID {sentence}"));
            let dropped = EventId::dropped();
            assert!(EventId::foreign(text).is_none() && EventId::dropped() > dropped);
        }
    }

    #[test]
    fn integers_convert_to_ids() {
        for (id, text) in [
            (EventId::from(0), "0"),
            (EventId::from(u64::MAX), "18446744073709551615"),
            (EventId::from(i64::MIN), "-9223372036854775808"),
        ] {
            assert_eq!(id.as_str(), text);
            assert_eq!(id, EventId::new(text).unwrap());
            assert_eq!(id.into_owned().to_string(), text);
        }
    }

    #[test]
    fn equal_ids_are_found_in_a_hash_set() {
        let ids = HashSet::from([EventId::from(7), EventId::from_static("b")]);
        assert!(ids.contains(&EventId::new("7").unwrap()));
        assert!(ids.contains(&EventId::new(String::from("b")).unwrap()));
        assert!(!ids.contains(&EventId::from(8)));
    }

    #[test]
    #[should_panic(expected = "an event ID has no control character")]
    fn a_constant_is_checked() {
        let _ = EventId::from_static("\0");
    }

    #[test]
    fn an_id_is_small() {
        assert!(size_of::<EventId>() <= 32);
    }
}
