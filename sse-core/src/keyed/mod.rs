//! A log of the newest event of each key.
//!
//! It has the chunks and slices of a [`Log`](crate::Log). Beside each chunk are marks for its
//! superseded events, which readers skip. Work under a caller's lock is bounded: a call copies at
//! most 64 KiB, to share the rest of a chunk or to get rid of what is superseded.

mod compact;
mod held;
mod keys;
mod marks;
mod read;
mod retention;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

pub use self::read::{EventKey, KeyedSlice};
pub use self::retention::{KeyedFull, KeyedRetention};

use self::keys::{Address, KeyRef, Keys, Newest};
use self::marks::{Marks, compact};
use crate::event::{Event, encode};
use crate::log::{Chunk, Cursor, Encoded, Entry, Evicted, LogId, Now, OpenChunk, millis};

/// A log in which an event supersedes the one before it with the same key.
///
/// Reading from an ID returns the newest event of each key that has changed since then, in the
/// order of IDs. So a reader that joins gets the state, and one that lags skips to the newest of
/// each key. Memory is bounded by the keys, not by time.
///
/// An event supersedes once it is visible itself; see [`hold`](Self::hold). A removal is an event
/// of its key, too. It is retained for a time, so that readers which come back see it, and then
/// [dropped for good](Self::evicted).
///
/// The caller assigns the IDs, as for a log [of a hub](crate::Log::of_hub), and they have to
/// rise.
///
/// ```
/// use std::time::Duration;
/// use sse_core::{Event, KeyedLog, KeyedRetention, LogId};
///
/// let now = Duration::from_millis(1_700_000_000_000);
/// let mut log = KeyedLog::new(KeyedRetention::default(), LogId::default());
/// for (number, key, data) in [(1, "EURUSD", "1.09"), (2, "EURGBP", "0.84"), (3, "EURUSD", "1.1")] {
///     let event = Event::new().data(data);
///     let _ = log.append_as(LogId::new(number, 0), key, &event, now);
/// }
/// let state = log.slice_between(LogId::default(), log.newest_id()).unwrap();
/// assert_eq!(state.bytes(), "id: 2-0\ndata: 0.84\n\nid: 3-0\ndata: 1.1\n\n");
/// assert!(log.slice_between(LogId::new(3, 0), log.newest_id()).is_none());
/// ```
#[derive(Debug)]
pub struct KeyedLog {
    retention: KeyedRetention,
    /// Chunks that do not grow any more. Each has an event that is not superseded.
    full: VecDeque<Part>,
    /// The memory that they take.
    full_cost: usize,
    newest: OpenChunk,
    newest_serial: u64,
    newest_marks: Marks,
    keys: Keys,
    /// The slots of the keys whose newest event is a removal.
    removals: BTreeMap<LogId, u32>,
    /// The bytes of these removals and of their keys.
    removal_bytes: usize,
    /// Events that are not visible yet, each with the one that it supersedes.
    held: VecDeque<(LogId, Option<LogId>)>,
    /// Events after this ID are held back.
    visible: Option<LogId>,
    newest_id: LogId,
    /// Removals after this ID are not dropped.
    kept_after: LogId,
    /// The greatest ID of a removal that was dropped, and the cursor after it.
    evicted: (LogId, Cursor),
    /// The bytes of all events that are not superseded, and of their keys.
    bytes: usize,
    /// The chunk that is looked at next for superseded events.
    swept: usize,
}

/// A chunk that does not grow any more.
#[derive(Debug)]
struct Part {
    chunk: Arc<Chunk>,
    /// Serial numbers rise.
    serial: u64,
    /// The ID of the last event, which is searched for.
    last_id: LogId,
    /// The number of bytes, without a look at the chunk.
    len: usize,
    marks: Marks,
}

/// The place of an event: the index of its chunk, where the newest is after the full ones, and
/// its index in the chunk.
#[derive(Debug, Clone, Copy)]
struct Place {
    part: usize,
    index: usize,
}

impl KeyedLog {
    /// Creates an empty log. Removals up to `evicted` count as dropped for good.
    #[must_use]
    pub fn new(retention: KeyedRetention, evicted: LogId) -> Self {
        Self {
            retention,
            full: VecDeque::new(),
            full_cost: 0,
            newest: OpenChunk::default(),
            newest_serial: 0,
            newest_marks: Marks::default(),
            keys: Keys::default(),
            removals: BTreeMap::new(),
            removal_bytes: 0,
            held: VecDeque::new(),
            visible: None,
            newest_id: evicted,
            kept_after: LogId::MAX,
            evicted: (evicted, Cursor::default()),
            bytes: 0,
            swept: 0,
        }
    }

    /// Appends the newest event of a key, under an ID later than those before.
    ///
    /// Returns memory to be freed without a lock. The limits are not checked; see
    /// [`make_room`](Self::make_room).
    pub fn append_as(
        &mut self,
        id: LogId,
        key: &str,
        event: &Event<'_>,
        now: impl Into<Now>,
    ) -> Evicted {
        self.push_event(id, key, event, now.into(), false)
    }

    /// Appends an encoded event without a publisher's ID, like [`append_as`](Self::append_as).
    ///
    /// An event of at least 8 KiB is not copied.
    pub fn append_encoded_as(
        &mut self,
        id: LogId,
        key: &str,
        event: Encoded,
        now: impl Into<Now>,
    ) -> Evicted {
        self.push_encoded(id, key, event, now.into(), false)
    }

    /// Appends the removal of a key, like [`append_as`](Self::append_as).
    pub fn remove_as(
        &mut self,
        id: LogId,
        key: &str,
        event: &Event<'_>,
        now: impl Into<Now>,
    ) -> Evicted {
        self.push_event(id, key, event, now.into(), true)
    }

    /// Appends an encoded removal, like [`append_encoded_as`](Self::append_encoded_as).
    pub fn remove_encoded_as(
        &mut self,
        id: LogId,
        key: &str,
        event: Encoded,
        now: impl Into<Now>,
    ) -> Evicted {
        self.push_encoded(id, key, event, now.into(), true)
    }

    /// Appends an encoded event of an earlier run, like [`append_as`](Self::append_as).
    ///
    /// Its age is that of its ID, at least 0 at the time `now`.
    pub fn restore(
        &mut self,
        id: LogId,
        key: &EventKey,
        event: &[u8],
        now: impl Into<Now>,
    ) -> Evicted {
        let appended = id.millis().min(millis(now.into().steady));
        let event = Bytes::copy_from_slice(event);
        self.push_bytes(id, &key.key, event, appended, key.is_removal)
    }

    fn push_event(
        &mut self,
        id: LogId,
        key: &str,
        event: &Event<'_>,
        now: Now,
        is_removal: bool,
    ) -> Evicted {
        // The key is looked up first, so that the CPU encodes while it waits for memory.
        let slot = self.keys.find(key);
        let start = self.newest.bytes.len();
        let text = &mut [0; LogId::MAX_LEN];
        encode::event_with_id(&mut self.newest.bytes, event, Some(&id.text(text)));
        let len = self.newest.bytes.len() - start;
        self.push_newest(id, (key, slot), len, millis(now.steady), is_removal)
    }

    fn push_encoded(
        &mut self,
        id: LogId,
        key: &str,
        event: Encoded,
        now: Now,
        is_removal: bool,
    ) -> Evicted {
        self.push_bytes(
            id,
            key,
            event.into_bytes(id),
            millis(now.steady),
            is_removal,
        )
    }

    fn push_bytes(
        &mut self,
        id: LogId,
        key: &str,
        bytes: Bytes,
        appended: u64,
        is_removal: bool,
    ) -> Evicted {
        let (len, slot) = (bytes.len(), self.keys.find(key));
        if len < MIN_LONG {
            self.newest.bytes.extend_from_slice(&bytes);
            return self.push_newest(id, (key, slot), len, appended, is_removal);
        }
        self.close_newest();
        let serial = self.next_serial();
        let newest = Newest::new(Address::new(serial, 0), len, is_removal);
        let (slot, superseded) = self.keys.replace((key, slot), newest);
        let chunk = Chunk {
            start: self.newest.start,
            rank: self.newest.rank,
            entries: vec![Entry {
                end: self.newest.start.advance(len),
                id,
                appended,
            }],
            bytes,
            ends: None,
        };
        (self.newest.start, self.newest.rank) = (chunk.end(), chunk.next_rank());
        let marks = Marks::of(vec![KeyRef::new(slot, is_removal)]);
        self.push_full(Part::new(chunk, serial, marks));
        self.pushed(id, slot, key.len(), newest, superseded)
    }

    /// Adds an event of which the last `len` bytes of the newest chunk are.
    fn push_newest(
        &mut self,
        id: LogId,
        (key, slot): (&str, Option<u32>),
        len: usize,
        appended: u64,
        is_removal: bool,
    ) -> Evicted {
        let address = Address::new(self.newest_serial, self.newest.entries.len());
        let newest = Newest::new(address, len, is_removal);
        let (slot, superseded) = self.keys.replace((key, slot), newest);
        self.newest_marks.keys.push(KeyRef::new(slot, is_removal));
        self.newest.entries.push(Entry {
            end: self.newest.end().advance(len),
            id,
            appended,
        });
        if let Some(ends) = &mut self.newest.ends {
            ends.push(compact(self.newest.bytes.len()));
        }
        self.pushed(id, slot, key.len(), newest, superseded)
    }

    /// Lets an event that has been added supersede the one before it with the same key.
    fn pushed(
        &mut self,
        id: LogId,
        slot: u32,
        key_len: usize,
        newest: Newest,
        superseded: Option<Newest>,
    ) -> Evicted {
        self.bytes += newest.len as usize + key_len;
        self.newest_id = self.newest_id.max(id);
        let place = superseded.and_then(|superseded| self.place_at(superseded.address()));
        if superseded.is_some_and(|superseded| superseded.is_removal)
            && let Some(place) = place
        {
            let id = self.entry(place).id;
            self.removals.remove(&id);
            self.removal_bytes -= superseded.map_or(0, |removal| removal.len as usize + key_len);
        }
        if newest.is_removal {
            self.removals.insert(id, slot);
            self.removal_bytes += newest.len as usize + key_len;
        }
        let mut evicted = Evicted::default();
        if !self.is_visible(id) || !self.held.is_empty() {
            let superseded = place.map(|place| self.entry(place).id);
            self.held.push_back((id, superseded));
            // More than was added, so that what has become visible is settled in the end.
            self.settle_some(2, &mut evicted);
        } else if let (Some(place), Some(superseded)) = (place, superseded) {
            let len = (superseded.len as usize, key_len);
            self.supersede(place, len, &mut evicted);
        }
        self.tidy(&mut evicted);
        evicted
    }

    /// Marks an event of `len` bytes as superseded, and drops its chunk if no other event is left.
    fn supersede(&mut self, place: Place, (len, key_len): (usize, usize), evicted: &mut Evicted) {
        self.bytes -= len + key_len;
        let Some(part) = self.full.get_mut(place.part) else {
            return self.newest_marks.mark(place.index, len);
        };
        part.marks.mark(place.index, len);
        if part.marks.events == part.marks.keys.len() {
            self.remove_full(place.part, evicted);
        }
    }
}

/// The length in bytes from which an event has a chunk to itself.
const MIN_LONG: usize = 8 << 10;
