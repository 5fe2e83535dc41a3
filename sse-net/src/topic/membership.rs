//! A connection that follows several topics of a hub, in one of them.

use std::task::Waker;

use sse_core::LogId;

use super::handle::Topic;
use super::hub::HubShared;
use super::state::Shared;
use super::waiters::Place;
use crate::sync::Arc;

/// A subscription without a position, of a connection that follows several topics.
///
/// There may be one for each of very many clients, so it does not hold the hub, which is needed
/// to [end](Self::end) it.
pub(crate) struct Membership {
    topic: Arc<Shared>,
    place: Place,
}

impl Membership {
    pub(crate) fn new(topic: &Topic) -> Self {
        topic.shared.subscribe();
        Self {
            topic: Arc::clone(&topic.shared),
            place: Place::NONE,
        }
    }

    /// Identifies the topic for as long as it lives.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.topic).addr()
    }

    pub(crate) fn topic(&self) -> &Shared {
        &self.topic
    }

    /// Registers the waker, unless it is registered already, and returns `true` if the topic
    /// has been finished and has no event after the position.
    pub(crate) fn wait(&mut self, waker: &Waker, position: LogId) -> bool {
        let mut state = self.topic.lock();
        self.place = state.waiters.renew(self.place, waker);
        state.is_over_after(position)
    }

    /// Unsubscribes, and returns the topic.
    pub(crate) fn end(self, hub: &Arc<HubShared>) -> Topic {
        self.topic.unsubscribe(self.place);
        Topic::of_hub(self.topic, Arc::clone(hub))
    }
}
