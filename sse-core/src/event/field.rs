//! Event IDs and event types: text that has been judged once.

use std::borrow::Cow;
use std::convert::Infallible;
use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fmt, io};

/// An event ID: text that a client can send back in `Last-Event-ID` when it reconnects.
///
/// Judged at construction, so nothing that takes one checks it again. An ID that a request
/// header cannot carry would never come back as it was sent: it has no control character
/// ([RFC 9110, 5.5]), no blank at either end, where headers are trimmed, and at most
/// [`MAX_LEN`](Self::MAX_LEN) bytes. Integers make IDs without allocating. The empty ID is
/// legal and resets the client's last event ID ([WHATWG HTML, 9.2.6]).
///
/// Visible ASCII is safest: some clients cannot write other characters into a header.
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
    /// The length of the longest ID: 1,024 bytes, so that a reconnecting client's request head
    /// stays far below the limits of servers and proxies, 8 KiB being the least of the usual
    /// ones.
    pub const MAX_LEN: usize = 1024;

    /// Judges `text`.
    ///
    /// # Errors
    ///
    /// A control character, a blank at either end, or more than [`MAX_LEN`](Self::MAX_LEN)
    /// bytes.
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

    /// Judges an ID that another program has sent, such as one of a recording. One that
    /// [`new`](Self::new) refuses is counted in [`dropped`](Self::dropped): its event is sent
    /// on without an ID.
    pub fn foreign(text: impl Into<Cow<'a, str>>) -> Option<Self> {
        let id = Self::new(text).ok();
        if id.is_none() {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        }
        id
    }

    /// The same text, owned.
    #[must_use]
    pub fn into_owned(self) -> EventId<'static> {
        EventId(match self.0 {
            Repr::Text(text) => Repr::Text(Cow::Owned(text.into_owned())),
            Repr::Integer(digits) => Repr::Integer(digits),
        })
    }

    /// The ID's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Repr::Text(text) => text,
            Repr::Integer(digits) => digits.as_str(),
        }
    }

    /// For text that is known to be one line without control characters.
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

    /// A constant ID, judged when the program is compiled.
    ///
    /// # Panics
    ///
    /// On text that [`EventId::new`] refuses; in a `const` that is a compile error.
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

/// An event type: one line of text that names what the client listens for.
///
/// Judged at construction, so nothing that takes one checks it again. Without a type,
/// or with the empty one, an event is a `message`.
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
    /// Judges `text`.
    ///
    /// # Errors
    ///
    /// A carriage return or a line feed in it.
    pub fn new(text: impl Into<Cow<'a, str>>) -> Result<Self, FieldError> {
        let text = text.into();
        match memchr::memchr2(b'\r', b'\n', text.as_bytes()) {
            Some(offset) => Err(FieldError::character(Field::EventType, &text, offset)),
            None => Ok(Self::trusted(text)),
        }
    }

    /// The same text, owned.
    #[must_use]
    pub fn into_owned(self) -> EventType<'static> {
        EventType(Cow::Owned(self.0.into_owned()))
    }

    /// The type's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For text that is known to hold no line break.
    pub(crate) const fn trusted(text: Cow<'a, str>) -> Self {
        Self(text)
    }
}

impl EventType<'static> {
    /// A constant type, judged when the program is compiled.
    ///
    /// # Panics
    ///
    /// On text that [`EventType::new`] refuses; in a `const` that is a compile error.
    #[must_use]
    #[track_caller]
    pub const fn from_static(text: &'static str) -> Self {
        assert!(!has_line_break(text), "an event type is one line of text");
        Self::trusted(Cow::Borrowed(text))
    }
}

/// The caller's text cannot stand where it was put.
///
/// Its sentence says which field, what is wrong, where, and what to do. It converts
/// into an [`io::Error`] of kind [`InvalidInput`](io::ErrorKind::InvalidInput).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldError {
    field: Field,
    fault: Fault,
}

impl FieldError {
    /// The field that was to hold the text.
    #[must_use]
    pub const fn field(&self) -> Field {
        self.field
    }

    /// What is wrong with the text.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.fault
    }

    pub(crate) const fn new(field: Field, fault: Fault) -> Self {
        Self { field, fault }
    }

    /// The character that begins at `offset` of `text` has no place in `field`.
    pub(crate) fn character(field: Field, text: &str, offset: usize) -> Self {
        let character = text.get(offset..).and_then(|rest| rest.chars().next());
        let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
        Self::new(field, Fault::Character { character, offset })
    }
}

/// A place for the caller's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// An [`EventId`].
    EventId,
    /// An [`EventType`].
    EventType,
    /// The name of a response header.
    HeaderName,
    /// The value of a response header.
    HeaderValue,
    /// An origin that may read the stream.
    Origin,
    /// A host that the server answers for.
    Host,
}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A character that the field cannot hold.
    Character {
        /// The first such character.
        character: char,
        /// Where it begins, in bytes from the beginning of the text.
        offset: usize,
    },
    /// The text begins or ends with a space or a tab.
    OuterBlank,
    /// The text is too long.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// There is no text.
    Empty,
    /// The text is not of the field's form.
    Malformed,
    /// The header is one that this library writes itself.
    Reserved,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} ", self.field)?;
        match self.fault {
            Fault::Character { character, offset } => {
                f.write_str("has ")?;
                match character {
                    '\n' => f.write_str("a line feed")?,
                    '\r' => f.write_str("a carriage return")?,
                    '\0' => f.write_str("a NUL")?,
                    other => write!(f, "{other:?}")?,
                }
                write!(f, " at byte {offset}; remove it")?;
                match self.field {
                    Field::EventId | Field::EventType => f.write_str(" or send the text as data"),
                    _ => Ok(()),
                }
            }
            Fault::OuterBlank => f.write_str(
                "begins or ends with a blank, which is lost in a request header; remove it",
            ),
            Fault::TooLong { limit } => write!(f, "has more than {limit} bytes; shorten it"),
            Fault::Empty => f.write_str("is empty; give it at least one character"),
            Fault::Malformed => match self.field {
                Field::Origin => f.write_str("is malformed; write it like https://example.org"),
                Field::Host => f.write_str("is malformed; write it like example.org:8080"),
                _ => f.write_str("is malformed"),
            },
            Fault::Reserved => f.write_str("is one that this library writes itself; leave it out"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EventId => "event ID",
            Self::EventType => "event type",
            Self::HeaderName => "header name",
            Self::HeaderValue => "header value",
            Self::Origin => "origin",
            Self::Host => "host",
        })
    }
}

impl Error for FieldError {}

impl From<Infallible> for FieldError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<FieldError> for io::Error {
    fn from(error: FieldError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[derive(Clone)]
enum Repr<'a> {
    Text(Cow<'a, str>),
    Integer(Digits),
}

/// A 64-bit integer's digits and sign.
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

/// How many foreign IDs have been dropped.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// Why a text is no event ID.
enum IdFault {
    /// A control character at this offset.
    Control(usize),
    OuterBlank,
    TooLong,
}

/// Judges an event ID by what a request header can carry.
///
/// Only ASCII's control characters count. Those from U+0080 to U+009F are two bytes of UTF-8
/// in a header, both of them `obs-text` (RFC 9110, 5.5), and come back as they were sent.
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

const fn has_line_break(text: &str) -> bool {
    has_byte(text, b'\r') || has_byte(text, b'\n')
}

const fn has_byte(text: &str, byte: u8) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == byte {
            return true;
        }
        at += 1;
    }
    false
}

/// What a judged text can do: it is its text, in every respect.
macro_rules! text {
    ($name:ident) => {
        impl AsRef<str> for $name<'_> {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                self.as_str() == other.as_str()
            }
        }

        impl Eq for $name<'_> {}

        impl PartialEq<str> for $name<'_> {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name<'_> {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl std::hash::Hash for $name<'_> {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.as_str().hash(state);
            }
        }

        impl<'a> TryFrom<&'a str> for $name<'a> {
            type Error = FieldError;

            fn try_from(text: &'a str) -> Result<Self, FieldError> {
                Self::new(text)
            }
        }

        impl<'a> TryFrom<&'a String> for $name<'a> {
            type Error = FieldError;

            fn try_from(text: &'a String) -> Result<Self, FieldError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name<'_> {
            type Error = FieldError;

            fn try_from(text: String) -> Result<Self, FieldError> {
                Self::new(text)
            }
        }

        impl<'a> From<&'a $name<'_>> for $name<'a> {
            fn from(text: &'a $name<'_>) -> Self {
                Self::trusted(Cow::Borrowed(text.as_str()))
            }
        }
    };
}

text!(EventId);
text!(EventType);

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl From<$integer> for EventId<'_> {
            fn from(integer: $integer) -> Self {
                Self(Repr::Integer(Digits::new(integer)))
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize);

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: EventType = EventType::from_static("tick");

    #[test]
    fn an_error_names_field_character_and_offset() {
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

    #[test]
    fn one_line_of_any_text_is_a_type() {
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

    /// RFC 9110, 5.5: a field value has no control character, and no blank at either end.
    #[test]
    fn an_id_is_what_a_request_header_can_carry() {
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
        let blank = "begins or ends with a blank, which is lost in a request header; remove it";
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
    fn integers_make_ids() {
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
    #[should_panic(expected = "an event ID has no control character")]
    fn a_constant_is_judged_too() {
        let _ = EventId::from_static("\0");
    }

    #[test]
    fn sizes_stay_small() {
        assert!(size_of::<EventId>() <= 32);
        assert!(size_of::<EventType>() <= 24);
    }
}
