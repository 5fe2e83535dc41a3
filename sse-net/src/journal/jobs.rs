//! When the writer syncs and compacts.

use std::sync::Arc;
use std::time::Duration;

use sse_core::{LogId, Now, SegmentEntry as Entry};

use super::compact::{Compaction, Copied};
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
        self.source.set_safe(self.synced);
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
            self.queue(move |_| Done::Synced(until, failures, files.sync(&*disk)));
        }
        Ok(())
    }

    /// Queues a job for the helper, which ends after the writer.
    fn queue(&self, job: impl FnOnce(&mut dyn FnMut()) -> Done + Send + 'static) {
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
                Done::Copied(Ok(Some(copied))) => {
                    // Else nothing would be synced without new events.
                    self.sync_at = Some(Duration::ZERO);
                    self.copied = Some(copied);
                }
                Done::Copied(Ok(None)) | Done::Compacted(Ok(None)) => self.is_compacting = false,
                Done::Copied(Err(error)) | Done::Compacted(Err(error)) => {
                    self.is_compacting = false;
                    self.notify(&JournalNotice::NotCompacted(error));
                }
                Done::Compacted(Ok(Some(compacted))) => {
                    self.is_compacting = false;
                    self.segments.replace(compacted.file);
                    self.residue = compacted.residue;
                    if let Some(error) = compacted.error {
                        self.notify(&JournalNotice::NotCompacted(error));
                    }
                }
            }
            self.update(|_| {});
        }
        self.replace_if_due();
        Ok(())
    }

    /// Lets the helper replace segments by the new one, once what supersedes the rest of them is
    /// on disk. After a failure that is not known.
    fn replace_if_due(&mut self) {
        let (synced, failures) = (self.synced, self.failures);
        let has_failed = |copied: &Copied| copied.compaction.failures != failures;
        let is_due = |copied: &mut Copied| has_failed(copied) || copied.superseded_by <= synced;
        let Some(copied) = self.copied.take_if(is_due) else {
            return;
        };
        if has_failed(&copied) {
            self.queue(move |_| Done::Copied(copied.compaction.remove().map(|()| None)));
        } else {
            self.queue(move |_| Done::Compacted(copied.replace()));
        }
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
            failures: self.failures,
        };
        self.queue(move |pause| Done::Copied(compaction.copy(pause)));
    }
}

/// How often the journal looks for events that have expired, besides after the end of a segment.
const COMPACT: Duration = Duration::from_secs(60);

/// The number of files that wait for a sync before the writer waits for it.
const MAX_UNSYNCED: usize = 8;
