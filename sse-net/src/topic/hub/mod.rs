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

mod core;
#[cfg(feature = "redis")]
pub(crate) mod followed;
mod names;
mod newest;
mod order;
mod restored;
#[cfg(test)]
mod tests;

use std::borrow::Borrow;
use std::ops::Deref;
use std::time::Duration;
use std::{error, fmt, io};

use sse_core::{Epochs, EventId, KnownId, LogId};
use tokio::time::timeout;

pub(crate) use self::core::HubCore;
use self::names::Names;
pub(crate) use self::names::StoredNames;
pub(crate) use self::newest::NewestId;
pub(crate) use self::order::random_epoch;
pub(super) use self::order::{Judged, Order};
pub(crate) use self::restored::RestoredTopic;
use super::clock::now;
use super::handle::Topic;
use super::log::LogKind;
use super::source::{Engine, Storage};
use super::state::Shared;
use crate::config::{HubConfig, TopicConfig};
use crate::stats::HubSnapshot;
use crate::sync::Arc;

/// A set of named topics with one order of IDs, which one connection can follow together.
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

    /// Waits until this node can serve a client of these topics and last event ID.
    ///
    /// Resolves at once unless the hub has an engine. With one, a topic is read when the node
    /// uses it first, and an ID may be of an event that this node has not heard of yet. The
    /// answers of a [`Request`](crate::Request) and the bodies of a `Responder` do this
    /// themselves; wait for it before subscribing with [`Start::Last`](crate::Start::Last) or
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

    /// Returns the number of names, also of topics that were dropped.
    #[cfg(test)]
    pub(crate) fn names(&self) -> usize {
        self.0.names().lens().0
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
    /// [counted individually](HubConfig::max_counted_topics).
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
        let topics = self.names().count();
        let visible = self.order().visible();
        f.debug_struct("Hub")
            .field("topics", &topics)
            .field("visible", &visible)
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

    /// Waits for [`ready`](Self::ready), and returns `false` if the engine is away for too long.
    pub(crate) async fn is_ready_in_time(
        &self,
        topics: &[Topic],
        last_event_id: Option<&EventId<'_>>,
    ) -> bool {
        let max_wait = self.engine().map_or(Duration::ZERO, Engine::max_wait);
        timeout(max_wait, self.ready(topics, last_event_id))
            .await
            .is_ok()
    }
}

impl Deref for HubShared {
    type Target = HubCore;

    fn deref(&self) -> &HubCore {
        &self.core
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

impl From<TooManyTopics> for io::Error {
    fn from(error: TooManyTopics) -> Self {
        Self::other(error)
    }
}
