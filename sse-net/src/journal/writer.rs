//! The state machine that writes events and moves the mark.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use sse_core::{LogId, Now, SegmentEntry as Entry};

use super::batch::{collect, head};
use super::compact::Compaction;
use super::disk::FileError;
use super::handle::{Link, Status};
use super::helper::{Done, Helper, Job};
use super::notice::JournalNotice;
use super::segments::Segments;
use super::{Journal, SyncPolicy, WhileFailing};
use crate::topic::{News, Source};

/// Writes the events of a hub, or of a topic that stands alone, and moves the mark.
///
/// It has no thread and no clock: [`step`](Self::step) does the next piece of work and returns
/// when the next one is due.
pub(super) struct Writer {
    source: Source,
    journal: Journal,
    segments: Segments,
    link: Arc<Link>,
    state: State,
    /// What is being written. Later events have not been seen.
    goal: News,
    /// Up to where events have been written to segments that count.
    written: LogId,
    /// Up to where events are known to be on disk. After a failure, `written` falls back to it.
    synced: LogId,
    /// The last ID that was ever written. Events that are evicted before it are not missed.
    reached: LogId,
    /// The open segment has all events after this ID.
    begin: LogId,
    /// The entries that are written next.
    batch: Vec<u8>,
    pause_until: Duration,
    sync_at: Option<Duration>,
    check_at: Duration,
    compact_at: Duration,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    is_syncing: bool,
    is_compacting: bool,
    /// The number of failures. Syncs that began before the last one do not count.
    failures: u64,
    /// Of the last compaction; see [`Compaction`].
    residue: u64,
    /// How often topics have evicted events before they were written, and the last such event.
    missed: (usize, LogId),
}

/// ```text
///           events                     written, and synced if the policy says so
///   Idle ──────────> Writing ─────────────────────────────────────────────────> Idle
///    ^                  │
///    │                  │ an error: the segment is abandoned, and only what has
///    │                  v been synced counts as written
///    │  a second later Failed <──── an error ────┐
///    │                  │                        │
///    │                  └────────────────> Recovering
///    └── everything has been written and synced ─┘
/// ```
///
/// An error of a sync, or a file that is gone, leads from `Idle` to `Failed`, too. In `Failed` and
/// `Recovering` the mark moves on without the disk, unless events are to be held back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Writing,
    Failed { retry_at: Duration },
    Recovering,
}

/// When the next step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    None,
    /// Not before this time of the steady clock.
    Pause(Duration),
    /// At this time of the steady clock, or when there is something to do.
    Until(Duration),
    /// Never.
    End,
}

impl Writer {
    /// Begins a segment for a run of the hub or topic. All events are restored ones, up to `last`.
    ///
    /// Those after `synced` are written again: nobody knows whether they are on disk.
    pub(super) fn new(
        source: Source,
        journal: Journal,
        segments: Segments,
        link: Arc<Link>,
        [synced, last]: [LogId; 2],
        now: Now,
    ) -> Result<(Self, Helper), FileError> {
        let ((jobs, to_do), (done_by, done)) = (channel(), channel());
        let helper = Helper {
            jobs: to_do,
            done: done_by,
            link: Arc::clone(&link),
        };
        let mut writer = Self {
            state: State::Recovering,
            goal: source.news_after(synced),
            written: synced,
            synced,
            reached: last,
            begin: synced,
            batch: Vec::new(),
            pause_until: Duration::ZERO,
            sync_at: None,
            check_at: now.steady + CHECK,
            compact_at: now.steady,
            jobs,
            done,
            is_syncing: false,
            is_compacting: false,
            failures: 0,
            residue: 0,
            missed: (0, LogId::default()),
            source,
            journal,
            segments,
            link,
        };
        while writer.written < writer.goal.until {
            writer.write(now)?;
        }
        // Whatever the policy: IDs of this run have to be known after a power failure.
        writer.sync()?;
        writer.finish_batch(now);
        writer.compact_if_due(now);
        writer.update(|_| {});
        Ok((writer, helper))
    }

    /// Does the next piece of work.
    pub(super) fn step(&mut self, now: Now) -> Rest {
        let rest = self.try_step(now);
        rest.unwrap_or_else(|error| self.fail(error, now))
    }

    fn try_step(&mut self, now: Now) -> Result<Rest, FileError> {
        let is_closing = self.link.is_closing();
        self.finish_jobs()?;
        if now.steady >= self.check_at {
            self.check(now)?;
        }
        self.sync_if_due(now)?;
        self.compact_if_due(now);
        if now.steady < self.pause_until && !is_closing {
            return Ok(Rest::Pause(self.pause_until));
        }
        match self.state {
            State::Idle if self.source.last() > self.written => {
                self.goal = self.source.news();
                self.state = State::Writing;
            }
            State::Idle if is_closing => return self.close(),
            State::Idle => {
                let sync_at = self.sync_at.filter(|_| !self.is_syncing);
                let due = sync_at.map_or(self.check_at, |at| at.min(self.check_at));
                return Ok(Rest::Until(due));
            }
            State::Writing => {
                self.write(now)?;
                self.source.set_visible(self.written, &self.goal.topics);
                if self.written >= self.goal.until {
                    self.finish_batch(now);
                }
                self.update(|_| {});
            }
            State::Failed { retry_at } if now.steady < retry_at && !is_closing => {
                self.deliver(now);
                return Ok(Rest::Until(retry_at));
            }
            State::Failed { .. } => {
                let _ = self.check_files(); // What is gone is written again.
                self.written = self.synced;
                self.segments.prepare()?;
                self.goal = self.source.news_after(self.synced);
                self.state = State::Recovering;
            }
            State::Recovering => {
                self.deliver(now);
                self.write(now)?;
                if self.written >= self.goal.until {
                    self.recover(now)?;
                }
            }
        }
        Ok(Rest::None)
    }

    /// Writes the next events of the goal.
    fn write(&mut self, now: Now) -> Result<(), FileError> {
        let (from, reached) = (self.written, self.reached);
        let collected = collect(&self.goal, from, &mut self.batch);
        let until = collected.until;
        for (topic, after, evicted) in collected.evicted {
            if evicted > reached {
                self.missed = (self.missed.0 + 1, evicted.max(self.missed.1));
                let missed = |status: &mut Status| {
                    status.missed.add(topic, after.max(reached), evicted);
                };
                self.link.status.send_modify(missed);
            }
        }
        let appended = self.segments.append(&self.batch, || {
            self.begin = from;
            head(&self.source, from, self.synced)
        });
        self.batch.clear();
        appended?;
        self.written = until;
        self.reached = self.reached.max(until);
        match self.journal.sync {
            SyncPolicy::Never => {}
            SyncPolicy::Interval(interval) => {
                let due = now.steady.saturating_add(interval);
                self.sync_at.get_or_insert(due);
            }
            SyncPolicy::EveryEvent if self.state == State::Recovering => {}
            SyncPolicy::EveryEvent => self.sync()?,
        }
        if self.segments.rotate() {
            self.compact_at = now.steady;
            self.sync_at = Some(now.steady); // Else closed files would stay open.
        }
        Ok(())
    }

    fn finish_batch(&mut self, now: Now) {
        self.state = State::Idle;
        self.goal.topics = Vec::new();
        self.batch.shrink_to(MAX_IDLE);
        if self.journal.sync != SyncPolicy::EveryEvent {
            self.pause_until = now.steady + PAUSE;
        }
    }

    /// Makes events visible though they are not stored, unless they are to be held back.
    fn deliver(&mut self, now: Now) {
        let news = self.source.news();
        if news.until > self.goal.until {
            self.pause_until = now.steady + PAUSE;
        }
        if self.journal.while_failing == WhileFailing::Deliver {
            self.source.set_visible(news.until, &news.topics);
        }
        self.goal.add(news);
    }

    fn fail(&mut self, error: FileError, now: Now) -> Rest {
        let was_failing = self.is_failing();
        self.segments.abandon(self.state == State::Recovering);
        self.batch.clear();
        self.written = self.synced;
        self.sync_at = None;
        self.failures += 1;
        let retry_at = now.steady + RETRY;
        self.state = State::Failed { retry_at };
        self.update(|status| status.failure = Some(error.clone()));
        if was_failing {
            return if self.link.is_closing() {
                Rest::End
            } else {
                Rest::None
            };
        }
        // What was being written is delivered, too.
        self.goal = self.source.news_after(self.synced);
        if self.journal.while_failing == WhileFailing::Deliver {
            self.source.set_visible(self.goal.until, &self.goal.topics);
        }
        self.notify(&JournalNotice::Failed(error));
        Rest::None
    }

    fn recover(&mut self, now: Now) -> Result<(), FileError> {
        if self.journal.sync != SyncPolicy::Never {
            self.sync()?;
        }
        self.source.set_visible(self.written, &self.goal.topics);
        self.finish_batch(now);
        self.update(|status| status.failure = None);
        self.report_missed();
        self.notify(&JournalNotice::Recovered);
        Ok(())
    }

    fn close(&mut self) -> Result<Rest, FileError> {
        if self.journal.sync != SyncPolicy::Never {
            self.sync()?;
            let _ = self.segments.append(&self.batch, Vec::new); // It spares the next start work.
        }
        Ok(Rest::End)
    }

    /// Syncs in this thread.
    fn sync(&mut self) -> Result<(), FileError> {
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
    fn sync_if_due(&mut self, now: Now) -> Result<(), FileError> {
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

    fn finish_jobs(&mut self) -> Result<(), FileError> {
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

    /// Does what is due every second.
    fn check(&mut self, now: Now) -> Result<(), FileError> {
        self.check_at = now.steady + CHECK;
        self.report_missed();
        // A compaction deletes files itself.
        if self.is_failing() || self.is_compacting {
            return Ok(());
        }
        self.check_files()
    }

    /// Returns an error if a file is gone. Then nothing is safe any more.
    fn check_files(&mut self) -> Result<(), FileError> {
        self.segments.check().inspect_err(|error| {
            if error.io_error().kind() == ErrorKind::NotFound {
                self.synced = LogId::default();
            }
        })
    }

    fn compact_if_due(&mut self, now: Now) {
        if now.steady < self.compact_at || self.is_compacting || self.is_failing() {
            return;
        }
        (self.compact_at, self.is_compacting) = (now.steady + COMPACT, true);
        let files = self.segments.closed().to_vec();
        let is_open = files.len() < self.segments.files.len();
        let compaction = Compaction {
            disk: Arc::clone(&self.segments.disk),
            dir: self.segments.dir.clone(),
            source: self.source.clone(),
            files,
            until: if is_open { self.begin } else { self.written },
            segment_bytes: self.journal.segment_bytes,
            residue: self.residue,
        };
        self.give(move |pause| Done::Compacted(compaction.run(pause)));
    }

    fn report_missed(&mut self) {
        let (topics, until) = std::mem::take(&mut self.missed);
        if topics > 0 {
            self.notify(&JournalNotice::Missed(topics, until));
        }
    }

    const fn is_failing(&self) -> bool {
        matches!(self.state, State::Failed { .. } | State::Recovering)
    }

    fn notify(&self, notice: &JournalNotice) {
        if self.journal.notify(notice).is_err() {
            self.update(|status| status.state.panics += 1);
        }
    }

    /// Changes the state that callers see, and wakes those that wait for it.
    fn update(&self, change: impl FnOnce(&mut Status)) {
        let has_stored = self.journal.sync == SyncPolicy::Never && !self.is_failing();
        let stored = if has_stored {
            self.written
        } else {
            self.synced
        };
        let files = &self.segments.files;
        self.link.status.send_modify(|status| {
            status.synced = self.synced;
            status.state.stored = stored;
            status.state.segments = files.len();
            status.state.bytes = files.iter().map(|file| file.len).sum();
            change(status);
            status.state.is_storing = status.failure.is_none();
        });
    }
}

/// The maximum capacity of the idle buffer in bytes.
const MAX_IDLE: usize = 256 << 10;

/// The pause after a batch, so that frequent events are written together. Each write costs some
/// 30 µs of CPU time, whatever its length.
const PAUSE: Duration = Duration::from_micros(500);

/// The time between a failure and the next attempt.
const RETRY: Duration = Duration::from_secs(1);

/// How often the journal looks whether its files are still there.
const CHECK: Duration = Duration::from_secs(1);

/// How often the journal looks for events that have expired, besides after the end of a segment.
const COMPACT: Duration = Duration::from_secs(60);

/// The number of files that wait for a sync before the writer waits for it.
const MAX_UNSYNCED: usize = 8;
