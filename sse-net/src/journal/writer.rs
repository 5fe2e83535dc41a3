//! The state machine that writes events and moves the mark.

use std::collections::HashSet;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use sse_core::{LogId, Now, SegmentEntry as Entry};

use super::SyncPolicy;
use super::batch::{collect, head};
use super::compact::Copied;
use super::disk::{FileError, panicked};
use super::jobs::{Done, Helper, Job};
use super::link::{Link, Status};
use super::notice::JournalNotice;
use super::segments::Segments;
use super::writer_waker::Urgency;
use crate::topic::{NewEvents, Shared, Source, StoredNames};
use crate::unwind;

/// Writes the events of a hub, or of a topic that stands alone, and moves the mark.
///
/// It has no thread and no clock: [`step`](Self::step) does the next piece of work and returns
/// when the next one is due.
pub(super) struct Writer {
    pub(super) source: Source,
    pub(super) segments: Segments,
    pub(super) link: Arc<Link>,
    pub(super) state: State,
    /// What is being written. Later events have not been seen.
    pub(super) goal: NewEvents,
    /// Up to where events have been written to segments that count.
    pub(super) written: LogId,
    /// Up to where events are known to be on disk. After a failure, `written` falls back to it.
    pub(super) synced: LogId,
    /// The last ID that was ever as safe as the policy says. Events that are evicted up to it
    /// have not been missed.
    pub(super) stored: LogId,
    /// The entries that are written next.
    pub(super) batch: Vec<u8>,
    pub(super) pause_until: Duration,
    /// Nothing is written before this time, unless a caller waits for it.
    pub(super) linger_until: Duration,
    pub(super) sync_at: Option<Duration>,
    /// When the files are checked, or a new segment is begun after a failure.
    pub(super) check_at: Duration,
    pub(super) compact_at: Duration,
    pub(super) jobs: Sender<Job>,
    pub(super) done: Receiver<Done>,
    pub(super) is_syncing: bool,
    pub(super) is_compacting: bool,
    /// A new segment that waits for a sync.
    pub(super) copied: Option<Copied>,
    /// The number of failures. Syncs that began before the last one do not count.
    pub(super) failures: u64,
    /// The residue of the last compaction; see [`Compaction`].
    pub(super) residue: u64,
    /// The addresses of topics that have evicted events before they were written, and the last
    /// such event.
    pub(super) missed: (HashSet<usize>, LogId),
    /// While it recovers, the names of topics that were stored before the failure.
    pub(super) stored_names: Option<StoredNames>,
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
pub(super) enum State {
    Idle,
    Writing,
    Failed,
    Recovering,
}

/// When the next step is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    /// At this time of the steady clock, or when the writer is woken with this urgency, if there is
    /// one.
    At(Duration, Option<Urgency>),
    /// Never.
    End,
}

impl Writer {
    /// Begins a segment for a run of the hub or topic. All events are restored ones, up to `last`.
    ///
    /// Events after `synced` are written again, because they may not be on disk.
    pub(super) fn new(
        source: Source,
        segments: Segments,
        [synced, last]: [LogId; 2],
        now: Now,
    ) -> Result<(Self, Helper), FileError> {
        let ((jobs, to_do), (done_by, done)) = (channel(), channel());
        let link = Arc::<Link>::default();
        let helper = Helper {
            jobs: to_do,
            done: done_by,
            link: Arc::clone(&link),
        };
        let mut writer = Self {
            state: State::Recovering,
            goal: source.events_after(synced),
            written: synced,
            synced,
            stored: last,
            batch: Vec::new(),
            pause_until: Duration::ZERO,
            linger_until: Duration::ZERO,
            sync_at: None,
            check_at: now.steady + CHECK,
            compact_at: now.steady,
            jobs,
            done,
            is_syncing: false,
            is_compacting: false,
            copied: None,
            failures: 0,
            residue: 0,
            missed: (HashSet::new(), LogId::default()),
            stored_names: None,
            source,
            segments,
            link,
        };
        let begun = writer.write_restored(now);
        begun.inspect_err(|_| {
            writer.segments.abandon(true);
        })?;
        writer.finish_batch(now);
        writer.compact_if_due(now);
        writer.update(|_| {});
        Ok((writer, helper))
    }

    fn write_restored(&mut self, now: Now) -> Result<(), FileError> {
        self.write(now)?;
        while self.written < self.goal.until {
            self.write(now)?;
        }
        // Whatever the policy: IDs of this run have to be known after a power failure.
        self.sync()
    }

    /// Does the next piece of work. A panic is a failure.
    pub(super) fn step(&mut self, now: Now) -> Next {
        let next = unwind::catch("the thread of a journal", || self.try_step(now));
        let dir = &self.segments.journal.dir;
        let next = next.unwrap_or_else(|_| Err(panicked("write to", dir)));
        next.unwrap_or_else(|error| self.fail(error, now))
    }

    fn try_step(&mut self, now: Now) -> Result<Next, FileError> {
        let is_closing = self.link.is_closing();
        self.finish_jobs()?;
        if now.steady >= self.check_at || is_closing && self.state == State::Failed {
            self.check(now)?;
        }
        self.rotate_if_full(now);
        self.sync_if_due(now);
        self.compact_if_due(now);
        if now.steady < self.pause_until && !is_closing {
            return Ok(Next::At(self.pause_until, None));
        }
        if now.steady < self.linger_until && !is_closing && !self.link.is_awaited() {
            return Ok(Next::At(self.linger_until, Some(Urgency::High)));
        }
        match self.state {
            State::Idle if self.source.last() > self.written => {
                self.goal = self.source.new_events();
                self.state = State::Writing;
            }
            State::Idle if is_closing && !self.is_syncing => return self.close(),
            State::Idle => {
                let sync_at = self.sync_at.filter(|_| !self.is_syncing);
                let due = sync_at.map_or(self.check_at, |at| at.min(self.check_at));
                return Ok(Next::At(due, Some(Urgency::Usual)));
            }
            State::Writing => {
                self.write(now)?;
                self.show(self.written, &self.goal.topics);
                if self.written >= self.goal.until {
                    self.finish_batch(now);
                }
                self.update(|_| {});
            }
            State::Failed => {
                self.deliver(now);
                return Ok(Next::At(self.check_at, Some(Urgency::Usual)));
            }
            State::Recovering => {
                self.deliver(now);
                self.write(now)?;
                if self.written >= self.goal.until {
                    self.recover(now)?;
                }
            }
        }
        Ok(Next::Now)
    }

    /// Writes the next events of the goal.
    fn write(&mut self, now: Now) -> Result<(), FileError> {
        let (from, stored) = (self.written, self.stored);
        let is_rewritten = self.state == State::Recovering && self.failures > 0;
        if is_rewritten {
            // Topics whose names have been dropped meanwhile had events that clients have seen.
            Entry::Evicted(self.source.floor(), None).encode(&mut self.batch);
        }
        let collected = collect(&self.goal, from, is_rewritten, &mut self.batch);
        let until = collected.until;
        let head = || head(&self.source, from, self.synced);
        let appended = self.segments.append(&self.batch, from, head);
        self.batch.clear();
        appended?;
        for (topic, after, evicted) in collected.evicted {
            if evicted > stored {
                self.missed.0.insert(Arc::as_ptr(topic).addr());
                self.missed.1 = evicted.max(self.missed.1);
                let missed = |status: &mut Status| {
                    status.missed.add(topic, after.max(stored), evicted);
                };
                self.link.status.send_modify(missed);
            }
        }
        self.written = until;
        match self.segments.journal.sync {
            SyncPolicy::Interval(interval) => {
                let due = now.steady.saturating_add(interval);
                self.sync_at.get_or_insert(due);
            }
            // If this attempt fails, its segment is deleted.
            _ if self.state == State::Recovering => {}
            SyncPolicy::Never => self.stored = until,
            SyncPolicy::EveryEvent => self.sync()?,
        }
        Ok(())
    }

    pub(super) fn finish_batch(&mut self, now: Now) {
        self.state = State::Idle;
        self.batch.shrink_to(MAX_IDLE);
        let topics = mem::take(&mut self.goal.topics);
        if self.segments.journal.sync == SyncPolicy::EveryEvent {
            return;
        }
        self.pause_until = now.steady + PAUSE;
        if !topics.iter().any(|topic| topic.is_followed()) {
            self.linger_until = now.steady + LINGER;
        }
    }

    fn close(&mut self) -> Result<Next, FileError> {
        if self.segments.journal.sync != SyncPolicy::Never {
            self.sync()?;
            // It spares the next start work.
            let head = || head(&self.source, self.written, self.synced);
            let _ = self.segments.append(&self.batch, self.written, head);
        }
        Ok(Next::End)
    }

    pub(super) const fn is_failing(&self) -> bool {
        matches!(self.state, State::Failed | State::Recovering)
    }

    pub(super) fn notify(&self, notice: &JournalNotice) {
        self.count_panics(self.segments.journal.notify(notice).is_err().into());
    }

    /// Moves the mark of the hub, and counts the wakers that panic.
    pub(super) fn show(&self, until: LogId, topics: &[Arc<Shared>]) {
        self.count_panics(self.source.set_visible(until, topics));
    }

    fn count_panics(&self, count: u64) {
        if count > 0 {
            self.update(|status| status.state.panics += count);
        }
    }

    /// Changes the state that callers see, and wakes those that wait for it.
    pub(super) fn update(&self, change: impl FnOnce(&mut Status)) {
        let has_stored = self.segments.journal.sync == SyncPolicy::Never && !self.is_failing();
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
pub(super) const PAUSE: Duration = Duration::from_micros(500);

/// The time for which events wait after a batch of topics without subscribers, unless a caller
/// waits for them. A publisher on another core pays for each batch, too, because the writer reads
/// its memory.
const LINGER: Duration = Duration::from_millis(5);

/// How often the journal looks whether its files are still there, and the time between a failure
/// and the next attempt.
pub(super) const CHECK: Duration = Duration::from_secs(1);
