//! The event stream read back: WHATWG HTML, 9.2.6 "Interpreting an event stream", over
//! input in pieces of any size.

mod events;

pub use events::Events;

use std::borrow::Cow;
use std::error::Error;
use std::ops::Range;
use std::time::Duration;
use std::{fmt, io, mem};

use fearless_simd::{Simd, dispatch};

use crate::event::Event;
use crate::event::{EventId, EventType, Field, FieldError};
use crate::line_ends::{LEVEL, LineEnds, append};

/// Decodes an event stream that arrives in pieces.
///
/// The result is the same however the input is cut, and the time is linear in it. What is
/// not UTF-8 becomes U+FFFD, as the Encoding Standard has it.
///
/// A stream can make the decoder hold an event's data, within
/// [`max_event`](Self::max_event), and a line, an event type and two IDs, each within
/// [`max_line`](Self::max_line); in text that is not UTF-8 each byte may become three.
///
/// ```
/// use sse_core::{Decoded, Decoder};
///
/// let mut decoder = Decoder::new();
/// let mut seen = Vec::new();
/// for mut piece in [&b"id: 7\nda"[..], b"ta: hey\r", b"\n\r\nretry: 10\n"] {
///     while let Some(decoded) = decoder.decode(&mut piece)? {
///         match decoded {
///             Decoded::Event(event) => seen.push(event.data().to_owned()),
///             Decoded::Retry(retry) => seen.push(format!("{retry:?}")),
///             _ => {}
///         }
///     }
/// }
/// assert_eq!(seen, ["hey", "10ms"]);
/// assert_eq!(decoder.last_event_id(), "7");
/// # Ok::<(), sse_core::DecodeError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    max_line: usize,
    max_event: usize,
    /// How much of a byte order mark has been read; 3 once the question is settled.
    bom: u8,
    /// Whether the last byte was a CR, which an LF may follow as part of the same end.
    after_cr: bool,
    /// The beginning of a line that has not ended yet.
    line: Vec<u8>,
    /// The length so far of a data line that has not ended yet, if what has come of its value
    /// is in `data` already; else zero.
    data_line: usize,
    /// The data lines of the event so far, each with an LF after it.
    data: Vec<u8>,
    event_type: String,
    /// Whether `data` and `event_type` are those of an event that has been shown.
    dispatched: bool,
    /// The ID that the end of the event will commit, if `has_id`.
    id: String,
    has_id: bool,
    last_event_id: String,
    retry: Option<Duration>,
    /// Whether the last comment had no space after its colon.
    is_comment_bare: bool,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// The default of [`max_line`](Self::max_line): 16 MiB.
    pub const DEFAULT_MAX_LINE: usize = 16 << 20;

    /// The default of [`max_event`](Self::max_event): 16 MiB.
    pub const DEFAULT_MAX_EVENT: usize = 16 << 20;

    /// A decoder at the beginning of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_line: Self::DEFAULT_MAX_LINE,
            max_event: Self::DEFAULT_MAX_EVENT,
            bom: 0,
            after_cr: false,
            line: Vec::new(),
            data_line: 0,
            data: Vec::new(),
            event_type: String::new(),
            dispatched: false,
            id: String::new(),
            has_id: false,
            last_event_id: String::new(),
            retry: None,
            is_comment_bare: false,
            failed: None,
        }
    }

    /// How long a line may be, in bytes without its end.
    #[must_use]
    pub const fn max_line(mut self, bytes: usize) -> Self {
        self.max_line = bytes;
        self
    }

    /// How much data an event may have, in bytes, with one for the end of each data
    /// line, so that endless empty lines are bounded too.
    #[must_use]
    pub const fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Takes from the front of `input` until something has been decoded.
    ///
    /// `None` means "not yet": all of `input` has been taken. Otherwise call again with
    /// what is left of it. Data that is one line within `input` is borrowed from there.
    ///
    /// # Errors
    ///
    /// A limit is exceeded. Every further call gives the same error.
    pub fn decode<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Decoded<'d>>, DecodeError> {
        let decoded = self.decode_marked(input)?;
        Ok(decoded.map(|(decoded, _)| decoded))
    }

    /// The same, and whether a comment has no space after its colon, as none of our encoder's.
    #[inline]
    pub(crate) fn decode_marked<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<(Decoded<'d>, bool)>, DecodeError> {
        dispatch!(*LEVEL, simd => self.decode_with(simd, input))
    }

    /// Goes to the beginning of another stream, as browsers do that have reconnected: an
    /// event that has not ended is dropped; the last event ID stays.
    pub fn restart(&mut self) {
        self.bom = 0;
        self.after_cr = false;
        self.line.clear();
        self.data_line = 0;
        self.clear_event();
        self.has_id = false;
        self.failed = None;
    }

    /// Sets the last event ID, as of a client that resumes a stream. Events without an ID have
    /// it until one has another.
    pub fn set_last_event_id(&mut self, id: &EventId<'_>) {
        self.last_event_id.clear();
        self.last_event_id.push_str(id.as_str());
    }

    /// What a client sends as `Last-Event-ID` when it reconnects; empty where there is
    /// none. An event that has not ended does not count.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The reconnection time that the stream asked for last.
    #[must_use]
    pub const fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Whether the next line is one that can be taken away without a trace: between events, and
    /// not at the beginning, where a byte order mark may be, or where an LF may complete the
    /// end of the line before.
    #[inline]
    #[cfg(feature = "recording")]
    pub(crate) const fn is_at_line(&self) -> bool {
        self.bom == 3 && !self.after_cr && self.is_between_events()
    }

    /// Whether what has been decoded since the last event is no part of another.
    #[inline]
    #[cfg(feature = "recording")]
    pub(crate) const fn is_between_events(&self) -> bool {
        let has_fields = !self.data.is_empty() || !self.event_type.is_empty() || self.has_id;
        let is_within_line = !self.line.is_empty() || matches!(self.bom, 1 | 2);
        self.dispatched || (!has_fields && !is_within_line)
    }

    #[inline(always)]
    fn decode_with<'d, 'i: 'd, S: Simd>(
        &'d mut self,
        simd: S,
        input: &mut &'i [u8],
    ) -> Result<Option<(Decoded<'d>, bool)>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.advance(simd, input) {
            Ok(found) => Ok(found.map(|found| (self.show(found), self.is_comment_bare))),
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }

    #[inline(always)]
    fn advance<'i, S: Simd>(
        &mut self,
        simd: S,
        input: &mut &'i [u8],
    ) -> Result<Option<Found<'i>>, DecodeError> {
        if self.dispatched {
            self.clear_event();
        }
        self.begin(input);
        // Where the event's only data line so far has its value: if the event ends within
        // `input`, that need not be copied.
        let mut only_line = None;
        let mut found = None;
        let text = *input;
        let mut start = 0;
        for end in LineEnds::new(simd, text) {
            if end < start {
                continue; // the LF of a CRLF
            }
            let line = start..end;
            start = end + self.end_of_line(&text[end..]);
            found = if self.line.is_empty() && self.data_line == 0 {
                self.check_line(line.len())?;
                self.interpret(text, line, &mut only_line)?
            } else {
                self.keep(&text[line])?;
                self.interpret_kept()?
            };
            if found.is_some() {
                break;
            }
        }
        *input = &text[start..];
        self.keep_value(text, only_line);
        if found.is_none() && !input.is_empty() {
            self.keep(mem::take(input))?;
        }
        Ok(found)
    }

    /// Skips what may precede a line: a byte order mark, or the LF of a CRLF.
    #[inline]
    fn begin(&mut self, input: &mut &[u8]) {
        const BOM: &[u8; 3] = b"\xef\xbb\xbf";
        while let Some(expected) = BOM.get(usize::from(self.bom)) {
            match input.split_first() {
                None => return,
                Some((byte, rest)) if byte == expected => {
                    self.bom += 1;
                    *input = rest;
                }
                Some(_) => {
                    self.line.extend_from_slice(&BOM[..usize::from(self.bom)]);
                    self.bom = 3;
                }
            }
        }
        if self.after_cr && !input.is_empty() {
            *input = input.strip_prefix(b"\n").unwrap_or(input);
            self.after_cr = false;
        }
    }

    /// The length of the line end at the beginning of `input`.
    ///
    /// A CR at the end of the input ends the line at once; an LF may follow.
    #[inline]
    const fn end_of_line(&mut self, input: &[u8]) -> usize {
        match input {
            b"\r" => {
                self.after_cr = true;
                1
            }
            [b'\r', b'\n', ..] => 2,
            _ => 1,
        }
    }

    /// Keeps a part of a line: of a long data line in `data`, so that it is copied once.
    fn keep(&mut self, part: &[u8]) -> Result<(), DecodeError> {
        self.check_line(self.line.len() + self.data_line + part.len())?;
        if self.data_line > 0 {
            self.data.extend_from_slice(part);
            self.data_line += part.len();
        } else if self.line.is_empty()
            && let Line::Data(value @ [_, ..]) = Line::parse(part)
        {
            self.data.extend_from_slice(value);
            self.data_line = part.len();
        } else {
            self.line.extend_from_slice(part);
        }
        Ok(())
    }

    #[inline]
    const fn check_line(&self, len: usize) -> Result<(), DecodeError> {
        match len <= self.max_line {
            true => Ok(()),
            false => Err(DecodeError::LineTooLong {
                limit: self.max_line,
            }),
        }
    }

    /// Whether `len` more bytes of data, and a line end, are within the limit.
    #[inline]
    const fn check_data(&self, len: usize) -> Result<(), DecodeError> {
        match self.data.len() + len < self.max_event {
            true => Ok(()),
            false => Err(DecodeError::EventTooLong {
                limit: self.max_event,
            }),
        }
    }

    /// Interprets the line that came in parts, of which nothing can be borrowed.
    fn interpret_kept(&mut self) -> Result<Option<Found<'static>>, DecodeError> {
        if self.data_line > 0 {
            self.data_line = 0;
            self.check_data(0)?;
            self.data.push(b'\n');
            return Ok(None);
        }
        let mut line = mem::take(&mut self.line);
        let mut only_line = None;
        let found = self.interpret(&line, 0..line.len(), &mut only_line)?;
        let found = found.map(Found::into_owned);
        self.keep_value(&line, only_line);
        line.clear();
        line.shrink_to(MAX_IDLE);
        self.line = line;
        Ok(found)
    }

    /// Puts the value of a data line into `data`.
    #[inline(always)]
    fn keep_value(&mut self, text: &[u8], value: Option<Range<usize>>) {
        if let Some(value) = value {
            append(&mut self.data, text, value);
            self.data.push(b'\n');
        }
    }

    #[inline(always)]
    fn interpret<'l>(
        &mut self,
        text: &'l [u8],
        line: Range<usize>,
        only_line: &mut Option<Range<usize>>,
    ) -> Result<Option<Found<'l>>, DecodeError> {
        match Line::parse(&text[line.clone()]) {
            Line::Data(value) => {
                let value = line.end - value.len()..line.end;
                if self.data.is_empty() && only_line.is_none() {
                    self.check_data(value.len())?;
                    *only_line = Some(value);
                } else {
                    self.keep_value(text, only_line.take());
                    self.check_data(value.len())?;
                    self.keep_value(text, Some(value));
                }
            }
            Line::Blank => {
                // A blank line commits the ID also when it dispatches nothing.
                if mem::take(&mut self.has_id) {
                    mem::swap(&mut self.last_event_id, &mut self.id);
                }
                // "If the data buffer is an empty string, set the data buffer and the
                // event type buffer to the empty string and return."
                if only_line.is_none() && self.data.is_empty() {
                    self.event_type.clear();
                } else {
                    self.dispatched = true;
                    return Ok(Some(Found::Event(
                        only_line.take().map(|value| &text[value]),
                    )));
                }
            }
            Line::Event(value) => set(&mut self.event_type, value),
            // "If the field value does not contain U+0000 NULL"
            Line::Id(value) if value.contains(&b'\0') => {}
            Line::Id(value) => {
                set(&mut self.id, value);
                self.has_id = true;
            }
            Line::Retry(value) => {
                if let Some(retry) = parse_retry(value) {
                    self.retry = Some(retry);
                    return Ok(Some(Found::Retry(retry)));
                }
            }
            Line::Comment(text) => {
                let spaced = text.strip_prefix(b" ");
                self.is_comment_bare = spaced.is_none();
                let text = Cow::Borrowed(spaced.unwrap_or(text));
                return Ok(Some(Found::Comment(text)));
            }
            Line::Unknown => {}
        }
        Ok(None)
    }

    #[inline(always)]
    fn show<'d>(&'d self, found: Found<'d>) -> Decoded<'d> {
        match found {
            Found::Event(only_line) => {
                let lines = || self.data.strip_suffix(b"\n").unwrap_or_default();
                Decoded::Event(MessageEvent {
                    event_type: EventType::trusted(Cow::Borrowed(match &*self.event_type {
                        "" => "message",
                        event_type => event_type,
                    })),
                    data: decode_utf8(only_line.unwrap_or_else(lines)),
                    last_event_id: Cow::Borrowed(&self.last_event_id),
                })
            }
            Found::Retry(retry) => Decoded::Retry(retry),
            Found::Comment(Cow::Borrowed(text)) => Decoded::Comment(decode_utf8(text)),
            Found::Comment(Cow::Owned(text)) => {
                Decoded::Comment(Cow::Owned(decode_utf8(&text).into_owned()))
            }
        }
    }

    #[inline]
    fn clear_event(&mut self) {
        self.data.clear();
        if self.data.capacity() > MAX_IDLE {
            self.data = Vec::new();
        }
        self.event_type.clear();
        for text in [&mut self.event_type, &mut self.id] {
            if text.capacity() > MAX_IDLE {
                text.shrink_to_fit();
            }
        }
        self.dispatched = false;
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

/// What a [`Decoder`] has come upon.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// An event, at the blank line that dispatches it.
    Event(MessageEvent<'a>),
    /// A reconnection time, which counts from now on.
    Retry(Duration),
    /// A comment line's text, without one leading space.
    Comment(Cow<'a, str>),
}

impl Decoded<'_> {
    /// The same, owned.
    #[must_use]
    pub fn into_owned(self) -> Decoded<'static> {
        match self {
            Self::Event(event) => Decoded::Event(event.into_owned()),
            Self::Retry(retry) => Decoded::Retry(retry),
            Self::Comment(text) => Decoded::Comment(Cow::Owned(text.into_owned())),
        }
    }
}

/// An event as a listener sees it: always with a type, data and a last event ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEvent<'a> {
    event_type: EventType<'a>,
    data: Cow<'a, str>,
    /// What the stream said, which may be no [`EventId`].
    last_event_id: Cow<'a, str>,
}

impl<'a> MessageEvent<'a> {
    /// An event as a test expects it. An empty `event_type` is `message`.
    ///
    /// # Errors
    ///
    /// An `event_type` or a `last_event_id` that no stream can have: one with a line break, and
    /// an ID with a NUL.
    pub fn new(
        event_type: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
        data: impl Into<Cow<'a, str>>,
        last_event_id: impl Into<Cow<'a, str>>,
    ) -> Result<Self, FieldError> {
        let event_type = event_type.try_into().map_err(Into::into)?;
        let id = last_event_id.into();
        match memchr::memchr3(b'\r', b'\n', b'\0', id.as_bytes()) {
            Some(offset) => Err(FieldError::character(Field::EventId, &id, offset)),
            None => Ok(Self::trusted(event_type, data.into(), id)),
        }
    }

    #[inline]
    pub(crate) fn trusted(
        event_type: EventType<'a>,
        data: Cow<'a, str>,
        last_event_id: Cow<'a, str>,
    ) -> Self {
        Self {
            event_type: match event_type.as_str() {
                "" => EventType::from_static("message"),
                _ => event_type,
            },
            data,
            last_event_id,
        }
    }

    /// The event type; `message` where the stream named none.
    #[must_use]
    pub fn event(&self) -> &str {
        self.event_type.as_str()
    }

    /// The data, its lines joined with LF.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }

    /// The ID of this event or, where it has none, of the last one before that had;
    /// empty where there is none. It is what the stream said, also where that is no
    /// [`EventId`].
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// The same event, owned.
    #[must_use]
    pub fn into_owned(self) -> MessageEvent<'static> {
        MessageEvent {
            event_type: self.event_type.into_owned(),
            data: Cow::Owned(self.data.into_owned()),
            last_event_id: Cow::Owned(self.last_event_id.into_owned()),
        }
    }
}

/// The same event, to be sent on. Where there is no ID it has the empty one, which resets that
/// of the stream it goes to, as it was reset here. An ID that a client could not send back is
/// [dropped](EventId::foreign).
impl<'a> From<MessageEvent<'a>> for Event<'a> {
    fn from(event: MessageEvent<'a>) -> Self {
        Self {
            id: EventId::foreign(event.last_event_id),
            ..Self::new().event(event.event_type).data(event.data)
        }
    }
}

/// An event stream exceeds a limit of its [`Decoder`]. It converts into an
/// [`io::Error`] of kind [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A line has more bytes than [`Decoder::max_line`].
    LineTooLong {
        /// The limit.
        limit: usize,
    },
    /// An event has more data than [`Decoder::max_event`].
    EventTooLong {
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, limit, setting) = match self {
            Self::LineTooLong { limit } => ("a line", limit, "max_line"),
            Self::EventTooLong { limit } => ("an event's data", limit, "max_event"),
        };
        write!(
            f,
            "{what} exceeds {limit} bytes; raise the decoder's {setting} if that is legitimate"
        )
    }
}

impl Error for DecodeError {}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// How large a buffer may stay that an event has outgrown.
pub(crate) const MAX_IDLE: usize = 1 << 20;

/// What the last line has led to. An event without its only line has `Decoder::data`.
enum Found<'i> {
    Event(Option<&'i [u8]>),
    Retry(Duration),
    Comment(Cow<'i, [u8]>),
}

impl Found<'_> {
    /// A line that came in parts is never blank, so it can't have led to an event.
    fn into_owned(self) -> Found<'static> {
        match self {
            Self::Event(_) => Found::Event(None),
            Self::Retry(retry) => Found::Retry(retry),
            Self::Comment(text) => Found::Comment(Cow::Owned(text.into_owned())),
        }
    }
}

enum Line<'l> {
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
    fn parse(line: &'l [u8]) -> Self {
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

    /// What follows a field's name: nothing, or a colon, a space that does not count,
    /// and the value.
    #[inline(always)]
    fn field(name: fn(&'l [u8]) -> Self, rest: &'l [u8]) -> Self {
        match rest {
            [b':', b' ', value @ ..] | [b':', value @ ..] => name(value),
            [] => name(rest),
            _ => Self::Unknown,
        }
    }
}

/// "If the field value consists of only ASCII digits"; a time beyond `u64::MAX`
/// milliseconds is that.
fn parse_retry(value: &[u8]) -> Option<Duration> {
    let millis = value.iter().try_fold(0_u64, |millis, byte| {
        byte.is_ascii_digit().then(|| {
            millis
                .saturating_mul(10)
                .saturating_add(u64::from(byte - b'0'))
        })
    })?;
    (!value.is_empty()).then(|| Duration::from_millis(millis))
}

#[inline]
fn set(text: &mut String, value: &[u8]) {
    text.clear();
    // IDs and types are short and plain; for those this takes less time than to check them.
    if value.len() < 24 && value.is_ascii() {
        text.extend(value.iter().copied().map(char::from));
    } else {
        text.push_str(&decode_utf8(value));
    }
}

/// Line ends are ASCII, so decoding each value is the same as decoding the stream.
#[inline]
fn decode_utf8(bytes: &[u8]) -> Cow<'_, str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}
