//! Chunks of consecutive events, which are evicted as a unit.

use std::mem;
use std::ops::Range;

use bytes::Bytes;

use super::cursor::Cursor;
use super::id::LogId;

/// Large enough that the cost of a `write` is spread over many events, and small enough to
/// be copied under a lock.
pub(crate) const MAX_CHUNK: usize = 64 << 10;

/// Consecutive events of a log.
#[derive(Debug, Default)]
pub(crate) struct Chunk<B = Bytes> {
    pub(crate) start: Cursor,
    /// The number of events ever appended before the first.
    pub(crate) rank: u64,
    pub(crate) bytes: B,
    /// One for each event: `end`, `id` and `appended` never fall.
    pub(crate) entries: Vec<Entry>,
    /// The end of each event in `bytes`, if events between them have been left out.
    #[expect(
        clippy::box_collection,
        reason = "it is rarely there, and a pointer is enough"
    )]
    pub(crate) ends: Option<Box<Vec<u32>>>,
}

/// The newest chunk, which still grows.
pub(crate) type OpenChunk = Chunk<Vec<u8>>;

/// The end of an event and the ID that the log assigned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) end: Cursor,
    pub(crate) id: LogId,
    /// The time of appending by the steady clock, in milliseconds.
    pub(crate) appended: u64,
}

impl<B: AsRef<[u8]>> Chunk<B> {
    /// The events with their entries.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        self.entries.iter().enumerate().map(|(index, entry)| {
            let event = &self.bytes.as_ref()[self.range(index, index + 1)];
            (entry, event)
        })
    }
}

impl<B> Chunk<B> {
    /// The cursor before the event at this index, or the end.
    pub(crate) fn start_of(&self, index: usize) -> Cursor {
        let before = index.checked_sub(1).map(|before| &self.entries[before]);
        before.map_or(self.start, |before| before.end)
    }

    pub(crate) fn end(&self) -> Cursor {
        self.start_of(self.entries.len())
    }

    /// The number of events ever appended up to the end.
    pub(crate) const fn next_rank(&self) -> u64 {
        self.rank + self.entries.len() as u64
    }

    /// The bytes of the events at these indices.
    pub(crate) fn range(&self, from: usize, to: usize) -> Range<usize> {
        self.offset_of(from)..self.offset_of(to)
    }

    /// Returns the index of the first event, from the one at `from` on, that does not end
    /// before `len` bytes after the beginning of that one.
    pub(crate) fn ending_before(&self, from: usize, len: usize) -> usize {
        let limit = self.offset_of(from) + len;
        from + match &self.ends {
            Some(ends) => ends[from..].partition_point(|end| (*end as usize) < limit),
            None => {
                let limit = self.start.advance(limit);
                self.entries[from..].partition_point(|entry| entry.end < limit)
            }
        }
    }

    /// Returns where in `bytes` the event at this index begins.
    pub(crate) fn offset_of(&self, index: usize) -> usize {
        match (&self.ends, index.checked_sub(1)) {
            (Some(ends), Some(before)) => ends[before] as usize,
            _ => self.start.distance(self.start_of(index)),
        }
    }
}

impl OpenChunk {
    /// Closes the chunk and begins the next one, with room for about `len` bytes.
    pub(crate) fn turn(&mut self, len: usize) -> Chunk {
        let room = |len: usize| len + len / 8;
        let next = Self {
            start: self.end(),
            rank: self.next_rank(),
            bytes: Vec::with_capacity(room(len)),
            entries: Vec::with_capacity(room(self.entries.len()).min(len)),
            ends: None,
        };
        let mut full = mem::replace(self, next);
        full.shrink_to(1);
        Chunk {
            start: full.start,
            rank: full.rank,
            bytes: full.bytes.into(),
            entries: full.entries,
            ends: full.ends,
        }
    }

    /// Removes the first `count` events and shrinks buffers that they leave too large.
    pub(crate) fn remove_first(&mut self, count: usize) {
        let start = self.start_of(count);
        self.bytes.drain(..self.start.distance(start));
        self.entries.drain(..count);
        self.start = start;
        self.rank += count as u64;
        self.shrink_to(4);
    }

    /// Copies the events at these indices.
    pub(crate) fn copy(&self, from: usize, to: usize) -> Chunk {
        Chunk {
            start: self.start_of(from),
            rank: self.rank + from as u64,
            bytes: Bytes::copy_from_slice(&self.bytes[self.range(from, to)]),
            entries: self.entries[from..to].to_vec(),
            ends: None,
        }
    }

    /// Shrinks each buffer whose capacity exceeds `times` × its length.
    fn shrink_to(&mut self, times: usize) {
        self.bytes.shrink_to(times * self.bytes.len());
        self.entries.shrink_to(times * self.entries.len());
    }
}

impl Chunk {
    /// Removes the first `count` events.
    pub(crate) fn skip(&mut self, count: usize) {
        let start = self.start_of(count);
        let _ = self.bytes.split_to(self.start.distance(start));
        self.entries.drain(..count);
        self.start = start;
        self.rank += count as u64;
    }

    /// Moves the chunk to `start`, as if `rank` events had come before it.
    pub(crate) fn move_to(&mut self, start: Cursor, rank: u64) {
        for entry in &mut self.entries {
            entry.end = start.advance(self.start.distance(entry.end));
        }
        (self.start, self.rank) = (start, rank);
    }
}
