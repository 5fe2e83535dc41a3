//! The thread that syncs and compacts, so that the writer does not wait for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use sse_core::LogId;

use super::compact::Copied;
use super::disk::FileError;
use super::link::Link;
use super::writer_waker::Urgency;

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
    Copied(Result<Option<Copied>, FileError>),
    /// Files that a compaction has replaced, or that are not needed, were deleted.
    Deleted(Result<(), FileError>),
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
