//! Encoded events with a bounded past.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt, mem};

use crate::chunk::{Chunk, Entry, Excerpt, MAX_CHUNK, Past};
use crate::encode;
use crate::event::Event;
use crate::field::EventId;
use crate::stamp::{Stamp, StampText, millis};

/// An append-only log of encoded events, of which the oldest are forgotten.
///
/// An event is encoded once, when it is appended; what is read is the same bytes, those of
/// many events in one piece. A reader is a [`Cursor`], which is a number: it costs the log
/// nothing, and the log does not know of it.
///
/// The pieces are of 64 KiB, of less in a log that keeps less than four of these, or of one
/// event that is longer. All but the newest can be [shared](Self::excerpt).
///
/// Every event gets an ID: its publisher's, or else one of the form
/// `<unix-milliseconds>-<sequence>`, strictly increasing also when the clock steps back. The
/// log has no clock: the time, as the duration since the Unix epoch, is an argument.
///
/// ```
/// use std::time::Duration;
/// use sse_core::{Event, EventId, Log, Resume, Retention};
///
/// let now = Duration::from_millis(1_700_000_000_000);
/// let mut log = Log::new(Retention::events(2));
/// let first = log.end();
/// log.append(&Event::new().data("one"), now);
/// log.append(&Event::new().data("two"), now);
/// assert_eq!(
///     log.read(first),
///     Ok(&b"id: 1700000000000-0\ndata: one\n\nid: 1700000000000-1\ndata: two\n\n"[..]),
/// );
///
/// let seen = EventId::from_static("1700000000000-0");
/// let Resume::Resumed(cursor) = log.resume(Some(&seen)) else { panic!() };
/// assert_eq!(log.read(cursor), Ok(&b"id: 1700000000000-1\ndata: two\n\n"[..]));
///
/// log.append(&Event::new().data("three"), now);
/// assert!(log.read(first).is_err(), "the first event is gone");
/// ```
#[derive(Debug)]
pub struct Log {
    retention: Retention,
    /// The kept events but for those of the newest chunk; none is empty.
    full: VecDeque<Arc<Chunk>>,
    newest: Chunk,
    /// How many events of the first of these chunks are forgotten.
    dead: usize,
    /// How many events are kept: never none again after the first one.
    len: usize,
    /// Where the kept events begin.
    begin: Cursor,
    /// Where the kept events end that have their publisher's IDs; of those with the same ID,
    /// the newest.
    own_ids: HashMap<Arc<str>, Cursor>,
    /// The last event that was forgotten; it ends at `begin`.
    forgotten: Option<Entry>,
    /// The first stamp that was given: what is earlier is another log's.
    first_stamp: Option<Stamp>,
    /// Until when stamps were given by those that this log goes on from. What is not among
    /// the events but within that time has been lost.
    restored: Option<Stamp>,
    /// After which cursor events are held back: beyond them all, if none is.
    held: Cursor,
    stamp_text: StampText,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(retention: Retention) -> Self {
        Self {
            retention,
            full: VecDeque::new(),
            newest: Chunk::default(),
            dead: 0,
            len: 0,
            begin: Cursor(0),
            own_ids: HashMap::new(),
            forgotten: None,
            first_stamp: None,
            restored: None,
            held: Cursor::BEYOND,
            stamp_text: StampText::default(),
        }
    }

    /// Appends an event at the time `now`, forgets what is not to be kept any longer, and
    /// gives the cursor after the event.
    ///
    /// The event gets an ID also when it has nothing else, or only a comment, so it ends in a
    /// blank line. The cost is that of encoding: forgetting and moving are amortised over
    /// appends.
    pub fn append(&mut self, event: &Event<'_>, now: Duration) -> Cursor {
        let stamp = self.next_stamp(now);
        let own_id: Option<Arc<str>> = event.id.as_ref().map(|id| id.as_str().into());
        match own_id {
            Some(_) => event.encode(&mut self.newest.bytes),
            None => {
                let id = EventId::trusted(self.stamp_text.of(stamp).into());
                encode::event_with_id(&mut self.newest.bytes, event, Some(&id));
            }
        }
        self.enter(stamp, own_id, now)
    }

    /// Appends events that were read from segments, but for those whose stamps are not later
    /// than all that there are.
    ///
    /// When all have been, [`restored`](Self::restored) says so; up to then nothing is
    /// forgotten.
    pub fn restore(&mut self, past: Past) {
        for mut chunk in past.into_chunks() {
            let newest = self.newest().map(|entry| entry.stamp);
            let at = chunk
                .entries
                .partition_point(|entry| Some(entry.stamp) <= newest);
            if at > 0 {
                chunk.forget(at);
            }
            let Some(first) = chunk.entries.first() else {
                continue;
            };
            self.first_stamp.get_or_insert(first.stamp);
            if !self.newest.entries.is_empty() {
                self.full.push_back(Arc::new(self.newest.turn(0)));
            }
            chunk.move_to(self.newest.start, self.newest.rank);
            for entry in &chunk.entries {
                if let Some(id) = &entry.own_id {
                    self.own_ids.insert(Arc::clone(id), entry.end);
                }
            }
            self.len += chunk.entries.len();
            (self.newest.start, self.newest.rank) = (chunk.end(), chunk.next_rank());
            self.full.push_back(Arc::new(chunk));
        }
    }

    /// Says that all has been [restored](Self::restore), of a log that gave its first stamp
    /// `since`, and its last by the time `until`; what is not to be kept any longer at that time
    /// is forgotten.
    ///
    /// A client that comes with an ID of that time which is not there, because it is
    /// forgotten or was lost, gets a [`Gap`](Resume::Gap) that ends where later events begin.
    pub fn restored(&mut self, since: Stamp, until: Duration) {
        self.first_stamp = Some(since);
        let newest = self.newest().map(|entry| entry.stamp);
        self.restored = newest.max(Some(Stamp::at(until)));
        self.forget(until);
    }

    /// Holds events back that come `after` a cursor: they are appended, but nobody reads
    /// them, and only the bound of bytes makes the log forget them. With `None`, nothing is.
    ///
    /// What has once been read is not held back any more.
    pub fn hold(&mut self, after: Option<Cursor>) {
        self.held = after.map_or(Cursor::BEYOND, |after| after.max(self.end()));
    }

    /// Forgets what is not to be kept any longer at the time `now`.
    ///
    /// [`append`](Self::append) does so too; this is for logs at rest, whose events age.
    pub fn forget(&mut self, now: Duration) {
        let since = millis(now.saturating_sub(self.retention.age));
        let chunks = self.full.len();
        while self.len > 1 && self.keeps_too_much(since) {
            self.forget_oldest();
        }
        let drops = self.full.len() < chunks;
        // Moving no more than has been forgotten keeps the cost linear.
        let dead = self.newest.start.distance(self.begin);
        let moves = self.full.is_empty() && (drops || dead > self.kept());
        if moves {
            self.newest.forget(mem::take(&mut self.dead));
        }
        if drops || moves {
            self.full.shrink_to(4 * self.full.len());
            self.own_ids.shrink_to(4 * self.own_ids.len());
        }
    }

    /// The encoded events after `cursor`, as many as there are in one piece: none at the
    /// [`end`](Self::end) and beyond.
    ///
    /// # Errors
    ///
    /// [`Forgotten`] when some event after the cursor is no longer kept.
    pub fn read(&self, cursor: Cursor) -> Result<&[u8], Forgotten> {
        if cursor < self.begin {
            return Err(Forgotten { begin: self.begin });
        }
        let Some((chunk, _)) = self.seek(|entry| entry.end <= cursor) else {
            return Ok(&[]);
        };
        let bytes = &chunk.bytes[chunk.start.distance(cursor)..];
        Ok(&bytes[..bytes.len().min(cursor.distance(self.end()))])
    }

    /// Appends to `out` what lies between the cursors, as far as there is something.
    ///
    /// # Errors
    ///
    /// [`Forgotten`] when some event after `start` is no longer kept; then nothing is
    /// appended.
    pub fn copy(&self, start: Cursor, end: Cursor, out: &mut Vec<u8>) -> Result<(), Forgotten> {
        let mut cursor = start;
        loop {
            let piece = self.read(cursor)?;
            let piece = &piece[..piece.len().min(cursor.distance(end))];
            if piece.is_empty() {
                return Ok(());
            }
            out.extend_from_slice(piece);
            cursor = cursor.advance(piece.len());
        }
    }

    /// The events after `cursor`, those too that are held back: as many as there are in one
    /// piece, if there are any. The last piece, after [`settled`](Self::settled), is copied;
    /// others are shared.
    ///
    /// # Errors
    ///
    /// [`Forgotten`] when some event after the cursor is no longer kept.
    pub fn excerpt(&self, cursor: Cursor) -> Result<Option<Excerpt>, Forgotten> {
        if cursor < self.begin {
            return Err(Forgotten { begin: self.begin });
        }
        let at = self.full.partition_point(|chunk| chunk.end() <= cursor);
        Ok(match self.full.get(at) {
            Some(chunk) => Excerpt::new(Arc::clone(chunk), cursor),
            None => Excerpt::new(Arc::new(self.newest.after(cursor)), cursor),
        })
    }

    /// Where a client goes on that has seen events up to `last_event_id`. The empty ID is
    /// none. Of several events with the same ID the newest is meant.
    ///
    /// Nothing is scanned: IDs that the log has given are found by binary search, its
    /// publisher's by hashing.
    #[must_use]
    pub fn resume(&self, last_event_id: Option<&EventId<'_>>) -> Resume {
        let Some(id) = last_event_id.filter(|id| !id.as_str().is_empty()) else {
            return Resume::Fresh;
        };
        let stamp = Stamp::parse(id.as_str());
        let end = |entry: &Entry| entry.has_id(id, stamp).then_some(entry.end);
        let own = self.own_ids.get(id.as_str()).copied();
        let stamped = stamp.and_then(|stamp| self.entry(stamp)).and_then(end);
        let forgotten = self.forgotten.as_ref().and_then(end);
        match own.max(stamped).max(forgotten) {
            // No reader has seen what is held back: it is this log's ID by chance.
            Some(end) => Resume::Resumed(end.min(self.end())),
            None => match stamp {
                Some(stamp) if self.has_lost(stamp) => Resume::Gap(self.after(stamp)),
                _ => Resume::Unknown,
            },
        }
    }

    /// The cursor before the last `count` events, or before those that are kept.
    #[must_use]
    pub fn last(&self, count: usize) -> Cursor {
        let first = self.rank(self.begin);
        let rank = self.rank(self.end()).saturating_sub(count as u64);
        let rank = rank.max(first);
        let at = self.full.partition_point(|chunk| chunk.next_rank() <= rank);
        let chunk = self.full.get(at).map_or(&self.newest, |chunk| chunk);
        chunk.start(usize::try_from(rank - chunk.rank).unwrap_or(chunk.entries.len()))
    }

    /// The end of the event in which the byte before `cursor` lies: the cursor itself where
    /// it is between two events. It is not before [`begin`](Self::begin) and not after
    /// [`end`](Self::end).
    #[must_use]
    pub fn event_end(&self, cursor: Cursor) -> Cursor {
        if cursor <= self.begin {
            return self.begin;
        }
        let found = self.seek(|entry| entry.end < cursor);
        let end = found.map_or(self.tip(), |(chunk, at)| chunk.entries[at].end);
        end.min(self.end())
    }

    /// How many of the kept events end after `start` and not after `end`.
    #[must_use]
    pub fn count(&self, start: Cursor, end: Cursor) -> usize {
        let start = self.rank(start.max(self.begin));
        usize::try_from(self.rank(end).saturating_sub(start)).unwrap_or(usize::MAX)
    }

    /// The ID of the event with which a reader at `cursor` goes on: of the first that is kept
    /// and ends after it.
    #[must_use]
    pub fn next_id(&self, cursor: Cursor) -> Option<EventId<'static>> {
        let cursor = cursor.max(self.begin);
        let (chunk, at) = self.seek(|entry| entry.end <= cursor)?;
        let next = &chunk.entries[at];
        Some(match &next.own_id {
            Some(id) => EventId::trusted(id.to_string().into()),
            None => next.stamp.id(&mut [0; Stamp::MAX_LEN]).into_owned(),
        })
    }

    /// The cursor before the oldest event that is kept.
    #[must_use]
    pub const fn begin(&self) -> Cursor {
        self.begin
    }

    /// The cursor after the newest event that is not [held back](Self::hold).
    #[must_use]
    pub fn end(&self) -> Cursor {
        self.held.clamp(self.begin, self.tip())
    }

    /// The cursor after the newest event, be it held back or not.
    #[must_use]
    pub fn tip(&self) -> Cursor {
        self.newest.end()
    }

    /// The cursor before the last piece, which still grows.
    #[must_use]
    pub fn settled(&self) -> Cursor {
        self.newest.start.max(self.begin)
    }

    /// How many events are kept.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no event is kept.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Enters an event in the books, whose bytes have been appended.
    fn enter(&mut self, stamp: Stamp, own_id: Option<Arc<str>>, now: Duration) -> Cursor {
        let end = self.newest.start.advance(self.newest.bytes.len());
        if let Some(id) = &own_id {
            self.own_ids.insert(Arc::clone(id), end);
        }
        self.first_stamp.get_or_insert(stamp);
        self.newest.entries.push(Entry { end, stamp, own_id });
        self.len += 1;
        let max_len = self.max_chunk();
        if self.newest.bytes.len() >= max_len {
            self.full.push_back(Arc::new(self.newest.turn(max_len)));
        }
        self.forget(now);
        end
    }

    /// How long a chunk becomes before the next begins: so short that little is dead of the
    /// first one, and so long that those of a small log need not be allocated again and again.
    fn max_chunk(&self) -> usize {
        let min = MIN_CHUNK.min(self.retention.bytes / 8);
        (self.kept() / 4).clamp(min, MAX_CHUNK)
    }

    fn keeps_too_much(&self, since: u64) -> bool {
        let Some(oldest) = self.oldest() else {
            return false;
        };
        let is_held = self.held < oldest.end;
        let is_surplus = self.len > self.retention.events || oldest.stamp.millis() < since;
        self.kept() > self.retention.bytes || is_surplus && !is_held
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.oldest().cloned() else {
            return;
        };
        if let Some(id) = &oldest.own_id
            && self.own_ids.get(id) == Some(&oldest.end)
        {
            self.own_ids.remove(id);
        }
        self.begin = oldest.end;
        self.forgotten = Some(oldest);
        self.len -= 1;
        self.dead += 1;
        if self
            .full
            .front()
            .is_some_and(|chunk| chunk.end() == self.begin)
        {
            self.full.pop_front();
            self.dead = 0;
        }
    }

    /// Later than any stamp before, whatever the clock does.
    fn next_stamp(&self, now: Duration) -> Stamp {
        let now = Stamp::at(now);
        match self.newest() {
            Some(newest) => now.max(newest.stamp.next()),
            None => now,
        }
    }

    /// Where the first event is that has not been `passed`, as all are that come before it.
    fn seek(&self, passed: impl Fn(&Entry) -> bool) -> Option<(&Chunk, usize)> {
        let has_passed = |chunk: &Arc<Chunk>| chunk.entries.last().is_some_and(&passed);
        let at = self.full.partition_point(has_passed);
        let chunk = self.full.get(at).map_or(&self.newest, |chunk| chunk);
        let at = chunk.entries.partition_point(passed);
        (at < chunk.entries.len()).then_some((chunk, at))
    }

    /// How many events there have ever been that end at the cursor or before it.
    fn rank(&self, cursor: Cursor) -> u64 {
        let next = self.seek(|entry| entry.end <= cursor);
        next.map_or(self.newest.next_rank(), |(chunk, at)| {
            chunk.rank + at as u64
        })
    }

    fn oldest(&self) -> Option<&Entry> {
        let first = self.full.front().map_or(&self.newest, |chunk| chunk);
        first.entries.get(self.dead)
    }

    fn newest(&self) -> Option<&Entry> {
        let newest = self.newest.entries.last();
        newest.or_else(|| self.full.back()?.entries.last())
    }

    fn entry(&self, stamp: Stamp) -> Option<&Entry> {
        let (chunk, at) = self.seek(|entry| entry.stamp < stamp)?;
        let entry = &chunk.entries[at];
        (entry.stamp == stamp && entry.end > self.begin).then_some(entry)
    }

    /// Whether the stamp lies within the time of events that are forgotten, or were lost.
    fn has_lost(&self, stamp: Stamp) -> bool {
        let forgotten = self.forgotten.as_ref().map(|entry| entry.stamp);
        let last = forgotten.max(self.restored);
        let times = self.first_stamp.zip(last);
        times.is_some_and(|(first, last)| (first..=last).contains(&stamp))
    }

    /// Where the events begin that are later than the stamp.
    fn after(&self, stamp: Stamp) -> Cursor {
        let next = self.seek(|entry| entry.stamp <= stamp);
        let start = next.map_or(self.tip(), |(chunk, at)| chunk.start(at));
        start.clamp(self.begin, self.end())
    }

    /// How many bytes of events are kept.
    fn kept(&self) -> usize {
        self.begin.distance(self.tip())
    }
}

/// How much of the past a [`Log`] keeps: as much as all its bounds allow, and always the
/// newest event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    events: usize,
    bytes: usize,
    age: Duration,
}

impl Retention {
    /// The default of [`bytes`](Self::bytes): 16 MiB.
    pub const DEFAULT_BYTES: usize = 16 << 20;

    /// At most `count` events, within the other defaults.
    #[must_use]
    pub const fn events(count: usize) -> Self {
        Self {
            events: count,
            bytes: Self::DEFAULT_BYTES,
            age: Duration::MAX,
        }
    }

    /// At most `count` bytes of encoded events. A log takes up to half as much again, or if it
    /// keeps less than 128 KiB up to four times as much, or 140 KiB after it has kept more; and
    /// 40 to 80 bytes more for each event, or 100 to 220 for one with its publisher's ID.
    #[must_use]
    pub const fn bytes(mut self, count: usize) -> Self {
        self.bytes = count;
        self
    }

    /// Events of this age at most, in whole milliseconds. By default age does not matter.
    ///
    /// When the clock is set back, what was appended before, and what is until the clock has
    /// caught up, counts as appended at the latest time that it had shown.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// The bound of [`bytes`](Self::bytes).
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether so many events, of so many bytes, the oldest of them of this age, are more than
    /// is kept.
    #[must_use]
    pub fn is_exceeded(&self, events: usize, bytes: usize, age: Duration) -> bool {
        events > self.events || bytes > self.bytes || age > self.age
    }
}

impl Default for Retention {
    /// 1,000 events in 16 MiB, whatever their age.
    fn default() -> Self {
        Self::events(1000)
    }
}

/// A place between two events of a [`Log`]: the number of bytes before it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(u64);

impl Cursor {
    /// Later than any event.
    const BEYOND: Self = Self(u64::MAX);

    /// The cursor `bytes` further on. After a part of an event it is between no two events;
    /// [`Log::event_end`] tells the next that is.
    #[must_use]
    pub const fn advance(self, bytes: usize) -> Self {
        Self(self.0.saturating_add(bytes as u64))
    }

    /// How many bytes lie between this cursor and a `later` one; none if that is earlier.
    #[must_use]
    pub fn distance(self, later: Self) -> usize {
        usize::try_from(later.0.saturating_sub(self.0)).unwrap_or(usize::MAX)
    }
}

/// Where a client goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// It comes for the first time.
    Fresh,
    /// It goes on at the cursor and has missed nothing.
    Resumed(Cursor),
    /// What it saw last is older than what is kept, which begins at the cursor, or was lost
    /// before a restart: it has missed events.
    Gap(Cursor),
    /// Its ID is none that the log knows: of another log, from the future, or its
    /// publisher's and forgotten longer than the last event that was; also of before a
    /// restart, unless the log was [restored](Log::restored).
    Unknown,
}

/// Some event after the cursor is no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Where the kept events begin.
    pub begin: Cursor,
}

impl fmt::Display for Forgotten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader has fallen behind what the log keeps; go on where that begins")
    }
}

impl error::Error for Forgotten {}

const MIN_CHUNK: usize = 16 << 10;
