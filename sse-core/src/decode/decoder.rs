//! A decoder of input in parts.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use super::chunk::Chunk;
use super::common_event::CommonEvent;
#[cfg(feature = "recording")]
use super::common_event::Lines;
use super::error::DecodeError;
use super::interpret::{Found, Interpreter};
use super::message::{Decoded, MessageEvent};
use super::text::Text;
use crate::event::{EventId, EventType};

/// Decodes an event stream that arrives in parts.
///
/// The result does not depend on how the input is split, and the time is linear in its length.
/// Invalid UTF-8 becomes U+FFFD, as in the Encoding Standard.
///
/// Memory is bounded. An event's data takes up to [`max_event`](Self::max_event). The current line,
/// as much text before it, an event type and two IDs take up to [`max_line`](Self::max_line) each.
/// Buffers take 16 KiB more.
///
/// ```
/// use sse_core::{Decoded, Decoder};
///
/// let mut decoder = Decoder::new();
/// let mut seen = Vec::new();
/// for bytes in [&b"id: 7\nda"[..], b"ta: hey\r", b"\n\r\nretry: 10\n"] {
///     let mut chunk = decoder.chunk(bytes);
///     while let Some(decoded) = chunk.next()? {
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
    text: Text,
    interpreter: Interpreter,
    failed: Option<DecodeError>,
}

impl Decoder {
    /// The default of [`max_line`](Self::max_line): 16 MiB.
    pub const DEFAULT_MAX_LINE: usize = 16 << 20;

    /// The default of [`max_event`](Self::max_event): 16 MiB.
    pub const DEFAULT_MAX_EVENT: usize = 16 << 20;

    /// Makes a decoder for the start of a stream.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            text: Text::new(),
            interpreter: Interpreter::new(Self::DEFAULT_MAX_LINE, Self::DEFAULT_MAX_EVENT),
            failed: None,
        }
    }

    /// Sets the maximum length of a line, in bytes of text without the line end.
    ///
    /// Default: 16 MiB.
    #[must_use]
    pub const fn max_line(mut self, bytes: usize) -> Self {
        self.interpreter.max_line = bytes;
        self
    }

    /// Sets the maximum length of an event's data, in bytes of text.
    ///
    /// Default: 16 MiB. Each data line counts one byte more, so that endless empty lines are
    /// bounded too.
    #[must_use]
    pub const fn max_event(mut self, bytes: usize) -> Self {
        self.interpreter.max_event = bytes;
        self
    }

    /// Sets the last event ID, for a client that resumes a stream.
    ///
    /// Events have it until an event of the stream sets another one.
    #[must_use]
    pub fn with_last_event_id(mut self, id: &EventId<'_>) -> Self {
        self.set_last_event_id(id);
        self
    }

    /// Decodes the next bytes of the stream.
    ///
    /// The returned cursor yields what they complete. It may be dropped before its end: then the
    /// next one begins with the rest.
    #[inline]
    pub const fn chunk<'d, 'i>(&'d mut self, bytes: &'i [u8]) -> Chunk<'d, 'i> {
        Chunk::new(self, bytes)
    }

    /// Starts another stream, as browsers do when they have reconnected.
    ///
    /// An unfinished event is dropped; the last event ID and the reconnection time stay.
    pub fn restart(&mut self) {
        self.interpreter.leave(&self.text);
        self.text = Text::new();
        self.interpreter.restart();
        self.failed = None;
    }

    /// Sets the last event ID, as [`with_last_event_id`](Self::with_last_event_id) does.
    pub fn set_last_event_id(&mut self, id: &EventId<'_>) {
        self.commit_id(id.as_str());
    }

    /// Sets the last event ID to one of a server, which need not be an [`EventId`].
    pub(crate) fn commit_id(&mut self, id: &str) {
        self.interpreter.commit_id(id);
    }

    /// Returns the `Last-Event-ID` of a reconnection; empty if there is none.
    ///
    /// An unfinished event does not count.
    #[must_use]
    #[inline]
    pub fn last_event_id(&self) -> &str {
        self.interpreter.last_event_id(&self.text)
    }

    /// Returns the latest reconnection time in the stream.
    #[must_use]
    pub const fn retry(&self) -> Option<Duration> {
        self.interpreter.retry
    }

    /// Returns memory that a decoder without input does not need, before a long wait.
    ///
    /// What [`find`](Self::find) has returned becomes invalid.
    #[cfg(feature = "client")]
    pub(crate) fn shrink(&mut self) {
        self.interpreter.leave(&self.text);
        self.text.compact();
        self.text.shrink();
        if self.interpreter.begin_event() {
            self.interpreter.shrink();
        }
    }

    /// Takes bytes from the front of `input`: some, if there are any.
    ///
    /// What [`find`](Self::find) has returned becomes invalid.
    pub(crate) fn push(&mut self, input: &mut &[u8]) {
        if self.failed.is_some() {
            *input = &[];
            return;
        }
        self.interpreter.leave(&self.text);
        self.text.compact();
        self.text.push(input);
    }

    /// Finds the next item in the bytes that have been taken.
    #[inline]
    pub(crate) fn find(&mut self) -> Result<Option<Found>, DecodeError> {
        match self.find_common() {
            None => self.find_other(),
            found => Ok(found),
        }
    }

    /// Finds the next item if it is an event of the commonest form, with one line of data.
    ///
    /// It is inlined and returns in registers. Where speed matters, its result is used before
    /// [`find_other`](Self::find_other) is called, because a variable for both would be in memory.
    #[inline(always)]
    pub(crate) fn find_common(&mut self) -> Option<Found> {
        if !self.interpreter.begin_event() {
            return None;
        }
        let event = CommonEvent::take(&mut self.text, self.interpreter.min_limit())?;
        if let Some(id) = event.id {
            self.interpreter.commit_id_in_text(id);
        }
        Some(Found::Event {
            event_type: event.event_type,
            data: Some(event.data),
        })
    }

    /// Finds the next item if [`find_common`](Self::find_common) has found none.
    #[inline(never)]
    pub(crate) fn find_other(&mut self) -> Result<Option<Found>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.interpreter.begin_event()
            && let Some(found) = self.interpreter.take_common_event(&mut self.text)
        {
            return Ok(Some(found));
        }
        let found = self.interpreter.interpret(&mut self.text);
        if let Err(error) = found {
            self.failed = Some(error);
            self.interpreter.leave(&self.text);
            self.text = Text::new();
        }
        found
    }

    /// Returns what follows the colon of the next line, if that is a comment between events.
    ///
    /// [`skip_comment`](Self::skip_comment) takes it, which costs less than finding it as an item.
    /// A comment that does not end in an LF is only found as an item.
    #[inline(always)]
    #[cfg(feature = "recording")]
    pub(crate) fn next_comment(&mut self) -> Option<&[u8]> {
        if !self.interpreter.begin_event() {
            return None;
        }
        let comment = Lines::listed(&self.text).field(b":")??;
        let is_within_limit = comment.len() < self.interpreter.max_line;
        is_within_limit.then(|| &self.text.as_str().as_bytes()[comment])
    }

    /// Takes the [next comment](Self::next_comment), of which `len` bytes follow the colon.
    #[inline(always)]
    #[cfg(feature = "recording")]
    pub(crate) const fn skip_comment(&mut self, len: usize) {
        self.text.skip(len + ":\n".len(), 1);
    }

    /// Takes a large event from the front of the input, with its text, if all of it is there.
    pub(super) fn take_large<'i>(
        &mut self,
        input: &mut &'i [u8],
    ) -> Option<(CommonEvent, &'i str)> {
        if !self.text.is_interpreted() || !self.interpreter.begin_event() {
            return None;
        }
        let (event, text) = CommonEvent::take_large(input, self.interpreter.min_limit())?;
        self.text.pass_lines();
        if let Some(id) = &event.id {
            self.interpreter.commit_id(&text[id.clone()]);
        }
        Some((event, text))
    }

    /// Returns what was found.
    #[inline(always)]
    pub(crate) fn decoded(&self, found: &Found) -> Decoded<'_> {
        match found {
            Found::Event { event_type, data } => {
                let event_type = self.type_of(event_type.clone());
                let data = match data {
                    Some(data) => self.text.get(data.clone()),
                    None => self.interpreter.data(),
                };
                self.event(event_type, data)
            }
            Found::Retry(retry) => Decoded::Retry(*retry),
            Found::Comment(text) => {
                let text = self.text.get(text.clone());
                Decoded::Comment(Cow::Borrowed(text.strip_prefix(' ').unwrap_or(text)))
            }
        }
    }

    #[inline(always)]
    fn type_of(&self, event_type: Option<Range<usize>>) -> &str {
        match event_type {
            Some(event_type) => self.text.get(event_type),
            None => self.interpreter.event_type(),
        }
    }

    /// Returns whether the stream has set the last event ID since this was last asked.
    #[inline(always)]
    #[cfg(feature = "recording")]
    pub(crate) const fn take_has_new_id(&mut self) -> bool {
        std::mem::replace(&mut self.interpreter.has_new_id, false)
    }

    /// Returns the text after a comment's colon.
    #[inline(always)]
    #[cfg(feature = "recording")]
    pub(crate) fn comment(&self, found: &Found) -> Option<&str> {
        match found {
            Found::Comment(text) => Some(self.text.get(text.clone())),
            _ => None,
        }
    }

    /// Returns an event within its text.
    #[inline]
    pub(super) fn lend<'a>(&'a self, event: &CommonEvent, text: &'a str) -> Decoded<'a> {
        let event_type = match &event.event_type {
            Some(event_type) => &text[event_type.clone()],
            None => self.interpreter.event_type(),
        };
        self.event(event_type, &text[event.data.clone()])
    }

    #[inline(always)]
    fn event<'a>(&'a self, event_type: &'a str, data: &'a str) -> Decoded<'a> {
        Decoded::Event(MessageEvent::with_type(
            EventType::trusted(Cow::Borrowed(event_type)),
            Cow::Borrowed(data),
            Cow::Borrowed(self.last_event_id()),
        ))
    }

    /// Returns the number of taken bytes after the item just found, if it is not within an event.
    #[inline(always)]
    #[cfg(feature = "recording")]
    pub(crate) fn after_event(&self) -> Option<usize> {
        (!self.interpreter.is_within_event()).then(|| self.text.pending())
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}
