//! Replacing old segments by one that has only what the topics still retain.

use std::path::PathBuf;
use std::sync::Arc;

use sse_core::{LogId, Record, SegmentEntry as Entry};

use super::batch::{collect, head};
use super::disk::{Disk, FileError};
use super::segments::{SegmentFile, path};
use crate::topic::{News, Source};

/// The compaction of the segments that are not written to any more.
///
/// The new segment is written from what the topics retain in memory, to another file, and synced.
/// Once what supersedes the rest is known to be on disk, too, it is renamed to the last of those
/// that it replaces; then the others are deleted. So it is there as a whole or not at all. If some
/// of the others are still there after a crash, what they have beyond it counts as evicted.
pub(super) struct Compaction {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) source: Source,
    /// The oldest first.
    pub(super) files: Vec<SegmentFile>,
    /// The segments that stay have all events after this ID.
    pub(super) until: LogId,
    pub(super) segment_bytes: u64,
    /// The bytes by which the last new segment was longer than what was retained.
    pub(super) residue: u64,
    /// The number of failures of the writer before.
    pub(super) failures: u64,
}

/// A new segment that does not replace others yet.
pub(super) struct Copied {
    pub(super) compaction: Compaction,
    /// Events up to this ID may have superseded others.
    pub(super) superseded_by: LogId,
    len: u64,
    kept: u64,
}

/// The result of a compaction: the segments up to that of this number have been replaced by it.
pub(super) struct Compacted {
    pub(super) file: SegmentFile,
    pub(super) residue: u64,
    /// Why some of them could not be deleted.
    pub(super) error: Option<FileError>,
}

impl Compaction {
    /// Writes the new segment, if there is enough to drop. Calls `pause` now and then.
    pub(super) fn copy(self, pause: &mut dyn FnMut()) -> Result<Option<Copied>, FileError> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let retained = self.source.retained();
        let total: u64 = self.files.iter().map(|file| file.len).sum();
        let overhead = retained.events * Record::LEN + retained.name_bytes;
        let kept = (retained.bytes + overhead) as u64;
        let dead = total.saturating_sub(kept + self.residue);
        let max_files = MAX_FILES + usize::try_from(total / self.segment_bytes).unwrap_or(0);
        if self.files.len() <= max_files && dead < self.segment_bytes.max(kept / 2) {
            return Ok(None);
        }
        self.remove()?;
        let (len, superseded_by) = self.write(pause).inspect_err(|_| {
            let _ = self.remove(); // It is deleted before the next attempt, too.
        })?;
        Ok(Some(Copied {
            superseded_by,
            compaction: self,
            len,
            kept,
        }))
    }

    /// Deletes the new segment.
    pub(super) fn remove(&self) -> Result<(), FileError> {
        self.disk.remove(&self.temporary())
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join(TEMPORARY)
    }

    /// Writes the new segment. Returns its length, and the ID up to which events may have
    /// superseded others.
    fn write(&self, pause: &mut dyn FnMut()) -> Result<(u64, LogId), FileError> {
        let output = self.disk.create(&self.temporary())?;
        let news = self.source.news_after(LogId::default());
        let goal = News {
            until: self.until,
            ..news
        };
        let (mut len, mut at) = (0, LogId::default());
        let mut bytes = head(&self.source, at, self.until);
        Entry::Floor(self.source.floor()).encode(&mut bytes);
        while at < self.until {
            at = collect(&goal, at, false, &mut bytes).until;
            output.write(&bytes)?;
            len += bytes.len() as u64;
            bytes.clear();
            pause();
        }
        output.sync()?;
        Ok((len, self.source.superseded_by(&goal.topics)))
    }
}

impl Copied {
    /// Replaces the old segments by the new one.
    pub(super) fn replace(&self) -> Result<Option<Compacted>, FileError> {
        let Compaction { disk, dir, .. } = &self.compaction;
        let Some((last, others)) = self.compaction.files.split_last() else {
            return Ok(None);
        };
        let renamed = disk.rename(&self.compaction.temporary(), &path(dir, last.number));
        renamed.inspect_err(|_| {
            let _ = self.compaction.remove();
        })?;
        let mut others = others.iter().map(|file| path(dir, file.number));
        let synced = disk.sync_dir(dir);
        let deleted = synced.and_then(|()| others.try_for_each(|path| disk.remove(&path)));
        let (number, len) = (last.number, self.len);
        Ok(Some(Compacted {
            file: SegmentFile { number, len },
            residue: len.saturating_sub(self.kept),
            error: deleted.err(),
        }))
    }
}

/// The name of the file that becomes a compacted segment.
const TEMPORARY: &str = "compacting.tmp";

/// The number of small segments, such as those of short runs, that are not worth a compaction.
const MAX_FILES: usize = 64;
