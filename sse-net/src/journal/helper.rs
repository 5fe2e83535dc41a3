//! The thread that syncs and compacts, so that the writer does not wait for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use sse_core::LogId;

use super::compact::{Compacted, Compaction};
use super::disk::{Disk, FileError};
use super::segments::ToSync;
use crate::sync::lock;
use crate::topic::Source;

/// The jobs of the second thread of a journal: at most one sync and one compaction.
#[derive(Default)]
pub(super) struct Helper {
    slots: Mutex<Slots>,
    changed: Condvar,
}

#[derive(Default)]
struct Slots {
    sync: Option<Job>,
    is_syncing: bool,
    /// Rises with each failure; a sync that began before it does not count.
    failures: u64,
    compaction: Option<(Compaction, Source)>,
    done: VecDeque<Done>,
    is_closing: bool,
}

/// A sync of everything up to an ID.
pub(super) struct Job {
    pub(super) files: ToSync,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) until: LogId,
}

pub(super) type CompactionResult = Result<Option<Compacted>, FileError>;

pub(super) enum Done {
    Synced(LogId, Result<(), FileError>),
    Compacted(CompactionResult),
}

impl Helper {
    /// Whether no sync is running or waits to run.
    pub(super) fn is_free(&self) -> bool {
        let slots = self.lock();
        slots.sync.is_none() && !slots.is_syncing
    }

    pub(super) fn sync(&self, job: Job) {
        self.lock().sync = Some(job);
        self.changed.notify_one();
    }

    /// Drops the sync that waits, and the result of one that is running.
    pub(super) fn forget_sync(&self) {
        let mut slots = self.lock();
        slots.failures += 1;
        slots.sync = None;
        slots.done.retain(|done| !matches!(done, Done::Synced(..)));
    }

    pub(super) fn compact(&self, compaction: Compaction, source: Source) {
        self.lock().compaction = Some((compaction, source));
        self.changed.notify_one();
    }

    pub(super) fn has_done(&self) -> bool {
        !self.lock().done.is_empty()
    }

    pub(super) fn take_done(&self) -> Option<Done> {
        self.lock().done.pop_front()
    }

    pub(super) fn close(&self) {
        self.lock().is_closing = true;
        self.changed.notify_one();
    }

    /// Does jobs until it is closed. Calls `ring` after each.
    pub(super) fn run(&self, ring: &dyn Fn()) {
        loop {
            let is_idle = |slots: &mut Slots| {
                slots.sync.is_none() && slots.compaction.is_none() && !slots.is_closing
            };
            let slots = self.changed.wait_while(self.lock(), is_idle);
            if slots.unwrap_or_else(PoisonError::into_inner).is_closing {
                return;
            }
            self.work(ring);
        }
    }

    /// Does the jobs that wait.
    pub(super) fn work(&self, ring: &dyn Fn()) {
        self.work_sync(ring);
        let compaction = self.lock().compaction.take();
        if let Some((compaction, source)) = compaction {
            let compacted = compaction.run(&source.retained(), &mut || self.work_sync(ring));
            self.lock().done.push_back(Done::Compacted(compacted));
            ring();
        }
    }

    fn work_sync(&self, ring: &dyn Fn()) {
        let mut slots = self.lock();
        let Some(job) = slots.sync.take() else {
            return;
        };
        slots.is_syncing = true;
        let failures = slots.failures;
        drop(slots);
        let synced = job.files.sync(&*job.disk);
        let mut slots = self.lock();
        slots.is_syncing = false;
        if slots.failures == failures {
            slots.done.push_back(Done::Synced(job.until, synced));
        }
        drop(slots);
        ring();
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        lock(&self.slots)
    }
}
