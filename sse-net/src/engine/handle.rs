//! Connecting a hub to its engine.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sse_core::LogId;
use tokio::sync::{Notify, watch};

use super::address::Address;
use super::error::EngineError;
use super::follower::Follower;
use super::link::Link;
use super::queue::Job;
use super::shared::{EngineShared, MAX_AGE};
use super::{Engine, EngineSnapshot, publisher, runs};
use crate::config::HubConfig;
use crate::topic::{
    self, Asking, FoundRun, Hub, Kind, Lease, Outcome, Outgoing, PublishError, Published, Storage,
    StoreError, Storing,
};

impl Hub {
    /// Connects a hub to an [`Engine`], through which its nodes share topics and IDs.
    ///
    /// A topic is read from the engine when this node uses it first. A hub costs two connections
    /// and two tasks of the current runtime, however many topics it has, and its memory is that
    /// of a hub without an engine. [`Engine`] lists the guarantees and the unsupported features.
    ///
    /// Dropping the last handle of the hub and its topics closes the connections once queued
    /// events have been sent, after five seconds at the latest.
    ///
    /// # Errors
    ///
    /// [`EngineError::Connect`] if the server cannot be reached, is a replica, or refuses the
    /// commands. After that, the hub connects again whenever it has to.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub async fn connect(
        config: impl Into<HubConfig>,
        engine: Engine,
    ) -> Result<Self, EngineError> {
        let shared = Arc::new(EngineShared::new(&engine));
        let addr = engine.address.to_string();
        let failed = |reason: String| EngineError::Connect(addr, reason);
        let dialled = Link::dial(&shared, 1).await;
        let dialled = match dialled {
            Ok(link) => Follower::begin(&shared, link, config.into()).await,
            Err(broken) => Err(broken),
        };
        let (follower, hub, link) = dialled.map_err(|broken| failed(broken.0))?;
        tokio::spawn(publisher::run(Arc::clone(&shared)));
        tokio::spawn(follower.run(link));
        if let Address::Sentinels(sentinels) = engine.address {
            tokio::spawn(sentinels.watch(Arc::clone(&shared)));
        }
        Ok(Self::with_storage(hub, Arc::new(Handle(shared))))
    }

    /// Returns the state and the counters of the hub's engine; `None` if it has no engine.
    #[must_use]
    pub fn engine_snapshot(&self) -> Option<EngineSnapshot> {
        let storage: &dyn std::any::Any = &**self.storage()?;
        let handle: &Handle = storage.downcast_ref()?;
        Some(handle.0.snapshot())
    }
}

/// The engine as the handles of a hub share it. Dropping it ends the tasks.
struct Handle(Arc<EngineShared>);

impl Storage for Handle {
    fn wake(&self) {
        self.0.wakeup.notify_one();
    }

    fn bounds_backlog(&self) -> bool {
        false
    }

    fn stored<'a>(&'a self, published: &'a Published) -> Storing<'a> {
        Box::pin(async {
            let closed = || StoreError::new(EngineError::Closed, false);
            let mut outcome = published.outcome.clone().ok_or_else(closed)?;
            let outcome = outcome.wait_for(Option::is_some).await;
            match outcome.ok().and_then(|outcome| outcome.clone()) {
                Some(outcome) => outcome,
                None => Err(closed()),
            }
        })
    }

    fn engine(&self) -> Option<&dyn topic::Engine> {
        Some(self)
    }
}

impl topic::Engine for Handle {
    fn publish(&self, batch: Outgoing) -> Result<watch::Receiver<Option<Outcome>>, PublishError> {
        let (sender, receiver) = watch::channel(None);
        let Some(name) = batch.topic.name() else {
            return Err(PublishError::NoEngine);
        };
        if batch.frames.is_empty() && batch.kind == Kind::Events {
            sender.send_replace(Some(Ok(LogId::default())));
            return Ok(receiver);
        }
        let retention = batch.topic.retention();
        let job = Job {
            topic: Arc::clone(name),
            kind: batch.kind,
            frames: batch.frames,
            key: batch.key,
            max_events: retention.max_events().clamp(1, MAX_EVENTS),
            max_age_millis: match u64::try_from(retention.max_age().as_millis()) {
                Ok(millis) if millis <= MAX_AGE => millis.max(1),
                _ => 0,
            },
            fence: batch.fence,
            keyed: batch.topic.keyed_retention(),
            outcome: sender,
        };
        for dropped in self.0.queue.push(job)? {
            self.0.drop_job(dropped);
        }
        Ok(receiver)
    }

    fn watch_stop(&self, topic: &Arc<str>, stop: &Arc<Notify>) {
        self.0.watch_stop(topic, stop);
    }

    fn renew_lease(&self, topic: &str, token: LogId) -> Asking<'_, Lease> {
        runs::renew(&self.0, topic, token)
    }

    fn stop_run(&self, topic: &str) -> Asking<'_, bool> {
        runs::stop(&self.0, topic)
    }

    fn find_run(&self, topic: &str) -> Asking<'_, FoundRun> {
        runs::find(&self.0, topic)
    }

    fn lost_runs(&self, prefix: &str) -> Asking<'_, Vec<(String, LogId)>> {
        runs::lost(&self.0, prefix)
    }

    fn request_look(&self) -> u64 {
        let request = self.0.requested.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.wakeup.notify_one();
        request
    }

    fn looks(&self) -> watch::Receiver<u64> {
        self.0.looked.subscribe()
    }

    fn max_wait(&self) -> Duration {
        self.0.max_wait
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.is_closing.send_replace(true);
    }
}

/// The largest number of events by which a stream is trimmed.
const MAX_EVENTS: usize = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hub_without_a_server_is_an_error() {
        let engine = Engine::redis("redis://127.0.0.1:1").unwrap();
        let error = Hub::connect(HubConfig::default(), engine)
            .await
            .unwrap_err();
        assert!(
            matches!(&error, EngineError::Connect(addr, _) if addr == "127.0.0.1:1"),
            "{error}"
        );
    }
}
