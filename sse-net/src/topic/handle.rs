//! The handle of a topic.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use sse_core::{Cursor, Lagged, Log, Slice};

use super::hub::{HubShared, random_epoch};
use super::log::Since;
use super::source::Storage;
use super::state::{Shared, State};
use crate::config::{Start, TopicConfig};
use crate::sync::{Arc, MutexGuard};

/// A log of events that any number of subscribers follow, each at its own pace.
///
/// Publishing encodes the event once, appends it to the log and wakes the subscribers that have
/// caught up; it never waits for a subscriber. The log is the only queue: a subscriber is an
/// offset into it. Cheap to clone; all clones are the same topic. An empty topic costs some 500
/// bytes, so there may be one for each user.
///
/// Topics that clients follow together belong to a [`Hub`](crate::Hub).
///
/// ```
/// use sse_core::{Event, Retention};
/// use sse_net::{Start, Topic};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let ticks = Topic::new(Retention::events(10_000));
/// let mut subscription = ticks.subscribe(Start::Live);
/// ticks.publish(&Event::new().id(1).data("hey"))?;
/// ticks.publish(&Event::new().id(2).data("there"))?;
///
/// let bytes = subscription.read_bytes().await.unwrap().unwrap();
/// assert_eq!(bytes, "id: 1\ndata: hey\n\nid: 2\ndata: there\n\n");
/// # Ok::<(), sse_net::PublishError>(())
/// # }).unwrap();
/// ```
///
/// [`TopicConfig`] has the other settings:
///
/// ```
/// use std::time::Duration;
/// use sse_core::Retention;
/// use sse_net::{SlowClients, Topic, TopicConfig};
///
/// let config = TopicConfig::default()
///     .retention(Retention::events(100).age(Duration::from_secs(60)))
///     .slow_clients(SlowClients::SkipAhead)
///     .linger(Duration::from_millis(10));
/// let quotes = Topic::new(config);
/// # let _ = quotes;
/// ```
#[derive(Clone)]
pub struct Topic {
    pub(super) shared: Arc<Shared>,
    pub(super) owner: Owner,
}

/// What a topic belongs to.
#[derive(Clone)]
pub(super) enum Owner {
    /// It stands alone: a hub of one, whose IDs the log assigns under the topic's own lock.
    Alone,
    /// It stands alone, and its events are stored.
    Stored(Arc<dyn Storage>),
    Hub(Arc<HubShared>),
}

impl Topic {
    /// Creates a topic with a [`TopicConfig`], or just a [`Retention`](sse_core::Retention).
    #[must_use]
    pub fn new(config: impl Into<TopicConfig>) -> Self {
        let config = config.into();
        let log = Log::with_epoch(config.retention, random_epoch());
        Self {
            shared: Shared::new(config, log),
            owner: Owner::Alone,
        }
    }

    /// Creates a topic whose events are stored.
    pub(crate) fn with_storage(shared: Arc<Shared>, storage: Arc<dyn Storage>) -> Self {
        Self {
            shared,
            owner: Owner::Stored(storage),
        }
    }

    /// Creates the handle of a topic of a hub.
    pub(crate) const fn of_hub(shared: Arc<Shared>, hub: Arc<HubShared>) -> Self {
        Self {
            shared,
            owner: Owner::Hub(hub),
        }
    }

    /// Returns the topic's name in its [`Hub`](crate::Hub), or `None` if it stands alone.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.shared.name().map(|name| &**name)
    }

    /// Removes the topic from its hub, which creates another one when the name is used again.
    ///
    /// Readers of this one continue. For `time`, the hub keeps the ID up to which its events count as
    /// evicted.
    pub(crate) fn remove_from_hub(&self, time: Duration) {
        if let Owner::Hub(hub) = &self.owner {
            hub.remove(&self.shared, time);
        }
    }

    /// Returns where a client without a last event ID begins.
    pub(crate) fn start(&self) -> Start {
        self.shared.config.start
    }

    /// Returns `true` if the topic has been [finished](Self::finish).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.lock_packed().end.is_some()
    }

    /// Returns the number of subscriptions.
    ///
    /// All clients of a server that follow the topic share one for each of its shards.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.shared.lock_packed().subscriptions.count()
    }

    /// Returns the first events in `range` that lie together in the log, for a reader that knows
    /// of removals dropped until `since`.
    pub(crate) fn read(&self, range: Range<Cursor>, since: Since) -> Result<Option<Slice>, Lagged> {
        let mut state = self.lock();
        let end = range.end.min(state.log.end());
        state.log.read(range.start..end, since)
    }

    /// Identifies the topic for as long as it lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.shared).addr()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(crate) fn storage(&self) -> Option<&Arc<dyn Storage>> {
        match &self.owner {
            Owner::Stored(storage) => Some(storage),
            Owner::Hub(hub) => hub.storage(),
            Owner::Alone => None,
        }
    }

    pub(crate) const fn hub(&self) -> Option<&Arc<HubShared>> {
        match &self.owner {
            Owner::Hub(hub) => Some(hub),
            Owner::Alone | Owner::Stored(_) => None,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if let Owner::Hub(hub) = &self.owner {
            hub.release(&self.shared);
        }
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut state = self.lock();
        let (events, subscriptions) = (state.log.len(), state.subscriptions.count());
        let is_finished = state.end.is_some();
        state.rest();
        drop(state); // The formatter may be foreign code.
        f.debug_struct("Topic")
            .field("name", &self.name())
            .field("events", &events)
            .field("subscriptions", &subscriptions)
            .field("is_finished", &is_finished)
            .finish_non_exhaustive()
    }
}
