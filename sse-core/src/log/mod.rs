//! A log of encoded events with bounded memory.

mod batch;
mod chunk;
mod cursor;
mod encoded;
mod epochs;
mod id;
mod now;
mod own_ids;
mod packed;
mod read;
mod restored;
mod resume;
mod retention;
mod slice;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

pub use batch::{Batch, LogCount};
pub(crate) use chunk::{Chunk, Entry, MAX_CHUNK, OpenChunk};
pub use cursor::Cursor;
pub use encoded::Encoded;
pub use epochs::{Epoch, Epochs, Ids, KnownId};
pub use id::LogId;
pub use now::Now;
pub(crate) use now::millis;
use own_ids::OwnIds;
pub use read::Lagged;
pub use restored::Restored;
pub use resume::Resume;
use retention::Front;
pub use retention::{Evicted, Retention};
pub use slice::{Begun, Slice};

use crate::event::Event;
use crate::event::EventId;
use crate::event::encode;

/// An append-only log of encoded events, of which the oldest are evicted.
///
/// An event is encoded once, when it is appended. Readers get the same bytes, as
/// [slices](Self::slice) of consecutive events. A reader is a [`Cursor`], an offset into the
/// log: it costs the log nothing.
///
/// Events are stored in chunks of up to 64 KiB, or a quarter of that in a small log. A long
/// event may be a separate chunk. Full chunks are shared with readers.
///
/// Every event has an ID: its publisher's, or else one of the form
/// `<unix-milliseconds>-<sequence>`. Those rise even when the clock is set back. The log has no
/// clock: time is an argument, either [`Now`] or a [`Duration`] since the Unix epoch.
///
/// Several logs may share one order of IDs; see [`Log::of_hub`].
///
/// ```
/// use std::time::Duration;
/// use sse_core::{Event, EventId, Log, Resume, Retention};
///
/// let now = Duration::from_millis(1_700_000_000_000);
/// let mut log = Log::new(Retention::events(2).backlog(Duration::ZERO, 0));
/// let first = log.end();
/// log.append(&Event::new().data("one"), now);
/// log.append(&Event::new().data("two"), now);
/// let slice = log.slice(first..log.end())?.unwrap();
/// assert_eq!(
///     slice.bytes(),
///     "id: 1700000000000-0\ndata: one\n\nid: 1700000000000-1\ndata: two\n\n",
/// );
///
/// let seen = EventId::from_static("1700000000000-0");
/// let (Resume::Resumed, cursor) = log.resume(Some(&seen)) else { panic!() };
/// let slice = log.slice(cursor..log.end())?.unwrap();
/// assert_eq!(slice.bytes(), "id: 1700000000000-1\ndata: two\n\n");
///
/// log.append(&Event::new().data("three"), now);
/// assert!(log.slice(first..log.end()).is_err(), "the first event was evicted");
/// # Ok::<(), sse_core::Lagged>(())
/// ```
#[derive(Debug)]
pub struct Log {
    retention: Retention,
    /// All chunks with retained events except the newest. None is empty.
    full: VecDeque<Arc<Chunk>>,
    newest: OpenChunk,
    /// The oldest retained event.
    oldest: Front,
    /// The first event of the replay window, not before `oldest`.
    window: Front,
    /// The last evicted event has this ID, or an earlier one if none was evicted.
    evicted: LogId,
    /// `None` in a hub, which assigns and judges all IDs.
    own: Option<Box<OwnIds>>,
    /// Events after this cursor are held back. It is [`Cursor::MAX`] if none is.
    held: Cursor,
    /// The newest entry, while the chunks have none.
    packed: Option<Box<Entry>>,
}

impl Log {
    /// Creates an empty log.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self::with_ids(retention, LogId::default(), Some(Box::default()))
    }

    /// Creates an empty log whose IDs say which run of the log they are from.
    ///
    /// Their sequence numbers begin with `epoch`, a random number, and rise in steps of 65,536.
    /// So an ID of another log is not taken for one of this log; see [`Epochs`].
    #[must_use]
    pub fn with_epoch(retention: Retention, epoch: u16) -> Self {
        let own = OwnIds {
            epoch: Some(epoch),
            ..OwnIds::default()
        };
        Self::with_ids(retention, LogId::default(), Some(Box::new(own)))
    }

    /// Creates an empty log that continues those of earlier runs.
    ///
    /// It assigns IDs of the last epoch, and [`restore`](Self::restore) adds events of earlier
    /// ones. Events up to `evicted` count as evicted.
    #[must_use]
    pub fn with_epochs(retention: Retention, epochs: Epochs, evicted: LogId) -> Self {
        let own = OwnIds {
            epochs: Some(epochs),
            ..OwnIds::default()
        };
        Self::with_ids(retention, evicted, Some(Box::new(own)))
    }

    /// Creates an empty log that shares one order of IDs with others.
    ///
    /// The caller assigns the IDs: [`append_as`](Self::append_as) takes one, and `Epochs` makes
    /// them. Positions are IDs: [`after`](Self::after) finds the cursor of one. Events up to
    /// `evicted` count as evicted.
    #[must_use]
    pub fn of_hub(retention: Retention, evicted: LogId) -> Self {
        Self::with_ids(retention, evicted, None)
    }

    fn with_ids(retention: Retention, evicted: LogId, own: Option<Box<OwnIds>>) -> Self {
        Self {
            retention,
            full: VecDeque::new(),
            newest: OpenChunk::default(),
            oldest: Front::default(),
            window: Front::default(),
            evicted,
            own,
            held: Cursor::MAX,
            packed: None,
        }
    }

    /// Appends an event at the time `now` and evicts events that exceed the retention.
    ///
    /// Every event gets an ID, even one with only a comment, and so ends with a blank line. The
    /// cost is that of encoding; eviction is amortised over appends.
    pub fn append(&mut self, event: &Event<'_>, now: impl Into<Now>) -> Appended {
        let now = now.into();
        let id = self.next_id(now.unix);
        let own_id: Option<Arc<str>> = event.id.as_ref().map(|id| id.as_str().into());
        match (&own_id, &mut self.own) {
            (None, Some(own)) => {
                let id = EventId::trusted(own.text.of(id).into());
                encode::event_with_id(&mut self.newest.bytes, event, Some(&id));
            }
            _ => event.encode(&mut self.newest.bytes),
        }
        self.push_newest(id, own_id, now)
    }

    /// Appends an encoded event, like [`append`](Self::append).
    ///
    /// An event of at least 8 KiB becomes a separate chunk and is not copied.
    pub fn append_encoded(&mut self, event: Encoded, now: impl Into<Now>) -> Appended {
        let now = now.into();
        let id = self.next_id(now.unix);
        self.push_encoded(id, event, now)
    }

    /// Appends an event to a log [of a hub](Self::of_hub), under the hub's ID.
    ///
    /// The ID has to be later than those before. It replaces a publisher's ID.
    pub fn append_as(&mut self, id: LogId, event: &Event<'_>, now: impl Into<Now>) -> Appended {
        let text = &mut [0; LogId::MAX_LEN];
        encode::event_with_id(&mut self.newest.bytes, event, Some(&id.text(text)));
        self.push_newest(id, None, now.into())
    }

    /// Appends an encoded event without a publisher's ID, like [`append_as`](Self::append_as).
    pub fn append_encoded_as(
        &mut self,
        id: LogId,
        event: Encoded,
        now: impl Into<Now>,
    ) -> Appended {
        self.push_encoded(id, event, now.into())
    }

    /// Holds back the events `after` a cursor, or none with `None`.
    ///
    /// Held events are appended, but [`end`](Self::end) stays before them, and only the bound
    /// of bytes evicts them. Events that were visible stay visible.
    pub fn hold(&mut self, after: Option<Cursor>) {
        self.held = after.map_or(Cursor::MAX, |after| after.max(self.end()));
    }

    /// Holds back the events after an ID, like [`hold`](Self::hold).
    pub fn hold_after(&mut self, id: LogId) {
        let next = self.seek(|entry| entry.id <= id);
        let cursor = next.map_or(self.tip(), |next| next.start);
        self.hold(Some(cursor));
    }

    /// Adds an event whose bytes have been appended to the newest chunk.
    #[inline]
    fn push_newest(&mut self, id: LogId, own_id: Option<Arc<str>>, now: Now) -> Appended {
        let end = self.newest.start.advance(self.newest.bytes.len());
        let entry = self.entry_of(end, id, own_id, now);
        self.push_entry(entry);
        self.appended(id, now)
    }

    fn push_encoded(&mut self, id: LogId, event: Encoded, now: Now) -> Appended {
        let own_id = event.own_id.clone();
        let bytes = event.into_bytes(id);
        if bytes.len() < MIN_LONG {
            self.newest.bytes.extend_from_slice(&bytes);
            return self.push_newest(id, own_id, now);
        }
        let end = self.newest.end().advance(bytes.len());
        let entry = self.entry_of(end, id, own_id, now);
        self.close_newest();
        self.push_chunk(Chunk {
            start: self.newest.start,
            rank: self.newest.rank,
            bytes,
            entries: vec![entry],
            ends: None,
        });
        self.appended(id, now)
    }

    fn entry_of(&mut self, end: Cursor, id: LogId, own_id: Option<Arc<str>>, now: Now) -> Entry {
        if let Some(own) = &mut self.own {
            if let Some(id) = own_id {
                own.published.push(end, id);
            }
            own.first_id.get_or_insert(id);
        }
        let newest = self.newest_entry().map_or(0, |entry| entry.appended);
        Entry {
            end,
            id,
            appended: millis(now.steady).max(newest),
        }
    }

    fn appended(&mut self, id: LogId, now: Now) -> Appended {
        Appended {
            id,
            evicted: self.evict(now),
        }
    }

    /// Adds the entry of an event whose bytes have been appended to the newest chunk.
    fn push_entry(&mut self, entry: Entry) {
        if self.newest.entries.capacity() == 0 {
            // Very many logs have one event.
            self.newest.entries.reserve_exact(1);
        }
        self.newest.entries.push(entry);
        let max_len = self.max_chunk();
        if self.newest.bytes.len() >= max_len {
            let full = self.newest.turn(max_len);
            self.full.push_back(Arc::new(full));
        }
    }

    /// Closes the newest chunk, unless it is empty.
    fn close_newest(&mut self) {
        if !self.newest.entries.is_empty() {
            let full = self.newest.turn(0);
            self.full.push_back(Arc::new(full));
        }
    }

    /// Appends a chunk. The newest has to be empty.
    fn push_chunk(&mut self, chunk: Chunk) {
        (self.newest.start, self.newest.rank) = (chunk.end(), chunk.next_rank());
        self.full.push_back(Arc::new(chunk));
    }

    /// Returns the length at which the newest chunk is full.
    ///
    /// With shorter chunks, fewer events are retained beyond the bounds; with longer ones, a
    /// small log allocates less often.
    fn max_chunk(&self) -> usize {
        let min = MIN_CHUNK.min(self.retention.max_bytes() / 8);
        (self.kept() / 4).clamp(min, MAX_CHUNK)
    }

    /// Returns an ID later than all earlier ones, even when the clock was set back.
    fn next_id(&mut self, now: Duration) -> LogId {
        if let Some(epochs) = self.own.as_mut().and_then(|own| own.epochs.as_mut()) {
            return epochs.next_id(now);
        }
        let own = self.own.as_deref();
        let newest = self.newest_entry().map(|entry| entry.id);
        let newest = newest.or(own.and_then(|own| own.origin));
        match (own.and_then(|own| own.epoch), newest) {
            (Some(epoch), newest) => newest.unwrap_or_default().next_at(now, epoch),
            (None, Some(newest)) => LogId::at(now).max(newest.next()),
            (None, None) => LogId::at(now),
        }
    }

    fn newest_entry(&self) -> Option<&Entry> {
        let newest = self.packed.as_deref().or(self.newest.entries.last());
        newest.or_else(|| self.full.back()?.entries.last())
    }
}

/// An event that a [`Log`] has appended.
#[derive(Debug)]
pub struct Appended {
    /// The ID that the log assigned. Clients see the publisher's ID instead, if it has one.
    pub id: LogId,
    /// The chunks that were evicted.
    pub evicted: Evicted,
}

/// The minimum length of a full chunk.
const MIN_CHUNK: usize = 16 << 10;

/// The minimum length of an encoded event that becomes a separate chunk.
///
/// A chunk costs some 200 bytes.
const MIN_LONG: usize = 8 << 10;
