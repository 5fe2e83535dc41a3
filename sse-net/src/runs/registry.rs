//! The registry of runs.

use std::error::Error;
use std::{fmt, mem};

use sse_core::Event;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::config::RunsConfig;
use super::end::{RunEnd, RunNotFound, StartError};
use super::lease::{NoLease, hold};
use super::run::Run;
use super::state::{Entry, RunsSnapshot, State};
use super::task::{Task, unfollowed};
use crate::sync::{Arc, Mutex, MutexGuard, Weak, lock};
use crate::topic::{Hub, Topic};
use crate::unwind::{Panicked, catch, catch_async};

/// Starts runs by key, and finds them.
///
/// A [`Run`] is work that outlives the request that started it, such as the answer of a model.
/// Any number of clients follow it from any ID, and the work continues when they disconnect.
/// After its end it is kept [for a time](RunsConfig::keep).
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
/// Cheap to clone; all clones are the same registry. Runs continue when all are dropped.
#[derive(Clone)]
pub struct Runs(Arc<Registry>);

pub(super) struct Registry {
    pub(super) hub: Hub,
    pub(super) config: RunsConfig,
    state: Mutex<State>,
}

impl Runs {
    /// Creates a registry of runs whose topics are in `hub`.
    ///
    /// With a [journal](Hub::open), the runs of an earlier process are restored and kept from now
    /// on. Runs that were running end with [`RunEnd::Interrupted`]. Remembered keys are not
    /// restored. Add the settings of the runs to the hub's with
    /// [`HubConfig::runs`](crate::HubConfig::runs); otherwise the hub restores what its own
    /// settings retain.
    ///
    /// ```no_run
    /// use sse_net::{Hub, HubConfig, Journal, Runs, RunsConfig};
    ///
    /// let config = RunsConfig::default();
    /// let hub = Hub::open(HubConfig::default().runs(&config), &Journal::new("runs"))?;
    /// let runs = Runs::new(hub, config);
    /// # let _ = runs;
    /// # Ok::<(), sse_net::JournalError>(())
    /// ```
    #[must_use]
    pub fn new(hub: Hub, config: RunsConfig) -> Self {
        let topics = match hub.has_engine() {
            true => Vec::new(), // They belong to other nodes.
            false => hub.with_prefix(&config.name_prefix),
        };
        let registry = Registry {
            hub,
            config,
            state: Mutex::default(),
        };
        for topic in topics {
            registry.restore(topic);
        }
        let registry = Arc::new(registry);
        registry.watch_leases();
        Self(registry)
    }

    /// Starts a run, or returns the running or kept run of this key.
    ///
    /// `work` receives the run, publishes into it and may finish it with a last event. It is
    /// called in a new task, and only once if several tasks start the same key at once. If it
    /// does not finish the run, the run ends with its [`end_event`](RunsConfig::end_event).
    ///
    /// In a hub with an engine, `work` is called once over all nodes, after the engine has given
    /// this node a lease. If another node has the run, the returned one is followed like it. The
    /// limits of the settings are each node's. If the engine refuses the start, the run ends with
    /// [`RunEnd::Interrupted`].
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
        let runtime = Handle::current();
        self.0.watch_leases();
        let stop = Arc::new(Notify::new());
        let run = match self.0.enter(key.as_ref(), &stop)? {
            Entered::Found(run) => return Ok(run),
            Entered::New(run) => run,
        };
        let (task, worked) = (Task::new(&self.0, &run), run.clone());
        runtime.spawn(async move {
            let work = catch_async("the work of a run", async {
                work(worked.clone()).await.map_err(Into::into)
            });
            let lease = match task.registry.lease(&worked, &stop).await {
                Ok(lease) => lease,
                Err(NoLease::Elsewhere) => return task.leave(),
                Err(NoLease::Refused) => return task.end(&RunEnd::Interrupted),
            };
            let config = &task.registry.config;
            let after = config.stop_unfollowed.filter(|_| lease.is_none());
            tokio::select! {
                biased;
                () = stop.notified() => task.end(&RunEnd::Stopped),
                () = unfollowed(&worked, after) => task.end(&RunEnd::Unfollowed),
                () = hold(lease.as_ref(), &stop) => task.end(&RunEnd::Interrupted),
                done = work => match done {
                    Ok(Ok(())) => task.end(&RunEnd::Completed),
                    Ok(Err(error)) => task.end(&RunEnd::Failed(&*error)),
                    Err(Panicked) => task.end(&RunEnd::Panicked),
                },
            }
        });
        Ok(run)
    }

    /// Returns the running or kept run of this key. With an engine, this finds only runs that this
    /// node started; see [`find`](Self::find).
    ///
    /// # Errors
    ///
    /// [`RunNotFound`] if there is none. It converts into a [`Rejection`](crate::Rejection).
    pub fn get(&self, key: impl AsRef<str>) -> Result<Run, RunNotFound> {
        self.0.get(key.as_ref())
    }

    /// Returns the running or kept run of this key, on any node of a hub with an engine.
    ///
    /// Without an engine, this is [`get`](Self::get). Only the run's work publishes into it: the
    /// engine does not refuse events of other nodes. Waits for as long as the engine is away, so
    /// set a deadline.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and [`RunNotFound::Hub`] if the hub has no room for the topic.
    pub async fn find(&self, key: impl AsRef<str>) -> Result<Run, RunNotFound> {
        self.0.find(key.as_ref()).await
    }

    /// Stops the run of this key on any node of a hub with an engine.
    ///
    /// Without an engine, this is [`stop`](Self::stop). Resolves to `false` if none is running.
    /// The run is notified at once, and reads at each renewal of its lease that it is stopped.
    pub async fn stop_anywhere(&self, key: impl AsRef<str>) -> bool {
        self.0.stop_anywhere(key.as_ref()).await
    }

    /// Stops the run of this key: its work is dropped where it waits.
    ///
    /// Returns `false` if none is running. Work that never waits is not stopped. With an engine,
    /// this stops runs of this node only; see [`stop_anywhere`](Self::stop_anywhere).
    pub fn stop(&self, key: impl AsRef<str>) -> bool {
        self.0.stop(key.as_ref())
    }

    /// Returns the counters.
    #[must_use]
    pub fn snapshot(&self) -> RunsSnapshot {
        self.0.with_current(|state, _| state.counts)
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
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Drops expired runs, then calls `look`. Memory is freed after the lock.
    fn with_current<T>(&self, look: impl FnOnce(&mut State, Instant) -> T) -> T {
        let now = Instant::now();
        let mut state = self.lock();
        let expired = state.expire(&self.config, now);
        let found = look(&mut state, now);
        drop(state);
        drop(expired);
        found
    }

    pub(super) fn get(&self, key: &str) -> Result<Run, RunNotFound> {
        self.with_current(|state, _| match state.runs.get(key) {
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
        format!("{}{key}", self.config.name_prefix)
    }

    /// Finds the run of `key`, or adds one.
    fn enter(&self, key: &str, stop: &Arc<Notify>) -> Result<Entered, StartError> {
        self.with_current(|state, _| {
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
        if let Some((prefix, max)) = config.prefix(key)
            && state
                .of_prefix
                .get(prefix)
                .is_some_and(|count| *count >= max)
        {
            return Err(StartError::TooManyOfPrefix { max });
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
        if let Some((prefix, _)) = config.prefix(key) {
            *state.of_prefix.entry(prefix.into()).or_default() += 1;
        }
        Ok(Entered::New(run))
    }

    /// Ends the run's topic, unless its work did, and keeps the run.
    pub(super) fn end(&self, run: &Run, end: &RunEnd<'_>) {
        self.finish(&run.topic, end);
        let mut state = self.lock();
        self.count_end(&mut state, run);
        state.count(end);
        state.keep(run.clone());
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
        if let Some((prefix, _)) = self.config.prefix(&run.key)
            && let Some(count) = state.of_prefix.get_mut(prefix)
        {
            *count -= 1;
            if *count == 0 {
                state.of_prefix.remove(prefix);
            }
        }
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
            // The event is too large.
            let _ = topic.finish(None);
        }
    }

    /// Keeps a run of an earlier process, ended if it was running.
    fn restore(&self, topic: Topic) {
        let is_interrupted = !topic.is_finished();
        self.finish(&topic, &RunEnd::Interrupted);
        let key = topic.name().unwrap_or_default();
        let key = key.strip_prefix(&*self.config.name_prefix);
        let run = Run {
            key: key.unwrap_or_default().into(),
            topic,
        };
        let mut state = self.lock();
        if is_interrupted {
            state.count(&RunEnd::Interrupted);
        }
        state.keep(run);
    }

    /// Starts a task that drops runs when they expire, and ends when none is kept.
    pub(super) fn sweep(self: &Arc<Self>) {
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

    /// Drops expired runs, and returns the time at which the next one may expire.
    fn expire(&self) -> Option<Instant> {
        self.with_current(|state, now| {
            let next = state.next_expiry(&self.config, now);
            state.is_swept = next.is_some();
            next
        })
    }
}

impl RunsConfig {
    /// Returns the prefix of a key, and the maximum number of its running runs.
    fn prefix<'k>(&self, key: &'k str) -> Option<(&'k str, usize)> {
        let (separator, max) = self.per_prefix?;
        let prefix = key.split_once(separator);
        Some((prefix.map_or(key, |(prefix, _)| prefix), max))
    }
}
