//! When the writer syncs and compacts.

use std::sync::Arc;
use std::time::Duration;

use sse_core::{LogId, Now, SegmentEntry as Entry};

use super::compact::Compaction;
use super::disk::FileError;
use super::helper::Done;
use super::notice::JournalNotice;
use super::writer::Writer;

impl Writer {
    /// Syncs in this thread.
    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        self.segments.take_unsynced().sync(&*self.segments.disk)?;
        self.note_synced(self.written);
        Ok(())
    }

    /// Notes in the journal that a sync has succeeded, with the next batch.
    fn note_synced(&mut self, until: LogId) {
        self.synced = until.max(self.synced);
        Entry::Synced(self.synced).encode(&mut self.batch);
    }

    /// Lets the helper sync if that is due, or syncs at once if many files wait for it.
    pub(super) fn sync_if_due(&mut self, now: Now) -> Result<(), FileError> {
        let wanted = self.link.sync_wanted();
        let is_asked = wanted > self.synced && wanted <= self.written;
        let is_due = is_asked || self.sync_at.is_some_and(|at| at <= now.steady);
        if self.is_failing() || !is_due {
            return Ok(());
        }
        if self.segments.unsynced() > MAX_UNSYNCED {
            self.sync_at = None;
            return self.sync();
        }
        if !self.is_syncing {
            (self.sync_at, self.is_syncing) = (None, true);
            let (until, failures) = (self.written, self.failures);
            let (files, disk) = (
                self.segments.take_unsynced(),
                Arc::clone(&self.segments.disk),
            );
            self.give(move |_| Done::Synced(until, failures, files.sync(&*disk)));
        }
        Ok(())
    }

    /// Gives the helper a job. It ends after the writer.
    fn give(&self, job: impl FnOnce(&mut dyn FnMut()) -> Done + Send + 'static) {
        let _ = self.jobs.send(Box::new(job));
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
                Done::Compacted(compacted) => {
                    self.is_compacting = false;
                    let error = match compacted {
                        Ok(Some(compacted)) => {
                            self.segments.replace(compacted.file);
                            self.residue = compacted.residue;
                            compacted.error
                        }
                        Ok(None) => None,
                        Err(error) => Some(error),
                    };
                    if let Some(error) = error {
                        self.notify(&JournalNotice::NotCompacted(error));
                    }
                }
            }
            self.update(|_| {});
        }
        Ok(())
    }

    pub(super) fn compact_if_due(&mut self, now: Now) {
        if now.steady < self.compact_at || self.is_compacting || self.is_failing() {
            return;
        }
        (self.compact_at, self.is_compacting) = (now.steady + COMPACT, true);
        let (files, until) = self.segments.closed();
        let compaction = Compaction {
            disk: Arc::clone(&self.segments.disk),
            dir: self.segments.dir.clone(),
            source: self.source.clone(),
            files: files.to_vec(),
            until: until.unwrap_or(self.written),
            segment_bytes: self.journal.segment_bytes,
            residue: self.residue,
        };
        self.give(move |pause| Done::Compacted(compaction.run(pause)));
    }
}

/// How often the journal looks for events that have expired, besides after the end of a segment.
const COMPACT: Duration = Duration::from_secs(60);

/// The number of files that wait for a sync before the writer waits for it.
const MAX_UNSYNCED: usize = 8;
