//! The registry of runs, and the tasks that do their work.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::future::pending;
use std::time::Duration;
use std::{fmt, mem};

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use super::config::RunsConfig;
use super::end::{RunEnd, RunGone, StartError};
use super::run::Run;
use crate::sync::{Arc, Mutex, MutexGuard, Weak, lock};
use crate::topic::{Hub, Topic};
use crate::unwind::{Panicked, catch, catch_async};

/// Starts runs, each under a key, and finds them again.
///
/// A [`Run`] is work that outlives the request that began it, such as the answer of a model: any
/// number of clients follow it from any ID, and the work goes on when they leave. After its end
/// it is kept [for a time](RunsConfig::keep).
///
/// A key is any text. It is not an authorisation: the application decides who may start, follow
/// or stop a run.
///
/// ```
/// use sse_net::{Answer, Event, Hub, HubConfig, Request, Runs, RunsConfig};
///
/// # struct Model(u8);
/// # impl Model {
/// #     fn ask(_: &str) -> Self { Self(2) }
/// #     async fn next(&mut self) -> Option<String> { self.0 = self.0.checked_sub(1)?; Some("token".into()) }
/// # }
/// async fn handle(runs: Runs, request: Request) -> Answer {
///     let question = request.query().unwrap_or_default().to_owned();
///     let run = runs.start(&question.clone(), async move |run| {
///         let mut model = Model::ask(&question);
///         while let Some(token) = model.next().await {
///             run.publish(&Event::new().data(token))?;
///         }
///         run.finish(Some(&Event::new().data("[DONE]")))
///     });
///     match run {
///         Ok(run) => request.follow(&run), // clients with the same question share a run
///         Err(full) => request.reject(full.into()),
///     }
/// }
///
/// let runs = Runs::new(Hub::new(HubConfig::default()), RunsConfig::default());
/// # let _ = (runs, handle);
/// ```
///
/// Cheap to clone; all clones are the same registry. Runs go on when all are dropped.
#[derive(Clone)]
pub struct Runs(Arc<Registry>);

struct Registry {
    hub: Hub,
    config: RunsConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    runs: HashMap<Arc<str>, Entry>,
    /// The number of runs that are going on, by the prefixes of their keys.
    of_prefix: HashMap<Box<str>, usize>,
    /// Runs that have ended, in the order of their ends. Some may have been replaced.
    ended: VecDeque<Past>,
    /// Keys that are only remembered.
    gone: VecDeque<Past>,
    counts: RunsSnapshot,
    /// Whether a task waits for the next run to expire.
    is_swept: bool,
}

enum Entry {
    Running(Run, Arc<Notify>),
    Ended(Run),
    Gone,
}

/// A run that has ended, at this time.
struct Past {
    key: Arc<str>,
    at: Instant,
}

/// The counters of [`Runs`] at one time, most of them since their creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RunsSnapshot {
    /// Runs that are going on.
    pub running: usize,
    /// Runs that have ended and are kept.
    pub kept: usize,
    /// Keys of runs that are remembered only.
    pub remembered: usize,
    /// Runs that were started.
    pub started: u64,
    /// Calls of [`Runs::start`] that found a run of the key.
    pub found: u64,
    /// Calls of [`Runs::start`] that were refused at a limit.
    pub refused: u64,
    /// Runs whose work resolved to `Ok`.
    pub completed: u64,
    /// Runs whose work resolved to an error.
    pub failed: u64,
    /// Runs whose work panicked.
    pub panicked: u64,
    /// Runs that were stopped.
    pub stopped: u64,
    /// Runs that were stopped because nobody followed them.
    pub unfollowed: u64,
    /// Runs that an earlier process had not ended.
    pub interrupted: u64,
}

impl Runs {
    /// Creates a registry of runs whose topics are in `hub`.
    ///
    /// Runs that a hub's journal has kept are found again. Those that had not ended are ended,
    /// with [`RunEnd::Interrupted`].
    #[must_use]
    pub fn new(hub: Hub, config: RunsConfig) -> Self {
        let topics = hub.with_prefix(&config.name_prefix);
        let registry = Registry {
            hub,
            config,
            state: Mutex::default(),
        };
        for topic in topics {
            registry.restore(topic);
        }
        Self(Arc::new(registry))
    }

    /// Starts a run, or returns the one of this key that goes on or is kept.
    ///
    /// `work` gets the run, to publish into it and to finish it with a last event. It is called
    /// in a new task, once, however many tasks ask at once. If it does not finish the run, the
    /// run ends as [`end_event`](RunsConfig::end_event) says.
    ///
    /// # Errors
    ///
    /// [`StartError`] beyond a limit. It converts into a [`Rejection`](crate::Rejection).
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn start<F, E>(
        &self,
        key: impl AsRef<str>,
        work: impl FnOnce(Run) -> F + Send + 'static,
    ) -> Result<Run, StartError>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let stop = Arc::new(Notify::new());
        let run = match self.0.enter(key.as_ref(), &stop)? {
            Entered::Found(run) => return Ok(run),
            Entered::New(run) => run,
        };
        let (registry, worked) = (Arc::clone(&self.0), run.clone());
        tokio::spawn(async move {
            let work = catch_async("the work of a run", async {
                work(worked.clone()).await.map_err(Into::into)
            });
            let after = registry.config.stop_unfollowed;
            tokio::select! {
                biased;
                () = stop.notified() => registry.end(&worked, &RunEnd::Stopped),
                () = unfollowed(&worked, after) => registry.end(&worked, &RunEnd::Unfollowed),
                done = work => match done {
                    Ok(Ok(())) => registry.end(&worked, &RunEnd::Completed),
                    Ok(Err(error)) => registry.end(&worked, &RunEnd::Failed(&*error)),
                    Err(Panicked) => registry.end(&worked, &RunEnd::Panicked),
                },
            }
            registry.sweep();
        });
        Ok(run)
    }

    /// Returns the run of this key, which goes on or is kept.
    ///
    /// # Errors
    ///
    /// [`RunGone`] if there is none. It converts into a [`Rejection`](crate::Rejection).
    pub fn get(&self, key: impl AsRef<str>) -> Result<Run, RunGone> {
        let mut expired = Vec::new();
        let mut state = self.0.lock();
        state.expire(&self.0.config, Instant::now(), &mut expired);
        let found = match state.runs.get(key.as_ref()) {
            Some(Entry::Running(run, _) | Entry::Ended(run)) => Ok(run.clone()),
            Some(Entry::Gone) => Err(RunGone::Expired),
            None => Err(RunGone::Unknown),
        };
        drop(state);
        forget(expired, &self.0.config);
        found
    }

    /// Stops the run of this key: its work is dropped where it waits.
    ///
    /// Returns `false` if none goes on. Work that never waits is not stopped.
    pub fn stop(&self, key: impl AsRef<str>) -> bool {
        match self.0.lock().runs.get(key.as_ref()) {
            Some(Entry::Running(_, stop)) => {
                stop.notify_one();
                true
            }
            _ => false,
        }
    }

    /// Returns the counters.
    #[must_use]
    pub fn snapshot(&self) -> RunsSnapshot {
        let mut expired = Vec::new();
        let mut state = self.0.lock();
        state.expire(&self.0.config, Instant::now(), &mut expired);
        let counts = state.counts;
        drop(state);
        forget(expired, &self.0.config);
        counts
    }
}

impl fmt::Debug for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.lock().counts;
        f.debug_struct("Runs")
            .field("running", &counts.running)
            .field("kept", &counts.kept)
            .finish_non_exhaustive()
    }
}

enum Entered {
    Found(Run),
    New(Run),
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Finds the run of `key`, or adds one.
    fn enter(&self, key: &str, stop: &Arc<Notify>) -> Result<Entered, StartError> {
        let mut expired = Vec::new();
        let mut state = self.lock();
        state.expire(&self.config, Instant::now(), &mut expired);
        let entered = self.enter_locked(&mut state, key, stop);
        match &entered {
            Ok(Entered::New(_)) => state.counts.started += 1,
            Ok(Entered::Found(_)) => state.counts.found += 1,
            Err(_) => state.counts.refused += 1,
        }
        drop(state);
        forget(expired, &self.config);
        entered
    }

    fn enter_locked(
        &self,
        state: &mut State,
        key: &str,
        stop: &Arc<Notify>,
    ) -> Result<Entered, StartError> {
        if let Some(Entry::Running(run, _) | Entry::Ended(run)) = state.runs.get(key) {
            return Ok(Entered::Found(run.clone()));
        }
        let config = &self.config;
        if state.counts.running >= config.max_running {
            let max = config.max_running;
            return Err(StartError::TooManyRunning { max });
        }
        if state.counts.running + state.counts.kept >= config.max_runs {
            let max = config.max_runs;
            return Err(StartError::TooManyKept { max });
        }
        if let Some((prefix, max)) = config.prefix(key)
            && state
                .of_prefix
                .get(prefix)
                .is_some_and(|count| *count >= max)
        {
            return Err(StartError::TooManyOfPrefix { max });
        }
        let name = format!("{}{key}", config.name_prefix);
        let topic = self.hub.topic_with(&name, &config.topic)?;
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
        if let Some((prefix, _)) = config.prefix(key) {
            *state.of_prefix.entry(prefix.into()).or_default() += 1;
        }
        Ok(Entered::New(run))
    }

    /// Ends the run's topic, unless its work did, and keeps the run.
    fn end(&self, run: &Run, end: &RunEnd<'_>) {
        self.finish(&run.topic, end);
        let mut state = self.lock();
        state.counts.running -= 1;
        if let Some((prefix, _)) = self.config.prefix(&run.key)
            && let Some(count) = state.of_prefix.get_mut(prefix)
        {
            *count -= 1;
            if *count == 0 {
                state.of_prefix.remove(prefix);
            }
        }
        state.keep(run.clone(), end);
    }

    fn finish(&self, topic: &Topic, end: &RunEnd<'_>) {
        if topic.is_finished() {
            return;
        }
        let event = catch("the end event of a run", || (self.config.end_event)(end));
        let finished = topic.finish(event.unwrap_or_default().as_ref());
        if finished.is_err() {
            // The event is too large.
            let _ = topic.finish(None);
        }
    }

    /// Keeps a run of an earlier process.
    fn restore(&self, topic: Topic) {
        let end = if topic.is_finished() {
            RunEnd::Completed
        } else {
            RunEnd::Interrupted
        };
        self.finish(&topic, &end);
        let key = topic.name().unwrap_or_default();
        let key = key.strip_prefix(&*self.config.name_prefix);
        let run = Run {
            key: key.unwrap_or_default().into(),
            topic,
        };
        self.lock().keep(run, &end);
    }

    /// Forgets runs when they expire, in a task that ends when none is kept.
    fn sweep(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if mem::replace(&mut self.lock().is_swept, true) {
            return;
        }
        let registry = Arc::downgrade(self);
        runtime.spawn(async move {
            while let Some(next) = Weak::upgrade(&registry).and_then(|registry| registry.expire()) {
                sleep_until(next).await;
            }
        });
    }

    /// Forgets runs that have expired, and returns when the next one does.
    fn expire(&self) -> Option<Instant> {
        let (now, mut expired) = (Instant::now(), Vec::new());
        let mut state = self.lock();
        state.expire(&self.config, now, &mut expired);
        let next = state.next_expiry(&self.config, now);
        state.is_swept = next.is_some();
        drop(state);
        forget(expired, &self.config);
        next
    }
}

impl RunsConfig {
    /// Returns the prefix of a key, and how many runs may go on with it.
    fn prefix<'k>(&self, key: &'k str) -> Option<(&'k str, usize)> {
        let (separator, max) = self.per_prefix?;
        let prefix = key.split_once(separator);
        Some((prefix.map_or(key, |(prefix, _)| prefix), max))
    }
}

impl State {
    fn keep(&mut self, run: Run, end: &RunEnd<'_>) {
        let counts = &mut self.counts;
        *match end {
            RunEnd::Completed => &mut counts.completed,
            RunEnd::Failed(_) => &mut counts.failed,
            RunEnd::Panicked => &mut counts.panicked,
            RunEnd::Stopped => &mut counts.stopped,
            RunEnd::Unfollowed => &mut counts.unfollowed,
            RunEnd::Interrupted => &mut counts.interrupted,
        } += 1;
        counts.kept += 1;
        self.ended.push_back(Past {
            key: Arc::clone(&run.key),
            at: Instant::now(),
        });
        self.runs.insert(Arc::clone(&run.key), Entry::Ended(run));
    }

    /// Forgets what has expired at the time `now`: first the events of a run, then its key.
    fn expire(&mut self, config: &RunsConfig, now: Instant, expired: &mut Vec<Run>) {
        while let Some(past) = pop_if(&mut self.ended, |past| past.is_older(config.keep, now)) {
            if let Some(entry @ Entry::Ended(_)) = self.runs.get_mut(&past.key)
                && let Entry::Ended(run) = mem::replace(entry, Entry::Gone)
            {
                expired.push(run);
                self.counts.kept -= 1;
                self.counts.remembered += 1;
                self.gone.push_back(past);
            }
        }
        let remembered = |counts: &RunsSnapshot, past: &Past| {
            counts.remembered <= config.max_remembered && !past.is_older(config.remember, now)
        };
        while let Some(past) = pop_if(&mut self.gone, |past| !remembered(&self.counts, past)) {
            // A later run of the key has another text at another address.
            let current = self.runs.get_key_value(&past.key);
            if current.is_some_and(|(key, _)| Arc::ptr_eq(key, &past.key)) {
                self.runs.remove(&past.key);
                self.counts.remembered -= 1;
            }
        }
    }

    /// Returns a time at which a run may have expired, or `None` if none is kept or remembered.
    /// A run that ends from now on does not expire much earlier.
    fn next_expiry(&self, config: &RunsConfig, now: Instant) -> Option<Instant> {
        let first =
            |queue: &VecDeque<Past>, age| queue.front().map(|past| past.at.checked_add(age));
        let ended = first(&self.ended, config.keep);
        let gone = first(&self.gone, config.remember);
        let first = ended.into_iter().chain(gone).flatten().min()?;
        let latest = now.checked_add(config.keep).unwrap_or(first);
        Some(first.min(latest).max(now + PAUSE))
    }
}

/// The minimum time between two sweeps.
const PAUSE: Duration = Duration::from_secs(1);

impl Past {
    fn is_older(&self, age: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= age
    }
}

/// Removes the first one if it is as asked.
fn pop_if(queue: &mut VecDeque<Past>, is_due: impl FnOnce(&Past) -> bool) -> Option<Past> {
    if is_due(queue.front()?) {
        queue.pop_front()
    } else {
        None
    }
}

/// Removes the topics of runs from the hub. Clients that still read keep theirs.
fn forget(expired: Vec<Run>, config: &RunsConfig) {
    for run in expired {
        run.topic.forget(config.remember);
    }
}

/// Waits until nobody has followed the topic for a time, or for ever without one.
async fn unfollowed(topic: &Topic, time: Option<Duration>) {
    let Some(time) = time else {
        return pending().await;
    };
    while timeout(time, topic.watched()).await.is_ok() {
        topic.unwatched().await;
    }
}
