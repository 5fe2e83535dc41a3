//! The segment files of a journal: their names, and appending to the newest.

use std::any::Any;
use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{mem, thread};

use sse_core::LogId;

use super::compact::TEMPORARY;
use super::disk::{Disk, FileError, Output, failed};
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
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    max_len: u64,
    /// `None` once the folder is gone.
    lock: Option<Box<dyn Any + Send>>,
    /// The oldest first.
    pub(super) files: Vec<SegmentFile>,
    /// The newest file, while it is written to.
    output: Option<Arc<dyn Output>>,
    unsynced: ToSync,
    /// The number of the first segment of the last attempt to write again.
    attempt: u64,
}

/// What a sync forces to the disk.
#[derive(Default)]
pub(super) struct ToSync {
    files: Vec<Arc<dyn Output>>,
    dir: Option<PathBuf>,
}

impl ToSync {
    pub(super) fn sync(&self, disk: &dyn Disk) -> Result<(), FileError> {
        self.files.iter().try_for_each(|file| file.sync())?;
        self.dir.iter().try_for_each(|dir| disk.sync_dir(dir))
    }
}

impl Segments {
    /// Creates and locks the folder.
    pub(super) fn open(journal: &Journal) -> Result<Self, JournalError> {
        let mut segments = Self {
            disk: Arc::clone(&journal.disk),
            dir: journal.dir.clone(),
            max_len: journal.segment_bytes,
            lock: None,
            files: Vec::new(),
            output: None,
            unsynced: ToSync::default(),
            attempt: 0,
        };
        for _ in 0..LOCK_ATTEMPTS {
            match segments.prepare() {
                Err(error) if error.io_error().kind() == ErrorKind::WouldBlock => {
                    // Perhaps it is being closed: nobody waited for that.
                    thread::sleep(LOCK_PAUSE);
                }
                prepared => return Ok(prepared.map(|()| segments)?),
            }
        }
        Err(JournalError::InUse(segments.dir))
    }

    /// Creates and locks the folder, unless it is there and locked.
    pub(super) fn prepare(&mut self) -> Result<(), FileError> {
        self.attempt = self.next_number();
        if self.lock.is_none() {
            self.disk.create_dirs(&self.dir)?;
            self.lock = Some(self.disk.lock(&self.dir)?);
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
        let mut unsynced = self.unsynced.files.iter();
        if !unsynced.any(|file| Arc::ptr_eq(file, &output)) {
            self.unsynced.files.push(output);
        }
        Ok(())
    }

    fn next_number(&self) -> u64 {
        let newest = self.files.last();
        newest.map_or(0, |newest| newest.number.saturating_add(1))
    }

    fn begin(&mut self, from: LogId, head: &[u8]) -> Result<Arc<dyn Output>, FileError> {
        let number = self.next_number();
        let output = self.disk.create(&path(&self.dir, number))?;
        let len = 0;
        self.files.push(SegmentFile { number, len, from });
        self.output = Some(Arc::clone(&output));
        self.unsynced.dir = Some(self.dir.clone());
        output.write(head)?;
        self.note_written(head.len());
        Ok(output)
    }

    fn note_written(&mut self, len: usize) {
        if let Some(newest) = self.files.last_mut() {
            newest.len += len as u64;
        }
    }

    /// Closes the newest segment if it is full, and returns whether it did.
    pub(super) fn rotate(&mut self) -> bool {
        let newest = self.files.last();
        let is_full = newest.is_some_and(|newest| newest.len >= self.max_len);
        is_full && self.output.take().is_some()
    }

    /// Closes the newest segment after an error. If `is_copy`, deletes those that were begun since
    /// [`prepare`](Self::prepare): all of their events are in older segments or in memory.
    pub(super) fn abandon(&mut self, is_copy: bool) {
        (self.output, self.unsynced) = (None, ToSync::default());
        while is_copy
            && let Some(newest) = self.files.last()
            && newest.number >= self.attempt
            && self.disk.remove(&path(&self.dir, newest.number)).is_ok()
        {
            self.files.pop();
        }
    }

    /// Returns an error if the folder or a segment is gone.
    pub(super) fn check(&mut self) -> Result<(), FileError> {
        let there = match self.disk.list(&self.dir) {
            Err(error) if error.io_error().kind() == ErrorKind::NotFound => {
                (self.lock, self.output) = (None, None);
                self.files.clear();
                return Err(error);
            }
            Err(_) => return Ok(()), // Files that are open can be written.
            Ok(there) => there,
        };
        let there: HashSet<_> = there.iter().filter_map(|(path, _)| number(path)).collect();
        let is_gone = |file: &SegmentFile| !there.contains(&file.number);
        let Some(gone) = self.files.iter().find(|file| is_gone(file)) else {
            return Ok(());
        };
        let gone = path(&self.dir, gone.number);
        self.output
            .take_if(|_| self.files.last().is_some_and(is_gone));
        self.files.retain(|file| !is_gone(file));
        Err(failed("find", &gone)(ErrorKind::NotFound.into()))
    }

    /// Replaces the segments up to that of the same number by a compacted one. Returns the paths
    /// of the files that are left to be deleted.
    pub(super) fn replace(&mut self, file: SegmentFile) -> Result<Vec<PathBuf>, FileError> {
        let last = path(&self.dir, file.number);
        self.disk.rename(&self.dir.join(TEMPORARY), &last)?;
        let count = self.files.partition_point(|old| old.number < file.number);
        let replaced = self.files.splice(..count + 1, [file]);
        let paths = replaced.map(|old| path(&self.dir, old.number));
        Ok(paths.filter(|path| *path != last).collect())
    }

    /// Takes what has been written since the last call.
    pub(super) fn take_unsynced(&mut self) -> ToSync {
        mem::take(&mut self.unsynced)
    }

    /// Returns the number of files that have been written to and not synced.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.files.len()
    }

    /// Returns the files that are not written to any more, and from where on the others have all
    /// events, if there is one.
    pub(super) fn closed(&self) -> (&[SegmentFile], Option<LogId>) {
        let open = self.output.as_ref().and(self.files.last());
        let closed = self.files.len() - usize::from(open.is_some());
        (&self.files[..closed], open.map(|open| open.from))
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
