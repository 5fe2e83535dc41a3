//! The state machine that writes events and moves the mark.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{io, mem};

use sse_core::{LogId, Now, Record, SegmentState, Slice, Span};

use super::compact::{Compacted, Compaction};
use super::disk::FileError;
use super::ends::ends;
use super::handle::{Link, Status};
use super::helper::{Done, Helper, Job, SyncKey};
use super::notice::JournalNotice;
use super::segments::Segments;
use super::{Journal, SyncPolicy, WhileFailing};
use crate::topic::{News, Shared, Source};

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
    /// What is being written.
    goal: News,
    /// Up to where events have been seen, though perhaps not written.
    seen: LogId,
    /// Up to where events have been written to segments that count.
    written: LogId,
    /// Up to where events are as safe as the policy says.
    safe: LogId,
    /// Up to where events are known to be on disk. After a failure, `written` falls back to it.
    synced: LogId,
    /// The last ID that was ever written. Events that are evicted before it are not missed.
    reached: LogId,
    batch: Vec<u8>,
    pause_until: Duration,
    sync_at: Option<Duration>,
    check_at: Duration,
    compact_at: Duration,
    jobs: Sender<Job>,
    done: Receiver<Done>,
    /// What has been taken from `done`.
    finished: Option<Done>,
    is_syncing: bool,
    is_compacting: bool,
    /// The number of failures. Syncs that began before the last one do not count.
    failures: u64,
    /// Of the last compaction; see [`Compaction`].
    residue: u64,
    /// Topics that have evicted events before they were written, and the last such event.
    missed: (usize, LogId),
    is_closing: bool,
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
        let goal = source.news_after(synced);
        let mut writer = Self {
            state: State::Recovering,
            seen: goal.until,
            goal,
            written: synced,
            safe: synced,
            synced,
            reached: last,
            batch: Vec::new(),
            pause_until: Duration::ZERO,
            sync_at: None,
            check_at: now.steady + CHECK,
            compact_at: now.steady + COMPACT,
            jobs,
            done,
            finished: None,
            is_syncing: false,
            is_compacting: false,
            failures: 0,
            residue: 0,
            missed: (0, LogId::default()),
            is_closing: false,
            source,
            journal,
            segments,
            link,
        };
        writer.write(now)?;
        while writer.written < writer.goal.until {
            writer.write(now)?;
        }
        // Whatever the policy: IDs of this run have to be known after a power failure.
        writer.sync()?;
        writer.finish_batch(now);
        writer.compact();
        writer.update(|_| {});
        Ok((writer, helper))
    }

    /// Does the next piece of work.
    pub(super) fn step(&mut self, now: Now) -> Rest {
        let rest = self.try_step(now);
        rest.unwrap_or_else(|error| self.fail(&error, now))
    }

    /// Returns `true` if a step has something to do.
    pub(super) fn is_due(&mut self) -> bool {
        self.finished = self.finished.take().or_else(|| self.done.try_recv().ok());
        let wants_sync = self.link.sync_wanted() > self.synced && !self.is_failing();
        self.source.last() > self.seen
            || wants_sync && !self.is_syncing
            || self.finished.is_some()
            || self.link.is_closing() && !self.is_closing
    }

    fn try_step(&mut self, now: Now) -> Result<Rest, FileError> {
        self.finish_jobs()?;
        self.is_closing = self.link.is_closing();
        if now.steady >= self.check_at && !self.is_compacting {
            self.check_at = now.steady + CHECK;
            self.report_missed();
            if now.steady >= self.compact_at {
                self.compact_at = now.steady + COMPACT;
                self.compact();
            }
            if !self.is_failing() {
                self.check_files()?;
            }
        }
        self.sync_if_due(now)?;
        if now.steady < self.pause_until && !self.is_closing {
            return Ok(Rest::Pause(self.pause_until));
        }
        match self.state {
            State::Idle if self.source.last() > self.written => {
                self.goal = self.source.news();
                self.seen = self.goal.until;
                self.state = State::Writing;
            }
            State::Idle if self.is_closing => return self.close(),
            State::Idle => {
                let sync_at = self.sync_at.filter(|_| !self.is_syncing);
                return Ok(Rest::Until(
                    sync_at.unwrap_or(self.check_at).min(self.check_at),
                ));
            }
            State::Writing => {
                self.write(now)?;
                self.show();
                if self.written >= self.goal.until {
                    self.finish_batch(now);
                }
            }
            State::Failed { retry_at } if now.steady < retry_at && !self.is_closing => {
                self.deliver(now);
                return Ok(Rest::Until(retry_at));
            }
            State::Failed { .. } => {
                let _ = self.check_files(); // What is gone is written again.
                self.fall_back();
                self.segments.prepare()?;
                self.goal = self.source.news_after(self.synced);
                self.seen = self.goal.until;
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

    /// Returns an error if a file is gone. Then nothing is safe any more.
    fn check_files(&mut self) -> Result<(), FileError> {
        self.segments.check().inspect_err(|error| {
            if error.io_error().kind() == io::ErrorKind::NotFound {
                self.synced = LogId::default();
            }
        })
    }

    /// Goes back to what is known to be on disk.
    const fn fall_back(&mut self) {
        (self.written, self.safe) = (self.synced, self.synced);
    }

    fn finish_batch(&mut self, now: Now) {
        self.state = State::Idle;
        self.goal = News::default();
        self.batch.shrink_to(MAX_IDLE);
        if self.journal.sync != SyncPolicy::EveryEvent {
            self.pause_until = now.steady + PAUSE;
        }
    }

    /// Writes the next events of the goal, up to about [`MAX_BATCH`] bytes.
    fn write(&mut self, now: Now) -> Result<(), FileError> {
        let until = self.collect();
        self.append()?;
        self.written = until.max(self.written);
        self.reached = self.reached.max(until);
        match self.journal.sync {
            _ if self.state == State::Recovering => {}
            SyncPolicy::Never => self.safe = until,
            SyncPolicy::Interval(interval) => {
                self.sync_at
                    .get_or_insert(now.steady.saturating_add(interval));
            }
            SyncPolicy::EveryEvent => self.sync()?,
        }
        if self.segments.rotate() {
            self.compact();
            // Else closed files would stay open.
            self.sync_at = Some(now.steady);
        }
        Ok(())
    }

    /// Puts the next events of the goal into the batch, in the order of their IDs, and returns
    /// the ID up to which they are complete.
    fn collect(&mut self) -> LogId {
        let max = MAX_BATCH / self.goal.topics.len().max(1);
        let mut until = self.goal.until;
        let mut slices = Vec::new();
        let topics = mem::take(&mut self.goal.topics);
        let removed = mem::take(&mut self.goal.removed);
        for topic in &topics {
            let end = self.take_slices(topic, max, &mut slices);
            until = until.min(end);
        }
        let mut events: Vec<_> = slices
            .iter()
            .flat_map(|(topic, slice)| slice.events().map(move |(id, event)| (id, topic, event)))
            .filter(|(id, ..)| *id <= until)
            .collect();
        if topics.len() > 1 {
            events.sort_by_key(|(id, ..)| *id);
        }
        let mut ends = ends(&topics, &removed, self.written, until)
            .into_iter()
            .peekable();
        for (id, topic, event) in events {
            while let Some((_, state)) = ends.next_if(|(end, _)| *end <= id) {
                state.encode(&mut self.batch);
            }
            let name = topic.name().map(|name| &**name);
            Record::encode(id, name, event, &mut self.batch);
        }
        ends.for_each(|(_, state)| state.encode(&mut self.batch));
        (self.goal.topics, self.goal.removed) = (topics, removed);
        until
    }

    /// Takes up to about `max` bytes of a topic, and returns the ID up to which that is all.
    fn take_slices<'a>(
        &mut self,
        topic: &'a Arc<Shared>,
        max: usize,
        slices: &mut Vec<(&'a Arc<Shared>, Slice)>,
    ) -> LogId {
        let (mut at, mut len, until) = (self.written, 0, self.goal.until);
        while len <= max {
            let mut state = topic.lock();
            let (next, evicted) = (state.log.slice_between(at, until), state.log.evicted());
            drop(state);
            match next {
                Ok(Some(slice)) => {
                    len += slice.bytes().len();
                    at = slice.last_id();
                    slices.push((topic, slice));
                }
                Ok(None) => return until,
                Err(_) => {
                    self.skip(topic, evicted);
                    at = evicted;
                }
            }
        }
        at
    }

    /// Notes that events of a topic have been evicted before they could be written, or written
    /// again.
    fn skip(&mut self, topic: &Shared, evicted: LogId) {
        let state = SegmentState {
            evicted: vec![(evicted, topic.name().map(ToString::to_string))],
            ..SegmentState::default()
        };
        state.encode(&mut self.batch);
        if evicted > self.reached {
            self.missed = (self.missed.0 + 1, evicted.max(self.missed.1));
            let from = self.written;
            self.update(|status| status.missed = (from, evicted));
        }
    }

    /// Appends the batch to the newest segment.
    fn append(&mut self) -> Result<(), FileError> {
        let (source, from, synced) = (&self.source, self.written, self.synced);
        let head = || {
            let mut epochs = source.epochs();
            if let Some(current) = epochs.last_mut() {
                current.last = from.max(current.first);
            }
            let state = SegmentState {
                epochs,
                spans: vec![Span { from, to: None }],
                synced: Some(synced),
                ..SegmentState::default()
            };
            let mut head = Vec::new();
            state.encode(&mut head);
            head
        };
        let appended = self.segments.append(&self.batch, head);
        self.batch.clear();
        appended
    }

    /// Makes what has been written visible.
    fn show(&mut self) {
        self.source.set_visible(self.written, &self.goal.topics);
        self.update(|_| {});
    }

    /// Makes events visible though they are not stored, unless they are to be held back.
    fn deliver(&mut self, now: Now) {
        let mut news = self.source.news();
        if news.until > self.seen {
            self.pause_until = now.steady + PAUSE;
        }
        self.seen = news.until;
        if self.journal.while_failing == WhileFailing::Deliver {
            self.source.set_visible(news.until, &news.topics);
        }
        self.goal.until = news.until;
        self.goal.topics.append(&mut news.topics);
        self.goal.removed.append(&mut news.removed);
        self.goal.topics.sort_unstable_by_key(Arc::as_ptr);
        self.goal
            .topics
            .dedup_by(|one, other| Arc::ptr_eq(one, other));
    }

    fn recover(&mut self, now: Now) -> Result<(), FileError> {
        if self.journal.sync == SyncPolicy::Never {
            self.safe = self.written;
        } else {
            self.sync()?;
        }
        self.source.set_visible(self.written, &self.goal.topics);
        self.finish_batch(now);
        self.update(|status| status.failure = None);
        self.report_missed();
        self.notify(&JournalNotice::Recovered);
        Ok(())
    }

    fn fail(&mut self, error: &FileError, now: Now) -> Rest {
        self.segments.abandon(self.state == State::Recovering);
        self.batch.clear();
        self.fall_back();
        self.sync_at = None;
        self.failures += 1;
        let was_failing = self.is_failing();
        self.state = State::Failed {
            retry_at: now.steady + RETRY,
        };
        self.goal = News::default();
        // What was being written is delivered with the next step.
        self.update(|status| status.failure = Some(error.clone()));
        if !was_failing {
            self.goal = self.source.news_after(self.synced);
            self.seen = self.goal.until;
            if self.journal.while_failing == WhileFailing::Deliver {
                self.source.set_visible(self.goal.until, &self.goal.topics);
            }
            self.notify(&JournalNotice::Failed(error.clone()));
        } else if self.is_closing {
            return Rest::End;
        }
        Rest::None
    }

    fn close(&mut self) -> Result<Rest, FileError> {
        if self.journal.sync != SyncPolicy::Never {
            self.sync()?;
            let _ = self.append(); // It spares the next start work.
        }
        Ok(Rest::End)
    }

    /// Syncs in this thread.
    fn sync(&mut self) -> Result<(), FileError> {
        self.segments.take_unsynced().sync(&*self.segments.disk)?;
        self.safe = self.written;
        self.note_synced(self.written);
        Ok(())
    }

    /// Notes in the journal that a sync has succeeded, with the next batch.
    fn note_synced(&mut self, until: LogId) {
        self.synced = until;
        let state = SegmentState {
            synced: Some(until),
            ..SegmentState::default()
        };
        state.encode(&mut self.batch);
    }

    /// Lets the helper sync if that is due, or syncs at once if many files wait for it.
    fn sync_if_due(&mut self, now: Now) -> Result<(), FileError> {
        let is_due = self.sync_at.is_some_and(|at| at <= now.steady);
        let wanted = self.link.sync_wanted();
        let is_asked = wanted > self.synced && wanted <= self.written;
        if self.is_failing() || !is_due && !is_asked {
            return Ok(());
        }
        if self.segments.unsynced() > MAX_UNSYNCED {
            self.sync()?;
            self.sync_at = None;
        } else if !self.is_syncing {
            (self.sync_at, self.is_syncing) = (None, true);
            let key = SyncKey {
                until: self.written,
                failures: self.failures,
            };
            let files = self.segments.take_unsynced();
            self.give(Job::Sync(files, Arc::clone(&self.segments.disk), key));
        }
        Ok(())
    }

    /// Gives the helper a job. It ends after the writer.
    fn give(&self, job: Job) {
        let _ = self.jobs.send(job);
    }

    fn finish_jobs(&mut self) -> Result<(), FileError> {
        while let Some(done) = self.finished.take().or_else(|| self.done.try_recv().ok()) {
            match done {
                Done::Synced(key, synced) => {
                    self.is_syncing = false;
                    if key.failures == self.failures {
                        synced?;
                        self.note_synced(key.until);
                        if self.journal.sync != SyncPolicy::Never {
                            self.safe = key.until;
                        }
                    }
                }
                Done::Compacted(compacted) => {
                    self.is_compacting = false;
                    let error = match compacted {
                        Ok(Some(compacted)) => self.use_compacted(compacted),
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

    fn use_compacted(&mut self, compacted: Compacted) -> Option<FileError> {
        let Compacted { count, file, .. } = compacted;
        let replaced = self.segments.closed.get(count - 1);
        if replaced.is_some_and(|replaced| replaced.number == file.number) {
            self.segments.closed.splice(..count, [file]);
        }
        self.residue = compacted.residue;
        compacted.error
    }

    fn compact(&mut self) {
        if self.is_compacting || self.is_failing() {
            return;
        }
        self.is_compacting = true;
        let compaction = Compaction {
            disk: Arc::clone(&self.segments.disk),
            dir: self.segments.dir.clone(),
            files: self.segments.closed.clone(),
            segment_bytes: self.journal.segment_bytes,
            residue: self.residue,
        };
        self.give(Job::Compact(compaction, self.source.clone()));
    }

    fn report_missed(&mut self) {
        let (topics, until) = mem::take(&mut self.missed);
        if topics > 0 {
            self.notify(&JournalNotice::Missed(topics, until));
        }
    }

    const fn is_failing(&self) -> bool {
        matches!(self.state, State::Failed { .. } | State::Recovering)
    }

    fn notify(&self, notice: &JournalNotice) {
        if self.journal.notify(notice).is_err() {
            self.update(|status| status.panics += 1);
        }
    }

    /// Changes the state that callers see, and wakes those that wait for it.
    fn update(&self, change: impl FnOnce(&mut Status)) {
        let (segments, bytes) = self.segments.size();
        self.link.status.send_modify(|status| {
            (status.stored, status.synced) = (self.safe, self.synced);
            (status.segments, status.bytes) = (segments, bytes);
            change(status);
        });
    }
}

/// About the bytes that are written at a time.
const MAX_BATCH: usize = 1 << 20;

/// The maximum capacity of the idle buffer in bytes.
const MAX_IDLE: usize = 256 << 10;

/// The pause after a batch, so that frequent events are written together. Each write costs some
/// 30 µs of CPU time, whatever its length.
const PAUSE: Duration = Duration::from_micros(500);

/// The time between a failure and the next attempt.
const RETRY: Duration = Duration::from_secs(1);

/// How often the journal looks whether its files are still there.
const CHECK: Duration = Duration::from_secs(1);

/// How often the journal looks for events that have expired, besides at the end of a segment.
const COMPACT: Duration = Duration::from_secs(60);

/// The number of files that wait for a sync before the writer waits for it.
const MAX_UNSYNCED: usize = 8;
