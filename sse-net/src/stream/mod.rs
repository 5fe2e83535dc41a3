//! Per-client streams: events for one client, with back-pressure.

mod deadline;
mod drive;
pub(crate) mod pipe;

use std::fmt::Display;
use std::io;
use std::time::Duration;

pub use pipe::PipeWriter;
use serde::Serialize;
use sse_core::{Event, EventId, EventType, FieldError, Outbox, SendError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::stats::Disconnect;
use crate::transport::Transport;
use crate::transport::presence::Presence;

/// An event stream for one client: [`sse_core::Stream`], async and with back-pressure.
///
/// A call accepts its event at once, and returns when the connection has taken it. If the call
/// is cancelled or fails with [`SendError::Io`], the event has been accepted: the next call
/// begins with the rest of it, so no event is torn or doubled. On any other error, nothing of
/// the event was accepted.
///
/// A call that waits also reads, and fails once the client has disconnected.
///
/// A server drops the future of [`Request::stream`](crate::Request::stream) when the client
/// disconnects, wherever the future waits, and sends heartbeats meanwhile:
///
/// ```
/// use sse_net::{Answer, Request};
/// # struct Model;
/// # impl Model {
/// #     fn ask(_: Option<&str>) -> Self { Self }
/// #     async fn next_token(&mut self) -> Option<String> { None }
/// # }
///
/// async fn ask(request: Request) -> Answer {
///     let mut model = Model::ask(request.query());
///     request.stream(async move |mut stream| {
///         // When the client disconnects, the model is dropped, too.
///         while let Some(token) = model.next_token().await {
///             stream.write_str(&token).await?;
///         }
///         stream.close().await
///     })
/// }
/// # let _ = ask;
/// ```
#[derive(Debug)]
pub struct Stream<C = Transport> {
    connection: C,
    outbox: Outbox,
    write_timeout: Duration,
    heartbeat: Option<Duration>,
    /// When `closed` sends a heartbeat.
    heartbeat_at: Option<Instant>,
    presence: Presence,
    is_flushed: bool,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Stream<C> {
    /// Creates a stream over `connection`.
    ///
    /// Its calls fail when the connection takes no byte of unsent events for `write_timeout`.
    pub const fn new(connection: C, write_timeout: Duration) -> Self {
        Self {
            connection,
            outbox: Outbox::new(),
            write_timeout,
            heartbeat: None,
            heartbeat_at: None,
            presence: Presence::new(64 << 10),
            is_flushed: true,
        }
    }

    /// Sets the interval of heartbeats, which [`closed`](Self::closed) sends.
    ///
    /// A heartbeat is an empty comment, sent when nothing has been written for `interval`, or
    /// 250 ms if that is longer. Default: none, because a server sends heartbeats itself.
    #[must_use]
    pub const fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = Some(interval);
        self
    }

    /// Sets how many bytes the client may send before it counts as disconnected.
    ///
    /// They are discarded. Default: 64 KiB.
    #[must_use]
    pub const fn max_input(mut self, bytes: usize) -> Self {
        self.presence.set_max_input(bytes);
        self
    }

    /// Sets the number of unsent bytes at which further events are refused.
    ///
    /// Bytes accumulate only when calls are cancelled or fail. Default: 1 MiB.
    #[must_use]
    pub fn max_pending(mut self, bytes: usize) -> Self {
        self.outbox.set_max_pending(bytes);
        self
    }

    /// Sets the ID of the next event.
    ///
    /// # Errors
    ///
    /// Text that is not an event ID; see [`EventId::new`].
    pub fn set_id<'a>(
        &mut self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        self.outbox.set_id(id)
    }

    /// Sets the type of the next event.
    ///
    /// # Errors
    ///
    /// Text with a line break.
    pub fn set_event<'a>(
        &mut self,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
    ) -> Result<(), FieldError> {
        self.outbox.set_event(event)
    }

    /// Sets the reconnection time that the next event carries.
    pub const fn set_retry(&mut self, retry: Duration) {
        self.outbox.set_retry(retry);
    }

    /// Sends an event. Fields that it lacks are taken from the setters.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::send`].
    pub async fn send(&mut self, event: &Event<'_>) -> Result<(), SendError> {
        self.accept(|outbox| outbox.send(event)).await
    }

    /// Sends `text` as data.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::write_str`].
    pub async fn write_str(&mut self, text: &str) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_str(text)).await
    }

    /// Sends `text` as data.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::write_bytes`].
    pub async fn write_bytes(&mut self, text: &[u8]) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_bytes(text)).await
    }

    /// Sends `value` as JSON.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::write_json`].
    pub async fn write_json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_json(value)).await
    }

    /// Sends an integer as data.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::write_int`].
    pub async fn write_int(&mut self, value: impl sse_core::Integer) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_int(value)).await
    }

    /// Sends a float as data; see [`sse_core::Stream::write_float`].
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::write_float`].
    pub async fn write_float(&mut self, value: f64) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_float(value)).await
    }

    /// Sends the `Display` form of `value` as data.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::write_display`].
    pub async fn write_display(
        &mut self,
        value: &(impl Display + ?Sized),
    ) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_display(value)).await
    }

    /// Sends an event with this ID, type and data.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::write_event`].
    pub async fn write_event<'a>(
        &mut self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
        data: &'a str,
    ) -> Result<(), SendError> {
        self.accept(|outbox| outbox.write_event(id, event, data))
            .await
    }

    /// Sends a comment, which browsers ignore.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::comment`].
    pub async fn comment(&mut self, text: &str) -> Result<(), SendError> {
        self.accept(|outbox| outbox.comment(text)).await
    }

    /// Writes the unsent bytes, and flushes the connection.
    ///
    /// # Errors
    ///
    /// Those of the connection; the bytes that it did not take remain unsent.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.is_flushed = false;
        self.drain().await
    }

    /// Ends the stream with a `close` event, and shuts the connection down.
    ///
    /// The event's data is empty. A page that listens for `close` can close its `EventSource`;
    /// otherwise the browser reconnects, as after any end of a stream.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn close(mut self) -> io::Result<()> {
        self.outbox.close();
        self.end().await
    }

    /// Ends the stream without a further event, and shuts the connection down.
    ///
    /// For pages that know the last event by its content. A server does the same when the future
    /// of [`Request::stream`](crate::Request::stream) resolves to `Ok`. A stream over a connection
    /// of the program's own is cut off when it is dropped, which a TLS client reports as an error.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn end(mut self) -> io::Result<()> {
        self.flush().await?;
        self.shut_down().await
    }

    /// Waits until the client disconnects, and sends [heartbeats](Self::heartbeat) meanwhile.
    ///
    /// A client counts as disconnected when its connection is reset or fails, when it takes no
    /// byte for the write timeout, or when it sends [too many bytes](Self::max_input). A
    /// half-closed client counts as connected. In a drain, the stream of a server ends at the end
    /// of the window. Unsent bytes are written meanwhile. It may be cancelled and called again.
    pub async fn closed(&mut self) {
        while !self.presence.has_left() {
            if self.is_drained() {
                self.watch().await;
            } else if self.drain().await.is_err() {
                self.presence.leave(Disconnect::ClientClosed);
            }
        }
    }
}

impl<C> Stream<C> {
    /// Returns the connection.
    pub const fn connection(&self) -> &C {
        &self.connection
    }

    /// Converts the connection, for example into a [`Tee`](crate::Tee) around it.
    ///
    /// Unsent bytes are written to the new connection.
    pub fn map_connection<D>(self, connection: impl FnOnce(C) -> D) -> Stream<D> {
        Stream {
            connection: connection(self.connection),
            outbox: self.outbox,
            write_timeout: self.write_timeout,
            heartbeat: self.heartbeat,
            heartbeat_at: self.heartbeat_at,
            presence: self.presence,
            is_flushed: self.is_flushed,
        }
    }

    /// Returns the bytes that the connection has not taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.outbox.pending()
    }

    /// Returns the connection, and the bytes that it has not taken.
    #[must_use]
    pub fn into_parts(self) -> (C, Vec<u8>) {
        (self.connection, self.outbox.into_pending())
    }
}
