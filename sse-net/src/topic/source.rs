//! The events of a hub, or of a topic that stands alone, for what stores them and moves the mark.

use std::any::Any;
use std::collections::HashSet;
use std::pin::Pin;
use std::time::Duration;

use sse_core::{Epoch, LogId};
use tokio::sync::{Notify, watch};

use super::clock::now;
use super::hub::{HubCore, StoredNames};
use super::published::{PublishError, Published};
use super::state::Shared;
use super::stored::{Outcome, Storing};
use crate::sync::Arc;

/// Stores events and moves the mark: a journal or an engine.
pub(crate) trait Storage: Any + Send + Sync {
    /// Called after events have been appended, without a lock.
    fn wake(&self);

    /// Called instead of [`wake`](Self::wake) if a subscriber waits for the events.
    fn wake_for_subscriber(&self) {
        self.wake();
    }

    /// Returns whether publishing fails while half of a topic's retained bytes are not visible.
    fn bounds_backlog(&self) -> bool;

    /// Waits until an event is stored as the storage promises.
    fn stored<'a>(&'a self, published: &'a Published) -> Storing<'a>;

    /// Returns the engine, if the storage is one.
    fn engine(&self) -> Option<&dyn Engine> {
        None
    }
}

/// A storage elsewhere, which assigns the IDs of a hub's events and appends them to its topics.
pub(crate) trait Engine: Send + Sync {
    /// Queues the events of a batch, each as the wire bytes without an ID.
    fn publish(&self, batch: Outgoing) -> Result<watch::Receiver<Option<Outcome>>, PublishError>;

    /// Asks for a look at the last ID of the hub. Returns a number that
    /// [`looks`](Self::looks) reaches once there has been one.
    fn request_look(&self) -> u64;

    /// Calls `stop` when the run of this topic is stopped on any node.
    fn watch_stop(&self, topic: &Arc<str>, stop: &Arc<Notify>);

    /// Renews the lease of a run.
    fn renew_lease(&self, topic: &str, token: LogId) -> Asking<'_, Lease>;

    /// Stops the run of a topic on any node, and resolves to `false` if none is running.
    fn stop_run(&self, topic: &str) -> Asking<'_, bool>;

    /// Finds the run of a topic on any node.
    fn find_run(&self, topic: &str) -> Asking<'_, FoundRun>;

    /// Returns some topics of runs whose lease has run out, each with the token. Their names begin
    /// with `prefix`.
    fn lost_runs(&self, prefix: &str) -> Asking<'_, Vec<(String, LogId)>>;

    /// Returns a counter of looks; it changes when topics have been read, too.
    fn looks(&self) -> watch::Receiver<u64>;

    /// Returns how long an answer waits for the engine.
    fn max_wait(&self) -> Duration;
}

/// A question to an engine, which waits for as long as the engine is away. The error says why the
/// engine refuses to answer.
pub(crate) type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// The lease of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "only an engine creates it")
)]
pub(crate) enum Lease {
    Held,
    /// It is held, and the run is to be stopped.
    Stopped,
    Lost,
}

/// A run that was looked for on all nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "only an engine creates it")
)]
pub(crate) enum FoundRun {
    /// It is running or kept.
    Present,
    Expired,
    Unknown,
}

/// A batch of events on its way to an engine.
#[cfg_attr(
    not(feature = "redis"),
    expect(dead_code, reason = "only an engine reads it")
)]
pub(crate) struct Outgoing {
    pub(crate) topic: Arc<Shared>,
    pub(crate) kind: Kind,
    pub(crate) frames: Vec<Vec<u8>>,
    /// A key under which the batch is stored once.
    pub(crate) key: Option<Box<str>>,
    /// The token of the lease, if the topic is one of a run of this node.
    pub(crate) fence: Option<LogId>,
}

/// What a batch does to its topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Appends events.
    Events,
    /// Ends the topic, after an event if there is one.
    End,
    /// Appends the newest event of a key.
    Value(Box<str>),
    /// Starts a run, unless one of this topic is running or kept.
    Start(RunStart),
    /// Ends a run whose lease with this token has run out, with an event if there is one.
    EndLost(LogId),
    /// Appends the removal of a key, if it has a value.
    Removal(Box<str>),
}

/// The start of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunStart {
    /// Distinguishes this start from those of other nodes.
    pub(crate) owner: u64,
    pub(crate) lease: Duration,
    pub(crate) keep: Duration,
    pub(crate) remember: Duration,
}

/// What a storage reads from.
#[derive(Clone)]
pub(crate) enum Source {
    Hub(Arc<HubCore>),
    Topic(Arc<Shared>),
}

/// Topics that have new events.
#[derive(Default)]
pub(crate) struct NewEvents {
    /// All events up to this ID have been appended.
    pub(crate) until: LogId,
    pub(crate) topics: Vec<Arc<Shared>>,
    /// Topics that were removed from the hub, each with the ID at which that happened.
    pub(crate) removed: Vec<(LogId, Arc<str>)>,
}

/// What the topics retain.
#[derive(Default)]
pub(crate) struct Retained {
    /// The number of retained events.
    pub(crate) events: usize,
    /// The bytes of the topics' names, once for each event, and of keys.
    pub(crate) name_bytes: usize,
    /// The wire bytes of the events.
    pub(crate) bytes: usize,
}

impl NewEvents {
    /// Returns an ID without topics, which would be retained as long as this.
    pub(crate) fn up_to(until: LogId) -> Self {
        Self {
            until,
            ..Self::default()
        }
    }

    /// Adds later events.
    pub(crate) fn add(&mut self, mut later: Self) {
        self.until = later.until;
        let known: HashSet<_> = self.topics.iter().map(Arc::as_ptr).collect();
        later
            .topics
            .retain(|topic| !known.contains(&Arc::as_ptr(topic)));
        self.topics.append(&mut later.topics);
        self.removed.append(&mut later.removed);
    }
}

impl Source {
    /// Returns the ID of the last event.
    pub(crate) fn last(&self) -> LogId {
        match self {
            Self::Hub(hub) => hub.order().epochs.last(),
            Self::Topic(topic) => topic.lock().log.newest_id(),
        }
    }

    /// Returns the ID up to which later changes may affect what is read for `goal`.
    ///
    /// In keyed topics a later event supersedes an earlier one; topics may also be removed.
    pub(crate) fn superseded_by(&self, goal: &NewEvents) -> LogId {
        let removed = goal.removed.iter().map(|(id, _)| *id);
        let removed = removed.filter(|id| *id > goal.until).max();
        let removed = removed.unwrap_or_default();
        match self {
            Self::Hub(hub) if goal.topics.iter().any(|topic| topic.is_keyed()) => {
                removed.max(hub.order().visible())
            }
            _ => removed,
        }
    }

    /// Notes that events up to this ID are safe from a power failure.
    pub(crate) fn set_safe(&self, id: LogId) {
        if let Self::Hub(hub) = self {
            hub.set_safe(id);
        }
    }

    /// Notes that the storage writes nothing. It may have stored topics of the names `stored`, or
    /// of any that there is.
    pub(crate) fn begin_failure(&self, stored: Option<StoredNames>) {
        if let Self::Hub(hub) = self {
            hub.begin_failure(stored);
        }
    }

    /// Notes that the storage writes again, and returns the names that it may have stored before.
    pub(crate) fn end_failure(&self) -> Option<StoredNames> {
        match self {
            Self::Hub(hub) => hub.end_failure(),
            Self::Topic(_) => None,
        }
    }

    /// Returns the topics with events since the last call.
    pub(crate) fn new_events(&self) -> NewEvents {
        match self {
            Self::Hub(hub) => hub.order().take_new_events(),
            Self::Topic(topic) => Self::alone(topic),
        }
    }

    /// Returns the topics with events after an ID.
    pub(crate) fn events_after(&self, id: LogId) -> NewEvents {
        match self {
            Self::Hub(hub) => hub.events_after(id),
            Self::Topic(topic) => Self::alone(topic),
        }
    }

    fn alone(topic: &Arc<Shared>) -> NewEvents {
        NewEvents {
            until: topic.lock().log.newest_id(),
            topics: vec![Arc::clone(topic)],
            removed: Vec::new(),
        }
    }

    /// Moves the mark: events up to `id` are visible from now on.
    ///
    /// `topics` are those that have events between the mark and `id`. Returns the number of wakers
    /// that panicked.
    pub(crate) fn set_visible(&self, id: LogId, topics: &[Arc<Shared>]) -> u64 {
        match self {
            Self::Hub(hub) => hub.set_visible(id, topics),
            Self::Topic(topic) => topic.set_visible(id),
        }
    }

    /// Returns the epochs, the last of which is the current one.
    pub(crate) fn epochs(&self) -> Vec<Epoch> {
        match self {
            Self::Hub(hub) => hub.order().epochs.iter().collect(),
            Self::Topic(topic) => {
                let state = topic.lock();
                state
                    .log
                    .epochs()
                    .map_or_else(Vec::new, |epochs| epochs.iter().collect())
            }
        }
    }

    /// Returns the ID up to which events have been evicted in topics that have left no name.
    pub(crate) fn floor(&self) -> LogId {
        match self {
            Self::Hub(hub) => hub.floor(),
            Self::Topic(_) => LogId::default(),
        }
    }

    /// Evicts what has expired, and returns what is left.
    pub(crate) fn retained(&self) -> Retained {
        let mut retained = Retained::default();
        match self {
            Self::Hub(hub) => hub.retained(&mut retained),
            Self::Topic(topic) => retained.add(topic),
        }
        retained
    }

    /// Returns the wire bytes of the retained events up to an ID.
    pub(crate) fn retained_until(&self, id: LogId) -> usize {
        match self {
            Self::Hub(hub) => hub.retained_until(id),
            Self::Topic(topic) => topic.retained_until(id),
        }
    }
}

impl Retained {
    pub(super) fn add(&mut self, topic: &Shared) {
        let mut state = topic.lock();
        let evicted = state.log.evict(now());
        let count = state.log.len();
        self.events += count;
        self.name_bytes += count * topic.name().map_or(0, |name| name.len());
        self.name_bytes += state.log.key_bytes();
        self.bytes += state.log.bytes();
        state.rest();
        drop(state);
        drop(evicted);
    }
}

impl Shared {
    /// Returns the wire bytes of the retained events up to an ID.
    pub(super) fn retained_until(&self, id: LogId) -> usize {
        let mut state = self.lock();
        let bytes = state.log.bytes_until(id);
        state.rest();
        bytes
    }

    /// Makes events up to `id` visible, and wakes subscribers. Returns the number of wakers that
    /// panicked.
    pub(super) fn set_visible(&self, id: LogId) -> u64 {
        let mut state = self.lock();
        state.log.hold_after(id);
        if let Some(end) = &mut state.end {
            end.is_held &= end.id > id;
        }
        let wakers = state.take_wakers();
        state.rest();
        drop(state);
        let panics = wakers.wake();
        // In parts, because publishers wait for the lock.
        while let Some(evicted) = { self.lock_packed().log.settle() } {
            drop(evicted);
        }
        panics
    }
}
