//! Topics that survive a restart: settings, state, notices and errors.

pub(crate) mod disk;
#[cfg(test)]
mod faults;
mod open;
mod segment_files;
pub(crate) mod segments;
mod sync_thread;
#[cfg(test)]
mod tests;
pub(crate) mod writer;
mod writer_thread;

pub use disk::FileError;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use sse_core::Damage;

use crate::trace;

/// Settings of a topic's journal: the directory, when to sync, and limits.
///
/// ```
/// use std::time::Duration;
/// use sse_core::{Event, EventId, Resume, Retention};
/// use sse_net::{Journal, SyncPolicy, Topic};
///
/// # let dir = std::env::temp_dir().join(format!("sse-net-journal-{}", std::process::id()));
/// let journal = Journal::new(&dir)
///     .sync(SyncPolicy::Interval(Duration::from_millis(200)))
///     .on_notice(|notice| eprintln!("{notice}"));
/// let orders = Topic::open(Retention::events(10_000), &journal)?;
/// orders.publish(&Event::new().id(1).data("one book")).unwrap();
/// drop(orders);
///
/// // After a restart of the program, or of the machine:
/// let orders = Topic::open(Retention::events(10_000), &journal)?;
/// assert_eq!(orders.resume(Some(&EventId::from(1))), Resume::Resumed);
/// # drop(orders);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), sse_net::JournalError>(())
/// ```
///
/// # Guarantees
///
/// A subscriber sees an event only after the event has been written to its file. So whatever a
/// client has seen survives a crash of the process, and with [`SyncPolicy::EveryEvent`] a power
/// failure.
///
/// Publishing does not wait for the disk, except with `EveryEvent`: a thread writes the published
/// events in batches and then wakes the subscribers. A batch takes some tens of microseconds, and
/// the next one starts at least half a millisecond later. Without waiting subscribers, events are
/// written within 20 ms, or as soon as there are 1 MiB of them or a quarter of the topic's
/// [bytes](sse_core::Retention::bytes). Events that are not written yet, and that no subscriber
/// has seen, are lost when the process is killed or exits without [`Topic::flush`](crate::Topic::flush).
///
/// A slow write delays delivery. Meanwhile events wait in the log, within its limits.
///
/// If a write fails, for example because the disk is full, the error is reported, and events are
/// delivered without being stored. Writing is retried every second. When it succeeds, the events
/// that the topic still retains are written; only those evicted meanwhile are missing after a
/// restart. An event that could not be stored may still reappear after a restart, in its place,
/// if a part of the failed write could not be removed.
///
/// If a sync fails, all events since the last sync count as not stored, because an operating
/// system may drop unwritten data after it has reported an error. The segment is closed as it is,
/// and the events that the topic still retains are written again to a new segment, which is
/// synced at once. Events that are in both segments are restored once.
///
/// # Files
///
/// The directory contains segment files. Each is an event stream that any SSE client can parse:
/// `cat *.sse` prints all stored events, some of them twice after a failed sync. A comment before
/// each event contains its ID and a checksum; see [`sse_core::Segment`].
///
/// A segment is named after its first ID. If that is not later than the name of the previous
/// segment, it gets that name and a number. Events are appended to the newest segment until it
/// has an eighth of the [bytes](Self::bytes), 16 MiB, or an eighth of the [age](Self::age). Old
/// segments are deleted as a whole. The file `lock` is locked while the topic exists.
#[derive(Clone)]
pub struct Journal {
    pub(crate) dir: PathBuf,
    pub(crate) sync: SyncPolicy,
    pub(crate) bytes: u64,
    pub(crate) age: Duration,
    pub(crate) on_notice: Option<OnNotice>,
}

pub(crate) type OnNotice = Arc<dyn Fn(&JournalNotice) + Send + Sync>;

impl Journal {
    /// Creates a journal in a directory, which is created if it does not exist.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync: SyncPolicy::default(),
            bytes: 1 << 30,
            age: Duration::MAX,
            on_notice: None,
        }
    }

    /// Sets when written events are forced to the disk. Default: every second.
    #[must_use]
    pub const fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// Sets the maximum size on disk in bytes. Default: 1 GiB. The newest segment always stays.
    ///
    /// A topic restores only what its own retention allows. A larger journal serves other readers
    /// of the files; a smaller one restores less than the topic retains.
    #[must_use]
    pub const fn bytes(mut self, count: u64) -> Self {
        self.bytes = count;
        self
    }

    /// Sets the maximum age of events. Default: unlimited.
    ///
    /// A segment is deleted when all of its events are older. The newest segment always stays.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Sets a callback for errors and recoveries.
    ///
    /// It is called from [`Topic::open`](crate::Topic::open) and from the thread that writes; no
    /// event is written or delivered until it returns. A panic of the callback is caught.
    #[must_use]
    pub fn on_notice(mut self, notify: impl Fn(&JournalNotice) + Send + Sync + 'static) -> Self {
        self.on_notice = Some(Arc::new(notify));
        self
    }

    pub(crate) fn notify(&self, notice: &JournalNotice) {
        trace::journal(notice);
        if let Some(notify) = &self.on_notice {
            // A panic of the callback must not end the thread that writes.
            let _ = catch_unwind(AssertUnwindSafe(|| notify(notice)));
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.dir)
            .field("sync", &self.sync)
            .field("bytes", &self.bytes)
            .field("age", &self.age)
            .finish_non_exhaustive()
    }
}

impl From<&Self> for Journal {
    fn from(journal: &Self) -> Self {
        journal.clone()
    }
}

/// When written events are forced to the disk (synced).
///
/// Until then they are in the operating system's memory: they survive a crash of the process, but
/// not a crash of the machine or a power failure. [`Journal`] describes when events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// The operating system decides, usually after about 30 s.
    ///
    /// A crash of the machine loses the events since then. Those that survive may have gaps,
    /// which are reported.
    Never,
    /// A thread syncs at the latest this long after a write.
    ///
    /// A crash of the machine loses the events since the last sync, though clients may have seen
    /// them. A client that resumes with a lost ID receives a gap event.
    Interval(Duration),
    /// Each event is synced before `publish` returns and before a subscriber sees it.
    ///
    /// No event that was seen is lost, unless storing fails, which is
    /// [reported](JournalNotice::NotKept) and [returned](crate::Published::is_stored). Publishing
    /// blocks for a sync, 20 µs to 10 ms depending on the disk; concurrent publishers share one.
    /// In async code, publish from a blocking thread, such as one of Tokio's `spawn_blocking`.
    EveryEvent,
}

impl Default for SyncPolicy {
    /// Returns an interval of one second.
    fn default() -> Self {
        Self::Interval(Duration::from_secs(1))
    }
}

/// The state of a topic's journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalState {
    /// Whether published events are being stored.
    ///
    /// After an error it is `false` until everything that the topic retains has been written.
    pub is_keeping: bool,
    /// The bytes of events that have yet to be written, or to be written again.
    pub unwritten: usize,
    /// The number of segment files.
    pub segments: usize,
    /// The size of all segment files in bytes.
    pub bytes: u64,
}

/// An error or a recovery, reported by a journal.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalNotice {
    /// A part of a segment is damaged and was skipped.
    Damaged(PathBuf, Damage),
    /// The newest segment ended with an incomplete event, as after a crash, which was removed.
    ///
    /// No subscriber had seen it, unless the machine crashed before a sync, or the file was
    /// damaged later.
    Torn(PathBuf, Damage),
    /// Events cannot be written; from now on they are delivered but not stored.
    NotKept(FileError),
    /// Events are stored again, including those published meanwhile except the
    /// [missed](Self::Missed) ones.
    KeptAgain,
    /// This many bytes of events were evicted before they could be written.
    ///
    /// After a failed sync they may have been written, but not for certain.
    Missed(usize),
    /// A sync failed: events since the last sync may not survive a crash of the machine.
    ///
    /// From now on events are delivered but not stored, until those since the last sync that the
    /// topic still retains have been written again, to another segment.
    NotSynced(FileError),
    /// An old segment cannot be deleted, so that the journal exceeds its limits.
    NotDeleted(FileError),
}

impl fmt::Display for JournalNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(path, damage) => write!(f, "{}: {damage}", path.display()),
            Self::Torn(path, damage) => {
                let range = damage.range();
                let len = range.end - range.start;
                write!(
                    f,
                    "{}: the last {len} bytes, from byte {}, are not a complete event and were removed",
                    path.display(),
                    range.start
                )
            }
            Self::NotKept(error) => write!(
                f,
                "{error}; events are delivered but not stored until writing succeeds"
            ),
            Self::KeptAgain => f.write_str("events are stored again"),
            Self::Missed(bytes) => write!(
                f,
                "{bytes} bytes of events were evicted before they could be stored; raise the \
                 topic's retention, or publish more slowly"
            ),
            Self::NotSynced(error) => write!(
                f,
                "{error}; events since the last sync may be lost if the machine crashes, and \
                 events are delivered but not stored until writing succeeds"
            ),
            Self::NotDeleted(error) => write!(
                f,
                "{error}; the journal exceeds its limits until that succeeds"
            ),
        }
    }
}

/// Why a journal cannot be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalError {
    /// This process or another one has the journal open.
    InUse(PathBuf),
    /// A segment has a newer format than this version reads.
    Version(PathBuf),
    /// A file operation failed.
    File(FileError),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(dir) => write!(
                f,
                "the journal in {} is in use; end the process that has it open, or choose another \
                 directory",
                dir.display()
            ),
            Self::Version(path) => write!(
                f,
                "{} has a newer format; open the journal with the version that wrote it",
                path.display()
            ),
            Self::File(error) => error.fmt(f),
        }
    }
}

impl error::Error for JournalError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::File(error) => error.source(),
            Self::InUse(_) | Self::Version(_) => None,
        }
    }
}

impl From<FileError> for JournalError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}
