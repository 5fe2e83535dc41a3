//! The blocking stream.

pub(crate) mod outbox;

pub use outbox::{Outbox, SendError};

use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write};
use std::time::Duration;

#[cfg(feature = "json")]
use serde::Serialize;

use crate::event::Event;
use crate::event::{EventId, EventType, FieldError};

/// An event stream over any [`Write`]: a socket, a TLS session, a file, a `Vec<u8>`.
///
/// Each event reaches the writer as one `write`. Fields that are set with
/// [`set_id`](Self::set_id), [`set_event`](Self::set_event) and
/// [`set_retry`](Self::set_retry) are staged and go out with the next event.
///
/// No writer tears an event: whether it takes a part, would block or fails, what it did
/// not take waits, and the next call begins with it. An event is accepted unless the
/// error is other than [`SendError::Io`]. What may wait is bounded by
/// [`max_pending`](Self::max_pending). Once its buffers have grown, sending events that are
/// no larger than that allocates nothing.
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
/// A nonblocking writer works too: on [`WouldBlock`](io::ErrorKind::WouldBlock) wait until
/// it is ready, then [`flush`](Self::flush) or send on.
#[derive(Debug)]
pub struct Stream<W> {
    writer: W,
    outbox: Outbox,
}

impl<W: Write> Stream<W> {
    /// A stream over `writer`.
    pub const fn new(writer: W) -> Self {
        Self::with_outbox(writer, Outbox::new())
    }

    /// Refuses events while at least `bytes` bytes wait for a writer that takes too
    /// little; see [`Outbox::set_max_pending`]. The default is 1 MiB.
    #[must_use]
    pub fn max_pending(mut self, bytes: usize) -> Self {
        self.outbox.set_max_pending(bytes);
        self
    }

    /// Stages the ID of the next event: text or an integer. A second call replaces the
    /// first.
    ///
    /// # Errors
    ///
    /// Text that is no event ID; see [`EventId::new`].
    pub fn set_id<'a>(
        &mut self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        self.outbox.set_id(id)
    }

    /// Stages the type of the next event. A second call replaces the first.
    ///
    /// # Errors
    ///
    /// Text with a line break in it.
    pub fn set_event<'a>(
        &mut self,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        self.outbox.set_event(event)
    }

    /// Stages the reconnection time that the next event carries.
    pub const fn set_retry(&mut self, retry: Duration) {
        self.outbox.set_retry(retry);
    }

    /// Sends an event. What it leaves open is filled with what is staged; what it does not,
    /// takes the place of that. The writer is not flushed, which matters to those that buffer.
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
    /// [`SendError::Utf8`] on anything but UTF-8: the format has no binary data.
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn write_bytes(&mut self, text: &[u8]) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_bytes(text))
    }

    /// Sends `value` as JSON, serialised straight into the stream's buffer.
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
    pub fn write_int(&mut self, value: impl itoa::Integer) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_int(value))
    }

    /// Sends a float as data, with the fewest digits that read back as the same `f64`.
    ///
    /// The exponent form begins where JavaScript's does (below 1e-6, from 1e21), and the
    /// values that are no numbers are spelt as JavaScript reads them: `NaN`, `Infinity`,
    /// `-Infinity`. For an `f32` use [`write_display`](Self::write_display).
    ///
    /// # Errors
    ///
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn write_float(&mut self, value: f64) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_float(value))
    }

    /// Sends `value`, as it displays itself, as data.
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

    /// Sends a comment, which browsers skip: the cheapest heartbeat is an empty one. What
    /// is staged stays staged.
    ///
    /// # Errors
    ///
    /// [`SendError::Io`], [`SendError::Full`].
    pub fn comment(&mut self, text: &str) -> Result<(), SendError> {
        self.accept(|outbox| outbox.comment(text))
    }

    /// Writes what waits, and flushes the writer.
    ///
    /// # Errors
    ///
    /// What the writer says; what it did not take still waits.
    pub fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.writer.flush()
    }

    /// Ends the stream: sends `event: close` with empty data, flushes, and gives the
    /// writer back.
    ///
    /// A page that listens to `close` stops there; for one that does not, the browser
    /// reconnects as after any end of a stream.
    ///
    /// # Errors
    ///
    /// What the writer says. The [`CloseError`] gives the stream back; closing that again
    /// goes on where the writer stopped.
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
            // Whatever the writer says now, it says again to `flush` or to the next
            // event that is accepted; this one finds room or is refused.
            let _ = self.drain();
        }
        push(&mut self.outbox)?;
        Ok(self.drain()?)
    }

    /// Offers what waits to the writer until it has taken all.
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
    /// The writer.
    pub const fn writer(&self) -> &W {
        &self.writer
    }

    /// The writer, say to change a socket's timeout. Bytes written to it directly may
    /// land within an event.
    pub const fn writer_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// The same stream over another writer, made of this one, say a [`Tee`](crate::Tee) around
    /// it. What waits for the one waits for the other.
    pub fn map<V>(self, writer: impl FnOnce(W) -> V) -> Stream<V> {
        Stream::with_outbox(writer(self.writer), self.outbox)
    }

    /// The bytes that the writer has not taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.outbox.pending()
    }

    /// The writer, and the bytes that it has not taken.
    #[must_use]
    pub fn into_parts(self) -> (W, Vec<u8>) {
        (self.writer, self.outbox.into_pending())
    }

    pub(crate) const fn with_outbox(writer: W, outbox: Outbox) -> Self {
        Self { writer, outbox }
    }
}

/// A stream could not be ended, because its writer failed. It gives the stream back.
pub struct CloseError<W> {
    stream: Box<Stream<W>>,
    error: io::Error,
}

impl<W> CloseError<W> {
    /// What the writer said.
    pub const fn error(&self) -> &io::Error {
        &self.error
    }

    /// The stream, with the closing event accepted. Close it again to go on, or take it
    /// into its parts.
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
            "the stream's last {pending} bytes wait, because the writer failed: {}",
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
