//! Stops a running server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::health::Readiness;
use super::inner::{Inner, Phase};
use crate::stats::Snapshot;

/// A running server. Dropping it stops accepting; open streams continue.
#[must_use = "dropping the handle stops accepting, also by `let _`: bind it, as in `let _server`"]
pub struct ServerHandle {
    inner: Arc<Inner>,
    acceptors: Vec<JoinHandle<()>>,
}

impl ServerHandle {
    pub(super) const fn new(inner: Arc<Inner>, acceptors: Vec<JoinHandle<()>>) -> Self {
        Self { inner, acceptors }
    }

    /// Returns the server's counters.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.inner.counters.snapshot()
    }

    /// Returns whether the server can take another client, for the probe of a load balancer.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.inner.counters.readiness()
    }

    /// Returns `true` while the tasks of the server run, whether or not it is ready.
    ///
    /// It is `false` when a listener's or a shard's task has ended by a panic, which is a reason
    /// to restart the process. That the call returns shows that the runtime has a thread to spare.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.inner.counters.health.is_live()
    }

    /// Makes the server unready while it continues to accept.
    ///
    /// Call it some seconds before [`drain`](Self::drain), so that load balancers send new clients
    /// elsewhere before connections are refused.
    pub fn announce_drain(&self) {
        self.inner.counters.health.announce_drain();
    }

    /// Stops accepting, ends all streams, and returns when all connections are closed.
    ///
    /// Each stream that follows a topic ends at a random time within `window`, with a jittered
    /// reconnection time for its client. Clients that keep up receive first what was published
    /// before, such as an event that announces the drain. A per-client stream may continue until
    /// the end of the window; then its future is dropped and it ends in the same way. Connections
    /// that have sent nothing are dropped after one second, and all others one second after the
    /// window.
    pub async fn drain(mut self, window: Duration) {
        self.stop();
        for acceptor in &mut self.acceptors {
            let _ = acceptor.await;
        }
        let inner = &self.inner;
        for shard in inner.shards() {
            shard.drain(window);
        }
        let goodbye = inner.config.goodbye_timeout();
        let first = goodbye.min(window);
        for (time, phase) in [
            (first, Phase::Draining),
            (window - first, Phase::Closing),
            (goodbye, Phase::CutOff),
        ] {
            let _ = timeout(time, inner.counters.limit.idle()).await;
            inner.phase.send_replace(phase);
        }
        // A program that blocks the runtime's threads must not keep this from returning.
        let _ = timeout(goodbye, inner.counters.limit.idle()).await;
    }

    fn stop(&self) {
        self.announce_drain();
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}
