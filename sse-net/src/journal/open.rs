//! A topic with a journal.

use std::sync::Arc;

use sse_core::Cursor;

use super::disk::failed;
use super::segments::Segments;
use super::writer::Writer;
use super::{Journal, JournalError, JournalState};
use crate::config::TopicConfig;
use crate::topic::{Shared, Storage, Topic, now};

impl Topic {
    /// Opens a topic that stores its events in a [`Journal`], and restores those in it.
    ///
    /// It restores as much as its retention allows. Clients that reconnect after a restart
    /// resume after their last event ID.
    ///
    /// Opening reads the segments that can hold what is restored, and at most one more, each
    /// once; damage in other segments is not reported. The topic costs a writer thread, and
    /// with [`SyncPolicy::Interval`](crate::SyncPolicy::Interval) a second thread. When the last
    /// handle is dropped, the remaining events are written and synced, which waits for the
    /// disk; if that fails, it is [reported](Journal::on_notice).
    ///
    /// # Errors
    ///
    /// [`JournalError`] if another topic has the journal open, in this process or another, if
    /// its format is newer, or if files cannot be opened or read. Damage is not an error: it is
    /// [reported](Journal::on_notice) and skipped.
    pub fn open(config: impl Into<TopicConfig>, journal: &Journal) -> Result<Self, JournalError> {
        let config = config.into();
        let mut notify = |notice| journal.notify(&notice);
        let (segments, log) = Segments::open(journal, config.retention, now(), &mut notify)?;
        let shared = Shared::new(config, log);
        let writer = Writer::start(&shared, journal.clone(), segments);
        let writer = writer.map_err(failed("write", &journal.dir))?;
        Ok(Self::with_storage(shared, Arc::new(writer)))
    }

    /// Returns the state of the topic's journal; `None` if the topic has no journal.
    #[must_use]
    pub fn journal_state(&self) -> Option<JournalState> {
        let state = self.lock();
        let tip = state.log.tip();
        state.progress.as_ref().map(|progress| {
            let (segments, bytes) = progress.size;
            JournalState {
                is_keeping: !progress.is_failing,
                unwritten: progress.written.distance(tip),
                segments,
                bytes,
            }
        })
    }

    /// Waits until all published events are in the journal and, by its policy, on disk.
    ///
    /// Returns `true` once everything is stored; `false` if that fails or there is no journal.
    /// With [`SyncPolicy::Never`](crate::SyncPolicy::Never) it does not wait for the disk.
    /// Dropping the topic's last handle does the same; this is for programs that end otherwise.
    pub fn flush(&self) -> bool {
        self.storage().is_some_and(Storage::flush)
    }
}

impl Storage for Writer {
    fn wait_stored(&self, start: Cursor, end: Cursor) -> bool {
        !self.is_awaited() || self.wait(start, end)
    }

    fn flush(&self) -> bool {
        self.flush()
    }
}
