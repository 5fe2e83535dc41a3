//! The thread that forces written events to the disk at an interval.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{io, mem};

use sse_core::Cursor;

use super::disk::{FileError, Handle};
use super::segments::Segments;
use crate::journal::SyncPolicy;

/// A thread that syncs files at an interval, so that writes do not wait for it.
///
/// After a failed sync, an operating system may drop the unwritten data, and the next sync of the
/// file succeeds. So no file is synced again after an error: everything since the last successful
/// sync counts as not written.
pub(crate) struct SyncThread {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

/// The files to sync, shared with the thread.
struct Queue {
    dirty: Mutex<Dirty>,
    changed: Condvar,
    /// Held during a sync, so that only one runs at a time.
    syncing: Mutex<()>,
}

struct Dirty {
    files: Vec<Arc<Handle>>,
    /// All events before this cursor have been written.
    written: Cursor,
    /// All events before this cursor are on disk.
    synced: Cursor,
    failed: Option<FileError>,
    is_closing: bool,
}

impl SyncThread {
    /// Starts the thread if the policy needs one. Everything before `cursor` is on disk.
    ///
    /// `on_error` is called after a failed sync; [`sync`](Self::sync) then returns the error.
    pub(crate) fn start(
        policy: SyncPolicy,
        cursor: Cursor,
        on_error: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(cursor));
        let thread = match policy {
            SyncPolicy::Interval(interval) => {
                let queue = Arc::clone(&queue);
                let thread = thread::Builder::new().name("sse-journal-sync".to_owned());
                Some(thread.spawn(move || queue.run(interval, on_error))?)
            }
            SyncPolicy::Never | SyncPolicy::EveryEvent => None,
        };
        Ok(Self { queue, thread })
    }

    /// Queues the files that have been written up to `cursor`.
    pub(crate) fn mark(&self, segments: &Segments, cursor: Cursor) {
        if self.thread.is_some() {
            self.queue.mark(segments.to_sync(), cursor);
        }
    }

    /// Syncs all queued files now.
    ///
    /// # Errors
    ///
    /// The first failure since the last call, and the cursor up to which events are on disk.
    pub(crate) fn sync(&self) -> Result<(), (FileError, Cursor)> {
        self.queue.sync();
        let mut dirty = self.queue.lock();
        match dirty.failed.take() {
            None => Ok(()),
            Some(error) => Err((error, dirty.synced)),
        }
    }
}

impl Drop for SyncThread {
    fn drop(&mut self) {
        self.queue.lock().is_closing = true;
        self.queue.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // The thread does not panic.
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

    fn run(&self, interval: Duration, on_error: impl Fn()) {
        loop {
            let wait = |dirty: &mut Dirty| !dirty.is_closing && dirty.files.is_empty();
            drop(self.wait(None, wait));
            // Collect more files during the interval.
            let wait = |dirty: &mut Dirty| !dirty.is_closing && dirty.files.len() < MAX_FILES;
            if self.wait(Some(interval), wait).is_closing {
                return; // The writer syncs the rest when it ends.
            }
            self.sync();
            if self.lock().failed.is_some() {
                on_error();
            }
        }
    }

    /// Adds files to the queue. Blocks while it is full.
    fn mark<'a>(&self, files: impl Iterator<Item = &'a Arc<Handle>>, cursor: Cursor) {
        let mut dirty = self.wait(None, |dirty| dirty.files.len() >= MAX_FILES);
        if dirty.failed.is_some() {
            return; // The events will be written again, to another file.
        }
        dirty.written = cursor;
        for file in files {
            if !dirty.files.iter().any(|known| Arc::ptr_eq(known, file)) {
                dirty.files.push(Arc::clone(file));
                self.changed.notify_all();
            }
        }
    }

    /// Syncs the queued files.
    fn sync(&self) {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dirty = self.lock();
        let (files, written) = (mem::take(&mut dirty.files), dirty.written);
        drop(dirty);
        self.changed.notify_all();
        self.finish_sync(written, files.iter().try_for_each(|file| file.sync()));
    }

    /// Records the result of a sync up to `written`.
    fn finish_sync(&self, written: Cursor, synced: Result<(), FileError>) {
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

/// The maximum number of queued files. A full segment stays open until it is synced, and the
/// number of open files is limited.
const MAX_FILES: usize = 32;

#[cfg(test)]
mod tests {
    use sse_core::{Event, Log, Retention};

    use std::sync::mpsc;

    use super::*;
    use crate::journal::disk::failed;

    #[test]
    fn a_failed_sync_wakes_a_writer_that_waits_for_the_queue() {
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
            queue.finish_sync(Cursor::default(), Err(error));
        });
        assert!(queue.lock().files.is_empty());
    }

    #[test]
    fn the_queue_of_files_is_bounded() {
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
