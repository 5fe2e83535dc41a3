//! The handle of the registry: what applications call.

use std::error::Error;
use std::fmt;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::config::RunsConfig;
use super::end::{RunEnd, RunNotFound, RunsRefused, StartError};
use super::lease::{NoLease, hold};
use super::registry::{Entered, Registry};
use super::run::Run;
use super::state::RunsSnapshot;
use super::task::{Task, unfollowed};
use crate::sync::Arc;
use crate::topic::Hub;
use crate::unwind::{Panicked, catch_async};

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
/// use std::io;
/// use sse_net::{Answer, Event, Hub, HubConfig, Request, Runs, RunsConfig};
///
/// # struct Model(u8);
/// # impl Model {
/// #     fn ask(_: &str) -> Self { Self(2) }
/// #     async fn next(&mut self) -> Option<String> { self.0 = self.0.checked_sub(1)?; Some("token".into()) }
/// # }
/// async fn handle(runs: Runs, request: Request) -> Answer {
///     let question = request.query().unwrap_or_default().to_owned();
///     let run = runs.start(question.clone(), async move |run| {
///         let mut model = Model::ask(&question);
///         while let Some(token) = model.next().await {
///             run.publish(&Event::new().json_data(&token)?)?;
///         }
///         run.finish(Some(&Event::new().data("[DONE]")))?;
///         io::Result::Ok(()) // an error of any type would do
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
/// Cheap to clone; all clones are the same registry. Runs continue when all are dropped. Then they
/// expire only if there are other `Runs` of the hub later.
#[derive(Clone)]
pub struct Runs(Arc<Registry>);

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
    ///
    /// # Panics
    ///
    /// If there are other `Runs` of the hub, or their runs are still running, and the
    /// [`name_prefix`](RunsConfig::name_prefix) of one begins with that of the other. The second
    /// would take the runs of the first for those of an earlier process, and end them.
    #[must_use]
    #[track_caller]
    pub fn new(hub: Hub, config: RunsConfig) -> Self {
        let registry = Arc::new(Registry::new(hub, config));
        registry.watch_leases();
        registry.sweep();
        Self(registry)
    }

    /// Starts a run, or returns the running or kept run of this key.
    ///
    /// In the second case `work` is dropped without a call. So a key stands for the work and its
    /// input: it is, for example, a random number for each question, or a hash of its text.
    ///
    /// `work` receives the run, publishes into it and may finish it with a last event. It is
    /// called in a new task, and only once if several tasks start the same key at once. If it
    /// does not finish the run, the run ends with its [`end_event`](RunsConfig::end_event). What it
    /// returns with `Ok` is dropped. Its error may be of any type, and is passed to `end_event`;
    /// those of publishing and of JSON convert into [`io::Error`](std::io::Error).
    ///
    /// A client that resumes sends a `GET` without a body, so a key that is in the URL, or can be
    /// made from it, lets an `EventSource` follow what a `POST` has started.
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
    pub fn start<F, T, E>(
        &self,
        key: impl AsRef<str>,
        work: impl FnOnce(Run) -> F + Send + 'static,
    ) -> Result<Run, StartError>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
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
            let work = Box::pin(async { work(worked.clone()).await.map(drop).map_err(Into::into) });
            let work = catch_async("the work of a run", work);
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

    /// Returns the running or kept run of this key.
    ///
    /// With an engine, this finds only runs that this node started; see [`find`](Self::find).
    ///
    /// # Errors
    ///
    /// [`RunNotFound`] if there is none. It converts into a [`Rejection`](crate::Rejection).
    pub fn get(&self, key: impl AsRef<str>) -> Result<Run, RunNotFound> {
        self.0.get(key.as_ref())
    }

    /// Returns the running or kept run of this key, on any node.
    ///
    /// Without an engine, this is [`get`](Self::get). Only the run's work publishes into it: the
    /// engine refuses other events. Waits for as long as the engine is away, so set a deadline.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), [`RunNotFound::Hub`] if the hub has no room for the topic, and
    /// [`RunNotFound::Refused`] if the engine refuses to look for it.
    pub async fn find(&self, key: impl AsRef<str>) -> Result<Run, RunNotFound> {
        self.0.find(key.as_ref()).await
    }

    /// Stops the run of this key on any node of a hub with an engine.
    ///
    /// Without an engine, this is [`stop`](Self::stop). Resolves to `false` if none is running.
    /// The run is notified at once, and reads at each renewal of its lease that it is stopped.
    /// Waits for as long as the engine is away, so set a deadline.
    ///
    /// # Errors
    ///
    /// [`RunsRefused`] if the engine refuses it, for want of a permission or because the run's key
    /// is of another type.
    pub async fn stop_anywhere(&self, key: impl AsRef<str>) -> Result<bool, RunsRefused> {
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
    pub fn stats(&self) -> RunsSnapshot {
        self.0.with_current(|state| state.counts)
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
