//! Replacing old segments by one that has only what the topics still retain.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sse_core::{LogId, Record, SegmentEntry as Entry};

use super::batch::{collect, head};
use super::disk::{Disk, FileError};
use super::segments::SegmentFile;
use crate::topic::{News, Source};

/// The compaction of the oldest segments.
///
/// The new segment is written from what the topics retain in memory, to another file, and synced.
/// Once what supersedes the rest is known to be on disk, too, it is renamed to the last of those
/// that it replaces; then the others are deleted. So it is there as a whole or not at all. If some
/// of the others are still there after a crash, what they have beyond it counts as evicted.
pub(super) struct Compaction {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) source: Source,
    /// Those that are not written to any more, the oldest first.
    pub(super) files: Vec<SegmentFile>,
    /// Up to where they have all events.
    pub(super) until: LogId,
    pub(super) segment_bytes: u64,
    /// The bytes by which the last new segment was longer than what it keeps.
    pub(super) residue: u64,
    /// The number of failures of the writer before.
    pub(super) failures: u64,
}

/// A new segment that does not replace others yet.
pub(super) struct Copied {
    /// Its number is that of the last segment that it replaces.
    pub(super) file: SegmentFile,
    /// Events up to this ID may have superseded others.
    pub(super) superseded_by: LogId,
    pub(super) residue: u64,
    pub(super) failures: u64,
}

impl Compaction {
    /// Writes the new segment, if there is enough to drop. Calls `pause` now and then.
    pub(super) fn copy(&self, pause: &mut dyn FnMut()) -> Result<Option<Copied>, FileError> {
        let Some((count, kept)) = self.choose() else {
            return Ok(None);
        };
        let temporary = self.dir.join(TEMPORARY);
        self.disk.remove(&temporary)?;
        let written = self.write(&temporary, self.end(count), pause);
        let (len, superseded_by) = written.inspect_err(|_| {
            let _ = self.disk.remove(&temporary); // It is deleted before the next attempt, too.
        })?;
        let (number, from) = (self.files[count - 1].number, LogId::default());
        Ok(Some(Copied {
            file: SegmentFile { number, len, from },
            superseded_by,
            residue: len.saturating_sub(kept),
            failures: self.failures,
        }))
    }

    /// Returns how many of the oldest segments are worth replacing, and the bytes that they keep.
    ///
    /// Those are enough that have most of what can be dropped: the others are copied in vain.
    fn choose(&self) -> Option<(usize, u64)> {
        let retained = self.source.retained();
        let overhead = retained.events * Record::LEN + retained.name_bytes;
        let kept_in = |count| {
            let bytes = self.source.retained_until(self.end(count)) as u64;
            bytes + bytes * overhead as u64 / retained.bytes.max(1) as u64
        };
        let len_of = |count: usize| self.files[..count].iter().map(|file| file.len).sum::<u64>();
        let dead_in = |count| len_of(count).saturating_sub(kept_in(count) + self.residue);
        let all = self.files.len();
        let (total, kept, dead) = (len_of(all), kept_in(all), dead_in(all));
        let max_files = MAX_FILES + usize::try_from(total / self.segment_bytes).unwrap_or(0);
        if all > max_files {
            return Some((all, kept));
        }
        if all == 0 || dead < self.segment_bytes / 2 {
            return None;
        }
        let counts: Vec<_> = (1..all).collect();
        let count = 1 + counts.partition_point(|count| dead_in(*count) < dead / 4 * 3);
        let copied = kept_in(count);
        // Mostly, the oldest segments keep nothing. Else it has to be worth copying.
        (copied < dead / 4 || dead >= kept / 2).then_some((count, copied))
    }

    /// Returns the ID up to which the oldest `count` segments have all events.
    fn end(&self, count: usize) -> LogId {
        let next = self.files.get(count);
        next.map_or(self.until, |next| next.from.min(self.until))
    }

    /// Writes the new segment. Returns its length, and the ID up to which events may have
    /// superseded others.
    fn write(
        &self,
        temporary: &Path,
        until: LogId,
        pause: &mut dyn FnMut(),
    ) -> Result<(u64, LogId), FileError> {
        let output = self.disk.create(temporary)?;
        let news = self.source.news_after(LogId::default());
        let goal = News { until, ..news };
        let (mut len, mut at) = (0, LogId::default());
        let mut bytes = head(&self.source, at, until);
        Entry::Evicted(self.source.floor(), None).encode(&mut bytes);
        while at < until {
            at = collect(&goal, at, false, &mut bytes).until;
            output.write(&bytes)?;
            len += bytes.len() as u64;
            bytes.clear();
            pause();
        }
        output.sync()?;
        Ok((len, self.source.superseded_by(&goal)))
    }
}

/// The name of the file that becomes a compacted segment.
pub(super) const TEMPORARY: &str = "compacting.tmp";

/// The number of small segments, such as those of short runs, that are not worth a compaction.
const MAX_FILES: usize = 64;
