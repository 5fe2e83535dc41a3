//! What the handle of an engine and its tasks share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::address::Address;
use super::error::EngineError;
use super::functions::Ages;
use super::keys::Keys;
use super::link::{Broken, Link};
use super::notice::EngineNotice;
use super::queue::{Job, Queue};
use super::snapshot::{Counters, EngineSnapshot, add};
use super::{Engine, OnNotice};
use crate::sync::lock;
use crate::{trace, unwind};

pub(super) struct EngineShared {
    pub(super) address: Address,
    pub(super) keys: Arc<Keys>,
    pub(super) ages: Ages,
    pub(super) max_wait: Duration,
    pub(super) queue: Queue,
    pub(super) counters: Counters,
    /// The current connections; `None` while there are none.
    pub(super) link: watch::Sender<Option<Link>>,
    /// Whether the hub has been dropped.
    pub(super) is_closing: watch::Sender<bool>,
    /// Wakes the follower: there is a new topic, a request, or a broken link.
    pub(super) wakeup: Notify,
    /// The number of the last link that was reported to be broken, and the reason.
    broken: Mutex<(u64, String)>,
    on_notice: Option<Arc<OnNotice>>,
    pub(super) requested: AtomicU64,
    pub(super) looked: watch::Sender<u64>,
    /// Notified when the run of a topic is to be stopped, by the names of topics.
    stops: Mutex<HashMap<Arc<str>, Weak<Notify>>>,
    /// Why a function of runs was last refused to a task of the node.
    runs_refused: Mutex<String>,
    is_ready: AtomicBool,
    ticked: Mutex<Instant>,
}

impl EngineShared {
    pub(super) fn new(engine: &Engine) -> Self {
        Self {
            address: engine.address.clone(),
            keys: Arc::new(Keys::new(&engine.hub)),
            ages: Ages {
                key_millis: millis(engine.key_expiry).max(1),
                topic_millis: millis(engine.topic_expiry),
            },
            max_wait: engine.max_wait,
            queue: Queue::new(engine.queue_bytes, engine.when_full),
            counters: Counters::default(),
            link: watch::Sender::new(None),
            is_closing: watch::Sender::new(false),
            wakeup: Notify::new(),
            broken: Mutex::default(),
            on_notice: engine.on_notice.clone(),
            requested: AtomicU64::new(0),
            looked: watch::Sender::new(0),
            stops: Mutex::default(),
            runs_refused: Mutex::default(),
            is_ready: AtomicBool::new(false),
            ticked: Mutex::new(Instant::now()),
        }
    }

    /// Resolves once the hub has been dropped.
    pub(super) async fn closing(&self) {
        let mut is_closing = self.is_closing.subscribe();
        let _ = is_closing.wait_for(|is_closing| *is_closing).await;
    }

    /// Reports that a link does not work any more.
    pub(super) fn report_broken(&self, number: u64, reason: &str) {
        let mut broken = lock(&self.broken);
        if broken.0 < number {
            *broken = (number, reason.to_owned());
        }
        drop(broken);
        self.link.send_if_modified(|link| {
            let is_broken = |link: &mut Link| link.number <= number;
            link.take_if(is_broken).is_some()
        });
        self.wakeup.notify_one();
    }

    /// Returns an error if a link has been reported to be broken.
    pub(super) fn check(&self, number: u64) -> Result<(), Broken> {
        let broken = lock(&self.broken);
        match broken.0 < number {
            true => Ok(()),
            false => Err(Broken(broken.1.clone())),
        }
    }

    /// Logs a notice, and calls the program's callback.
    pub(super) fn notify(&self, notice: &EngineNotice) {
        trace::engine(notice);
        if let Some(notify) = &self.on_notice {
            let _ = unwind::catch("the callback of an engine", || notify(notice));
        }
    }

    /// Drops a batch from the full queue. The publisher's task reports the number of events.
    pub(super) fn drop_job(&self, job: Job) {
        if job.is_end() {
            return self.fail(job, EngineError::Dropped);
        }
        add(&self.counters.dropped, job.frames.len());
        job.fail(EngineError::Dropped);
    }

    /// Resolves the outcome of a batch that is not stored, or not known to be.
    pub(super) fn fail(&self, job: Job, error: EngineError) {
        let (topic, count) = (job.topic.to_string(), job.frames.len());
        let notice = if job.is_end() {
            add(&self.counters.failed, 1);
            EngineNotice::NotFinished(topic, error.clone())
        } else {
            add(&self.counters.failed, count);
            EngineNotice::NotStored(topic, count, error.clone())
        };
        job.fail(error);
        self.notify(&notice);
    }

    /// Returns `true` if a caller waits for a look at the hub's last ID.
    pub(super) fn is_requested(&self) -> bool {
        *self.looked.borrow() < self.requested.load(Ordering::Relaxed)
    }

    pub(super) fn watch_stop(&self, topic: &Arc<str>, stop: &Arc<Notify>) {
        let mut stops = lock(&self.stops);
        if stops.len() == stops.capacity() {
            stops.retain(|_, stop| stop.strong_count() > 0);
        }
        stops.insert(Arc::clone(topic), Arc::downgrade(stop));
    }

    /// Stops the run of a topic, if it is one of this node.
    pub(super) fn note_stop(&self, topic: &str) {
        let stop = lock(&self.stops).get(topic).and_then(Weak::upgrade);
        if let Some(stop) = stop {
            stop.notify_one();
        }
    }

    /// Returns whether the reason is another one than before.
    pub(super) fn note_runs_refused(&self, reason: &str) -> bool {
        let mut before = lock(&self.runs_refused);
        let is_new = *before != reason;
        reason.clone_into(&mut before);
        is_new
    }

    /// Returns whether the node was ready before.
    pub(super) fn set_ready(&self, is_ready: bool) -> bool {
        self.is_ready.swap(is_ready, Ordering::Relaxed)
    }

    /// Notes that the hub's last ID is known.
    pub(super) fn note_tick(&self) {
        *lock(&self.ticked) = Instant::now();
    }

    pub(super) fn snapshot(&self) -> EngineSnapshot {
        let (queued, queued_bytes) = self.queue.len();
        let is_ready = self.is_ready.load(Ordering::Relaxed);
        let reason = lock(&self.broken).1.clone();
        EngineSnapshot {
            is_ready,
            away_reason: Some(reason).filter(|reason| !is_ready && !reason.is_empty()),
            tick_age: lock(&self.ticked).elapsed(),
            queued,
            queued_bytes,
            ..self.counters.snapshot()
        }
    }
}

/// Returns an age in milliseconds, with which a function in Lua can compute.
pub(super) fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).map_or(MAX_AGE, |millis| millis.min(MAX_AGE))
}

/// The longest age in milliseconds that they compute with: some 30,000 years.
pub(super) const MAX_AGE: u64 = 1_000_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signals_of_runs_that_have_ended_are_dropped() {
        let shared = EngineShared::new(&Engine::redis("redis://localhost").unwrap());
        let running = Arc::new(Notify::new());
        shared.watch_stop(&"running".into(), &running);
        for number in 0..10_000 {
            shared.watch_stop(&format!("run {number}").into(), &Arc::default());
        }
        assert!(lock(&shared.stops).len() < 100);
        shared.note_stop("running");
        assert_eq!(lock(&shared.stops)["running"].strong_count(), 1);
    }
}
