//! Counters of the topics of a hub: some individually, the others as sums.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The counters of the topics of a [`Hub`](crate::Hub) at one time, since its start.
///
/// [`HubConfig::max_counted_topics`](crate::HubConfig::max_counted_topics) topics are counted
/// individually: the first ones that were created. A topic that is dropped and created anew
/// continues its counters, so none of them ever falls.
/// [`to_prometheus`](Self::to_prometheus) returns them as text for Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HubSnapshot {
    /// The number of topics that exist.
    pub topics: usize,
    /// The counters of single topics, in the order of their names.
    pub counted: Vec<TopicSnapshot>,
    /// The sums of all other topics, without a name.
    pub others: TopicSnapshot,
}

/// The counters of a topic, or the sums of several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TopicSnapshot {
    /// The name of the topic.
    pub name: String,
    /// Events that were published, and removals of keys.
    pub published: u64,
    /// Events that clients were sent and subscriptions have read, once for each of them.
    pub delivered: u64,
    /// The bytes of these events.
    pub delivered_bytes: u64,
    /// Gap events for clients.
    pub gaps: u64,
}

impl HubSnapshot {
    /// Returns the number of events that were published to any topic.
    #[must_use]
    pub fn published(&self) -> u64 {
        let counted = self.counted.iter().map(|topic| topic.published);
        counted.sum::<u64>() + self.others.published
    }
}

/// The counters behind a [`TopicSnapshot`]. Counting is an addition beside a lock.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    published: AtomicU64,
    delivered: AtomicU64,
    delivered_bytes: AtomicU64,
    gaps: AtomicU64,
}

impl Meter {
    pub(crate) fn add_published(&self, count: usize) {
        self.published.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn add_delivered(&self, events: usize, bytes: usize) {
        self.delivered.fetch_add(events as u64, Relaxed);
        self.delivered_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn add_gap(&self) {
        self.gaps.fetch_add(1, Relaxed);
    }

    fn snapshot(&self, name: &str) -> TopicSnapshot {
        TopicSnapshot {
            name: name.to_owned(),
            published: self.published.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            delivered_bytes: self.delivered_bytes.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
        }
    }
}

/// The meters of the topics of a hub.
#[derive(Debug)]
pub(crate) struct Meters {
    /// Locked when a topic is created and for a snapshot, and never with another lock within.
    counted: Mutex<HashMap<Arc<str>, Arc<Meter>>>,
    max: usize,
    others: Arc<Meter>,
}

impl Meters {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            counted: Mutex::default(),
            max,
            others: Arc::default(),
        }
    }

    /// Returns the meter of a topic: its own, or that of the others.
    pub(crate) fn of(&self, name: &Arc<str>) -> Arc<Meter> {
        let mut counted = self.lock();
        match counted.get(name) {
            Some(meter) => Arc::clone(meter),
            None if counted.len() < self.max => {
                Arc::clone(counted.entry(Arc::clone(name)).or_default())
            }
            None => Arc::clone(&self.others),
        }
    }

    pub(crate) fn snapshot(&self, topics: usize) -> HubSnapshot {
        let counted = self.lock();
        let counted = counted.iter().map(|(name, meter)| meter.snapshot(name));
        let mut counted = Vec::from_iter(counted);
        counted.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        HubSnapshot {
            topics,
            counted,
            others: self.others.snapshot(""),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Meter>>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
