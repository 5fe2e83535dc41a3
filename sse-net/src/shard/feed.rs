//! A topic that connections of a shard follow.

use super::group::Group;
use crate::sync::Arc;
use crate::topic::{HubShared, Membership, Shared};

/// A topic that connections of the shard follow.
pub(super) enum Feed {
    /// One connection follows it, among other topics, and waits in it itself.
    Single(Single),
    /// Its followers share a reader.
    Group(Box<Group>),
}

pub(super) struct Single {
    pub(super) membership: Membership,
    /// The key of the connection.
    pub(super) member: u32,
}

impl Feed {
    pub(super) fn topic(&self) -> &Shared {
        match self {
            Self::Single(single) => single.membership.topic(),
            Self::Group(group) => group.topic().shared(),
        }
    }

    pub(super) fn is_keyed(&self) -> bool {
        self.topic().is_keyed()
    }

    /// Unsubscribes.
    pub(super) fn end(self, hub: Option<&Arc<HubShared>>) {
        if let (Self::Single(single), Some(hub)) = (self, hub) {
            drop(single.membership.end(hub));
        }
    }

    /// Identifies the topic.
    pub(super) fn address(&self) -> usize {
        match self {
            Self::Single(single) => single.membership.address(),
            Self::Group(group) => group.topic().address(),
        }
    }

    pub(super) const fn group(&self) -> Option<&Group> {
        match self {
            Self::Single(_) => None,
            Self::Group(group) => Some(group),
        }
    }

    pub(super) const fn group_mut(&mut self) -> Option<&mut Group> {
        match self {
            Self::Single(_) => None,
            Self::Group(group) => Some(group),
        }
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_topic_of_one_client_costs_little() {
        assert!(size_of::<Feed>() <= 40, "{}", size_of::<Feed>());
    }
}
