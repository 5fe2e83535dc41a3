//! A decoder of input in parts.

use std::time::Duration;

use fearless_simd::{Simd, dispatch};

use super::error::DecodeError;
use super::interpret::Interpreter;
use super::message::Decoded;
use crate::event::EventId;
use crate::line_ends::LEVEL;

/// Decodes an event stream that arrives in parts.
///
/// The result does not depend on how the input is split, and the time is linear in its length.
/// Invalid UTF-8 becomes U+FFFD, as in the Encoding Standard.
///
/// Memory is bounded: an event's data by [`max_event`](Self::max_event); a line, an event type
/// and two IDs by [`max_line`](Self::max_line) each. Each invalid byte may become three.
///
/// ```
/// use sse_core::{Decoded, Decoder};
///
/// let mut decoder = Decoder::new();
/// let mut seen = Vec::new();
/// for mut part in [&b"id: 7\nda"[..], b"ta: hey\r", b"\n\r\nretry: 10\n"] {
///     while let Some(decoded) = decoder.decode(&mut part)? {
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
            interpreter: Interpreter::new(Self::DEFAULT_MAX_LINE, Self::DEFAULT_MAX_EVENT),
            failed: None,
        }
    }

    /// Sets the maximum length of a line, in bytes without the line end.
    ///
    /// Default: 16 MiB.
    #[must_use]
    pub const fn max_line(mut self, bytes: usize) -> Self {
        self.interpreter.max_line = bytes;
        self
    }

    /// Sets the maximum length of an event's data, in bytes.
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

    /// Decodes from the front of `input` until something is complete.
    ///
    /// Call it again with the rest of `input`. `None` means "not yet": all of `input` has been
    /// consumed. Data that is one line within `input` is borrowed from there.
    ///
    /// # Errors
    ///
    /// A limit is exceeded. Every later call returns the same error.
    pub fn decode<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Decoded<'d>>, DecodeError> {
        let decoded = self.decode_marked(input)?;
        Ok(decoded.map(|(decoded, _)| decoded))
    }

    /// Like `decode`, and reports whether a comment lacks the space after its colon.
    #[inline]
    pub(crate) fn decode_marked<'d, 'i: 'd>(
        &'d mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<(Decoded<'d>, bool)>, DecodeError> {
        dispatch!(*LEVEL, simd => self.decode_with(simd, input))
    }

    /// Starts another stream, as browsers do when they have reconnected.
    ///
    /// An unfinished event is dropped; the last event ID and the reconnection time stay.
    pub fn restart(&mut self) {
        self.interpreter.restart();
        self.failed = None;
    }

    /// Sets the last event ID, as [`with_last_event_id`](Self::with_last_event_id) does.
    pub fn set_last_event_id(&mut self, id: &EventId<'_>) {
        self.interpreter.last_event_id.clear();
        self.interpreter.last_event_id.push_str(id.as_str());
    }

    /// Returns the `Last-Event-ID` of a reconnection; empty if there is none.
    ///
    /// An unfinished event does not count.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.interpreter.last_event_id
    }

    /// Returns the latest reconnection time in the stream.
    #[must_use]
    pub const fn retry(&self) -> Option<Duration> {
        self.interpreter.retry
    }

    /// Returns whether the next line could be removed without a trace.
    ///
    /// So between events, but not at the start, where a byte order mark may be, nor where an LF
    /// may complete a CRLF.
    #[inline]
    #[cfg(feature = "recording")]
    pub(crate) const fn is_at_line(&self) -> bool {
        self.interpreter.is_at_line()
    }

    /// Returns whether no event has begun since the last one.
    #[inline]
    #[cfg(feature = "recording")]
    pub(crate) const fn is_between_events(&self) -> bool {
        self.interpreter.is_between_events()
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
        let interpreter = &mut self.interpreter;
        match interpreter.advance(simd, input) {
            Ok(found) => {
                Ok(found.map(|found| (interpreter.decoded(found), interpreter.is_comment_bare)))
            }
            Err(error) => {
                self.failed = Some(error);
                Err(error)
            }
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}
