//! The connections of a shard that follow the same topic.

use std::task::Waker;

use sse_core::{Cursor, Lagged, LogId, Slice};

use crate::topic::{Reader, Since, Topic};

pub(super) struct Group {
    pub(super) reader: Reader,
    pub(super) waker: Waker,
    /// The keys of the connections.
    pub(super) members: Vec<u32>,
    pub(super) pass: Option<Pass>,
    /// A group is queued at most once, for its next pass.
    pub(super) is_queued: bool,
    /// Whether the topic had ended at the last pass. It may have begun anew since: see
    /// [`is_over`](Self::is_over).
    pub(super) is_finished: bool,
}

/// The delivery of a slice to all members. The slice is held until the last member has been
/// served; the position of a member shows whether it has been.
pub(super) struct Pass {
    pub(super) slice: Slice,
    /// In a hub, the ID up to which members have received everything before the slice.
    pub(super) before: LogId,
    /// The place of the next member.
    pub(super) next: usize,
}

/// The part of a pass that a member gets.
pub(super) enum Part {
    All,
    /// The events after its position.
    End(Slice),
    /// Nothing: it has received the events, or catches up by itself.
    Nothing,
    /// Nothing of the pass, since it has to catch up first.
    CatchUp,
}

impl Pass {
    /// Returns the part for a member at this position of the log.
    pub(super) fn part_after(&self, position: Cursor) -> Part {
        if position == self.slice.start() {
            Part::All
        } else if position < self.slice.start() {
            Part::Nothing
        } else {
            self.slice.after(position).map_or(Part::Nothing, Part::End)
        }
    }

    /// Returns the part for a member that has received the events of the hub up to an ID.
    pub(super) fn part_after_id(&self, id: LogId) -> Part {
        if id < self.before {
            Part::CatchUp
        } else if id < self.slice.first_id() {
            Part::All
        } else {
            self.slice.after_id(id).map_or(Part::Nothing, Part::End)
        }
    }
}

impl Group {
    pub(super) fn new(topic: &Topic, waker: Waker) -> Self {
        Self {
            reader: topic.live_reader(),
            waker,
            members: Vec::new(),
            pass: None,
            is_queued: false,
            is_finished: false,
        }
    }

    /// Returns the position of every member that is up to date; the end of the current pass.
    pub(super) const fn position(&self) -> Cursor {
        self.reader.cursor()
    }

    pub(super) const fn topic(&self) -> &Topic {
        self.reader.topic()
    }

    /// In a hub, returns the ID up to which the group has read.
    pub(super) const fn id(&self) -> LogId {
        self.reader.position()
    }

    /// Returns `true` if the topic has been finished and has no event after the group's position.
    pub(super) fn is_over(&self) -> bool {
        self.is_finished && self.topic().is_finished()
    }

    /// Returns `true` if the topic has been finished and has no event after the position.
    pub(super) fn is_over_after(&self, position: LogId) -> bool {
        self.is_finished && self.topic().lock().is_over_after(position)
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
