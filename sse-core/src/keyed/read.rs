//! Reading of a keyed log.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::marks::{Marks, room_for, settled};
use super::{KeyedLog, Part, Place};
use crate::log::{Chunk, Entry, LogId, Slice};

/// The keys of the events of one chunk; see [`KeyedLog::keys_after`].
#[derive(Debug)]
pub struct KeysOfPart {
    /// The keys, in the order of their events, and whether each has a value or was removed.
    pub keys: Vec<(Arc<str>, bool)>,
    /// The ID of the last event.
    pub last: LogId,
}

impl KeyedLog {
    /// Returns the first events after the ID `after` and up to the ID `until` that are not
    /// superseded and are in one chunk, or `None` if there are none. They may be held back.
    ///
    /// Costs at most a copy of them, 64 KiB, unless they are a whole chunk. A reader whose
    /// position was before [`evicted`](Self::evicted) when that was set has missed removals.
    #[must_use]
    pub fn slice_between(&self, after: LogId, until: LogId) -> Option<Slice> {
        let is_before = |part: &Part| part.last_id() <= after;
        for part in self.full.range(self.full.partition_point(is_before)..) {
            let range = range_of(&part.chunk, after, until);
            if range.is_empty() {
                return None;
            }
            match part.marks.first_live(range.clone()) {
                Some((from, true)) => {
                    return Slice::new(Arc::clone(&part.chunk), from, range.end);
                }
                Some((from, false)) => return part.marks.slice(&part.chunk, from..range.end),
                None => {}
            }
        }
        let range = range_of(&self.newest, after, until);
        self.newest_marks.slice(&self.newest, range)
    }

    /// Returns the encoded newest event of a key, whether or not it is held back, or `None` if
    /// the key has none or was removed.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        let id = self.keys.get(key)?;
        if self.removals.contains_key(id) {
            return None;
        }
        let place = self.place_of(*id)?;
        Some(match self.full.get(place.part) {
            Some(part) => {
                let range = part.chunk.range(place.index, place.index + 1);
                part.chunk.bytes.slice(range)
            }
            None => {
                let range = self.newest.range(place.index, place.index + 1);
                Bytes::copy_from_slice(&self.newest.bytes[range])
            }
        })
    }

    /// Whether the key's newest event is a value, also if that is held back.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        let newest = self.keys.get(key);
        newest.is_some_and(|newest| !self.removals.contains_key(newest))
    }

    /// Returns the keys of some events after an ID, those that are in one chunk, or `None` if
    /// there are no events.
    ///
    /// A caller that goes on with the last ID until there are none has all keys, even if events
    /// are appended in between. Of a key that is returned several times, the last counts.
    #[must_use]
    pub fn keys_after(&self, after: LogId) -> Option<KeysOfPart> {
        let slice = self.slice_between(after, LogId::new(u64::MAX, u64::MAX))?;
        let keys = slice.keys().map(|(id, key)| {
            let has_value = self.removals.is_empty() || !self.removals.contains_key(&id);
            (Arc::clone(key), has_value)
        });
        Some(KeysOfPart {
            keys: keys.collect(),
            last: slice.last_id(),
        })
    }

    /// Returns the number of keys that have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len() - self.removals.len()
    }

    /// Whether the log retains no event, not even a removal.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Returns the bytes of the newest events of all keys and of the keys.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the ID of the newest event, also if it has been dropped.
    #[must_use]
    pub const fn newest_id(&self) -> LogId {
        self.newest_id
    }

    /// Returns the greatest ID of a removal that was dropped for good.
    ///
    /// A reader that comes back with an earlier ID may have keys which do not exist any more. It
    /// discards all of them and reads the log from the beginning.
    #[must_use]
    pub const fn evicted(&self) -> LogId {
        self.evicted
    }

    /// Returns the place of an event that is not superseded.
    pub(super) fn place_of(&self, id: LogId) -> Option<Place> {
        let part = self.full.partition_point(|part| part.last_id() < id);
        let entries = match self.full.get(part) {
            Some(part) => &part.chunk.entries,
            None => &self.newest.entries,
        };
        let index = entries.partition_point(|entry| entry.id < id);
        let is_there = entries.get(index).is_some_and(|entry| entry.id == id);
        is_there.then_some(Place { part, index })
    }

    pub(super) fn entry(&self, place: Place) -> &Entry {
        match self.full.get(place.part) {
            Some(part) => &part.chunk.entries[place.index],
            None => &self.newest.entries[place.index],
        }
    }

    /// Returns the bytes of an event and its key.
    pub(super) fn bytes_of(&self, id: LogId) -> usize {
        let Some(place) = self.place_of(id) else {
            return 0;
        };
        let (index, next) = (place.index, place.index + 1);
        let len = match self.full.get(place.part) {
            Some(part) => part.chunk.range(index, next).len(),
            None => self.newest.range(index, next).len(),
        };
        let key = self.entry(place).own_id.as_ref();
        len + key.map_or(0, |key| key.len())
    }
}

impl Part {
    fn last_id(&self) -> LogId {
        let last = self.chunk.entries.last();
        last.map_or(LogId::default(), |last| last.id)
    }
}

impl Marks {
    /// Returns a copy of the events at these indices that are not superseded.
    fn slice<B: AsRef<[u8]>>(&self, chunk: &Chunk<B>, range: Range<usize>) -> Option<Slice> {
        let (from, _) = self.first_live(range.clone())?;
        let range = from..range.end;
        let bytes = chunk.range(range.start, range.end).len();
        let mut copy = room_for(chunk, range.clone(), bytes);
        copy.start = chunk.start_of(from);
        self.copy_live(chunk, range, &mut copy);
        let to = copy.entries.len();
        Slice::new(Arc::new(settled(copy)), 0, to)
    }
}

/// Returns the indices of the events after the ID `after` and up to the ID `until`.
fn range_of<B>(chunk: &Chunk<B>, after: LogId, until: LogId) -> Range<usize> {
    let entries = &chunk.entries;
    let start = entries.partition_point(|entry| entry.id <= after);
    start
        ..entries
            .partition_point(|entry| entry.id <= until)
            .max(start)
}
