//! Copying events away from superseded ones.
//!
//! A chunk of which less than half lives is replaced by a copy of what lives, at most 32 KiB, and
//! merged with a neighbour if both together are that short. Each call that appends copies one
//! chunk at most, so the cost is linear in what was appended.

use super::marks::{room_for, settled};
use super::{KeyedLog, Marks, Part};
use crate::log::{Evicted, MAX_CHUNK};
use std::mem;

impl KeyedLog {
    /// Closes or compacts the newest chunk when it is full, or else compacts one of the full
    /// ones: the one that was `touched`, or the next one in turn.
    pub(super) fn tidy(&mut self, touched: Option<usize>, evicted: &mut Evicted) {
        let max_len = (2 * self.bytes).clamp(MIN_CHUNK, MAX_CHUNK);
        if self.newest.bytes.len() >= max_len {
            if 2 * self.newest_marks.bytes > self.newest.bytes.len() {
                return self.compact_newest(max_len);
            }
            self.close_newest();
        }
        let is_sparse = |index: usize| self.full.get(index).is_some_and(Part::is_sparse);
        self.swept += 1;
        if self.swept >= self.full.len() {
            self.swept = 0;
        }
        let next = touched.into_iter().chain([self.swept]);
        if let Some(index) = { next }.find(|index| is_sparse(*index)) {
            self.compact(index, evicted);
        }
    }

    /// Closes the newest chunk, unless it is empty.
    pub(super) fn close_newest(&mut self) {
        if self.newest.entries.is_empty() {
            return;
        }
        let len = self.newest.bytes.len();
        let full = self.newest.turn(len.min(MAX_CHUNK));
        let marks = mem::take(&mut self.newest_marks);
        // One without other events is dropped, as in `supersede`.
        if marks.events < full.entries.len() {
            self.full.push_back(Part::new(full, marks));
        }
    }

    /// Removes the superseded events of the newest chunk, and makes room for `max_len` bytes.
    fn compact_newest(&mut self, max_len: usize) {
        let count = self.newest.entries.len();
        let mut copy = room_for(self.newest.start, max_len + max_len / 8, count);
        self.newest_marks
            .copy_live(&self.newest, 0..count, &mut copy, true);
        self.newest = copy;
        self.newest_marks.clear();
    }

    /// Replaces a full chunk by a copy of what lives of it, and of a short neighbour.
    fn compact(&mut self, index: usize, evicted: &mut Evicted) {
        let live = |index: usize| self.full.get(index).map_or(MAX_CHUNK, Part::live);
        let before = index
            .checked_sub(1)
            .filter(|before| live(*before) + live(index) <= MAX_COPY);
        let after = Some(index).filter(|index| live(*index) + live(index + 1) <= MAX_COPY);
        let (first, last) = match (before, after) {
            (Some(before), _) => (before, index),
            (None, Some(_)) => (index, index + 1),
            (None, None) => (index, index),
        };
        let parts = self.full.range(first..=last);
        let bytes = parts.clone().map(Part::live).sum();
        let events = parts.clone().map(Part::live_events).sum();
        let mut copy = room_for(self.full[first].chunk.start, bytes, events);
        for part in parts {
            let all = 0..part.chunk.entries.len();
            part.marks.copy_live(&part.chunk, all, &mut copy, true);
        }
        let copy = Part::new(settled(copy), Marks::default());
        evicted.push(mem::replace(&mut self.full[first], copy).chunk);
        if first < last
            && let Some(part) = self.full.remove(last)
        {
            evicted.push(part.chunk);
        }
    }
}

impl Part {
    /// Whether more than half of the bytes is superseded.
    fn is_sparse(&self) -> bool {
        2 * self.marks.bytes > self.chunk.bytes.len()
    }

    /// Returns the bytes of the events that are not superseded.
    fn live(&self) -> usize {
        self.chunk.bytes.len() - self.marks.bytes
    }

    /// Returns the number of events that are not superseded.
    fn live_events(&self) -> usize {
        self.chunk.entries.len() - self.marks.events
    }
}

/// The length at which the newest chunk of a small log is full.
const MIN_CHUNK: usize = 4 << 10;

/// The most bytes of two chunks that are merged.
const MAX_COPY: usize = 32 << 10;
