//! Replacing old segments by one that has only what the topics still retain.

use sse_core::{LogId, Record, SegmentEntry as Entry};

use super::Journal;
use super::batch::{collect, head};
use super::disk::FileError;
use super::jobs::Pause;
use super::segments::SegmentFile;
use crate::topic::{NewEvents, Retained, Source};

/// The compaction of the oldest segments.
///
/// The new segment is written from what the topics retain in memory, to another file, and synced.
/// Once what supersedes the rest is known to be on disk, too, it is renamed to the last of those
/// that it replaces; then the others are deleted. So it is there as a whole or not at all. If some
/// of the others are still there after a crash, none of their entries counts.
pub(super) struct Compaction {
    pub(super) journal: Journal,
    pub(super) source: Source,
    /// The closed segments, the oldest first.
    pub(super) files: Vec<SegmentFile>,
    /// The ID up to which they have all events.
    pub(super) until: LogId,
    /// The bytes by which the last new segment was longer than what it keeps.
    pub(super) residue: u64,
}

/// A new segment that does not replace others yet.
pub(super) struct Copied {
    /// Its number is that of the last segment that it replaces.
    pub(super) file: SegmentFile,
    /// Events up to this ID may have superseded others.
    pub(super) superseded_by: LogId,
    pub(super) residue: u64,
}

impl Compaction {
    /// Writes the new segment, if there is enough to drop, and the journal is not closed before.
    pub(super) fn copy(&self, pause: Pause<'_>) -> Result<Option<Copied>, FileError> {
        if let Some(first) = self.files.first() {
            self.journal.delete_before(first.number)?; // If that has failed before.
        }
        let Some((count, kept)) = self.choose() else {
            return Ok(None);
        };
        self.journal.remove_temporary()?;
        let copied = self.write(count, kept, pause);
        if let Ok(Some(_)) = copied {
            return copied;
        }
        // It is deleted before the next attempt, too.
        let removed = self.journal.remove_temporary();
        copied.and(removed).map(|()| None)
    }

    /// Returns how many of the oldest segments are worth replacing, and the bytes that they keep.
    ///
    /// Usually as few as have three quarters of what can be dropped: copying more saves little.
    fn choose(&self) -> Option<(usize, u64)> {
        let retained = self.source.retained();
        let kept_in = |count| file_bytes(self.source.retained_until(self.end(count)), &retained);
        let dead_in = |count: usize| {
            let len: u64 = self.files[..count].iter().map(|file| file.len).sum();
            len.saturating_sub(kept_in(count) + self.residue)
        };
        let all = self.files.len();
        let (kept, dead) = (kept_in(all), dead_in(all));
        let full_files = (kept + dead) / self.journal.segment_bytes.max(1);
        let max_files = MAX_FILES + usize::try_from(full_files).unwrap_or(0);
        if all > max_files {
            return Some((all, kept));
        }
        if all == 0 || dead < self.journal.segment_bytes / 2 {
            return None;
        }
        let counts: Vec<_> = (1..all).collect();
        let count = 1 + counts.partition_point(|count| dead_in(*count) < dead / 4 * 3);
        let copied = kept_in(count);
        // The oldest segments usually keep nothing. Otherwise enough is dropped for what is copied.
        (copied < dead / 4 || dead >= kept / 2).then_some((count, copied))
    }

    /// Returns the ID up to which the oldest `count` segments have all events.
    fn end(&self, count: usize) -> LogId {
        let next = self.files.get(count);
        next.map_or(self.until, |next| next.from.min(self.until))
    }

    /// Writes what the oldest `count` segments keep, about `kept` bytes, to a new one.
    fn write(
        &self,
        count: usize,
        kept: u64,
        pause: Pause<'_>,
    ) -> Result<Option<Copied>, FileError> {
        let temporary = self.journal.dir.join(TEMPORARY);
        let output = self.journal.disk.create(&temporary)?;
        let all = self.source.events_after(LogId::default());
        let until = self.end(count);
        let goal = NewEvents { until, ..all };
        let (mut len, from) = (0, LogId::default());
        let mut at = from;
        let mut bytes = head(&self.source, at, until);
        let floor = Entry::Evicted(self.source.floor(), None);
        floor.encode(&mut bytes);
        while at < until {
            at = collect(&goal, at, false, &mut bytes).until;
            // In every batch, because damage may destroy one of these entries.
            floor.encode(&mut bytes);
            output.write(&bytes)?;
            len += bytes.len() as u64;
            bytes.clear();
            if pause() {
                return Ok(None);
            }
        }
        output.sync()?;
        let number = self.files[count - 1].number;
        Ok(Some(Copied {
            file: SegmentFile { number, len, from },
            superseded_by: self.source.superseded_by(&goal),
            residue: len.saturating_sub(kept),
        }))
    }
}

/// Returns the bytes that events take in files, if they are `bytes` of all retained ones.
pub(super) fn file_bytes(bytes: usize, retained: &Retained) -> u64 {
    let overhead = retained.events * Record::LEN + retained.name_bytes;
    // Products of two numbers of bytes do not fit 64 bits.
    let (bytes, overhead) = (bytes as u128, overhead as u128);
    let sum = bytes + bytes * overhead / retained.bytes.max(1) as u128;
    u64::try_from(sum).unwrap_or(u64::MAX)
}

/// The name of the file that becomes a compacted segment.
pub(super) const TEMPORARY: &str = "compacting.tmp";

/// The number of small segments, such as those of short runs, that are not worth a compaction.
const MAX_FILES: usize = 64;
