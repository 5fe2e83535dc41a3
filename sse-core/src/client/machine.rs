//! What a client does next.

use std::time::{Duration, SystemTime};
use std::{fmt, mem};

use bytes::Bytes;

use super::backoff::Backoff;
use super::ending::Delay;
use super::error::{ClientError, Deadline, ErrorResponse};
use super::inbox::Inbox;
use super::item::Closed;
use super::request::Target;
use super::source::EventSource;
use super::url::Url;
use crate::decode::Decoder;
use crate::http::{BodyReader, ResponseHeadReader, check_header_value};

/// A client without a socket, a clock and a source of randomness.
///
/// A shell around it asks for the next [`step`](Self::step), takes it, and reports what happened:
/// [`connected`](Self::connected), [`sent`](Self::sent), [`receive`](Self::receive),
/// [`end`](Self::end) or [`fail`](Self::fail). In between, [`next_item`](Self::next_item) decodes
/// and lends what was received. `sse-net` has such shells.
///
/// `now` is the time since any moment by a steady clock, the same for all calls.
///
/// ```
/// use std::time::Duration;
/// use sse_core::client::{EventSource, Item, Machine, Step};
///
/// let now = Duration::from_secs(1);
/// let mut machine = Machine::new(EventSource::get("http://example.org/ticks")?, 42);
/// assert!(matches!(machine.step(now), Step::Connect { .. }));
/// machine.connected(now);
/// assert!(machine.unsent().starts_with(b"GET /ticks HTTP/1.1\r\nHost: example.org\r\n"));
/// machine.sent(now, machine.unsent().len());
/// machine.receive(now, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
/// machine.receive(now, b"id: 7\ndata: hey\n\n");
/// assert!(matches!(machine.next_item(), Some(Item::Opened(_))));
/// assert!(matches!(machine.next_item(), Some(Item::Event(event)) if event.data() == "hey"));
/// machine.end(now);
/// assert!(matches!(machine.next_item(), Some(Item::Closed(_))));
/// assert!(matches!(machine.step(now), Step::Wait { .. }));
/// # Ok::<(), sse_core::FieldError>(())
/// ```
pub struct Machine {
    pub(super) source: EventSource,
    pub(super) target: Target,
    pub(super) state: State,
    pub(super) backoff: Backoff,
    pub(super) body: Option<BodyReader>,
    pub(super) decoder: Decoder,
    pub(super) inbox: Inbox,
    /// The bytes of the request, of which `sent` have been sent.
    pub(super) request: Vec<u8>,
    pub(super) sent: usize,
    pub(super) attempts: u64,
    pub(super) events: u64,
    pub(super) has_opened: bool,
    /// Whether the call has been opened, so that it is only ever resumed.
    pub(super) is_resuming: bool,
    /// The system's time when the steady clock was zero.
    pub(super) epoch: Option<SystemTime>,
    pub(super) closed_hook: Option<fn(&Url, &Closed)>,
    /// When the deadline for everything passes; known from the first step on.
    deadline: Option<Duration>,
}

/// What the machine waits for.
///
/// ```text
///                        ┌──── redirect ────┐
///                        v                  │
///   Waiting ──────> Connecting ──────> Exchanging ─── 200 ───> Open
///      ^                 │                  │ │                  │
///      └── may repeat ───┴──────────────────┼─┼──────────────────┤ failure, end, deadline,
///                                           │ │                  │ retryable status
///                                           │ └─ another status  │
///                                       204 │        v           │ last event, limit,
///                                           │     Refused        │ may not repeat
///                                           v        v           v
///                                         Over <─────────────────┘
/// ```
#[derive(Debug)]
pub(super) enum State {
    Waiting {
        until: Duration,
    },
    Connecting {
        deadline: Duration,
    },
    Exchanging {
        head: Box<ResponseHeadReader>,
        deadline: Duration,
    },
    Open {
        since: Duration,
        last_byte: Duration,
        last_event: Duration,
        /// Whether there were items, or events, since the last step.
        has_items: bool,
        has_events: bool,
    },
    Refused {
        response: Box<ErrorResponse>,
        deadline: Duration,
    },
    Over(Option<Result<(), ClientError>>),
}

/// What the shell of a [`Machine`] has to do next.
///
/// Whatever is not [`Exchange`](Self::Exchange) means that there is no connection: the shell
/// drops the one it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Wait until this time.
    Wait {
        /// The time of the next attempt.
        until: Duration,
    },
    /// Open a connection to [`Machine::url`], and report [`connected`](Machine::connected) or
    /// [`fail`](Machine::fail).
    Connect {
        /// When to ask for a step again if nothing has happened.
        deadline: Duration,
    },
    /// Write [`Machine::unsent`], if that is not empty, and read.
    Exchange {
        /// When to ask for a step again if nothing has happened.
        deadline: Duration,
    },
    /// Nothing: [`Machine::take_result`] returns why.
    Over,
}

impl Machine {
    /// Creates a machine that follows `source`.
    ///
    /// `seed` is a random number, a different one for each client.
    #[must_use]
    pub fn new(source: EventSource, seed: u64) -> Self {
        let settings = &source.settings;
        let mut decoder = Decoder::new()
            .max_line(settings.max_line)
            .max_event(settings.max_event);
        if let Some(id) = &source.last_event_id {
            decoder.commit_id(id);
        }
        Self {
            target: Target::new(false),
            state: State::Waiting {
                until: Duration::ZERO,
            },
            backoff: Backoff::new(seed),
            body: None,
            decoder,
            inbox: Inbox::default(),
            request: Vec::new(),
            sent: 0,
            attempts: 0,
            events: 0,
            has_opened: false,
            is_resuming: false,
            epoch: None,
            closed_hook: None,
            deadline: None,
            source,
        }
    }

    /// Sets the system's time when `now` is zero. Default: unknown.
    ///
    /// It is used for a `Retry-After` that is a date, in a response without `Date`.
    #[must_use]
    pub const fn with_epoch(mut self, epoch: SystemTime) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Sets a hook that is called with each [`Closed`] and the URL of its request. Default: none.
    ///
    /// It is for logs: it is also called if the application takes only events.
    #[must_use]
    pub const fn on_closed(mut self, hook: fn(&Url, &Closed)) -> Self {
        self.closed_hook = Some(hook);
        self
    }

    /// Returns what to do next.
    ///
    /// The shell asks when there are no items, before it waits. While the application takes items,
    /// the shell does not read: that time counts only for [`EventSource::total`].
    pub fn step(&mut self, now: Duration) -> Step {
        self.keep_items();
        self.leave_out_application(now);
        let total = self.source.settings.total;
        let end = *self.deadline.get_or_insert(now.saturating_add(total));
        if now >= end && !self.is_over() {
            self.finish_failed(ClientError::TimedOut {
                deadline: Deadline::Total,
                after: total,
            });
        }
        self.check_deadlines(now);
        match &self.state {
            State::Waiting { until } => Step::Wait {
                until: end.min(*until),
            },
            State::Connecting { deadline } => Step::Connect {
                deadline: end.min(*deadline),
            },
            State::Exchanging { deadline, .. } | State::Refused { deadline, .. } => {
                Step::Exchange {
                    deadline: end.min(*deadline),
                }
            }
            State::Open {
                last_byte,
                last_event,
                ..
            } => {
                let silence = last_byte.saturating_add(self.source.settings.silence);
                let progress = last_event.saturating_add(self.source.settings.progress);
                Step::Exchange {
                    deadline: end.min(silence).min(progress),
                }
            }
            State::Over(_) => Step::Over,
        }
    }

    /// Returns the URL to connect to.
    #[must_use]
    pub fn url(&self) -> &Url {
        self.target.url(&self.source)
    }

    /// Returns the number of the current attempt, from 1; 0 before the first.
    #[must_use]
    pub const fn attempt(&self) -> u64 {
        self.attempts
    }

    /// Returns the source, for a hook that changes it before an attempt.
    #[must_use]
    pub const fn source(&self) -> &EventSource {
        &self.source
    }

    /// Returns whether the current request is the first of its attempt, not one after a redirect.
    #[must_use]
    pub const fn is_attempt_new(&self) -> bool {
        self.target.redirects == 0
    }

    /// Replaces the source, while the step is [`Step::Connect`].
    ///
    /// The new source has effect from the next request on, but for the limits of the decoder,
    /// the last event ID and [`total`](EventSource::total).
    pub fn set_source(&mut self, source: EventSource) {
        self.source = source;
        self.target = Target::new(self.target.is_bare);
    }

    /// Returns the method of the request.
    #[must_use]
    pub fn method(&self) -> &str {
        self.target.method(&self.source)
    }

    /// Returns the headers of the request, but for `Content-Length`.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.target.headers(&self.source, self.sendable_id())
    }

    /// Returns the body of the request.
    #[must_use]
    pub fn body(&self) -> Bytes {
        if self.target.is_bare {
            Bytes::new()
        } else {
            self.source.body.clone()
        }
    }

    /// Returns whether the stream is open.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Returns whether the step is [`Step::Exchange`], so that there is a connection.
    ///
    /// An item may end the stream: ask again after taking one.
    #[must_use]
    pub const fn is_exchanging(&self) -> bool {
        matches!(
            self.state,
            State::Exchanging { .. } | State::Open { .. } | State::Refused { .. }
        )
    }

    /// Returns whether nothing will follow the items that are there.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// Returns the result of a machine that is over, once; later `Ok`.
    ///
    /// # Errors
    ///
    /// Why the stream ended without success.
    pub fn take_result(&mut self) -> Result<(), ClientError> {
        match &mut self.state {
            State::Over(result) => result.take().unwrap_or(Ok(())),
            _ => Ok(()),
        }
    }

    /// Returns the ID that the next request will send; empty if there is none.
    ///
    /// Spaces and tabs at the ends, which headers lose, are removed. An ID that a header cannot
    /// carry, because it has a control character or more than 8 KiB, is not sent.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.sendable_id().unwrap_or_default()
    }

    /// Counts silence from now on if the application has taken items.
    ///
    /// What the server has sent meanwhile has not been looked for yet.
    fn leave_out_application(&mut self, now: Duration) {
        if let State::Open {
            last_byte,
            last_event,
            has_items,
            has_events,
            ..
        } = &mut self.state
        {
            if mem::take(has_items) {
                *last_byte = now;
            }
            if mem::take(has_events) {
                *last_event = now;
            }
        }
    }

    fn check_deadlines(&mut self, now: Duration) {
        let settings = &self.source.settings;
        let passed = match &self.state {
            State::Waiting { until } => {
                if now >= *until {
                    self.begin_attempt(now);
                }
                return;
            }
            State::Connecting { deadline } => {
                (now >= *deadline).then_some((Deadline::Connect, settings.connect_timeout))
            }
            State::Exchanging { deadline, .. } => {
                (now >= *deadline).then_some((Deadline::Head, settings.head_timeout))
            }
            State::Open {
                last_byte,
                last_event,
                ..
            } => {
                if now >= last_byte.saturating_add(settings.silence) {
                    Some((Deadline::Silence, settings.silence))
                } else if now >= last_event.saturating_add(settings.progress) {
                    Some((Deadline::Progress, settings.progress))
                } else {
                    None
                }
            }
            State::Refused { deadline, .. } => {
                if now >= *deadline {
                    self.finish_refused();
                }
                return;
            }
            State::Over(_) => return,
        };
        if let Some((deadline, after)) = passed {
            self.disconnect(
                now,
                ClientError::TimedOut { deadline, after },
                Delay::Backoff,
            );
        }
    }

    fn begin_attempt(&mut self, now: Duration) {
        self.attempts += 1;
        self.target = Target::new(self.is_resuming);
        self.begin_connecting(now);
    }

    pub(super) fn begin_connecting(&mut self, now: Duration) {
        self.sent = 0;
        self.request = Vec::new();
        self.state = State::Connecting {
            deadline: now.saturating_add(self.source.settings.connect_timeout),
        };
    }

    /// Returns the last event ID, if a request can carry it.
    ///
    /// It may be longer than an [`EventId`](crate::EventId), because it is the server's own.
    pub(super) fn sendable_id(&self) -> Option<&str> {
        let id = self.decoder.last_event_id().trim_matches([' ', '\t']);
        let is_sendable = !id.is_empty() && id.len() <= MAX_ID && check_header_value(id).is_ok();
        is_sendable.then_some(id)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the request: it holds credentials.
        f.debug_struct("Machine")
            .field("source", &self.source)
            .field("attempt", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// The longest ID that is sent, in bytes. Servers refuse longer headers.
const MAX_ID: usize = 8 << 10;
