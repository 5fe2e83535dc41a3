//! Drives a per-client stream: the handler's future and the connection.
//!
//! The future writes whole events into a pipe within the process, and the task copies them to
//! the connection. So the task can send heartbeats while the future waits, and can drop the
//! future when the client disconnects.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sse_core::Event;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::config::{Config, jittered, shortened};
use crate::stats::{Disconnect, Stats};
use crate::stream::Stream;
use crate::stream::pipe::{PipeReader, pipe};
use crate::timer::Timer;
use crate::trace;
use crate::transport::Transport;
use crate::transport::presence::{LOOK, Presence, Sign};
use crate::unwind::{Panicked, catch_async};

/// The events of a per-client stream, as a handler answers with them.
pub(crate) struct Writing {
    /// The handler's future.
    writer: Writer,
    /// The other end of its pipe, which begins with the response head.
    reader: PipeReader,
    /// Whether the future continues when the client disconnects.
    is_detached: bool,
    /// Whether the stream ends with a reconnection time in a drain.
    sends_retry: bool,
}

/// A per-client stream and its connection.
pub(crate) struct PerClient {
    transport: Transport,
    presence: Presence,
    /// The handler's future, until it resolves.
    writer: Option<Writer>,
    reader: PipeReader,
    /// Resolves to the reason for which the stream ends early, such as a drain.
    ends: Pin<Box<dyn Future<Output = Disconnect> + Send>>,
    /// The bytes to write next, which end at the end of an event.
    pending: Vec<u8>,
    /// The number of those that the connection has taken.
    taken: usize,
    is_flushed: bool,
    /// Whether `pending` is the end of the stream.
    is_over: bool,
    reason: Disconnect,
    /// The time of the last progress: bytes were written, or none were pending.
    since: Instant,
    heartbeat_at: Option<Instant>,
    timer: Timer,
    /// Whether the stream ends with a reconnection time in a drain.
    sends_retry: bool,
    /// The silence after which a heartbeat is due.
    silence: Duration,
    config: Arc<Config>,
    stats: Arc<Stats>,
}

/// The future that writes a stream.
pub(crate) type Writer = Pin<Box<dyn Future<Output = Result<io::Result<()>, Panicked>> + Send>>;

impl Writing {
    /// Creates the stream for `write`, after the bytes that precede its first event.
    pub(crate) fn new<F>(
        opening: Vec<u8>,
        write: impl FnOnce(Stream) -> F,
        is_detached: bool,
        sends_retry: bool,
    ) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (pipe, reader) = pipe(opening);
        // The task applies the write timeout to the connection, so the pipe needs none.
        let writing = write(Stream::new(Transport::new(pipe), Duration::MAX));
        Self {
            writer: Box::pin(async {
                catch_async("a per-client stream's future", pin!(writing)).await
            }),
            reader,
            is_detached,
            sends_retry,
        }
    }
}

impl PerClient {
    /// Starts a stream. The future of a detached one runs in a separate task.
    pub(crate) fn new(
        transport: Transport,
        presence: Presence,
        writing: Writing,
        ends: impl Future<Output = Disconnect> + Send + 'static,
        (config, stats): (Arc<Config>, Arc<Stats>),
    ) -> Self {
        Self {
            transport,
            presence,
            writer: Some(if writing.is_detached {
                let task = tokio::spawn(writing.writer);
                Box::pin(async { task.await.unwrap_or(Err(Panicked)) })
            } else {
                writing.writer
            }),
            reader: writing.reader,
            ends: Box::pin(ends),
            pending: Vec::new(),
            taken: 0,
            is_flushed: false,
            is_over: false,
            reason: Disconnect::Finished,
            since: Instant::now(),
            heartbeat_at: None,
            timer: Timer::default(),
            sends_retry: writing.sends_retry,
            silence: shortened(config.heartbeat.max(LOOK)),
            config,
            stats,
        }
    }

    /// Runs the stream to its end and returns the reason, and the connection if it has to
    /// [linger](Transport::linger), because the client may be sending a body.
    pub(crate) async fn run(mut self) -> (Disconnect, Option<Transport>) {
        poll_fn(|cx| {
            self.take_opening(cx);
            Poll::Ready(())
        })
        .await;
        if let Err(reason) = poll_fn(|cx| self.poll(cx)).await {
            return (reason, None);
        }
        let is_orderly = self.reason.is_orderly();
        let lingers = is_orderly && self.presence.has_unread_body();
        // A TCP socket that is dropped right after this ends in the same way.
        let is_dropped = self.writer.is_none() && self.transport.is_tcp() && !lingers;
        if is_orderly && !is_dropped {
            let ending = self.transport.shutdown();
            let _ = timeout(self.config.write_timeout, ending).await;
        }
        // The future may have work left after it has closed its stream.
        if let Some(writer) = self.writer.take() {
            self.reason = reason(&writer.await);
        }
        (self.reason, lingers.then_some(self.transport))
    }

    /// Resolves when the stream is written in full, or to the reason of a disconnect.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        // Each source of wake-ups is polled once, unless its waker has not been registered.
        let mut is_woken = true;
        for _ in 0..TURNS {
            let looks = mem::take(&mut is_woken);
            if looks {
                match self.presence.poll(&mut self.transport, cx) {
                    Poll::Ready(Sign::Left(reason)) => return Poll::Ready(Err(reason)),
                    Poll::Ready(Sign::HalfClosed) => {
                        // A client that has closed its socket answers a heartbeat with a reset.
                        self.send_heartbeat();
                        is_woken = true;
                    }
                    Poll::Pending => {}
                }
            }
            self.poll_writer(cx);
            let now = Instant::now();
            if looks {
                self.poll_end(cx);
            }
            let is_written = match self.poll_write(now, cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Disconnect::ClientClosed)),
                Poll::Ready(Ok(())) if self.is_over => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if is_written && self.has_more(now, cx) {
                continue;
            }
            if self.poll_timer(is_written, now, cx).is_pending() {
                return Poll::Pending;
            }
            is_woken = true;
            let now = Instant::now();
            if !is_written && self.write_deadline().is_some_and(|at| at <= now) {
                return Poll::Ready(Err(Disconnect::WriteTimeout));
            }
            if self.heartbeat_at.is_some_and(|at| at <= now) {
                self.send_heartbeat();
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Polls the handler's future.
    fn poll_writer(&mut self, cx: &mut Context<'_>) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        self.reader.stop_waiting();
        if let Poll::Ready(written) = writer.as_mut().poll(cx) {
            self.reason = reason(&written);
            self.writer = None;
        }
    }

    /// Ends the stream early if it has to.
    fn poll_end(&mut self, cx: &mut Context<'_>) {
        if !self.is_over
            && let Poll::Ready(reason) = self.ends.as_mut().poll(cx)
        {
            self.end_with_retry(reason, cx);
        }
    }

    /// Takes the response head, with the first events if they are ready at once: one write for
    /// both.
    fn take_opening(&mut self, cx: &mut Context<'_>) {
        self.poll_writer(cx);
        if self.has_more(Instant::now(), cx) {
            self.taken = self.presence.sent();
        }
    }

    /// Takes the next bytes out of the pipe; returns whether there were any, or the end.
    fn has_more(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let taken = match self.reader.poll_take(cx) {
            Poll::Pending => return false,
            Poll::Ready(taken) => taken,
        };
        self.since = now;
        match taken {
            Some(bytes) => self.replace_pending(bytes),
            None => self.is_over = true,
        }
        true
    }

    fn replace_pending(&mut self, bytes: Vec<u8>) {
        (self.pending, self.taken) = (bytes, 0);
    }

    /// Ends the stream with a jittered reconnection time, after the events that the pipe has
    /// accepted.
    fn end_with_retry(&mut self, reason: Disconnect, cx: &mut Context<'_>) {
        self.writer = None;
        let mut last = self.pending.split_off(self.taken);
        if let Poll::Ready(Some(accepted)) = self.reader.poll_take(cx) {
            last.extend_from_slice(&accepted);
        }
        if self.sends_retry {
            let retry = jittered(self.config.retry);
            Event::new().retry(retry).encode(&mut last);
        }
        self.replace_pending(last);
        self.is_over = true;
        self.reason = reason;
    }

    /// Resolves when no bytes are pending and the connection is flushed.
    fn poll_write(&mut self, now: Instant, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut transport = Pin::new(&mut self.transport);
        while self.taken < self.pending.len() {
            let unsent = &self.pending[self.taken..];
            let taken = ready!(transport.as_mut().poll_write(cx, unsent))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
            self.is_flushed = false;
            self.since = now;
        }
        if !self.is_flushed {
            ready!(transport.poll_flush(cx))?;
            self.is_flushed = true;
            self.replace_pending(Vec::new());
            self.heartbeat_at = now.checked_add(self.silence);
        }
        Poll::Ready(Ok(()))
    }

    /// Resolves at the next heartbeat, deadline or check for a reset.
    fn poll_timer(&mut self, is_written: bool, now: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let look_at = self.presence.is_half_closed().then(|| now + LOOK);
        let due = if is_written {
            self.heartbeat_at
        } else {
            self.write_deadline()
        };
        match look_at.into_iter().chain(due).min() {
            Some(next) => self.timer.poll(next, cx),
            None => Poll::Pending,
        }
    }

    fn write_deadline(&self) -> Option<Instant> {
        self.since.checked_add(self.config.write_timeout)
    }

    /// Sends a heartbeat, unless other bytes are pending.
    fn send_heartbeat(&mut self) {
        if self.pending.is_empty() && self.is_flushed && !self.is_over {
            self.stats.add_heartbeat();
            self.replace_pending(self.config.heartbeat_form.encode());
            self.since = Instant::now();
        }
    }
}

/// Returns the reason for which a stream ended whose future resolved to `written`, and logs its
/// error.
fn reason(written: &Result<io::Result<()>, Panicked>) -> Disconnect {
    match written {
        Ok(Ok(())) => Disconnect::Finished,
        Ok(Err(error)) => {
            trace::stream_failed(error);
            Disconnect::HandlerFailed
        }
        Err(Panicked) => Disconnect::HandlerPanicked,
    }
}

/// The number of rounds of a poll, after which other tasks run: up to 1 MiB, as the pipe holds
/// 16 KiB.
const TURNS: usize = 64;
