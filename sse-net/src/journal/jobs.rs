//! The thread that syncs and compacts, so that the writer does not wait for it, and its jobs.

use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use sse_core::{LogId, Now, SegmentEntry as Entry};

use super::compact::{Compaction, Copied};
use super::disk::{FileError, panicked};
use super::link::Link;
use super::notice::JournalNotice;
use super::writer::Writer;
use super::writer_waker::Urgency;
use crate::unwind;

/// The second thread of a journal. It has at most one sync and one compaction to do.
pub(super) struct Helper {
    pub(super) jobs: Receiver<Job>,
    pub(super) done: Sender<Done>,
    pub(super) link: Arc<Link>,
}

/// Work for the helper. A long job calls its argument now and then.
pub(super) type Job = Box<dyn FnOnce(Pause<'_>) -> Done + Send>;

/// Does the jobs that wait. Returns `true` if the journal is being closed.
pub(super) type Pause<'a> = &'a mut dyn FnMut() -> bool;

/// The result of a job.
pub(super) enum Done {
    /// A sync of all up to an ID, begun after this number of failures of the writer.
    Synced(LogId, u64, Result<(), FileError>),
    /// A compaction, which has ended unless there is a segment that waits for a sync.
    Compacted(Result<Option<Copied>, FileError>),
}

impl Helper {
    /// Does jobs until the writer ends.
    pub(super) fn run(&self) {
        while let Ok(job) = self.jobs.recv() {
            self.work(job);
        }
    }

    /// Does the jobs that wait.
    pub(super) fn work_all(&self) {
        self.jobs.try_iter().for_each(|job| self.work(job));
    }

    fn work(&self, job: Job) {
        let done = job(&mut || {
            self.work_all();
            self.link.is_closing()
        });
        let _ = self.done.send(done); // The writer may have ended.
        self.link.waker.wake(Urgency::High);
    }
}

impl Writer {
    /// Syncs in this thread.
    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        let unsynced = mem::take(&mut self.segments.unsynced);
        unsynced.sync(&*self.segments.journal.disk)?;
        self.note_synced(self.written);
        Ok(())
    }

    /// Notes in the journal that a sync has succeeded, with the next batch.
    fn note_synced(&mut self, until: LogId) {
        self.synced = until.max(self.synced);
        self.stored = self.stored.max(self.synced);
        self.source.set_safe(self.synced);
        Entry::Synced(self.synced).encode(&mut self.batch);
    }

    /// Closes the newest segment if it is full. While a sync runs it becomes longer instead, so
    /// that one file at most waits for the next sync.
    pub(super) fn rotate_if_full(&mut self, now: Now) {
        if !self.is_syncing && !self.is_failing() && self.segments.rotate() {
            (self.compact_at, self.sync_at) = (now.steady, Some(now.steady));
        }
    }

    /// Lets the helper sync if that is due.
    pub(super) fn sync_if_due(&mut self, now: Now) {
        let sync_to = self.link.status.borrow().sync_to;
        // The first caller does not wait for the events of callers that come later.
        let is_asked = self.synced < sync_to.min(self.written);
        let is_due = is_asked || self.sync_at.is_some_and(|at| at <= now.steady);
        if is_due && !self.is_syncing && !self.is_failing() {
            (self.sync_at, self.is_syncing) = (None, true);
            let (until, failures) = (self.written, self.failures);
            let disk = Arc::clone(&self.segments.journal.disk);
            let unsynced = mem::take(&mut self.segments.unsynced);
            let done = move |synced| Done::Synced(until, failures, synced);
            self.queue(move |_| unsynced.sync(&*disk), done);
        }
    }

    /// Queues a job for the helper, which ends after the writer. The folder stays locked until the
    /// job is done.
    fn queue<T>(
        &self,
        job: impl FnOnce(Pause<'_>) -> Result<T, FileError> + Send + 'static,
        done: impl FnOnce(Result<T, FileError>) -> Done + Send + 'static,
    ) {
        let lock = self.segments.lock.clone();
        let dir = self.segments.journal.dir.clone();
        let _ = self.jobs.send(Box::new(move |pause| {
            let ended = unwind::catch("the second thread of a journal", || job(pause));
            drop(lock);
            done(ended.unwrap_or_else(|_| Err(panicked("sync or compact", &dir))))
        }));
    }

    pub(super) fn finish_jobs(&mut self) -> Result<(), FileError> {
        while let Ok(done) = self.done.try_recv() {
            match done {
                Done::Synced(until, failures, synced) => {
                    self.is_syncing = false;
                    if failures == self.failures {
                        synced?;
                        self.note_synced(until);
                    }
                }
                Done::Compacted(Ok(Some(copied))) => {
                    self.link.request_sync(copied.superseded_by);
                    self.copied = Some(copied);
                }
                Done::Compacted(ended) => self.end_compaction(ended.map(drop)),
            }
            self.update(|_| {});
        }
        self.replace_if_due();
        Ok(())
    }

    /// Replaces segments by the new one, once what supersedes the rest of them is on disk. Deletes
    /// it if the journal fails before, because the disk may be full.
    fn replace_if_due(&mut self) {
        let (synced, is_failing) = (self.synced, self.is_failing());
        let is_due = |copied: &mut Copied| copied.superseded_by <= synced || is_failing;
        let Some(copied) = self.copied.take_if(is_due) else {
            return;
        };
        if copied.superseded_by > synced {
            return self.end_compaction(self.segments.journal.remove_temporary());
        }
        if let Err(error) = self.segments.replace(copied.file) {
            return self.end_compaction(Err(error));
        }
        self.residue = copied.residue;
        let (journal, number) = (self.segments.journal.clone(), copied.file.number);
        let delete = move |_: Pause<'_>| journal.delete_before(number).map(|()| None);
        self.queue(delete, Done::Compacted);
    }

    fn end_compaction(&mut self, ended: Result<(), FileError>) {
        self.is_compacting = false;
        if let Err(error) = ended {
            self.notify(&JournalNotice::NotCompacted(error));
        }
    }

    pub(super) fn compact_if_due(&mut self, now: Now) {
        if now.steady < self.compact_at || self.is_compacting || self.is_failing() {
            return;
        }
        (self.compact_at, self.is_compacting) = (now.steady + COMPACT, true);
        let (files, until) = self.segments.closed();
        let compaction = Compaction {
            journal: self.segments.journal.clone(),
            source: self.source.clone(),
            files: files.to_vec(),
            until: until.unwrap_or(self.written),
            residue: self.residue,
        };
        self.queue(move |pause| compaction.copy(pause), Done::Compacted);
    }
}

/// How often the journal looks for events that have expired, besides after the end of a segment.
const COMPACT: Duration = Duration::from_secs(60);
