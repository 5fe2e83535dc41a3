//! The handle of a run.

use std::ops::Deref;

use crate::sync::Arc;
use crate::topic::Topic;

/// Work that is running or has ended, and the [`Topic`] with its events.
///
/// The work publishes into it, and clients follow it like any other topic, from its first event.
/// Cheap to clone; a clone does not keep the work running.
#[derive(Debug, Clone)]
pub struct Run {
    pub(super) key: Arc<str>,
    pub(super) topic: Topic,
}

impl Run {
    /// Returns the key with which the run was started. It is not an authorisation.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Deref for Run {
    type Target = Topic;

    fn deref(&self) -> &Topic {
        &self.topic
    }
}
