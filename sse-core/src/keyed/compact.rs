//! Copying events away from superseded ones.
//!
//! When the log takes twice the memory of the events that are not superseded, a chunk with a
//! smaller share of them than the whole log is replaced by a copy of them. The copy is merged with
//! a neighbour if both together are short.
//!
//! Each call that appends copies one chunk at most, so the cost is linear in what was
//! appended. A reader that takes most of a chunk with superseded events leaves its copy in the log,
//! for later readers.

use std::mem;

use super::keys::{Address, KeyRef, Keys};
use super::marks::{Marks, copy_run, room_for, settled};
use super::{KeyedLog, Part};
use crate::log::{Chunk, Entry, Evicted, MAX_CHUNK, OpenChunk};

impl KeyedLog {
    /// Closes or compacts the newest chunk when it is full, or else compacts one of the full
    /// ones when they take too much memory.
    pub(super) fn tidy(&mut self, evicted: &mut Evicted) {
        let max_len = (2 * self.bytes).clamp(MIN_CHUNK, MAX_CHUNK);
        if self.newest.bytes.len() >= max_len {
            // Without its last event, the log would end before readers that have caught up.
            let last = self.newest.entries.len().saturating_sub(1);
            let keeps_end = !self.newest_marks.has(last);
            if keeps_end && 2 * self.newest_marks.bytes > self.newest.bytes.len() {
                return self.compact_newest(max_len);
            }
            self.close_newest();
        }
        for _ in 0..LOOKS {
            if self.full.is_empty() || self.cost() <= 2 * self.bytes {
                return;
            }
            self.swept = (self.swept + 1) % self.full.len();
            if self.is_sparse(self.swept) {
                return self.compact(self.swept, evicted);
            }
        }
    }

    /// Returns the memory that the events take, without their keys.
    const fn cost(&self) -> usize {
        let newest = &self.newest;
        self.full_cost + newest.bytes.len() + EVENT * newest.entries.len()
    }

    /// Returns whether the superseded share of a full chunk is at least that of the whole log.
    fn is_sparse(&self, index: usize) -> bool {
        let (part, cost) = (&self.full[index], self.cost());
        let live = self.bytes + EVENT * self.keys.len();
        let [cost, superseded, part_cost, part_superseded] = [
            cost,
            cost.saturating_sub(live),
            part.cost(),
            part.superseded_cost(),
        ]
        .map(|cost| cost as u64);
        part_superseded > 0 && part_superseded * cost >= superseded * part_cost
    }

    pub(super) fn push_full(&mut self, part: Part) {
        self.full_cost += part.cost();
        self.full.push_back(part);
    }

    pub(super) fn remove_full(&mut self, index: usize, evicted: &mut Evicted) {
        if let Some(part) = self.full.remove(index) {
            self.full_cost -= part.cost();
            evicted.push(part.chunk);
        }
    }

    /// Closes the newest chunk, unless it is empty.
    pub(super) fn close_newest(&mut self) {
        if self.newest.entries.is_empty() {
            return;
        }
        let len = self.newest.bytes.len();
        let full = self.newest.turn(len.min(MAX_CHUNK));
        let mut marks = mem::take(&mut self.newest_marks);
        marks.keys.shrink_to_fit();
        let serial = self.next_serial();
        // One without other events is dropped, as in `supersede`.
        if marks.events < full.entries.len() {
            self.push_full(Part::new(full, serial, marks));
        }
    }

    /// Returns the serial number of the newest chunk, and increments it for the next one.
    pub(super) const fn next_serial(&mut self) -> u64 {
        self.newest_serial += 1;
        self.newest_serial - 1
    }

    /// Removes the superseded events of the newest chunk, and makes room for `max_len` bytes.
    fn compact_newest(&mut self, max_len: usize) {
        let count = self.newest.entries.len();
        let room = room_for(self.newest.start, max_len + max_len / 8, count);
        let mut copy = Copy::new(room, self.newest_serial, &mut self.keys);
        copy.add(&self.newest, self.newest_serial, &self.newest_marks);
        (self.newest, self.newest_marks) = (copy.chunk, copy.marks);
    }

    /// Replaces a full chunk by a copy of what lives of it, and of a short neighbour.
    pub(super) fn compact(&mut self, index: usize, evicted: &mut Evicted) {
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
        let (start, serial) = (self.full[first].chunk.start, self.full[first].serial);
        let mut copy = Copy::new(room_for(start, bytes, events), serial, &mut self.keys);
        for part in parts {
            copy.add(&part.chunk, part.serial, &part.marks);
        }
        let copy = Part::new(settled(copy.chunk), serial, copy.marks);
        self.full_cost += copy.cost();
        let copied = mem::replace(&mut self.full[first], copy);
        self.full_cost -= copied.cost();
        evicted.push(copied.chunk);
        if first < last {
            self.remove_full(last, evicted);
        }
    }
}

/// A copy of what lives of some chunks. The newest event of each key is followed into it.
struct Copy<'a> {
    chunk: OpenChunk,
    serial: u64,
    marks: Marks,
    keys: &'a mut Keys,
}

impl<'a> Copy<'a> {
    fn new(room: OpenChunk, serial: u64, keys: &'a mut Keys) -> Self {
        let marks = Marks::of(Vec::with_capacity(room.entries.capacity()));
        Self {
            chunk: room,
            serial,
            marks,
            keys,
        }
    }

    fn add<B: AsRef<[u8]>>(&mut self, chunk: &Chunk<B>, serial: u64, marks: &Marks) {
        for run in marks.runs(0..chunk.entries.len()) {
            for index in run.clone() {
                let (from, to) = (index, self.marks.keys.len());
                let (from, to) = (Address::new(serial, from), Address::new(self.serial, to));
                let key = marks.keys[index];
                self.keys.follow(key.slot(), from, to);
                self.marks.keys.push(key);
            }
            copy_run(chunk, run, &mut self.chunk);
        }
    }
}

impl Part {
    /// Returns the memory that the chunk takes.
    const fn cost(&self) -> usize {
        self.len + EVENT * self.marks.keys.len()
    }

    /// Returns the memory that its superseded events take.
    const fn superseded_cost(&self) -> usize {
        self.marks.bytes + EVENT * self.marks.events
    }

    /// Returns the bytes of the events that are not superseded.
    pub(super) const fn live(&self) -> usize {
        self.len - self.marks.bytes
    }

    /// Returns the number of events that are not superseded.
    const fn live_events(&self) -> usize {
        self.marks.keys.len() - self.marks.events
    }
}

/// The memory that an event takes beside its bytes.
const EVENT: usize = size_of::<Entry>() + size_of::<KeyRef>() + size_of::<u32>();

/// The number of chunks that one call looks at.
const LOOKS: usize = 8;

/// The length at which the newest chunk of a small log is full.
const MIN_CHUNK: usize = 4 << 10;

/// The most bytes of two chunks that are merged.
const MAX_COPY: usize = 32 << 10;
