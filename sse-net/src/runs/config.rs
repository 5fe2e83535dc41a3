//! Settings of runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use sse_core::{Event, EventType, Retention};

use super::end::RunEnd;
use crate::config::{HubConfig, TopicConfig};
use crate::topic::Start;

/// Settings of [`Runs`](crate::Runs).
///
/// Limits are those of one node. With an [engine](crate::Hub::connect), three nodes together run up
/// to three times as many runs, also of one prefix.
///
/// ```
/// use std::time::Duration;
/// use sse_net::RunsConfig;
///
/// let config = RunsConfig::default()
///     .max_running(200)
///     .max_running_per_prefix(3) // of the keys `alice/1`, `alice/2`, …
///     .max_runs_per_prefix(100)
///     .stop_unfollowed(Duration::from_secs(30));
/// # let _ = config;
/// ```
#[derive(Clone)]
#[must_use]
pub struct RunsConfig {
    pub(super) name_prefix: String,
    pub(super) topic: Arc<TopicConfig>,
    pub(super) max_running: usize,
    pub(super) max_runs: usize,
    pub(super) max_remembered: usize,
    pub(super) max_key: usize,
    pub(super) separator: char,
    pub(super) max_running_per_prefix: usize,
    pub(super) max_runs_per_prefix: usize,
    pub(super) keep: Duration,
    pub(super) remember: Duration,
    pub(super) stop_unfollowed: Option<Duration>,
    pub(super) lease: Duration,
    pub(super) end_event: Arc<EndEvent>,
}

type EndEvent = dyn Fn(&RunEnd<'_>) -> Option<Event<'static>> + Send + Sync;

impl Default for RunsConfig {
    fn default() -> Self {
        Self {
            name_prefix: "run/".to_owned(),
            topic: Arc::default(),
            max_running: 1_000,
            max_runs: 10_000,
            max_remembered: 100_000,
            max_key: 1_024,
            separator: '/',
            max_running_per_prefix: usize::MAX,
            max_runs_per_prefix: usize::MAX,
            keep: Duration::from_secs(600),
            remember: Duration::from_secs(24 * 3600),
            stop_unfollowed: None,
            lease: Duration::from_secs(15),
            end_event: Arc::new(end_event),
        }
        .topics(Retention::events(usize::MAX))
    }
}

impl RunsConfig {
    /// Sets the maximum number of running runs.
    ///
    /// Default: 1,000. More are refused with [`StartError::TooManyRunning`](crate::StartError).
    pub fn max_running(mut self, count: usize) -> Self {
        self.max_running = count;
        self
    }

    /// Sets the maximum number of runs, running and kept.
    ///
    /// Default: 10,000. More are refused with [`StartError::TooManyKept`](crate::StartError), so
    /// that every run that starts is also kept. Each retains up to 16 MiB of events unless
    /// [`topics`](Self::topics) says otherwise: choose both for the memory that there is.
    pub fn max_runs(mut self, count: usize) -> Self {
        self.max_runs = count;
        self
    }

    /// Sets the maximum number of running runs whose keys share a prefix.
    ///
    /// Default: no limit. More are refused with
    /// [`StartError::TooManyRunningOfPrefix`](crate::StartError). The prefix, such as the name of a
    /// user, ends before the [`separator`](Self::separator).
    pub fn max_running_per_prefix(mut self, count: usize) -> Self {
        self.max_running_per_prefix = count;
        self
    }

    /// Sets the maximum number of runs, running and kept, whose keys share a prefix.
    ///
    /// Default: no limit. More are refused with
    /// [`StartError::TooManyKeptOfPrefix`](crate::StartError). Without this, one user can start
    /// short runs until [`max_runs`](Self::max_runs) refuses those of all others.
    pub fn max_runs_per_prefix(mut self, count: usize) -> Self {
        self.max_runs_per_prefix = count;
        self
    }

    /// Sets the character before which the prefix of a key ends.
    ///
    /// Default: `/`. A key without it is its own prefix.
    pub fn separator(mut self, separator: char) -> Self {
        self.separator = separator;
        self
    }

    /// Sets the time for which a run is kept after its end.
    ///
    /// Default: 10 minutes. A client that follows within it gets all events, or 204 if it has
    /// received them. Afterwards the key can be started again. A client with an ID of the earlier
    /// run then gets a gap event. A stream that follows the run beside other topics continues with
    /// the new run.
    pub fn keep(mut self, time: Duration) -> Self {
        self.keep = time;
        self
    }

    /// Sets the time for which the key of a run is remembered after its end.
    ///
    /// Default: a day. Within it, and after [`keep`](Self::keep), a run is
    /// [`RunNotFound::Expired`](crate::RunNotFound::Expired) (410); afterwards it is
    /// [`RunNotFound::Unknown`](crate::RunNotFound::Unknown) (404). At most
    /// [`max_remembered`](Self::max_remembered) keys are remembered.
    pub fn remember(mut self, time: Duration) -> Self {
        self.remember = time;
        self
    }

    /// Sets the maximum number of remembered keys; the oldest are dropped first.
    ///
    /// Default: 100,000. A key costs some 150 bytes and its length. A key whose runs
    /// expired several times counts several times.
    pub fn max_remembered(mut self, count: usize) -> Self {
        self.max_remembered = count;
        self
    }

    /// Sets the maximum length of a key in bytes.
    ///
    /// Default: 1,024. A longer one is refused with
    /// [`StartError::KeyTooLong`](crate::StartError). A journal writes the key with each event.
    pub fn max_key(mut self, bytes: usize) -> Self {
        self.max_key = bytes;
        self
    }

    /// Stops a run that has had no subscriber for this time.
    ///
    /// Default: never. The time begins with the run, so a client has to follow within it. A run
    /// whose work has finished the topic is not stopped. With an
    /// [engine](crate::Hub::connect) it has no effect, because clients may follow on other nodes.
    pub fn stop_unfollowed(mut self, time: impl Into<Option<Duration>>) -> Self {
        self.stop_unfollowed = time.into();
        self
    }

    /// Sets the time for which a run belongs to its node.
    ///
    /// Only in a hub with an engine. Default: 15 seconds; at least 100 ms and at most a day. The
    /// node renews the lease three times within this time. When it does not, or is away from the
    /// engine for longer, any node ends the run with
    /// [`RunEnd::Interrupted`](crate::RunEnd::Interrupted). Its work is not started again.
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time.clamp(Duration::from_millis(100), Duration::from_secs(24 * 3600));
        self
    }

    /// Sets the configuration of the topics of runs.
    ///
    /// Default: those of [`TopicConfig`], but any number of events is retained, in 16 MiB. A
    /// client without a last event ID begins with the first event.
    pub fn topics(mut self, config: impl Into<TopicConfig>) -> Self {
        self.topic = Arc::new(config.into().start(Start::Earliest));
        self
    }

    /// Sets the beginning of the topics' names in the hub; the key follows.
    ///
    /// Default: `run/`. No other topics of the hub begin with it: they would be taken for runs.
    pub fn name_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.name_prefix = prefix.into();
        self
    }

    /// Sets the last event of a run that did not finish its topic itself.
    ///
    /// Default: nothing after work that resolved to `Ok`; otherwise an event of the type `error`
    /// whose data is a JSON object with `reason` (`failed`, `panicked`, `stopped`, `unfollowed` or
    /// `interrupted`) and `message`. It does not contain the text of the work's error, which
    /// may not be meant for clients.
    pub fn end_event<F>(mut self, event: F) -> Self
    where
        F: Fn(&RunEnd<'_>) -> Option<Event<'static>> + Send + Sync + 'static,
    {
        self.end_event = Arc::new(event);
        self
    }
}

impl HubConfig {
    /// Sets the configuration of the topics of [`Runs`](crate::Runs) in this hub.
    ///
    /// Needed only with a [journal](crate::Hub::open), so that the hub restores as much of a run
    /// as was kept.
    pub fn runs(self, config: &RunsConfig) -> Self {
        self.topics(&config.name_prefix, TopicConfig::clone(&config.topic))
    }
}

fn end_event(end: &RunEnd<'_>) -> Option<Event<'static>> {
    const ERROR: EventType = EventType::from_static("error");
    let (reason, message) = match end {
        RunEnd::Completed => return None,
        RunEnd::Failed(_) => ("failed", "the run has failed"),
        RunEnd::Panicked => ("panicked", "the run has failed"),
        RunEnd::Stopped => ("stopped", "the run was stopped"),
        RunEnd::Unfollowed => (
            "unfollowed",
            "the run was stopped, because it had no subscriber",
        ),
        RunEnd::Interrupted => ("interrupted", "the run ended with a restart of the server"),
    };
    let data = format!(r#"{{"reason":"{reason}","message":"{message}"}}"#);
    Some(Event::new().event(ERROR).data(data))
}

impl fmt::Debug for RunsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunsConfig")
            .field("max_running", &self.max_running)
            .field("max_runs", &self.max_runs)
            .field("keep", &self.keep)
            .field("stop_unfollowed", &self.stop_unfollowed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_bounds() {
        for (time, expected) in [
            (Duration::ZERO, Duration::from_millis(100)),
            (Duration::from_secs(60), Duration::from_secs(60)),
            (Duration::MAX, Duration::from_secs(24 * 3600)),
        ] {
            assert_eq!(
                RunsConfig::default().lease(time).lease,
                expected,
                "{time:?}"
            );
        }
    }
}
