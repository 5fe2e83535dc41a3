//! The segment files of a journal: their names, and appending to the newest.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sse_core::LogId;

use super::compact::TEMPORARY;
use super::disk::{Disk, FileError, Lock, Output, failed};
use super::{Journal, JournalError};

/// A segment file. Files are numbered in the order in which they were begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) number: u64,
    pub(super) len: u64,
    /// It and those that follow have all events after this ID.
    pub(super) from: LogId,
}

/// The segments of a journal. Events are appended to the newest.
pub(super) struct Segments {
    pub(super) journal: Journal,
    /// Holds until all of its clones are dropped. `None` once all segments are gone, because the
    /// folder may be gone, too.
    pub(super) lock: Option<Lock>,
    /// The oldest first.
    pub(super) files: Vec<SegmentFile>,
    /// The newest file, while it is written to.
    output: Option<Arc<dyn Output>>,
    pub(super) unsynced: ToSync,
    /// The least number of a new segment. It never falls: a late deletion of old segments would
    /// delete new ones.
    next_number: u64,
}

/// What a sync forces to the disk.
#[derive(Default)]
pub(super) struct ToSync {
    file: Option<Arc<dyn Output>>,
    /// The folder, if a file has been created in it.
    dir: Option<PathBuf>,
}

impl ToSync {
    pub(super) fn sync(&self, disk: &dyn Disk) -> Result<(), FileError> {
        self.file.iter().try_for_each(|file| file.sync())?;
        self.dir.iter().try_for_each(|dir| disk.sync_dir(dir))
    }
}

impl Segments {
    /// Creates and locks the folder.
    pub(super) fn open(journal: &Journal) -> Result<Self, JournalError> {
        let mut segments = Self {
            journal: journal.clone(),
            lock: None,
            files: Vec::new(),
            output: None,
            unsynced: ToSync::default(),
            next_number: 0,
        };
        let mut attempts = 0..LOCK_ATTEMPTS;
        while let Err(error) = segments.prepare() {
            if error.io_error().kind() != ErrorKind::WouldBlock {
                return Err(error.into());
            } else if attempts.next().is_none() {
                return Err(JournalError::InUse(segments.journal.dir));
            }
            // Perhaps it is being closed: nobody waited for that.
            thread::sleep(LOCK_PAUSE);
        }
        // A crash may have left it, and the disk may be full.
        journal.remove_temporary()?;
        Ok(segments)
    }

    /// Creates and locks the folder, unless it is there and locked.
    pub(super) fn prepare(&mut self) -> Result<(), FileError> {
        if self.lock.is_none() {
            self.journal.disk.create_dirs(&self.journal.dir)?;
            self.lock = Some(self.journal.disk.lock(&self.journal.dir)?);
        }
        Ok(())
    }

    /// Appends `bytes` to the newest segment. If it is not open, one is begun with `head`, which
    /// states that it has all events after the ID `from`.
    ///
    /// After an error, the segment has to be abandoned.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        from: LogId,
        head: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), FileError> {
        let output = match &self.output {
            Some(output) => Arc::clone(output),
            None => self.begin(from, &head())?,
        };
        output.write(bytes)?;
        self.note_written(bytes.len());
        self.unsynced.file = Some(output);
        Ok(())
    }

    fn begin(&mut self, from: LogId, head: &[u8]) -> Result<Arc<dyn Output>, FileError> {
        let newest = self.files.last();
        let number = newest.map_or(0, |newest| newest.number.saturating_add(1));
        let number = number.max(self.next_number);
        self.next_number = number.saturating_add(1);
        let output = self.journal.disk.create(&path(&self.journal.dir, number))?;
        let len = 0;
        self.files.push(SegmentFile { number, len, from });
        self.output = Some(Arc::clone(&output));
        self.unsynced.dir = Some(self.journal.dir.clone());
        output.write(head)?;
        self.note_written(head.len());
        Ok(output)
    }

    fn note_written(&mut self, len: usize) {
        if let Some(newest) = self.files.last_mut() {
            newest.len += len as u64;
        }
    }

    /// Closes the newest segment if it is full, and returns whether it did. Then what has been
    /// written has to be synced before another segment is begun.
    pub(super) fn rotate(&mut self) -> bool {
        let newest = self.files.last();
        let is_full = newest.is_some_and(|newest| newest.len >= self.journal.segment_bytes);
        is_full && self.output.take().is_some()
    }

    /// Closes the newest segment after an error. If `is_copy`, deletes it: all of its events are
    /// in older segments or in memory. Returns `false` if it is left.
    pub(super) fn abandon(&mut self, is_copy: bool) -> bool {
        self.unsynced = ToSync::default();
        let Some(newest) = self.output.take().and(self.files.last()) else {
            return true;
        };
        let Journal { disk, dir, .. } = &self.journal;
        let is_deleted = is_copy && disk.remove(&path(dir, newest.number)).is_ok();
        if is_deleted {
            self.files.pop();
        }
        is_deleted
    }

    /// Returns an error if the folder or a segment is gone.
    pub(super) fn check(&mut self) -> Result<(), FileError> {
        let Journal { disk, dir, .. } = &self.journal;
        let (there, mut checked) = match disk.list(dir) {
            Ok(there) => (there, Ok(())),
            Err(error) if error.io_error().kind() == ErrorKind::NotFound => (vec![], Err(error)),
            // The open segment can be written although the folder cannot be listed.
            Err(_) => return Ok(()),
        };
        let there: HashSet<_> = there.iter().filter_map(|(path, _)| number(path)).collect();
        let is_gone = |file: &SegmentFile| !there.contains(&file.number);
        if let Some(gone) = self.files.iter().find(|file| is_gone(file)) {
            let error = failed("find", &path(dir, gone.number))(ErrorKind::NotFound.into());
            checked = checked.and(Err(error));
        }
        self.output
            .take_if(|_| self.files.last().is_some_and(is_gone));
        self.files.retain(|file| !is_gone(file));
        if self.files.is_empty() {
            self.lock = None; // It may be that of a folder which another one has replaced.
        }
        checked
    }

    /// Replaces the segments up to that of the same number by a compacted one. The files of the
    /// others are left to be deleted.
    pub(super) fn replace(&mut self, file: SegmentFile) -> Result<(), FileError> {
        let Journal { disk, dir, .. } = &self.journal;
        disk.rename(&dir.join(TEMPORARY), &path(dir, file.number))?;
        let count = self.files.partition_point(|old| old.number <= file.number);
        self.files.splice(..count, [file]);
        Ok(())
    }

    /// Returns the files that are not written to any more, and from where on the others have all
    /// events, if there is one.
    pub(super) fn closed(&self) -> (&[SegmentFile], Option<LogId>) {
        let open = self.output.as_ref().and(self.files.last());
        let closed = self.files.len() - usize::from(open.is_some());
        (&self.files[..closed], open.map(|open| open.from))
    }
}

impl Journal {
    /// Deletes what a compaction has written, unless it has replaced segments.
    pub(super) fn remove_temporary(&self) -> Result<(), FileError> {
        self.disk.remove(&self.dir.join(TEMPORARY))
    }

    /// Deletes the segments before one that has replaced them, once that is on disk.
    pub(super) fn delete_before(&self, replacement: u64) -> Result<(), FileError> {
        let mut files = self.disk.list(&self.dir)?;
        files.retain(|(path, _)| number(path).is_some_and(|number| number < replacement));
        if !files.is_empty() {
            self.disk.sync_dir(&self.dir)?;
        }
        files
            .iter()
            .try_for_each(|(path, _)| self.disk.remove(path))
    }
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{PREFIX}{number:010}{EXTENSION}"))
}

/// Returns the number of a segment file; `None` for other files.
pub(super) fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(EXTENSION)?;
    let number = digits.parse().ok()?;
    (format!("{number:010}") == digits).then_some(number)
}

/// A lock is waited for a second.
const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

const PREFIX: &str = "segment-";
const EXTENSION: &str = ".sse";
