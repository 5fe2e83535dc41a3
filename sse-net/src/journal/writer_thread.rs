//! The thread that writes a topic's events and makes them visible to subscribers.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{hint, mem};

use sse_core::{Cursor, Segment, Slice};

use super::segments::Segments;
use super::sync_thread::SyncThread;
use super::{Journal, JournalNotice, SyncPolicy};
use crate::topic::{Progress, Shared, State, Wait, Wakers, now};

pub(super) struct WriterThread {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Journal,
    pub(super) segments: Segments,
    pub(super) sync_thread: SyncThread,
    /// All events before this cursor have been written or missed.
    pub(super) cursor: Cursor,
    pub(super) records: Vec<u8>,
    /// When the last batch was complete.
    pub(super) written: Instant,
    /// The end of the batch, which is written without a pause.
    pub(super) goal: Cursor,
    /// When a write or sync last failed.
    pub(super) failed: Option<Instant>,
    /// The missed bytes that have not been reported.
    pub(super) missed: usize,
    /// When missed bytes were last reported.
    pub(super) reported: Option<Instant>,
    /// Whether it was reported that old segments can't be deleted.
    pub(super) is_over_limit: bool,
}

enum Task {
    Write(Slice),
    /// The events before this cursor were evicted.
    Skip(Cursor),
    Sync,
    DeleteOld,
    End,
}

impl WriterThread {
    pub(super) fn run(mut self) {
        loop {
            match self.next_task() {
                Task::Write(slice) => self.write(&slice),
                Task::Skip(begin) => self.skip_evicted(begin),
                Task::Sync => self.sync(),
                Task::DeleteOld => self.delete_old_segments(),
                Task::End => break,
            }
        }
        self.sync();
    }

    /// Waits for the next task.
    fn next_task(&mut self) -> Task {
        let shared = &self.shared;
        let mut state = lock(shared);
        loop {
            let tip = state.log.tip();
            let has_subscribers = state.has_waiting();
            let Some(progress) = &mut state.progress else {
                return Task::End;
            };
            if progress.wanted.is_some_and(|wanted| wanted <= self.cursor) {
                return Task::Sync;
            }
            let unwritten = self.cursor.distance(tip);
            let is_awaited = progress.is_awaited() || has_subscribers;
            let (wait, timeout) = match self.failed {
                _ if unwritten == 0 => self.idle_wait(progress),
                Some(failed) => (Wait::Timer, RETRY.saturating_sub(failed.elapsed())),
                None if self.cursor < self.goal => (Wait::Timer, Duration::ZERO),
                None => self.write_wait(progress, unwritten, has_subscribers),
            };
            if unwritten > 0 && timeout.is_zero() {
                progress.wait = Wait::Timer;
                if self.cursor >= self.goal {
                    // The unsettled end of the log would be copied under the lock.
                    let settled = state.log.settled();
                    let is_enough = !is_awaited && settled > self.cursor;
                    self.goal = if is_enough { settled } else { tip };
                }
                match state.log.slice(self.cursor..tip) {
                    Ok(Some(slice)) => return Task::Write(slice),
                    Ok(None) => return Task::End, // Not reached: there are unwritten events.
                    Err(lagged) => return Task::Skip(lagged.begin),
                }
            }
            if progress.is_closing {
                return Task::End;
            }
            progress.wait = wait;
            let woken = shared.writer.wait_timeout(state, timeout);
            let (woken, result) = woken.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if result.timed_out() && wait == Wait::Event {
                return Task::DeleteOld;
            }
        }
    }

    /// Returns how to wait when there is nothing to write.
    fn idle_wait(&self, progress: &Progress) -> (Wait, Duration) {
        if !progress.is_urgent && self.written.elapsed() < ACTIVE {
            (Wait::Reader, IDLE_INTERVAL)
        } else {
            let aging = self.segments.aging_interval();
            (Wait::Event, aging.clamp(RETRY, HOUR))
        }
    }

    /// Returns how long unwritten events may wait.
    fn write_wait(
        &self,
        progress: &Progress,
        unwritten: usize,
        has_subscribers: bool,
    ) -> (Wait, Duration) {
        let is_urgent = progress.is_awaited() || unwritten >= progress.max_unwritten;
        let (wait, timeout) = if is_urgent {
            (Wait::Timer, Duration::ZERO)
        } else if has_subscribers {
            (Wait::Timer, PAUSE)
        } else {
            (Wait::Reader, IDLE_INTERVAL)
        };
        (wait, timeout.saturating_sub(self.written.elapsed()))
    }

    fn write(&mut self, slice: &Slice) {
        self.records.clear();
        Segment::append(slice, &mut self.records);
        let is_awaited = self.journal.sync == SyncPolicy::EveryEvent;
        // After an error, the disk must complete a sync before events count as stored.
        let is_recovering = self.failed.is_some() && self.journal.sync != SyncPolicy::Never;
        let written = self.segments.append(
            slice.first_id(),
            &self.records,
            is_awaited || is_recovering,
            now().unix,
        );
        match written {
            Ok(()) => {
                self.cursor = slice.end();
                self.sync_thread.mark(&self.segments, self.cursor);
                self.delete_old_segments();
                self.show_written(is_awaited);
                if self.cursor >= self.goal {
                    self.written = Instant::now();
                }
            }
            Err(error) => self.fail(&JournalNotice::NotKept(error)),
        }
        self.records.shrink_to(MAX_IDLE);
    }

    /// Makes written events visible to subscribers, and wakes waiting callers.
    fn show_written(&mut self, is_synced: bool) {
        let (cursor, goal, mut is_storing_again) = (self.cursor, self.goal, false);
        let is_caught_up = self.update(|state, progress| {
            progress.written = cursor;
            if is_synced {
                progress.synced = cursor;
            }
            // Under constant load, the cursor reaches the end only once the log hides new events.
            let has_written = progress.missed < cursor;
            if !progress.is_failing || has_written && cursor >= goal {
                state.log.hold(Some(cursor));
            }
            is_storing_again =
                has_written && state.log.end() == cursor && mem::take(&mut progress.is_failing);
            is_storing_again || state.log.tip() == cursor
        });
        let is_caught_up = is_caught_up.unwrap_or_default();
        let is_due = self
            .reported
            .is_none_or(|reported| reported.elapsed() > RETRY);
        if self.missed > 0 && (is_caught_up || is_due && self.failed.is_none()) {
            self.reported = Some(Instant::now());
            let missed = mem::take(&mut self.missed);
            self.journal.notify(&JournalNotice::Missed(missed));
        }
        if is_storing_again {
            self.failed = None;
            self.journal.notify(&JournalNotice::KeptAgain);
        }
    }

    /// Reports an error, and shows all events to subscribers without storing them.
    fn fail(&mut self, notice: &JournalNotice) {
        self.failed = Some(Instant::now());
        let cursor = self.cursor;
        let is_first = self.update(|state, progress| {
            state.log.hold(None);
            progress.written = cursor;
            !mem::replace(&mut progress.is_failing, true)
        });
        if is_first == Some(true) || matches!(notice, JournalNotice::NotSynced(_)) {
            self.journal.notify(notice);
        }
    }

    /// Skips events that were evicted before they could be written.
    fn skip_evicted(&mut self, begin: Cursor) {
        self.missed += self.cursor.distance(begin);
        self.cursor = begin;
        self.update(|_, progress| progress.missed = begin);
        self.show_written(false);
    }

    fn sync(&mut self) {
        let (cursor, synced) = (self.cursor, self.sync_thread.sync());
        let is_synced = synced.is_ok();
        if let Err((error, synced)) = synced {
            // Events since the last sync are written again, to another segment.
            self.segments.close_newest();
            self.cursor = synced;
            self.fail(&JournalNotice::NotSynced(error));
        }
        self.update(|_, progress| {
            // Another caller may meanwhile wait for a later cursor.
            progress.wanted = progress.wanted.filter(|wanted| *wanted > cursor);
            if is_synced {
                progress.synced = cursor;
            } else {
                progress.unsynced = Some(cursor);
            }
        });
    }

    /// Deletes segments beyond the limits.
    fn delete_old_segments(&mut self) {
        let now = now().unix;
        self.segments.rotate(now);
        match self.segments.prune(now) {
            Ok(()) => self.is_over_limit = false,
            Err(error) if !self.is_over_limit => {
                self.is_over_limit = true;
                self.journal.notify(&JournalNotice::NotDeleted(error));
            }
            Err(_) => {}
        }
    }

    /// Changes the state under the lock, and wakes waiting callers and subscribers.
    fn update<T>(&self, change: impl FnOnce(&mut State, &mut Progress) -> T) -> Option<T> {
        let mut state = lock(&self.shared);
        let mut progress = state.progress.take()?;
        progress.size = self.segments.size();
        let end = state.log.end();
        let changed = change(&mut state, &mut progress);
        state.progress = Some(progress);
        let wakers = if state.log.end() == end {
            Wakers::default()
        } else {
            state.take_wakers()
        };
        drop(state);
        self.shared.synced.notify_all();
        wakers.wake();
        Some(changed)
    }
}

impl Drop for WriterThread {
    /// Runs also after a panic, for example of a waker.
    fn drop(&mut self) {
        self.update(|state, progress| {
            state.log.hold(None);
            progress.is_failing = true;
        });
    }
}

/// Spins for the lock before queueing for it: a publisher that has to wake a queued thread, and is
/// then queued itself, loses more time than publishing takes.
fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    for _ in 0..TRIES {
        if let Some(state) = shared.try_lock() {
            return state;
        }
        hint::spin_loop();
    }
    shared.lock()
}

/// The maximum capacity of the idle buffer in bytes.
const MAX_IDLE: usize = 256 << 10;

/// The maximum of unwritten bytes, unless the retention is below four times this.
pub(super) const MAX_UNWRITTEN: usize = 1 << 20;

/// How long events stay unwritten while no subscriber waits.
pub(super) const IDLE_INTERVAL: Duration = Duration::from_millis(10);

/// The pause after a write. Each write costs about 30 µs of CPU time, whatever its length.
const PAUSE: Duration = Duration::from_micros(500);

/// How long after a write the thread expects more events.
const ACTIVE: Duration = Duration::from_secs(1);

/// How often the lock is tried before queueing: about 10 µs.
const TRIES: u32 = 1000;

/// The time between a failed write and the next attempt.
const RETRY: Duration = Duration::from_secs(1);

/// The maximum time between two checks for old segments.
const HOUR: Duration = Duration::from_secs(3600);
