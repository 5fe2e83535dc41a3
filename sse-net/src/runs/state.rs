//! The running runs, the kept runs, and the remembered keys.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::config::RunsConfig;
use super::end::RunEnd;
use super::run::Run;
use crate::sync::Arc;

/// The counters of [`Runs`](crate::Runs) at one time, most of them since their creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RunsSnapshot {
    /// Running runs.
    pub running: usize,
    /// Kept runs, which have ended.
    pub kept: usize,
    /// Remembered keys of expired runs.
    pub remembered: usize,
    /// Runs that were started.
    pub started: u64,
    /// Calls of [`Runs::start`](crate::Runs::start) that found a run of the key.
    pub found: u64,
    /// Calls of [`Runs::start`](crate::Runs::start) that were refused at a limit.
    pub refused: u64,
    /// Runs whose work resolved to `Ok`.
    pub completed: u64,
    /// Runs whose work resolved to an error.
    pub failed: u64,
    /// Runs whose work panicked.
    pub panicked: u64,
    /// Runs that were stopped.
    pub stopped: u64,
    /// Runs that were stopped because they had no subscriber.
    pub unfollowed: u64,
    /// Runs that ended as [`RunEnd::Interrupted`].
    pub interrupted: u64,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) runs: HashMap<Arc<str>, Entry>,
    /// The numbers of runs by the prefix of their keys, if that is limited.
    of_prefix: HashMap<Box<str>, OfPrefix>,
    /// Kept runs, in the order of their ends.
    kept: VecDeque<Past>,
    /// Remembered keys, in the order of their ends.
    remembered: VecDeque<Past>,
    pub(super) counts: RunsSnapshot,
    /// The task that waits for the next run to expire.
    pub(super) sweeper: Option<AbortHandle>,
    /// The task that ends runs whose leases have run out.
    pub(super) watcher: Option<AbortHandle>,
}

/// The numbers of runs whose keys share a prefix.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OfPrefix {
    pub(super) running: usize,
    pub(super) kept: usize,
}

pub(super) enum Entry {
    Running(Run, Arc<Notify>),
    Kept(Run),
    Expired,
}

/// A run that has ended, at this time.
pub(super) struct Past {
    key: Arc<str>,
    at: Instant,
}

impl State {
    /// Counts the end of a run.
    pub(super) fn count(&mut self, end: &RunEnd<'_>) {
        let counts = &mut self.counts;
        *match end {
            RunEnd::Completed => &mut counts.completed,
            RunEnd::Failed(_) => &mut counts.failed,
            RunEnd::Panicked => &mut counts.panicked,
            RunEnd::Stopped => &mut counts.stopped,
            RunEnd::Unfollowed => &mut counts.unfollowed,
            RunEnd::Interrupted => &mut counts.interrupted,
        } += 1;
    }

    /// Returns the numbers of runs whose keys share the prefix of this one.
    pub(super) fn of_prefix(&self, config: &RunsConfig, key: &str) -> OfPrefix {
        let prefix = config.prefix(key);
        let counts = prefix.and_then(|prefix| self.of_prefix.get(prefix));
        counts.copied().unwrap_or_default()
    }

    /// Changes the numbers of runs whose keys share the prefix of this one.
    pub(super) fn count_of_prefix(
        &mut self,
        config: &RunsConfig,
        key: &str,
        change: impl FnOnce(&mut OfPrefix),
    ) {
        let Some(prefix) = config.prefix(key) else {
            return;
        };
        let counts = self.of_prefix.entry(prefix.into()).or_default();
        change(counts);
        if counts.running + counts.kept == 0 {
            self.of_prefix.remove(prefix);
        }
    }

    /// Keeps a run that ends.
    pub(super) fn keep(&mut self, config: &RunsConfig, run: Run) {
        self.counts.kept += 1;
        self.count_of_prefix(config, &run.key, |counts| counts.kept += 1);
        self.runs.insert(Arc::clone(&run.key), Entry::Kept(run));
    }

    /// Lets a kept run expire. Its topic has to be finished, because it leaves the hub then.
    pub(super) fn expire_later(&mut self, run: &Run) {
        self.kept.push_back(Past {
            key: Arc::clone(&run.key),
            at: Instant::now(),
        });
    }

    /// Drops up to [`PART`] runs and then as many keys that have expired at the time `now`.
    ///
    /// Topics leave the hub here, so that a new run of the key gets a new one. Their memory is
    /// freed with the returned runs; clients that still read keep theirs.
    pub(super) fn expire(&mut self, config: &RunsConfig, now: Instant) -> Expired {
        let (mut runs, mut count) = (Vec::new(), 0);
        while count < PART
            && let Some(past) = pop_if(&mut self.kept, |past| past.is_older(config.keep, now))
        {
            count += 1;
            if let Some(entry @ Entry::Kept(_)) = self.runs.get_mut(&past.key)
                && let Entry::Kept(run) = mem::replace(entry, Entry::Expired)
            {
                run.topic.remove_from_hub(config.remember);
                self.count_of_prefix(config, &run.key, |counts| counts.kept -= 1);
                runs.push(run);
                self.counts.kept -= 1;
                self.counts.remembered += 1;
                self.remembered.push_back(past);
            }
        }
        // Keys that were started again are counted too, so that they do not pile up.
        let is_over = |len: usize, past: &Past| {
            len > config.max_remembered || past.is_older(config.remember, now)
        };
        let mut len = self.remembered.len();
        while count < 2 * PART
            && let Some(past) = pop_if(&mut self.remembered, |past| is_over(len, past))
        {
            len -= 1;
            count += 1;
            // A later run of the key has another text at another address.
            let current = self.runs.get_key_value(&past.key);
            if current.is_some_and(|(key, _)| Arc::ptr_eq(key, &past.key)) {
                self.runs.remove(&past.key);
                self.counts.remembered -= 1;
            }
        }
        Expired {
            is_all: count < PART,
            _runs: runs,
        }
    }

    /// Returns a time at which a run may have expired, or `None` if none is kept or remembered.
    /// A run that ends from now on does not expire much earlier.
    pub(super) fn next_expiry(&self, config: &RunsConfig, now: Instant) -> Option<Instant> {
        let first =
            |queue: &VecDeque<Past>, age| queue.front().map(|past| past.at.checked_add(age));
        let kept = first(&self.kept, config.keep);
        let remembered = first(&self.remembered, config.remember);
        let first = kept.into_iter().chain(remembered).flatten().min()?;
        let latest = now.checked_add(config.keep).unwrap_or(first);
        Some(first.min(latest).max(now + PAUSE))
    }
}

/// Runs that have been dropped. Their memory is freed without the lock.
#[must_use = "it is freed without the lock"]
pub(super) struct Expired {
    /// Whether no others have expired.
    pub(super) is_all: bool,
    _runs: Vec<Run>,
}

/// The most runs that are dropped while the lock is held.
const PART: usize = 64;

/// The minimum time between two sweeps.
const PAUSE: Duration = Duration::from_secs(1);

impl Past {
    fn is_older(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= age
    }
}

/// Spawns a task, unless the last one is still running. One of a runtime that has ended is not.
pub(super) fn keep_running(
    task: &mut Option<AbortHandle>,
    runtime: &Handle,
    work: impl Future<Output = ()> + Send + 'static,
) {
    if task.as_ref().is_none_or(AbortHandle::is_finished) {
        *task = Some(runtime.spawn(work).abort_handle());
    }
}

/// Removes the first entry if it is due.
fn pop_if(queue: &mut VecDeque<Past>, is_due: impl FnOnce(&Past) -> bool) -> Option<Past> {
    if is_due(queue.front()?) {
        queue.pop_front()
    } else {
        None
    }
}
