//! Events that are held back, and do not supersede others yet.

use super::KeyedLog;
use super::keys::Keys;
use crate::log::{Evicted, LogId};

impl KeyedLog {
    /// Holds back the events after an ID, or none with `None`.
    ///
    /// Held events do not supersede others yet. Those that become visible do so in the calls of
    /// [`settle`](Self::settle) that follow.
    pub fn hold(&mut self, after: Option<LogId>) {
        self.visible = match (self.visible, after) {
            (Some(visible), Some(after)) => Some(visible.max(after)),
            (None, Some(after)) => Some(after.max(self.newest_id)),
            (_, None) => None,
        };
    }

    /// Drops all events, for a log that is written anew.
    ///
    /// Removals up to `evicted` count as dropped for good, and readers with an earlier ID have
    /// lagged. The events that follow may have smaller IDs than the dropped ones. They become
    /// visible when they are no longer [held](Self::hold).
    pub fn begin_anew(&mut self, evicted: LogId) -> Evicted {
        self.close_newest();
        let begin = self.newest.start.advance(1);
        self.newest.start = begin;
        (self.keys, self.swept, self.bytes) = (Keys::default(), 0, 0);
        self.removals.clear();
        self.removal_bytes = 0;
        self.held.clear();
        self.visible = Some(LogId::default());
        (self.newest_id, self.evicted) = (evicted, (evicted, begin));
        let mut dropped = Evicted::default();
        while !self.full.is_empty() {
            self.remove_full(0, &mut dropped);
        }
        dropped
    }

    /// Keeps removals after an ID from being dropped.
    ///
    /// A storage may still have older events of their keys, which a restart would restore.
    pub const fn keep_removals_after(&mut self, id: LogId) {
        self.kept_after = id;
    }

    /// Lets some of the events that have become visible supersede others.
    ///
    /// Returns memory to be freed without a lock, or `None` when there are no more.
    pub fn settle(&mut self) -> Option<Evicted> {
        let mut evicted = Evicted::default();
        let count = self.settle_some(SETTLED, &mut evicted);
        self.tidy(&mut evicted);
        (count > 0).then_some(evicted)
    }

    /// Settles at most `max` events, and returns their number.
    pub(super) fn settle_some(&mut self, max: usize, evicted: &mut Evicted) -> usize {
        for count in 0..max {
            let visible = self.held.front().filter(|(id, _)| self.is_visible(*id));
            let Some(&(_, superseded)) = visible else {
                return count;
            };
            self.held.pop_front();
            if let Some(place) = superseded.and_then(|id| self.place_of(id)) {
                let len = self.len_at(place);
                self.supersede(place, len, evicted);
            }
        }
        max
    }

    pub(super) fn is_visible(&self, id: LogId) -> bool {
        self.visible.is_none_or(|visible| id <= visible)
    }
}

/// The number of events that one call settles at most.
const SETTLED: usize = 512;
