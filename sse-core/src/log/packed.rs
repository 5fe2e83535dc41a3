//! Logs at rest: what a log knows of each event, as differences to the event before.

use std::mem;
use std::sync::Arc;

use super::Log;
use super::chunk::{Chunk, Entry};
use super::cursor::Cursor;
use super::id::LogId;

impl Log {
    /// Packs what the log knows of each event from 48 bytes into about 5, and frees unused room.
    ///
    /// For a log [of a hub](Self::of_hub) that receives no more events and is rarely read. Only
    /// [`unpack`](Self::unpack) may be called next. Nothing happens to another log, to one with
    /// more than 4,096 events, and while there are slices of it. Takes some 10 ns per event, as
    /// unpacking does.
    pub fn pack(&mut self) {
        let is_shared = |chunk: &Arc<Chunk>| Arc::strong_count(chunk) > 1;
        if self.own.is_some()
            || self.is_packed()
            || self.len() > MAX_EVENTS
            || self.full.iter().any(is_shared)
        {
            return;
        }
        let mut packed = Vec::with_capacity(8 * self.len() + 8);
        for chunk in self.full.iter_mut().filter_map(Arc::get_mut) {
            pack(chunk.start, &mem::take(&mut chunk.entries), &mut packed);
        }
        pack(
            self.newest.start,
            &mem::take(&mut self.newest.entries),
            &mut packed,
        );
        self.newest.bytes.shrink_to_fit();
        self.packed = Some(packed.into_boxed_slice());
    }

    /// Undoes [`pack`](Self::pack).
    pub fn unpack(&mut self) {
        let Some(packed) = self.packed.take() else {
            return;
        };
        let mut rest = &*packed;
        for chunk in self.full.iter_mut().filter_map(Arc::get_mut) {
            chunk.entries = unpack(chunk.start, &mut rest);
        }
        self.newest.entries = unpack(self.newest.start, &mut rest);
    }

    /// Returns `true` between [`pack`](Self::pack) and [`unpack`](Self::unpack).
    #[must_use]
    pub const fn is_packed(&self) -> bool {
        self.packed.is_some()
    }
}

/// Appends the number of entries, and of each its differences to the one before.
fn pack(start: Cursor, entries: &[Entry], out: &mut Vec<u8>) {
    put(out, entries.len() as u64);
    let mut before = Fields::before(start);
    for entry in entries {
        let fields = Fields::of(entry);
        for (field, before) in fields.0.iter().zip(before.0) {
            put(out, zigzag(field.wrapping_sub(before)));
        }
        before = fields;
    }
}

fn unpack(start: Cursor, rest: &mut &[u8]) -> Vec<Entry> {
    let count = take(rest);
    let mut fields = Fields::before(start);
    let next = |_| {
        for field in &mut fields.0 {
            *field = field.wrapping_add(unzigzag(take(rest)));
        }
        fields.entry()
    };
    (0..count).map(next).collect()
}

/// The fields of an entry without a publisher's ID.
struct Fields([u64; 4]);

impl Fields {
    /// The fields before the first entry of a chunk.
    fn before(start: Cursor) -> Self {
        Self([Cursor::START.distance(start) as u64, 0, 0, 0])
    }

    fn of(entry: &Entry) -> Self {
        let end = Cursor::START.distance(entry.end) as u64;
        let id = entry.id;
        Self([end, id.millis(), id.sequence(), entry.appended])
    }

    fn entry(&self) -> Entry {
        let [end, millis, sequence, appended] = self.0;
        Entry {
            end: Cursor::START.advance(usize::try_from(end).unwrap_or(usize::MAX)),
            id: LogId::new(millis, sequence),
            appended,
            own_id: None,
        }
    }
}

/// Appends seven bits a byte, the lowest first. All bytes but the last have the highest bit set.
fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

fn take(rest: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    while let Some((byte, after)) = rest.split_first() {
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if *byte < 0x80 {
            break;
        }
    }
    number
}

/// Makes small differences of either sign small numbers.
const fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ 0u64.wrapping_sub(difference >> 63)
}

const fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ 0u64.wrapping_sub(number & 1)
}

/// A log with more events is not packed, since its topic is locked meanwhile.
const MAX_EVENTS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::log::{Now, Retention};
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
        for (count, len) in [
            (0, 0),
            (1, 1),
            (10, 10),
            (4096, 40),
            (3, 100_000),
            (500, 1000),
        ] {
            let (mut packed, log) = (log(count, len), log(count, len));
            packed.pack();
            assert!(packed.is_packed());
            packed.unpack();
            assert_eq!(format!("{packed:?}"), format!("{log:?}"));
        }
    }

    #[test]
    fn an_event_of_a_packed_log_costs_few_bytes() {
        let mut log = log(1000, 10);
        log.pack();
        let packed = log.packed.as_ref().map_or(0, |packed| packed.len());
        assert!(packed <= 8 * 1000, "{packed}");
    }

    #[test]
    fn a_log_with_slices_or_many_events_is_not_packed() {
        let mut many = log(4097, 1);
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

    #[test]
    fn numbers_survive() {
        for number in [0, 1, 127, 128, 1 << 40, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put(&mut out, number);
            assert_eq!(take(&mut &out[..]), number);
            assert_eq!(unzigzag(zigzag(number)), number);
        }
        assert_eq!([zigzag(1), zigzag(1u64.wrapping_neg())], [2, 1]);
    }
}
