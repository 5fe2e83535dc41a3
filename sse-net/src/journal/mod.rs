//! A topic that survives a restart.

pub(crate) mod disk;
#[cfg(test)]
mod faults;
mod open;
pub(crate) mod segments;
mod sync_thread;
pub(crate) mod writer;

pub use disk::FileError;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt};

use sse_core::Damage;

use crate::trace;

/// Where and how what a [`Topic`](crate::Topic) publishes is kept on disk.
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
/// assert!(matches!(orders.resume(Some(&EventId::from(1))), Resume::Resumed(_)));
/// # drop(orders);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), sse_net::JournalError>(())
/// ```
///
/// # What can be relied on
///
/// A subscriber sees an event only after it has been written to its file. So whatever anybody
/// has seen is still there after the process has been killed, and with
/// [`SyncPolicy::EveryEvent`] after a power failure too. Publishing does not wait for that: a
/// thread of the topic's own writes what has been published meanwhile in one piece, and wakes
/// the subscribers. That takes some tens of microseconds; what is published within half a
/// millisecond after a write waits for the next one. Where nobody waits for events, they are
/// written within 20 ms, or as soon as they are 1 MiB, or a quarter of the
/// [bytes](sse_core::Retention::bytes) that the topic keeps: so much of what nobody has seen may
/// be lost when the process is killed, or exits without [`Topic::flush`](crate::Topic::flush).
///
/// While a write is held up, by a disk that has too much to do, deliveries are, too; events wait
/// in the log, and only its bytes bound them.
///
/// When the disk is full, or can't be written for another reason, that is told, and the topic
/// goes on without it: events are delivered and not kept. Once a second it is tried again. What
/// the topic still keeps of what was missed then is written, and only the rest has been lost
/// for the time after a restart. An event that was not kept may come back all the same, in its
/// place: where a part of a write could not be taken back.
///
/// A sync that fails counts as a failure of everything since the last one: a system that could
/// not write a file may never try that again, though the next sync succeeds. The segment stays
/// as it is, and what the topic still keeps of that time is written again to another, which is
/// synced at once. What is in both comes back once.
///
/// # Files
///
/// The directory holds segments, which are event streams that any reader can read: `cat *.sse`
/// is all that is kept; after a sync that failed, some of it twice. Before each event stands a comment with its stamp and a checksum; see
/// [`sse_core::Segment`]. Segments are named after their first stamp, or, where that is not later than
/// the name of the one before, after that and with a number; the newest is written to, until it has an eighth of the [bytes](Self::bytes), or 16 MiB, or an eighth of the
/// [age](Self::age). Old ones are deleted whole. `lock` is locked while the topic lives.
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
    /// A journal in this directory, which is created if need be.
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

    /// When what has been written is forced to the disk: every second.
    #[must_use]
    pub const fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// How many bytes there may be on disk: 1 GiB. Whatever the number, the newest segment
    /// stays.
    ///
    /// A topic restores of it what its own retention keeps. More is only for others who read
    /// the files, and costs nothing else. Less, and a restart forgets more than the topic does.
    #[must_use]
    pub const fn bytes(mut self, count: u64) -> Self {
        self.bytes = count;
        self
    }

    /// How old what is kept may become: it does not matter. A segment is deleted when all in
    /// it is older, but the newest stays.
    #[must_use]
    pub const fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Calls `tell` whenever there is something to tell: from [`Topic::open`](crate::Topic::open),
    /// and later from a thread of the topic's, which writes nothing meanwhile.
    #[must_use]
    pub fn on_notice(mut self, tell: impl Fn(&JournalNotice) + Send + Sync + 'static) -> Self {
        self.on_notice = Some(Arc::new(tell));
        self
    }

    pub(crate) fn tell(&self, notice: &JournalNotice) {
        trace::journal(notice);
        if let Some(tell) = &self.on_notice {
            // Who panics here must not end what keeps the topic.
            let _ = catch_unwind(AssertUnwindSafe(|| tell(notice)));
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

/// When what has been written to a journal is forced to the disk.
///
/// Until then it is in the memory of the operating system: a process that crashes or is killed
/// loses nothing of it, a machine that crashes or loses power may. What is written when, and
/// what a process may lose that nobody has seen, stands at [`Journal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// When the operating system likes, after half a minute or so. With the machine what was
    /// published since then is lost, and what survives of it may have holes, which are told.
    Never,
    /// So long after it has been written at the latest, a thread of its own begins to. With the
    /// machine what was published since the last sync is lost, though clients may have seen
    /// it: with an ID that was lost, a client is told of a gap.
    Interval(Duration),
    /// Before publishing returns and before anybody sees it: nothing that anybody knows of is
    /// lost, unless it can't be kept, which is [told](JournalNotice::NotKept) and
    /// [returned](crate::Published::NotKept). Publishing waits for the disk, from 20 µs to 10 ms by its kind; those who publish
    /// at the same time share a sync. In async code, publish from a thread that may wait, such
    /// as that of Tokio's `spawn_blocking`.
    EveryEvent,
}

impl Default for SyncPolicy {
    /// Every second.
    fn default() -> Self {
        Self::Interval(Duration::from_secs(1))
    }
}

/// How a topic's journal is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalState {
    /// Whether what is published is being kept. It is not from an error on until everything
    /// that the topic still keeps has been written.
    pub is_keeping: bool,
    /// How many bytes of events have been published but not been written yet, or have to be
    /// written again.
    pub unwritten: usize,
    /// How many segments there are on disk.
    pub segments: usize,
    /// How many bytes they are.
    pub bytes: u64,
}

/// What a journal has to tell.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalNotice {
    /// A part of a segment can't be read: it is skipped.
    Damaged(PathBuf, Damage),
    /// The newest segment did not end with a whole event, as after a crash: what was too much
    /// has been cut off. No subscriber had seen it, unless the machine stopped before it was
    /// synced, or it was damaged later.
    Torn(PathBuf, Damage),
    /// From now on what is published is delivered but not kept.
    NotKept(FileError),
    /// From now on it is kept again, and so is what was published meanwhile, but for what has
    /// been [missed](Self::Missed).
    KeptAgain,
    /// So many bytes of events are not kept, because the topic has forgotten them before they
    /// could be written; or not for sure, if they had been written but not synced.
    Missed(usize),
    /// What has been published since the last sync might not outlast the machine, and what is
    /// from now on is delivered but not kept. The system does not say how much of it is on
    /// disk, so all of it that the topic still keeps is written anew, to another segment.
    NotSynced(FileError),
    /// An old segment takes room that it should not.
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
                    "{}: the last {len} bytes, from byte {} on, are no whole event; they were cut off",
                    path.display(),
                    range.start
                )
            }
            Self::NotKept(error) => write!(
                f,
                "{error}; events are delivered but not kept until that succeeds"
            ),
            Self::KeptAgain => f.write_str("events are kept again"),
            Self::Missed(bytes) => write!(
                f,
                "{bytes} bytes of events were forgotten before they could be kept; let the \
                 topic keep more bytes, or publish less at once"
            ),
            Self::NotSynced(error) => write!(
                f,
                "{error}; what was published since the last sync may be lost if the machine stops, \
                 and events are delivered but not kept until that succeeds"
            ),
            Self::NotDeleted(error) => write!(
                f,
                "{error}; until that succeeds, the journal grows beyond its bounds"
            ),
        }
    }
}

/// Why a journal can't be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalError {
    /// A process, which may be this one, has it open.
    InUse(PathBuf),
    /// A segment is of a format to come.
    Version(PathBuf),
    /// The system does not let us.
    File(FileError),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(dir) => write!(
                f,
                "the journal in {} is in use; end the process that has it open, or take another \
                 directory",
                dir.display()
            ),
            Self::Version(path) => write!(
                f,
                "{} is of a newer format; open the journal with the release that wrote it",
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
