//! Events that come from elsewhere.

use std::sync::Arc;
use std::time::Duration;

use super::chunk::{Chunk, Entry, MAX_CHUNK, Tail};
use super::cursor::Cursor;
use super::id::LogId;
use super::now::{Now, millis};
use super::{Evicted, Log};

/// Events read from segments, in the order of the IDs that a log gave them, to be
/// [restored](Log::restore).
#[derive(Debug, Default)]
pub struct Restored {
    full: Vec<Chunk>,
    newest: Tail,
}

impl Restored {
    /// The events of both, each once.
    #[must_use]
    pub fn merge(self, other: &Self) -> Self {
        let mut merged = Self::default();
        let mut others = other.events().peekable();
        for (entry, event) in self.events() {
            while let Some((entry, event)) = others.next_if(|(other, _)| other.id < entry.id) {
                merged.append(entry.id, entry.own_id.clone(), event);
            }
            merged.append(entry.id, entry.own_id.clone(), event);
        }
        for (entry, event) in others {
            merged.append(entry.id, entry.own_id.clone(), event);
        }
        merged
    }

    /// The ID of the first event.
    #[must_use]
    pub fn first(&self) -> Option<LogId> {
        let first = match self.full.first() {
            Some(chunk) => &chunk.entries,
            None => &self.newest.entries,
        };
        first.first().map(|entry| entry.id)
    }

    /// The ID of the last event.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        let newest = self.newest.entries.last();
        let last = newest.or_else(|| self.full.last()?.entries.last());
        last.map(|entry| entry.id)
    }

    /// The number of events.
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

    /// The bytes of all events.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Cursor::default().distance(self.newest.end())
    }

    fn into_chunks(mut self) -> impl Iterator<Item = Chunk> {
        let newest = self.newest.turn(0);
        self.full.into_iter().chain([newest])
    }

    /// Appends an event and returns `true`, or returns `false` if its ID is not later than
    /// that of the last one.
    pub(crate) fn append(&mut self, id: LogId, own_id: Option<Arc<str>>, event: &[u8]) -> bool {
        // After the last ID of all there would be none.
        let is_next = self.last() < Some(id) && id < id.next();
        if is_next {
            self.newest.bytes.extend_from_slice(event);
            self.newest.entries.push(Entry {
                end: self.newest.start.advance(self.newest.bytes.len()),
                id,
                appended: id.millis(),
                own_id,
            });
            if self.newest.bytes.len() >= MAX_CHUNK {
                self.full.push(self.newest.turn(MAX_CHUNK));
            }
        }
        is_next
    }

    fn events(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let full = self.full.iter().flat_map(Chunk::events);
        full.chain(self.newest.events())
    }
}

impl Log {
    /// Appends events that were read from segments, but for those whose IDs are not later
    /// than all that the log has. Nothing is evicted until
    /// [`finish_restoring`](Self::finish_restoring).
    ///
    /// An event is as old as its ID says, but no younger than `now`.
    pub fn restore(&mut self, restored: Restored, now: impl Into<Now>) {
        let now = millis(now.into().steady);
        for mut chunk in restored.into_chunks() {
            let newest = self.newest_entry().map(|entry| entry.id);
            chunk.skip(
                chunk
                    .entries
                    .partition_point(|entry| Some(entry.id) <= newest),
            );
            let Some(first) = chunk.entries.first() else {
                continue;
            };
            self.first_id.get_or_insert(first.id);
            self.close_newest();
            chunk.move_to(self.newest.start, self.newest.rank);
            for entry in &mut chunk.entries {
                entry.appended = entry.appended.min(now);
                if let Some(id) = &entry.own_id {
                    self.own_ids.insert(Arc::clone(id), entry.end);
                }
            }
            self.push_chunk(chunk);
        }
    }

    /// Ends restoring: evicts what the retention does not keep at the time `now`.
    ///
    /// `since` is the first ID that the restored log ever gave, and `until` the Unix time up
    /// to which it may have given IDs. A client with an ID from that time whose event is not
    /// there, evicted or lost, gets a [`Gap`](super::Resume::Gap).
    pub fn finish_restoring(
        &mut self,
        since: LogId,
        until: Duration,
        now: impl Into<Now>,
    ) -> Evicted {
        self.first_id = Some(since);
        let newest = self.newest_entry().map(|entry| entry.id);
        self.restored_until = newest.max(Some(LogId::at(until)));
        self.evict(now)
    }
}
