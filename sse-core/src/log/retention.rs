//! Which events a log retains, and eviction.
//!
//! A log retains the *replay window*, in which clients join and resume, and the *backlog*,
//! which subscribers may not have read yet. The window is bounded by number, bytes and age. An
//! event is evicted once it is neither in the window nor in the backlog. A window that is
//! smaller than a batch of events therefore loses none of them.

use std::sync::Arc;
use std::time::Duration;

use super::Log;
use super::chunk::{Chunk, Entry};
use super::cursor::Cursor;
use super::id::LogId;
use super::now::{Now, millis};

/// How many events a [`Log`] retains, and for how long.
///
/// All bounds apply. The newest event is always retained.
///
/// ```
/// use std::time::Duration;
/// use sse_core::Retention;
///
/// let hour = Duration::from_secs(3600);
/// let retention = Retention::events(1000).bytes(4 << 20).age(hour);
/// # assert_eq!(retention.max_age(), hour);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    events: usize,
    bytes: usize,
    age: Duration,
    backlog_age: Duration,
    backlog_bytes: usize,
}

impl Retention {
    /// The default of [`bytes`](Self::bytes): 16 MiB.
    pub const DEFAULT_BYTES: usize = 16 << 20;

    /// Creates a retention of at most `count` events, with the other defaults.
    #[must_use]
    pub const fn events(count: usize) -> Self {
        Self {
            events: count,
            bytes: Self::DEFAULT_BYTES,
            age: Duration::MAX,
            backlog_age: Duration::from_secs(1),
            backlog_bytes: 16 << 20,
        }
    }

    /// Sets the maximum bytes of encoded events. Default: 16 MiB.
    ///
    /// A log takes up to 1.5 × the retained bytes. With less than 128 KiB it takes up to 4 × as
    /// much, or 140 KiB after it has retained more. Each event takes 32 to 64 bytes more, or 85
    /// to 200 with a publisher's ID.
    #[must_use]
    pub const fn bytes(mut self, count: usize) -> Self {
        self.bytes = count;
        self
    }

    /// Sets the maximum age of events, in whole milliseconds. Default: unlimited.
    ///
    /// Age is measured from the time of appending by a steady clock, so a wrong date neither
    /// keeps events for years nor evicts them.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Sets the backlog, which is retained beyond the other bounds. Default: 1 s and 16 MiB.
    ///
    /// An event younger than `age` is not evicted while it is among the last `bytes` bytes. The
    /// memory is used only after a batch larger than the other bounds. Subscribers read the
    /// backlog and clients resume within it; a client that joins does not get it. With
    /// `Duration::ZERO`, a subscriber lags as soon as it is behind the other bounds.
    #[must_use]
    pub const fn backlog(mut self, age: Duration, bytes: usize) -> Self {
        (self.backlog_age, self.backlog_bytes) = (age, bytes);
        self
    }

    /// Returns the bound of [`events`](Self::events).
    #[must_use]
    pub const fn max_events(&self) -> usize {
        self.events
    }

    /// Returns the bound of [`bytes`](Self::bytes).
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bound of [`age`](Self::age).
    #[must_use]
    pub const fn max_age(&self) -> Duration {
        self.age
    }

    /// Returns whether this many events, bytes, or this age of the oldest exceed the replay window.
    #[must_use]
    pub fn is_exceeded(&self, events: usize, bytes: usize, age: Duration) -> bool {
        events > self.events || bytes > self.bytes || age > self.age
    }
}

impl Default for Retention {
    /// 1,000 events in 16 MiB of any age, with a backlog of 1 s and 16 MiB.
    fn default() -> Self {
        Self::events(1000)
    }
}

/// Chunks that a [`Log`] has evicted.
///
/// Dropping it frees their memory. A caller that holds a lock releases it first.
#[derive(Debug, Default)]
#[must_use = "dropping it frees memory, which is best done without a lock"]
pub struct Evicted(pub(super) Vec<Arc<Chunk>>);

impl Evicted {
    /// Adds chunks that were evicted later.
    pub fn append(&mut self, mut later: Self) {
        self.0.append(&mut later.0);
    }

    pub(crate) fn push(&mut self, chunk: Arc<Chunk>) {
        self.0.push(chunk);
    }
}

/// The first event of the replay window, or the oldest retained one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Front {
    /// The index of its chunk; that of the newest is the number of full ones.
    pub(super) chunk: usize,
    pub(super) cursor: Cursor,
    pub(super) rank: u64,
}

impl Log {
    /// Evicts events that exceed the retention at the time `now`.
    ///
    /// [`append`](Self::append) does that, too; this is for logs without new events. Takes time
    /// linear in the number of evicted chunks. Where events have publishers' IDs, one call
    /// evicts at most 512.
    pub fn evict(&mut self, now: impl Into<Now>) -> Evicted {
        if self.is_packed() {
            return Evicted::default();
        }
        let now = millis(now.into().steady);
        let Retention {
            events,
            bytes,
            age,
            backlog_age,
            backlog_bytes,
        } = self.retention;
        let (age, backlog_age) = (millis(age), millis(backlog_age));
        let age_of = |entry: &Entry| now.saturating_sub(entry.appended);
        let (end, tip, next_rank) = (self.end(), self.tip(), self.newest.next_rank());
        self.window = self.advance(self.window, |front, entry| {
            let is_surplus = next_rank - front.rank > events as u64 || age_of(entry) > age;
            let is_held = end < entry.end;
            front.cursor.distance(tip) > bytes || is_surplus && !is_held
        });
        // Removing publishers' IDs takes time, and a whole batch may be evicted at once.
        let most = if self.has_published_ids() {
            self.oldest.rank + MAX_OWN_IDS
        } else {
            u64::MAX
        };
        let window = self.window.rank.min(most);
        let oldest = self.advance(self.oldest, |front, entry| {
            let is_backlog =
                age_of(entry) < backlog_age && front.cursor.distance(tip) <= backlog_bytes;
            front.rank < window && !is_backlog
        });
        if oldest.rank == self.oldest.rank {
            return Evicted::default();
        }
        self.evict_before(oldest)
    }

    /// Drops all events. Events up to `evicted` count as evicted, and every earlier cursor lags.
    ///
    /// The events that follow may have smaller IDs, if the log is one [of a hub](Self::of_hub).
    /// They become visible when they are no longer [held](Self::hold).
    pub fn begin_anew(&mut self, evicted: LogId) -> Evicted {
        self.close_newest();
        let begin = self.newest.start.advance(1);
        self.newest.start = begin;
        let front = Front {
            chunk: 0,
            cursor: begin,
            rank: self.newest.rank,
        };
        (self.oldest, self.window, self.held) = (front, front, begin);
        self.evicted = evicted;
        Evicted(self.full.drain(..).collect())
    }

    /// Returns whether even the newest event is older than the retention allows, or there is none.
    ///
    /// The newest event is retained nevertheless.
    #[must_use]
    pub fn has_expired(&self, now: impl Into<Now>) -> bool {
        let now = millis(now.into().steady);
        let age = self.retention.age.max(self.retention.backlog_age);
        let newest = self.newest_entry();
        newest.is_none_or(|newest| now.saturating_sub(newest.appended) > millis(age))
    }

    /// Returns the first event from `front` on that has not expired, or the newest.
    ///
    /// Chunks whose last event has expired are skipped as a whole.
    fn advance(&self, mut front: Front, has_expired: impl Fn(&Front, &Entry) -> bool) -> Front {
        let newest = self.newest.next_rank().saturating_sub(1);
        while front.rank < newest {
            let Some(chunk) = self.full.get(front.chunk) else {
                let entry = &self.newest.entries[front.index_in(&self.newest)];
                if !has_expired(&front, entry) {
                    break;
                }
                front.step(entry);
                continue;
            };
            let entry = &chunk.entries[front.index_in(chunk)];
            if !has_expired(&front, entry) {
                break; // Most calls look at no more.
            }
            front.step(entry);
            let last = chunk.entries.len() - 1;
            let last_front = Front {
                cursor: chunk.start_of(last),
                rank: chunk.rank + last as u64,
                ..front
            };
            if last_front.rank < newest && has_expired(&last_front, &chunk.entries[last]) {
                front = last_front;
                front.step(&chunk.entries[last]);
            }
            if front.rank > last_front.rank {
                front.chunk += 1;
            }
        }
        front
    }

    fn evict_before(&mut self, oldest: Front) -> Evicted {
        let before = match self.index_of(oldest) {
            0 => self.full[oldest.chunk - 1].entries.last(),
            at => match self.full.get(oldest.chunk) {
                Some(chunk) => chunk.entries.get(at - 1),
                None => self.newest.entries.get(at - 1),
            },
        };
        if let Some(before) = before {
            self.evicted = before.id;
            if let Some(own) = &mut self.own {
                let id = own.published.id_at(before.end);
                own.last_evicted = Some((*before, id.cloned()));
                own.published.remove_until(before.end);
            }
        }
        let evicted = Evicted(self.full.drain(..oldest.chunk).collect());
        self.window.chunk -= oldest.chunk;
        self.oldest = Front { chunk: 0, ..oldest };
        self.compact(!evicted.0.is_empty());
        evicted
    }

    /// Returns the index of the front's event in its chunk.
    fn index_of(&self, front: Front) -> usize {
        match self.full.get(front.chunk) {
            Some(chunk) => front.index_in(chunk),
            None => front.index_in(&self.newest),
        }
    }

    fn has_published_ids(&self) -> bool {
        let own = self.own.as_ref();
        own.is_some_and(|own| !own.published.is_empty())
    }

    /// Moves the events of a small log to the beginning of its buffer.
    ///
    /// At most as many bytes are moved as were evicted, which keeps the cost linear.
    fn compact(&mut self, has_dropped: bool) {
        let dead = self.newest.start.distance(self.oldest.cursor);
        let moves = self.full.is_empty() && (has_dropped || dead > self.kept());
        if moves {
            self.newest.remove_first(self.index_of(self.oldest));
        }
        if has_dropped || moves {
            self.full.shrink_to(4 * self.full.len());
            if let Some(own) = &mut self.own {
                own.published.shrink();
            }
        }
    }
}

/// The maximum number of publishers' IDs that one call evicts.
const MAX_OWN_IDS: u64 = 512;

impl Front {
    fn index_in<B>(&self, chunk: &Chunk<B>) -> usize {
        usize::try_from(self.rank - chunk.rank).unwrap_or(usize::MAX)
    }

    fn step(&mut self, passed: &Entry) {
        self.rank += 1;
        self.cursor = passed.end;
    }
}
