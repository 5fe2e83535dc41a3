//! Reading of a keyed log.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::marks::{Marks, room_for, settled};
use super::{KeyedLog, Part, Place};
use crate::log::{Chunk, Cursor, Entry, LogId, Now, Slice, millis};

/// The keys of the events of one chunk; see [`KeyedLog::keys_after`].
#[derive(Debug)]
pub struct KeysOfPart {
    /// The keys, in the order of their events, and whether each has a value or was removed.
    pub keys: Vec<(Arc<str>, bool)>,
    /// The ID of the last event.
    pub last: LogId,
}

impl KeyedLog {
    /// Returns the first events of `range` that are not superseded and are in one chunk, or
    /// `None` if there are none.
    ///
    /// Readers pass [`end`](Self::end) as the end, or [`tip`](Self::tip) to include events that
    /// are held back. Costs at most a copy of the events, 64 KiB, unless they are a whole chunk.
    /// A reader whose cursor was before [`evicted_end`](Self::evicted_end) when that was set has
    /// missed removals.
    #[must_use]
    pub fn slice(&self, range: Range<Cursor>) -> Option<Slice> {
        let slice = self.slice_of(
            |entry| entry.end <= range.start,
            |entry| entry.end <= range.end,
            false,
        )?;
        Some(slice.since(range.start))
    }

    /// Returns the first events after the ID `after` and up to the ID `until`, like
    /// [`slice`](Self::slice). They may be held back.
    #[must_use]
    pub fn slice_between(&self, after: LogId, until: LogId) -> Option<Slice> {
        self.slice_of(|entry| entry.id <= after, |entry| entry.id <= until, false)
    }

    /// Returns the same events as [`slice_between`](Self::slice_between), with their
    /// [keys](Slice::keys). They make a copy cost several times as much.
    #[must_use]
    pub fn slice_with_keys(&self, after: LogId, until: LogId) -> Option<Slice> {
        self.slice_of(|entry| entry.id <= after, |entry| entry.id <= until, true)
    }

    /// Returns the first events that are not `before` and are still `within`.
    fn slice_of(
        &self,
        before: impl Fn(&Entry) -> bool,
        within: impl Fn(&Entry) -> bool,
        has_keys: bool,
    ) -> Option<Slice> {
        let range_of = |entries: &[Entry]| {
            let start = entries.partition_point(&before);
            start..entries.partition_point(&within).max(start)
        };
        let is_before = |part: &Part| part.chunk.entries.last().is_some_and(&before);
        for part in self.full.range(self.full.partition_point(is_before)..) {
            let range = range_of(&part.chunk.entries);
            if range.is_empty() {
                return None;
            }
            match part.marks.first_live(range.clone()) {
                Some((from, true)) => {
                    return Slice::new(Arc::clone(&part.chunk), from, range.end);
                }
                Some((from, false)) => {
                    return part.marks.slice(&part.chunk, from..range.end, has_keys);
                }
                None => {}
            }
        }
        let range = range_of(&self.newest.entries);
        self.newest_marks.slice(&self.newest, range, has_keys)
    }

    /// Returns the cursor before the first event with a later ID, among those that are not held
    /// back.
    #[must_use]
    pub fn after(&self, id: LogId) -> Cursor {
        let part = self.full.partition_point(|part| part.last_id <= id);
        let start = |chunk: &[Entry], start| {
            let index = chunk.partition_point(|entry| entry.id <= id);
            index
                .checked_sub(1)
                .map_or(start, |before| chunk[before].end)
        };
        let cursor = match self.full.get(part) {
            Some(part) => start(&part.chunk.entries, part.chunk.start),
            None => start(&self.newest.entries, self.newest.start),
        };
        // The removal may have been copied away.
        if id < self.evicted() {
            cursor
        } else {
            cursor.max(self.evicted_end())
        }
    }

    /// Returns the ID of the last event that ends at or before `cursor`, or the smallest ID.
    #[must_use]
    pub fn id_before(&self, cursor: Cursor) -> LogId {
        let part = self.full.partition_point(|part| part.chunk.end() <= cursor);
        let entries = match self.full.get(part) {
            Some(part) => &part.chunk.entries,
            None => &self.newest.entries,
        };
        let index = entries.partition_point(|entry| entry.end <= cursor);
        match (index.checked_sub(1), part.checked_sub(1)) {
            (Some(before), _) => entries[before].id,
            (None, Some(before)) => self.full[before].last_id,
            (None, None) => LogId::default(),
        }
    }

    /// Returns the cursor after the last event that is not held back.
    #[must_use]
    pub fn end(&self) -> Cursor {
        match self.visible {
            Some(visible) if visible < self.newest_id => self.after(visible),
            _ => self.tip(),
        }
    }

    /// Returns the cursor after the newest event, including events that are held back.
    #[must_use]
    pub fn tip(&self) -> Cursor {
        self.newest.end()
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

    /// Whether the log has the event with this ID, and no other supersedes it.
    #[must_use]
    pub fn retains(&self, id: LogId) -> bool {
        let marks = |place: Place| match self.full.get(place.part) {
            Some(part) => part.marks.has(place.index),
            None => self.newest_marks.has(place.index),
        };
        self.place_of(id).is_some_and(|place| !marks(place))
    }

    /// Whether the event with this ID is the newest of its key and a removal.
    #[must_use]
    pub fn is_removal(&self, id: LogId) -> bool {
        self.removals.contains_key(&id)
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
        let slice = self.slice_with_keys(after, LogId::new(u64::MAX, u64::MAX))?;
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

    /// Whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        self.evicted.0
    }

    /// Returns the cursor after that removal.
    #[must_use]
    pub const fn evicted_end(&self) -> Cursor {
        self.evicted.1
    }

    /// Whether there is no event but the newest one, which is a removal that has expired.
    #[must_use]
    pub fn has_expired(&self, now: impl Into<Now>) -> bool {
        let (now, max) = (millis(now.into().steady), millis(self.retention.removals));
        let Some((&newest, _)) = self.removals.last_key_value() else {
            return self.is_empty();
        };
        let appended = self
            .place_of(newest)
            .map(|place| self.entry(place).appended);
        let has_expired = appended.is_none_or(|appended| now.saturating_sub(appended) > max);
        self.keys.len() == 1 && has_expired
    }

    /// Returns the place of an event that is not superseded.
    pub(super) fn place_of(&self, id: LogId) -> Option<Place> {
        let part = self.full.partition_point(|part| part.last_id < id);
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
    pub(super) fn new(chunk: Chunk, marks: Marks) -> Self {
        let last = chunk.entries.last();
        Self {
            last_id: last.map_or(LogId::default(), |last| last.id),
            chunk: Arc::new(chunk),
            marks,
        }
    }
}

impl Marks {
    /// Returns a copy of the events at these indices that are not superseded.
    fn slice<B: AsRef<[u8]>>(
        &self,
        chunk: &Chunk<B>,
        range: Range<usize>,
        has_keys: bool,
    ) -> Option<Slice> {
        let (from, _) = self.first_live(range.clone())?;
        let range = from..range.end;
        let bytes = chunk.range(range.start, range.end).len();
        let mut copy = room_for(chunk.start_of(from), bytes, range.len());
        self.copy_live(chunk, range, &mut copy, has_keys);
        let to = copy.entries.len();
        Slice::new(Arc::new(settled(copy)), 0, to)
    }
}
