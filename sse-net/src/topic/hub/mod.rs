//! Hubs: sets of named topics that share one order of IDs.
//!
//! A client that follows several topics sends one last event ID when it comes back, so that ID
//! has to say how much it has received of each topic. Hence one rule: **when an ID is visible,
//! every smaller ID of the hub is.** Then a single ID is a position in all topics at once. These
//! are the rules that keep it, and what each is for.
//!
//! *Order.* A publisher locks the hub, locks the topic, takes the next ID, releases the hub,
//! appends, and releases the topic. A reader reads the last ID under the hub's lock; when it then
//! locks a topic, it finds all of the topic's events up to that ID, since their publishers held
//! the topic's lock before the hub's was released. The hub's lock waits for a topic's, so work
//! under a topic's lock is short: large events are encoded before it, and memory is freed after
//! it.
//!
//! *Positions.* A client is one number: everything of its topics up to this ID has been written
//! to it. Its next batch is all that its topics have after that, up to the ID that is visible,
//! merged by ID, and cut after merging. If each topic were cut before, a smaller ID could follow
//! a greater one, and a client that came back in between would miss it.
//!
//! *Known IDs.* Whether an ID is a position of this hub, is lost, or belongs to another hub, is
//! judged by epochs; see [`sse_core::Epochs`].
//!
//! *Gaps.* A client that comes back with a position has missed something of a topic exactly if
//! the topic has evicted a later ID. A topic that is dropped leaves that number behind with its
//! name for as long as its events would have been retained. After that the number becomes a part
//! of the hub's floor, with which every new topic begins; so a client that was away for longer
//! may get a gap event for a topic in which it missed nothing, and never misses one.
//!
//! *The mark.* A hub is visible up to an ID: the last one, or the one up to which a journal or an
//! engine has made its events as safe as its policy says. The hub does not know why.

#[cfg(feature = "redis")]
pub(crate) mod followed;
mod names;
mod newest;
mod order;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::ops::Deref;
use std::time::Duration;
use std::{error, fmt};

use sse_core::{
    Epochs, EventId, EventKey, Finish, Ids, KeyedLog, KeyedRetention, KnownId, Log, LogId, Now,
    Restored,
};

use self::names::{Dropped, Names};
pub(crate) use self::newest::NewestId;
pub(crate) use self::order::random_epoch;
pub(super) use self::order::{Judged, Order};
use super::clock::now;
use super::handle::Topic;
use super::log::{LogKind, SafeId, TopicKeyedLog, TopicLog};
use super::source::{Engine, News, Retained, Storage};
use super::state::{End, Shared};
use super::switching::KeptStreams;
use crate::config::{HubConfig, TopicConfig};
use crate::stats::{HubSnapshot, Meters};
use crate::sync::{Arc, Mutex, MutexGuard, lock};

/// A set of named topics with one order of IDs, so that one connection follows many of them.
///
/// The IDs of a hub rise over all of its topics, so a single `Last-Event-ID` resumes any number
/// of them. A topic is created when it is first asked for. It is dropped when nobody holds it
/// and its events have expired, so there may be one for each user, room or job. A topic that
/// was dropped after it had been [finished](Topic::finish) begins anew.
///
/// Publishing into a topic locks the hub for some 0.1 µs. The IDs are the hub's: an event with
/// an ID of its publisher's is refused with [`PublishError::OwnId`](crate::PublishError::OwnId).
///
/// Cheap to clone; all clones are the same hub.
///
/// ```
/// use sse_net::{Event, Hub, HubConfig};
///
/// let hub = Hub::new(HubConfig::default());
/// let orders = hub.topic("orders")?;
/// let first = orders.publish(&Event::new().data("one book"))?;
/// let second = hub.topic("inbox/alice")?.publish(&Event::new().data("hey"))?;
/// assert!(first.id() < second.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Hub(pub(super) Arc<HubShared>);

/// What the handles of a hub and of its topics share. A storage is closed with the last of them.
pub(crate) struct HubShared {
    core: Arc<HubCore>,
    storage: Option<Arc<dyn Storage>>,
}

/// A hub without its storage, which reads from it.
pub(crate) struct HubCore {
    config: HubConfig,
    order: Mutex<Order>,
    /// Locked before `order` and before a topic.
    names: Mutex<Names>,
    /// `None` without a storage.
    safe: Option<Arc<SafeId>>,
    /// Not locked together with another.
    streams: Mutex<KeptStreams>,
    meters: Meters,
}

impl Hub {
    /// Creates a hub with a [`HubConfig`], or just the [`TopicConfig`](crate::TopicConfig) of
    /// all topics.
    #[must_use]
    pub fn new(config: impl Into<HubConfig>) -> Self {
        let epochs = Epochs::new(random_epoch(), now().unix);
        let core = HubCore::new(config.into(), epochs, Names::default(), None);
        Self(Arc::new(HubShared {
            core: Arc::new(core),
            storage: None,
        }))
    }

    /// Creates a hub whose events are stored.
    pub(crate) fn with_storage(core: Arc<HubCore>, storage: Arc<dyn Storage>) -> Self {
        Self(Arc::new(HubShared {
            core,
            storage: Some(storage),
        }))
    }

    pub(crate) fn storage(&self) -> Option<&Arc<dyn Storage>> {
        self.0.storage()
    }

    /// Waits until this node can serve a client of these topics that sends this last event ID.
    ///
    /// Resolves at once unless the hub has an engine. With one, a topic is read when the node
    /// uses it first, and an ID may be of an event that this node has not heard of yet. Servers
    /// do this themselves; wait for it before responding by way of a
    /// `Responder`, and before subscribing with [`Start::Last`](crate::Start::Last) or
    /// [`Start::Earliest`](crate::Start::Earliest). Waits for as long as the engine is away, so
    /// set a deadline.
    pub async fn ready(
        &self,
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
        last_event_id: Option<&EventId<'_>>,
    ) {
        let topics: Vec<Topic> = topics
            .into_iter()
            .map(|topic| topic.borrow().clone())
            .collect();
        self.0.ready(&topics, last_event_id).await;
    }

    pub(crate) fn has_engine(&self) -> bool {
        self.0.engine().is_some()
    }

    pub(crate) const fn shared(&self) -> &Arc<HubShared> {
        &self.0
    }

    #[cfg(test)]
    pub(crate) fn epochs(&self) -> Vec<sse_core::Epoch> {
        self.0.order().epochs.iter().collect()
    }

    #[cfg(test)]
    pub(crate) fn visible(&self) -> LogId {
        self.0.order().visible()
    }

    /// Returns the topic with this name, and creates it if need be.
    ///
    /// A name is any text. A topic that was created [keyed](Self::keyed_topic) stays so. Whether
    /// a client may follow the topic is for the caller to decide.
    ///
    /// # Errors
    ///
    /// [`TooManyTopics`]: the hub has [`max_topics`](HubConfig::max_topics) already, all of them
    /// in use.
    pub fn topic(&self, name: impl AsRef<str>) -> Result<Topic, TooManyTopics> {
        let name = name.as_ref();
        self.topic_with(name, self.0.config.topic(name))
    }

    /// Like [`topic`](Self::topic), with these settings if the topic is created.
    pub(crate) fn topic_with(
        &self,
        name: &str,
        config: &Arc<TopicConfig>,
    ) -> Result<Topic, TooManyTopics> {
        self.find_or_create(name, config, LogKind::Ordinary)
    }

    /// Returns the topic with this name, which is created keyed.
    pub(super) fn find_or_create_keyed(&self, name: &str) -> Result<Topic, TooManyTopics> {
        self.find_or_create(name, self.0.config.topic(name), LogKind::Keyed)
    }

    fn find_or_create(
        &self,
        name: &str,
        config: &Arc<TopicConfig>,
        kind: LogKind,
    ) -> Result<Topic, TooManyTopics> {
        let shared = self.0.topic(name, config, kind)?;
        if let (false, Some(storage)) = (shared.is_read(), self.storage()) {
            storage.wake();
        }
        Ok(Topic::of_hub(shared, Arc::clone(&self.0)))
    }

    /// Returns the topics whose names begin with `prefix`.
    pub(crate) fn with_prefix(&self, prefix: &str) -> Vec<Topic> {
        let found = self.0.names().with_prefix(prefix);
        let topics = found.into_iter();
        topics
            .map(|shared| Topic::of_hub(shared, Arc::clone(&self.0)))
            .collect()
    }

    /// Returns the number of topics.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.0.names().count()
    }

    /// Returns the counters of the topics.
    ///
    /// Costs an entry for each topic that is
    /// [counted by itself](HubConfig::max_counted_topics).
    #[must_use]
    pub fn stats(&self) -> HubSnapshot {
        let topics = self.topics();
        self.0.meters.snapshot(topics)
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for HubShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("topics", &self.names().count())
            .field("visible", &self.order().visible())
            .finish_non_exhaustive()
    }
}

impl HubShared {
    pub(crate) const fn storage(&self) -> Option<&Arc<dyn Storage>> {
        self.storage.as_ref()
    }

    pub(crate) fn engine(&self) -> Option<&dyn Engine> {
        self.storage()?.engine()
    }

    /// Returns `true` if a client with this ID can be served at once; see [`Hub::ready`].
    pub(crate) fn is_ready(&self, topics: &[Topic], last_event_id: Option<&EventId<'_>>) -> bool {
        self.engine().is_none()
            || topics.iter().all(|topic| topic.shared().is_read()) && self.knows(last_event_id)
    }

    fn knows(&self, last_event_id: Option<&EventId<'_>>) -> bool {
        match self.order().judge(last_event_id).asked {
            Some((id, known)) => id == LogId::default() || known == KnownId::Position,
            None => true,
        }
    }

    /// Reads a topic from the engine after a run has been started.
    pub(super) fn read_again(&self, topic: &Arc<Shared>) {
        topic.end_start();
        self.order().note_new(topic);
        if let Some(storage) = self.storage() {
            storage.wake();
        }
    }

    /// Waits until the node has heard of everything that the engine has now.
    pub(crate) async fn look(&self) {
        if let Some(engine) = self.engine() {
            let mut looks = engine.looks();
            let look = engine.request_look();
            let _ = looks.wait_for(|done| *done >= look).await;
        }
    }

    /// See [`Hub::ready`].
    pub(crate) async fn ready(&self, topics: &[Topic], last_event_id: Option<&EventId<'_>>) {
        let Some(engine) = self.engine() else {
            return;
        };
        let mut looks = engine.looks();
        while !topics.iter().all(|topic| topic.shared().is_read()) {
            if looks.changed().await.is_err() {
                return;
            }
        }
        if !self.knows(last_event_id) {
            self.look().await;
        }
    }
}

impl Deref for HubShared {
    type Target = HubCore;

    fn deref(&self) -> &HubCore {
        &self.core
    }
}

/// The events of a topic of an earlier run.
#[derive(Default)]
pub(crate) struct RestoredTopic {
    /// The oldest first.
    pub(crate) events: Vec<Restored>,
    pub(crate) evicted: LogId,
    /// How the topic ended, if it did not begin anew after that.
    pub(crate) finish: Option<Finish>,
    /// Events up to this ID are of a topic of the same name that was removed.
    pub(crate) removed: LogId,
    /// The greatest ID of an event with a key, or of a removal that was dropped for good.
    pub(crate) keyed: LogId,
    /// The key of each event.
    pub(crate) keys: HashMap<LogId, EventKey>,
}

impl HubCore {
    fn new(config: HubConfig, epochs: Epochs, names: Names, safe: Option<Arc<SafeId>>) -> Self {
        Self {
            meters: Meters::new(config.max_counted_topics),
            config,
            order: Mutex::new(Order::new(epochs)),
            names: Mutex::new(names),
            safe,
            streams: Mutex::default(),
        }
    }

    /// Restores a hub, all of whose events are visible. A storage moves the mark from now on.
    ///
    /// `floor` is the greatest evicted ID of topics that are not in `topics`.
    pub(crate) fn restore(
        config: HubConfig,
        epochs: Epochs,
        floor: LogId,
        safe: Arc<SafeId>,
        topics: impl Iterator<Item = (String, RestoredTopic)>,
    ) -> Self {
        let hub = Self::new(config, epochs, Names::with_floor(floor), Some(safe));
        let last = hub.order().epochs.last();
        drop(hub.order().set_visible(last));
        hub.order().take_news();
        for (name, restored) in topics {
            let finish = restored.finish.clone();
            let create = |name: Arc<str>, _| {
                let config = Arc::clone(hub.config.topic(&name));
                let log = match restored.is_keyed() {
                    true => restored
                        .into_keyed_log(config.keyed, hub.safe.clone())
                        .into(),
                    false => {
                        let log = Log::of_hub(config.retention, restored.evicted);
                        TopicLog::from(restored.into_log(log))
                    }
                };
                let end = finish.and_then(|finish| end(&finish, log.newest_id()));
                let meter = hub.meters.of(&name);
                Shared::restored(config, log, Some(name), meter, end, None)
            };
            let topic = hub.names().insert(&name, create);
            hub.drop_removed(&topic);
        }
        hub
    }

    /// Drops a topic that an earlier run had removed.
    fn drop_removed(&self, topic: &Arc<Shared>) {
        let state = topic.lock();
        let end = state.end.filter(|end| end.id == state.log.evicted());
        drop(state);
        if let Some(end) = end {
            let (age, mut dropped) = (topic.retention().max_age().min(DAY), Dropped::new());
            let until = now().steady.saturating_add(age);
            self.names().forget(topic, end.id, until, &mut dropped);
        }
    }

    /// Returns the topics with events after an ID.
    pub(super) fn news_after(&self, id: LogId) -> News {
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
        News {
            until,
            topics,
            removed,
        }
    }

    /// Returns the greatest ID of the topics whose names have been dropped.
    pub(super) fn floor(&self) -> LogId {
        self.names().floor()
    }

    /// Returns the wire bytes of the retained events up to an ID.
    pub(super) fn retained_until(&self, id: LogId) -> usize {
        let topics: Vec<_> = self.names().live().cloned().collect();
        topics.iter().map(|topic| topic.retained_until(id)).sum()
    }

    /// Adds what the topics retain.
    pub(super) fn retained(&self, retained: &mut Retained) {
        let topics: Vec<_> = self.names().live().cloned().collect();
        topics.iter().for_each(|topic| retained.add(topic));
    }

    pub(crate) fn order(&self) -> MutexGuard<'_, Order> {
        lock(&self.order)
    }

    /// Notes that events up to this ID are safe from a power failure.
    pub(super) fn set_safe(&self, id: LogId) {
        if let Some(safe) = &self.safe {
            safe.set(id);
        }
    }

    /// How long events that follow a delivery wait.
    pub(crate) fn linger(&self) -> Duration {
        self.config.linger()
    }

    pub(super) const fn config(&self) -> &HubConfig {
        &self.config
    }

    pub(super) fn streams(&self) -> MutexGuard<'_, KeptStreams> {
        lock(&self.streams)
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        lock(&self.names)
    }

    /// Returns the topic with this name. Creates it if need be, with such a log.
    fn topic(
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
        names.sweep(SWEEP, now, &mut dropped);
        if names.count() >= max {
            names.sweep(SWEEP_FULL, now, &mut dropped);
        }
        let topic = if names.count() < max {
            let create = |name, evicted| self.create(name, config, kind, evicted);
            Ok(names.insert(name, create))
        } else {
            Err(TooManyTopics { max })
        };
        drop(names);
        drop(dropped);
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
    pub(super) fn release(&self, topic: &Arc<Shared>) {
        if Arc::strong_count(topic) > 2 {
            return;
        }
        let now = now();
        // Most topics retain events. Those need no lock of the hub.
        if !topic.lock().log.has_expired(now) {
            return;
        }
        let mut dropped = Dropped::new();
        self.names().drop_expired(topic, now, &mut dropped);
    }

    /// Removes a topic although it is held and retains events.
    ///
    /// Without an engine, this takes an ID that no event has: every earlier ID is before the topic's end, also that
    /// of its last event.
    pub(super) fn forget(&self, topic: &Arc<Shared>, time: Duration) {
        let (now, mut dropped) = (now(), Dropped::new());
        let until = now.steady.saturating_add(time);
        // A thread that sees the ID, such as a compaction, must not find the topic.
        let mut names = self.names();
        let mut order = self.order();
        let end = if order.has_engine() {
            topic.newest.load() // It is read from the engine when it is used again.
        } else {
            order.assign(1, now);
            order.note_removal(topic);
            order.epochs.last()
        };
        drop(order);
        names.forget(topic, end, until, &mut dropped);
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
    pub(super) fn assign(self: &Arc<Self>, order: &mut Order, count: usize, now: Now) -> Ids {
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
    pub(super) fn assign_end(
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

/// Returns the end of a restored topic whose newest event this is.
///
/// It does not count if the last event is missing, or if a later topic had the same name.
fn end(finish: &Finish, newest: LogId) -> Option<End> {
    let Finish { last, id, .. } = *finish;
    let counts = newest <= id && (newest == last || id > last);
    counts.then_some(End {
        last,
        id,
        is_held: false,
    })
}

impl RestoredTopic {
    /// Notes that the topic ended, unless it did so again later.
    pub(crate) fn finish_at(&mut self, end: Finish) {
        let known = self.finish.take().filter(|known| known.id >= end.id);
        self.finish = known.or(Some(end));
    }

    /// Appends the events to an empty log, and holds back what follows.
    pub(crate) fn into_log(self, mut log: Log) -> Log {
        let now = now();
        self.events
            .into_iter()
            .for_each(|events| log.restore(events, now));
        drop(log.evict(now));
        log.hold(Some(log.tip()));
        log
    }

    fn is_keyed(&self) -> bool {
        self.keyed > self.removed
    }

    /// Returns the ID of the newest event of a key, of those up to `until`.
    pub(crate) fn newest_of(&self, key: &Arc<str>, until: LogId) -> Option<LogId> {
        let of_key = self.keys.iter().filter(|(_, other)| other.key == *key);
        of_key.map(|(id, _)| *id).filter(|id| *id <= until).max()
    }

    /// Appends the events to a keyed log, and holds back what follows.
    fn into_keyed_log(self, retention: KeyedRetention, safe: Option<Arc<SafeId>>) -> TopicKeyedLog {
        let (now, log) = (now(), KeyedLog::new(retention, self.evicted));
        let mut log = TopicKeyedLog::new(log, self.removed, safe);
        log.release_removals();
        for (id, event) in self.events.iter().flat_map(Restored::iter) {
            if id > self.removed
                && let Some(key) = self.keys.get(&id)
            {
                drop(log.restore(id, key, event, now));
            }
        }
        drop(log.evict(now));
        let last = log.newest_id();
        log.hold(Some(last));
        log
    }
}

/// A hub has no room for another topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyTopics {
    /// The maximum number of topics.
    pub max: usize,
}

impl fmt::Display for TooManyTopics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the hub has {} topics in use, the most it allows; raise `max_topics` or check the \
             names that clients ask for",
            self.max
        )
    }
}

impl error::Error for TooManyTopics {}

/// The maximum time for which the name of a removed topic is kept after a restart.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The number of names that are looked at for each topic that is created.
const SWEEP: usize = 2;

/// The number of names that are looked at when a hub is full.
const SWEEP_FULL: usize = 64;
