//! What an engine reports.

use std::fmt;

use super::error::EngineError;

/// An interruption, or the loss of an event, reported by an engine.
///
/// [`Engine::on_notice`](super::Engine::on_notice) sets the callback.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineNotice {
    /// The node is connected to the server at this address, and up to date.
    Connected(String),
    /// The node has no connection to the engine; the text says why.
    ///
    /// Reported again only if the reason changes. The node connects again by itself.
    Disconnected(String),
    /// This many events of a topic are not stored, or not known to be.
    NotStored(String, usize, EngineError),
    /// The end of a topic, and its last event, are not stored, or not known to be.
    ///
    /// The topic accepts events until it is [finished](crate::Topic::finish) again.
    NotFinished(String, EngineError),
    /// This many events were dropped from a full queue.
    Dropped(usize),
    /// The engine has lost this many events that this node had received from it.
    Lost(usize),
    /// Events of this topic were missed.
    Gap(String),
    /// The keys or the channel of this topic cannot be used; the second text says why.
    ///
    /// Streams that follow it receive nothing, and new ones wait for
    /// [`max_wait`](super::Engine::max_wait) and end. The node reads the topic again every 5 s, and
    /// the streams continue then. Reported again only if the reason changes.
    Unreadable(String, String),
    /// The engine refuses to renew the leases of runs, or to name runs that are lost; the text says
    /// why.
    ///
    /// Leases run out then, and lost runs do not end. Reported again only if the reason changes.
    RunsRefused(String),
}

impl fmt::Display for EngineNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected(addr) => write!(f, "connected to the engine at {addr}"),
            Self::Disconnected(reason) => write!(
                f,
                "the engine is away: {reason}; events are queued until the node has connected again"
            ),
            Self::NotStored(topic, count, error) => {
                write!(
                    f,
                    "{count} events of the topic {topic:?} are not known to be stored: {error}"
                )
            }
            Self::NotFinished(topic, error) => write!(
                f,
                "the end of the topic {topic:?} is not known to be stored: {error}"
            ),
            Self::Dropped(count) => write!(
                f,
                "{count} events were dropped because the queue for the engine was full; raise \
                 `queue_bytes`, or publish more slowly"
            ),
            Self::Lost(count) => write!(
                f,
                "the engine has lost {count} events that this node had received; clients that \
                 received them get a gap event"
            ),
            Self::Gap(topic) => write!(
                f,
                "events of the topic {topic:?} were missed; its clients get a gap event"
            ),
            Self::Unreadable(topic, reason) => write!(
                f,
                "the topic {topic:?} cannot be read: {reason}; its clients wait until its keys \
                 are repaired, or the node's user is allowed to use them"
            ),
            Self::RunsRefused(reason) => write!(
                f,
                "the engine refuses to renew leases of runs or to find lost ones: {reason}; give \
                 the node's user the documented permissions, or delete a run's broken key"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_says_what_happened() {
        for (notice, sentence) in [
            (
                EngineNotice::Connected("host:6379".into()),
                "connected to the engine at host:6379",
            ),
            (
                EngineNotice::Disconnected("the server is a replica".into()),
                "the engine is away: the server is a replica; events are queued until the node has \
                 connected again",
            ),
            (
                EngineNotice::NotStored("news".into(), 2, EngineError::Refused("OOM".into())),
                "2 events of the topic \"news\" are not known to be stored: the engine has refused \
                 the event: OOM; publish it again once that is over",
            ),
            (
                EngineNotice::NotFinished("news".into(), EngineError::LeaseLost),
                "the end of the topic \"news\" is not known to be stored: the lease of the run has \
                 run out, so its events are refused; raise `RunsConfig::lease` if the engine is \
                 away for longer",
            ),
            (
                EngineNotice::Dropped(3),
                "3 events were dropped because the queue for the engine was full; raise \
                 `queue_bytes`, or publish more slowly",
            ),
            (
                EngineNotice::Lost(4),
                "the engine has lost 4 events that this node had received; clients that received \
                 them get a gap event",
            ),
            (
                EngineNotice::Gap("news".into()),
                "events of the topic \"news\" were missed; its clients get a gap event",
            ),
            (
                EngineNotice::Unreadable("news".into(), "WRONGTYPE".into()),
                "the topic \"news\" cannot be read: WRONGTYPE; its clients wait until its keys \
                 are repaired, or the node's user is allowed to use them",
            ),
            (
                EngineNotice::RunsRefused("NOPERM".into()),
                "the engine refuses to renew leases of runs or to find lost ones: NOPERM; give \
                 the node's user the documented permissions, or delete a run's broken key",
            ),
        ] {
            assert_eq!(notice.to_string(), sentence);
        }
    }
}
