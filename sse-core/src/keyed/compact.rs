//! Copying events away from superseded ones.
//!
//! A chunk of which less than half lives is replaced by a copy of what lives, at most 32 KiB, and
//! merged with a neighbour if both together are that short. Each call that appends copies one
//! chunk at most, so the cost is linear in what was appended. A reader that takes most of a chunk
//! of which something is superseded leaves its copy in the log, for those that follow.

use std::mem;

use super::keys::{Address, Keys};
use super::marks::{Marks, copy_run, room_for, settled};
use super::{KeyedLog, Part};
use crate::log::{Chunk, Evicted, MAX_CHUNK, Tail};

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
        let serial = self.next_serial();
        // One without other events is dropped, as in `supersede`.
        if marks.events < full.entries.len() {
            self.full.push_back(Part::new(full, serial, marks));
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
        evicted.push(mem::replace(&mut self.full[first], copy).chunk);
        if first < last
            && let Some(part) = self.full.remove(last)
        {
            evicted.push(part.chunk);
        }
    }
}

/// A copy of what lives of some chunks. The newest event of each key is followed into it.
struct Copy<'a> {
    chunk: Tail,
    serial: u64,
    marks: Marks,
    keys: &'a mut Keys,
}

impl<'a> Copy<'a> {
    fn new(room: Tail, serial: u64, keys: &'a mut Keys) -> Self {
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
    /// Whether more is superseded than lives. Long events are copied later: of short ones, what
    /// the log has beside their bytes takes memory, too.
    const fn is_sparse(&self) -> bool {
        let live = self.live();
        let spare = live.saturating_sub(LONG * self.live_events());
        self.marks.bytes > live + spare
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

/// The bytes of an event from which on it counts as long.
const LONG: usize = 256;

/// The length at which the newest chunk of a small log is full.
const MIN_CHUNK: usize = 4 << 10;

/// The most bytes of two chunks that are merged.
const MAX_COPY: usize = 32 << 10;
