//! The state that the tasks of a server share.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sse_core::Upgrader;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::counters::Counters;
use super::handler::{DynHandler, Handler};
use super::health::Health;
use crate::config::Config;
use crate::shard::Shard;
use crate::stats::Stats;
use crate::transport::limit::Limit;

/// The state that the tasks of a server share.
pub(super) struct Inner {
    pub(super) config: Arc<Config>,
    pub(super) handler: Box<dyn DynHandler>,
    pub(super) counters: Arc<Counters>,
    /// Connections beyond `limit`, while they are being refused.
    pub(super) refusals: Limit,
    pub(super) phase: watch::Sender<Phase>,
    shards: Vec<Shard>,
    next_shard: AtomicUsize,
    /// The configured upgrader, for connections of TLS.
    https: Upgrader,
}

/// The phase of a server's shutdown.
///
/// ```text
///   Open ── 1 s of a drain ──> Draining ── its window ──> Closing ── 1 s ──> CutOff
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    /// Streams continue.
    Open,
    /// Connections that have sent nothing are dropped.
    Draining,
    /// Per-client streams end with a reconnection time.
    Closing,
    /// Connections are dropped.
    CutOff,
}

impl Inner {
    /// Starts the shards.
    pub(super) fn start(config: Config, handler: impl Handler) -> Self {
        let config = Arc::new(config);
        let stats = Arc::new(Stats::default());
        let shards = config
            .shards
            .unwrap_or_else(|| Handle::current().metrics().num_workers());
        let shards = (0..shards).map(|_| Shard::start(Arc::clone(&config), Arc::clone(&stats)));
        let shards = Vec::from_iter(shards);
        Self {
            handler: Box::new(handler),
            counters: Arc::new(Counters {
                stats,
                limit: Limit::new(
                    config.max_connections,
                    config.max_connections_per_address,
                    config.ipv6_prefix,
                ),
                health: Health::new(shards.iter().map(Shard::liveness).collect()),
            }),
            refusals: Limit::new(config.max_refusals, usize::MAX, 128),
            phase: watch::Sender::new(Phase::Open),
            shards,
            next_shard: AtomicUsize::new(0),
            https: config.upgrader.clone().https(),
            config,
        }
    }

    /// Returns the shard for the next connection, in turn.
    pub(super) fn next_shard(&self) -> &Shard {
        let next = self.next_shard.fetch_add(1, Ordering::Relaxed);
        &self.shards[next % self.shards.len()]
    }

    pub(super) fn shards(&self) -> &[Shard] {
        &self.shards
    }

    pub(super) fn upgrader(&self, is_https: bool) -> &Upgrader {
        if is_https {
            &self.https
        } else {
            &self.config.upgrader
        }
    }
}
