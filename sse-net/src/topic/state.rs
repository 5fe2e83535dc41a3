//! What all handles of a topic share: its log and its subscribers, under one lock.

use std::time::Duration;

use sse_core::{Cursor, Log, LogId, Retention};
use tokio::runtime::Handle;

use super::clock::now;
use super::hub::NewestId;
use super::waiters::{Waiters, Wakers};
use super::watched::Subscriptions;
use crate::config::{SlowClients, TopicConfig};
use crate::sync::{Arc, Mutex, MutexGuard, lock};

pub(crate) struct Shared {
    pub(super) config: Arc<TopicConfig>,
    state: Mutex<State>,
    /// The newest ID that a hub has assigned to the topic.
    pub(super) newest: NewestId,
    /// `None` for a topic that stands alone.
    name: Option<Arc<str>>,
}

impl Shared {
    pub(crate) fn new(config: impl Into<Arc<TopicConfig>>, log: Log) -> Arc<Self> {
        Self::named(config.into(), log, None)
    }

    pub(super) fn named(config: Arc<TopicConfig>, log: Log, name: Option<Arc<str>>) -> Arc<Self> {
        Arc::new(Self {
            config,
            newest: NewestId::new(log.newest_id()),
            state: Mutex::new(State {
                log,
                waiters: Waiters::default(),
                subscriptions: Subscriptions::default(),
                watchers: None,
                runtime: None,
                is_finished: false,
            }),
            name,
        })
    }

    pub(crate) const fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    pub(crate) fn retention(&self) -> Retention {
        self.config.retention
    }

    /// Returns `true` if the topic may have events after this position. It may err only on that
    /// side, and takes no lock.
    pub(crate) fn may_have_after(&self, position: LogId) -> bool {
        self.newest.load() > position
    }

    /// Evicts events that have become too old.
    pub(crate) fn evict(&self) {
        let evicted = self.lock().log.evict(now());
        drop(evicted);
    }

    pub(crate) fn slow_clients(&self) -> SlowClients {
        self.config.slow_clients
    }

    /// How long events that follow a delivery wait.
    pub(crate) fn linger(&self) -> Duration {
        self.config.linger
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

pub(crate) struct State {
    pub(crate) log: Log,
    pub(super) waiters: Waiters,
    pub(super) subscriptions: Subscriptions,
    /// The wakers of tasks in `watched` and `unwatched`, once there were some.
    pub(super) watchers: Option<Box<Waiters>>,
    /// The runtime that wakes the subscribers, once they are many.
    pub(super) runtime: Option<Handle>,
    pub(super) is_finished: bool,
}

impl State {
    /// Takes the wakers of the subscribers that wait.
    pub(crate) fn take_wakers(&mut self) -> Wakers {
        self.waiters.take(self.runtime.as_ref())
    }

    /// Returns `true` if the topic is finished and has no event after `cursor`.
    pub(super) fn is_over(&self, cursor: Cursor) -> bool {
        self.is_finished && cursor >= self.log.tip()
    }

    /// Returns `true` if no event will ever have a later ID than this one of the hub.
    pub(super) fn is_over_after(&self, position: LogId) -> bool {
        self.is_finished && position >= self.log.newest_id()
    }
}
