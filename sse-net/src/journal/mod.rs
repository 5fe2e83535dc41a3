//! Hubs and topics that survive a restart: settings of their journals.

mod batch;
mod compact;
mod contents;
mod disk;
mod handle;
mod jobs;
mod link;
mod notice;
mod recovery;
mod restore;
mod segments;
#[cfg(test)]
mod tests;
mod writer;
mod writer_waker;

pub use disk::FileError;
pub use notice::{JournalError, JournalNotice, JournalState};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{trace, unwind};
use disk::{Disk, Files};

/// Settings of a journal: the folder, when to sync, and what happens while it fails.
///
/// ```
/// use std::time::Duration;
/// use sse_net::{Event, Hub, HubConfig, Journal, SyncPolicy};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let dir = std::env::temp_dir().join(format!("sse-net-journal-{}", std::process::id()));
/// let journal = Journal::new(&dir)
///     .sync(SyncPolicy::Interval(Duration::from_millis(200)))
///     .on_notice(|notice| eprintln!("{notice}"));
/// let hub = Hub::open(HubConfig::default(), &journal)?;
/// let published = hub.topic("orders")?.publish(&Event::new().data("one book"))?;
/// published.stored().await?;
/// # hub.sync().await?;
/// # drop(hub);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Guarantees
///
/// A client sees an event only after it has been written to a file. So whatever a client has seen
/// survives a crash of the process; [`SyncPolicy`] says what survives a crash of the machine.
/// Publishing never waits for the disk: a thread writes the published events within half a
/// millisecond and then wakes the subscribers, or within 5 ms if there is none.
/// [`Published::stored`](crate::Published) waits until an event is as safe as the policy says.
/// Topics that need different policies belong to different hubs.
///
/// If a write or a sync fails, for example because the disk is full, that is reported, and the
/// guarantee is suspended: events are delivered without being stored, or are held back with
/// [`WhileFailing::Hold`]. The segment is abandoned, because an operating system may drop
/// unwritten data after it has reported an error. Every second a new one is begun with the
/// events since the last successful sync that the topics still retain. Files or a folder that
/// somebody has removed are noticed within a second, and treated in the same way.
///
/// A client that resumes after a crash with the ID of a lost event receives a gap event.
///
/// # Files
///
/// The folder contains segment files. Each is an event stream that any SSE client can parse; a
/// comment before each event contains its topic, its ID and a checksum. A segment has up to
/// [`segment_bytes`](Self::segment_bytes), or more if it is written while a sync runs or after a
/// failure. Old segments are replaced by one that has only what the topics still retain: the files
/// take up to twice the retained bytes and two segments. A file that cannot be read at all is
/// renamed, and never deleted. The file `lock` and the folder are locked while the journal is open.
///
/// A disk that hangs is not an error. While a sync does not return, the newest segment grows with
/// each event, and nothing is compacted: [`JournalState::bytes`] rises, [`JournalState::stored`]
/// stands still unless the policy is [`SyncPolicy::Never`], and [`Hub::sync`](crate::Hub::sync) does
/// not resolve. With [`SyncPolicy::EveryEvent`], and while a write does not return, clients receive
/// no events. Only the file system bounds the files then. When it is full, writing fails, and events
/// are delivered or held back as above.
#[derive(Clone)]
#[must_use]
pub struct Journal {
    dir: PathBuf,
    sync: SyncPolicy,
    while_failing: WhileFailing,
    segment_bytes: u64,
    on_notice: Option<Arc<OnNotice>>,
    disk: Arc<dyn Disk>,
}

type OnNotice = dyn Fn(&JournalNotice) + Send + Sync;

impl Journal {
    /// Creates a journal in a folder, which is created if it does not exist.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            sync: SyncPolicy::default(),
            while_failing: WhileFailing::Deliver,
            segment_bytes: 8 << 20,
            on_notice: None,
            disk: Arc::new(Files),
        }
    }

    /// Sets when written events are forced to the disk. Default: every second.
    pub const fn sync(mut self, policy: SyncPolicy) -> Self {
        self.sync = policy;
        self
    }

    /// Sets whether events are delivered while they cannot be stored. Default: they are.
    pub const fn while_failing(mut self, action: WhileFailing) -> Self {
        self.while_failing = action;
        self
    }

    /// Sets the size in bytes at which a new segment is begun. Default: 8 MiB.
    ///
    /// While a sync runs, and while events are written again after a failure, the newest segment
    /// becomes longer instead. Smaller segments are compacted more often. A topic that stands alone
    /// reads at least one of them when it is opened, at some 4 ms per MiB.
    pub const fn segment_bytes(mut self, count: u64) -> Self {
        self.segment_bytes = count;
        self
    }

    /// Sets a callback for errors and recoveries.
    ///
    /// It is called when the journal is opened and from the thread that writes; no event is
    /// written or delivered until it returns. A panic of the callback is caught and logged.
    pub fn on_notice(mut self, notify: impl Fn(&JournalNotice) + Send + Sync + 'static) -> Self {
        self.on_notice = Some(Arc::new(notify));
        self
    }

    fn notify(&self, notice: &JournalNotice) -> Result<(), unwind::Panicked> {
        unwind::catch("the callback of a journal", || {
            trace::journal(notice);
            self.on_notice.iter().for_each(|notify| notify(notice));
        })
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("dir", &self.dir)
            .field("sync", &self.sync)
            .field("while_failing", &self.while_failing)
            .field("segment_bytes", &self.segment_bytes)
            .finish_non_exhaustive()
    }
}

/// When written events are forced to the disk (synced), and what may be lost.
///
/// With every policy, an event that a client has seen survives a crash of the process, which
/// loses only events of the last 5 ms that no client has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// The operating system decides, usually after about 30 s.
    ///
    /// A crash of the machine or a power failure loses the events since then.
    Never,
    /// A thread syncs at the latest this long after a write.
    ///
    /// A crash of the machine or a power failure loses the events since the last sync.
    Interval(Duration),
    /// Each event is synced before a client sees it. Events published meanwhile share a sync.
    ///
    /// A crash of the machine or a power failure loses no event that a client has seen. An event
    /// reaches its clients later by the time of a sync, 20 µs to 10 ms depending on the disk.
    EveryEvent,
}

impl Default for SyncPolicy {
    /// Returns an interval of one second.
    fn default() -> Self {
        Self::Interval(Duration::from_secs(1))
    }
}

/// Whether events are delivered while the journal cannot store them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhileFailing {
    /// They are delivered. A crash loses them, and clients that resume receive a gap event.
    Deliver,
    /// They are held back until they have been stored.
    ///
    /// Nothing is delivered that a crash may lose. When half of the bytes that a topic retains
    /// wait, publishing fails with [`PublishError::BacklogFull`](crate::PublishError::BacklogFull).
    Hold,
}
