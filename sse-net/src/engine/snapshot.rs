//! The counters of an engine.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::stats::{Metric, metric, push_sample};

/// The state and the counters of a hub's engine at one time.
///
/// [`Hub::engine_snapshot`](crate::Hub::engine_snapshot) returns it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineSnapshot {
    /// Whether the node is connected and up to date: its readiness for a load balancer.
    pub is_ready: bool,
    /// Why the node was last away, in one sentence, until it is ready again.
    ///
    /// It names the address of the server, and may name the user, but not the password.
    pub away_reason: Option<String>,
    /// The time since the node last knew the hub's last ID.
    pub tick_age: Duration,
    /// Batches of events that wait for the engine.
    pub queued: usize,
    /// Their bytes.
    pub queued_bytes: usize,
    /// Topics whose keys or channels the node cannot read now. It tries again every 5 s.
    pub unreadable: usize,
    /// Connections that have been made.
    pub connects: u64,
    /// Events that the engine has confirmed.
    pub stored: u64,
    /// Events and ends of topics that the engine has refused, or has not confirmed.
    pub failed: u64,
    /// Events that were dropped from a full queue.
    pub dropped: u64,
    /// Events that the engine has notified this node of, or that the node has read.
    pub received: u64,
    /// Missing notifications whose events were read in time.
    pub filled: u64,
    /// Topics of which events were missed, so that their clients receive a gap event.
    pub gaps: u64,
    /// Events in the memory of this node that the engine has lost.
    pub lost: u64,
    /// Entries and notifications of other programs, or that are not an event.
    pub skipped: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) unreadable: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) stored: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) filled: AtomicU64,
    pub(super) gaps: AtomicU64,
    pub(super) lost: AtomicU64,
    pub(super) skipped: AtomicU64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> EngineSnapshot {
        EngineSnapshot {
            unreadable: usize::try_from(self.unreadable.load(Relaxed)).unwrap_or(usize::MAX),
            connects: self.connects.load(Relaxed),
            stored: self.stored.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            received: self.received.load(Relaxed),
            filled: self.filled.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
            lost: self.lost.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            ..EngineSnapshot::default()
        }
    }
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Relaxed);
}

impl EngineSnapshot {
    /// Returns the counters in the text format of Prometheus.
    ///
    /// Append it to [`Snapshot::to_prometheus`](crate::Snapshot::to_prometheus). The names begin
    /// with `sse_engine_`.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::with_capacity(2 << 10);
        push_sample(&mut text, &READY, "gauge", u8::from(self.is_ready));
        push_sample(&mut text, &TICK_AGE, "gauge", self.tick_age.as_secs_f64());
        for (metric, value) in self.gauges() {
            push_sample(&mut text, &metric, "gauge", value);
        }
        for (metric, value) in self.counters() {
            push_sample(&mut text, &metric, "counter", value);
        }
        text
    }

    const fn gauges(&self) -> [(Metric, usize); 3] {
        [
            (
                metric(
                    "sse_engine_queued_batches",
                    "Batches of events that wait for the engine.",
                ),
                self.queued,
            ),
            (
                metric(
                    "sse_engine_queued_bytes",
                    "Bytes of events that wait for the engine.",
                ),
                self.queued_bytes,
            ),
            (
                metric(
                    "sse_engine_unreadable_topics",
                    "Topics whose keys or channels cannot be read.",
                ),
                self.unreadable,
            ),
        ]
    }

    const fn counters(&self) -> [(Metric, u64); 9] {
        [
            (
                metric(
                    "sse_engine_connects_total",
                    "Connections that have been made.",
                ),
                self.connects,
            ),
            (
                metric(
                    "sse_engine_stored_total",
                    "Events that the engine has confirmed.",
                ),
                self.stored,
            ),
            (
                metric(
                    "sse_engine_failed_total",
                    "Events and ends of topics that the engine has refused or not confirmed.",
                ),
                self.failed,
            ),
            (
                metric(
                    "sse_engine_dropped_total",
                    "Events that were dropped from a full queue.",
                ),
                self.dropped,
            ),
            (
                metric(
                    "sse_engine_received_total",
                    "Events that the node has received.",
                ),
                self.received,
            ),
            (
                metric(
                    "sse_engine_filled_total",
                    "Missing notifications whose events were read in time.",
                ),
                self.filled,
            ),
            (
                metric(
                    "sse_engine_gaps_total",
                    "Topics of which events were missed.",
                ),
                self.gaps,
            ),
            (
                metric(
                    "sse_engine_lost_total",
                    "Events of this node that the engine has lost.",
                ),
                self.lost,
            ),
            (
                metric(
                    "sse_engine_skipped_total",
                    "Entries and notifications that are not events.",
                ),
                self.skipped,
            ),
        ]
    }
}

const READY: Metric = metric(
    "sse_engine_ready",
    "Whether the node is connected and up to date.",
);

const TICK_AGE: Metric = metric(
    "sse_engine_tick_age_seconds",
    "The time since the node last knew the hub's last ID.",
);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_counter_is_a_metric_of_its_own() {
        let snapshot = EngineSnapshot {
            is_ready: true,
            away_reason: None,
            tick_age: Duration::from_millis(2500),
            queued: 3,
            queued_bytes: 4,
            connects: 5,
            stored: 6,
            failed: 7,
            dropped: 8,
            received: 9,
            filled: 10,
            gaps: 11,
            lost: 12,
            skipped: 13,
            unreadable: 14,
        };
        let text = snapshot.to_prometheus();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let (names, values): (HashSet<_>, HashSet<_>) =
            samples.filter_map(|line| line.rsplit_once(' ')).unzip();
        assert_eq!((names.len(), values.len()), (14, 14));
        assert!(text.starts_with(
            "# HELP sse_engine_ready Whether the node is connected and up to date.\n\
             # TYPE sse_engine_ready gauge\n\
             sse_engine_ready 1\n"
        ));
        assert!(text.contains("\nsse_engine_tick_age_seconds 2.5\n"));
        assert!(text.ends_with("\nsse_engine_skipped_total 13\n"));
    }
}
