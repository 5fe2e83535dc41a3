//! The thread that forces to the disk what a journal has written.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, mem};

use sse_core::Cursor;

use super::disk::{FileError, Handle};
use super::segments::Segments;
use crate::journal::SyncPolicy;

/// Syncs files now and then, so that writing does not wait for it.
///
/// A system tells only once that it could not sync a file, and takes what it did not write for
/// written from then on. So no file is tried again: everything after the last successful sync
/// counts as not written.
pub(crate) struct Syncer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// What is to be synced.
struct Queue {
    dirty: Mutex<Dirty>,
    changed: Condvar,
    /// Held during a sync: who has it knows that no other is going on.
    syncing: Mutex<()>,
}

struct Dirty {
    files: Vec<Arc<Handle>>,
    /// Everything before has been written to them, or synced before.
    written: Cursor,
    /// Everything before is on disk.
    synced: Cursor,
    failed: Option<FileError>,
    is_closing: bool,
}

impl Syncer {
    /// Goes on after `cursor`. When a sync has failed, `call` says that it is time for
    /// [`sync`](Self::sync).
    pub(crate) fn start(
        policy: SyncPolicy,
        cursor: Cursor,
        call: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(cursor));
        let thread = match policy {
            SyncPolicy::Interval(interval) => {
                let queue = Arc::clone(&queue);
                let thread = thread::Builder::new().name("sse-journal-sync".to_owned());
                Some(thread.spawn(move || queue.run(interval, call))?)
            }
            SyncPolicy::Never | SyncPolicy::EveryEvent => None,
        };
        Ok(Self { queue, thread })
    }

    /// Says that there is something to sync: what has been written up to `cursor`.
    pub(crate) fn mark(&self, segments: &Segments, cursor: Cursor) {
        if self.thread.is_some() {
            self.queue.mark(segments.to_sync(), cursor);
        }
    }

    /// Syncs everything at once, unless that is the system's affair.
    ///
    /// # Errors
    ///
    /// What failed, since this was last called, and after which cursor that leaves in doubt
    /// what has been written.
    pub(crate) fn sync(&self) -> Result<(), (FileError, Cursor)> {
        self.queue.sync();
        let mut dirty = self.queue.lock();
        match dirty.failed.take() {
            None => Ok(()),
            Some(error) => Err((error, dirty.synced)),
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.queue.lock().is_closing = true;
        self.queue.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // Nothing in it panics.
        }
    }
}

impl Queue {
    fn new(cursor: Cursor) -> Self {
        Self {
            dirty: Mutex::new(Dirty {
                files: Vec::new(),
                written: cursor,
                synced: cursor,
                failed: None,
                is_closing: false,
            }),
            changed: Condvar::new(),
            syncing: Mutex::default(),
        }
    }

    fn run(&self, interval: Duration, call: impl Fn()) {
        loop {
            let wait = |dirty: &mut Dirty| !dirty.is_closing && dirty.files.is_empty();
            drop(self.wait(None, wait));
            // So long what comes meanwhile may wait, too.
            let wait = |dirty: &mut Dirty| !dirty.is_closing && dirty.files.len() < MAX_FILES;
            if self.wait(Some(interval), wait).is_closing {
                return; // What is left is synced by who closes.
            }
            self.sync();
            if self.lock().failed.is_some() {
                call();
            }
        }
    }

    /// Waits while there are too many files already.
    fn mark<'a>(&self, files: impl Iterator<Item = &'a Arc<Handle>>, cursor: Cursor) {
        let mut dirty = self.wait(None, |dirty| dirty.files.len() >= MAX_FILES);
        if dirty.failed.is_some() {
            return; // It has to be written anew.
        }
        dirty.written = cursor;
        for file in files {
            if !dirty.files.iter().any(|known| Arc::ptr_eq(known, file)) {
                dirty.files.push(Arc::clone(file));
                self.changed.notify_all();
            }
        }
    }

    /// Syncs what there is.
    fn sync(&self) {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dirty = self.lock();
        let (files, written) = (mem::take(&mut dirty.files), dirty.written);
        drop(dirty);
        self.changed.notify_all();
        self.conclude(written, files.iter().try_for_each(|file| file.sync()));
    }

    /// Says what became of what had been `written`.
    fn conclude(&self, written: Cursor, synced: Result<(), FileError>) {
        let mut dirty = self.lock();
        match synced {
            Ok(()) if dirty.failed.is_none() => dirty.synced = written,
            Ok(()) => {}
            Err(error) => {
                dirty.failed = Some(error);
                dirty.written = dirty.synced;
                dirty.files.clear();
                self.changed.notify_all();
            }
        }
    }

    fn wait(
        &self,
        time: Option<Duration>,
        is_waiting: impl FnMut(&mut Dirty) -> bool,
    ) -> MutexGuard<'_, Dirty> {
        let dirty = self.lock();
        match time {
            None => {
                let wait = self.changed.wait_while(dirty, is_waiting);
                wait.unwrap_or_else(PoisonError::into_inner)
            }
            Some(time) => {
                let wait = self.changed.wait_timeout_while(dirty, time, is_waiting);
                wait.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many files wait at most: each segment that ends before it is synced is one, and the
/// system bounds how many a process has open.
const MAX_FILES: usize = 32;

#[cfg(test)]
mod tests {
    use sse_core::{Event, Log, Retention};

    use std::sync::mpsc;

    use super::*;
    use crate::journal::disk::failed;

    #[test]
    fn who_waits_while_a_sync_fails_goes_on() {
        let queue = Queue::new(Cursor::default());
        let dir = std::env::temp_dir();
        let file = || Arc::new(Handle::directory(dir.clone()).unwrap());
        for _ in 0..MAX_FILES {
            queue.mark([&file()].into_iter(), Cursor::default());
        }
        let (begins, began) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                begins.send(()).unwrap();
                queue.mark([&file()].into_iter(), Cursor::default());
            });
            began.recv().unwrap();
            (0..1000).for_each(|_| thread::yield_now());
            let error = failed("sync", &dir)(io::Error::from_raw_os_error(5));
            queue.conclude(Cursor::default(), Err(error));
        });
        assert!(queue.lock().files.is_empty());
    }

    #[test]
    fn files_do_not_pile_up() {
        let queue = Queue::new(Cursor::default());
        thread::scope(|scope| {
            scope.spawn(|| queue.run(Duration::from_secs(3600), || panic!("nothing fails")));
            let mut log = Log::new(Retention::default());
            for _ in 1..1000 {
                let file = Arc::new(Handle::directory(std::env::temp_dir()).unwrap());
                log.append(&Event::new(), Duration::ZERO);
                queue.mark([&file].into_iter(), log.tip());
                assert!(queue.lock().files.len() <= MAX_FILES);
            }
            queue.lock().is_closing = true;
            queue.changed.notify_all();
        });
        assert!(queue.lock().synced > Cursor::default());
    }
}
