//! The topics of a stream, which its responses and the handles that change it share.

use sse_core::{EventId, LogId};

use crate::config::Start;
use crate::sync::{Arc, Mutex, MutexGuard, lock};
use crate::topic::hub::{HubCore, NewestId};
use crate::topic::state::Shared;
use crate::topic::waiters::{Place, Waiters};

/// The topics of a stream that has a token.
pub(crate) struct TopicSet {
    /// The ID of the last change. It is stored with the hub locked, so a response that has read
    /// an ID of the hub sees every change before that ID without a lock.
    last: NewestId,
    state: Mutex<SetState>,
}

pub(super) struct SetState {
    pub(super) topics: Vec<Member>,
    /// The ID of the last change that removed a topic.
    pub(super) removed: LogId,
    /// The wakers of the responses.
    pub(super) waiters: Waiters,
}

/// A topic of a stream.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) topic: Arc<Shared>,
    /// The ID of the change that added it. The first topics have the smallest ID.
    pub(crate) change: LogId,
    /// The ID after which the client gets its events, up to the change without `id` lines.
    pub(super) from: LogId,
    /// The client's ID, if the topic continues after it.
    pub(super) after: Option<LogId>,
    /// The client's ID, if it is not known.
    pub(super) unknown: Option<EventId<'static>>,
    /// Where it begins, until the change has an ID.
    #[cfg_attr(
        not(feature = "redis"),
        expect(dead_code, reason = "only an engine assigns IDs later")
    )]
    pub(super) joins: Option<Box<Joins>>,
}

/// Where a topic begins that is added to a stream.
#[derive(Debug, Clone)]
pub(super) struct Joins {
    /// The last event ID that the client sent.
    pub(super) asked: Option<EventId<'static>>,
    pub(super) start: Start,
}

/// The ID of a change that waits until an engine has assigned one: later than any other.
pub(crate) const PENDING: LogId = LogId::MAX;

impl Member {
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.topic).addr()
    }

    pub(super) fn name(&self) -> &str {
        self.topic.name().map_or("", |name| name)
    }

    /// Returns `true` if the client gets something before the change's ID.
    pub(super) fn is_replayed(&self) -> bool {
        self.from < self.change || self.unknown.is_some()
    }
}

impl TopicSet {
    pub(super) fn new(topics: impl Iterator<Item = Arc<Shared>>) -> Arc<Self> {
        let first = topics.map(|topic| Member {
            topic,
            change: LogId::default(),
            from: LogId::default(),
            after: None,
            unknown: None,
            joins: None,
        });
        Arc::new(Self {
            last: NewestId::new(LogId::default()),
            state: Mutex::new(SetState {
                topics: first.collect(),
                removed: LogId::default(),
                waiters: Waiters::default(),
            }),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, SetState> {
        lock(&self.state)
    }

    /// Returns `true` if there may be a change after this ID. It may err only on that side, and
    /// takes no lock.
    pub(super) fn may_change_after(&self, id: LogId) -> bool {
        self.last.load() > id
    }

    /// Stores the ID of a change, with the set and the hub locked.
    pub(in crate::topic) fn note_change(&self, id: LogId) {
        self.last.store(id);
    }

    /// Returns the ID of the last change.
    pub(in crate::topic) fn last_change(&self) -> LogId {
        self.last.load()
    }

    /// Wakes the responses. Returns the number of wakers that panicked.
    pub(in crate::topic) fn wake(&self) -> u64 {
        let wakers = self.lock().waiters.take(None);
        wakers.wake()
    }

    pub(super) fn unregister(&self, place: Place) {
        let waker = self.lock().waiters.remove(place);
        drop(waker); // Without the lock; see `Waiters::remove`.
    }
}

impl SetState {
    /// Returns the ID of the first change after `applied`.
    pub(super) fn next_change(&self, applied: LogId) -> Option<LogId> {
        let changes = self.topics.iter().map(|member| member.change);
        let changes = changes.chain([self.removed]);
        changes.filter(|change| *change > applied).min()
    }

    /// Returns the topics that are followed after the changes up to `id`: in the place of those
    /// that were replaced, the ones that have their names now.
    pub(super) fn members(&mut self, hub: &HubCore, id: LogId) -> impl Iterator<Item = &Member> {
        for member in &mut self.topics {
            if member.topic.is_replaced() {
                member.topic = hub.successor(&member.topic);
            }
        }
        self.topics.iter().filter(move |member| member.change <= id)
    }
}

/// Drops topics that nobody else uses.
pub(super) fn release(hub: &HubCore, topics: impl IntoIterator<Item = Arc<Shared>>) {
    for topic in topics {
        hub.release(&topic);
    }
}
