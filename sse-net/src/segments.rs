//! The files of a journal.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use sse_core::{Log, Retention, Segment, Stamp};

use crate::journal::{Journal, JournalError, JournalNotice};

/// The segments of a journal, of which the newest is written to.
pub(crate) struct Segments {
    dir: PathBuf,
    /// Nobody else writes here as long as it is open.
    _lock: File,
    /// The directory itself, to be synced where files come and go.
    handle: Arc<File>,
    max_bytes: u64,
    max_age: Duration,
    /// The first stamp that the journal ever gave.
    since: Option<Stamp>,
    /// The oldest first.
    files: VecDeque<Kept>,
    /// How many bytes they are.
    bytes: u64,
    /// The newest one, while it is being written to.
    open: Option<Arc<File>>,
}

/// A file, which is named after the first stamp in it.
struct Kept {
    first: Stamp,
    /// How long it is, up to the end of a whole event.
    len: u64,
    /// Whether there is no event in it yet.
    is_bare: bool,
}

impl Segments {
    /// Locks the directory, and reads as much of it as the log is to keep. Tells what is wrong
    /// with that.
    pub(crate) fn open(
        journal: &Journal,
        retention: Retention,
        now: Duration,
        tell: &mut dyn FnMut(JournalNotice),
    ) -> Result<(Self, Log), JournalError> {
        let dir = journal.dir.clone();
        fs::create_dir_all(&dir).map_err(failed("create", &dir))?;
        let lock = lock(&dir)?;
        let handle = File::open(&dir).map_err(failed("open", &dir))?;
        let files = list(&dir).map_err(failed("read", &dir))?;
        let mut segments = Self {
            _lock: lock,
            handle: Arc::new(handle),
            max_bytes: journal.bytes,
            max_age: journal.age,
            since: files.front().map(|file| file.first),
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
        first: Stamp,
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
    pub(crate) fn to_sync(&self) -> impl Iterator<Item = &Arc<File>> {
        self.open.iter().chain([&self.handle])
    }

    /// Ends a segment that is full or has become old.
    pub(crate) fn rotate(&mut self, now: Duration) {
        let old = oldest(now, self.max_age / PARTS);
        let is_due = self
            .files
            .back()
            .is_some_and(|newest| newest.len >= self.max_len() || newest.first.millis() < old);
        if is_due {
            self.open = None;
        }
    }

    /// Deletes segments that are more than is to be kept. The newest stays.
    pub(crate) fn prune(&mut self, now: Duration) -> Result<(), FileError> {
        let old = oldest(now, self.max_age);
        while let [Some(oldest), Some(next)] = [self.files.front(), self.files.get(1)]
            && (self.bytes > self.max_bytes || next.first.millis() < old)
        {
            let path = self.path(oldest.first);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("delete", &path)(error));
                }
                _ => self.bytes -= oldest.len,
            }
            self.files.pop_front();
        }
        Ok(())
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
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
        now: Duration,
        tell: &mut dyn FnMut(JournalNotice),
    ) -> Result<Log, JournalError> {
        let (mut events, mut bytes) = (0, 0);
        let mut needed = Vec::new();
        for index in (0..self.files.len()).rev() {
            let path = self.path(self.files[index].first);
            let content = fs::read(&path).map_err(failed("read", &path))?;
            let segment =
                Segment::new(&content).map_err(|_| JournalError::Version(path.clone()))?;
            if let Some(since) = segment.since() {
                self.since = self.since.min(Some(since));
            }
            let mut oldest = None;
            for record in segment.filter_map(Result::ok) {
                oldest.get_or_insert(record.stamp());
                events += 1;
                bytes += record.event().len();
            }
            let age = oldest.map_or(Duration::ZERO, |stamp| {
                now.saturating_sub(Duration::from_millis(stamp.millis()))
            });
            needed.push((index, path, content));
            if retention.is_exceeded(events, bytes, age) {
                break;
            }
        }
        let mut log = Log::new(retention);
        let newest = self.files.len().wrapping_sub(1);
        for (index, path, content) in needed.into_iter().rev() {
            let (mut whole, mut is_bare) = (content.len(), true);
            let Ok(segment) = Segment::new(&content) else {
                continue;
            };
            for item in segment {
                match item {
                    Ok(record) => {
                        is_bare = false;
                        log.restore(&record, now);
                    }
                    Err(damage) if index == newest && damage.range().end == content.len() => {
                        whole = damage.range().start;
                        tell(JournalNotice::Torn(path.clone(), damage));
                    }
                    Err(damage) => tell(JournalNotice::Damaged(path.clone(), damage)),
                }
            }
            match index == newest {
                true if is_bare => self.remove_newest().map_err(failed("delete", &path))?,
                true => self.reopen(&path, whole as u64)?,
                false => {}
            }
        }
        if let Some(since) = self.since {
            log.restored(since, now);
        }
        Ok(log)
    }

    /// Goes on with a segment after `len` bytes of it.
    fn reopen(&mut self, path: &Path, len: u64) -> Result<(), FileError> {
        let mut file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(failed("open", path))?;
        file.set_len(len).map_err(failed("cut", path))?;
        file.seek(SeekFrom::End(0)).map_err(failed("open", path))?;
        self.open = Some(Arc::new(file));
        if let Some(newest) = self.files.back_mut() {
            self.bytes = self.bytes - newest.len + len;
            newest.len = len;
        }
        Ok(())
    }

    fn write(&mut self, first: Stamp, bytes: &[u8], durable: bool) -> Result<(), FileError> {
        let is_new = self.open.is_none();
        if is_new {
            self.create(first)?;
        }
        let (Some(file), Some(newest)) = (&self.open, self.files.back()) else {
            return Ok(()); // There is one now.
        };
        let path = self.path(newest.first);
        (&**file).write_all(bytes).map_err(failed("write", &path))?;
        if durable {
            file.sync_data().map_err(failed("sync", &path))?;
            if is_new {
                sync(&self.handle).map_err(failed("sync", &self.dir))?;
            }
        }
        Ok(())
    }

    fn create(&mut self, first: Stamp) -> Result<(), FileError> {
        let path = self.path(first);
        let mut head = Vec::new();
        Segment::begin(*self.since.get_or_insert(first), &mut head);
        // What there is of that name has been given up.
        let created = File::create(&path).and_then(|mut file| {
            file.write_all(&head)?;
            Ok(file)
        });
        let file = created.map_err(|error| {
            let _ = fs::remove_file(&path);
            failed("create", &path)(error)
        })?;
        self.open = Some(Arc::new(file));
        let len = head.len() as u64;
        self.files.push_back(Kept {
            first,
            len,
            is_bare: true,
        });
        self.bytes += len;
        Ok(())
    }

    fn grow(&mut self, len: u64) {
        self.bytes += len;
        if let Some(newest) = self.files.back_mut() {
            newest.len += len;
            newest.is_bare = false;
        }
    }

    /// Cuts off what was not written to its end, and gives the segment up: what the system
    /// holds of a file is not known after an error.
    fn take_back(&mut self) {
        let (Some(file), Some(newest)) = (self.open.take(), self.files.back()) else {
            return; // It could not even be created.
        };
        // If that does not work either, what is left is told when it is read.
        let _ = match newest.is_bare {
            true => self.remove_newest(),
            false => file.set_len(newest.len),
        };
    }

    fn remove_newest(&mut self) -> io::Result<()> {
        let Some(newest) = self.files.pop_back() else {
            return Ok(());
        };
        self.bytes -= newest.len;
        fs::remove_file(self.path(newest.first))
    }

    fn max_len(&self) -> u64 {
        (self.max_bytes / u64::from(PARTS)).min(MAX_LEN)
    }

    fn path(&self, first: Stamp) -> PathBuf {
        self.dir.join(format!(
            "{:020}-{:020}.{EXTENSION}",
            first.millis(),
            first.sequence()
        ))
    }
}

/// Something could not be done with a file of a journal.
#[derive(Debug)]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl FileError {
    /// The file or the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system says.
    #[must_use]
    pub const fn io_error(&self) -> &io::Error {
        &self.error
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            action,
            path,
            error,
        } = self;
        write!(f, "can't {action} {}: {error}", path.display())
    }
}

impl error::Error for FileError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

/// To be used with `map_err`.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |error| FileError {
        action,
        path,
        error,
    }
}

/// Syncs a file or a directory, where a system has that.
pub(crate) fn sync(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(_) if cfg!(not(unix)) && file.metadata()?.is_dir() => Ok(()),
        synced => synced,
    }
}

const EXTENSION: &str = "sse";

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
fn list(dir: &Path) -> io::Result<VecDeque<Kept>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(first) = first(Path::new(&entry.file_name())) {
            let len = entry.metadata()?.len();
            files.push(Kept {
                first,
                len,
                is_bare: false,
            });
        }
    }
    files.sort_by_key(|file| file.first);
    Ok(files.into())
}

/// The stamp after which a segment is named.
fn first(name: &Path) -> Option<Stamp> {
    if name.extension() != Some(OsStr::new(EXTENSION)) {
        return None;
    }
    let (millis, sequence) = name.file_stem()?.to_str()?.split_once('-')?;
    let number = |digits: &str| {
        let is_padded = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_padded.then(|| digits.parse::<u64>().ok()).flatten()
    };
    Stamp::parse(&format!("{}-{}", number(millis)?, number(sequence)?))
}

/// What is earlier than this, in milliseconds since the Unix epoch, is older than `age`.
fn oldest(now: Duration, age: Duration) -> u64 {
    u64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(u64::MAX)
}
