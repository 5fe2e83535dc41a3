//! Slices of a log.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;

use super::chunk::{Chunk, Entry};
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
    /// A cursor before the first event and after the one before it in the log.
    start: Cursor,
}

impl Slice {
    pub(crate) fn new(chunk: Arc<Chunk>, from: usize, to: usize) -> Option<Self> {
        let start = chunk.start_of(from);
        (from < to).then_some(Self {
            chunk,
            from,
            to,
            start,
        })
    }

    /// Returns the same slice for a reader at `cursor`, between which and the first event none
    /// is left.
    pub(crate) const fn since(mut self, cursor: Cursor) -> Self {
        self.start = cursor;
        self
    }

    /// Returns the wire bytes of the events, shared.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.chunk.bytes.slice(self.chunk.range(self.from, self.to))
    }

    /// Returns the wire bytes of the events. Unlike [`bytes`](Self::bytes), this costs nothing.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.chunk.bytes[self.chunk.range(self.from, self.to)]
    }

    /// Returns the cursor before the first event, or its reader's cursor.
    #[must_use]
    pub const fn start(&self) -> Cursor {
        self.start
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
        let from = self.index_of(|entry| entry.end <= cursor);
        Self::new(Arc::clone(&self.chunk), from, self.to)
    }

    /// Returns the events that begin within the first `taken` bytes.
    ///
    /// A reader that has taken that much has at least a part of each.
    #[must_use]
    pub fn begun(&self, taken: usize) -> Begun {
        let count = match taken {
            0 => 0,
            _ => (self.chunk.ending_before(self.from, taken) + 1).min(self.to) - self.from,
        };
        Begun {
            count,
            len: self.chunk.range(self.from, self.from + count).len(),
            position: match count {
                0 => self.start,
                _ => self.chunk.start_of(self.from + count),
            },
            id: count
                .checked_sub(1)
                .map(|last| self.chunk.entries[self.from + last].id),
        }
    }

    /// Returns the events, each with the ID that the log assigned.
    pub fn events(&self) -> impl Iterator<Item = (LogId, &[u8])> {
        let events = self.chunk.events().skip(self.from);
        let events = events.take(self.count());
        events.map(|(entry, event)| (entry.id, event))
    }

    /// Returns the wire bytes of the events without their `id` lines, copied.
    ///
    /// A client that receives them keeps its last event ID. The events have to be of a log
    /// [of a hub](crate::Log::of_hub), where each has an ID.
    #[must_use]
    pub fn bytes_without_ids(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        for (_, event) in self.events() {
            let (before, after) = around_id(event);
            bytes.extend_from_slice(before);
            bytes.extend_from_slice(after);
        }
        bytes
    }

    /// Returns the ID that the log assigned to the first event.
    #[must_use]
    pub fn first_id(&self) -> LogId {
        self.chunk.entries[self.from].id
    }

    /// Returns the ID that the log assigned to the last event.
    #[must_use]
    pub fn last_id(&self) -> LogId {
        self.chunk.entries[self.to - 1].id
    }

    /// Returns the events with IDs later than `id`, or `None` if there are none.
    #[must_use]
    pub fn after_id(&self, id: LogId) -> Option<Self> {
        let from = self.index_of(|entry| entry.id <= id);
        Self::new(Arc::clone(&self.chunk), from, self.to)
    }

    /// Returns the events with IDs up to `limit` that are also `before` another ID.
    pub(super) fn until(&self, limit: LogId, before: Option<LogId>) -> Option<Self> {
        let is_before = |id| before.is_none_or(|before| id < before);
        let to = self.index_of(|entry| entry.id <= limit && is_before(entry.id));
        Self::new(Arc::clone(&self.chunk), self.from, to)
    }

    /// Returns the number of wire bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a slice has an event")]
    pub fn len(&self) -> usize {
        self.chunk.range(self.from, self.to).len()
    }

    fn index_of(&self, is_before: impl Fn(&Entry) -> bool) -> usize {
        let entries = &self.chunk.entries[self.from..self.to];
        self.from + entries.partition_point(is_before)
    }
}

/// Returns the lines of an event before and after its `id` line, which only comments precede.
fn around_id(event: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    while let Some(end) = memchr(b'\n', &event[start..]).map(|at| start + at + 1) {
        if event[start..].starts_with(b"id: ") {
            return (&event[..start], &event[end..]);
        }
        if event[start] != b':' {
            break;
        }
        start = end;
    }
    (event, &[])
}

/// Returns the ID in an event's `id` line.
pub(super) fn id_text(event: &[u8]) -> Option<&[u8]> {
    let (before, after) = around_id(event);
    let line = event.get(before.len()..event.len() - after.len())?;
    line.strip_prefix(b"id: ")?.strip_suffix(b"\n")
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
    /// The ID that the log assigned to the last of them.
    pub id: Option<LogId>,
}
