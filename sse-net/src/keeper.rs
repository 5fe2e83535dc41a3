//! The thread that writes what a topic publishes, and lets subscribers see it.
//!
//! It is a cursor into the topic's log, as a subscriber is, but it goes first: the log holds
//! back what comes after it. While the disk fails, nothing is held back.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{hint, io, mem};

use sse_core::{Cursor, Excerpt, Log};

use crate::journal::{Journal, JournalNotice, JournalState, SyncPolicy};
use crate::segments::Segments;
use crate::syncer::Syncer;
use crate::topic::{Shared, State, Wakers, now};

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
        let mut state = shared.lock();
        let is_awaited = journal.sync == SyncPolicy::EveryEvent;
        let cursor = state.log.tip();
        state.log.hold(Some(cursor));
        state.progress = Some(Box::new(Progress::new(cursor, segments.size())));
        drop(state);
        let who_writes = Arc::clone(shared);
        let syncer = Syncer::start(journal.sync, cursor, move || {
            if let Some(progress) = &mut who_writes.lock().progress {
                progress.wanted = progress.wanted.max(Some(progress.written));
            }
            who_writes.news.notify_one();
        })?;
        let work = Work {
            syncer,
            shared: Arc::clone(shared),
            journal,
            segments,
            cursor,
            excerpt: Excerpt::default(),
            records: Vec::new(),
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
        self.shared.news.notify_one();
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
        self.shared.news.notify_one();
        let is_own_thread = self.is_own_thread();
        if let Some(thread) = self.thread.take()
            && !is_own_thread
        {
            let _ = thread.join(); // It has told what was wrong.
        }
    }
}

/// How far a journal has come, under the lock of its topic.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Everything before has been written or missed.
    written: Cursor,
    /// Everything before is on disk, as far as it has not been missed.
    synced: Cursor,
    /// Where the last events end that have been missed.
    missed: Cursor,
    /// Up to where somebody waits for a sync.
    wanted: Option<Cursor>,
    /// Up to where that was tried in vain.
    unsynced: Option<Cursor>,
    /// The segments and their bytes.
    size: (usize, u64),
    /// What has been published since the thread looked last, and where that ends. It is in
    /// the log too, but to swap it takes no time, and to copy it would hold publishers up.
    news: Excerpt,
    noted: Cursor,
    is_failing: bool,
    is_closing: bool,
    /// Whether the thread waits to be told of news.
    is_resting: bool,
}

impl Progress {
    fn new(cursor: Cursor, size: (usize, u64)) -> Self {
        Self {
            written: cursor,
            synced: cursor,
            missed: Cursor::default(),
            wanted: None,
            unsynced: None,
            size,
            news: Excerpt::default(),
            noted: cursor,
            is_failing: false,
            is_closing: false,
            is_resting: false,
        }
    }

    /// Copies what was appended to the log after `start`, while it is at hand. Gives whether
    /// the thread has to be told of it: only once.
    pub(crate) fn note(&mut self, log: &Log, start: Cursor) -> bool {
        if self.noted == start && self.news.bytes() < MAX_NEWS {
            self.noted = log
                .excerpt(start, usize::MAX, &mut self.news)
                .unwrap_or(start);
        }
        mem::take(&mut self.is_resting)
    }

    /// Notes what comes after `cursor` from now on.
    fn restart(&mut self, cursor: Cursor) {
        self.news.clear();
        self.noted = cursor;
    }

    /// Takes what has been noted after `cursor`, if that is where it begins, and gives where
    /// it ends.
    fn take_news(&mut self, cursor: Cursor, excerpt: &mut Excerpt) -> Option<Cursor> {
        excerpt.clear();
        let is_next = self.noted > cursor && cursor.distance(self.noted) == self.news.bytes();
        is_next.then(|| {
            mem::swap(&mut self.news, excerpt);
            self.noted
        })
    }

    pub(crate) fn state(&self, tip: Cursor) -> JournalState {
        let (segments, bytes) = self.size;
        JournalState {
            is_keeping: !self.is_failing,
            unwritten: self.written.distance(tip),
            segments,
            bytes,
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
    excerpt: Excerpt,
    records: Vec<u8>,
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
    Write(Cursor),
    Miss(Cursor),
    Sync,
    LookAfter,
    End,
}

impl Work {
    fn run(mut self) {
        loop {
            match self.next() {
                Task::Write(end) => self.write(end),
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
            let is_news = state.log.tip() > self.cursor;
            let Some(progress) = &mut state.progress else {
                return Task::End;
            };
            if progress.wanted.is_some_and(|wanted| wanted <= self.cursor) {
                return Task::Sync;
            }
            let patience = match (is_news, self.failed) {
                (true, Some(failed)) => RETRY.saturating_sub(failed.elapsed()),
                (true, None) => Duration::ZERO,
                (false, _) => self.segments.patience().clamp(RETRY, HOUR),
            };
            if is_news && patience.is_zero() {
                return take(&mut state, self.cursor, &mut self.excerpt);
            }
            if progress.is_closing {
                return Task::End;
            }
            progress.is_resting = !is_news;
            let wait = shared.news.wait_timeout(state, patience);
            let (woken, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if timeout.timed_out() && !is_news {
                return Task::LookAfter;
            }
        }
    }

    fn write(&mut self, end: Cursor) {
        let Some(first) = self.excerpt.first() else {
            return;
        };
        self.records.clear();
        self.excerpt.encode(&mut self.records);
        let is_awaited = self.journal.sync == SyncPolicy::EveryEvent;
        // After an error the disk has to prove itself before anything is said to be kept.
        let is_doubted = self.failed.is_some() && self.journal.sync != SyncPolicy::Never;
        let written = self
            .segments
            .append(first, &self.records, is_awaited || is_doubted, now());
        match written {
            Ok(()) => {
                self.cursor = end;
                self.syncer.mark(&self.segments, end);
                self.look_after();
                let is_in_haste = self.release(is_awaited);
                if !is_in_haste {
                    thread::sleep(PAUSE);
                }
            }
            Err(error) => self.fail(&JournalNotice::NotKept(error)),
        }
        if self.records.capacity() > 8 * CHUNK {
            self.records = Vec::new();
            self.excerpt = Excerpt::default();
        }
    }

    /// Lets subscribers see what has been written, and those go on who wait for it. Gives
    /// whether to go on at once.
    fn release(&mut self, is_synced: bool) -> bool {
        let (cursor, mut is_kept_again, mut is_in_haste) = (self.cursor, false, is_synced);
        let is_caught_up = self.update(|state, progress| {
            progress.written = cursor;
            if is_synced {
                progress.synced = cursor;
            }
            let is_caught_up = state.log.tip() == cursor;
            is_in_haste |= is_caught_up || progress.wanted.is_some() || progress.is_closing;
            is_kept_again = is_caught_up && mem::take(&mut progress.is_failing);
            if !progress.is_failing {
                state.log.hold(Some(cursor));
            }
            is_caught_up
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
        is_in_haste
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
        let now = now();
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

/// Takes what comes after `cursor`.
fn take(state: &mut State, cursor: Cursor, excerpt: &mut Excerpt) -> Task {
    let tip = state.log.tip();
    if let Some(progress) = &mut state.progress {
        if let Some(end) = progress.take_news(cursor, excerpt) {
            return Task::Write(end);
        }
        match state.log.excerpt(cursor, CHUNK, excerpt) {
            Ok(end) if end == tip => progress.restart(tip),
            Ok(end) => return Task::Write(end),
            Err(forgotten) => return Task::Miss(forgotten.begin),
        }
    }
    Task::Write(tip)
}

/// How much is noted for the thread. What is more it reads from the log.
const MAX_NEWS: usize = 1 << 20;

/// How much is read from the log at once: so much that a write costs little for each event,
/// and so little that copying it holds nobody up for long.
const CHUNK: usize = 256 << 10;

/// When there is news by the time a write is done, they come fast: then so much of them is
/// written at once, since each write costs publishers some microseconds.
const PAUSE: Duration = Duration::from_micros(500);

/// How often the lock is tried: some 10 µs.
const TRIES: u32 = 1000;

/// After what time it is tried again when a write has failed.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// How long a thread waits at most, whatever the age.
const HOUR: Duration = Duration::from_secs(3600);
