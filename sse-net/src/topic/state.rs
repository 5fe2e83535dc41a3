//! What all handles of a topic share: its log and its subscribers, under one lock.

use std::time::Duration;

#[cfg(feature = "redis")]
use sse_core::KeyedRetention;
use sse_core::{Cursor, LogId, Retention};
use tokio::runtime::Handle;

use super::clock::now;
use super::hub::NewestId;
use super::log::TopicLog;
use super::waiters::{Waiters, Wakers};
use super::watched::{Rare, Subscriptions};
use crate::config::{SlowClients, TopicConfig};
use crate::stats::Meter;
use crate::sync::{Arc, AtomicBool, Mutex, MutexGuard, Ordering, lock};

pub(crate) struct Shared {
    pub(super) config: Arc<TopicConfig>,
    state: Mutex<State>,
    /// The newest ID that a hub has assigned to the topic, or the greatest of all IDs once another
    /// topic has its name: then every reader that follows several looks.
    pub(super) newest: NewestId,
    /// `None` for a topic that stands alone.
    name: Option<Arc<str>>,
    is_keyed: bool,
    /// The counters, which many topics of a hub may share.
    meter: Arc<Meter>,
    /// Whether the topic has been read from the engine. `None` without an engine.
    is_read: Option<AtomicBool>,
    /// Whether a run is being started, after which the topic is read anew.
    is_starting: AtomicBool,
}

impl Shared {
    pub(crate) fn new(config: impl Into<Arc<TopicConfig>>, log: impl Into<TopicLog>) -> Arc<Self> {
        Self::named(config.into(), log.into(), None, Arc::default())
    }

    pub(super) fn named(
        config: Arc<TopicConfig>,
        log: TopicLog,
        name: Option<Arc<str>>,
        meter: Arc<Meter>,
    ) -> Arc<Self> {
        Self::restored(config, log, name, meter, None, None)
    }

    /// Creates a topic that has not been read from the engine yet.
    pub(super) fn unread(
        config: Arc<TopicConfig>,
        log: TopicLog,
        name: Arc<str>,
        meter: Arc<Meter>,
    ) -> Arc<Self> {
        let is_read = Some(AtomicBool::new(false));
        Self::restored(config, log, Some(name), meter, None, is_read)
    }

    /// Creates a topic that may have ended in an earlier run.
    pub(super) fn restored(
        config: Arc<TopicConfig>,
        log: TopicLog,
        name: Option<Arc<str>>,
        meter: Arc<Meter>,
        end: Option<End>,
        is_read: Option<AtomicBool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            newest: NewestId::new(log.newest_id()),
            is_keyed: log.is_keyed(),
            meter,
            state: Mutex::new(State {
                log,
                waiters: Waiters::default(),
                subscriptions: Subscriptions::default(),
                rare: None,
                end,
            }),
            name,
            is_read,
            is_starting: AtomicBool::new(false),
        })
    }

    pub(crate) const fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    /// Returns the counters.
    pub(crate) fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) fn retention(&self) -> Retention {
        self.config.retention
    }

    #[cfg(feature = "redis")]
    pub(crate) fn keyed_retention(&self) -> KeyedRetention {
        self.config.keyed
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

    /// Returns `true` if the topic is one of a hub with an engine.
    pub(crate) const fn has_engine(&self) -> bool {
        self.is_read.is_some()
    }

    /// Returns `true` unless the topic is still to be read from the engine.
    pub(crate) fn is_read(&self) -> bool {
        let is_read = self.is_read.as_ref();
        is_read.is_none_or(|is_read| {
            is_read.load(Ordering::Acquire) && !self.is_starting.load(Ordering::Acquire)
        })
    }

    /// Notes that a run is being started, of which the engine knows first. Until
    /// [`end_start`](Self::end_start) the topic counts as not read.
    pub(crate) fn begin_start(&self) {
        self.is_starting.store(true, Ordering::Release);
    }

    /// Notes that the start has ended, and that the topic is to be read.
    pub(super) fn end_start(&self) {
        self.note_unread();
        self.is_starting.store(false, Ordering::Release);
    }

    /// Notes that the topic is to be read from the engine, maybe once more.
    pub(crate) fn note_unread(&self) {
        if let Some(is_read) = &self.is_read {
            is_read.store(false, Ordering::Release);
        }
    }

    /// Notes that the topic has been read from the engine. The mark moves after this.
    #[cfg(feature = "redis")]
    pub(crate) fn note_read(&self) {
        if let Some(is_read) = &self.is_read {
            is_read.store(true, Ordering::Release);
        }
    }

    /// Returns the treatment of slow clients. One of a keyed topic does not continue after a
    /// gap, because its IDs would fall, nor one of a topic with an engine, which may have lost
    /// its end.
    pub(crate) fn slow_clients(&self) -> SlowClients {
        if self.is_keyed || self.has_engine() {
            return SlowClients::Disconnect;
        }
        self.config.slow_clients
    }

    /// Notes that the topic was removed at this ID and that another one has its name now, with the
    /// hub locked. The returned wakers are those of the readers.
    #[must_use]
    pub(super) fn replace(&self, removed: LogId) -> Wakers {
        let mut state = self.lock_packed();
        state.rare.get_or_insert_default().replaced = Some(removed);
        self.newest.store(LogId::MAX);
        state.take_wakers()
    }

    /// Returns `true` if another topic has the name now.
    pub(super) fn is_replaced(&self) -> bool {
        self.newest.load() == LogId::MAX
    }

    /// Returns `true` if another topic has the name now, and this one has no event after the
    /// position.
    pub(crate) fn is_replaced_after(&self, position: LogId) -> bool {
        self.is_replaced() && self.lock().log.newest_id() <= position
    }

    pub(crate) fn is_followed(&self) -> bool {
        self.lock_packed().subscriptions.count() > 0
    }

    /// How long events that follow a delivery wait.
    pub(crate) fn linger(&self) -> Duration {
        self.config.linger
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock_packed();
        state.log.unpack();
        state
    }

    /// Locks the topic for callers that do not read its log, which may be packed.
    pub(crate) fn lock_packed(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

pub(crate) struct State {
    pub(crate) log: TopicLog,
    pub(super) waiters: Waiters,
    pub(super) subscriptions: Subscriptions,
    pub(super) rare: Option<Box<Rare>>,
    pub(crate) end: Option<End>,
}

/// The end of a topic that has been finished. A topic that stands alone has no IDs here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct End {
    /// The ID of the last event.
    pub(crate) last: LogId,
    /// The ID of the end itself, which is that of the last event if they were published together.
    pub(crate) id: LogId,
    /// Whether subscribers must not see the end yet, since a storage has not stored it.
    pub(crate) is_held: bool,
}

impl State {
    /// Packs the log if the topic is finished and has no subscriber.
    pub(crate) fn rest(&mut self) {
        if self.end.is_some() && self.subscriptions.count() == 0 {
            self.log.pack();
        }
    }

    /// Returns the ID of the last event, or of the end if that is later.
    pub(super) fn last_id(&self) -> LogId {
        let end = self.end.map_or(LogId::default(), |end| end.id);
        self.log.newest_id().max(end)
    }

    /// Returns the ID at which the topic was removed, if another one has its name now.
    pub(super) fn replaced(&self) -> Option<LogId> {
        self.rare.as_ref()?.replaced
    }

    /// Returns `true` if a subscriber that has caught up waits.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Takes the wakers of the subscribers that wait.
    pub(crate) fn take_wakers(&mut self) -> Wakers {
        let runtime = self.rare.as_ref().and_then(|rare| rare.runtime.as_ref());
        self.waiters.take(runtime)
    }

    /// Returns the runtime that wakes the subscribers, once they are many.
    pub(super) fn runtime(&self) -> Option<&Handle> {
        self.rare.as_ref()?.runtime.as_ref()
    }

    /// Returns `true` if the topic is finished and has no event after `cursor`.
    pub(super) fn is_over(&self, cursor: Cursor) -> bool {
        self.has_visible_end() && cursor >= self.log.tip()
    }

    /// Returns `true` if no event will ever have a later ID than this one of the hub.
    pub(crate) fn is_over_after(&self, position: LogId) -> bool {
        self.has_visible_end() && position >= self.log.newest_id()
    }

    fn has_visible_end(&self) -> bool {
        self.end.is_some_and(|end| !end.is_held)
    }
}
