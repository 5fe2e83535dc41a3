//! Why a hub has no connection to its engine, or an event is not stored.

use std::{error, fmt, io};

use sse_core::KeyedFull;

/// Why a hub cannot be connected, or an engine is not known to have an event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EngineError {
    /// This is not the URL of a Redis server; the text says why.
    Url(String),
    /// The name of the hub is too long or has braces.
    HubName(String),
    /// The server at this address cannot be reached, or refuses commands; the second text says
    /// why.
    Connect(String, String),
    /// Redis has refused the event, as the text says. It was not stored.
    Refused(String),
    /// The topic had been finished before the event arrived. It was not stored.
    Finished,
    /// The topic is keyed in Redis, and the event was published without a key. It was not stored.
    Keyed,
    /// The topic is not keyed in Redis, and the event has a key. It was not stored.
    NotKeyed,
    /// The keyed topic has no room for the event. It was not stored.
    Full(KeyedFull),
    /// The lease of the run has run out, or another node has started it anew. The event was not
    /// stored.
    LeaseLost,
    /// The topic is one of a run, and only the work of the run publishes in it. The event was not
    /// stored.
    Owned,
    /// Redis has reported an error, as the text says, and may have stored the event before it.
    Failed(String),
    /// The connection broke before Redis had confirmed the event. It may have been stored.
    Unconfirmed,
    /// The event was dropped from a full queue.
    Dropped,
    /// The hub was dropped, or its runtime ended, before the event had been sent.
    Closed,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(reason) => write!(
                f,
                "the URL of the engine is not one of a Redis server: {reason}; write it as \
                 redis://host:6379 or redis+sentinel://host:26379/name"
            ),
            Self::HubName(name) => write!(
                f,
                "{name:?} cannot be the name of a hub; choose 1 to 128 bytes without braces"
            ),
            Self::Connect(addr, reason) => write!(
                f,
                "the engine at {addr} cannot be used: {reason}; check that it is the primary and \
                 can be reached, and that it expects TLS exactly if the URL begins with `rediss`"
            ),
            Self::Refused(reason) => write!(
                f,
                "the engine has refused the event: {reason}; publish it again once that is over"
            ),
            Self::Finished => {
                f.write_str("the topic had been finished before the event; it accepts no events")
            }
            Self::Keyed => f.write_str(
                "the topic is keyed in the engine; create it with `Hub::keyed_topic` on every node",
            ),
            Self::NotKeyed => f.write_str(
                "the topic is not keyed in the engine; use another name, or create it with \
                 `Hub::topic` on every node",
            ),
            Self::LeaseLost => f.write_str(
                "the lease of the run has run out, so its events are refused; raise \
                 `RunsConfig::lease` if the engine is away for longer",
            ),
            Self::Owned => f.write_str(
                "the topic is one of a run, and only the work of the run publishes in it; use \
                 another topic",
            ),
            Self::Full(full) => full.fmt(f),
            Self::Failed(reason) => write!(
                f,
                "the engine has failed: {reason}; the event may have been stored"
            ),
            Self::Unconfirmed => f.write_str(
                "the connection to the engine broke before the event was confirmed; it may have \
                 been stored, so publish it again only with `publish_once`",
            ),
            Self::Dropped => f.write_str(
                "the event was dropped because the queue for the engine was full; raise \
                 `queue_bytes`, or publish it again later",
            ),
            Self::Closed => f.write_str(
                "the hub was dropped, or its runtime ended, before the event had been sent",
            ),
        }
    }
}

impl error::Error for EngineError {}

impl From<EngineError> for io::Error {
    fn from(error: EngineError) -> Self {
        Self::other(error)
    }
}

impl EngineError {
    /// Returns `true` if the event may have been stored.
    pub(super) const fn may_be_stored(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Unconfirmed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    #[test]
    fn an_error_says_what_to_do() {
        let error = Engine::redis("http://localhost").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the URL of the engine is not one of a Redis server: "),
            "{error}"
        );
        let engine = Engine::redis("redis://localhost").unwrap();
        assert_eq!(
            engine.hub("a{b").unwrap_err().to_string(),
            "\"a{b\" cannot be the name of a hub; choose 1 to 128 bytes without braces"
        );
        let connect = EngineError::Connect("host:6379".into(), "no route to host".into());
        assert_eq!(
            connect.to_string(),
            "the engine at host:6379 cannot be used: no route to host; check that it is the \
             primary and can be reached, and that it expects TLS exactly if the URL begins with \
             `rediss`"
        );
        for (error, may_be_stored, sentence) in [
            (
                EngineError::Refused("OOM".into()),
                false,
                "the engine has refused the event: OOM; publish it again once that is over",
            ),
            (
                EngineError::Finished,
                false,
                "the topic had been finished before the event; it accepts no events",
            ),
            (
                EngineError::Keyed,
                false,
                "the topic is keyed in the engine; create it with `Hub::keyed_topic` on every node",
            ),
            (
                EngineError::NotKeyed,
                false,
                "the topic is not keyed in the engine; use another name, or create it with \
                 `Hub::topic` on every node",
            ),
            (
                EngineError::LeaseLost,
                false,
                "the lease of the run has run out, so its events are refused; raise \
                 `RunsConfig::lease` if the engine is away for longer",
            ),
            (
                EngineError::Owned,
                false,
                "the topic is one of a run, and only the work of the run publishes in it; use \
                 another topic",
            ),
            (
                EngineError::Failed("WRONGTYPE".into()),
                true,
                "the engine has failed: WRONGTYPE; the event may have been stored",
            ),
            (
                EngineError::Unconfirmed,
                true,
                "the connection to the engine broke before the event was confirmed; it may have \
                 been stored, so publish it again only with `publish_once`",
            ),
            (
                EngineError::Dropped,
                false,
                "the event was dropped because the queue for the engine was full; raise \
                 `queue_bytes`, or publish it again later",
            ),
            (
                EngineError::Closed,
                false,
                "the hub was dropped, or its runtime ended, before the event had been sent",
            ),
        ] {
            assert_eq!(error.to_string(), sentence);
            assert_eq!(error.may_be_stored(), may_be_stored, "{error}");
        }
    }

    #[test]
    fn a_password_is_not_logged() {
        let engine = Engine::redis("redis://:secret@localhost:7000").unwrap();
        let text = format!("{engine:?}");
        assert!(
            text.contains("localhost:7000") && !text.contains("secret"),
            "{text}"
        );
    }
}
