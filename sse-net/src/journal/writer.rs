//! The thread that writes what a topic publishes, and lets subscribers see it.
//!
//! It is a cursor into the topic's log, as a subscriber is, but it goes first: the log holds
//! back what comes after it. While the disk fails, nothing is held back.
//!
//! To wake a thread takes a publisher longer than to publish, so this one is woken only where
//! somebody would have to be: when a subscriber waits, which it then wakes in the publisher's
//! place. Otherwise it dozes, and looks by itself every [`DOZE`]. After a write it takes no
//! more before [`PAUSE`] is over, so that what comes fast is written in larger pieces. What it
//! writes it does not copy: chunks of the log are shared.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{hint, io, mem};

use sse_core::{Cursor, Segment, Slice};

use super::segments::Segments;
use super::sync_thread::Syncer;
use crate::journal::{Journal, JournalNotice, SyncPolicy};
use crate::topic::{Attention, Progress, Shared, State, Wakers, now};

/// Ends the thread when the last handle of the topic is dropped, and waits for it.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    is_awaited: bool,
}

impl Keeper {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        journal: Journal,
        segments: Segments,
    ) -> io::Result<Self> {
        let is_awaited = journal.sync == SyncPolicy::EveryEvent;
        let is_urgent = match journal.sync {
            SyncPolicy::Interval(interval) => interval < DOZE,
            SyncPolicy::EveryEvent => true,
            SyncPolicy::Never => false,
        };
        let max_unwritten = MAX_UNWRITTEN.min(shared.retention().max_bytes() / 4);
        let mut state = shared.lock();
        let cursor = state.log.tip();
        state.log.hold(Some(cursor));
        state.progress = Some(Box::new(Progress::new(
            cursor,
            segments.size(),
            is_urgent,
            max_unwritten,
        )));
        drop(state);
        let who_writes = Arc::clone(shared);
        let syncer = Syncer::start(journal.sync, cursor, move || {
            if let Some(progress) = &mut who_writes.lock().progress {
                progress.wanted = progress.wanted.max(Some(progress.written));
            }
            who_writes.writer.notify_one();
        })?;
        let work = Work {
            syncer,
            shared: Arc::clone(shared),
            journal,
            segments,
            cursor,
            records: Vec::new(),
            written: Instant::now(),
            goal: cursor,
            failed: None,
            missed: 0,
            told: None,
            is_overgrown: false,
        };
        let thread = thread::Builder::new()
            .name("sse-journal".to_owned())
            .spawn(move || work.run())?;
        Ok(Self {
            shared: Arc::clone(shared),
            thread: Some(thread),
            is_awaited,
        })
    }

    /// Whether publishing waits for the disk.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.is_awaited
    }

    /// Waits until what is between these cursors has been written, and is on disk if every
    /// event is to be. Gives whether it is.
    pub(crate) fn wait(&self, start: Cursor, end: Cursor) -> bool {
        let mut state = self.shared.lock();
        loop {
            let Some(progress) = &state.progress else {
                return false;
            };
            if progress.missed > start {
                return false;
            }
            if progress.synced >= end {
                return true;
            }
            if progress.is_failing || progress.unsynced >= Some(end) || self.is_own_thread() {
                return false;
            }
            let wait = self.shared.synced.wait(state);
            state = wait.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all that has been published is on disk. Gives whether it is.
    pub(crate) fn flush(&self) -> bool {
        let mut state = self.shared.lock();
        let tip = state.log.tip();
        if let Some(progress) = &mut state.progress {
            progress.wanted = progress.wanted.max(Some(tip));
            progress.unsynced = None;
        }
        drop(state);
        self.shared.writer.notify_one();
        self.wait(tip, tip)
    }

    /// A waker, or who is told a notice, may publish, or hold the last handle.
    fn is_own_thread(&self) -> bool {
        let writer = self.thread.as_ref().map(|thread| thread.thread().id());
        writer == Some(thread::current().id())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(progress) = &mut self.shared.lock().progress {
            progress.is_closing = true;
        }
        self.shared.writer.notify_one();
        let is_own_thread = self.is_own_thread();
        if let Some(thread) = self.thread.take()
            && !is_own_thread
        {
            let _ = thread.join(); // It has told what was wrong.
        }
    }
}

/// What the thread has.
struct Work {
    shared: Arc<Shared>,
    journal: Journal,
    segments: Segments,
    syncer: Syncer,
    /// Everything before has been written or missed.
    cursor: Cursor,
    records: Vec<u8>,
    /// When what there was had been written last.
    written: Instant,
    /// Up to where to write without a pause: what there was when the first of it was taken.
    goal: Cursor,
    /// When it was last tried in vain to write.
    failed: Option<Instant>,
    /// How many bytes have been missed, and not been told yet; when that was told last.
    missed: usize,
    told: Option<Instant>,
    /// Whether it has been told that old segments can't be deleted.
    is_overgrown: bool,
}

/// What is to be done next.
enum Task {
    Write(Slice),
    Miss(Cursor),
    Sync,
    LookAfter,
    End,
}

impl Work {
    fn run(mut self) {
        loop {
            match self.next() {
                Task::Write(slice) => self.write(&slice),
                Task::Miss(begin) => self.miss(begin),
                Task::Sync => self.sync(),
                Task::LookAfter => self.look_after(),
                Task::End => break,
            }
        }
        self.sync();
    }

    /// Waits until there is something to do.
    fn next(&mut self) -> Task {
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
            let (attention, patience) = match self.failed {
                _ if unwritten == 0 => self.rest(progress),
                Some(failed) => (Attention::Awake, RETRY.saturating_sub(failed.elapsed())),
                None if self.cursor < self.goal => (Attention::Awake, Duration::ZERO),
                None => self.patience(progress, unwritten, has_subscribers),
            };
            if unwritten > 0 && patience.is_zero() {
                progress.attention = Attention::Awake;
                if self.cursor >= self.goal {
                    // What is not settled would have to be copied under the lock.
                    let settled = state.log.settled();
                    let is_enough = !is_awaited && settled > self.cursor;
                    self.goal = if is_enough { settled } else { tip };
                }
                match state.log.slice(self.cursor..tip) {
                    Ok(Some(slice)) => return Task::Write(slice),
                    Ok(None) => return Task::End, // There is one.
                    Err(lagged) => return Task::Miss(lagged.begin),
                }
            }
            if progress.is_closing {
                return Task::End;
            }
            progress.attention = attention;
            let wait = shared.writer.wait_timeout(state, patience);
            let (woken, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() && attention == Attention::Resting {
                return Task::LookAfter;
            }
        }
    }

    /// For how long to wait where there is nothing to write.
    fn rest(&self, progress: &Progress) -> (Attention, Duration) {
        match !progress.is_urgent && self.written.elapsed() < RESTLESS {
            true => (Attention::Dozing, DOZE),
            false => (
                Attention::Resting,
                self.segments.patience().clamp(RETRY, HOUR),
            ),
        }
    }

    /// For how long what is `unwritten` may wait.
    fn patience(
        &self,
        progress: &Progress,
        unwritten: usize,
        has_subscribers: bool,
    ) -> (Attention, Duration) {
        let is_urgent = progress.is_awaited() || unwritten >= progress.max_unwritten;
        let (attention, patience) = match has_subscribers {
            _ if is_urgent => (Attention::Awake, Duration::ZERO),
            true => (Attention::Awake, PAUSE),
            false => (Attention::Dozing, DOZE),
        };
        (attention, patience.saturating_sub(self.written.elapsed()))
    }

    fn write(&mut self, slice: &Slice) {
        self.records.clear();
        Segment::append(slice, &mut self.records);
        let is_awaited = self.journal.sync == SyncPolicy::EveryEvent;
        // After an error the disk has to prove itself before anything is said to be kept.
        let is_doubted = self.failed.is_some() && self.journal.sync != SyncPolicy::Never;
        let written = self.segments.append(
            slice.first_id(),
            &self.records,
            is_awaited || is_doubted,
            now().unix,
        );
        match written {
            Ok(()) => {
                self.cursor = slice.end();
                self.syncer.mark(&self.segments, self.cursor);
                self.look_after();
                self.release(is_awaited);
                if self.cursor >= self.goal {
                    self.written = Instant::now();
                }
            }
            Err(error) => self.fail(&JournalNotice::NotKept(error)),
        }
        self.records.shrink_to(MAX_IDLE);
    }

    /// Lets subscribers see what has been written, and those go on who wait for it.
    fn release(&mut self, is_synced: bool) {
        let (cursor, goal, mut is_kept_again) = (self.cursor, self.goal, false);
        let is_caught_up = self.update(|state, progress| {
            progress.written = cursor;
            if is_synced {
                progress.synced = cursor;
            }
            // While there is ever more to write, the end comes only where that is held back.
            let has_written = progress.missed < cursor;
            if !progress.is_failing || has_written && cursor >= goal {
                state.log.hold(Some(cursor));
            }
            is_kept_again =
                has_written && state.log.end() == cursor && mem::take(&mut progress.is_failing);
            is_kept_again || state.log.tip() == cursor
        });
        let is_caught_up = is_caught_up.unwrap_or_default();
        let is_time = self.told.is_none_or(|told| told.elapsed() > RETRY);
        if self.missed > 0 && (is_caught_up || is_time && self.failed.is_none()) {
            self.told = Some(Instant::now());
            let missed = mem::take(&mut self.missed);
            self.journal.tell(&JournalNotice::Missed(missed));
        }
        if is_kept_again {
            self.failed = None;
            self.journal.tell(&JournalNotice::KeptAgain);
        }
    }

    /// Goes on without the disk.
    fn fail(&mut self, notice: &JournalNotice) {
        self.failed = Some(Instant::now());
        let cursor = self.cursor;
        let is_first = self.update(|state, progress| {
            state.log.hold(None);
            progress.written = cursor;
            !mem::replace(&mut progress.is_failing, true)
        });
        if is_first == Some(true) || matches!(notice, JournalNotice::NotSynced(_)) {
            self.journal.tell(notice);
        }
    }

    /// Goes on after events that the topic has forgotten.
    fn miss(&mut self, begin: Cursor) {
        self.missed += self.cursor.distance(begin);
        self.cursor = begin;
        self.update(|_, progress| progress.missed = begin);
        self.release(false);
    }

    fn sync(&mut self) {
        let (cursor, synced) = (self.cursor, self.syncer.sync());
        let is_synced = synced.is_ok();
        if let Err((error, synced)) = synced {
            // What the topic still has of it is written anew.
            self.segments.give_up();
            self.cursor = synced;
            self.fail(&JournalNotice::NotSynced(error));
        }
        self.update(|_, progress| {
            // What somebody has come to wait for meanwhile may be later.
            progress.wanted = progress.wanted.filter(|wanted| *wanted > cursor);
            match is_synced {
                true => progress.synced = cursor,
                false => progress.unsynced = Some(cursor),
            }
        });
    }

    /// Deletes what is more than is to be kept.
    fn look_after(&mut self) {
        let now = now().unix;
        self.segments.rotate(now);
        match self.segments.prune(now) {
            Ok(()) => self.is_overgrown = false,
            Err(error) if !self.is_overgrown => {
                self.is_overgrown = true;
                self.journal.tell(&JournalNotice::NotDeleted(error));
            }
            Err(_) => {}
        }
    }

    /// Changes what is under the lock, and wakes who has waited for that.
    fn update<T>(&self, change: impl FnOnce(&mut State, &mut Progress) -> T) -> Option<T> {
        let mut state = lock(&self.shared);
        let mut progress = state.progress.take()?;
        progress.size = self.segments.size();
        let end = state.log.end();
        let changed = change(&mut state, &mut progress);
        state.progress = Some(progress);
        let wakers = match state.log.end() == end {
            true => Wakers::default(),
            false => state.take_wakers(),
        };
        drop(state);
        self.shared.synced.notify_all();
        wakers.wake();
        Some(changed)
    }
}

impl Drop for Work {
    /// Also when it panics, as wakers may, which are others' code.
    fn drop(&mut self) {
        self.update(|state, progress| {
            state.log.hold(None);
            progress.is_failing = true;
        });
    }
}

/// Takes the lock between two publishers rather than queue for it: they would have to wake
/// this thread, and then wait to be woken themselves, which costs more than publishing.
fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    for _ in 0..TRIES {
        if let Some(state) = shared.try_lock() {
            return state;
        }
        hint::spin_loop();
    }
    shared.lock()
}

/// How much room is kept for what comes next.
const MAX_IDLE: usize = 256 << 10;

/// How much is left unwritten at most, unless the log keeps little more itself.
const MAX_UNWRITTEN: usize = 1 << 20;

/// For how long what nobody waits for is left unwritten.
const DOZE: Duration = Duration::from_millis(10);

/// After a write, for how long the next one waits: each takes some 30 µs of several threads,
/// be it long or short.
const PAUSE: Duration = Duration::from_micros(500);

/// For how long after a write more is expected.
const RESTLESS: Duration = Duration::from_secs(1);

/// How often the lock is tried: some 10 µs.
const TRIES: u32 = 1000;

/// After what time it is tried again when a write has failed.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// How long a thread waits at most, whatever the age.
const HOUR: Duration = Duration::from_secs(3600);
