//! Encoded events with a bounded past.

mod chunk;
mod cursor;
mod encoded;
mod id;
mod now;
mod restored;
mod resume;
mod retention;
mod slice;

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use chunk::{Chunk, Entry, MAX_CHUNK, Tail};
pub use cursor::Cursor;
pub use encoded::Encoded;
pub use id::LogId;
use id::LogIdText;
pub use now::Now;
use now::millis;
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
/// [slices](Self::slice) of consecutive events. A reader is a [`Cursor`], which is a number:
/// it costs the log nothing, and the log does not know of it.
///
/// Events lie in chunks of up to 64 KiB, a quarter of that in a small log; a long event may be
/// a chunk of its own. Full chunks are shared with those who read them.
///
/// Every event gets an ID: its publisher's, or else one of the form
/// `<unix-milliseconds>-<sequence>`, which rises also when the clock is set back. The log has
/// no clock: the time is an argument, either [`Now`] or a [`Duration`] since the Unix epoch.
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
/// let Resume::Resumed(cursor) = log.resume(Some(&seen)) else { panic!() };
/// let slice = log.slice(cursor..log.end())?.unwrap();
/// assert_eq!(slice.bytes(), "id: 1700000000000-1\ndata: two\n\n");
///
/// log.append(&Event::new().data("three"), now);
/// assert!(log.slice(first..log.end()).is_err(), "the first event is gone");
/// # Ok::<(), sse_core::Lagged>(())
/// ```
#[derive(Debug)]
pub struct Log {
    retention: Retention,
    /// All chunks with kept events but the newest; none is empty.
    full: VecDeque<Arc<Chunk>>,
    newest: Tail,
    /// The oldest event that is kept.
    oldest: Front,
    /// The first event of the replay window, not before `oldest`.
    window: Front,
    /// Where each publisher's ID was used last, of those events that are kept.
    own_ids: HashMap<Arc<str>, Cursor>,
    /// It ends at `oldest`.
    last_evicted: Option<Entry>,
    /// The position before the first event, if it was asked for.
    origin: Option<LogId>,
    /// The first ID that was given: earlier ones are another log's.
    first_id: Option<LogId>,
    /// Until when IDs may have been given by those that this log continues: an ID up to then
    /// that is not among the events has been lost.
    restored_until: Option<LogId>,
    /// Events after this cursor are held back; beyond all events if none is.
    held: Cursor,
    id_text: LogIdText,
}

impl Log {
    /// Creates an empty log.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self {
            retention,
            full: VecDeque::new(),
            newest: Tail::default(),
            oldest: Front::default(),
            window: Front::default(),
            own_ids: HashMap::new(),
            last_evicted: None,
            origin: None,
            first_id: None,
            restored_until: None,
            held: Cursor::MAX,
            id_text: LogIdText::default(),
        }
    }

    /// Appends an event at the time `now` and evicts what is not to be kept any longer.
    ///
    /// The event gets an ID also when it has nothing else, or only a comment, so it ends in a
    /// blank line. The cost is that of encoding; eviction is amortised over appends.
    pub fn append(&mut self, event: &Event<'_>, now: impl Into<Now>) -> Appended {
        let now = now.into();
        let id = self.next_id(now.unix);
        let own_id: Option<Arc<str>> = event.id.as_ref().map(|id| id.as_str().into());
        match own_id {
            Some(_) => event.encode(&mut self.newest.bytes),
            None => {
                let id = EventId::trusted(self.id_text.of(id).into());
                encode::event_with_id(&mut self.newest.bytes, event, Some(&id));
            }
        }
        let end = self.newest.start.advance(self.newest.bytes.len());
        let entry = self.entry_of(end, id, own_id, now);
        self.push_entry(entry);
        self.appended(id, now)
    }

    /// Appends an event that is encoded already but for its ID, as [`append`](Self::append)
    /// does. One of at least 8 KiB becomes a chunk of its own and is not copied.
    pub fn append_encoded(&mut self, event: Encoded, now: impl Into<Now>) -> Appended {
        let now = now.into();
        let id = self.next_id(now.unix);
        let own_id = event.own_id.clone();
        let bytes = event.into_bytes(id);
        let end = self.newest.end().advance(bytes.len());
        let entry = self.entry_of(end, id, own_id, now);
        if bytes.len() >= MIN_LONG {
            self.close_newest();
            self.push_chunk(Chunk {
                start: self.newest.start,
                rank: self.newest.rank,
                bytes,
                entries: vec![entry],
            });
        } else {
            self.newest.bytes.extend_from_slice(&bytes);
            self.push_entry(entry);
        }
        self.appended(id, now)
    }

    /// Holds events back that come `after` a cursor: they are appended, but
    /// [`end`](Self::end) stays before them, and only the bound of bytes evicts them. With
    /// `None`, nothing is held back.
    ///
    /// What has once been visible is not held back any more.
    pub fn hold(&mut self, after: Option<Cursor>) {
        self.held = after.map_or(Cursor::MAX, |after| after.max(self.end()));
    }

    /// The events after the start of `range` and up to its end, as many as lie in one chunk;
    /// `None` if there are none.
    ///
    /// Readers pass [`end`](Self::end) as the end, or [`tip`](Self::tip) for events that are
    /// held back, too. Costs at most a copy of the newest chunk, which is shorter than
    /// 64 KiB.
    ///
    /// # Errors
    ///
    /// [`Lagged`] when some event after the start has been evicted.
    pub fn slice(&self, range: Range<Cursor>) -> Result<Option<Slice>, Lagged> {
        if range.start < self.begin() {
            return Err(Lagged {
                begin: self.begin(),
            });
        }
        let indices = |entries: &[Entry]| {
            [range.start, range.end].map(|at| entries.partition_point(|entry| entry.end <= at))
        };
        let at = self
            .full
            .partition_point(|chunk| chunk.end() <= range.start);
        Ok(match self.full.get(at) {
            Some(chunk) => {
                let [from, to] = indices(&chunk.entries);
                Slice::new(Arc::clone(chunk), from, to)
            }
            None => match indices(&self.newest.entries) {
                [from, to] if from < to => {
                    let copy = self.newest.copy(from, to);
                    Slice::new(Arc::new(copy), 0, to - from)
                }
                _ => None,
            },
        })
    }

    /// The cursor before the last `count` events of the replay window, or before all of it.
    #[must_use]
    pub fn last(&self, count: usize) -> Cursor {
        let rank = self.rank(self.end()).saturating_sub(count as u64);
        if rank <= self.window.rank {
            return self.window().min(self.end());
        }
        let at = self.full.partition_point(|chunk| chunk.next_rank() <= rank);
        let index = |rank: u64, first: u64| usize::try_from(rank - first).unwrap_or(usize::MAX);
        match self.full.get(at) {
            Some(chunk) => chunk.start_of(index(rank, chunk.rank)),
            None => self.newest.start_of(index(rank, self.newest.rank)),
        }
    }

    /// The number of kept events that end after `start` and not after `end`.
    #[must_use]
    pub fn count(&self, start: Cursor, end: Cursor) -> usize {
        let start = self.rank(start.max(self.begin()));
        usize::try_from(self.rank(end).saturating_sub(start)).unwrap_or(usize::MAX)
    }

    /// The ID of the first kept event after `cursor`, if there is one.
    #[must_use]
    pub fn next_event_id(&self, cursor: Cursor) -> Option<EventId<'static>> {
        let cursor = cursor.max(self.begin());
        let next = self.seek(|entry| entry.end <= cursor)?;
        Some(next.entry.event_id())
    }

    /// The cursor before the oldest event that is kept.
    #[must_use]
    pub const fn begin(&self) -> Cursor {
        self.oldest.cursor
    }

    /// The cursor before the first event of the replay window.
    #[must_use]
    pub const fn window(&self) -> Cursor {
        self.window.cursor
    }

    /// The cursor after the newest event that is not [held back](Self::hold).
    #[must_use]
    pub fn end(&self) -> Cursor {
        self.held.clamp(self.begin(), self.tip())
    }

    /// The cursor after the newest event, whether it is held back or not.
    #[must_use]
    pub fn tip(&self) -> Cursor {
        self.newest.end()
    }

    /// The cursor before the newest chunk, which still grows.
    #[must_use]
    pub fn settled(&self) -> Cursor {
        self.newest.start.max(self.begin())
    }

    /// The number of events that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        let len = self.newest.next_rank() - self.oldest.rank;
        usize::try_from(len).unwrap_or(usize::MAX)
    }

    /// Whether no event is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn entry_of(&mut self, end: Cursor, id: LogId, own_id: Option<Arc<str>>, now: Now) -> Entry {
        if let Some(id) = &own_id {
            self.own_ids.insert(Arc::clone(id), end);
        }
        self.first_id.get_or_insert(id);
        let newest = self.newest_entry().map_or(0, |entry| entry.appended);
        Entry {
            end,
            id,
            appended: millis(now.steady).max(newest),
            own_id,
        }
    }

    fn appended(&mut self, id: LogId, now: Now) -> Appended {
        Appended {
            id,
            evicted: self.evict(now),
        }
    }

    /// Enters an event whose bytes have been appended to the newest chunk.
    fn push_entry(&mut self, entry: Entry) {
        self.newest.entries.push(entry);
        let max_len = self.max_chunk();
        if self.newest.bytes.len() >= max_len {
            let full = self.newest.turn(max_len);
            self.full.push_back(Arc::new(full));
        }
    }

    /// Makes a full chunk of the newest one, unless it is empty.
    fn close_newest(&mut self) {
        if !self.newest.entries.is_empty() {
            let full = self.newest.turn(0);
            self.full.push_back(Arc::new(full));
        }
    }

    /// Appends a chunk, while the newest is empty.
    fn push_chunk(&mut self, chunk: Chunk) {
        (self.newest.start, self.newest.rank) = (chunk.end(), chunk.next_rank());
        self.full.push_back(Arc::new(chunk));
    }

    /// The length at which the newest chunk is full: so short that little of the oldest is
    /// kept in vain, and so long that a small log need not allocate again and again.
    fn max_chunk(&self) -> usize {
        let min = MIN_CHUNK.min(self.retention.max_bytes() / 8);
        (self.kept() / 4).clamp(min, MAX_CHUNK)
    }

    /// Later than any ID before, whatever the clock does.
    fn next_id(&self, now: Duration) -> LogId {
        let now = LogId::at(now);
        let newest = self.newest_entry().map(|entry| entry.id);
        match newest.or(self.origin) {
            Some(newest) => now.max(newest.next()),
            None => now,
        }
    }

    /// The first kept event that has not been `passed`, as all before it have.
    fn seek(&self, passed: impl Fn(&Entry) -> bool) -> Option<Place<'_>> {
        let has_passed = |chunk: &Arc<Chunk>| chunk.entries.last().is_some_and(&passed);
        let at = self.full.partition_point(has_passed);
        match self.full.get(at) {
            Some(chunk) => Place::in_chunk(&**chunk, passed),
            None => Place::in_chunk(&self.newest, passed),
        }
    }

    /// The number of events ever appended that end at the cursor or before it.
    fn rank(&self, cursor: Cursor) -> u64 {
        let next = self.seek(|entry| entry.end <= cursor);
        next.map_or(self.newest.next_rank(), |place| place.rank)
    }

    fn newest_entry(&self) -> Option<&Entry> {
        let newest = self.newest.entries.last();
        newest.or_else(|| self.full.back()?.entries.last())
    }

    /// The bytes of all events that are kept.
    fn kept(&self) -> usize {
        self.begin().distance(self.tip())
    }
}

/// An event that a [`Log`] has appended.
#[derive(Debug)]
pub struct Appended {
    /// The ID that the log gave it, which its publisher's ID may hide.
    pub id: LogId,
    /// What was evicted.
    pub evicted: Evicted,
}

/// An event in a chunk.
struct Place<'a> {
    entry: &'a Entry,
    /// The cursor before it.
    start: Cursor,
    rank: u64,
}

impl<'a> Place<'a> {
    fn in_chunk<B: AsRef<[u8]>>(
        chunk: &'a Chunk<B>,
        passed: impl Fn(&Entry) -> bool,
    ) -> Option<Self> {
        let at = chunk.entries.partition_point(passed);
        Some(Self {
            entry: chunk.entries.get(at)?,
            start: chunk.start_of(at),
            rank: chunk.rank + at as u64,
        })
    }
}

/// The reader has missed events: some after its cursor were evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged {
    /// The cursor before the oldest event that is kept.
    pub begin: Cursor,
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader lagged: events were evicted before it had read them; continue with the oldest kept event")
    }
}

impl error::Error for Lagged {}

const MIN_CHUNK: usize = 16 << 10;

/// The length from which an encoded event is a chunk of its own: what that costs, some 200
/// bytes, is little beside it.
const MIN_LONG: usize = 8 << 10;
