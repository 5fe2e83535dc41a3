//! A stream as the body of an HTTP response.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::{fmt, io, mem};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sse_core::Event;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::responder::Member;
use crate::config::SlowClients;
use crate::stats::Disconnect;
use crate::stream::pipe::PipeReader;
use crate::topic::Subscription;

/// The body of an HTTP response that a [`Responder`](crate::Responder) gives.
///
/// One that follows a topic is a cursor: events that it has not been asked for wait in the
/// topic's log. A data frame is a slice of that log, up to 64 KiB or one longer event: shared,
/// or copied where it is the newest. Heartbeats, the end at the maximum age and that of a
/// drain come from the body itself, always between two events.
///
/// An HTTP server drops the body when the client is gone. It has to be polled on a Tokio
/// runtime with a clock.
pub struct Body(Content);

enum Content {
    Whole(Bytes),
    /// What a `HEAD` request is not shown, of unknown length.
    Hidden,
    Stream(Box<Streaming>),
}

impl Body {
    /// Calls `hook` once when the stream has ended, and why. Where the answer is no stream it
    /// is not called.
    ///
    /// It is called by whoever drives the body, so it has to be short: count, or send to a
    /// channel.
    ///
    /// ```
    /// # use sse_net::{Responder, Topic};
    /// # fn follow(responder: &Responder, request: &http::Request<()>, room: &Topic) {
    /// let response = responder.follow(request, room);
    /// let response = response.map(|body| body.on_end(|reason| println!("one has left: {reason:?}")));
    /// # }
    /// ```
    #[must_use]
    pub fn on_end(mut self, hook: impl FnOnce(Disconnect) + Send + 'static) -> Self {
        if let Content::Stream(stream) = &mut self.0 {
            stream.member.on_end(hook);
        }
        self
    }

    pub(crate) const fn hidden() -> Self {
        Self(Content::Hidden)
    }

    pub(crate) const fn whole(bytes: Bytes) -> Self {
        Self(Content::Whole(bytes))
    }

    /// A stream that begins with `preface`, and ends itself `leave_at` at the latest.
    pub(crate) fn stream(
        member: Member,
        source: Source,
        preface: Vec<u8>,
        leave_at: Option<Instant>,
    ) -> Self {
        Self(Content::Stream(Box::new(Streaming {
            member,
            source,
            preface: preface.into(),
            leave_at,
            is_draining: false,
            beat_at: None,
            lingers_until: None,
            timer: Timer::default(),
        })))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;

    /// What the writer of one client's own stream gives; no other stream fails.
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match &mut self.0 {
            Content::Whole(bytes) => mem::take(bytes),
            Content::Hidden => Bytes::new(),
            Content::Stream(stream) => match ready!(stream.poll_next(cx)) {
                Ok(bytes) => bytes,
                Err(ending) => {
                    stream.member.leaves(ending.reason);
                    *self = Self::whole(Bytes::new());
                    if let Some(error) = ending.error {
                        return Poll::Ready(Some(Err(error)));
                    }
                    ending.last
                }
            },
        };
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Content::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Hidden | Content::Stream(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Content::Whole(_) => "Body::Whole",
            Content::Hidden => "Body::Hidden",
            Content::Stream(stream) => match stream.source {
                Source::Topic(_) => "Body::Topic",
                Source::Own(_) => "Body::Own",
            },
        })
    }
}

/// Where the events of a body come from.
pub(crate) enum Source {
    Topic(Subscription),
    Own(Own),
}

/// A stream of one client's own.
pub(crate) struct Own {
    reader: PipeReader,
    /// Who writes it, unless that is a task of its own.
    pub(crate) writer: Option<Writer>,
    written: io::Result<()>,
}

/// Writes the stream of one client.
pub(crate) type Writer = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

impl Own {
    pub(crate) const fn new(reader: PipeReader) -> Self {
        Self {
            reader,
            writer: None,
            written: Ok(()),
        }
    }

    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(writer) = &mut self.writer
            && let Poll::Ready(written) = writer.as_mut().poll(cx)
        {
            self.written = written;
            self.writer = None;
        }
        self.reader.poll_take(cx)
    }

    fn ending(&mut self) -> Ending {
        let reason = Disconnect::of(&self.written);
        Ending {
            error: mem::replace(&mut self.written, Ok(())).err(),
            ..Ending::of(reason)
        }
    }
}

struct Streaming {
    member: Member,
    source: Source,
    /// What goes before anything else.
    preface: Bytes,
    /// When it has to end.
    leave_at: Option<Instant>,
    is_draining: bool,
    /// When a heartbeat is due, if nothing is given before.
    beat_at: Option<Instant>,
    /// Until when news wait, if the topic lingers.
    lingers_until: Option<Instant>,
    timer: Timer,
}

impl Streaming {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Ending>> {
        if !self.preface.is_empty() {
            let preface = mem::take(&mut self.preface);
            return self.deliver(preface, Instant::now());
        }
        self.watch_for_drain(cx);
        loop {
            if self.leave_at.is_some_and(|at| at <= Instant::now()) {
                return Poll::Ready(Err(self.say_goodbye(cx)));
            }
            if self.lingers_until.is_some_and(|at| at <= Instant::now()) {
                self.lingers_until = None;
            }
            if self.lingers_until.is_none()
                && let Poll::Ready(news) = self.poll_source(cx)
            {
                let (bytes, at) = news?;
                return self.deliver(bytes, at);
            }
            let times = [self.leave_at, self.beat_at, self.lingers_until];
            match times.into_iter().flatten().min() {
                Some(next) => ready!(self.timer.poll(next, cx)),
                None => return Poll::Pending,
            }
            let now = Instant::now();
            if self.beat_at.is_some_and(|at| at <= now) {
                self.member.stats().add_heartbeat();
                let heartbeat = self.member.heartbeat();
                return self.deliver(heartbeat, now);
            }
        }
    }

    /// News, and since when there is silence if nothing follows.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<(Bytes, Instant), Ending>> {
        let subscription = match &mut self.source {
            Source::Topic(subscription) => subscription,
            Source::Own(own) => {
                let taken = ready!(own.poll_take(cx));
                let taken = taken.map(|bytes| (bytes, Instant::now()));
                return Poll::Ready(taken.ok_or_else(|| own.ending()));
            }
        };
        let stats = self.member.stats();
        Poll::Ready(match ready!(subscription.poll_slice(cx)) {
            Ok(Some(slice)) => {
                let bytes = slice.bytes();
                stats.add_events(slice.count());
                stats.add_bytes(bytes.len());
                self.lingers_until = subscription.lingers_until();
                Ok((bytes, Instant::now()))
            }
            Ok(None) => Err(Ending::of(Disconnect::Finished)),
            Err(_) => match subscription.topic().slow_clients() {
                SlowClients::Disconnect => Err(Ending::of(Disconnect::FellBehind)),
                SlowClients::SkipAhead => {
                    stats.add_gap();
                    let cursor = subscription.cursor();
                    let gap = subscription.topic().gap_event(None, cursor);
                    Ok((gap.into(), Instant::now()))
                }
            },
        })
    }

    fn deliver(&mut self, bytes: Bytes, at: Instant) -> Poll<Result<Bytes, Ending>> {
        self.beat_at = at.checked_add(self.member.silence());
        Poll::Ready(Ok(bytes))
    }

    /// In a drain, who follows a topic leaves at some time within the window, and a stream of
    /// one client's own has all of it to come to its end.
    fn watch_for_drain(&mut self, cx: &Context<'_>) {
        if self.member.has_moved(cx) {
            self.timer.goes_off = None;
        }
        if let Some(drain) = self.member.drain()
            && !self.is_draining
        {
            self.is_draining = true;
            let window = match self.source {
                Source::Topic(_) => drain.window.mul_f64(fastrand::f64()),
                Source::Own(_) => drain.window,
            };
            let leave_at = drain.since.checked_add(window);
            self.leave_at = self.leave_at.into_iter().chain(leave_at).min();
        }
    }

    /// Ends a stream so that the client comes back at a time of its own.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) -> Ending {
        let mut last = Vec::new();
        // What its writer has been told is accepted goes first.
        if let Source::Own(own) = &mut self.source
            && let Poll::Ready(Some(accepted)) = own.reader.poll_take(cx)
        {
            last.extend_from_slice(&accepted);
        }
        Event::new().retry(self.member.retry()).encode(&mut last);
        Ending {
            last: last.into(),
            ..Ending::of(match self.is_draining {
                true => Disconnect::Drained,
                false => Disconnect::MaxAge,
            })
        }
    }
}

/// How a stream ends.
struct Ending {
    last: Bytes,
    reason: Disconnect,
    error: Option<io::Error>,
}

impl Ending {
    const fn of(reason: Disconnect) -> Self {
        Self {
            last: Bytes::new(),
            reason,
            error: None,
        }
    }
}

/// A timer that is set anew only when it goes off, and no clock is looked at before, for there
/// is much more to write than there are heartbeats.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    /// When it wakes who polls.
    goes_off: Option<Instant>,
}

impl Timer {
    /// Ready now and then, and at any rate `at` that time.
    fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if self.goes_off.is_some_and(|goes_off| goes_off <= at) && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        sleep.as_mut().reset(at);
        self.goes_off = Some(at);
        // A task that has used up its turn would be sent away without being entered.
        pin!(unconstrained(sleep.as_mut())).poll(cx)
    }
}
