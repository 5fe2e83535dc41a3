//! The events of several topics, merged for one connection.

use std::task::Waker;

use slab::Slab;
use sse_core::{Batch, LogId};

use super::feed::Feed;
use super::group::{Part, Pass};
use super::joint::Joint;
use crate::topic::{Member, Obstacle, Piece, ReaderPlace, Shared, View, next_batch};

/// What a connection gets next.
pub(super) enum NextOfJoint {
    Events(Batch),
    /// A part of what is sent when the topics change.
    Piece(Piece),
    /// From now on it follows these topics.
    Change(Vec<Member>),
    /// The topic with this index was removed at the ID, and another one has its name.
    Replaced(usize, LogId),
    /// It has missed events of the topic with this index.
    Missed(usize),
    /// The topic with this index has ended.
    Ended(usize),
    /// The state of keyed topics has been sent.
    StateEnd,
    /// All feeds have ended.
    Over,
    /// It may have received events that an engine has lost.
    Lost,
    Nothing,
}

impl Joint {
    /// Counts the events of a batch that begin within `taken` bytes in the meters of their topics.
    pub(super) fn count(&mut self, feeds: &Slab<Feed>, batch: &Batch, taken: usize) {
        for count in batch.counts(taken) {
            let (topic, _) = self.topic(feeds, count.log);
            topic.meter().add_delivered(count.events, count.bytes);
            self.set_ended(count.log, false);
        }
    }

    /// Returns the events that stand where the state of keyed topics ends.
    pub(super) fn markers(&self, feeds: &Slab<Feed>) -> Vec<u8> {
        let topics = self.links().map(|link| feeds[link.feed as usize].topic());
        let keyed = topics.filter(|topic| topic.is_keyed());
        keyed.filter_map(Shared::marker_event).flatten().collect()
    }

    /// Returns `true` unless one of the topics is still to be read from an engine. The mark may be
    /// after its events until then.
    pub(super) fn is_read(&self, feeds: &Slab<Feed>) -> bool {
        let mut links = self.links();
        links.all(|link| feeds[link.feed as usize].topic().is_read())
    }

    pub(super) fn has_keyed(&self, feeds: &Slab<Feed>) -> bool {
        let mut links = self.links();
        links.any(|link| feeds[link.feed as usize].is_keyed())
    }

    /// Returns the events after a later position, or after the state of keyed topics none.
    pub(super) fn batch_after(&self, feeds: &Slab<Feed>, position: LogId) -> Option<Batch> {
        let readers = self.links().enumerate().map(|(index, link)| {
            let place = self.place(index);
            let after = place.after.max(position);
            (
                feeds[link.feed as usize].topic(),
                ReaderPlace { after, ..place },
            )
        });
        next_batch(readers, self.until()?).unwrap_or_default()
    }

    /// Returns where the next batch ends at the latest, or `None` if the position is lost.
    fn until(&self) -> Option<LogId> {
        if let Some(state) = self.state() {
            return Some(state.end);
        }
        let visible = self.hub.order().visible_after(self.position)?;
        Some(self.view().map_or(visible, |view| view.limit(visible)))
    }

    /// Returns the part of a pass over the group of a feed for the connection.
    pub(super) fn part_of(&self, pass: &Pass, feeds: &Slab<Feed>, feed: u32) -> Part {
        // In another epoch, the position may be lost.
        let is_of_epoch = self.position.epoch() == pass.slice.last_id().epoch();
        if !is_of_epoch
            || !self.is_read(feeds)
            || self.state().is_some()
            || self.view().is_some_and(View::may_change)
        {
            return Part::CatchUp;
        }
        let mut after = self.position;
        for (index, link) in self.links().enumerate() {
            if link.feed == feed {
                if self.is_ended(index) {
                    return Part::CatchUp; // It has begun anew.
                }
                after = self.after(index);
            } else if feeds[link.feed as usize]
                .topic()
                .may_have_after(self.after(index))
            {
                return Part::CatchUp;
            }
        }
        pass.part_after_id(after)
    }

    /// Returns the next events, or waits for some with the connection's waker.
    pub(super) fn next(&mut self, feeds: &mut Slab<Feed>, waker: &Waker) -> NextOfJoint {
        loop {
            if let Some(piece) = self.view_mut().and_then(View::next_piece) {
                return NextOfJoint::Piece(piece);
            }
            let Some(until) = self.until() else {
                return NextOfJoint::Lost;
            };
            let links = self.links().enumerate();
            let readers = links.map(|(index, link)| {
                let topic: &Shared = feeds[link.feed as usize].topic();
                (topic, self.place(index))
            });
            match next_batch(readers, until) {
                Ok(Some(batch)) => return NextOfJoint::Events(batch),
                Ok(None) => {
                    self.advance(until);
                    if self.end_state() {
                        return NextOfJoint::StateEnd;
                    }
                }
                Err(Obstacle::Missed(index, missed)) => {
                    self.set_from(index, missed.evicted);
                    return NextOfJoint::Missed(index);
                }
                Err(Obstacle::Replaced(index, removed)) => {
                    if self.set_ended(index, true) {
                        return NextOfJoint::Ended(index);
                    }
                    return NextOfJoint::Replaced(index, removed);
                }
            }
            let position = self.position;
            if let Some(members) = self.view_mut().and_then(|view| view.apply(position)) {
                return NextOfJoint::Change(members);
            }
            if let Some(ended) = self.wait(feeds, waker) {
                return ended;
            }
            if !self.has_new(feeds) {
                return NextOfJoint::Nothing;
            }
            // Events were published before the waker was there.
        }
    }

    /// Registers the waker in topics that have no group, unless one or all of them have ended.
    fn wait(&mut self, feeds: &mut Slab<Feed>, waker: &Waker) -> Option<NextOfJoint> {
        if let Some(view) = self.view_mut() {
            view.register(waker);
        }
        let count = self.links().count();
        let mut are_over = count > 0;
        for index in 0..count {
            let feed = self.link(index).feed;
            let is_over = match &mut feeds[feed as usize] {
                Feed::Single(single) => single.membership.wait(waker, self.after(index)),
                Feed::Group(group) => group.is_over_after(self.after(index)),
            };
            if is_over && self.set_ended(index, true) {
                return Some(NextOfJoint::Ended(index));
            }
            are_over &= is_over;
        }
        are_over.then_some(NextOfJoint::Over)
    }

    /// Returns `true` if there may be visible events after the position, or a topic is to be
    /// replaced.
    pub(super) fn has_new(&self, feeds: &Slab<Feed>) -> bool {
        let Some(visible) = self.hub.order().visible_after(self.position) else {
            return true;
        };
        let is_later = visible > self.position;
        self.links().enumerate().any(|(index, link)| {
            let (topic, after) = (feeds[link.feed as usize].topic(), self.after(index));
            is_later && topic.may_have_after(after) || topic.is_replaced_after(after)
        }) || self.view().is_some_and(|view| view.is_due(visible))
    }

    /// Returns the number of unsent bytes.
    pub(super) fn lag(&self, feeds: &Slab<Feed>) -> usize {
        let links = self.links().enumerate();
        let lags = links.map(|(index, link)| {
            let log = &feeds[link.feed as usize].topic().lock().log;
            log.after(self.after(index)).distance(log.end())
        });
        lags.sum()
    }
}
