//! The counters for a recorder of the crate `metrics`.

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::metric::{DISCONNECTS, TOPICS};
use super::{HubSnapshot, Snapshot, TopicSnapshot};

#[expect(
    clippy::cast_precision_loss,
    reason = "the gauges of that crate are floating-point numbers"
)]
impl Snapshot {
    /// Passes the counters to the recorder that the crate `metrics` has, which may be any.
    ///
    /// Call it every few seconds, for example in a task: the recorder is called only then. The
    /// names are those of [`to_prometheus`](Self::to_prometheus). Counters are set and not added
    /// to, so with two servers in one program the recorder has the larger of their values.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sse_net::ServerHandle;
    ///
    /// async fn record(server: &ServerHandle) {
    ///     loop {
    ///         server.stats().record();
    ///         tokio::time::sleep(Duration::from_secs(10)).await;
    ///     }
    /// }
    /// # let _ = record;
    /// ```
    pub fn record(&self) {
        for (metric, value) in self.gauges() {
            describe_gauge!(metric.name, metric.help);
            gauge!(metric.name).set(value as f64);
        }
        for (metric, value) in self.counters() {
            describe_counter!(metric.name, metric.help);
            counter!(metric.name).absolute(value);
        }
        describe_counter!(DISCONNECTS.name, DISCONNECTS.help);
        for (reason, value) in self.disconnects() {
            counter!(DISCONNECTS.name, "reason" => reason).absolute(value);
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the gauges of that crate are floating-point numbers"
)]
impl HubSnapshot {
    /// Passes the counters to the recorder that the crate `metrics` has.
    ///
    /// See [`Snapshot::record`].
    pub fn record(&self) {
        describe_gauge!(TOPICS.name, TOPICS.help);
        gauge!(TOPICS.name).set(self.topics as f64);
        for (metric, of) in TopicSnapshot::METRICS {
            describe_counter!(metric.name, metric.help);
            for topic in &self.counted {
                counter!(metric.name, "topic" => topic.name.clone()).absolute(of(topic));
            }
        }
        for (metric, of) in TopicSnapshot::SUMS {
            describe_counter!(metric.name, metric.help);
            counter!(metric.name).absolute(of(&self.others));
        }
    }
}
