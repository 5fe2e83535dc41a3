//! The segment files of a journal: their names, and appending to the newest.

use std::any::Any;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::disk::{Disk, FileError, Output, failed};
use super::{Journal, JournalError};

/// A segment file. Files are numbered in the order in which they were begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentFile {
    pub(super) number: u64,
    pub(super) len: u64,
}

/// The segments of a journal. Events are appended to the newest.
pub(super) struct Segments {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    max_len: u64,
    /// `None` once the folder is gone.
    lock: Option<Box<dyn Any + Send>>,
    /// The oldest first.
    pub(super) closed: Vec<SegmentFile>,
    newest: Option<(SegmentFile, Arc<dyn Output>)>,
    next: u64,
    unsynced: ToSync,
}

/// What a sync forces to the disk.
#[derive(Default)]
pub(super) struct ToSync {
    files: Vec<(PathBuf, Arc<dyn Output>)>,
    dir: Option<PathBuf>,
}

impl ToSync {
    pub(super) fn sync(&self, disk: &dyn Disk) -> Result<(), FileError> {
        for (path, file) in &self.files {
            file.sync().map_err(failed("sync", path))?;
        }
        self.dir.as_ref().map_or(Ok(()), |dir| sync_dir(disk, dir))
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
            closed: Vec::new(),
            newest: None,
            next: 0,
            unsynced: ToSync::default(),
        };
        for _ in 0..LOCK_ATTEMPTS {
            match segments.prepare() {
                Err(error) if error.io_error().kind() == io::ErrorKind::WouldBlock => {
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
        if self.lock.is_none() {
            let created = self.disk.create_dir(&self.dir);
            created.map_err(failed("create", &self.dir))?;
            let lock = self.disk.lock(&self.dir);
            self.lock = Some(lock.map_err(failed("lock", &self.dir))?);
        }
        Ok(())
    }

    /// Adds a file of an earlier run.
    pub(super) fn add(&mut self, file: SegmentFile) {
        self.next = self.next.max(file.number + 1);
        self.closed.push(file);
    }

    /// Appends `bytes` to the newest segment, which is begun with `head` if there is none.
    ///
    /// After an error, the segment has to be abandoned.
    pub(super) fn append(
        &mut self,
        bytes: &[u8],
        head: impl FnOnce() -> Vec<u8>,
    ) -> Result<(), FileError> {
        if self.newest.is_none() {
            self.begin(&head())?;
        }
        if let Some((file, output)) = &mut self.newest {
            let path = path(&self.dir, file.number);
            output.write(bytes).map_err(failed("write", &path))?;
            file.len += bytes.len() as u64;
            if self
                .unsynced
                .files
                .last()
                .is_none_or(|(last, _)| *last != path)
            {
                self.unsynced.files.push((path, Arc::clone(output)));
            }
        }
        Ok(())
    }

    fn begin(&mut self, head: &[u8]) -> Result<(), FileError> {
        let number = self.next;
        let path = path(&self.dir, number);
        let output = self.disk.create(&path).map_err(failed("create", &path))?;
        self.next += 1;
        let len = head.len() as u64;
        let written = output.write(head).map_err(failed("write", &path));
        self.newest = Some((SegmentFile { number, len }, output));
        self.unsynced.dir = Some(self.dir.clone());
        written
    }

    /// Closes the newest segment if it is full, and returns whether it did.
    pub(super) fn rotate(&mut self) -> bool {
        let full = self.newest.take_if(|(file, _)| file.len >= self.max_len);
        self.closed.extend(full.as_ref().map(|(file, _)| *file));
        full.is_some()
    }

    /// Closes the newest segment after an error. Deletes it if `is_copy`: then all of its events
    /// are in older segments or in memory.
    pub(super) fn abandon(&mut self, is_copy: bool) {
        self.unsynced = ToSync::default();
        let Some((file, _)) = self.newest.take() else {
            return;
        };
        let is_deleted = is_copy && self.disk.remove(&path(&self.dir, file.number)).is_ok();
        self.closed.extend((!is_deleted).then_some(file));
    }

    /// Returns an error if the folder or a segment is gone.
    pub(super) fn check(&mut self) -> Result<(), FileError> {
        let paths = self.disk.list(&self.dir);
        if paths
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            self.lock = None;
            self.closed.clear();
        }
        let paths = paths.map_err(failed("read", &self.dir))?;
        let there: HashSet<_> = paths.iter().filter_map(|(path, _)| number(path)).collect();
        let newest = self.newest.iter().map(|(file, _)| file);
        let gone = self
            .closed
            .iter()
            .chain(newest)
            .find(|file| !there.contains(&file.number));
        let Some(gone) = gone.map(|file| path(&self.dir, file.number)) else {
            return Ok(());
        };
        self.closed.retain(|file| there.contains(&file.number));
        self.newest
            .take_if(|(file, _)| !there.contains(&file.number));
        Err(failed("find", &gone)(io::ErrorKind::NotFound.into()))
    }

    /// Takes what has been written since the last call.
    pub(super) fn take_unsynced(&mut self) -> ToSync {
        std::mem::take(&mut self.unsynced)
    }

    /// Returns the number of files that have been written to and not synced.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.files.len()
    }

    /// Returns the number of segments and their bytes.
    pub(super) fn size(&self) -> (usize, u64) {
        let newest = self.newest.iter().map(|(file, _)| file);
        let files = self.closed.iter().chain(newest);
        files.fold((0, 0), |(count, len), file| (count + 1, len + file.len))
    }
}

pub(super) fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), FileError> {
    disk.sync_dir(dir).map_err(failed("sync", dir))
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
