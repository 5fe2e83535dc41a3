//! Slices of a log.

use std::sync::Arc;

use bytes::Bytes;

use super::chunk::Chunk;
use super::cursor::Cursor;
use super::id::LogId;

/// Consecutive events of a [`Log`](crate::Log), at least one.
///
/// Events of a full chunk are shared with the log. Those of the newest chunk, at most 64 KiB,
/// are copied. Cloning is cheap. A slice keeps its whole chunk in memory, even after the log
/// has evicted it.
#[derive(Debug, Clone)]
pub struct Slice {
    chunk: Arc<Chunk>,
    /// The indices of the first event and of the one after the last.
    from: usize,
    to: usize,
}

impl Slice {
    pub(crate) fn new(chunk: Arc<Chunk>, from: usize, to: usize) -> Option<Self> {
        (from < to).then_some(Self { chunk, from, to })
    }

    /// Returns the wire bytes of the events, shared.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.chunk.bytes.slice(self.chunk.range(self.from, self.to))
    }

    /// Returns the cursor before the first event.
    #[must_use]
    pub fn start(&self) -> Cursor {
        self.chunk.start_of(self.from)
    }

    /// Returns the cursor after the last event.
    #[must_use]
    pub fn end(&self) -> Cursor {
        self.chunk.start_of(self.to)
    }

    /// Returns the number of events.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.to - self.from
    }

    /// Returns the events that end after `cursor`, or `None` if there are none.
    #[must_use]
    pub fn after(&self, cursor: Cursor) -> Option<Self> {
        let from = self.index_after(cursor);
        Self::new(Arc::clone(&self.chunk), from, self.to)
    }

    /// Returns the events that begin within the first `taken` bytes.
    ///
    /// A reader that has taken that much has at least a part of each.
    #[must_use]
    pub fn begun(&self, taken: usize) -> Begun {
        let taken_to = self.start().advance(taken);
        let entries = &self.chunk.entries[self.from..self.to];
        let count = match taken {
            0 => 0,
            _ => (entries.partition_point(|entry| entry.end < taken_to) + 1).min(entries.len()),
        };
        let position = self.chunk.start_of(self.from + count);
        Begun {
            count,
            len: self.start().distance(position),
            position,
        }
    }

    /// Returns the events, each with the ID that the log assigned.
    pub fn events(&self) -> impl Iterator<Item = (LogId, &[u8])> {
        let events = self.chunk.events().skip(self.from);
        let events = events.take(self.count());
        events.map(|(entry, event)| (entry.id, event))
    }

    /// Returns the ID that the log assigned to the first event.
    #[must_use]
    pub fn first_id(&self) -> LogId {
        self.chunk.entries[self.from].id
    }

    /// Returns the ID that was assigned to the last event.
    #[must_use]
    pub fn last_id(&self) -> LogId {
        self.chunk.entries[self.to - 1].id
    }

    /// Returns the ID and the key of each event of a keyed log.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (LogId, &Arc<str>)> {
        let entries = self.chunk.entries[self.from..self.to].iter();
        entries.filter_map(|entry| Some((entry.id, entry.own_id.as_ref()?)))
    }

    fn index_after(&self, cursor: Cursor) -> usize {
        let entries = &self.chunk.entries[self.from..self.to];
        self.from + entries.partition_point(|entry| entry.end <= cursor)
    }
}

/// The first events of a [`Slice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// The number of events.
    pub count: usize,
    /// Their bytes.
    pub len: usize,
    /// The cursor after the last of them.
    pub position: Cursor,
}
