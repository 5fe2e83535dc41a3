//! The names of the counters, as Prometheus and the crate `metrics` have them.

use super::{Snapshot, TopicSnapshot};

/// A name, and the sentence that Prometheus shows for it.
pub(crate) struct Metric {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

pub(crate) const fn metric(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help }
}

pub(super) const DISCONNECTS: Metric = metric(
    "sse_disconnects_total",
    "Streams and requests that ended, by the reason.",
);

pub(super) const TOPICS: Metric = metric("sse_topics", "Topics of the hub.");

impl Snapshot {
    pub(super) const fn gauges(&self) -> [(Metric, usize); 2] {
        [
            (
                metric(
                    "sse_connections",
                    "Open connections, including those that are not streaming yet.",
                ),
                self.connections,
            ),
            (
                metric(
                    "sse_furthest_lag_bytes",
                    "The largest backlog of any client of a topic.",
                ),
                self.furthest_lag,
            ),
        ]
    }

    pub(super) const fn counters(&self) -> [(Metric, u64); 13] {
        [
            (
                metric("sse_accepted_total", "Connections that were accepted."),
                self.accepted,
            ),
            (
                metric(
                    "sse_refused_total",
                    "Connections that were refused at a limit of connections.",
                ),
                self.refused,
            ),
            (
                metric(
                    "sse_handshake_errors_total",
                    "Connections whose handshake failed or took too long.",
                ),
                self.handshake_errors,
            ),
            (
                metric("sse_accept_errors_total", "Errors of listeners."),
                self.accept_errors,
            ),
            (
                metric("sse_accept_panics_total", "Panics of listeners."),
                self.accept_panics,
            ),
            (
                metric(
                    "sse_joined_total",
                    "Clients that followed topics without a last event ID.",
                ),
                self.joined,
            ),
            (
                metric("sse_resumed_total", "Clients that resumed without a gap."),
                self.resumed,
            ),
            (
                metric("sse_gaps_total", "Gap events sent to clients."),
                self.gaps,
            ),
            (
                metric(
                    "sse_unknown_ids_total",
                    "Gap events sent to clients whose last event ID was unknown.",
                ),
                self.unknown_ids,
            ),
            (
                metric(
                    "sse_events_total",
                    "Events written to clients of topics, once for each client.",
                ),
                self.events,
            ),
            (
                metric("sse_bytes_total", "Bytes written to clients of topics."),
                self.bytes,
            ),
            (
                metric("sse_heartbeats_total", "Heartbeats written to clients."),
                self.heartbeats,
            ),
            (
                metric(
                    "sse_dropped_ids_total",
                    "IDs of foreign events that clients cannot send back.",
                ),
                self.dropped_ids,
            ),
        ]
    }

    pub(super) const fn disconnects(&self) -> [(&'static str, u64); 12] {
        [
            ("client_closed", self.client_closed),
            ("write_timeout", self.write_timeouts),
            ("lagged", self.lagged),
            ("max_age", self.max_age),
            ("expired", self.expired),
            ("finished", self.finished),
            ("drained", self.drained),
            ("handler_failed", self.handler_failures),
            ("handler_panicked", self.handler_panics),
            ("handler_timed_out", self.handler_timeouts),
            ("unexpected_input", self.unexpected_input),
            ("panicked", self.panics),
        ]
    }
}

type OfTopic = (Metric, fn(&TopicSnapshot) -> u64);

impl TopicSnapshot {
    /// The counters of a topic that is counted individually.
    pub(super) const METRICS: [OfTopic; 4] = [
        (
            metric("sse_topic_published_total", "Events published to a topic."),
            |topic| topic.published,
        ),
        (
            metric(
                "sse_topic_delivered_total",
                "Events of a topic that clients were sent and subscriptions have read.",
            ),
            |topic| topic.delivered,
        ),
        (
            metric(
                "sse_topic_delivered_bytes_total",
                "Bytes of the delivered events of a topic.",
            ),
            |topic| topic.delivered_bytes,
        ),
        (
            metric("sse_topic_gaps_total", "Gap events of a topic."),
            |topic| topic.gaps,
        ),
    ];

    /// Those of all other topics together.
    pub(super) const SUMS: [OfTopic; 4] = [
        (
            metric(
                "sse_other_topics_published_total",
                "Events published to the topics that are not counted by themselves.",
            ),
            |topic| topic.published,
        ),
        (
            metric(
                "sse_other_topics_delivered_total",
                "Events of these topics that clients were sent and subscriptions have read.",
            ),
            |topic| topic.delivered,
        ),
        (
            metric(
                "sse_other_topics_delivered_bytes_total",
                "Bytes of the delivered events of these topics.",
            ),
            |topic| topic.delivered_bytes,
        ),
        (
            metric(
                "sse_other_topics_gaps_total",
                "Gap events of the topics that are not counted by themselves.",
            ),
            |topic| topic.gaps,
        ),
    ];
}
