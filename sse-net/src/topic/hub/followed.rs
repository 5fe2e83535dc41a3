//! A hub whose events come from an engine.
//!
//! Only one task of the engine calls this: it appends events in the order of their IDs, and then
//! moves the mark.

use std::time::Duration;

use sse_core::{Encoded, Epochs, EventKey, Evicted, LogId, Now};

use super::HubCore;
use crate::config::HubConfig;
use crate::sync::Arc;
use crate::topic::clock::now;
use crate::topic::log::{SafeId, TopicLog};
use crate::topic::state::{End, Shared};

impl HubCore {
    /// Creates a hub with the epochs of an engine.
    pub(crate) fn followed(config: HubConfig, epochs: Epochs) -> Self {
        let safe = Arc::new(SafeId::default());
        // The engine has everything, so removals are dropped when they are old.
        safe.set(LogId::MAX);
        let hub = Self::restore(
            config,
            epochs.clone(),
            LogId::default(),
            safe,
            [].into_iter(),
        );
        hub.order().set_epochs(epochs);
        hub
    }

    /// Takes the topics that are still to be read from the engine.
    pub(crate) fn take_unread(&self) -> Vec<Arc<Shared>> {
        self.order().take_unread()
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.order().has_unread()
    }

    /// Returns the number of topics.
    pub(crate) fn count(&self) -> usize {
        self.names().count()
    }

    /// Returns all topics.
    pub(crate) fn live_topics(&self) -> Vec<Arc<Shared>> {
        self.names().live().cloned().collect()
    }

    /// Returns the topic with this name, if there is one.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Shared>> {
        self.names().get(name)
    }

    /// Replaces the epochs. The mark moves to the last ID of the current one, and may fall.
    pub(crate) fn set_epochs(&self, epochs: Epochs) {
        self.order().set_epochs(epochs);
    }

    /// Moves the mark to an ID of the current epoch; see [`set_visible`](Self::set_visible).
    pub(crate) fn advance(&self, id: LogId, topics: &[Arc<Shared>]) {
        self.order().epochs.note_last(id);
        self.set_visible(id, topics);
    }
}

impl Shared {
    /// Appends an event, which is not visible until the mark moves. Returns `false` if it has a
    /// key and the topic is not keyed, or the other way round.
    pub(crate) fn append_followed(&self, followed: &Followed) -> bool {
        let mut state = self.lock();
        let appended = followed.append(&mut state.log, now());
        if appended.is_some() {
            // Of a topic that had ended, and begins anew.
            state.end = None;
            self.newest.store(followed.id);
        }
        drop(state);
        appended.is_some()
    }

    /// Replaces the events. Those up to `evicted` count as evicted, and in a keyed topic removals
    /// up to it as dropped. Every subscriber is woken, and finds that it has lagged, unless it
    /// continues with an ID after `evicted`.
    pub(crate) fn refill(&self, evicted: LogId, events: &[Followed]) {
        let now = now();
        let mut state = self.lock();
        let mut dropped = match &mut state.log {
            TopicLog::Ordinary(log) => log.begin_anew(evicted),
            TopicLog::Keyed(log) => log.begin_anew(evicted),
        };
        for followed in events {
            dropped.append(followed.append(&mut state.log, now).unwrap_or_default());
        }
        dropped.append(state.log.evict(now));
        state.end = None;
        self.newest.store(state.log.newest_id());
        let wakers = state.take_wakers();
        drop(state);
        drop(dropped);
        wakers.wake();
    }

    /// Ends the topic at an ID, which is that of its last event if there is one.
    pub(crate) fn end_followed(&self, id: LogId) {
        let mut state = self.lock();
        state.end = Some(End {
            last: state.log.newest_id(),
            id,
            is_held: true,
        });
    }

    /// Returns the number of events after an ID, or of keys that have changed since.
    pub(crate) fn count_after(&self, id: LogId) -> usize {
        let (mut after, mut count) = (id, 0);
        let mut state = self.lock();
        match &mut state.log {
            TopicLog::Ordinary(log) => count = log.count(log.after(id), log.tip()),
            TopicLog::Keyed(log) => {
                while let Some(slice) = log.slice_between(after, LogId::MAX) {
                    count += slice.count();
                    after = slice.last_id();
                }
            }
        }
        count
    }
}

/// An event that an engine has assigned an ID, and the key if its topic is keyed.
pub(crate) struct Followed {
    pub(crate) id: LogId,
    pub(crate) event: Encoded,
    pub(crate) key: Option<EventKey>,
}

impl Followed {
    /// Appends the event to a log of its kind.
    fn append(&self, log: &mut TopicLog, now: Now) -> Option<Evicted> {
        let (id, event, now) = (self.id, self.event.clone(), aged(now, self.id));
        match (log, &self.key) {
            (TopicLog::Ordinary(log), None) => Some(log.append_encoded_as(id, event, now).evicted),
            (TopicLog::Keyed(log), Some(EventKey { key, is_removal })) => Some(if *is_removal {
                log.remove_encoded_as(id, key, event, now)
            } else {
                log.append_encoded_as(id, key, event, now)
            }),
            _ => None,
        }
    }
}

/// The time at which an event with this ID was appended by the engine.
fn aged(now: Now, id: LogId) -> Now {
    Now {
        steady: now.steady.min(Duration::from_millis(id.millis())),
        ..now
    }
}
