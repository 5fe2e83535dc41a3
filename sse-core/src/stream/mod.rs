//! The blocking stream.

mod append;
mod error;
mod outbox;
mod staged;

pub use error::SendError;
pub use outbox::Outbox;

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Duration;

#[cfg(feature = "json")]
use serde::Serialize;

use crate::event::{Event, EventId, EventType, FieldError, Integer};

/// An event stream over any [`Write`]: a socket, a TLS session, a file, a `Vec<u8>`.
///
/// Each event is one `write`. Fields that are set with [`set_id`](Self::set_id),
/// [`set_event`](Self::set_event) and [`set_retry`](Self::set_retry) are staged and sent with
/// the next event.
///
/// No writer tears an event. If it takes only a part, would block or fails, the remaining bytes
/// stay in a buffer, and the next call writes them first. On `Ok` and on [`SendError::Io`] the
/// event has been accepted; on any other error nothing was. The buffer is bounded by
/// [`max_pending`](Self::max_pending). Once it has grown, sending allocates nothing.
///
/// ```
/// use sse_core::{Event, Stream};
///
/// let mut stream = Stream::new(Vec::new());
/// stream.set_id(54)?;
/// stream.set_event("hey-you")?;
/// stream.write_str("yes, that's data")?;
/// stream.send(&Event::new().id(55).data("two\nlines"))?;
/// assert_eq!(
///     stream.close()?,
///     b"id: 54\nevent: hey-you\ndata: yes, that's data\n\n\
///       id: 55\ndata: two\ndata: lines\n\n\
///       event: close\ndata: \n\n",
/// );
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// With a nonblocking writer, on [`WouldBlock`](io::ErrorKind::WouldBlock) wait until it is
/// ready, then call [`flush`](Self::flush) or send the next event.
#[derive(Debug)]
pub struct Stream<W> {
    writer: W,
    outbox: Outbox,
}

impl<W: Write> Stream<W> {
    /// Makes a stream over `writer`.
    pub const fn new(writer: W) -> Self {
        Self::with_outbox(writer, Outbox::new())
    }

    /// Sets the number of pending bytes at which further events are refused.
    ///
    /// Default: 1 MiB. See [`Outbox::set_max_pending`].
    #[must_use]
    pub fn max_pending(mut self, bytes: usize) -> Self {
        self.outbox.set_max_pending(bytes);
        self
    }

    /// Stages the ID of the next event: text or an integer.
    ///
    /// A second call replaces the first.
    ///
    /// # Errors
    ///
    /// Text that [`EventId::new`] rejects. The staged ID does not change.
    pub fn set_id<'a>(
        &mut self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        self.outbox.set_id(id)
    }

    /// Stages the type of the next event.
    ///
    /// A second call replaces the first.
    ///
    /// # Errors
    ///
    /// Text with a line break. The staged type does not change.
    pub fn set_event<'a>(
        &mut self,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        self.outbox.set_event(event)
    }

    /// Stages the reconnection time of the next event.
    pub const fn set_retry(&mut self, retry: Duration) {
        self.outbox.set_retry(retry);
    }

    /// Sends an event, and adds the staged fields that it lacks.
    ///
    /// Staged fields are used up even where the event has its own. The writer is not flushed,
    /// which matters if it has a buffer.
    ///
    /// # Errors
    ///
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn send(&mut self, event: &Event<'_>) -> Result<(), SendError> {
        self.accept(|outbox| outbox.send(event))
    }

    /// Sends `text` as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn write_str(&mut self, text: &str) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_str(text))
    }

    /// Sends `text` as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Utf8`], because the format has no binary data.
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn write_bytes(&mut self, text: &[u8]) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_bytes(text))
    }

    /// Sends `value` as JSON, serialised into the stream's buffer directly.
    ///
    /// # Errors
    ///
    /// [`SendError::Json`], [`SendError::Io`], [`SendError::Full`].
    #[cfg(feature = "json")]
    pub fn write_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_json(value))
    }

    /// Sends an integer as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn write_int(&mut self, value: impl Integer) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_int(value))
    }

    /// Sends a float as data, with the fewest digits that parse as the same `f64`.
    ///
    /// As in JavaScript, values below 1e-6 and from 1e21 on have an exponent. Values that are not
    /// finite are `NaN`, `Infinity` and `-Infinity`. For an `f32` use
    /// [`write_display`](Self::write_display).
    ///
    /// # Errors
    ///
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn write_float(&mut self, value: f64) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_float(value))
    }

    /// Sends the text that `value` displays as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Display`], [`SendError::Io`], [`SendError::Full`].
    pub fn write_display(&mut self, value: &(impl Display + ?Sized)) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_display(value))
    }

    /// Sends an event with ID, type and data.
    ///
    /// # Errors
    ///
    /// [`SendError::Field`], [`SendError::Io`], [`SendError::Full`].
    pub fn write_event<'a>(
        &mut self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
        data: &'a str,
    ) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_event(id, event, data))
    }

    /// Sends a comment, which browsers skip.
    ///
    /// An empty one is the cheapest heartbeat. Staged fields stay staged.
    ///
    /// # Errors
    ///
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn comment(&mut self, text: &str) -> Result<(), SendError> {
        self.accept(|outbox| outbox.comment(text))
    }

    /// Writes the pending bytes and flushes the writer.
    ///
    /// # Errors
    ///
    /// Those of the writer. The bytes that it did not take stay pending.
    pub fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.writer.flush()
    }

    /// Sends `event: close` with empty data, flushes, and returns the writer.
    ///
    /// A page that listens for `close` can close its `EventSource`; otherwise the browser
    /// reconnects, as after any end of a stream.
    ///
    /// # Errors
    ///
    /// Those of the writer. The [`CloseError`] contains the stream; closing that again
    /// continues where the writer stopped.
    pub fn close(mut self) -> Result<W, CloseError<W>> {
        self.outbox.close();
        match self.flush() {
            Ok(()) => Ok(self.writer),
            Err(error) => Err(CloseError {
                stream: Box::new(self),
                error,
            }),
        }
    }

    fn accept(
        &mut self,
        push: impl FnOnce(&mut Outbox) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        if self.outbox.is_full() {
            // An error that persists is reported by `flush` or by the next event that is
            // accepted; this event is accepted or refused.
            let _ = self.drain();
        }
        push(&mut self.outbox)?;
        Ok(self.drain()?)
    }

    /// Writes until nothing is pending.
    fn drain(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.writer.write(self.outbox.pending()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => self.outbox.advance(taken),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl<W> Stream<W> {
    /// Returns the writer.
    pub const fn writer(&self) -> &W {
        &self.writer
    }

    /// Returns the writer, for example to change a socket's timeout.
    ///
    /// Bytes that are written to it directly may land within an event.
    pub const fn writer_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// Replaces the writer, for example by a [`Tee`](crate::Tee) around it.
    ///
    /// Pending bytes go to the new writer.
    pub fn map_writer<V>(self, writer: impl FnOnce(W) -> V) -> Stream<V> {
        Stream::with_outbox(writer(self.writer), self.outbox)
    }

    /// Returns the bytes that the writer has not taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.outbox.pending()
    }

    /// Returns the writer and the bytes that it has not taken.
    #[must_use]
    pub fn into_parts(self) -> (W, Vec<u8>) {
        (self.writer, self.outbox.into_pending())
    }

    pub(crate) const fn with_outbox(writer: W, outbox: Outbox) -> Self {
        Self { writer, outbox }
    }
}

/// A stream whose writer failed during [`close`](Stream::close).
pub struct CloseError<W> {
    stream: Box<Stream<W>>,
    error: io::Error,
}

impl<W> CloseError<W> {
    /// Returns the error of the writer.
    pub const fn error(&self) -> &io::Error {
        &self.error
    }

    /// Returns the stream, which has accepted the `close` event.
    ///
    /// Close it again to continue, or take it into its parts.
    #[must_use]
    pub fn into_stream(self) -> Stream<W> {
        *self.stream
    }
}

impl<W> fmt::Debug for CloseError<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloseError")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<W> Display for CloseError<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = self.stream.pending().len();
        write!(
            f,
            "the writer failed before the last {pending} bytes of the stream: {}",
            self.error
        )
    }
}

impl<W> Error for CloseError<W> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl<W> From<CloseError<W>> for io::Error {
    fn from(error: CloseError<W>) -> Self {
        error.error
    }
}
