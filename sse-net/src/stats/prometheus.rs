//! Counters in the text format of Prometheus.

use std::fmt::{self, Display, Write};

use super::metric::{DISCONNECTS, Metric, TOPICS};
use super::{HubSnapshot, Snapshot, TopicSnapshot};

impl Snapshot {
    /// The content type of [`to_prometheus`](Self::to_prometheus).
    pub const PROMETHEUS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// Returns the counters in the [text format] that Prometheus reads.
    ///
    /// Respond with it at a path such as `/metrics`. The metrics begin with `sse_`, and the ends
    /// of streams are `sse_disconnects_total` with a label `reason`. The text of
    /// [`HubSnapshot::to_prometheus`] may follow.
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
        for (metric, value) in self.gauges() {
            push_sample(&mut text, &metric, "gauge", value);
        }
        for (metric, value) in self.counters() {
            push_sample(&mut text, &metric, "counter", value);
        }
        push_metric(&mut text, &DISCONNECTS, "counter");
        for (reason, value) in self.disconnects() {
            let labels = format_args!("{{reason=\"{reason}\"}}");
            push_value(&mut text, DISCONNECTS.name, labels, value);
        }
        text
    }
}

impl HubSnapshot {
    /// Returns the counters in the text format that Prometheus reads.
    ///
    /// Individually counted topics have the label `topic`. The sums of the other topics are
    /// separate metrics, such as `sse_other_topics_published_total`.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut text = String::with_capacity(4 << 10);
        push_sample(&mut text, &TOPICS, "gauge", self.topics);
        for (metric, of) in TopicSnapshot::METRICS {
            push_metric(&mut text, &metric, "counter");
            for topic in &self.counted {
                let name = Label(&topic.name);
                let labels = format!("{{topic=\"{name}\"}}");
                push_value(&mut text, metric.name, &labels, of(topic));
            }
        }
        for (metric, of) in TopicSnapshot::SUMS {
            push_sample(&mut text, &metric, "counter", of(&self.others));
        }
        text
    }
}

/// Appends a metric with one value.
pub(crate) fn push_sample(text: &mut String, metric: &Metric, kind: &str, value: impl Display) {
    push_metric(text, metric, kind);
    push_value(text, metric.name, "", value);
}

fn push_metric(text: &mut String, Metric { name, help }: &Metric, kind: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn push_value(text: &mut String, name: &str, labels: impl Display, value: impl Display) {
    let _ = writeln!(text, "{name}{labels} {value}");
}

/// The value of a label, in which some characters are escaped.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '\\' | '"' => write!(f, "\\{character}"),
            '\n' => f.write_str("\\n"),
            other => f.write_char(other),
        })
    }
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
            lagged: 14,
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
            accepted: 25,
            handshake_errors: 26,
            joined: 27,
        };
        let text = snapshot.to_prometheus();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let (names, values): (HashSet<_>, HashSet<_>) =
            samples.filter_map(|line| line.rsplit_once(' ')).unzip();
        assert_eq!((names.len(), values.len()), (27, 27));
        assert!(text.starts_with(
            "# HELP sse_connections Open connections, including those that are not streaming yet.\n\
             # TYPE sse_connections gauge\n\
             sse_connections 1\n"
        ));
        assert!(text.contains("\nsse_events_total 9\n"));
        assert!(text.ends_with("\nsse_disconnects_total{reason=\"panicked\"} 23\n"));
    }

    #[test]
    fn names_of_topics_are_labels() {
        let topic =
            |name: &str, [published, delivered, delivered_bytes, gaps]: [u64; 4]| TopicSnapshot {
                name: name.to_owned(),
                published,
                delivered,
                delivered_bytes,
                gaps,
            };
        let snapshot = HubSnapshot {
            topics: 9,
            counted: vec![
                topic("feed", [1, 2, 30, 0]),
                topic("a \"b\"\n\\c", [2, 4, 60, 3]),
            ],
            others: topic("", [4, 8, 90, 5]),
        };
        let text = snapshot.to_prometheus();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(
            Vec::from_iter(samples),
            [
                "sse_topics 9",
                "sse_topic_published_total{topic=\"feed\"} 1",
                "sse_topic_published_total{topic=\"a \\\"b\\\"\\n\\\\c\"} 2",
                "sse_topic_delivered_total{topic=\"feed\"} 2",
                "sse_topic_delivered_total{topic=\"a \\\"b\\\"\\n\\\\c\"} 4",
                "sse_topic_delivered_bytes_total{topic=\"feed\"} 30",
                "sse_topic_delivered_bytes_total{topic=\"a \\\"b\\\"\\n\\\\c\"} 60",
                "sse_topic_gaps_total{topic=\"feed\"} 0",
                "sse_topic_gaps_total{topic=\"a \\\"b\\\"\\n\\\\c\"} 3",
                "sse_other_topics_published_total 4",
                "sse_other_topics_delivered_total 8",
                "sse_other_topics_delivered_bytes_total 90",
                "sse_other_topics_gaps_total 5",
            ]
        );
        assert_eq!(snapshot.published(), 7);
    }
}
