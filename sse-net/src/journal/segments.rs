//! The segments of a journal: writing, deleting and restoring them.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sse_core::{Log, LogId, Now, Restored, Retention, Segment};

use super::disk::{self, FileError, Handle, failed};
use super::segment_files::{Content, Name, SegmentFile, list, read_all};
use super::{Journal, JournalError, JournalNotice};

/// The segments of a journal. Events are appended to the newest.
pub(crate) struct Segments {
    dir: PathBuf,
    /// Locked against other processes while open.
    _lock: File,
    /// The directory, synced after files are created.
    handle: Arc<Handle>,
    max_bytes: u64,
    max_age: Duration,
    /// The first ID of the journal's history.
    since: Option<LogId>,
    /// The oldest first.
    files: VecDeque<SegmentFile>,
    /// The size of all files in bytes.
    bytes: u64,
    /// The newest file, while it may grow.
    open: Option<Arc<Handle>>,
}

impl Segments {
    /// Locks the directory and restores as much as the retention allows.
    pub(crate) fn open(
        journal: &Journal,
        retention: Retention,
        now: Now,
        notify: &mut dyn FnMut(JournalNotice),
    ) -> Result<(Self, Log), JournalError> {
        let dir = journal.dir.clone();
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        let lock = lock(&dir)?;
        let handle = Handle::directory(dir.clone())?;
        let files = list(&dir)?;
        let mut segments = Self {
            _lock: lock,
            handle: Arc::new(handle),
            max_bytes: journal.bytes,
            max_age: journal.age,
            since: files.front().map(|file| file.name.first),
            bytes: files.iter().map(|file| file.len).sum(),
            files,
            open: None,
            dir,
        };
        let log = segments.restore(retention, now, notify)?;
        Ok((segments, log))
    }

    /// Appends `bytes`, complete records beginning with the ID `first`, and syncs them if `durable`.
    ///
    /// After an error, none of them counts as stored.
    pub(crate) fn append(
        &mut self,
        first: LogId,
        bytes: &[u8],
        durable: bool,
        now: Duration,
    ) -> Result<(), FileError> {
        self.rotate(now);
        let written = self.write(first, bytes, durable);
        match written {
            Ok(()) => self.grow(bytes.len() as u64),
            Err(_) => self.undo_write(),
        }
        written
    }

    /// Returns the files to sync after an append: the newest segment and the directory.
    pub(crate) fn to_sync(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.open.iter().chain([&self.handle])
    }

    /// Closes the newest segment. After a failed sync, its content on disk is unknown.
    pub(crate) fn close_newest(&mut self) {
        self.open = None;
    }

    /// Closes the newest segment if it is full or old.
    pub(crate) fn rotate(&mut self, now: Duration) {
        let old = oldest(now, self.max_age / PARTS);
        let is_due = self
            .files
            .back()
            .is_some_and(|newest| newest.len >= self.max_len() || newest.name.first.millis() < old);
        if is_due {
            self.open = None;
        }
    }

    /// Deletes segments beyond the limits, except the newest.
    pub(crate) fn prune(&mut self, now: Duration) -> Result<(), FileError> {
        let old = oldest(now, self.max_age);
        while let [Some(oldest), Some(next)] = [self.files.front(), self.files.get(1)]
            && (self.bytes > self.max_bytes || next.name.first.millis() < old)
        {
            disk::delete(&self.path(oldest.name))?;
            self.bytes -= oldest.len;
            self.files.pop_front();
        }
        Ok(())
    }

    /// Returns the number of segments and their bytes.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.files.len(), self.bytes)
    }

    /// Returns the interval at which segments age, even if nothing is published.
    pub(crate) fn aging_interval(&self) -> Duration {
        self.max_age / PARTS
    }

    fn restore(
        &mut self,
        retention: Retention,
        now: Now,
        notify: &mut dyn FnMut(JournalNotice),
    ) -> Result<Log, JournalError> {
        let (mut restored, mut buffers) = (Vec::new(), vec![Vec::new()]);
        let count = self.files.len();
        let mut left = count;
        while left > 0 {
            let paths: Vec<_> = (0..left)
                .rev()
                .map(|index| self.path(self.files[index].name))
                .take(buffers.len())
                .collect();
            for content in read_all(&paths, &mut buffers) {
                let content = content?;
                left -= 1;
                self.check(left, left + 1 == count, &content, notify)?;
                let mut events = content.events;
                // After a failed sync, the next segment repeats events of this one. Each may
                // lack events that the other has.
                while let Some(later) =
                    restored.pop_if(|later: &mut Restored| events.last() >= later.first())
                {
                    events = events.merge(&later);
                }
                restored.push(events);
                if is_enough(&restored, retention, now.unix) {
                    left = 0;
                    break;
                }
            }
            // The newest was not enough, so read several at a time.
            buffers.resize_with(READERS, Vec::new);
        }
        let mut log = Log::new(retention);
        for events in restored.into_iter().rev() {
            log.restore(events, now);
        }
        if let Some(since) = self.since {
            drop(log.finish_restoring(since, now.unix, now));
        }
        Ok(log)
    }

    /// Reports the damage of the segment at `index`. Truncates the newest after its last complete
    /// event and opens it for writing.
    fn check(
        &mut self,
        index: usize,
        is_newest: bool,
        content: &Content,
        notify: &mut dyn FnMut(JournalNotice),
    ) -> Result<(), FileError> {
        let path = self.path(self.files[index].name);
        let mut whole = content.len;
        for &damage in &content.damages {
            if is_newest && damage.range().end == content.len {
                whole = damage.range().start;
                notify(JournalNotice::Torn(path.clone(), damage));
            } else {
                notify(JournalNotice::Damaged(path.clone(), damage));
            }
        }
        if let Some(since) = content.since {
            self.since = self.since.min(Some(since));
        }
        if !is_newest {
            Ok(())
        } else if content.events.is_empty() {
            self.remove_newest()
        } else {
            self.reopen(&path, whole as u64)
        }
    }

    /// Opens the newest segment to append after `len` bytes.
    fn reopen(&mut self, path: &Path, len: u64) -> Result<(), FileError> {
        self.open = Some(Arc::new(Handle::open(path.to_owned(), len)?));
        if let Some(newest) = self.files.back_mut() {
            self.bytes = self.bytes - newest.len + len;
            newest.len = len;
        }
        Ok(())
    }

    fn write(&mut self, first: LogId, bytes: &[u8], durable: bool) -> Result<(), FileError> {
        let is_new = self.open.is_none();
        if is_new {
            self.create(first)?;
        }
        let Some(file) = &self.open else {
            return Ok(()); // `create` has opened a file.
        };
        file.write(bytes)?;
        if durable {
            file.sync()?;
            if is_new {
                self.handle.sync()?;
            }
        }
        Ok(())
    }

    fn create(&mut self, first: LogId) -> Result<(), FileError> {
        // Delete an empty segment that an earlier failure left, so that they do not accumulate.
        if self.files.back().is_some_and(|newest| newest.is_empty) {
            self.remove_newest()?;
        }
        let newest = self.files.back().map(|newest| newest.name.first);
        let mut name = Name {
            first: newest.map_or(first, |newest| newest.max(first)),
            copy: 0,
        };
        let file = loop {
            match Handle::create(self.path(name)) {
                Err(error) if error.io_error().kind() == io::ErrorKind::AlreadyExists => {
                    name.copy += 1;
                }
                created => break created?,
            }
        };
        let mut head = Vec::new();
        Segment::begin(*self.since.get_or_insert(first), &mut head);
        let written = file.write(&head);
        self.open = Some(Arc::new(file));
        let len = head.len() as u64;
        self.files.push_back(SegmentFile {
            name,
            len,
            is_empty: true,
        });
        self.bytes += len;
        written
    }

    fn grow(&mut self, len: u64) {
        self.bytes += len;
        if let Some(newest) = self.files.back_mut() {
            newest.len += len;
            newest.is_empty = false;
        }
    }

    /// Removes a partial write, and closes the segment.
    fn undo_write(&mut self) {
        let (Some(file), Some(newest)) = (self.open.take(), self.files.back()) else {
            return; // The file could not be created.
        };
        // If that fails, too, a restart may restore events that were reported as not stored.
        let _ = if newest.is_empty {
            self.remove_newest()
        } else {
            file.truncate(newest.len)
        };
    }

    fn remove_newest(&mut self) -> Result<(), FileError> {
        if let Some(newest) = self.files.back() {
            disk::delete(&self.path(newest.name))?;
            self.bytes -= newest.len;
            self.files.pop_back();
        }
        Ok(())
    }

    fn max_len(&self) -> u64 {
        (self.max_bytes / u64::from(PARTS)).min(MAX_LEN)
    }

    fn path(&self, name: Name) -> PathBuf {
        self.dir.join(name.file_name())
    }
}

/// Returns whether the retention needs no older events.
fn is_enough(restored: &[Restored], retention: Retention, now: Duration) -> bool {
    let events = restored.iter().map(Restored::len).sum();
    let bytes = restored.iter().map(Restored::bytes).sum();
    let oldest = restored.iter().rev().find_map(Restored::first);
    let age = oldest.map_or(Duration::ZERO, |id| {
        now.saturating_sub(Duration::from_millis(id.millis()))
    });
    retention.is_exceeded(events, bytes, age)
}

/// The number of segments read in parallel; verifying checksums costs more than reading.
const READERS: usize = 2;

/// The maximum length of a segment in bytes, so that one is read within milliseconds.
const MAX_LEN: u64 = 16 << 20;

/// The minimum number of segments that the limits of size and age are divided into.
const PARTS: u32 = 8;

fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error).into()),
    }
}

/// Returns the Unix time in milliseconds before which events are older than `age`.
fn oldest(now: Duration, age: Duration) -> u64 {
    u64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(u64::MAX)
}
