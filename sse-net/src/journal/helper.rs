//! The thread that syncs and compacts, so that the writer does not wait for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use sse_core::LogId;

use super::compact::{Compacted, Compaction};
use super::disk::{Disk, FileError};
use super::handle::Link;
use super::segments::ToSync;
use crate::topic::Source;

/// The second thread of a journal. It has at most one sync and one compaction to do.
pub(super) struct Helper {
    pub(super) jobs: Receiver<Job>,
    pub(super) done: Sender<Done>,
    pub(super) link: Arc<Link>,
}

pub(super) enum Job {
    Sync(ToSync, Arc<dyn Disk>, SyncKey),
    Compact(Compaction, Source),
}

/// What a sync covers: all up to an ID, unless the writer has failed since.
#[derive(Clone, Copy)]
pub(super) struct SyncKey {
    pub(super) until: LogId,
    pub(super) failures: u64,
}

pub(super) enum Done {
    Synced(SyncKey, Result<(), FileError>),
    Compacted(Result<Option<Compacted>, FileError>),
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
        let done = match job {
            Job::Sync(files, disk, key) => Done::Synced(key, files.sync(&*disk)),
            Job::Compact(compaction, source) => {
                // A sync does not wait for it.
                let compacted = compaction.run(&source.retained(), &mut || self.work_all());
                Done::Compacted(compacted)
            }
        };
        let _ = self.done.send(done); // The writer may have ended.
        self.link.bell.ring();
    }
}
