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

mod names;
mod newest;
mod order;
#[cfg(test)]
mod tests;

use std::time::Duration;
use std::{error, fmt};

use sse_core::{Epochs, Ids, Log, LogId, Now};

use self::names::{Dropped, Names};
pub(crate) use self::newest::NewestId;
use self::order::Order;
pub(crate) use self::order::{Judged, random_epoch};
use super::clock::now;
use super::handle::Topic;
use super::log::TopicLog;
use super::state::Shared;
use crate::config::HubConfig;
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

/// What the handles of a hub and of its topics share.
pub(crate) struct HubShared {
    config: HubConfig,
    order: Mutex<Order>,
    /// Locked before a topic, and not together with `order`.
    names: Mutex<Names>,
}

impl Hub {
    /// Creates a hub with a [`HubConfig`], or just the [`TopicConfig`](crate::TopicConfig) of
    /// all topics.
    #[must_use]
    pub fn new(config: impl Into<HubConfig>) -> Self {
        let epochs = Epochs::new(random_epoch(), now().unix);
        Self(Arc::new(HubShared {
            config: config.into(),
            order: Mutex::new(Order::new(epochs)),
            names: Mutex::default(),
        }))
    }

    /// Returns the topic with this name, and creates it if need be.
    ///
    /// A name is any text. A topic that was created [keyed](Self::keyed_topic) stays so. Whether a client may follow the topic is for the caller to decide.
    ///
    /// # Errors
    ///
    /// [`TooManyTopics`]: the hub has [`max_topics`](HubConfig::max_topics) already, all of them
    /// in use.
    pub fn topic(&self, name: impl AsRef<str>) -> Result<Topic, TooManyTopics> {
        self.find_or_create(name.as_ref(), false)
    }

    /// Returns a topic, which is created keyed or not.
    pub(super) fn find_or_create(&self, name: &str, keyed: bool) -> Result<Topic, TooManyTopics> {
        let shared = self.0.topic(name, keyed)?;
        Ok(Topic::of_hub(shared, Arc::clone(&self.0)))
    }

    /// Returns the number of topics.
    #[must_use]
    pub fn topics(&self) -> usize {
        self.0.names().count()
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
    pub(crate) fn order(&self) -> MutexGuard<'_, Order> {
        lock(&self.order)
    }

    /// How long events that follow a delivery wait.
    pub(crate) fn linger(&self) -> Duration {
        self.config.linger()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        lock(&self.names)
    }

    fn topic(&self, name: &str, keyed: bool) -> Result<Arc<Shared>, TooManyTopics> {
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
            Ok(names.insert(name, |name, evicted| self.create(name, evicted, keyed)))
        } else {
            Err(TooManyTopics { max })
        };
        drop(names);
        drop(dropped);
        topic
    }

    fn create(&self, name: Arc<str>, evicted: LogId, keyed: bool) -> Arc<Shared> {
        let config = Arc::clone(self.config.topic(&name));
        let mut log = if keyed {
            TopicLog::keyed(config.keyed, evicted)
        } else {
            Log::of_hub(config.retention, evicted).into()
        };
        if self.order().is_held() {
            log.hold_after(evicted);
        }
        Shared::named(config, log, Some(name))
    }

    /// Drops a topic if this is its last handle and its events have expired.
    pub(super) fn release(&self, topic: &Arc<Shared>) {
        if Arc::strong_count(topic) > 2 {
            return;
        }
        let mut dropped = Dropped::new();
        self.names().drop_expired(topic, now(), &mut dropped);
    }

    /// Moves the mark: events up to `id` are visible from now on, and later ones are not.
    ///
    /// `topics` are those that have events between the mark and `id`. The mark moves first: a
    /// client that has received an ID of one topic may come back with it at once, and then it
    /// has to be a position of all topics.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a journal and an engine move the mark")
    )]
    pub(crate) fn set_visible(&self, id: LogId, topics: &[Arc<Shared>]) {
        self.order().set_visible(id);
        for topic in topics {
            let mut state = topic.lock();
            state.log.hold_after(id);
            let wakers = state.take_wakers();
            drop(state);
            wakers.wake();
            // In parts, because publishers wait for the lock.
            while let Some(evicted) = { topic.lock().log.settle() } {
                drop(evicted);
            }
        }
    }
}

impl Shared {
    /// Takes the IDs of `count` events, with the hub and the topic locked.
    pub(super) fn assign(&self, order: &mut Order, count: usize, now: Now) -> Ids {
        let ids = order.assign(count, now);
        if count > 0 {
            self.newest.store(order.epochs.last());
        }
        ids
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

/// The number of names that are looked at for each topic that is created.
const SWEEP: usize = 2;

/// The number of names that are looked at when a hub is full.
const SWEEP_FULL: usize = 64;
