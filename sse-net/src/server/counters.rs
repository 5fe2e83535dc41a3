//! The counters of a server.

use std::sync::Arc;

use crate::stats::{Snapshot, Stats};
use crate::transport::limit::Limit;

/// What a [`Snapshot`] of a server is taken from.
#[derive(Debug)]
pub(super) struct Counters {
    pub(super) stats: Arc<Stats>,
    pub(super) limit: Limit,
}

impl Counters {
    pub(super) fn snapshot(&self) -> Snapshot {
        self.stats.snapshot(self.limit.connections())
    }
}
