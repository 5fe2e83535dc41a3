//! The counters of a server, and its health.

use std::sync::Arc;

use super::health::{Health, Readiness};
use crate::stats::{Snapshot, Stats};
use crate::transport::limit::Limit;

/// The sources of a server's [`Snapshot`] and [`Readiness`].
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) stats: Arc<Stats>,
    pub(super) limit: Limit,
    pub(super) health: Health,
}

impl Counters {
    pub(super) fn snapshot(&self) -> Snapshot {
        self.stats.snapshot(self.limit.connections())
    }

    pub(super) fn readiness(&self) -> Readiness {
        if !self.health.is_live() {
            Readiness::Dead
        } else if self.health.is_draining() {
            Readiness::Draining
        } else if self.limit.is_full() {
            Readiness::Full
        } else {
            Readiness::Ready
        }
    }
}
