//! The way out of a log.

use std::sync::Arc;

use bytes::Bytes;

use super::chunk::Chunk;
use super::cursor::Cursor;
use super::id::LogId;

/// Consecutive events of a [`Log`](crate::Log), at least one: shared with the log where their
/// chunk is full, copied where it still grows, which is at most 64 KiB.
///
/// Cloning is cheap. A slice keeps its whole chunk in memory, also after the log has evicted
/// it.
#[derive(Debug, Clone)]
pub struct Slice {
    chunk: Arc<Chunk>,
    /// The indices of the first event and of the one after the last.
    from: usize,
    to: usize,
}

impl Slice {
    pub(super) fn new(chunk: Arc<Chunk>, from: usize, to: usize) -> Option<Self> {
        (from < to).then_some(Self { chunk, from, to })
    }

    /// The wire bytes of the events, shared.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.chunk.bytes.slice(self.chunk.range(self.from, self.to))
    }

    /// The cursor before the first event.
    #[must_use]
    pub fn start(&self) -> Cursor {
        self.chunk.start_of(self.from)
    }

    /// The cursor after the last event.
    #[must_use]
    pub fn end(&self) -> Cursor {
        self.chunk.start_of(self.to)
    }

    /// The number of events.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.to - self.from
    }

    /// The events that end after `cursor`, if there are any.
    #[must_use]
    pub fn after(&self, cursor: Cursor) -> Option<Self> {
        let from = self.index_after(cursor);
        Self::new(Arc::clone(&self.chunk), from, self.to)
    }

    /// The events of which a reader that has taken the first `taken` bytes has got at least a
    /// part.
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

    /// The events, each with the ID that the log gave it.
    pub fn events(&self) -> impl Iterator<Item = (LogId, &[u8])> {
        let events = self.chunk.events().skip(self.from);
        let events = events.take(self.count());
        events.map(|(entry, event)| (entry.id, event))
    }

    /// The ID that the log gave the first event.
    #[must_use]
    pub fn first_id(&self) -> LogId {
        self.chunk.entries[self.from].id
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
