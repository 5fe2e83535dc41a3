//! The events that wait for the engine.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex};

use sse_core::{KeyedRetention, LogId};
use tokio::sync::{Notify, watch};

use super::WhenQueueFull;
use super::error::EngineError;
use crate::sync::lock;
use crate::topic::{Kind, Outcome, PublishError, StoreError};

/// A batch of events that is published at once.
pub(super) struct Job {
    pub(super) topic: Arc<str>,
    pub(super) kind: Kind,
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) key: Option<Box<str>>,
    /// The most events that the topic keeps.
    pub(super) max_events: usize,
    /// Their age in milliseconds; 0 for any age.
    pub(super) max_age_millis: u64,
    /// The token of the lease, if the topic is one of a run.
    pub(super) fence: Option<LogId>,
    /// The limits of a keyed topic.
    pub(super) keyed: KeyedRetention,
    pub(super) outcome: watch::Sender<Option<Outcome>>,
}

impl Job {
    pub(super) fn bytes(&self) -> usize {
        let frames = self.frames.iter().map(|frame| frame.len() + OVERHEAD);
        let once = self.key.as_ref().map_or(0, |key| key.len());
        let key = match &self.kind {
            Kind::Value(key) | Kind::Removal(key) => key.len(),
            _ => 0,
        };
        OVERHEAD + once + key + frames.sum::<usize>()
    }

    pub(super) const fn is_end(&self) -> bool {
        matches!(self.kind, Kind::End | Kind::EndLost(_))
    }

    /// Returns whether storing it twice is like storing it once.
    pub(super) fn is_repeatable(&self) -> bool {
        self.key.is_some() || self.is_end() || matches!(self.kind, Kind::Start(_))
    }

    pub(super) fn fail(self, error: EngineError) {
        let may_be_stored = error.may_be_stored();
        let error = StoreError::new(error, may_be_stored);
        self.outcome.send_replace(Some(Err(error)));
    }
}

/// A batch with its place in the queue, to which it may come back.
pub(super) struct Taken {
    number: u64,
    pub(super) job: Job,
}

/// Queued batches, bounded in bytes.
pub(super) struct Queue {
    max_bytes: usize,
    when_full: WhenQueueFull,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    /// By their numbers.
    jobs: VecDeque<Taken>,
    bytes: usize,
    /// The number of the next job.
    next: u64,
    /// Nothing is sent any more.
    is_closed: bool,
}

impl State {
    fn pop(&mut self) -> Option<Taken> {
        let taken = self.jobs.pop_front()?;
        self.bytes -= taken.job.bytes();
        Some(taken)
    }
}

impl Queue {
    pub(super) fn new(max_bytes: usize, when_full: WhenQueueFull) -> Self {
        Self {
            max_bytes,
            when_full,
            state: Mutex::default(),
            filled: Notify::new(),
        }
    }

    /// Adds a batch, and returns those that were dropped for it. A batch for a closed queue fails
    /// at once.
    pub(super) fn push(&self, job: Job) -> Result<Vec<Job>, PublishError> {
        let bytes = job.bytes();
        let mut dropped = Vec::new();
        let mut state = lock(&self.state);
        if state.is_closed {
            drop(state);
            job.fail(EngineError::Closed);
            return Ok(dropped);
        }
        while state.bytes + bytes > self.max_bytes {
            let oldest = match self.when_full {
                WhenQueueFull::DropOldest if bytes <= self.max_bytes => state.pop(),
                _ => None,
            };
            dropped.push(oldest.ok_or(PublishError::QueueFull)?.job);
        }
        state.bytes += bytes;
        let number = state.next;
        state.next += 1;
        state.jobs.push_back(Taken { number, job });
        drop(state);
        self.filled.notify_one();
        Ok(dropped)
    }

    /// Closes the queue, and returns what is in it.
    pub(super) fn close(&self) -> impl Iterator<Item = Job> + use<> {
        let mut state = lock(&self.state);
        (state.is_closed, state.bytes) = (true, 0);
        let jobs = mem::take(&mut state.jobs);
        jobs.into_iter().map(|taken| taken.job)
    }

    /// Puts batches that have not been stored back to their places.
    pub(super) fn put_back(&self, jobs: Vec<Taken>) {
        if jobs.is_empty() {
            return;
        }
        let mut state = lock(&self.state);
        for taken in jobs.into_iter().rev() {
            state.bytes += taken.job.bytes();
            let place = state
                .jobs
                .partition_point(|other| other.number < taken.number);
            state.jobs.insert(place, taken);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Takes the oldest batches, up to `count` and [`MAX_BYTES`].
    ///
    /// It takes half of them where more than [`MIN_HALF`] wait: the rest is sent while the server
    /// works on the first half.
    pub(super) fn take(&self, count: usize) -> Vec<Taken> {
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        let mut state = lock(&self.state);
        let count = count.min(MIN_HALF.max(state.jobs.len() / 2));
        while jobs.len() < count
            && bytes < MAX_BYTES
            && let Some(taken) = state.pop()
        {
            bytes += taken.job.bytes();
            jobs.push(taken);
        }
        jobs
    }

    /// Waits until there may be a batch.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Returns the number of batches, and their bytes.
    pub(super) fn len(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.jobs.len(), state.bytes)
    }
}

/// The memory of a batch and of an event beside their bytes.
const OVERHEAD: usize = 256;

/// The most batches that are sent at a time.
pub(super) const MAX_JOBS: usize = 128;

/// The number of batches that are not halved.
const MIN_HALF: usize = 8;

/// The number of bytes after which no further batch is sent at a time.
const MAX_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn job(len: usize) -> (Job, watch::Receiver<Option<Outcome>>) {
        let (outcome, receiver) = watch::channel(None);
        let job = Job {
            topic: "a".into(),
            kind: Kind::Events,
            frames: vec![vec![0; len]],
            key: None,
            max_events: 0,
            max_age_millis: 0,
            fence: None,
            keyed: KeyedRetention::default(),
            outcome,
        };
        (job, receiver)
    }

    /// Returns the number of batches that were dropped.
    fn push(queue: &Queue, job: Job) -> Result<usize, PublishError> {
        queue.push(job).map(|dropped| dropped.len())
    }

    #[test]
    fn a_full_queue_refuses_events_or_drops_the_oldest() {
        let queue = Queue::new(4000, WhenQueueFull::Refuse);
        assert_eq!(push(&queue, job(1000).0), Ok(0));
        assert_eq!(push(&queue, job(1000).0), Ok(0));
        assert_eq!(push(&queue, job(1000).0), Err(PublishError::QueueFull));
        assert_eq!(queue.take(MAX_JOBS).len(), 2);
        assert_eq!(queue.len(), (0, 0));

        let queue = Queue::new(4000, WhenQueueFull::DropOldest);
        for job in [job(1001).0, job(1000).0] {
            assert_eq!(push(&queue, job), Ok(0));
        }
        let dropped = queue.push(job(1100).0).unwrap();
        assert_eq!((dropped.len(), dropped[0].frames[0].len()), (1, 1001));
        assert_eq!(push(&queue, job(5000).0), Err(PublishError::QueueFull));
        let sizes: Vec<_> = queue
            .take(MAX_JOBS)
            .iter()
            .map(|taken| taken.job.frames[0].len())
            .collect();
        assert_eq!(sizes, [1000, 1100]);
    }

    /// Its keys may be longer than the event.
    #[test]
    fn a_queue_counts_keys() {
        let key = || "x".repeat(1000).into_boxed_str();
        let once = Job {
            key: Some(key()),
            ..job(0).0
        };
        let value = Job {
            kind: Kind::Value(key()),
            ..job(0).0
        };
        for job in [once, value] {
            let queue = Queue::new(4000, WhenQueueFull::Refuse);
            assert_eq!(push(&queue, job), Ok(0));
            assert!(queue.len().1 > 1000);
        }
    }

    #[test]
    fn a_pipeline_is_bounded_in_bytes() {
        let queue = Queue::new(usize::MAX, WhenQueueFull::Refuse);
        for _ in 0..20 {
            push(&queue, job(MAX_BYTES / 2).0).unwrap();
        }
        assert_eq!(queue.take(MAX_JOBS).len(), 2);
    }

    #[test]
    fn many_batches_are_taken_by_halves() {
        let queue = Queue::new(usize::MAX, WhenQueueFull::Refuse);
        for len in 0..400 {
            push(&queue, job(len).0).unwrap();
        }
        assert_eq!(queue.take(1).len(), 1);
        for len in [128, 128, 71, 36, 18, 9, MIN_HALF, 1, 0] {
            assert_eq!(queue.take(MAX_JOBS).len(), len);
        }
    }

    #[test]
    fn batches_of_two_pipelines_come_back_to_their_places() {
        let queue = Queue::new(usize::MAX, WhenQueueFull::Refuse);
        for len in 0..16 {
            push(&queue, job(len).0).unwrap();
        }
        let [mut first, second] = [queue.take(MAX_JOBS), queue.take(MAX_JOBS)];
        assert_eq!([first.len(), second.len()], [8, 8]);
        first.retain(|taken| taken.number > 2); // The others are stored.
        push(&queue, job(16).0).unwrap();
        queue.put_back(second);
        queue.put_back(first);
        let mut lens = Vec::new();
        while let [taken] = &queue.take(1)[..] {
            lens.push(taken.job.frames[0].len());
        }
        assert!(lens.into_iter().eq(3..=16));
    }
}
