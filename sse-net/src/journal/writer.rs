//! The handle of the thread that writes a topic's events.
//!
//! The thread has a cursor into the topic's log, like a subscriber. The log hides all events after
//! that cursor from subscribers, except while the disk fails.
//!
//! Waking a thread costs more than publishing. So a publisher wakes the writer only if a
//! subscriber waits, and the writer then wakes the subscriber. Otherwise the writer looks for
//! events by itself every [`IDLE_INTERVAL`]. After a write it pauses for `PAUSE`, so that frequent events
//! are written in larger batches. It writes the shared chunks of the log without copying them.

use std::io;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use sse_core::Cursor;

use super::segments::Segments;
use super::sync_thread::SyncThread;
use super::writer_thread::{IDLE_INTERVAL, MAX_UNWRITTEN, WriterThread};
use super::{Journal, SyncPolicy};
use crate::topic::{Progress, Shared};

/// The handle of the thread. Dropping it writes the rest and joins the thread.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    is_awaited: bool,
}

impl Writer {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        journal: Journal,
        segments: Segments,
    ) -> io::Result<Self> {
        let is_awaited = journal.sync == SyncPolicy::EveryEvent;
        let is_urgent = match journal.sync {
            SyncPolicy::Interval(interval) => interval < IDLE_INTERVAL,
            SyncPolicy::EveryEvent => true,
            SyncPolicy::Never => false,
        };
        let max_unwritten = MAX_UNWRITTEN.min(shared.retention().max_bytes() / 4);
        let mut state = shared.lock();
        let cursor = state.log.tip();
        state.log.hold(Some(cursor));
        state.progress = Some(Box::new(Progress::new(
            cursor,
            segments.size(),
            is_urgent,
            max_unwritten,
        )));
        drop(state);
        let notified = Arc::clone(shared);
        let sync_thread = SyncThread::start(journal.sync, cursor, move || {
            if let Some(progress) = &mut notified.lock().progress {
                progress.wanted = progress.wanted.max(Some(progress.written));
            }
            notified.writer.notify_one();
        })?;
        let work = WriterThread {
            sync_thread,
            shared: Arc::clone(shared),
            journal,
            segments,
            cursor,
            records: Vec::new(),
            written: Instant::now(),
            goal: cursor,
            failed: None,
            missed: 0,
            reported: None,
            is_over_limit: false,
        };
        let thread = thread::Builder::new()
            .name("sse-journal".to_owned())
            .spawn(move || work.run())?;
        Ok(Self {
            shared: Arc::clone(shared),
            thread: Some(thread),
            is_awaited,
        })
    }

    /// Returns whether publishing waits for the disk.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Waits until the events between two cursors are on disk. Returns `false` if that fails.
    pub(crate) fn wait(&self, start: Cursor, end: Cursor) -> bool {
        let mut state = self.shared.lock();
        loop {
            let Some(progress) = &state.progress else {
                return false;
            };
            if progress.missed > start {
                return false;
            }
            if progress.synced >= end {
                return true;
            }
            if progress.is_failing || progress.unsynced >= Some(end) || self.is_own_thread() {
                return false;
            }
            let wait = self.shared.synced.wait(state);
            state = wait.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all published events are on disk. Returns `false` if that fails.
    pub(crate) fn flush(&self) -> bool {
        let mut state = self.shared.lock();
        let tip = state.log.tip();
        if let Some(progress) = &mut state.progress {
            progress.wanted = progress.wanted.max(Some(tip));
            progress.unsynced = None;
        }
        drop(state);
        self.shared.writer.notify_one();
        self.wait(tip, tip)
    }

    /// Returns whether the writer's own thread calls: wakers and callbacks may publish, or drop the
    /// last handle.
    fn is_own_thread(&self) -> bool {
        let writer = self.thread.as_ref().map(|thread| thread.thread().id());
        writer == Some(thread::current().id())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(progress) = &mut self.shared.lock().progress {
            progress.is_closing = true;
        }
        self.shared.writer.notify_one();
        let is_own_thread = self.is_own_thread();
        if let Some(thread) = self.thread.take()
            && !is_own_thread
        {
            let _ = thread.join(); // Errors have been reported.
        }
    }
}
