//! The keys of a chunk's events, and which of them are superseded.

use std::iter;
use std::ops::Range;

use bytes::Bytes;

use super::keys::KeyRef;
use crate::log::{Chunk, Cursor, OpenChunk};

/// The keys of a chunk's events, and which of them are superseded. It is beside the chunk because
/// readers share that.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// One for each event.
    pub(super) keys: Vec<KeyRef>,
    /// A bit for each event; those beyond the last word are 0.
    superseded: Vec<u64>,
    /// The number of superseded events.
    pub(super) events: usize,
    /// Their bytes.
    pub(super) bytes: usize,
}

impl Marks {
    /// Creates the marks of events with these keys, none of which is superseded.
    pub(super) fn of(keys: Vec<KeyRef>) -> Self {
        Self {
            keys,
            ..Self::default()
        }
    }

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

    /// Returns whether an event is superseded.
    pub(super) fn has(&self, index: usize) -> bool {
        let word = self.superseded.get(index / 64).copied().unwrap_or_default();
        word >> (index % 64) & 1 == 1
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

    /// Returns the runs of events in `range` that are not superseded.
    pub(super) fn runs(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (mut index, end) = (range.start, range.end);
        iter::from_fn(move || {
            let run = self.next_run(index, end)?;
            index = run.end;
            Some(run)
        })
    }
}

/// Appends the events of `chunk` at these indices.
pub(super) fn copy_run<B: AsRef<[u8]>>(chunk: &Chunk<B>, run: Range<usize>, out: &mut OpenChunk) {
    let (bytes, start) = (chunk.range(run.start, run.end), out.bytes.len());
    let ends = out.ends.get_or_insert_default();
    ends.extend(run.clone().map(|index| {
        let end = chunk.offset_of(index + 1);
        compact(start + end - bytes.start)
    }));
    out.bytes.extend_from_slice(&chunk.bytes.as_ref()[bytes]);
    out.entries.extend_from_slice(&chunk.entries[run]);
}

/// Returns an empty chunk with room for this many bytes and events of another, from the cursor
/// `start` on.
pub(super) fn room_for(start: Cursor, bytes: usize, events: usize) -> OpenChunk {
    OpenChunk {
        start,
        rank: 0,
        bytes: Vec::with_capacity(bytes),
        entries: Vec::with_capacity(events),
        ends: Some(Box::new(Vec::with_capacity(events))),
    }
}

/// Returns the chunk as one that does not grow any more.
pub(super) fn settled(chunk: OpenChunk) -> Chunk {
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
                let live: Vec<_> = marks.runs(from..to).flatten().collect();
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
