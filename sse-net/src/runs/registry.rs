//! The registry of runs.

use sse_core::Event;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::config::RunsConfig;
use super::end::{RunEnd, RunNotFound, StartError};
use super::run::Run;
use super::state::{Entry, State, keep_running};
use crate::sync::{Arc, Mutex, MutexGuard, Weak, lock};
use crate::topic::{Hub, Topic};
use crate::unwind::catch;

/// The runs of a [`Runs`](super::Runs) by their keys.
pub(super) struct Registry {
    pub(super) hub: Hub,
    pub(super) config: RunsConfig,
    /// The beginning of the topics' names, which the hub reserves for as long as this lives.
    pub(super) prefix: Arc<str>,
    state: Mutex<State>,
}

/// A run that was there, or that is new.
pub(super) enum Entered {
    Found(Run),
    New(Run),
}

impl Registry {
    /// Creates a registry, with the runs of an earlier process.
    #[track_caller]
    pub(super) fn new(hub: Hub, config: RunsConfig) -> Self {
        let prefix = Arc::from(&*config.name_prefix);
        assert!(
            hub.shared().reserve(&prefix),
            "the hub has `Runs` whose topics may have names that begin with {prefix:?}; clone those, \
             or set another `name_prefix`"
        );
        let topics = match hub.has_engine() {
            true => Vec::new(), // They belong to other nodes.
            false => hub.with_prefix(&prefix),
        };
        let registry = Self {
            hub,
            config,
            prefix,
            state: Mutex::default(),
        };
        for topic in topics {
            registry.restore(topic);
        }
        registry
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Drops expired runs, then calls `look`. The lock is released now and then, and memory is
    /// freed without it.
    pub(super) fn with_current<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        let now = Instant::now();
        loop {
            let mut state = self.lock();
            let expired = state.expire(&self.config, now);
            if expired.is_all {
                let found = look(&mut state);
                drop(state);
                return found;
            }
            drop(state);
        }
    }

    pub(super) fn get(&self, key: &str) -> Result<Run, RunNotFound> {
        self.with_current(|state| match state.runs.get(key) {
            Some(Entry::Running(run, _) | Entry::Kept(run)) => Ok(run.clone()),
            Some(Entry::Expired) => Err(RunNotFound::Expired),
            None => Err(RunNotFound::Unknown),
        })
    }

    pub(super) fn stop(&self, key: &str) -> bool {
        match self.lock().runs.get(key) {
            Some(Entry::Running(_, stop)) => {
                stop.notify_one();
                true
            }
            _ => false,
        }
    }

    /// Returns the name of a run's topic.
    pub(super) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Finds the run of `key`, or adds one.
    pub(super) fn enter(&self, key: &str, stop: &Arc<Notify>) -> Result<Entered, StartError> {
        self.with_current(|state| {
            let entered = self.enter_locked(state, key, stop);
            match &entered {
                Ok(Entered::New(_)) => state.counts.started += 1,
                Ok(Entered::Found(_)) => state.counts.found += 1,
                Err(_) => state.counts.refused += 1,
            }
            entered
        })
    }

    fn enter_locked(
        &self,
        state: &mut State,
        key: &str,
        stop: &Arc<Notify>,
    ) -> Result<Entered, StartError> {
        if let Some(Entry::Running(run, _) | Entry::Kept(run)) = state.runs.get(key) {
            return Ok(Entered::Found(run.clone()));
        }
        let config = &self.config;
        if key.len() > config.max_key {
            let (len, max) = (key.len(), config.max_key);
            return Err(StartError::KeyTooLong { len, max });
        }
        if state.counts.running >= config.max_running {
            let max = config.max_running;
            return Err(StartError::TooManyRunning { max });
        }
        if state.counts.running + state.counts.kept >= config.max_runs {
            let max = config.max_runs;
            return Err(StartError::TooManyKept { max });
        }
        let of_prefix = state.of_prefix(config, key);
        if of_prefix.running >= config.max_running_per_prefix {
            let max = config.max_running_per_prefix;
            return Err(StartError::TooManyRunningOfPrefix { max });
        }
        if of_prefix.running + of_prefix.kept >= config.max_runs_per_prefix {
            let max = config.max_runs_per_prefix;
            return Err(StartError::TooManyKeptOfPrefix { max });
        }
        let topic = self.hub.topic_with(&self.name(key), &config.topic)?;
        topic.shared().begin_start();
        let run = Run {
            key: key.into(),
            topic,
        };
        // Removed first, so that the map has the new key: a queue may have the old one.
        if state.runs.remove(key).is_some() {
            state.counts.remembered -= 1;
        }
        let entry = Entry::Running(run.clone(), Arc::clone(stop));
        state.runs.insert(Arc::clone(&run.key), entry);
        state.counts.running += 1;
        state.count_of_prefix(config, key, |counts| counts.running += 1);
        Ok(Entered::New(run))
    }

    /// Ends the run's topic, unless its work did, and keeps the run.
    ///
    /// The run does not count as running any more when clients see its end: one that asks for the
    /// next at once is not refused because of this one.
    pub(super) fn end(&self, run: &Run, end: &RunEnd<'_>) {
        let mut state = self.lock();
        self.count_end(&mut state, run);
        state.count(end);
        state.keep(&self.config, run.clone());
        drop(state);
        self.finish(&run.topic, end);
        self.lock().expire_later(run);
    }

    /// Removes a run that another node has.
    pub(super) fn leave(&self, run: &Run) {
        let mut state = self.lock();
        self.count_end(&mut state, run);
        state.counts.started -= 1;
        state.counts.found += 1;
        let removed = state.runs.remove(&run.key);
        drop(state);
        drop(removed);
    }

    fn count_end(&self, state: &mut State, run: &Run) {
        state.counts.running -= 1;
        state.count_of_prefix(&self.config, &run.key, |counts| counts.running -= 1);
    }

    /// Returns the last event of a run.
    pub(super) fn end_event(&self, end: &RunEnd<'_>) -> Option<Event<'static>> {
        catch("the end event of a run", || (self.config.end_event)(end)).unwrap_or_default()
    }

    fn finish(&self, topic: &Topic, end: &RunEnd<'_>) {
        if topic.is_finished() {
            return;
        }
        let finished = topic.finish(self.end_event(end).as_ref());
        if finished.is_err() {
            // The event is too large, or too many wait for the journal.
            let _ = topic.finish(None);
        }
    }

    /// Keeps a run of an earlier process, ended if it was running.
    fn restore(&self, topic: Topic) {
        let is_interrupted = !topic.is_finished();
        self.finish(&topic, &RunEnd::Interrupted);
        let key = topic.name().unwrap_or_default();
        let key = key.strip_prefix(&*self.prefix);
        let run = Run {
            key: key.unwrap_or_default().into(),
            topic,
        };
        let mut state = self.lock();
        if is_interrupted {
            state.count(&RunEnd::Interrupted);
        }
        state.keep(&self.config, run.clone());
        state.expire_later(&run);
    }

    /// Starts a task that drops runs when they expire, and ends when none is kept.
    pub(super) fn sweep(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let registry = Arc::downgrade(self);
        keep_running(&mut self.lock().sweeper, &runtime, async move {
            while let Some(next) = Weak::upgrade(&registry).and_then(|registry| registry.expire()) {
                yield_now().await;
                sleep_until(next).await;
            }
        });
    }

    /// Drops some expired runs, and returns the time at which the next one may expire.
    fn expire(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.lock();
        let expired = state.expire(&self.config, now);
        let next = match expired.is_all {
            true => state.next_expiry(&self.config, now),
            false => Some(now),
        };
        if next.is_none() {
            state.sweeper = None;
        }
        drop(state);
        next
    }
}

impl RunsConfig {
    /// Returns the prefix of a key, if its runs are limited.
    pub(super) fn prefix<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.max_running_per_prefix.min(self.max_runs_per_prefix) == usize::MAX {
            return None;
        }
        let prefix = key.split_once(self.separator);
        Some(prefix.map_or(key, |(prefix, _)| prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::HubConfig;

    #[tokio::test(start_paused = true)]
    async fn runs_that_expire_at_once_are_dropped_in_parts() {
        const COUNT: usize = 1_000;
        let hub = Hub::new(HubConfig::default());
        let registry = Registry::new(hub.clone(), RunsConfig::default());
        for number in 0..COUNT {
            registry.restore(hub.topic(format!("run/{number}")).unwrap());
        }
        tokio::time::advance(Duration::from_secs(24 * 3600)).await;
        let numbers = || {
            let counts = registry.lock().counts;
            (counts.kept, counts.kept + counts.remembered)
        };
        let mut before = numbers();
        assert_eq!(before, (COUNT, COUNT));
        while before != (0, 0) {
            registry.expire();
            let after = numbers();
            assert!(before.0 - after.0 <= 64 && before.1 - after.1 <= 128);
            before = after;
        }
        assert_eq!(hub.topics(), 0);
    }
}
