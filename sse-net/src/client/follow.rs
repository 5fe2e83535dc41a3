//! The async client.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use sse_core::MessageEvent;
use sse_core::client::{ClientError, EventSource, Item, Machine, Step};
use tokio::time::{Instant, Sleep, sleep_until};

use super::connector::Boxed;
use super::link::{BoxError, Dialer, Link, Wire};
use crate::trace;

/// A client that follows an [`EventSource`], and reconnects as that allows.
///
/// It is made by [`Connect`](crate::Connect). It connects, reads and reconnects only while the
/// application awaits [`next`](Self::next) or [`next_item`](Self::next_item). Nothing is lost when
/// these are cancelled. Dropping the client closes its connection at once.
///
/// An idle client needs about 2 KB beside its connection. A server that sends faster than the
/// application takes items is slowed down by TCP.
///
/// ```no_run
/// use std::time::{Duration, SystemTime};
/// use sse_net::{ClientError, Connect, EventSource};
///
/// # async fn complete(key: &str, prompt: &str) -> Result<String, Box<dyn std::error::Error>> {
/// let mut tokens = EventSource::post("http://127.0.0.1:8080/v1/completions")?
///     .header("Authorization", key)?
///     .json(prompt)?
///     .silence(Duration::from_secs(30))
///     .ends_at_data("[DONE]")
///     .connect();
/// let mut text = String::new();
/// while let Some(event) = tokens.next().await? {
///     text += event.data(); // It is an error if the end is missing.
/// }
/// # Ok(text)
/// # }
/// ```
pub struct Client {
    machine: Machine,
    dialer: Dialer,
    hook: Option<Hook>,
    link: Link,
    /// The last step, unless it has to be asked for again.
    step: Option<Step>,
    timer: Option<Timer>,
    began: Instant,
}

type Hook = Box<dyn FnMut(EventSource) -> Boxed<Result<EventSource, BoxError>> + Send>;

struct Timer {
    sleep: Pin<Box<Sleep>>,
    deadline: Duration,
}

impl Client {
    pub(super) fn new(source: EventSource, dialer: Dialer) -> Self {
        Self {
            machine: Machine::new(source, fastrand::u64(..))
                .with_epoch(SystemTime::now())
                .on_closed(trace::reconnects),
            dialer,
            hook: None,
            link: Link::Closed,
            step: None,
            timer: None,
            began: Instant::now(),
        }
    }

    /// Sets a hook that is called before each attempt, and may change the source.
    ///
    /// It receives the source of the last attempt. An error counts as a failed attempt. The
    /// connect timeout covers the hook. Limits of the decoder, the last event ID and
    /// [`total`](EventSource::total) cannot be changed.
    ///
    /// ```
    /// use sse_net::{Connect, EventSource};
    ///
    /// # async fn fresh_token() -> String { String::new() }
    /// # fn example() -> Result<(), sse_net::FieldError> {
    /// let client = EventSource::get("http://127.0.0.1:31337/sse")?
    ///     .connect()
    ///     .before_attempt(async |source| source.header("Authorization", fresh_token().await));
    /// # let _ = client;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn before_attempt<F, R, E>(mut self, mut hook: F) -> Self
    where
        F: FnMut(EventSource) -> R + Send + 'static,
        R: Future<Output = Result<EventSource, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.hook = Some(Box::new(move |source| {
            let prepared = hook(source);
            Box::pin(async move { prepared.await.map_err(Into::into) })
        }));
        self
    }

    /// Returns the next event; `None` when the source has ended with success.
    ///
    /// Events by which the server reports a gap are events, too. Comments are skipped, and so are
    /// failed attempts: while the server of a feed cannot be reached, this waits. A program that
    /// logs why uses [`next_item`](Self::next_item), which returns them as
    /// [`Item::Closed`](sse_core::client::Item::Closed).
    ///
    /// # Errors
    ///
    /// Why the source cannot be followed any longer. It is returned once, and `None` after it.
    pub async fn next(&mut self) -> Result<Option<MessageEvent<'_>>, ClientError> {
        if !self.machine.skip_to_event() {
            poll_fn(|cx| self.poll_event(cx)).await?;
        }
        Ok(self.machine.next_event())
    }

    /// Returns the next item: an event, a comment, the beginning or the end of a connection.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn next_item(&mut self) -> Result<Option<Item<'_>>, ClientError> {
        poll_fn(|cx| self.poll_items(cx)).await?;
        Ok(self.machine.next_item())
    }

    /// Drops the connection and connects again at once, with the last event ID.
    ///
    /// A call that must not be sent again ends with [`ClientError::Restarted`].
    pub fn reconnect(&mut self) {
        self.machine.restart(self.began.elapsed());
        self.link = Link::Closed;
        self.step = None;
    }

    /// Returns the ID that the next request will send; empty if there is none.
    ///
    /// An ID with a control character or more than 8 KiB is not sent.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.machine.last_event_id()
    }

    /// Waits until there is an event. Resolves to `false` when nothing will follow.
    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientError>> {
        for _ in 0..BUDGET {
            if self.machine.skip_to_event() {
                return Poll::Ready(Ok(true));
            }
            if !ready!(self.poll_items(cx))? {
                return Poll::Ready(Ok(false));
            }
        }
        // Others have their turn, even if the server sends nothing but comments.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Waits until there are items. Resolves to `false` when nothing will follow.
    pub(super) fn poll_items(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, ClientError>> {
        for _ in 0..BUDGET {
            if self.machine.has_items() {
                return Poll::Ready(Ok(true));
            }
            // The last item may have ended the stream.
            let is_stale = |step: &Step| {
                matches!(step, Step::Exchange { .. }) && !self.machine.is_exchanging()
            };
            let Some(step) = self.step.filter(|step| !is_stale(step)) else {
                self.take_step();
                continue;
            };
            let deadline = match step {
                Step::Wait { until } => until,
                Step::Connect { deadline } => {
                    if self.poll_connect(cx).is_ready() {
                        continue;
                    }
                    deadline
                }
                Step::Exchange { deadline } => {
                    if self.poll_exchange(cx).is_ready() {
                        continue;
                    }
                    deadline
                }
                _ => return Poll::Ready(self.machine.take_result().map(|()| false)),
            };
            self.machine.shrink();
            ready!(self.poll_timer(cx, deadline));
            self.step = None;
        }
        // Others have their turn, however fast the server is.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn take_step(&mut self) {
        let step = self.machine.step(self.began.elapsed());
        let is_kept = match (&step, &self.link) {
            (Step::Exchange { .. }, _) => true,
            // What is open after a redirect belongs to the former request.
            (Step::Connect { .. }, Link::Preparing(_) | Link::Opening(_)) => true,
            _ => false,
        };
        if !is_kept {
            self.link = Link::Closed;
        }
        self.step = Some(step);
    }

    fn poll_connect(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.link {
            Link::Preparing(prepared) => {
                let prepared = ready!(prepared.as_mut().poll(cx));
                // A future that has ended is not polled again, whatever the next step is.
                self.link = Link::Closed;
                let now = self.began.elapsed();
                match prepared {
                    Ok(source) => {
                        self.machine.set_source(source);
                        self.link = self.open(now);
                    }
                    Err(error) => self.machine.fail_to_prepare(now, error),
                }
            }
            Link::Opening(opening) => {
                let opened = ready!(opening.as_mut().poll(cx));
                self.link = Link::Closed;
                let now = self.began.elapsed();
                match opened {
                    Ok(transport) => {
                        self.machine.connected(now);
                        self.link = Link::Wire(Wire::new(transport));
                    }
                    Err(error) => self.machine.fail(now, error),
                }
            }
            _ => {
                self.link = match &mut self.hook {
                    Some(hook) if self.machine.is_attempt_new() => {
                        Link::Preparing(hook(self.machine.source().clone()))
                    }
                    _ => self.open(self.began.elapsed()),
                };
                if let Link::Preparing(_) | Link::Opening(_) = self.link {
                    return self.poll_connect(cx);
                }
            }
        }
        self.step = None;
        Poll::Ready(())
    }

    /// Begins to open a connection, or to send the request by a library.
    fn open(&mut self, now: Duration) -> Link {
        match &mut self.dialer {
            Dialer::Wire(dialer) => {
                let _ = now;
                Link::Opening(Arc::clone(dialer).dial(self.machine.url().clone()))
            }
            #[cfg(feature = "http")]
            Dialer::Library(send) => super::exchange::send(&mut self.machine, now, send),
        }
    }

    /// Sends and receives. Ready if something has happened.
    fn poll_exchange(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let began = self.began;
        let clock = || began.elapsed();
        match &mut self.link {
            Link::Wire(wire) => ready!(wire.poll_exchange(cx, &mut self.machine, clock)),
            #[cfg(feature = "http")]
            Link::Requested(response) => {
                let response = ready!(response.as_mut().poll(cx));
                match super::exchange::respond(&mut self.machine, clock(), response) {
                    Some(body) => self.link = Link::Body(body),
                    None => self.link = Link::Closed,
                }
            }
            #[cfg(feature = "http")]
            Link::Body(body) => {
                ready!(super::exchange::poll_body(
                    body,
                    cx,
                    &mut self.machine,
                    clock
                ));
            }
            // The machine exchanges only what a link has begun.
            _ => return Poll::Pending,
        }
        // Deadlines pass also while there is always something to read.
        self.step = None;
        Poll::Ready(())
    }

    /// Waits until the deadline. The timer may fire earlier, for an earlier deadline.
    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Duration) -> Poll<()> {
        let Some(instant) = self.began.checked_add(deadline) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Timer {
            sleep: Box::pin(sleep_until(instant)),
            deadline,
        });
        if deadline < timer.deadline || timer.sleep.is_elapsed() {
            timer.sleep.as_mut().reset(instant);
            timer.deadline = deadline;
        }
        timer.sleep.as_mut().poll(cx)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("source", self.machine.source())
            .field("attempt", &self.machine.attempt())
            .finish_non_exhaustive()
    }
}

/// The events of the client, with errors once and at the end.
#[cfg(feature = "futures-core")]
impl futures_core::Stream for Client {
    type Item = Result<MessageEvent<'static>, ClientError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let client = self.get_mut();
        if let Err(error) = ready!(client.poll_event(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        let event = client.machine.next_event();
        Poll::Ready(event.map(|event| Ok(event.into_owned())))
    }
}

/// The steps of one poll. A read takes two.
const BUDGET: usize = 64;
