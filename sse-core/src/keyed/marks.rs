//! Which events of a chunk are superseded.

use std::ops::Range;

use bytes::Bytes;

use crate::log::{Chunk, Cursor, Entry, Tail};

/// Marks for the superseded events of a chunk, beside it because readers share the chunk.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// A bit for each event; those beyond the last word are 0.
    superseded: Vec<u64>,
    /// The number of superseded events.
    pub(super) events: usize,
    /// Their bytes.
    pub(super) bytes: usize,
}

impl Marks {
    /// Marks an event.
    pub(super) fn mark(&mut self, index: usize, bytes: usize) {
        let (word, bit) = (index / 64, index % 64);
        if self.superseded.len() <= word {
            self.superseded.resize(word + 1, 0);
        }
        self.superseded[word] |= 1 << bit;
        self.events += 1;
        self.bytes += bytes;
    }

    /// Whether an event is superseded.
    pub(super) fn has(&self, index: usize) -> bool {
        let word = self.superseded.get(index / 64).copied().unwrap_or_default();
        word >> (index % 64) & 1 == 1
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns the first run of events from `index` on that are not superseded, before `end`.
    fn next_run(&self, index: usize, end: usize) -> Option<Range<usize>> {
        let start = self.next(index, end, |word| !word);
        let stop = self.next(start, end, |word| word);
        (start < stop).then_some(start..stop)
    }

    /// Returns the first index from `index` on whose bit `select` sets, or `end`.
    fn next(&self, index: usize, end: usize, select: impl Fn(u64) -> u64) -> usize {
        let mut index = index;
        while index < end {
            let word = self.superseded.get(index / 64).copied().unwrap_or_default();
            let bits = select(word) >> (index % 64);
            if bits != 0 {
                return end.min(index + bits.trailing_zeros() as usize);
            }
            index = (index / 64 + 1) * 64;
        }
        end
    }

    /// Returns the first event in `range` that is not superseded, and whether all that follow
    /// it are not, either.
    pub(super) fn first_live(&self, range: Range<usize>) -> Option<(usize, bool)> {
        let run = self.next_run(range.start, range.end)?;
        Some((run.start, run.end == range.end))
    }

    /// Appends the events of `chunk` at these indices that are not superseded.
    ///
    /// To count a reference to each key costs more than to copy the events.
    pub(super) fn copy_live<B: AsRef<[u8]>>(
        &self,
        chunk: &Chunk<B>,
        range: Range<usize>,
        out: &mut Tail,
        has_keys: bool,
    ) {
        let ends = out.ends.get_or_insert_default();
        let mut index = range.start;
        while let Some(run) = self.next_run(index, range.end) {
            let (bytes, start) = (chunk.range(run.start, run.end), out.bytes.len());
            ends.extend(run.clone().map(|index| {
                let end = chunk.range(index, index + 1).end;
                compact(start + end - bytes.start)
            }));
            out.bytes.extend_from_slice(&chunk.bytes.as_ref()[bytes]);
            let entries = chunk.entries[run.clone()].iter();
            if has_keys {
                out.entries.extend(entries.cloned());
            } else {
                out.entries.extend(entries.map(Entry::without_own_id));
            }
            index = run.end;
        }
    }
}

/// Returns an empty chunk with room for this many bytes and events of another, from the cursor
/// `start` on.
pub(super) fn room_for(start: Cursor, bytes: usize, events: usize) -> Tail {
    Tail {
        start,
        rank: 0,
        bytes: Vec::with_capacity(bytes),
        entries: Vec::with_capacity(events),
        ends: Some(Box::new(Vec::with_capacity(events))),
    }
}

/// Returns the chunk as one that does not grow any more.
pub(super) fn settled(chunk: Tail) -> Chunk {
    Chunk {
        start: chunk.start,
        rank: chunk.rank,
        bytes: Bytes::from(chunk.bytes),
        entries: chunk.entries,
        ends: chunk.ends,
    }
}

/// Returns an offset in a chunk with copied events, which is never long.
pub(super) fn compact(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_across_words() {
        for superseded in [
            &[][..],
            &[0],
            &[63],
            &[64],
            &[0, 1, 2, 62, 63, 64, 65, 199],
            &[128, 129, 130],
        ] {
            let mut marks = Marks::default();
            for index in superseded {
                marks.mark(*index, 1);
            }
            for (from, to) in [(0, 200), (1, 64), (63, 129), (64, 64), (199, 200)] {
                let (mut at, mut live) = (from, Vec::new());
                while let Some(run) = marks.next_run(at, to) {
                    at = run.end;
                    live.extend(run);
                }
                let expected = (from..to).filter(|index| !superseded.contains(index));
                assert_eq!(
                    live,
                    expected.collect::<Vec<_>>(),
                    "{superseded:?} {from}..{to}"
                );
            }
        }
    }
}
