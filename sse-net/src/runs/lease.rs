//! Runs over all nodes of a hub with an engine: their leases, and those that have run out.

use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use sse_core::LogId;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::end::{RunEnd, RunNotFound, RunsRefused};
use super::registry::Registry;
use super::run::Run;
use super::state::keep_running;
use crate::sync::{Arc, Weak};
use crate::topic::{FoundRun, Hub, Lease, RunStart};

/// The lease of a run of this node.
pub(super) struct HeldLease {
    hub: Hub,
    topic: Arc<str>,
    token: LogId,
    time: Duration,
    /// It has run out at this time, if it is not renewed.
    until: Instant,
}

/// Why a run does not start on this node.
pub(super) enum NoLease {
    /// Another node has it.
    Elsewhere,
    /// The engine has refused the start.
    Refused,
}

/// Holds the lease, and resolves once it is lost; without one, never. Calls `stop` when the run is
/// to be stopped.
pub(super) async fn hold(lease: Option<&HeldLease>, stop: &Notify) {
    let Some(lease) = lease else {
        return pending().await;
    };
    let Some(engine) = lease.hub.shared().engine() else {
        return;
    };
    let mut until = lease.until;
    loop {
        sleep(lease.time / 3).await;
        let begun = Instant::now();
        match timeout_at(until, engine.renew_lease(&lease.topic, lease.token)).await {
            Ok(Ok(Lease::Held)) => {}
            Ok(Ok(Lease::Stopped)) => stop.notify_one(),
            // It may be renewed again before the lease runs out.
            Ok(Err(_)) if begun < until => continue,
            Ok(Ok(Lease::Lost) | Err(_)) | Err(_) => return,
        }
        until = begun + lease.time;
    }
}

impl Registry {
    /// Asks the engine for the lease of a run. Without an engine, a run needs none.
    pub(super) async fn lease(
        &self,
        run: &Run,
        stop: &Arc<Notify>,
    ) -> Result<Option<HeldLease>, NoLease> {
        let (Some(engine), Some(name)) = (self.hub.shared().engine(), run.topic.shared().name())
        else {
            return Ok(None);
        };
        engine.watch_stop(name, stop);
        let start = RunStart {
            owner: RandomState::new().hash_one(()),
            lease: self.config.lease,
            keep: self.config.keep,
            remember: self.config.remember,
        };
        match run.topic.start_run(start).await {
            Ok(Some(token)) => Ok(Some(HeldLease {
                hub: self.hub.clone(),
                topic: Arc::clone(name),
                token,
                time: self.config.lease,
                until: Instant::now() + self.config.lease,
            })),
            Ok(None) => {
                // It may have been stopped here, before it was known where it is.
                if timeout(Duration::ZERO, stop.notified()).await.is_ok() {
                    let _ = engine.stop_run(name).await;
                }
                Err(NoLease::Elsewhere)
            }
            Err(_) => Err(NoLease::Refused),
        }
    }

    pub(super) async fn find(&self, key: &str) -> Result<Run, RunNotFound> {
        let found = self.get(key);
        let Some(engine) = self.hub.shared().engine().filter(|_| found.is_err()) else {
            return found;
        };
        let name = self.name(key);
        let refused = |reason| RunNotFound::Refused(RunsRefused::new(key, reason));
        match engine.find_run(&name).await.map_err(refused)? {
            FoundRun::Present => {
                let topic = self.hub.topic_with(&name, &self.config.topic);
                let topic = topic.map_err(RunNotFound::Hub)?;
                // The node may still have the events of an earlier run of this key.
                self.hub.shared().look().await;
                let key = key.into();
                Ok(Run { key, topic })
            }
            FoundRun::Expired => Err(RunNotFound::Expired),
            FoundRun::Unknown => Err(RunNotFound::Unknown),
        }
    }

    pub(super) async fn stop_anywhere(&self, key: &str) -> Result<bool, RunsRefused> {
        if self.stop(key) {
            return Ok(true);
        }
        match self.hub.shared().engine() {
            Some(engine) => {
                let stopped = engine.stop_run(&self.name(key)).await;
                stopped.map_err(|reason| RunsRefused::new(key, reason))
            }
            None => Ok(false),
        }
    }

    /// Starts a task that ends runs whose leases have run out, in a hub with an engine.
    pub(super) fn watch_leases(self: &Arc<Self>) {
        let Some(runtime) = Handle::try_current().ok().filter(|_| self.hub.has_engine()) else {
            return;
        };
        let (registry, time) = (Arc::downgrade(self), self.config.lease / 3);
        keep_running(&mut self.lock().watcher, &runtime, async move {
            loop {
                sleep(time).await;
                let Some(registry) = Weak::upgrade(&registry) else {
                    return;
                };
                // Runs that nobody holds any more do not wait for an engine that is away.
                let _ = timeout(registry.config.lease, registry.end_lost_runs()).await;
            }
        });
    }

    async fn end_lost_runs(&self) {
        let Some(engine) = self.hub.shared().engine() else {
            return;
        };
        let lost = engine.lost_runs(&self.prefix).await.unwrap_or_default();
        let lost = lost.into_iter().filter_map(|(name, token)| {
            let topic = self.hub.topic_with(&name, &self.config.topic);
            Some((topic.ok()?, token))
        });
        let lost: Vec<_> = lost.collect();
        // Those that have ended need no end. A topic that cannot be read keeps no other waiting.
        let read = self.hub.ready(lost.iter().map(|(topic, _)| topic), None);
        let _ = timeout(self.config.lease / 3, read).await;
        for (topic, token) in lost {
            let event = self.end_event(&RunEnd::Interrupted);
            let ended = topic.end_lost(token, event.as_ref());
            if ended.is_err() {
                // The event is too large, or the queue is full: then later.
                let _ = topic.end_lost(token, None);
            }
        }
    }
}
