//! Some events in a row, which are kept and forgotten together.

use std::mem;
use std::sync::Arc;

use crate::field::EventId;
use crate::log::Cursor;
use crate::segment::{RECORD_LEN, Record, push_record};
use crate::stamp::Stamp;

/// Some events of a log in a row.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) start: Cursor,
    /// How many events there have ever been before.
    pub(crate) rank: u64,
    pub(crate) bytes: Vec<u8>,
    /// One for each event: `end` and `stamp` both rise.
    pub(crate) entries: Vec<Entry>,
}

impl Chunk {
    /// Leaves the next chunk behind, with room for about `len` bytes.
    pub(crate) fn turn(&mut self, len: usize) -> Self {
        let room = |len: usize| len + len / 8;
        let next = Self {
            start: self.end(),
            rank: self.next_rank(),
            bytes: Vec::with_capacity(room(len)),
            entries: Vec::with_capacity(room(self.entries.len())),
        };
        let mut full = mem::replace(self, next);
        full.shrink_to(1);
        full
    }

    /// Removes the first `count` events, and gives back what room those to come won't need.
    pub(crate) fn forget(&mut self, count: usize) {
        let start = self.start(count);
        self.bytes.drain(..self.start.distance(start));
        self.entries.drain(..count);
        self.start = start;
        self.rank += count as u64;
        self.shrink_to(4);
    }

    /// Makes it follow what ends at `start`, `rank` events after the first.
    pub(crate) fn move_to(&mut self, start: Cursor, rank: u64) {
        for entry in &mut self.entries {
            entry.end = start.advance(self.start.distance(entry.end));
        }
        (self.start, self.rank) = (start, rank);
    }

    /// A copy of the events after `cursor`.
    pub(crate) fn after(&self, cursor: Cursor) -> Self {
        let at = self.entries.partition_point(|entry| entry.end <= cursor);
        let start = self.start(at);
        Self {
            start,
            rank: self.rank + at as u64,
            bytes: self.bytes[self.start.distance(start)..].to_vec(),
            entries: self.entries[at..].to_vec(),
        }
    }

    /// The events with their entries.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let end = self.start.distance(entry.end);
            let event = &self.bytes[start..end];
            start = end;
            (entry, event)
        })
    }

    /// The cursor before the event at this index, or the end.
    pub(crate) fn start(&self, index: usize) -> Cursor {
        let before = index.checked_sub(1).map(|before| &self.entries[before]);
        before.map_or(self.start, |before| before.end)
    }

    pub(crate) fn end(&self) -> Cursor {
        self.start(self.entries.len())
    }

    /// How many events there have ever been up to the end.
    pub(crate) const fn next_rank(&self) -> u64 {
        self.rank + self.entries.len() as u64
    }

    /// Gives back room that is more than so many times what is used.
    fn shrink_to(&mut self, times: usize) {
        self.bytes.shrink_to(times * self.bytes.len());
        self.entries.shrink_to(times * self.entries.len());
    }
}

/// Where an event ends, and what it is called.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) end: Cursor,
    pub(crate) stamp: Stamp,
    /// Where it is `None`, the ID is the stamp.
    pub(crate) own_id: Option<Arc<str>>,
}

impl Entry {
    pub(crate) fn has_id(&self, id: &EventId<'_>, stamp: Option<Stamp>) -> bool {
        match &self.own_id {
            Some(own_id) => **own_id == *id.as_str(),
            None => stamp == Some(self.stamp),
        }
    }
}

/// Events of a [`Log`](crate::Log), to be kept elsewhere: at least one.
///
/// They are shared with the log, and outlive what it forgets.
#[derive(Debug, Clone)]
pub struct Excerpt {
    chunk: Arc<Chunk>,
    /// The index of the first one.
    at: usize,
}

impl Excerpt {
    /// The events of a chunk after `cursor`, if there are any.
    pub(crate) fn new(chunk: Arc<Chunk>, cursor: Cursor) -> Option<Self> {
        let at = chunk.entries.partition_point(|entry| entry.end <= cursor);
        (at < chunk.entries.len()).then_some(Self { chunk, at })
    }

    /// Appends the events to `out` as they stand in a [`Segment`](crate::Segment).
    pub fn encode(&self, out: &mut Vec<u8>) {
        let count = self.chunk.entries.len() - self.at;
        out.reserve(self.bytes().len() + RECORD_LEN * count);
        for (entry, event) in self.chunk.events().skip(self.at) {
            push_record(entry.stamp, event, out);
        }
    }

    /// The stamp of the first event.
    #[must_use]
    pub fn first(&self) -> Stamp {
        self.chunk.entries[self.at].stamp
    }

    /// The wire bytes of the events.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let start = self.chunk.start(self.at);
        &self.chunk.bytes[self.chunk.start.distance(start)..]
    }

    /// The cursor after the last event.
    #[must_use]
    pub fn end(&self) -> Cursor {
        self.chunk.end()
    }
}

/// Events that were read from segments, to be [restored](crate::Log::restore): in the order of
/// their stamps, each once.
#[derive(Debug, Default)]
pub struct Past {
    full: Vec<Chunk>,
    newest: Chunk,
}

impl Past {
    /// Appends an event, unless its stamp is not later than that of all before. Gives whether
    /// it was.
    pub fn push(&mut self, record: &Record<'_>) -> bool {
        let own_id = record.own_id().map(|id| id.as_str().into());
        self.append(record.stamp(), own_id, record.event())
    }

    /// The events of both.
    #[must_use]
    pub fn merge(self, other: &Self) -> Self {
        let mut merged = Self::default();
        let mut others = other.events().peekable();
        for (entry, event) in self.events() {
            while let Some((entry, event)) = others.next_if(|(other, _)| other.stamp < entry.stamp)
            {
                merged.append(entry.stamp, entry.own_id.clone(), event);
            }
            merged.append(entry.stamp, entry.own_id.clone(), event);
        }
        for (entry, event) in others {
            merged.append(entry.stamp, entry.own_id.clone(), event);
        }
        merged
    }

    /// The stamp of the first event.
    #[must_use]
    pub fn first(&self) -> Option<Stamp> {
        let first = self.full.first().unwrap_or(&self.newest);
        first.entries.first().map(|entry| entry.stamp)
    }

    /// The stamp of the last event.
    #[must_use]
    pub fn last(&self) -> Option<Stamp> {
        let newest = self.newest.entries.last();
        let last = newest.or_else(|| self.full.last()?.entries.last());
        last.map(|entry| entry.stamp)
    }

    /// How many events there are.
    #[must_use]
    pub fn len(&self) -> usize {
        let full = self.full.iter().map(|chunk| chunk.entries.len());
        full.sum::<usize>() + self.newest.entries.len()
    }

    /// Whether there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last().is_none()
    }

    /// How many bytes of events there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Cursor::default().distance(self.newest.end())
    }

    pub(crate) fn into_chunks(self) -> impl Iterator<Item = Chunk> {
        self.full.into_iter().chain([self.newest])
    }

    fn append(&mut self, stamp: Stamp, own_id: Option<Arc<str>>, event: &[u8]) -> bool {
        // After the last stamp of all there would be none.
        let is_next = self.last() < Some(stamp) && stamp < stamp.next();
        if is_next {
            self.newest.bytes.extend_from_slice(event);
            let end = self.newest.start.advance(self.newest.bytes.len());
            self.newest.entries.push(Entry { end, stamp, own_id });
            if self.newest.bytes.len() >= MAX_CHUNK {
                self.full.push(self.newest.turn(MAX_CHUNK));
            }
        }
        is_next
    }

    fn events(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let chunks = self.full.iter().chain([&self.newest]);
        chunks.flat_map(Chunk::events)
    }
}

/// As much as a file takes at once with little effort for each event.
pub(crate) const MAX_CHUNK: usize = 64 << 10;
