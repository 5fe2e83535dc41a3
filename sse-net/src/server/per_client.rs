//! The task of a per-client stream, which drives the handler's future and the connection.
//!
//! The future writes into a pipe within the process, and the task writes to the connection
//! what comes out of it, always whole events. So the task can send heartbeats while the future
//! waits for something else, and drop the future wherever it waits once the client has gone.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use sse_core::Event;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::presence::{LOOK, Presence, Sign};
use super::unwind::{Panicked, catch_async};
use crate::config::{Config, jittered};
use crate::stats::{Disconnect, Stats};
use crate::stream::Stream;
use crate::stream::pipe::{PipeReader, pipe};
use crate::transport::Transport;

/// Writes a stream for one client.
pub(crate) type Write =
    Box<dyn FnOnce(Stream) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>> + Send>;

/// A per-client stream and its connection.
pub(crate) struct PerClient {
    transport: Transport,
    presence: Presence,
    /// The handler's future, until it is done.
    writer: Option<Writer>,
    reader: PipeReader,
    /// Ready at the end of a drain's window.
    drain: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What is to be written next; at its end it is between two events.
    pending: Bytes,
    is_flushed: bool,
    /// Whether nothing follows what is pending.
    is_over: bool,
    reason: Disconnect,
    /// When the connection last took something, or had nothing to take.
    since: Instant,
    heartbeat_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    heartbeat: Bytes,
    /// After how much silence a heartbeat is due.
    silence: Duration,
    config: Arc<Config>,
    stats: Arc<Stats>,
}

type Writer = Pin<Box<dyn Future<Output = Result<io::Result<()>, Panicked>> + Send>>;

impl PerClient {
    /// Begins a stream with `preface`. A `detached` one is written by a task of its own.
    pub(crate) fn new(
        transport: Transport,
        presence: Presence,
        preface: Vec<u8>,
        (write, is_detached): (Write, bool),
        drain: impl Future<Output = ()> + Send + 'static,
        (config, stats): (Arc<Config>, Arc<Stats>),
    ) -> Self {
        let (pipe, reader) = pipe();
        // That the client takes nothing is the task's matter.
        let writing = write(Stream::new(Transport::new(pipe), Duration::MAX));
        let writing = catch_async("a per-client stream's future", writing);
        let silence = config.heartbeat.max(LOOK);
        Self {
            transport,
            presence,
            writer: Some(match is_detached {
                false => Box::pin(writing),
                true => {
                    let task = tokio::spawn(writing);
                    Box::pin(async { task.await.unwrap_or(Err(Panicked)) })
                }
            }),
            reader,
            drain: Box::pin(drain),
            pending: preface.into(),
            is_flushed: false,
            is_over: false,
            reason: Disconnect::Finished,
            since: Instant::now(),
            heartbeat_at: None,
            timer: Box::pin(sleep_until(Instant::now())),
            heartbeat: config.heartbeat_form.encode().into(),
            // Up to a tenth early, so that not all are due at once.
            silence: silence - silence.mul_f64(fastrand::f64() / 10.0),
            config,
            stats,
        }
    }

    /// Runs until the stream has ended, and returns why.
    pub(crate) async fn run(mut self) -> Disconnect {
        if let Err(reason) = poll_fn(|cx| self.poll(cx)).await {
            return reason;
        }
        if matches!(self.reason, Disconnect::Finished | Disconnect::Drained) {
            let ending = self.transport.shutdown();
            let _ = timeout(self.config.write_timeout, ending).await;
        }
        // The program has ended the stream, and goes on with what it does after that.
        if let Some(writer) = self.writer.take() {
            self.reason = reason(&writer.await);
        }
        self.reason
    }

    /// Ready when everything is written, or the stream is broken off.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        for _ in 0..TURNS {
            match self.presence.poll(&mut self.transport, cx) {
                Poll::Ready(Sign::Left(reason)) => return Poll::Ready(Err(reason)),
                // A closed tab answers with a reset.
                Poll::Ready(Sign::HalfClosed) => self.send_heartbeat(),
                Poll::Pending => {}
            }
            self.poll_source(cx);
            let is_written = match self.poll_write(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Disconnect::Gone)),
                Poll::Ready(Ok(())) if self.is_over => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => true,
                Poll::Pending => false,
            };
            if is_written && self.has_more(cx) {
                continue;
            }
            if self.poll_timer(is_written, cx).is_pending() {
                return Poll::Pending;
            }
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

    /// Lets the handler's future go on, and ends the stream when the server's end does.
    fn poll_source(&mut self, cx: &mut Context<'_>) {
        if let Some(writer) = &mut self.writer
            && let Poll::Ready(written) = writer.as_mut().poll(cx)
        {
            self.reason = reason(&written);
            self.writer = None;
        }
        if !self.is_over && self.drain.as_mut().poll(cx).is_ready() {
            self.end_for_drain(cx);
        }
    }

    /// Takes what the future has written, unless something is still pending.
    fn has_more(&mut self, cx: &mut Context<'_>) -> bool {
        let taken = match self.reader.poll_take(cx) {
            Poll::Pending => return false,
            Poll::Ready(taken) => taken,
        };
        self.since = Instant::now();
        match taken {
            Some(bytes) => self.pending = bytes,
            None => self.is_over = true,
        }
        true
    }

    /// Ends the stream so that the client comes back at a time of its own. What the future was
    /// told is accepted goes first.
    fn end_for_drain(&mut self, cx: &mut Context<'_>) {
        self.writer = None;
        let mut last = self.pending.to_vec();
        if let Poll::Ready(Some(accepted)) = self.reader.poll_take(cx) {
            last.extend_from_slice(&accepted);
        }
        let retry = jittered(self.config.retry);
        Event::new().retry(retry).encode(&mut last);
        self.pending = last.into();
        self.is_over = true;
        self.reason = Disconnect::Drained;
    }

    /// Ready when nothing is pending and the connection is flushed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut transport = Pin::new(&mut self.transport);
        while !self.pending.is_empty() {
            let taken = ready!(transport.as_mut().poll_write(cx, &self.pending))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending.advance(taken);
            self.is_flushed = false;
            self.since = Instant::now();
        }
        if !self.is_flushed {
            ready!(transport.poll_flush(cx))?;
            self.is_flushed = true;
            self.pending = Bytes::new();
            self.heartbeat_at = Instant::now().checked_add(self.silence);
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when it is time to look at something again.
    fn poll_timer(&mut self, is_written: bool, cx: &mut Context<'_>) -> Poll<()> {
        let look_at = self
            .presence
            .is_half_closed()
            .then(|| Instant::now() + LOOK);
        let due = match is_written {
            true => self.heartbeat_at,
            false => self.write_deadline(),
        };
        let Some(next) = look_at.into_iter().chain(due).min() else {
            return Poll::Pending;
        };
        // One that goes off early is set anew: there is much more to write than to time.
        if self.timer.is_elapsed() || self.timer.deadline() > next {
            self.timer.as_mut().reset(next);
        }
        self.timer.as_mut().poll(cx)
    }

    fn write_deadline(&self) -> Option<Instant> {
        self.since.checked_add(self.config.write_timeout)
    }

    /// Sends a heartbeat, unless something else is on its way.
    fn send_heartbeat(&mut self) {
        if self.pending.is_empty() && self.is_flushed && !self.is_over {
            self.stats.add_heartbeat();
            self.pending = self.heartbeat.clone();
            self.since = Instant::now();
        }
    }
}

/// Why a stream ended whose future resolved to this while its client was there.
const fn reason(written: &Result<io::Result<()>, Panicked>) -> Disconnect {
    match written {
        Ok(Ok(())) => Disconnect::Finished,
        Ok(Err(_)) => Disconnect::HandlerFailed,
        Err(Panicked) => Disconnect::HandlerPanicked,
    }
}

/// How often one poll goes round before other tasks have their turn.
const TURNS: usize = 64;
