//! What all handles of a topic share: its log and its subscribers, under one lock.

use std::sync::TryLockError;
use std::time::Duration;

use sse_core::{Cursor, LogId, Retention};
use tokio::runtime::Handle;

use super::clock::now;
use super::hub::NewestId;
use super::log::TopicLog;
use super::progress::Progress;
use super::waiters::{Waiters, Wakers};
use crate::config::{SlowClients, TopicConfig};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, lock};

pub(crate) struct Shared {
    pub(super) config: Arc<TopicConfig>,
    state: Mutex<State>,
    /// Wakes the storage's writer.
    pub(crate) writer: Condvar,
    /// Wakes publishers that wait for the writer.
    pub(crate) synced: Condvar,
    /// The newest ID that a hub has assigned to the topic.
    pub(super) newest: NewestId,
    /// `None` for a topic that stands alone.
    name: Option<Arc<str>>,
    is_keyed: bool,
}

impl Shared {
    pub(crate) fn new(config: impl Into<Arc<TopicConfig>>, log: impl Into<TopicLog>) -> Arc<Self> {
        Self::named(config.into(), log.into(), None)
    }

    pub(super) fn named(
        config: Arc<TopicConfig>,
        log: TopicLog,
        name: Option<Arc<str>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            newest: NewestId::new(log.newest_id()),
            is_keyed: log.is_keyed(),
            state: Mutex::new(State {
                log,
                waiters: Waiters::default(),
                subscriptions: 0,
                runtime: None,
                is_finished: false,
                progress: None,
            }),
            writer: Condvar::new(),
            synced: Condvar::new(),
            name,
        })
    }

    pub(super) const fn name(&self) -> Option<&Arc<str>> {
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

    pub(crate) const fn is_keyed(&self) -> bool {
        self.is_keyed
    }

    /// Returns the treatment of slow clients. One of a keyed topic does not continue after a
    /// gap, because its IDs would fall.
    pub(crate) fn slow_clients(&self) -> SlowClients {
        if self.is_keyed {
            return SlowClients::Disconnect;
        }
        self.config.slow_clients
    }

    /// How long events that follow a delivery wait.
    pub(crate) fn linger(&self) -> Duration {
        self.config.linger
    }

    /// Locks the state, unless it is locked already.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, State>> {
        match self.state.try_lock() {
            Ok(state) => Some(state),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

pub(crate) struct State {
    pub(crate) log: TopicLog,
    pub(super) waiters: Waiters,
    pub(super) subscriptions: usize,
    /// The runtime that wakes the subscribers, once they are many.
    pub(super) runtime: Option<Handle>,
    pub(super) is_finished: bool,
    /// `None` unless the events are stored.
    pub(crate) progress: Option<Box<Progress>>,
}

impl State {
    /// Returns `true` if the storage's writer has to be woken.
    pub(super) fn wakes_writer(&mut self) -> bool {
        let (tip, has_waiting) = (self.log.tip(), self.has_waiting());
        let progress = self.progress.as_mut();
        progress.is_some_and(|progress| progress.wakes(tip, has_waiting))
    }

    /// Returns `true` if a subscriber that has caught up waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiters.is_empty()
    }

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
