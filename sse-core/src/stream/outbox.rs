//! What a stream does without its writer: stage, encode, and keep what was not taken.

use std::borrow::Cow;
use std::fmt::{self, Display, Write as _};
use std::time::Duration;
use std::{error, io, str};

#[cfg(feature = "json")]
use serde::Serialize;

use crate::event::Event;
use crate::event::encode;
use crate::event::{EventId, EventType, FieldError};

/// Encoded events that no writer has taken yet.
///
/// A stream over any kind of writer is an outbox and a loop: offer
/// [`pending`](Self::pending) to the writer, [`advance`](Self::advance) by what it took.
/// Since bytes leave only from the front and only as taken, no partial, failed or
/// cancelled write tears an event.
///
/// An event is accepted whole or not at all: on any error here, nothing of it remains
/// and what was staged stays staged.
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
    /// Whole events, but for the first `taken` bytes, which are the writer's already.
    bytes: Vec<u8>,
    taken: usize,
    staged: Staged,
    /// Generated text that has line breaks, while it is turned into lines.
    scratch: Vec<u8>,
    max_pending: usize,
    closed: bool,
}

impl Outbox {
    /// How many bytes may wait by default before events are refused: 1 MiB.
    pub const DEFAULT_MAX_PENDING: usize = 1 << 20;

    /// An empty outbox.
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

    /// Refuses events while at least `bytes` bytes wait.
    ///
    /// An event of any size is accepted below that, so what waits is bounded by this setting
    /// plus one event. Memory beyond 16 KiB is given back once all is written. The default is [`DEFAULT_MAX_PENDING`](Self::DEFAULT_MAX_PENDING).
    pub const fn set_max_pending(&mut self, bytes: usize) {
        self.max_pending = bytes;
    }

    /// Takes up bytes that are encoded already: a response head, events.
    #[cfg(any(feature = "http", feature = "recording"))]
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) {
        self.compact();
        self.bytes.extend_from_slice(bytes);
    }

    /// Stages the ID of the next event. See [`Stream::set_id`](crate::Stream::set_id).
    ///
    /// # Errors
    ///
    /// Text that is no event ID. What was staged before stays.
    pub fn set_id<'a>(
        &mut self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        let id = id.try_into().map_err(Into::into)?;
        self.staged.id.set(id.as_str());
        Ok(())
    }

    /// Stages the type of the next event. See
    /// [`Stream::set_event`](crate::Stream::set_event).
    ///
    /// # Errors
    ///
    /// Text that is no event type. What was staged before stays.
    pub fn set_event<'a>(
        &mut self,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        let event = event.try_into().map_err(Into::into)?;
        self.staged.event.set(event.as_str());
        Ok(())
    }

    /// Stages the reconnection time that the next event carries.
    pub const fn set_retry(&mut self, retry: Duration) {
        self.staged.retry = Some(retry);
    }

    /// Accepts an event. What it leaves open is filled with what is staged.
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

    /// Accepts an event with `value` as JSON, serialised straight into the outbox.
    ///
    /// # Errors
    ///
    /// [`SendError::Json`], [`SendError::Full`], [`SendError::Closed`].
    #[cfg(feature = "json")]
    pub fn write_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.push_data(|out, scratch| {
            encode::data_with(out, scratch, |out| serde_json::to_writer(out, value))?;
            Ok(())
        })
    }

    /// Accepts an event with an integer as data.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn write_int(&mut self, value: impl itoa::Integer) -> Result<(), SendError> {
        self.write_str(itoa::Buffer::new().format(value))
    }

    /// Accepts an event with a float as data. See
    /// [`Stream::write_float`](crate::Stream::write_float).
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn write_float(&mut self, value: f64) -> Result<(), SendError> {
        // The range in which ECMAScript's Number::toString does without an exponent.
        let plain = value == 0.0 || (1e-6..1e21).contains(&value.abs());
        match value {
            _ if plain => self.write_display(&value),
            f64::INFINITY => self.write_str("Infinity"),
            f64::NEG_INFINITY => self.write_str("-Infinity"),
            _ => self.write_display(&format_args!("{value:e}")),
        }
    }

    /// Accepts an event with `value`, as it displays itself, as data.
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

    /// Accepts a comment. What is staged stays staged.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn comment(&mut self, text: &str) -> Result<(), SendError> {
        encode::comment(self.room()?, text);
        Ok(())
    }

    /// Accepts a reconnection time that reaches the client at once, by itself. What is staged
    /// stays staged.
    ///
    /// # Errors
    ///
    /// [`SendError::Full`], [`SendError::Closed`].
    pub fn retry(&mut self, retry: Duration) -> Result<(), SendError> {
        Event::new().retry(retry).encode(self.room()?);
        Ok(())
    }

    /// Accepts the event that ends the stream: type `close`, empty data. It is accepted
    /// however much waits; called again, it does nothing.
    pub fn close(&mut self) {
        if !self.closed {
            let event = Event::new().event(EventType::from_static("close")).data("");
            self.staged.fill(&event).encode(&mut self.bytes);
            self.closed = true;
        }
    }

    /// Forgets the first `taken` bytes of [`pending`](Self::pending): a writer has them.
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

    /// The bytes that wait for a writer, in order.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Whether so much waits that events are refused.
    #[must_use]
    pub fn is_full(&self) -> bool {
        !self.is_empty() && self.pending().len() >= self.max_pending
    }

    /// The bytes that wait.
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

    /// Appends what `encode` appends, or, when it fails, nothing.
    fn push(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>, &Staged) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        self.room()?;
        let bytes = Rollback::new(&mut self.bytes);
        encode(bytes.0, &mut self.scratch, &self.staged)?;
        bytes.commit();
        self.staged.clear();
        Ok(())
    }

    /// The buffer, ready for one more event.
    fn room(&mut self) -> Result<&mut Vec<u8>, SendError> {
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
        // Moving no more than has been taken keeps the cost linear.
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

/// The capacity that an empty buffer keeps, so that usual events cost no allocation.
const MAX_IDLE: usize = 16 << 10;

/// Why an event could not be sent.
///
/// Every error but [`Io`](Self::Io) means that nothing of the event was accepted. It
/// converts into an [`io::Error`].
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// A field cannot hold the text.
    Field(FieldError),
    /// The data is not UTF-8; the format has no binary data.
    Utf8(str::Utf8Error),
    /// The value could not be serialised.
    #[cfg(feature = "json")]
    Json(serde_json::Error),
    /// The value could not be displayed.
    Display(fmt::Error),
    /// Too many bytes wait for the writer.
    Full {
        /// How many wait.
        pending: usize,
    },
    /// The stream has been closed.
    Closed,
    /// The writer failed. **The event was accepted** and waits: the next call goes on
    /// where the writer stopped. Don't send it again.
    Io(io::Error),
}

impl Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(error) => error.fmt(f),
            Self::Utf8(error) => write!(
                f,
                "the data is not UTF-8 from byte {}; encode binary data as text, say in base64",
                error.valid_up_to()
            ),
            #[cfg(feature = "json")]
            Self::Json(error) => write!(f, "the data does not serialise as JSON: {error}"),
            Self::Display(_) => f.write_str("the data's Display implementation failed"),
            Self::Full { pending } => write!(
                f,
                "{pending} bytes wait for the writer; flush them or give the client up"
            ),
            Self::Closed => f.write_str("the stream has been closed; open another"),
            Self::Io(error) => write!(f, "the event waits, because the writer failed: {error}"),
        }
    }
}

impl error::Error for SendError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Field(error) => Some(error),
            Self::Utf8(error) => Some(error),
            #[cfg(feature = "json")]
            Self::Json(error) => Some(error),
            Self::Display(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Full { .. } | Self::Closed => None,
        }
    }
}

impl From<FieldError> for SendError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<str::Utf8Error> for SendError {
    fn from(error: str::Utf8Error) -> Self {
        Self::Utf8(error)
    }
}

#[cfg(feature = "json")]
impl From<serde_json::Error> for SendError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<fmt::Error> for SendError {
    fn from(error: fmt::Error) -> Self {
        Self::Display(error)
    }
}

impl From<io::Error> for SendError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        let kind = match error {
            SendError::Io(error) => return error,
            // Not `WouldBlock`: that the writer is ready again may never be told.
            SendError::Full { .. } => io::ErrorKind::QuotaExceeded,
            SendError::Closed => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// Takes back what was appended, unless that is committed: also when a panic of the caller's
/// code unwinds.
struct Rollback<'a>(&'a mut Vec<u8>, usize);

impl<'a> Rollback<'a> {
    const fn new(bytes: &'a mut Vec<u8>) -> Self {
        let len = bytes.len();
        Self(bytes, len)
    }

    fn commit(mut self) {
        self.1 = self.0.len();
    }
}

impl Drop for Rollback<'_> {
    fn drop(&mut self) {
        self.0.truncate(self.1);
    }
}

/// The fields that were set ahead of the event that will carry them.
///
/// The texts keep their buffers, so that staging allocates nothing after a while.
#[derive(Debug)]
struct Staged {
    id: Slot,
    event: Slot,
    retry: Option<Duration>,
}

impl Staged {
    const fn new() -> Self {
        Self {
            id: Slot::new(),
            event: Slot::new(),
            retry: None,
        }
    }

    const fn clear(&mut self) {
        self.id.is_set = false;
        self.event.is_set = false;
        self.retry = None;
    }

    const fn is_empty(&self) -> bool {
        !self.id.is_set && !self.event.is_set && self.retry.is_none()
    }

    fn id(&self) -> Option<EventId<'_>> {
        self.id.get().map(EventId::trusted)
    }

    fn event(&self) -> Option<EventType<'_>> {
        self.event.get().map(EventType::trusted)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if !self.is_empty() {
            encode::head(out, self.id().as_ref(), self.event().as_ref(), self.retry);
        }
    }

    /// `event`, with what is staged where it has nothing of its own.
    fn fill<'a>(&'a self, event: &'a Event<'_>) -> Event<'a> {
        let event = event.borrowed();
        Event {
            id: event.id.or_else(|| self.id()),
            event: event.event.or_else(|| self.event()),
            retry: event.retry.or(self.retry),
            ..event
        }
    }
}

/// A text that is set or not, and whose buffer stays.
#[derive(Debug)]
struct Slot {
    text: String,
    is_set: bool,
}

impl Slot {
    const fn new() -> Self {
        Self {
            text: String::new(),
            is_set: false,
        }
    }

    fn set(&mut self, text: &str) {
        self.text.clear();
        self.text.push_str(text);
        self.is_set = true;
    }

    fn get(&self) -> Option<Cow<'_, str>> {
        self.is_set.then_some(Cow::Borrowed(&*self.text))
    }
}

/// Text formatting into bytes.
struct Appender<'a>(&'a mut Vec<u8>);

impl fmt::Write for Appender<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
