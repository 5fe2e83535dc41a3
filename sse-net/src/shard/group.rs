//! The connections of a shard that follow the same topic.

use std::task::Waker;

use sse_core::{Cursor, Lagged, Slice};

use crate::topic::{Reader, Since, Start, Topic};

pub(super) struct Group {
    pub(super) subscription: Reader,
    pub(super) waker: Waker,
    /// The keys of the connections.
    pub(super) members: Vec<u32>,
    pub(super) pass: Option<Pass>,
    /// Whether a pass is queued.
    pub(super) is_queued: bool,
    pub(super) is_finished: bool,
}

/// The delivery of a slice to all members. The slice is held until the last member has been
/// served; the position of a member shows whether it has been.
pub(super) struct Pass {
    pub(super) slice: Slice,
    /// The place of the next member.
    pub(super) next: usize,
}

impl Group {
    pub(super) fn new(topic: &Topic, waker: Waker) -> Self {
        Self {
            subscription: topic.reader(None, Start::Live),
            waker,
            members: Vec::new(),
            pass: None,
            is_queued: false,
            is_finished: false,
        }
    }

    /// Returns the position of every member that is up to date; the end of the current pass.
    pub(super) const fn position(&self) -> Cursor {
        self.subscription.cursor()
    }

    pub(super) const fn topic(&self) -> &Topic {
        self.subscription.topic()
    }

    /// Returns events after `cursor`, up to the group's position: from the current pass if it
    /// has them, which saves the topic's lock and a copy.
    pub(super) fn slice_after(&self, cursor: Cursor) -> Result<Option<Slice>, Lagged> {
        match &self.pass {
            Some(pass) if pass.slice.start() <= cursor => Ok(pass.slice.after(cursor)),
            _ => self.topic().read(cursor..self.position(), Since::default()),
        }
    }

    /// Returns where a member that has lagged continues: with the current pass, since under a
    /// flood the log may evict more meanwhile.
    pub(super) fn begin_after(&self, lagged: Lagged) -> Cursor {
        match &self.pass {
            Some(pass) => pass.slice.start().min(lagged.begin),
            None => lagged.begin,
        }
    }
}
