//! The thread that forces to the disk what a journal has written.

use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;
use std::{io, mem};

use crate::journal::{Journal, JournalNotice, SyncPolicy};
use crate::keeper::RETRY;
use crate::segments::{FileError, Segments, failed, sync};

/// Syncs files now and then, so that writing does not wait for it.
pub(crate) struct Syncer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
    policy: SyncPolicy,
}

/// What is to be synced.
#[derive(Default)]
struct Queue {
    dirty: Mutex<Dirty>,
    changed: Condvar,
    /// Held during a sync: who has it knows that no other is going on.
    syncing: Mutex<()>,
}

#[derive(Default)]
struct Dirty {
    files: Vec<Arc<File>>,
    is_closing: bool,
}

impl Dirty {
    /// Gives whether it was not there yet.
    fn add(&mut self, file: &Arc<File>) -> bool {
        let is_new = !self.files.iter().any(|known| Arc::ptr_eq(known, file));
        if is_new {
            self.files.push(Arc::clone(file));
        }
        is_new
    }
}

impl Syncer {
    pub(crate) fn start(journal: &Journal) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let thread = match journal.sync {
            SyncPolicy::Interval(interval) => {
                let (queue, journal) = (Arc::clone(&queue), journal.clone());
                let thread = thread::Builder::new().name("sse-journal-sync".to_owned());
                Some(thread.spawn(move || queue.run(interval, &journal))?)
            }
            SyncPolicy::Never | SyncPolicy::EveryEvent => None,
        };
        Ok(Self {
            queue,
            thread,
            policy: journal.sync,
        })
    }

    /// Which thread syncs now and then, if one does.
    pub(crate) fn thread_id(&self) -> Option<ThreadId> {
        self.thread.as_ref().map(|thread| thread.thread().id())
    }

    /// Says that there is something to sync.
    pub(crate) fn mark(&self, segments: &Segments) {
        if self.thread.is_none() {
            return;
        }
        let mut dirty = self.queue.lock();
        for file in segments.to_sync() {
            if dirty.add(file) {
                self.queue.changed.notify_one();
            }
        }
    }

    /// Syncs everything at once, unless that is the system's affair.
    pub(crate) fn sync(&self, segments: &Segments) -> Result<(), FileError> {
        match self.policy {
            SyncPolicy::Never | SyncPolicy::EveryEvent => Ok(()),
            SyncPolicy::Interval(_) => self.queue.sync().map_err(failed("sync", segments.dir())),
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.queue.lock().is_closing = true;
        self.queue.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // It has told what was wrong.
        }
    }
}

impl Queue {
    fn run(&self, interval: Duration, journal: &Journal) {
        let mut is_failing = false;
        loop {
            let dirty = self.lock();
            let wait = |dirty: &mut Dirty| !dirty.is_closing && dirty.files.is_empty();
            let dirty = self.changed.wait_while(dirty, wait);
            let dirty = dirty.unwrap_or_else(PoisonError::into_inner);
            // So long what comes meanwhile may wait, too.
            let patience = match is_failing {
                true => interval.max(RETRY),
                false => interval,
            };
            let wait = self
                .changed
                .wait_timeout_while(dirty, patience, |dirty| !dirty.is_closing);
            let (dirty, _) = wait.unwrap_or_else(PoisonError::into_inner);
            if dirty.is_closing {
                return; // What is left is synced by who closes.
            }
            drop(dirty);
            match self.sync().map_err(failed("sync", &journal.dir)) {
                Ok(()) => is_failing = false,
                Err(error) if !is_failing => {
                    is_failing = true;
                    journal.tell(&JournalNotice::NotSynced(error));
                }
                Err(_) => {}
            }
        }
    }

    /// Syncs what there is. What can't be synced stays, to be tried again.
    fn sync(&self) -> io::Result<()> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = mem::take(&mut self.lock().files);
        let mut synced = Ok(());
        for file in &files {
            if let Err(error) = sync(file) {
                self.lock().add(file);
                synced = Err(error);
            }
        }
        synced
    }

    fn lock(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn what_could_not_be_synced_is_not_taken_for_synced_afterwards() {
        let (pipe, _writer) = io::pipe().unwrap(); // Pipes can't be synced.
        let pipe = Arc::new(File::from(std::os::fd::OwnedFd::from(pipe)));
        let file = Arc::new(File::open(env!("CARGO_MANIFEST_DIR")).unwrap());
        let queue = Queue::default();
        queue.lock().files = vec![pipe, file];
        for _ in 0..2 {
            assert!(queue.sync().is_err());
            assert_eq!(queue.lock().files.len(), 1, "the other has been synced");
        }
    }
}
