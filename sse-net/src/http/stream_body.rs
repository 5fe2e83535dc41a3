//! A stream as a body: its events, its heartbeats and its end.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::inner::Registration;
use crate::stats::Disconnect;
use crate::stream::pipe::PipeReader;
use crate::timer::Timer;
use crate::topic::Subscription;
use crate::trace;
use crate::transport::Until;

pub(super) struct StreamBody {
    registration: Registration,
    source: Source,
    /// The bytes before the first event.
    opening: Bytes,
    /// When the stream ends at the latest.
    ends_at: Option<Instant>,
    /// The reason for ending it then.
    end_reason: Disconnect,
    is_draining: bool,
    /// When a heartbeat is due, unless something is sent before.
    heartbeat_at: Option<Instant>,
    /// Until when new events wait, if the topic lingers.
    lingers_until: Option<Instant>,
    timer: Timer,
}

/// The source of a body's events.
pub(super) enum Source {
    Topic(Subscription),
    PerClient(PerClient),
    Awaited(Awaited),
}

/// A subscription that waits for its engine.
pub(super) struct Awaited {
    /// Resolves to `None` if the engine is away for too long.
    pub(super) subscribing: Subscribing,
    pub(super) retry: Option<Duration>,
}

pub(super) type Subscribing = Pin<Box<dyn Future<Output = Option<Subscription>> + Send>>;

/// A per-client stream.
pub(super) struct PerClient {
    reader: PipeReader,
    /// The future that writes the stream, unless it runs elsewhere.
    writer: Option<Writer>,
    result: io::Result<()>,
}

/// A future that writes a per-client stream.
pub(super) type Writer = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

/// The end of a stream.
pub(super) struct End {
    pub(super) last: Bytes,
    pub(super) error: Option<io::Error>,
    reason: Disconnect,
}

impl StreamBody {
    pub(super) fn new(
        registration: Registration,
        source: Source,
        opening: Vec<u8>,
        ends_at: Option<Instant>,
    ) -> Self {
        Self {
            // Set here, because there may be no opening whose write sets it.
            heartbeat_at: Instant::now().checked_add(registration.heartbeat_interval()),
            registration,
            source,
            opening: opening.into(),
            ends_at,
            end_reason: Disconnect::MaxAge,
            is_draining: false,
            lingers_until: None,
            timer: Timer::default(),
        }
    }

    pub(super) const fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn on_end(&mut self, hook: impl FnOnce(Disconnect) + Send + 'static) {
        self.registration.on_end(hook);
    }

    /// Ends the stream at a time or when a future resolves.
    pub(super) fn until<Kind>(&mut self, end: impl Until<Kind>) {
        let (at, signal) = end.into_end();
        if let Some(at) = at {
            self.end_at(at, Disconnect::Expired);
        }
        if let Some(signal) = signal {
            self.registration.add_signal(signal);
        }
    }

    /// Ends the stream at a time, unless it ends before.
    fn end_at(&mut self, at: Instant, reason: Disconnect) {
        if self.ends_at.is_none_or(|ends_at| at < ends_at) {
            (self.ends_at, self.end_reason) = (Some(at), reason);
        }
    }

    /// Resolves to the next bytes, or the end of the stream.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        let next = ready!(self.poll_bytes(cx));
        if let Err(end) = &next {
            self.registration.set_reason(end.reason);
        }
        Poll::Ready(next)
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        if !self.opening.is_empty() {
            let opening = mem::take(&mut self.opening);
            return self.send(opening, Instant::now());
        }
        self.check_drain(cx);
        if let Poll::Ready(reason) = self.registration.poll_signals(cx) {
            return Poll::Ready(Err(self.end_with_retry(reason, cx)));
        }
        loop {
            if self.ends_at.is_some_and(|at| at <= Instant::now()) {
                return Poll::Ready(Err(self.end_in_time(cx)));
            }
            if self.lingers_until.is_some_and(|at| at <= Instant::now()) {
                self.lingers_until = None;
            }
            if self.lingers_until.is_none()
                && let Poll::Ready(bytes) = self.poll_source(cx)
            {
                return self.send(bytes?, Instant::now());
            }
            let times = [self.ends_at, self.heartbeat_at, self.lingers_until];
            match times.into_iter().flatten().min() {
                Some(next) => ready!(self.timer.poll(next, cx)),
                None => return Poll::Pending,
            }
            let now = Instant::now();
            if self.heartbeat_at.is_some_and(|at| at <= now) {
                self.registration.stats().add_heartbeat();
                let heartbeat = self.registration.heartbeat();
                return self.send(heartbeat, now);
            }
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        let subscription = match &mut self.source {
            Source::Awaited(awaited) => {
                let subscription = ready!(awaited.subscribing.as_mut().poll(cx));
                return match self.subscribe(subscription, cx) {
                    Ok(opening) if opening.is_empty() => self.poll_source(cx),
                    opening => Poll::Ready(opening),
                };
            }
            Source::Topic(subscription) => subscription,
            Source::PerClient(stream) => {
                let taken = ready!(stream.poll_take(cx));
                return Poll::Ready(taken.ok_or_else(|| stream.end()));
            }
        };
        let stats = self.registration.stats();
        Poll::Ready(match ready!(subscription.poll_next(cx)) {
            Ok(Some(next)) => {
                stats.add_events(next.count);
                stats.add_bytes(next.bytes.len());
                self.lingers_until = subscription.lingers_until();
                Ok(next.bytes)
            }
            Ok(None) => Err(End::of(Disconnect::Finished)),
            Err(_) => match subscription.gap_event() {
                Some(gap) => {
                    stats.add_gap();
                    Ok(gap)
                }
                None => Err(End::of(Disconnect::Lagged)),
            },
        })
    }

    /// Follows a subscription for which the body has waited, and returns its first bytes.
    fn subscribe(
        &mut self,
        subscription: Option<Subscription>,
        cx: &mut Context<'_>,
    ) -> Result<Bytes, End> {
        let Source::Awaited(Awaited { retry, .. }) = self.source else {
            return Ok(Bytes::new());
        };
        let Some(mut subscription) = subscription else {
            return Err(self.end_with_retry(Disconnect::Expired, cx));
        };
        self.registration.stats().add_resume(subscription.resume());
        let mut opening = Vec::new();
        subscription.encode_opening(retry, &mut opening);
        self.source = Source::Topic(subscription);
        Ok(opening.into())
    }

    fn send(&mut self, bytes: Bytes, now: Instant) -> Poll<Result<Bytes, End>> {
        self.heartbeat_at = now.checked_add(self.registration.heartbeat_interval());
        Poll::Ready(Ok(bytes))
    }

    /// Sets the end of the stream in a drain: a random time within the window for a client that
    /// follows a topic, the end of the window for a per-client stream.
    fn check_drain(&mut self, cx: &Context<'_>) {
        if self.registration.register_waker(cx) {
            self.timer.set_other_task();
        }
        if let Some(drain) = self.registration.drain()
            && !self.is_draining
        {
            self.is_draining = true;
            let window = match self.source {
                Source::Topic(_) | Source::Awaited(_) => drain.window.mul_f64(fastrand::f64()),
                Source::PerClient(_) => drain.window,
            };
            if let Some(at) = drain.since.checked_add(window) {
                self.end_at(at, Disconnect::Drained);
            }
        }
    }

    /// Ends the stream at its maximum age or in a drain, after what was published before, such as an
    /// event that announces the drain.
    fn end_in_time(&mut self, cx: &mut Context<'_>) -> End {
        let published = match self.source {
            Source::Topic(_) => self.poll_source(cx),
            Source::Awaited(_) | Source::PerClient(_) => Poll::Pending,
        };
        match published {
            Poll::Ready(Err(end)) => end,
            Poll::Ready(Ok(bytes)) => self.end_after(bytes.into(), self.end_reason),
            Poll::Pending => self.end_with_retry(self.end_reason, cx),
        }
    }

    /// Ends the stream with a jittered reconnection time.
    fn end_with_retry(&mut self, reason: Disconnect, cx: &mut Context<'_>) -> End {
        let accepted = match &mut self.source {
            // The stream has accepted these events, so they are sent first.
            Source::PerClient(stream) => stream.reader.poll_take(cx),
            Source::Topic(_) | Source::Awaited(_) => Poll::Pending,
        };
        match accepted {
            Poll::Ready(Some(accepted)) => self.end_after(accepted, reason),
            _ => self.end_after(Vec::new(), reason),
        }
    }

    fn end_after(&self, mut last: Vec<u8>, reason: Disconnect) -> End {
        self.registration.append_retry(&mut last);
        End {
            last: last.into(),
            ..End::of(reason)
        }
    }
}

impl PerClient {
    pub(super) const fn new(reader: PipeReader, writer: Option<Writer>) -> Self {
        Self {
            reader,
            writer,
            result: Ok(()),
        }
    }

    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(writer) = &mut self.writer {
            self.reader.stop_waiting();
            if let Poll::Ready(result) = writer.as_mut().poll(cx) {
                self.result = result;
                self.writer = None;
            }
        }
        self.reader
            .poll_take(cx)
            .map(|taken| taken.map(Bytes::from))
    }

    fn end(&mut self) -> End {
        let reason = Disconnect::of(&self.result);
        let error = mem::replace(&mut self.result, Ok(())).err();
        if let (Disconnect::HandlerFailed, Some(error)) = (reason, &error) {
            trace::stream_failed(error);
        }
        End {
            error,
            ..End::of(reason)
        }
    }
}

impl End {
    const fn of(reason: Disconnect) -> Self {
        Self {
            last: Bytes::new(),
            reason,
            error: None,
        }
    }
}
