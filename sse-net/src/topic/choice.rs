//! Which topics can be followed together.

use std::borrow::Borrow;
use std::{error, fmt, io};

use sse_core::Rejection;

use super::handle::Topic;
use super::hub::HubShared;
use crate::sync::Arc;
use crate::trace;

/// What a client may follow.
pub(crate) enum Choice {
    One(Topic),
    Several(Arc<HubShared>, Vec<Topic>),
}

impl Choice {
    /// Checks the topics. One that is there twice counts once. With `is_switched`, their number may
    /// change.
    pub(crate) fn of(
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
        is_switched: bool,
    ) -> Result<Self, FollowError> {
        let mut topics = topics.into_iter().peekable();
        let first = topics.peek().ok_or(FollowError::NoTopic)?;
        let hub = first.borrow().hub().cloned();
        let max = hub
            .as_ref()
            .map_or(usize::MAX, |hub| hub.config().max_topics_per_stream);
        let mut chosen = distinct(topics, max)?;
        match &hub {
            None if is_switched => return Err(FollowError::StandsAlone),
            // Its clients are judged by the IDs that they have received.
            Some(hub) if chosen[0].shared.has_engine() => {
                return Self::of_hub(Arc::clone(hub), chosen);
            }
            _ if chosen.len() == 1 && !is_switched => return Ok(Self::One(chosen.swap_remove(0))),
            _ => {}
        }
        Self::of_hub(hub.ok_or(FollowError::DifferentHubs)?, chosen)
    }

    fn of_hub(hub: Arc<HubShared>, chosen: Vec<Topic>) -> Result<Self, FollowError> {
        let is_same = |topic: &Topic| topic.hub().is_some_and(|other| Arc::ptr_eq(&hub, other));
        if chosen.iter().all(is_same) {
            Ok(Self::Several(hub, chosen))
        } else {
            Err(FollowError::DifferentHubs)
        }
    }
}

/// Returns topics without repetitions, at most `max`.
pub(super) fn distinct(
    topics: impl IntoIterator<Item = impl Borrow<Topic>>,
    max: usize,
) -> Result<Vec<Topic>, FollowError> {
    let mut chosen = Vec::<Topic>::new();
    for topic in topics {
        let topic = topic.borrow();
        let is_same = |other: &Topic| other.address() == topic.address();
        if chosen.iter().any(is_same) {
            continue;
        }
        if chosen.len() >= max {
            return Err(FollowError::TooManyTopics { max });
        }
        chosen.push(topic.clone());
    }
    Ok(chosen)
}

/// Why topics cannot be followed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FollowError {
    /// The topics belong to different hubs, or one of several stands alone.
    DifferentHubs,
    /// The list of topics is empty.
    NoTopic,
    /// The topics of the stream change, and one does not belong to a hub.
    StandsAlone,
    /// The hub allows fewer topics in one stream.
    TooManyTopics {
        /// The maximum number of topics of a stream.
        max: usize,
    },
}

impl FollowError {
    /// Returns the response to a request that asked for the topics. Only their number is the
    /// client's mistake; any other error is logged.
    pub(crate) fn rejection(&self) -> Rejection {
        if let Self::TooManyTopics { .. } = self {
            return Rejection::BAD_REQUEST.because("the stream would have too many topics");
        }
        trace::follow_error(self);
        Rejection::INTERNAL_SERVER_ERROR
    }
}

impl fmt::Display for FollowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DifferentHubs => f.write_str(
                "the topics belong to different hubs, so no event ID resumes all of them; follow \
                 topics of one hub, or use a stream for each hub",
            ),
            Self::NoTopic => f.write_str("there is no topic to follow; name at least one"),
            Self::StandsAlone => f.write_str(
                "the topic stands alone, and a stream whose topics change needs topics of a hub; \
                 create it with `Hub::topic`",
            ),
            Self::TooManyTopics { max } => write!(
                f,
                "the stream would have more than {max} topics, the most that the hub allows; \
                 remove some, or raise `max_topics_per_stream`"
            ),
        }
    }
}

impl error::Error for FollowError {}

impl From<FollowError> for io::Error {
    fn from(error: FollowError) -> Self {
        Self::other(error)
    }
}
