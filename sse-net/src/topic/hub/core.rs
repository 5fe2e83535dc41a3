//! What a hub has beside its storage: its order, its topics, and what they share.

use std::time::Duration;

use sse_core::{Epochs, Ids, LogId, Now};

use super::TooManyTopics;
use super::names::{Dropped, Names, StoredNames, is_held};
use super::order::Order;
use crate::config::{HubConfig, TopicConfig};
use crate::stats::Meters;
use crate::sync::{Arc, Mutex, MutexGuard, Weak, lock};
use crate::topic::clock::now;
use crate::topic::held::HeldBytes;
use crate::topic::log::{LogKind, SafeId, TopicLog};
use crate::topic::source::{NewEvents, Retained};
use crate::topic::state::{End, Shared};
use crate::topic::switching::KeptStreams;

/// A hub without its storage, which reads from it.
pub(crate) struct HubCore {
    pub(super) config: HubConfig,
    order: Mutex<Order>,
    /// Locked before `order` and before a topic.
    names: Mutex<Names>,
    /// `None` without a storage.
    pub(super) safe: Option<Arc<SafeId>>,
    /// Not locked together with another.
    streams: Mutex<KeptStreams>,
    /// The prefixes of names that are reserved for as long as they live.
    reserved: Mutex<Vec<Weak<str>>>,
    pub(in crate::topic) held: HeldBytes,
    pub(super) meters: Meters,
}

impl HubCore {
    pub(super) fn new(
        config: HubConfig,
        epochs: Epochs,
        names: Names,
        safe: Option<Arc<SafeId>>,
    ) -> Self {
        Self {
            meters: Meters::new(config.max_counted_topics),
            config,
            order: Mutex::new(Order::new(epochs)),
            names: Mutex::new(names),
            safe,
            streams: Mutex::default(),
            reserved: Mutex::default(),
            held: HeldBytes::default(),
        }
    }

    /// Returns the topics with events after an ID.
    pub(in crate::topic) fn events_after(&self, id: LogId) -> NewEvents {
        let until = self.order().epochs.last();
        let names = self.names();
        let has_changed = |topic: &Shared| {
            topic.newest.load() > id || topic.lock_packed().end.is_some_and(|end| end.id > id)
        };
        let topics = names.live().filter(|topic| has_changed(topic));
        let removed = names.removed().filter(|(end, _)| *end > id);
        let (mut topics, mut removed): (Vec<_>, Vec<_>) =
            (topics.cloned().collect(), removed.collect());
        // A repeated test writes the same bytes.
        topics.sort_unstable_by(|one, other| one.name().cmp(&other.name()));
        removed.sort_unstable();
        NewEvents {
            until,
            topics,
            removed,
        }
    }

    /// Notes that the journal writes nothing; see [`Names::begin_failure`].
    pub(in crate::topic) fn begin_failure(&self, stored: Option<StoredNames>) {
        self.names().begin_failure(stored);
    }

    /// Notes that the journal writes again; see [`Names::end_failure`].
    pub(in crate::topic) fn end_failure(&self) -> Option<StoredNames> {
        self.names().end_failure()
    }

    /// Returns the greatest ID of the topics whose names have been dropped.
    pub(in crate::topic) fn floor(&self) -> LogId {
        self.names().floor()
    }

    /// Returns the wire bytes of the retained events up to an ID.
    pub(in crate::topic) fn retained_until(&self, id: LogId) -> usize {
        let topics: Vec<_> = self.names().live().cloned().collect();
        topics.iter().map(|topic| topic.retained_until(id)).sum()
    }

    /// Adds what the topics retain.
    pub(in crate::topic) fn retained(&self, retained: &mut Retained) {
        let topics: Vec<_> = self.names().live().cloned().collect();
        topics.iter().for_each(|topic| retained.add(topic));
    }

    pub(crate) fn order(&self) -> MutexGuard<'_, Order> {
        lock(&self.order)
    }

    /// Notes that events up to this ID are safe from a power failure.
    pub(in crate::topic) fn set_safe(&self, id: LogId) {
        if let Some(safe) = &self.safe {
            safe.set(id);
        }
    }

    /// How long events that follow a delivery wait.
    pub(crate) fn linger(&self) -> Duration {
        self.config.linger()
    }

    pub(in crate::topic) const fn config(&self) -> &HubConfig {
        &self.config
    }

    pub(in crate::topic) fn streams(&self) -> MutexGuard<'_, KeptStreams> {
        lock(&self.streams)
    }

    pub(super) fn names(&self) -> MutexGuard<'_, Names> {
        lock(&self.names)
    }

    /// Reserves the names that begin with a prefix, until that is dropped. Returns `false` if some
    /// of them are reserved.
    pub(crate) fn reserve(&self, prefix: &Arc<str>) -> bool {
        let mut reserved = lock(&self.reserved);
        reserved.retain(|other| other.strong_count() > 0);
        let mut others = reserved.iter().filter_map(Weak::upgrade);
        if others.any(|other| other.starts_with(&**prefix) || prefix.starts_with(&*other)) {
            return false;
        }
        reserved.push(Arc::downgrade(prefix));
        true
    }

    /// Returns the topic with this name. Creates it if need be, with such a log.
    pub(super) fn topic(
        &self,
        name: &str,
        config: &Arc<TopicConfig>,
        kind: LogKind,
    ) -> Result<Arc<Shared>, TooManyTopics> {
        let mut names = self.names();
        if let Some(topic) = names.get(name) {
            return Ok(topic);
        }
        let (max, now, mut dropped) = (self.config.max_topics, now(), Dropped::new());
        let safe = self.safe.as_ref().map_or(LogId::MAX, |safe| safe.get());
        names.sweep(SWEEP, (max, safe), now, &mut dropped);
        if names.count() >= max {
            names.sweep(SWEEP_FULL, (max, safe), now, &mut dropped);
        }
        let topic = if names.count() < max {
            Ok(self.insert(names, name, config, kind))
        } else {
            drop(names);
            Err(TooManyTopics { max })
        };
        drop(dropped);
        topic
    }

    /// Returns the topic that has the name of one that was replaced, beyond the limit if need be:
    /// the one before is followed, too.
    pub(crate) fn successor(&self, replaced: &Shared) -> Arc<Shared> {
        let name = replaced.name().map_or("", |name| name);
        let names = self.names();
        match names.get(name) {
            Some(topic) => topic,
            None => self.insert(names, name, &replaced.config, LogKind::Ordinary),
        }
    }

    /// Creates a topic, and wakes the readers of one that had the name before.
    fn insert(
        &self,
        mut names: MutexGuard<'_, Names>,
        name: &str,
        config: &Arc<TopicConfig>,
        kind: LogKind,
    ) -> Arc<Shared> {
        let create = |name, evicted| self.create(name, config, kind, evicted);
        let (topic, held) = names.insert(name, create);
        let wakers = held.as_ref().map(|(held, removed)| {
            // No event of the new topic has an ID yet.
            let _order = self.order();
            held.replace(*removed)
        });
        drop(names);
        drop((wakers, held));
        topic
    }

    fn create(
        &self,
        name: Arc<str>,
        config: &Arc<TopicConfig>,
        kind: LogKind,
        evicted: LogId,
    ) -> Arc<Shared> {
        let mut log = TopicLog::new(kind, config, evicted, self.safe.as_ref());
        let mut order = self.order();
        if order.is_held() {
            log.hold(Some(log.end()));
        }
        let meter = self.meters.of(&name);
        let config = Arc::clone(config);
        let topic = match order.has_engine() {
            true => Shared::unread(config, log, name, meter),
            false => Shared::named(config, log, Some(name), meter),
        };
        order.note_new(&topic);
        topic
    }

    /// Drops a topic if this is its last handle and its events have expired.
    pub(in crate::topic) fn release(&self, topic: &Arc<Shared>) {
        if is_held(topic) {
            return;
        }
        let now = now();
        // Most topics retain events. Those need no lock of the hub.
        if !topic.lock_packed().log.has_expired(now) {
            return;
        }
        let mut dropped = Dropped::new();
        self.names().drop_expired(topic, now, &mut dropped);
    }

    /// Removes a topic although it is held and retains events.
    ///
    /// Without an engine, this takes an ID that no event has: every earlier ID is before the
    /// topic's end, also that of its last event. With one, a topic that is held stays: it begins
    /// anew when the engine says so.
    pub(in crate::topic) fn remove(&self, topic: &Arc<Shared>, time: Duration) {
        let (now, mut dropped) = (now(), Dropped::new());
        let until = now.steady.saturating_add(time);
        // A thread that sees the ID, such as a compaction, must not find the topic.
        let mut names = self.names();
        if !names.has(topic) {
            return; // It has been removed before, and its name may be of another topic now.
        }
        let mut order = self.order();
        let end = if order.has_engine() {
            if is_held(topic) {
                return;
            }
            topic.newest.load() // It is read from the engine when it is used again.
        } else {
            order.assign(1, now);
            order.note_removal(topic);
            order.epochs.last()
        };
        drop(order);
        names.remove(topic, end, until, &mut dropped);
    }

    /// Moves the mark: events up to `id` are visible from now on, and later ones are not.
    ///
    /// `topics` are those that have events between the mark and `id`. The mark moves first: a
    /// client that has received an ID of one topic may come back with it at once, and then it
    /// has to be a position of all topics. Returns the number of wakers that panicked.
    pub(crate) fn set_visible(&self, id: LogId, topics: &[Arc<Shared>]) -> u64 {
        let switched = self.order().set_visible(id);
        let topics = topics.iter().map(|topic| topic.set_visible(id));
        let panics = topics.sum::<u64>();
        panics + switched.iter().map(|set| set.wake()).sum::<u64>()
    }
}

impl Shared {
    /// Takes the IDs of `count` events, with the hub and the topic locked.
    pub(in crate::topic) fn assign(
        self: &Arc<Self>,
        order: &mut Order,
        count: usize,
        now: Now,
    ) -> Ids {
        let ids = order.assign(count, now);
        if count > 0 {
            order.note(self, self.newest.load());
            self.newest.store(order.epochs.last());
        }
        ids
    }

    /// Ends the topic after `count` events whose IDs have just been assigned, with the hub and
    /// the topic locked. Its newest event was `newest` before.
    ///
    /// A storage moves the mark to the end, so an end without an event takes an ID.
    pub(in crate::topic) fn assign_end(
        self: &Arc<Self>,
        order: &mut Order,
        count: usize,
        newest: LogId,
        now: Now,
    ) -> End {
        if !order.is_held() {
            return End::default();
        }
        if count == 0 {
            order.assign(1, now);
            order.note(self, self.newest.load());
        }
        let id = order.epochs.last();
        let last = if count == 0 { newest } else { id };
        End {
            last,
            id,
            is_held: true,
        }
    }
}

/// The number of names that are looked at for each topic that is created.
const SWEEP: usize = 2;

/// The number of names that are looked at when a hub is full.
const SWEEP_FULL: usize = 64;
