//! Events of an earlier run.

use super::chunk::{Chunk, Entry, MAX_CHUNK, OpenChunk};
use super::cursor::Cursor;
use super::id::{LogId, LogIdText};
use super::now::{Now, millis};
use super::own_ids::published_id;
use super::{Epochs, Log};

/// Events of an earlier run, which a log [restores](Log::restore).
///
/// They are in the order of the IDs that the log assigned.
#[derive(Debug, Default)]
pub struct Restored {
    full: Vec<Chunk>,
    newest: OpenChunk,
    /// Whether an event may have its publisher's ID, or does not begin with its ID.
    has_other_ids: bool,
    text: LogIdText,
}

impl Restored {
    /// Returns the ID of the first event.
    #[must_use]
    pub fn first(&self) -> Option<LogId> {
        let first = match self.full.first() {
            Some(chunk) => &chunk.entries,
            None => &self.newest.entries,
        };
        first.first().map(|entry| entry.id)
    }

    /// Returns the ID of the last event.
    #[must_use]
    pub fn last(&self) -> Option<LogId> {
        let newest = self.newest.entries.last();
        let last = newest.or_else(|| self.full.last()?.entries.last());
        last.map(|entry| entry.id)
    }

    /// Returns the number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        let full = self.full.iter().map(|chunk| chunk.entries.len());
        full.sum::<usize>() + self.newest.entries.len()
    }

    /// Returns whether there are no events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last().is_none()
    }

    /// Returns the number of bytes of all events.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Cursor::default().distance(self.newest.end())
    }

    /// Returns the events, each with its ID.
    pub fn iter(&self) -> impl Iterator<Item = (LogId, &[u8])> {
        self.events().map(|(entry, event)| (entry.id, event))
    }

    fn into_chunks(mut self) -> impl Iterator<Item = Chunk> {
        let newest = self.newest.turn(0);
        self.full.into_iter().chain([newest])
    }

    /// Appends an event, unless its ID is not later than that of the last one.
    ///
    /// Returns whether it did.
    pub fn push(&mut self, id: LogId, event: &[u8]) -> bool {
        // No ID could follow the greatest possible one.
        let is_next = self.last() < Some(id) && id < id.next();
        if is_next {
            let after = event.strip_prefix(b"id: ").unwrap_or_default();
            let after = after.strip_prefix(self.text.of(id).as_bytes());
            self.has_other_ids |= !after.is_some_and(|after| after.starts_with(b"\n"));
            self.newest.bytes.extend_from_slice(event);
            self.newest.entries.push(Entry {
                end: self.newest.start.advance(self.newest.bytes.len()),
                id,
                appended: id.millis(),
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
    /// Appends events of an earlier run.
    ///
    /// Events whose IDs are not later than those in the log, or count as evicted, are skipped.
    /// Nothing is evicted until [`evict`](Self::evict). The age of an event is that of its ID,
    /// at least 0 at the time `now`.
    pub fn restore(&mut self, restored: Restored, now: impl Into<Now>) {
        let (now, has_other_ids) = (millis(now.into().steady), restored.has_other_ids);
        for mut chunk in restored.into_chunks() {
            let newest = self.newest_id();
            chunk.skip(chunk.entries.partition_point(|entry| entry.id <= newest));
            let Some(first) = chunk.entries.first() else {
                continue;
            };
            let first_id = first.id;
            self.close_newest();
            chunk.move_to(self.newest.start, self.newest.rank);
            for entry in &mut chunk.entries {
                entry.appended = entry.appended.min(now);
            }
            if let Some(own) = &mut self.own {
                own.first_id.get_or_insert(first_id);
                let others = has_other_ids.then(|| chunk.events());
                for (entry, event) in others.into_iter().flatten() {
                    if let Some(id) = published_id(event, entry.id) {
                        own.published.push(entry.end, id.into());
                    }
                }
            }
            self.push_chunk(chunk);
        }
    }

    /// Returns the epochs of a log that [assigns IDs from them](Self::with_epochs).
    #[must_use]
    pub fn epochs(&self) -> Option<&Epochs> {
        self.own.as_ref()?.epochs.as_ref()
    }
}
