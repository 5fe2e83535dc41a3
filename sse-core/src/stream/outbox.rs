//! The half of a stream that needs no writer: staging, encoding and buffering.

use std::fmt::{Display, Write as _};
use std::str;
use std::time::Duration;

#[cfg(feature = "json")]
use serde::Serialize;

use super::append::{Appender, Rollback};
use super::error::SendError;
use super::staged::Staged;
#[cfg(feature = "json")]
use crate::event::JsonError;
use crate::event::{Event, EventId, EventType, FieldError, Integer, encode};

/// A buffer of encoded events that the writer has not taken yet.
///
/// A stream over any kind of writer is an outbox and a loop: write
/// [`pending`](Self::pending), then [`advance`](Self::advance) by the number of bytes taken.
/// Bytes leave only from the front and only once taken, so no partial, failed or cancelled
/// write tears an event.
///
/// An event is accepted whole or not at all: on any error, nothing of it is in the buffer, and
/// staged fields stay staged.
///
/// ```
/// use sse_core::{Event, Outbox};
///
/// let mut outbox = Outbox::new();
/// outbox.send(&Event::new().data("hey"))?;
/// assert_eq!(outbox.pending(), b"data: hey\n\n");
/// outbox.advance(6);
/// assert_eq!(outbox.pending(), b"hey\n\n");
/// # Ok::<(), sse_core::SendError>(())
/// ```
#[derive(Debug)]
pub struct Outbox {
    /// Whole events, except that the writer has taken the first `taken` bytes.
    bytes: Vec<u8>,
    taken: usize,
    staged: Staged,
    /// Generated text with line breaks, while it is split into lines.
    scratch: Vec<u8>,
    max_pending: usize,
    closed: bool,
}

impl Outbox {
    /// The default of [`set_max_pending`](Self::set_max_pending): 1 MiB.
    pub const DEFAULT_MAX_PENDING: usize = 1 << 20;

    /// Makes an empty outbox.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            taken: 0,
            staged: Staged::new(),
            scratch: Vec::new(),
            max_pending: Self::DEFAULT_MAX_PENDING,
            closed: false,
        }
    }

    /// Sets the number of pending bytes at which further events are refused.
    ///
    /// Default: [`DEFAULT_MAX_PENDING`](Self::DEFAULT_MAX_PENDING). Below the limit an event of
    /// any size is accepted, so memory is bounded by this setting plus one event. Capacity
    /// beyond 16 KiB is released once everything is written.
    pub const fn set_max_pending(&mut self, bytes: usize) {
        self.max_pending = bytes;
    }

    /// Appends bytes that are already encoded, such as a response head.
    #[cfg(any(feature = "http", feature = "recording"))]
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) {
        self.compact();
        self.bytes.extend_from_slice(bytes);
    }

    /// Stages the ID of the next event. See [`Stream::set_id`](crate::Stream::set_id).
    ///
    /// # Errors
    ///
    /// Text that [`EventId::new`] rejects. The staged ID does not change.
    pub fn set_id<'a>(
        &mut self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        let id = id.try_into().map_err(Into::into)?;
        self.staged.set_id(&id);
        Ok(())
    }

    /// Stages the type of the next event. See
    /// [`Stream::set_event`](crate::Stream::set_event).
    ///
    /// # Errors
    ///
    /// Text that [`EventType::new`] rejects. The staged type does not change.
    pub fn set_event<'a>(
        &mut self,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        let event = event.try_into().map_err(Into::into)?;
        self.staged.set_event(&event);
        Ok(())
    }

    /// Stages the reconnection time of the next event.
    pub const fn set_retry(&mut self, retry: Duration) {
        self.staged.set_retry(retry);
    }

    /// Accepts an event, and adds the staged fields that it lacks.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn send(&mut self, event: &Event<'_>) -> Result<(), SendError> {
        self.push(|out, _, staged| {
            if staged.is_empty() {
                event.encode(out);
            } else {
                staged.fill(event).encode(out);
            }
            Ok(())
        })
    }

    /// Accepts an event with `text` as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn write_str(&mut self, text: &str) -> Result<(), SendError> {
        self.push_data(|out, _| {
            encode::data(out, text);
            Ok(())
        })
    }

    /// Accepts an event with `text` as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Utf8`], [`SendError::Full`], [`SendError::Closed`].
    pub fn write_bytes(&mut self, text: &[u8]) -> Result<(), SendError> {
        self.write_str(str::from_utf8(text)?)
    }

    /// Accepts an event with `value` as JSON, serialised into the buffer directly.
    ///
    /// # Errors
    ///
    /// [`SendError::Json`], [`SendError::Full`], [`SendError::Closed`].
    #[cfg(feature = "json")]
    pub fn write_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.push_data(|out, scratch| {
            encode::data_with(out, scratch, |out| serde_json::to_writer(out, value))
                .map_err(JsonError)?;
            Ok(())
        })
    }

    /// Accepts an event with an integer as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn write_int(&mut self, value: impl Integer) -> Result<(), SendError> {
        self.write_str(value.format(&mut itoa::Buffer::new()))
    }

    /// Accepts an event with a float as data. See
    /// [`Stream::write_float`](crate::Stream::write_float).
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn write_float(&mut self, value: f64) -> Result<(), SendError> {
        // The range in which ECMAScript's Number::toString writes no exponent.
        let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
        match value {
            _ if plain => self.write_display(&value),
            f64::INFINITY => self.write_str("Infinity"),
            f64::NEG_INFINITY => self.write_str("-Infinity"),
            _ => self.write_display(&format_args!("{value:e}")),
        }
    }

    /// Accepts an event with the text that `value` displays as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Display`], [`SendError::Full`], [`SendError::Closed`].
    pub fn write_display(&mut self, value: &(impl Display + ?Sized)) -> Result<(), SendError> {
        self.push_data(|out, scratch| {
            encode::data_with(out, scratch, |out| write!(Appender(out), "{value}"))?;
            Ok(())
        })
    }

    /// Accepts an event with ID, type and data.
    ///
    /// # Errors
    ///
    /// [`SendError::Field`], [`SendError::Full`], [`SendError::Closed`].
    pub fn write_event<'a>(
        &mut self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
        data: &'a str,
    ) -> Result<(), SendError> {
        let id = id.try_into().map_err(Into::into)?;
        let event = event.try_into().map_err(Into::into)?;
        self.send(&Event::new().id(id).event(event).data(data))
    }

    /// Accepts a comment. Staged fields stay staged.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn comment(&mut self, text: &str) -> Result<(), SendError> {
        encode::comment(self.buffer()?, text);
        Ok(())
    }

    /// Accepts a reconnection time that is sent at once, without an event.
    ///
    /// Staged fields stay staged.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn retry(&mut self, retry: Duration) -> Result<(), SendError> {
        Event::new().retry(retry).encode(self.buffer()?);
        Ok(())
    }

    /// Accepts the event that ends the stream: type `close`, empty data.
    ///
    /// It is accepted even when the buffer is full. A second call does nothing.
    pub fn close(&mut self) {
        if !self.closed {
            let event = Event::new().event(EventType::from_static("close")).data("");
            self.staged.fill(&event).encode(&mut self.bytes);
            self.closed = true;
        }
    }

    /// Removes the first `taken` bytes of [`pending`](Self::pending), which a writer has taken.
    pub fn advance(&mut self, taken: usize) {
        self.taken = self.bytes.len().min(self.taken.saturating_add(taken));
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(MAX_IDLE);
            if self.scratch.capacity() > MAX_IDLE {
                self.scratch = Vec::new();
            }
            self.taken = 0;
        }
    }

    /// Returns the bytes that no writer has taken yet, in order.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Returns whether no bytes are pending.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Returns whether events are refused because too many bytes are pending.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.is_empty() && self.pending().len() >= self.max_pending
    }

    /// Returns the pending bytes.
    #[must_use]
    pub fn into_pending(mut self) -> Vec<u8> {
        self.bytes.drain(..self.taken);
        self.bytes
    }

    fn push_data(
        &mut self,
        data: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        self.push(|out, scratch, staged| {
            staged.encode(out);
            data(out, scratch)?;
            encode::end(out);
            Ok(())
        })
    }

    /// Runs `encode` on the buffer, and removes its output if it fails.
    fn push(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>, &Staged) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        self.buffer()?;
        let bytes = Rollback::new(&mut self.bytes);
        encode(bytes.0, &mut self.scratch, &self.staged)?;
        bytes.commit();
        self.staged.clear();
        Ok(())
    }

    /// Returns the buffer, unless it may not take another event.
    fn buffer(&mut self) -> Result<&mut Vec<u8>, SendError> {
        if self.closed {
            return Err(SendError::Closed);
        }
        if self.is_full() {
            return Err(SendError::Full {
                pending: self.pending().len(),
            });
        }
        self.compact();
        Ok(&mut self.bytes)
    }

    fn compact(&mut self) {
        // Bytes are moved only after at least as many were taken, so the cost is linear.
        if self.taken > self.pending().len() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

/// The capacity that an empty buffer keeps, so that common events cost no allocation.
const MAX_IDLE: usize = 16 << 10;
