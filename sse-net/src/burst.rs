//! The news of a topic as shared bytes.

use bytes::Bytes;
use sse_core::{Cursor, Log};
use tokio::time::Instant;

/// Some events in a row, as one piece of shared bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Burst {
    pub(crate) bytes: Bytes,
    pub(crate) end: Cursor,
    pub(crate) events: usize,
    /// When it was copied: now, or when somebody else has read it.
    pub(crate) read_at: Instant,
}

/// What was copied out of a log last, so that whoever reads the same gets the same bytes.
///
/// Very many read what is newest, each on its own, and some begin a little earlier. The first
/// has it copied. One who begins before that has twice as much copied as there was, so that
/// between two events no more is copied than about twice what was asked for, whoever asks in
/// whatever order. Who is further behind than [`MAX`] reads pieces of that size.
#[derive(Debug)]
pub(crate) struct Recent {
    start: Cursor,
    /// Always between two events.
    end: Cursor,
    bytes: Bytes,
    read_at: Instant,
    /// From where its events have been counted, and how many they are.
    counted: Option<(Cursor, usize)>,
}

/// How much is copied at once, unless a single event is larger.
const MAX: usize = 256 << 10;

impl Recent {
    /// What is in `log` from `start` on, of which it keeps everything.
    pub(crate) fn read(&mut self, log: &Log, start: Cursor) -> Burst {
        let len = start.distance(log.end());
        let is_far = len > MAX;
        if !(self.has(start) && (is_far || self.end == log.end())) {
            let (from, to) = match is_far {
                true => (start, log.event_end(start.advance(MAX))),
                false => (self.before(log, len), log.end()),
            };
            self.copy(log, from, to);
        }
        let counted = self.counted.filter(|(from, _)| *from == start);
        let (_, events) = counted.unwrap_or_else(|| (start, log.count(start, self.end)));
        self.counted = Some((start, events));
        Burst {
            bytes: self.bytes.slice(self.start.distance(start)..),
            end: self.end,
            events,
            read_at: self.read_at,
        }
    }

    /// Where to begin so that the last `len` bytes are read, and perhaps earlier ones soon.
    fn before(&self, log: &Log, len: usize) -> Cursor {
        let len = match self.end == log.end() {
            true => len.max(MAX.min(2 * self.bytes.len())),
            false => len,
        };
        let kept = log.begin().distance(log.end());
        log.event_end(log.begin().advance(kept.saturating_sub(len)))
    }

    fn copy(&mut self, log: &Log, start: Cursor, end: Cursor) {
        let mut bytes = Vec::with_capacity(start.distance(end));
        let _ = log.copy(start, end, &mut bytes); // Everything is kept.
        self.bytes = bytes.into();
        (self.start, self.end) = (start, end);
        self.counted = None;
        self.read_at = Instant::now();
    }

    fn has(&self, start: Cursor) -> bool {
        self.start <= start && start < self.end
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            start: Cursor::default(),
            end: Cursor::default(),
            bytes: Bytes::new(),
            read_at: Instant::now(),
            counted: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sse_core::{Event, Retention};

    use super::*;

    fn all(log: &Log, start: Cursor) -> Vec<u8> {
        let mut bytes = Vec::new();
        log.copy(start, log.end(), &mut bytes).unwrap();
        bytes
    }

    fn append(log: &mut Log, len: usize) -> Cursor {
        let data = "x".repeat(len);
        log.append(&Event::new().id(1).data(data), Duration::ZERO)
    }

    fn address(burst: &Burst) -> usize {
        burst.bytes.as_ptr().addr()
    }

    #[test]
    fn who_reads_the_same_gets_the_same_bytes() {
        let mut log = Log::new(Retention::events(100));
        let mut recent = Recent::default();
        let first = append(&mut log, 10);
        let second = append(&mut log, 10);
        append(&mut log, 10);
        let newest = recent.read(&log, second);
        assert_eq!(
            (newest.events, &newest.bytes[..]),
            (1, &all(&log, second)[..])
        );
        assert_eq!(recent.read(&log, second), newest);
        assert_eq!(address(&recent.read(&log, second)), address(&newest));

        let both = recent.read(&log, first);
        assert_eq!((both.events, &both.bytes[..]), (2, &all(&log, first)[..]));
        let again = recent.read(&log, second);
        assert_eq!(address(&again), address(&both) + first.distance(second));

        append(&mut log, 10);
        let three = recent.read(&log, first);
        assert_eq!(three.bytes, all(&log, first), "all at once");
        assert_eq!(three.end, log.end());
    }

    #[test]
    fn whoever_asks_in_whatever_order_little_is_copied() {
        let mut log = Log::new(Retention::events(10_000).bytes(usize::MAX));
        let mut starts = vec![log.end()];
        starts.extend((0..1000).map(|_| append(&mut log, 100)));
        starts.pop();
        let mut recent = Recent::default();
        let mut copies = std::collections::HashSet::new();
        for &start in starts.iter().rev() {
            let burst = recent.read(&log, start);
            assert_eq!(burst.bytes, all(&log, start));
            copies.insert(recent.bytes.len());
        }
        assert!(copies.len() <= 12, "{copies:?}");
    }

    #[test]
    fn who_is_far_behind_reads_pieces_of_whole_events() {
        let mut log = Log::new(Retention::events(10_000).bytes(usize::MAX));
        let mut cursor = log.end();
        append(&mut log, 3 * MAX);
        (0..5000).for_each(|_| _ = append(&mut log, 500));
        let all = all(&log, cursor);
        let mut recent = Recent::default();
        let (mut read, mut events) = (Vec::new(), 0);
        while cursor < log.end() {
            let burst = recent.read(&log, cursor);
            let other = recent.read(&log, cursor);
            assert_eq!((address(&other), &other), (address(&burst), &burst));
            assert!(burst.bytes.ends_with(b"\n\n") && !burst.bytes.is_empty());
            assert!(events == 0 || burst.bytes.len() <= MAX + 1000);
            read.extend_from_slice(&burst.bytes);
            events += burst.events;
            cursor = burst.end;
        }
        assert_eq!((events, read == all), (5001, true));
    }
}
