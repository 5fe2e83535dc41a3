//! Reading of a log.

use std::ops::Range;
use std::sync::Arc;
use std::{error, fmt};

use super::Log;
use super::chunk::{Chunk, Entry};
use super::cursor::Cursor;
use super::id::LogId;
use super::slice::Slice;
use crate::event::EventId;

impl Log {
    /// Returns the first events of `range` that are in one chunk.
    ///
    /// `None` if there are none. Readers pass [`end`](Self::end) as the end, or [`tip`](Self::tip)
    /// to include events that are held back. Costs at most a copy of the newest chunk, which is
    /// shorter than 64 KiB.
    ///
    /// # Errors
    ///
    /// [`Lagged`] when an event after the start was evicted.
    pub fn slice(&self, range: Range<Cursor>) -> Result<Option<Slice>, Lagged> {
        if range.start < self.begin() {
            return Err(self.lagged());
        }
        Ok(self.slice_of(
            |entry| entry.end <= range.start,
            |entry| entry.end <= range.end,
        ))
    }

    /// Returns the first events after the ID `after` and up to the ID `until`.
    ///
    /// Unlike those of [`slice`](Self::slice), the events may be held back: a journal reads them to
    /// store them.
    ///
    /// # Errors
    ///
    /// [`Lagged`] when an event after the start was evicted.
    pub fn slice_between(&self, after: LogId, until: LogId) -> Result<Option<Slice>, Lagged> {
        if after < self.evicted {
            return Err(self.lagged());
        }
        Ok(self.slice_of(|entry| entry.id <= after, |entry| entry.id <= until))
    }

    fn lagged(&self) -> Lagged {
        Lagged {
            begin: self.begin(),
        }
    }

    /// Returns the first events that are not `before` and are still `within`.
    fn slice_of(
        &self,
        before: impl Fn(&Entry) -> bool,
        within: impl Fn(&Entry) -> bool,
    ) -> Option<Slice> {
        let indices = |entries: &[Entry]| {
            [
                partition_point_near_end(entries, &before),
                partition_point_near_end(entries, &within),
            ]
        };
        let is_before = |chunk: &Arc<Chunk>| chunk.entries.last().is_some_and(&before);
        let first = match self.full.back() {
            Some(last) if !is_before(last) => self.full.partition_point(is_before),
            _ => self.full.len(), // Most readers have read all full chunks.
        };
        match self.full.get(first) {
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
        }
    }

    /// Returns the cursor before the last `count` events, at most those of the replay window.
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

    /// Returns the number of retained events between two cursors.
    #[must_use]
    pub fn count(&self, start: Cursor, end: Cursor) -> usize {
        let start = self.rank(start.max(self.begin()));
        usize::try_from(self.rank(end).saturating_sub(start)).unwrap_or(usize::MAX)
    }

    /// Returns the ID of the first retained event after `cursor`, if there is one.
    #[must_use]
    pub fn next_event_id(&self, cursor: Cursor) -> Option<EventId<'static>> {
        let cursor = cursor.max(self.begin());
        let next = self.seek(|entry| entry.end <= cursor)?;
        Some(self.event_id(next.entry))
    }

    /// Returns the cursor before the oldest retained event.
    #[must_use]
    pub const fn begin(&self) -> Cursor {
        self.oldest.cursor
    }

    /// Returns the cursor before the first event of the replay window.
    #[must_use]
    pub const fn window(&self) -> Cursor {
        self.window.cursor
    }

    /// Returns the cursor after the newest event that is not [held back](Self::hold).
    #[must_use]
    pub fn end(&self) -> Cursor {
        self.held.clamp(self.begin(), self.tip())
    }

    /// Returns the cursor after the newest event, including events that are held back.
    #[must_use]
    pub fn tip(&self) -> Cursor {
        self.newest.end()
    }

    /// Returns the cursor before the newest chunk, which still grows.
    #[must_use]
    pub fn settled(&self) -> Cursor {
        self.newest.start.max(self.begin())
    }

    /// Returns the ID that was assigned to the newest event, or the greatest evicted ID.
    #[must_use]
    pub fn newest_id(&self) -> LogId {
        self.newest_entry().map_or(self.evicted, |newest| newest.id)
    }

    /// Returns the number of retained events.
    #[must_use]
    pub fn len(&self) -> usize {
        let len = self.newest.next_rank() - self.oldest.rank;
        usize::try_from(len).unwrap_or(usize::MAX)
    }

    /// Returns whether no event is retained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the first retained event that has not been `passed`, by binary search.
    pub(super) fn seek(&self, passed: impl Fn(&Entry) -> bool) -> Option<Place<'_>> {
        let has_passed = |chunk: &Arc<Chunk>| chunk.entries.last().is_some_and(&passed);
        let at = self.full.partition_point(has_passed);
        match self.full.get(at) {
            Some(chunk) => Place::in_chunk(&**chunk, passed),
            None => Place::in_chunk(&self.newest, passed),
        }
    }

    /// Returns the number of events ever appended up to the cursor.
    fn rank(&self, cursor: Cursor) -> u64 {
        let next = self.seek(|entry| entry.end <= cursor);
        next.map_or(self.newest.next_rank(), |place| place.rank)
    }

    /// Returns the bytes of all retained events.
    pub(super) fn kept(&self) -> usize {
        self.begin().distance(self.tip())
    }
}

/// Returns what `partition_point` returns, sooner if it is near the end: most readers have read
/// all events but the last few.
fn partition_point_near_end(entries: &[Entry], before: impl Fn(&Entry) -> bool) -> usize {
    let (mut begin, mut end, mut step) = (0, entries.len(), 1);
    while end > 0 {
        let at = end.saturating_sub(step);
        if before(&entries[at]) {
            begin = at + 1;
            break;
        }
        (end, step) = (at, 2 * step);
    }
    begin + entries[begin..end].partition_point(before)
}

/// The place of an event in a log.
pub(super) struct Place<'a> {
    pub(super) entry: &'a Entry,
    /// The cursor before it.
    pub(super) start: Cursor,
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

/// A reader has missed events, which were evicted before it read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged {
    /// The cursor before the oldest retained event.
    pub begin: Cursor,
}

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the reader lagged: events were evicted before it had read them; continue with the \
             oldest retained event",
        )
    }
}

impl error::Error for Lagged {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_from_the_end_finds_what_a_binary_search_finds() {
        let entry = |end: usize| Entry {
            end: Cursor::default().advance(end),
            id: LogId::default(),
            appended: 0,
        };
        for len in 0..40 {
            let entries = Vec::from_iter((1..=len).map(entry));
            for before in 0..=len {
                let cursor = Cursor::default().advance(before);
                let found = partition_point_near_end(&entries, |entry| entry.end <= cursor);
                assert_eq!(found, before, "of {len}");
            }
        }
    }
}
