//! Counters in the text format of Prometheus.

use std::fmt::{Display, Write};

use super::Snapshot;

impl Snapshot {
    /// The content type of [`to_prometheus`](Self::to_prometheus).
    pub const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Returns the counters in the [text format] that Prometheus reads.
    ///
    /// Respond with it at a path such as `/metrics`. The metrics begin with `sse_`, and the ends
    /// of streams are `sse_disconnects_total` with a label `reason`.
    ///
    /// ```
    /// use sse_net::{Answer, Request, Response, Snapshot};
    ///
    /// async fn metrics(request: Request) -> Answer {
    ///     let text = request.stats().to_prometheus();
    ///     request.respond(Response::new(200).with_body(Snapshot::PROMETHEUS_TYPE, text))
    /// }
    /// ```
    ///
    /// [text format]: https://prometheus.io/docs/instrumenting/exposition_formats/
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::with_capacity(4 << 10);
        let gauges = [
            (
                "connections",
                "Open connections, including those that are not streaming yet.",
                self.connections,
            ),
            (
                "furthest_lag_bytes",
                "The largest backlog of any client of a topic.",
                self.furthest_lag,
            ),
        ];
        for (name, help, value) in gauges {
            push_metric(&mut text, name, "gauge", help);
            push_value(&mut text, name, "", value);
        }
        for (name, help, value) in self.counters() {
            push_metric(&mut text, name, "counter", help);
            push_value(&mut text, name, "", value);
        }
        let name = "disconnects_total";
        let help = "Streams and requests that ended, by the reason.";
        push_metric(&mut text, name, "counter", help);
        for (reason, value) in self.disconnects() {
            push_value(&mut text, name, &format!("{{reason=\"{reason}\"}}"), value);
        }
        text
    }

    const fn counters(&self) -> [(&'static str, &'static str, u64); 10] {
        [
            (
                "refused_total",
                "Connections that were refused at a limit of connections.",
                self.refused,
            ),
            (
                "accept_errors_total",
                "Errors of listeners.",
                self.accept_errors,
            ),
            (
                "accept_panics_total",
                "Panics of listeners.",
                self.accept_panics,
            ),
            (
                "resumed_total",
                "Clients that resumed without a gap.",
                self.resumed,
            ),
            ("gaps_total", "Gap events sent to clients.", self.gaps),
            (
                "unknown_ids_total",
                "Gap events sent to clients whose last event ID was unknown.",
                self.unknown_ids,
            ),
            (
                "events_total",
                "Events written to clients of topics, once for each client.",
                self.events,
            ),
            (
                "bytes_total",
                "Bytes written to clients of topics.",
                self.bytes,
            ),
            (
                "heartbeats_total",
                "Heartbeats written to clients.",
                self.heartbeats,
            ),
            (
                "dropped_ids_total",
                "IDs of foreign events that clients cannot send back.",
                self.dropped_ids,
            ),
        ]
    }

    const fn disconnects(&self) -> [(&'static str, u64); 12] {
        [
            ("client_closed", self.client_closed),
            ("write_timeout", self.write_timeouts),
            ("fell_behind", self.fell_behind),
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

fn push_metric(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP sse_{name} {help}\n# TYPE sse_{name} {kind}");
}

fn push_value(text: &mut String, name: &str, labels: &str, value: impl Display) {
    let _ = writeln!(text, "sse_{name}{labels} {value}");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_counter_is_a_metric_of_its_own() {
        // Each field has another value, so that a missing or repeated one is seen.
        let snapshot = Snapshot {
            connections: 1,
            furthest_lag: 2,
            refused: 3,
            accept_errors: 4,
            accept_panics: 5,
            resumed: 6,
            gaps: 7,
            unknown_ids: 8,
            events: 9,
            bytes: 10,
            heartbeats: 11,
            client_closed: 12,
            write_timeouts: 13,
            fell_behind: 14,
            max_age: 15,
            expired: 16,
            finished: 17,
            drained: 18,
            handler_failures: 19,
            handler_panics: 20,
            handler_timeouts: 21,
            unexpected_input: 22,
            panics: 23,
            dropped_ids: 24,
        };
        let text = snapshot.to_prometheus();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let (names, values): (HashSet<_>, HashSet<_>) =
            samples.filter_map(|line| line.rsplit_once(' ')).unzip();
        assert_eq!((names.len(), values.len()), (24, 24));
        assert!(text.starts_with(
            "# HELP sse_connections Open connections, including those that are not streaming yet.\n\
             # TYPE sse_connections gauge\n\
             sse_connections 1\n"
        ));
        assert!(text.contains("\nsse_events_total 9\n"));
        assert!(text.ends_with("\nsse_disconnects_total{reason=\"panicked\"} 23\n"));
    }
}
