//! The async stream, for what is written for one client.

pub(crate) mod pipe;

pub use pipe::PipeWriter;

use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use serde::Serialize;
use sse_core::{Event, EventId, EventType, FieldError, Outbox, SendError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout, timeout_at};

use crate::stats::Disconnect;
use crate::trace;
use crate::transport::Transport;
use crate::transport::presence::{LOOK, Presence, Sign};

/// An event stream for one client: the calls of [`sse_core::Stream`], with back-pressure.
///
/// A call accepts its event at once, and returns when the connection has taken it. When the
/// call is cancelled, or its error is [`SendError::Io`], the event was accepted all the same:
/// the next call begins with what is left of it, so no event is torn or doubled. Any other
/// error means that nothing of the event was accepted.
///
/// A read is always pending while a call waits, so that a client that leaves ends the wait.
///
/// A server drops the future of [`Request::stream`](crate::Request::stream) when its client
/// has gone, wherever the future waits, and sends the heartbeats meanwhile:
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
///         // Dropping the model stops it: nobody listens any more.
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
    beat_at: Option<Instant>,
    presence: Presence,
    is_flushed: bool,
}

impl<C: AsyncRead + AsyncWrite + Unpin> Stream<C> {
    /// A stream over `connection`, which fails when nothing of what waits is taken for the
    /// length of `write_timeout`.
    pub const fn new(connection: C, write_timeout: Duration) -> Self {
        Self {
            connection,
            outbox: Outbox::new(),
            write_timeout,
            heartbeat: None,
            beat_at: None,
            presence: Presence::new(64 << 10),
            is_flushed: true,
        }
    }

    /// Lets [`closed`](Self::closed) send an empty comment whenever nothing has been written for
    /// `silence`, but not more often than every quarter of a second. Off by default; the
    /// streams of a server get its heartbeats from the server.
    #[must_use]
    pub const fn heartbeat(mut self, silence: Duration) -> Self {
        self.heartbeat = Some(silence);
        self
    }

    /// How many bytes the client may send, which are thrown away, before it counts as gone. The
    /// default is 64 KiB.
    #[must_use]
    pub const fn max_input(mut self, bytes: usize) -> Self {
        self.presence.set_max_input(bytes);
        self
    }

    /// Refuses events while at least `bytes` bytes wait, which happens only when calls are
    /// cancelled or fail. The default is 1 MiB.
    #[must_use]
    pub fn max_pending(mut self, bytes: usize) -> Self {
        self.outbox.set_max_pending(bytes);
        self
    }

    /// Stages the ID of the next event.
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

    /// Stages the type of the next event.
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

    /// Sends an event. What it leaves open is filled with what is staged.
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
    pub async fn write_int(&mut self, value: impl itoa::Integer) -> Result<(), SendError> {
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

    /// Sends `value`, as it displays itself, as data.
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

    /// Sends an event with ID, type and data.
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

    /// Sends a comment, which browsers skip.
    ///
    /// # Errors
    ///
    /// As [`sse_core::Stream::comment`].
    pub async fn comment(&mut self, text: &str) -> Result<(), SendError> {
        self.accept(|outbox| outbox.comment(text)).await
    }

    /// Writes what waits, and flushes the connection.
    ///
    /// # Errors
    ///
    /// What the connection says; what it did not take still waits.
    pub async fn flush(&mut self) -> io::Result<()> {
        self.is_flushed = false;
        self.drain().await
    }

    /// Ends the stream: sends `event: close` with empty data, and ends the connection.
    ///
    /// A page that listens to `close` stops there; for one that does not, the browser
    /// reconnects as after any end of a stream.
    ///
    /// # Errors
    ///
    /// What the connection says.
    pub async fn close(mut self) -> io::Result<()> {
        self.outbox.close();
        self.end().await
    }

    /// Ends the stream without an event that says so, for pages that know by what came last.
    /// A stream that is merely dropped is cut, which a client over TLS takes for an attack.
    ///
    /// # Errors
    ///
    /// What the connection says.
    pub async fn end(mut self) -> io::Result<()> {
        self.flush().await?;
        self.shut_down().await
    }

    /// Waits until the client is gone: its connection is reset or fails, it takes nothing for
    /// the length of the write timeout, or it sends [too much](Self::max_input). A client that
    /// has only ended its own half of the connection is still there. A server's stream is gone,
    /// too, when the server drains, at the end of its window.
    ///
    /// Meanwhile what waits is written, and heartbeats are sent where they
    /// [are on](Self::heartbeat). It may be cancelled and called again.
    pub async fn closed(&mut self) {
        while !self.presence.has_left() {
            if self.is_drained() {
                self.watch().await;
            } else if self.drain().await.is_err() {
                self.presence.leave(Disconnect::Gone);
            }
        }
    }

    /// Waits until the client does something, or something is to be written.
    async fn watch(&mut self) {
        // Nobody tells that a client has reset the connection which had ended its half.
        let look_at = match self.presence.is_half_closed() {
            true => Instant::now().checked_add(LOOK),
            false => None,
        };
        let beat_at = self.beat_at;
        let watch = poll_fn(|cx| match self.poll_client(cx) {
            Poll::Pending if self.is_drained() => Poll::Pending,
            _ => Poll::Ready(()),
        });
        match beat_at.into_iter().chain(look_at).min() {
            Some(until) => _ = timeout_at(until, watch).await,
            None => watch.await,
        }
        if beat_at.is_some_and(|beat_at| beat_at <= Instant::now()) {
            self.beat();
        }
    }

    async fn accept(
        &mut self,
        push: impl FnOnce(&mut Outbox) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        if self.outbox.is_full() {
            // What a cancelled call has left. Whatever the connection says now, it says again
            // to the next event that is accepted; this one finds room or is refused.
            let _ = self.drain().await;
        }
        push(&mut self.outbox)?;
        trace::dropped_ids();
        self.is_flushed = false;
        Ok(self.drain().await?)
    }

    /// Writes what waits, and flushes. Each piece of progress has the write timeout anew.
    async fn drain(&mut self) -> io::Result<()> {
        let time = self.write_timeout;
        while !self.is_drained() {
            within(time, poll_fn(|cx| self.poll_progress(cx))).await?;
        }
        Ok(())
    }

    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.poll_client(cx).is_ready() {
            let gone = io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
            return Poll::Ready(Err(gone));
        }
        let connection = Pin::new(&mut self.connection);
        if self.outbox.is_empty() {
            ready!(connection.poll_flush(cx))?;
            self.is_flushed = true;
            self.beat_at = self
                .heartbeat
                .and_then(|silence| Instant::now().checked_add(silence.max(LOOK)));
            return Poll::Ready(Ok(()));
        }
        match ready!(connection.poll_write(cx, self.outbox.pending()))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            taken => self.outbox.advance(taken),
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps a read pending, so that a client that leaves is noticed; ready when it is gone.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(self.presence.poll(&mut self.connection, cx)) {
                Sign::Left(_) => return Poll::Ready(()),
                // A closed tab answers a heartbeat with a reset. A peer that has only ended
                // its own half reads on.
                Sign::HalfClosed => self.beat(),
            }
        }
    }

    /// Lets a heartbeat wait to be written, unless events do.
    fn beat(&mut self) {
        if self.outbox.is_empty() && self.outbox.comment("").is_ok() {
            self.is_flushed = false;
        }
    }

    async fn shut_down(&mut self) -> io::Result<()> {
        let connection = &mut self.connection;
        let ending = poll_fn(|cx| Pin::new(&mut *connection).poll_shutdown(cx));
        within(self.write_timeout, ending).await
    }

    const fn is_drained(&self) -> bool {
        self.outbox.is_empty() && self.is_flushed
    }
}

impl<C> Stream<C> {
    /// The connection.
    pub const fn connection(&self) -> &C {
        &self.connection
    }

    /// The same stream over another connection, made of this one, say a [`Tee`](crate::Tee)
    /// around it. What waits for the one waits for the other.
    pub fn map<D>(self, connection: impl FnOnce(C) -> D) -> Stream<D> {
        Stream {
            connection: connection(self.connection),
            outbox: self.outbox,
            write_timeout: self.write_timeout,
            heartbeat: self.heartbeat,
            beat_at: self.beat_at,
            presence: self.presence,
            is_flushed: self.is_flushed,
        }
    }

    /// The bytes that the connection has not taken.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.outbox.pending()
    }

    /// The connection, and the bytes that it has not taken.
    #[must_use]
    pub fn into_parts(self) -> (C, Vec<u8>) {
        (self.connection, self.outbox.into_pending())
    }
}

/// What `progress` gives, if it comes in time.
async fn within<T>(time: Duration, progress: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match timeout(time, progress).await {
        Ok(made) => made,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client took nothing for the length of the write timeout",
        )),
    }
}
