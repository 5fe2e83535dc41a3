//! Logs at rest: without what a log knows of each event, which is read from the events again.

use std::iter;
use std::mem;
use std::sync::Arc;

use memchr::memmem::Finder;

use super::Log;
use super::chunk::{Chunk, Entry, MAX_CHUNK, OpenChunk};
use super::cursor::Cursor;
use super::id::LogId;
use super::slice::id_text;

impl Log {
    /// Frees what the log knows of each event, 32 bytes, and unused room.
    ///
    /// For a log [of a hub](Self::of_hub) that receives no more events and is rarely read. Until
    /// [`unpack`](Self::unpack), it only knows its [newest ID](Self::newest_id) and whether it
    /// [has expired](Self::has_expired), and evicts nothing. Nothing happens to another log, to
    /// one with more than 8,192 events, and while there are slices of it. Takes some 50 ns per
    /// event, as unpacking does.
    pub fn pack(&mut self) {
        let Some(last) = self.newest_entry().cloned() else {
            return;
        };
        let is_shared = |chunk: &Arc<Chunk>| Arc::strong_count(chunk) > 1;
        let is_in_use = self.own.is_some() || self.is_packed() || self.full.iter().any(is_shared);
        if is_in_use || self.len() > MAX_EVENTS || !self.can_unpack(last.later()) {
            return;
        }
        let begin = self
            .full
            .front()
            .map_or(self.newest.start, |first| first.start);
        if begin.distance(self.tip()) <= MAX_CHUNK {
            self.merge();
        }
        for chunk in self.full.iter_mut().filter_map(Arc::get_mut) {
            chunk.entries = Vec::new();
        }
        let newest = &mut self.newest;
        newest.bytes.shrink_to_fit();
        (newest.entries, self.packed) = (Vec::new(), Some(Box::new(last)));
    }

    /// Moves all events to the newest chunk, because a chunk costs some 130 bytes.
    fn merge(&mut self) {
        let full = mem::take(&mut self.full);
        let Some(first) = full.front() else {
            return;
        };
        let chunks = full.iter().map(|chunk| &*chunk.bytes);
        let bytes = chunks.chain([&*self.newest.bytes]).collect::<Vec<_>>();
        self.newest = OpenChunk {
            start: first.start,
            rank: first.rank,
            bytes: bytes.concat(),
            ..OpenChunk::default()
        };
        (self.oldest.chunk, self.window.chunk) = (0, 0);
    }

    /// Undoes [`pack`](Self::pack).
    pub fn unpack(&mut self) {
        let Some(last) = self.packed.take() else {
            return;
        };
        let later = last.later();
        for chunk in self.full.iter_mut().filter_map(Arc::get_mut) {
            chunk.entries = entries(&chunk.bytes, chunk.start, later).collect();
        }
        let newest = &mut self.newest;
        newest.entries = entries(&newest.bytes, newest.start, later).collect();
    }

    /// Returns `true` between [`pack`](Self::pack) and [`unpack`](Self::unpack).
    #[must_use]
    pub const fn is_packed(&self) -> bool {
        self.packed.is_some()
    }

    /// Returns whether the entries are those that the events have. Damaged ones of a journal may
    /// differ.
    fn can_unpack(&self, later: u64) -> bool {
        let newest = (&*self.newest.bytes, &self.newest.entries, self.newest.start);
        let full = self.full.iter();
        let full = full.map(|chunk| (&*chunk.bytes, &chunk.entries, chunk.start));
        full.chain([newest]).all(|(bytes, known, start)| {
            let read = entries(bytes, start, later).map(|entry| (entry.end, entry.id));
            read.eq(known.iter().map(|entry| (entry.end, entry.id)))
        })
    }
}

impl Entry {
    /// Returns how much later than its ID says the event was appended, in milliseconds.
    const fn later(&self) -> u64 {
        self.appended.wrapping_sub(self.id.millis())
    }
}

/// Returns the entries of events with IDs of the log. Each was appended so much later, in
/// milliseconds, than its ID says.
fn entries(mut bytes: &[u8], mut end: Cursor, later: u64) -> impl Iterator<Item = Entry> {
    let blank_line = Finder::new(b"\n\n");
    iter::from_fn(move || {
        let len = blank_line.find(bytes)? + 2;
        let id = id_text(&bytes[..len]).and_then(LogId::parse_bytes)?;
        (bytes, end) = (&bytes[len..], end.advance(len));
        let appended = id.millis().wrapping_add(later);
        Some(Entry { end, id, appended })
    })
}

/// A log with more events is not packed, since its topic is locked meanwhile.
const MAX_EVENTS: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::log::{Now, Restored, Retention};
    use std::time::Duration;

    /// Appends `count` events of `len` bytes of text, several in each millisecond.
    fn log(count: u64, len: usize) -> Log {
        let mut log = Log::of_hub(Retention::events(usize::MAX), LogId::default());
        for number in 0..count {
            let id = LogId::new(
                1_700_000_000_000 + number / 3,
                517 + (number % 3) * (1 << 16),
            );
            let now = Now::from(Duration::from_millis(1_700_000_000_000 + number / 3));
            let _ = log.append_as(id, &Event::new().data("x".repeat(len)), now);
        }
        log
    }

    #[test]
    fn a_log_is_the_same_after_it_was_packed() {
        for (count, len) in [(1, 1), (10, 10), (8192, 40), (3, 100_000), (500, 1000)] {
            let (mut packed, log) = (log(count, len), log(count, len));
            packed.pack();
            assert!(packed.is_packed());
            packed.unpack();
            let events = |log: &Log| {
                let (mut at, mut events) = (log.begin(), Vec::new());
                while let Some(slice) = log.slice(at..log.end()).unwrap() {
                    let all = slice.events().map(|(id, event)| (id, event.to_vec()));
                    events.extend(all);
                    at = slice.end();
                }
                (events, log.begin(), log.tip(), log.last(7), log.newest_id())
            };
            assert_eq!(events(&packed), events(&log));
            assert_eq!(
                packed.newest_entry().map(|newest| newest.appended),
                log.newest_entry().map(|newest| newest.appended)
            );
        }
    }

    #[test]
    fn a_packed_log_knows_its_newest_id_and_when_it_expires() {
        let age = Duration::from_secs(60);
        let mut log = Log::of_hub(Retention::events(8).age(age), LogId::default());
        let (id, now) = (LogId::new(7, 1), Now::from(Duration::from_millis(7)));
        let _ = log.append_as(id, &Event::new().data("a"), now);
        log.pack();
        assert!(log.is_packed());
        assert_eq!(log.newest_id(), id);
        let last = Duration::from_millis(7) + age;
        for (time, has_expired) in [(last, false), (last + Duration::from_millis(1), true)] {
            assert_eq!(log.has_expired(time), has_expired, "{time:?}");
            drop(log.evict(time));
        }
        log.unpack();
        assert_eq!(log.len(), 1);
    }

    #[test]
    fn a_packed_log_has_no_entries() {
        let mut log = log(1000, 100);
        log.pack();
        let full = log.full.iter().map(|chunk| &chunk.entries);
        let mut all = full.chain([&log.newest.entries]);
        assert!(all.all(|entries| entries.capacity() == 0));
    }

    /// An event of a damaged journal may say that it has another ID.
    #[test]
    fn a_log_with_a_wrong_id_is_not_packed() {
        let mut restored = Restored::default();
        restored.push(LogId::new(7, 1), b"id: 7-1\ndata: a\n\n");
        restored.push(LogId::new(7, 2), b"id: 7-3\ndata: b\n\n");
        let mut log = log(0, 0);
        log.restore(restored, Duration::from_millis(9));
        log.pack();
        assert!(!log.is_packed() && log.len() == 2);
    }

    #[test]
    fn a_log_with_slices_or_many_events_is_not_packed() {
        let mut many = log(8193, 1);
        many.pack();
        assert!(!many.is_packed());
        let mut read = log(500, 1000);
        let slice = read.slice(read.begin()..read.end());
        read.pack();
        assert!(!read.is_packed());
        drop(slice);
        read.pack();
        assert!(read.is_packed());
    }
}
