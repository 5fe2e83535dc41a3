//! Reading of a keyed log.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::keys::Address;
use super::marks::{Marks, copy_run, room_for, settled};
use super::{KeyedLog, Part, Place};
use crate::log::{Chunk, Cursor, Entry, Evicted, LogId, Now, Slice, millis};

/// Events of a keyed log with their keys.
#[derive(Debug)]
pub struct KeyedSlice {
    /// The events.
    pub events: Slice,
    /// The key of each.
    pub keys: Vec<EventKey>,
}

/// The key of an event, and whether the event removes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventKey {
    /// The key.
    pub key: Arc<str>,
    /// `true` for a removal, which leaves the key without a value.
    pub is_removal: bool,
}

impl KeyedLog {
    /// Returns the first events of `range` that are not superseded and are in one chunk.
    ///
    /// `None` if there are none. Readers pass [`end`](Self::end) as the end, or [`tip`](Self::tip)
    /// to include events that are held back. Costs at most a copy of 64 KiB of events. It stays in
    /// the log if the chunk is full and the reader takes most of it. A reader whose cursor was
    /// before [`evicted_end`](Self::evicted_end) when that was set has missed removals.
    #[must_use]
    pub fn slice(&mut self, range: Range<Cursor>) -> Option<Slice> {
        let slice = self.slice_of(
            |entry| entry.end <= range.start,
            |entry| entry.end <= range.end,
        )?;
        Some(slice.since(range.start))
    }

    /// Returns the first events after one ID and up to another, like [`slice`](Self::slice).
    ///
    /// They may be held back.
    #[must_use]
    pub fn slice_between(&mut self, after: LogId, until: LogId) -> Option<Slice> {
        self.slice_of(|entry| entry.id <= after, |entry| entry.id <= until)
    }

    /// Returns the same events as [`slice_between`](Self::slice_between), with their keys.
    #[must_use]
    pub fn keyed_slice_between(&mut self, after: LogId, until: LogId) -> Option<KeyedSlice> {
        let events = self.slice_between(after, until)?;
        let (place, count) = (self.place_of(events.first_id())?, events.count());
        let marks = self.marks(place.part);
        let live = marks.runs(place.index..marks.keys.len()).flatten();
        let keys = live.take(count).map(|index| {
            let key = marks.keys[index];
            EventKey {
                key: self.keys.slot(key.slot()).key.to_shared(),
                is_removal: key.is_removal(),
            }
        });
        let keys = keys.collect();
        Some(KeyedSlice { events, keys })
    }

    /// Returns the first events that are not `before` and are still `within`.
    fn slice_of(
        &mut self,
        before: impl Fn(&Entry) -> bool,
        within: impl Fn(&Entry) -> bool,
    ) -> Option<Slice> {
        let range_of = |entries: &[Entry]| {
            let start = entries.partition_point(&before);
            start..entries.partition_point(&within).max(start)
        };
        let is_before = |part: &Part| part.chunk.entries.last().is_some_and(&before);
        let mut index = self.full.partition_point(is_before);
        while let Some(part) = self.full.get(index) {
            let range = range_of(&part.chunk.entries);
            let is_most = 2 * range.len() >= part.chunk.entries.len();
            let run = part.marks.runs(range.clone()).next();
            match run {
                None if range.is_empty() => return None,
                None => index += 1,
                Some(run) if run.end == range.end => {
                    return Slice::new(Arc::clone(&part.chunk), run.start, run.end);
                }
                Some(_) if is_most => {
                    // A merged chunk may begin earlier.
                    let mut evicted = Evicted::default();
                    self.compact(index, &mut evicted);
                    index = self.full.partition_point(is_before);
                }
                Some(_) => return part.marks.slice(&part.chunk, range),
            }
        }
        let range = range_of(&self.newest.entries);
        self.newest_marks.slice(&self.newest, range)
    }

    /// Returns the cursor before the first event with a later ID.
    ///
    /// Events that are held back do not count.
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

    /// Returns the ID of the last event up to `cursor`, or the smallest ID.
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

    /// Returns the encoded newest event of a key, also one that is held back.
    ///
    /// `None` if the key has none or was removed.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Bytes> {
        let newest = self.keys.get(key)?.newest;
        let place = self
            .place_at(newest.address())
            .filter(|_| !newest.is_removal)?;
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

    /// Returns whether the log has the event with this ID, and no other supersedes it.
    #[must_use]
    pub fn retains(&self, id: LogId) -> bool {
        let place = self.place_of(id);
        place.is_some_and(|place| !self.marks(place.part).has(place.index))
    }

    /// Returns whether the key's newest event is a value, also if that is held back.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        let slot = self.keys.get(key);
        slot.is_some_and(|slot| !slot.newest.is_removal)
    }

    /// Returns the number of keys that have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len() - self.removals.len()
    }

    /// Returns whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of the newest events of all keys and of the keys.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes of the events up to an ID that are not superseded.
    ///
    /// Their keys do not count. Costs a look at each chunk, and at the events of one.
    #[must_use]
    pub fn bytes_until(&self, id: LogId) -> usize {
        let count = self.full.partition_point(|part| part.last_id <= id);
        let whole: usize = self.full.range(..count).map(Part::live).sum();
        let part = match self.full.get(count) {
            Some(part) => part.marks.bytes_until(&part.chunk, id),
            None => self.newest_marks.bytes_until(&self.newest, id),
        };
        whole + part
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

    /// Returns whether there is no event but a newest one that is an expired removal.
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

    /// Returns the place of the event with this ID.
    pub(super) fn place_of(&self, id: LogId) -> Option<Place> {
        let part = self.full.partition_point(|part| part.last_id < id);
        let entries = match self.full.get(part) {
            Some(part) => &part.chunk.entries,
            None => &self.newest.entries,
        };
        let index = entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        Some(Place { part, index })
    }

    /// Returns the place of an event that is not superseded.
    pub(super) fn place_at(&self, address: Address) -> Option<Place> {
        let part = if address.serial == self.newest_serial {
            self.full.len()
        } else {
            let serial = |part: &Part| part.serial;
            self.full
                .binary_search_by_key(&address.serial, serial)
                .ok()?
        };
        let index = address.index();
        Some(Place { part, index })
    }

    pub(super) fn entry(&self, place: Place) -> &Entry {
        match self.full.get(place.part) {
            Some(part) => &part.chunk.entries[place.index],
            None => &self.newest.entries[place.index],
        }
    }

    pub(super) fn marks(&self, part: usize) -> &Marks {
        match self.full.get(part) {
            Some(part) => &part.marks,
            None => &self.newest_marks,
        }
    }

    /// Returns the bytes of an event and of its key.
    pub(super) fn len_at(&self, place: Place) -> (usize, usize) {
        let (index, next) = (place.index, place.index + 1);
        let len = match self.full.get(place.part) {
            Some(part) => part.chunk.range(index, next).len(),
            None => self.newest.range(index, next).len(),
        };
        let key = self.marks(place.part).keys[index];
        (len, self.keys.slot(key.slot()).key.len())
    }
}

impl Part {
    pub(super) fn new(chunk: Chunk, serial: u64, marks: Marks) -> Self {
        let last = chunk.entries.last();
        Self {
            last_id: last.map_or(LogId::default(), |last| last.id),
            len: chunk.bytes.len(),
            chunk: Arc::new(chunk),
            serial,
            marks,
        }
    }
}

impl Marks {
    /// Returns the bytes of the events up to an ID that are not superseded.
    fn bytes_until<B: AsRef<[u8]>>(&self, chunk: &Chunk<B>, id: LogId) -> usize {
        let count = chunk.entries.partition_point(|entry| entry.id <= id);
        let runs = self.runs(0..count);
        runs.map(|run| chunk.range(run.start, run.end).len()).sum()
    }

    /// Returns a copy of the events at these indices that are not superseded.
    fn slice<B: AsRef<[u8]>>(&self, chunk: &Chunk<B>, range: Range<usize>) -> Option<Slice> {
        let first = self.runs(range.clone()).next()?.start;
        let bytes = chunk.range(first, range.end).len();
        let mut copy = room_for(chunk.start_of(first), bytes, range.end - first);
        self.runs(first..range.end)
            .for_each(|run| copy_run(chunk, run, &mut copy));
        let to = copy.entries.len();
        Slice::new(Arc::new(settled(copy)), 0, to)
    }
}
