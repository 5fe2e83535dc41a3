//! The files of a journal.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;
use std::{io, iter};

use sse_core::{Damage, Log, LogId, Now, Restored, Retention, Segment};

use super::disk::{self, FileError, Handle, failed};
use crate::journal::{Journal, JournalError, JournalNotice};

/// The segments of a journal, of which the newest is written to.
pub(crate) struct Segments {
    dir: PathBuf,
    /// Nobody else writes here as long as it is open.
    _lock: File,
    /// The directory itself, to be synced where files come and go.
    handle: Arc<Handle>,
    max_bytes: u64,
    max_age: Duration,
    /// The first stamp that the journal ever gave.
    since: Option<LogId>,
    /// The oldest first.
    files: VecDeque<Kept>,
    /// How many bytes they are.
    bytes: u64,
    /// The newest one, while it is being written to.
    open: Option<Arc<Handle>>,
}

/// A file.
struct Kept {
    name: Name,
    /// How long it is, up to the end of a whole event.
    len: u64,
    /// Whether there is no event in it yet.
    is_bare: bool,
}

/// What a segment is named after: the names rise in the order in which they are written.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    /// The first stamp, or, where what could not be synced is written again, that of the
    /// segment before if it is later.
    first: LogId,
    /// How many others have that name: those that could not be synced.
    copy: u32,
}

impl Segments {
    /// Locks the directory, and reads as much of it as the log is to keep. Tells what is wrong
    /// with that.
    pub(crate) fn open(
        journal: &Journal,
        retention: Retention,
        now: Now,
        tell: &mut dyn FnMut(JournalNotice),
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
        let log = segments.restore(retention, now, tell)?;
        Ok((segments, log))
    }

    /// Appends `bytes`, whole records of which the first has the stamp `first`; syncs them
    /// too if they are to be `durable`. After an error nothing of them has been kept.
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
            Err(_) => self.take_back(),
        }
        written
    }

    /// The files that have to be synced for all that has been appended: the newest segment,
    /// and the directory.
    pub(crate) fn to_sync(&self) -> impl Iterator<Item = &Arc<Handle>> {
        self.open.iter().chain([&self.handle])
    }

    /// Leaves the newest segment as it is, for good: what the system holds of a file is not
    /// known after an error.
    pub(crate) fn give_up(&mut self) {
        self.open = None;
    }

    /// Ends a segment that is full or has become old.
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

    /// Deletes segments that are more than is to be kept. The newest stays.
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

    /// How many segments there are, and how many bytes they are.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.files.len(), self.bytes)
    }

    /// After what time segments are worth a look, though nothing is published.
    pub(crate) fn patience(&self) -> Duration {
        self.max_age / PARTS
    }

    fn restore(
        &mut self,
        retention: Retention,
        now: Now,
        tell: &mut dyn FnMut(JournalNotice),
    ) -> Result<Log, JournalError> {
        let (mut pasts, mut buffers) = (Vec::new(), vec![Vec::new()]);
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
                self.enter(left, left + 1 == count, &content, tell)?;
                let mut past = content.past;
                // Segments overlap where one could not be synced, and the next begins with what
                // may have been lost of it: then each has what the other lacks.
                while let Some(later) =
                    pasts.pop_if(|later: &mut Restored| past.last() >= later.first())
                {
                    past = past.merge(&later);
                }
                pasts.push(past);
                if is_enough(&pasts, retention, now.unix) {
                    left = 0;
                    break;
                }
            }
            // Where the newest is not enough, there may be many.
            buffers.resize_with(READERS, Vec::new);
        }
        let mut log = Log::new(retention);
        for past in pasts.into_iter().rev() {
            log.restore(past, now);
        }
        if let Some(since) = self.since {
            drop(log.finish_restoring(since, now.unix, now));
        }
        Ok(log)
    }

    /// Tells what is damaged of the segment at this index. If it is the newest, it is cut off
    /// where it is torn, and will be written to.
    fn enter(
        &mut self,
        index: usize,
        is_newest: bool,
        content: &Content,
        tell: &mut dyn FnMut(JournalNotice),
    ) -> Result<(), FileError> {
        let path = self.path(self.files[index].name);
        let mut whole = content.len;
        for &damage in &content.damages {
            match is_newest && damage.range().end == content.len {
                true => {
                    whole = damage.range().start;
                    tell(JournalNotice::Torn(path.clone(), damage));
                }
                false => tell(JournalNotice::Damaged(path.clone(), damage)),
            }
        }
        if let Some(since) = content.since {
            self.since = self.since.min(Some(since));
        }
        match is_newest {
            true if content.past.is_empty() => self.remove_newest(),
            true => self.reopen(&path, whole as u64),
            false => Ok(()),
        }
    }

    /// Goes on with a segment after `len` bytes of it.
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
            return Ok(()); // There is one now.
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
        // One that could not be taken back goes first, or there would be more and more.
        if self.files.back().is_some_and(|newest| newest.is_bare) {
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
        self.files.push_back(Kept {
            name,
            len,
            is_bare: true,
        });
        self.bytes += len;
        written
    }

    fn grow(&mut self, len: u64) {
        self.bytes += len;
        if let Some(newest) = self.files.back_mut() {
            newest.len += len;
            newest.is_bare = false;
        }
    }

    /// Cuts off what was not written to its end, and gives the segment up.
    fn take_back(&mut self) {
        let (Some(file), Some(newest)) = (self.open.take(), self.files.back()) else {
            return; // It could not even be created.
        };
        // If that does not work either, what is left is read after a restart: events that were
        // not promised, in their place.
        let _ = match newest.is_bare {
            true => self.remove_newest(),
            false => file.cut(newest.len),
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

    fn path(&self, Name { first, copy }: Name) -> PathBuf {
        let (millis, sequence) = (first.millis(), first.sequence());
        self.dir.join(match copy {
            0 => format!("{millis:020}-{sequence:020}.{EXTENSION}"),
            _ => format!("{millis:020}-{sequence:020}-{copy}.{EXTENSION}"),
        })
    }
}

/// What was read from a segment.
struct Content {
    len: usize,
    since: Option<LogId>,
    past: Restored,
    damages: Vec<Damage>,
}

impl Content {
    fn read(path: &Path, buffer: &mut Vec<u8>) -> Result<Self, JournalError> {
        disk::read(path, buffer)?;
        let segment = Segment::new(buffer).map_err(|_| JournalError::Version(path.to_owned()))?;
        let since = segment.since();
        let (mut past, mut damages) = (Restored::default(), Vec::new());
        for item in segment {
            match item {
                Ok(record) => _ = past.push(&record),
                Err(damage) => damages.push(damage),
            }
        }
        Ok(Self {
            len: buffer.len(),
            since,
            past,
            damages,
        })
    }
}

/// Reads segments at the same time, each into a buffer.
fn read_all(paths: &[PathBuf], buffers: &mut [Vec<u8>]) -> Vec<Result<Content, JournalError>> {
    thread::scope(|scope| {
        let readers: Vec<_> = iter::zip(paths, buffers)
            .map(|(path, buffer)| scope.spawn(move || Content::read(path, buffer)))
            .collect();
        let content = |reader: ScopedJoinHandle<'_, _>| {
            reader.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        readers.into_iter().map(content).collect()
    })
}

/// Whether there is more than is kept.
fn is_enough(pasts: &[Restored], retention: Retention, now: Duration) -> bool {
    let events = pasts.iter().map(Restored::len).sum();
    let bytes = pasts.iter().map(Restored::bytes).sum();
    let oldest = pasts.iter().rev().find_map(Restored::first);
    let age = oldest.map_or(Duration::ZERO, |stamp| {
        now.saturating_sub(Duration::from_millis(stamp.millis()))
    });
    retention.is_exceeded(events, bytes, age)
}

const EXTENSION: &str = "sse";

/// How many segments are read at once: checking them takes longer than reading them.
const READERS: usize = 2;

/// How long a segment becomes before the next begins: as much as is read in some
/// milliseconds.
const MAX_LEN: u64 = 16 << 20;

/// Into how many segments at least what is kept is divided, by length and by age.
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

/// The segments of a directory, the oldest first. Other files are left alone.
fn list(dir: &Path) -> Result<VecDeque<Kept>, FileError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let path = entry.map_err(failed("read", dir))?.path();
        let Some(name) = name(&path) else { continue };
        let metadata = fs::metadata(&path).map_err(failed("read", &path))?;
        if metadata.is_file() {
            files.push(Kept {
                name,
                len: metadata.len(),
                is_bare: false,
            });
        }
    }
    files.sort_by_key(|file| file.name);
    Ok(files.into())
}

/// What a segment is named after.
fn name(path: &Path) -> Option<Name> {
    if path.extension() != Some(OsStr::new(EXTENSION)) {
        return None;
    }
    let number = |digits: &str| {
        let is_padded = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_padded.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let mut parts = path.file_stem()?.to_str()?.splitn(3, '-');
    let (millis, sequence) = (number(parts.next()?)?, number(parts.next()?)?);
    let copy = match parts.next() {
        None => 0,
        // As it is written, so that no two are the same.
        Some(digits) => {
            let copy: u32 = digits.parse().ok().filter(|copy| *copy > 0)?;
            (copy.to_string() == digits).then_some(copy)?
        }
    };
    let first = LogId::parse(&format!("{millis}-{sequence}"))?;
    Some(Name { first, copy })
}

/// What is earlier than this, in milliseconds since the Unix epoch, is older than `age`.
fn oldest(now: Duration, age: Duration) -> u64 {
    u64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(u64::MAX)
}
