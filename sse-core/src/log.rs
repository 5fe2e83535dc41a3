//! Encoded events with a bounded past.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use crate::encode;
use crate::event::Event;
use crate::field::EventId;
use crate::segment::{Excerpt, Record};
use crate::stamp::{Stamp, StampText, millis};

/// An append-only log of encoded events, of which the oldest are forgotten.
///
/// An event is encoded once, when it is appended; what is read is the same bytes, those of
/// many events in one piece. A reader is a [`Cursor`], which is a number: it costs the log
/// nothing, and the log does not know of it.
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
    /// The kept events, after `dead` bytes of forgotten ones.
    bytes: Vec<u8>,
    dead: usize,
    /// One for each kept event, in order: `end` and `stamp` both rise. Never empty again
    /// after the first event.
    entries: VecDeque<Entry>,
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
            bytes: Vec::new(),
            dead: 0,
            entries: VecDeque::new(),
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
            Some(_) => event.encode(&mut self.bytes),
            None => {
                let id = EventId::trusted(self.stamp_text.of(stamp).into());
                encode::event_with_id(&mut self.bytes, event, Some(&id));
            }
        }
        self.enter(stamp, own_id, now)
    }

    /// Appends an event that was read from a segment, with its stamp: gives whether it was
    /// appended, which it is if its stamp is later than all before.
    ///
    /// When all have been, [`restored`](Self::restored) says which events they were.
    pub fn restore(&mut self, record: &Record<'_>, now: Duration) -> bool {
        let stamp = record.stamp();
        let newest = self.entries.back().map(|entry| entry.stamp);
        let is_next = newest < Some(stamp) && stamp < stamp.next();
        if is_next {
            self.bytes.extend_from_slice(record.event());
            let own_id = record.own_id().map(|id| id.as_str().into());
            self.enter(stamp, own_id, now);
        }
        is_next
    }

    /// Says that what was [restored](Self::restore) is of a log that gave its first stamp
    /// `since`, and its last by the time `until`.
    ///
    /// A client that comes with an ID of that time which is not there, because it is
    /// forgotten or was lost, gets a [`Gap`](Resume::Gap) that ends where later events begin.
    pub fn restored(&mut self, since: Stamp, until: Duration) {
        self.first_stamp = Some(since);
        let newest = self.entries.back().map(|entry| entry.stamp);
        self.restored = newest.max(Some(Stamp::at(until)));
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
        while self.entries.len() > 1 && self.keeps_too_much(since) {
            self.forget_oldest();
        }
        // Moving no more than has been forgotten keeps the cost linear.
        if self.dead > self.kept() {
            self.compact();
        }
    }

    /// The encoded events after `cursor`, all that there are, in one piece: none at the
    /// [`end`](Self::end) and beyond.
    ///
    /// # Errors
    ///
    /// [`Forgotten`] when some event after the cursor is no longer kept.
    pub fn read(&self, cursor: Cursor) -> Result<&[u8], Forgotten> {
        let offset = cursor
            .0
            .checked_sub(self.begin.0)
            .ok_or(Forgotten { begin: self.begin })?;
        let offset = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .saturating_add(self.dead);
        let bytes = self.bytes.get(offset..).unwrap_or_default();
        Ok(&bytes[..bytes.len().min(cursor.distance(self.end()))])
    }

    /// Appends to `excerpt` the events after `cursor`, those too that are held back: as many
    /// as do not exceed `max` bytes, but at least one if there is one. Gives the cursor after
    /// them.
    ///
    /// # Errors
    ///
    /// [`Forgotten`] when some event after the cursor is no longer kept.
    pub fn excerpt(
        &self,
        cursor: Cursor,
        max: usize,
        excerpt: &mut Excerpt,
    ) -> Result<Cursor, Forgotten> {
        if cursor < self.begin {
            return Err(Forgotten { begin: self.begin });
        }
        let newest = self.entries.len().saturating_sub(1);
        let before = newest.checked_sub(1).map(|before| &self.entries[before]);
        // Most often the newest event is what is wanted.
        let first = match before.is_some_and(|before| before.end == cursor) {
            true => newest,
            false => self.entries.partition_point(|entry| entry.end <= cursor),
        };
        let mut end = cursor;
        for entry in self.entries.range(first..) {
            if end > cursor && cursor.distance(entry.end) > max {
                break;
            }
            excerpt.push(entry.stamp, end.distance(entry.end));
            end = entry.end;
        }
        let offset = self.dead + self.begin.distance(cursor);
        let bytes = self.bytes.get(offset..).unwrap_or_default();
        excerpt.push_bytes(&bytes[..cursor.distance(end)]);
        Ok(end)
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
        let end = self.end();
        let readable = self.entries.partition_point(|entry| entry.end <= end);
        match readable.checked_sub(count) {
            None | Some(0) => self.begin,
            Some(before) => self.entries[before - 1].end,
        }
    }

    /// The end of the event in which the byte before `cursor` lies: the cursor itself where
    /// it is between two events. It is not before [`begin`](Self::begin) and not after
    /// [`end`](Self::end).
    #[must_use]
    pub fn event_end(&self, cursor: Cursor) -> Cursor {
        if cursor <= self.begin {
            return self.begin;
        }
        let at = self.entries.partition_point(|entry| entry.end < cursor);
        let end = self.entries.get(at).map_or(self.tip(), |entry| entry.end);
        end.min(self.end())
    }

    /// How many of the kept events end after `start` and not after `end`.
    #[must_use]
    pub fn count(&self, start: Cursor, end: Cursor) -> usize {
        let until = |cursor| self.entries.partition_point(|entry| entry.end <= cursor);
        until(end).saturating_sub(until(start))
    }

    /// The ID of the event with which a reader at `cursor` goes on: of the first that is kept
    /// and ends after it.
    #[must_use]
    pub fn next_id(&self, cursor: Cursor) -> Option<EventId<'static>> {
        let at = self.entries.partition_point(|entry| entry.end <= cursor);
        let next = self.entries.get(at)?;
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
        self.entries.back().map_or(self.begin, |entry| entry.end)
    }

    /// How many events are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no event is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Enters an event in the books, whose bytes have been appended.
    fn enter(&mut self, stamp: Stamp, own_id: Option<Arc<str>>, now: Duration) -> Cursor {
        let end = Cursor(self.begin.0 + self.kept() as u64);
        if let Some(id) = &own_id {
            self.own_ids.insert(Arc::clone(id), end);
        }
        self.first_stamp.get_or_insert(stamp);
        self.entries.push_back(Entry { end, stamp, own_id });
        self.forget(now);
        end
    }

    fn keeps_too_much(&self, since: u64) -> bool {
        let Some(oldest) = self.entries.front() else {
            return false;
        };
        let is_held = self.held < oldest.end;
        let is_surplus =
            self.entries.len() > self.retention.events || oldest.stamp.millis() < since;
        self.kept() > self.retention.bytes || is_surplus && !is_held
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            if let Some(id) = &oldest.own_id
                && self.own_ids.get(id) == Some(&oldest.end)
            {
                self.own_ids.remove(id);
            }
            self.dead += self.begin.distance(oldest.end);
            self.begin = oldest.end;
            self.forgotten = Some(oldest);
        }
    }

    /// Gives the room of forgotten events back, except for what those to come may need.
    fn compact(&mut self) {
        self.bytes.drain(..self.dead);
        self.dead = 0;
        self.bytes.shrink_to(4 * self.bytes.len());
        self.entries.shrink_to(4 * self.entries.len());
        self.own_ids.shrink_to(4 * self.own_ids.len());
    }

    /// Later than any stamp before, whatever the clock does.
    fn next_stamp(&self, now: Duration) -> Stamp {
        let now = Stamp::at(now);
        match self.entries.back() {
            Some(newest) => now.max(newest.stamp.next()),
            None => now,
        }
    }

    fn entry(&self, stamp: Stamp) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by_key(&stamp, |entry| entry.stamp);
        self.entries.get(at.ok()?)
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
        let at = self.entries.partition_point(|entry| entry.stamp <= stamp);
        let before = at.checked_sub(1).map(|before| self.entries[before].end);
        before.unwrap_or(self.begin).min(self.end())
    }

    /// How many bytes of events are kept.
    fn kept(&self) -> usize {
        self.bytes.len() - self.dead
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

    /// At most `count` bytes of encoded events. A log fills up to twice that, in a buffer with
    /// room for up to four times, and takes 40 to 80 bytes more for each event, or 100 to 220
    /// for one with its publisher's ID.
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

#[derive(Debug)]
struct Entry {
    end: Cursor,
    stamp: Stamp,
    /// Where it is `None`, the ID is the stamp.
    own_id: Option<Arc<str>>,
}

impl Entry {
    fn has_id(&self, id: &EventId<'_>, stamp: Option<Stamp>) -> bool {
        match &self.own_id {
            Some(own_id) => **own_id == *id.as_str(),
            None => stamp == Some(self.stamp),
        }
    }
}
