//! A hub whose events come from an engine.
//!
//! Only one task of the engine calls this: it appends events in the order of their IDs, and then
//! moves the mark.

use std::time::Duration;

use sse_core::{Encoded, Epochs, Evicted, LogId, Now};

use super::HubCore;
use crate::config::HubConfig;
use crate::sync::Arc;
use crate::topic::clock::now;
use crate::topic::log::SafeId;
use crate::topic::state::{End, Shared};

impl HubCore {
    /// Creates a hub with the epochs of an engine.
    pub(crate) fn followed(config: HubConfig, epochs: Epochs) -> Self {
        let safe = Arc::new(SafeId::default());
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
    /// Appends an event, which is not visible until the mark moves.
    pub(crate) fn append_followed(&self, id: LogId, event: Encoded) {
        let mut state = self.lock();
        let appended = state
            .log
            .ordinary()
            .map(|log| log.append_encoded_as(id, event, aged(now(), id)));
        // Of a topic that had ended, and begins anew.
        state.end = None;
        self.newest.store(id);
        drop(state);
        drop(appended);
    }

    /// Replaces the events. Events up to `evicted` count as evicted. Every subscriber is woken,
    /// and finds that it has lagged, unless it continues with an ID after `evicted`.
    pub(crate) fn refill(&self, evicted: LogId, events: &[(LogId, Encoded)]) {
        let now = now();
        let mut state = self.lock();
        let mut dropped = Evicted::default();
        if let Some(log) = state.log.ordinary() {
            dropped = log.begin_anew(evicted);
            for (id, event) in events {
                let appended = log.append_encoded_as(*id, event.clone(), aged(now, *id));
                dropped.append(appended.evicted);
            }
            dropped.append(log.evict(now));
        }
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

    /// Returns the number of events after an ID.
    pub(crate) fn count_after(&self, id: LogId) -> usize {
        let mut state = self.lock();
        let log = state.log.ordinary();
        log.map_or(0, |log| log.count(log.after(id), log.tip()))
    }
}

/// The time at which an event with this ID was appended by the engine.
fn aged(now: Now, id: LogId) -> Now {
    Now {
        steady: now.steady.min(Duration::from_millis(id.millis())),
        ..now
    }
}
