//! The result of publishing.

use std::{error, fmt, io};

use sse_core::{KeyedFull, LogId};
use tokio::sync::watch;

use super::source::Storage;
use super::stored::Outcome;
use crate::sync::Arc;

/// An event that a topic has accepted, the last one of a batch, or the end of a topic.
///
/// With a journal, it keeps the journal open, like a handle of the topic.
#[derive(Clone)]
pub struct Published {
    pub(super) id: Option<LogId>,
    /// The topic's last ID before.
    pub(crate) before: LogId,
    /// The ID that the log gave the event, also if its publisher had set one.
    pub(crate) last: LogId,
    /// The address of the topic.
    pub(crate) topic: usize,
    pub(crate) storage: Option<Arc<dyn Storage>>,
    /// With an engine, the receiver of its outcome.
    pub(crate) outcome: Option<watch::Receiver<Option<Outcome>>>,
}

impl Published {
    /// Returns the ID that the topic assigned.
    ///
    /// `None` if the event had a publisher's ID, for an end without an event, or if an engine
    /// assigns it later: then [`stored`](Self::stored) resolves to it.
    #[must_use]
    pub const fn id(&self) -> Option<LogId> {
        self.id
    }
}

impl fmt::Debug for Published {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Published {
    fn eq(&self, other: &Self) -> bool {
        let is_same = match (&self.outcome, &other.outcome) {
            (Some(one), Some(other)) => one.same_channel(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        is_same && self.last == other.last
    }
}

/// Why an event was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic has been [finished](crate::Topic::finish).
    Finished,
    /// The event has an ID, but a [`Hub`](crate::Hub) assigns the IDs of its topics.
    OwnId,
    /// The topic is [keyed](crate::Hub::keyed_topic), and the event was published without a key.
    Keyed,
    /// The event was published with a key, and the topic is not keyed.
    NotKeyed,
    /// The key is not one line of at most 1,024 bytes.
    InvalidKey,
    /// The keyed topic has no room for the event.
    Full(KeyedFull),
    /// Half of the bytes that the topic retains wait for its journal.
    ///
    /// That happens only with [`WhileFailing::Hold`](crate::WhileFailing::Hold).
    BacklogFull,
    /// The queue of events for the engine is full.
    ///
    /// The engine is away or slow; see `Engine::queue_bytes`.
    QueueFull,
    /// The hub has no engine, which would remember the key.
    NoEngine,
    /// The event is longer than the topic's [`max_event`](crate::TopicConfig::max_event).
    TooLarge {
        /// The length of the encoded event in bytes, with the longest possible ID.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("the topic has been finished; it accepts no events"),
            Self::OwnId => f.write_str(
                "the event has an ID, but a hub assigns the IDs of its topics; publish it without \
                 one, or in a topic that stands alone",
            ),
            Self::Keyed => f.write_str(
                "the topic is keyed, so an event needs a key; publish it with `publish_for`",
            ),
            Self::NotKeyed => f.write_str(
                "the topic is not keyed; publish without a key, or create the topic with \
                 `Hub::keyed_topic`",
            ),
            Self::InvalidKey => f.write_str(
                "the key has a line break or more than 1024 bytes; use a shorter text of one line",
            ),
            Self::Full(full) => full.fmt(f),
            Self::BacklogFull => f.write_str(
                "too many events wait for the journal, which has failed or is slow; publish again \
                 later",
            ),
            Self::QueueFull => f.write_str(
                "the queue of events for the engine is full, because the engine is away or slow; \
                 publish again later",
            ),
            Self::NoEngine => f.write_str(
                "the topic has no engine, which would remember the key; publish without one, or \
                 connect the hub to an engine",
            ),
            Self::TooLarge { len, max } => write!(
                f,
                "the event has {len} bytes and the topic accepts {max}; raise `max_event` or \
                 split the event"
            ),
        }
    }
}

impl error::Error for PublishError {}

impl From<KeyedFull> for PublishError {
    fn from(full: KeyedFull) -> Self {
        Self::Full(full)
    }
}

impl From<PublishError> for io::Error {
    fn from(error: PublishError) -> Self {
        Self::other(error)
    }
}
