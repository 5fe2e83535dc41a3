//! Connections that follow several topics of a hub.
//!
//! Such a connection has one position for all of its topics. Two rules serve it:
//!
//! - *The shortcut.* It is a member of the groups of its topics. A pass over a group writes the
//!   shared slice to it if it has received everything before the slice, and none of its other
//!   topics has anything new, which nearly always holds. It takes one look at each other topic,
//!   without a lock.
//! - *The general rule.* Otherwise it catches up by itself: with a batch of what its topics have
//!   after its position, merged in the order of the IDs.
//!
//! A stream with a token may change its topics. A change has an ID, and the connection applies it
//! when its position reaches that ID. Until then no pass serves it.
//!
//! A topic that only one connection of the shard follows, such as the inbox of its user, has no
//! group: the connection waits in it with its own waker.

use std::task::Waker;

use slab::Slab;
use sse_core::{Batch, LogId};

use super::feed::Feed;
use super::group::{Part, Pass};
use crate::sync::Arc;
use crate::topic::{
    HubShared, Member, Missed, Piece, ReaderPlace, Shared, Since, View, next_batch,
};

/// What a connection follows that follows several topics.
pub(super) struct Joint {
    pub(super) hub: Arc<HubShared>,
    /// All events of the topics up to this ID have been written, or are unsent.
    pub(super) position: LogId,
    /// The feeds of the first topics, or [`Link::NONE`]. Few connections have further ones, so
    /// there is no list in memory of its own.
    first: [Link; FIRST],
    /// `None` if there is nothing in it, as nearly always.
    rare: Option<Box<Rare>>,
}

/// The number of topics whose feeds every connection has room for.
const FIRST: usize = 2;

/// What few connections have.
#[derive(Default)]
struct Rare {
    /// The feeds of the topics after the first ones.
    others: Box<[Link]>,
    /// For each topic the ID up to which it has nothing for the connection, if that is after the
    /// position: what is before its beginning, or was missed. [`ENDED`] if its end was reported.
    from: Box<[LogId]>,
    /// Until the state of keyed topics has been sent.
    state: Option<State>,
    /// What has been applied of the changes of the topics, if the stream has a token.
    view: Option<View>,
}

/// The state of keyed topics, which a connection gets first.
pub(super) struct State {
    /// Where it ends and what follows begins.
    end: LogId,
    /// One for each topic.
    since: Box<[Since]>,
}

/// A feed that the connection follows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) feed: u32,
    /// The index among the members of the feed's group.
    pub(super) place: u32,
}

impl Link {
    const NONE: Self = Self {
        feed: u32::MAX,
        place: 0,
    };
}

/// What a connection gets next.
pub(super) enum NextOfJoint {
    Events(Batch),
    /// A part of what is sent when the topics change.
    Piece(Piece),
    /// From now on it follows these topics.
    Change(Vec<Member>),
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

/// The position in a topic that has ended.
const ENDED: LogId = LogId::new(u64::MAX, u64::MAX);

impl State {
    pub(super) fn new(end: LogId, since: Vec<Since>) -> Self {
        Self {
            end,
            since: since.into(),
        }
    }
}

impl Joint {
    pub(super) fn new(
        hub: Arc<HubShared>,
        position: LogId,
        links: Vec<Link>,
        from: Vec<LogId>,
        (state, view): (Option<State>, Option<View>),
    ) -> Self {
        let (first, others) = split(links);
        let mut joint = Self {
            hub,
            position,
            first,
            rare: Some(Box::new(Rare {
                others,
                from: from.into(),
                state,
                view,
            })),
        };
        joint.drop_rare();
        joint
    }

    /// Returns the links to the feeds of the topics.
    pub(super) fn links(&self) -> impl Iterator<Item = Link> {
        let others = self.rare.as_ref().map_or(&[][..], |rare| &rare.others);
        let first = self
            .first
            .iter()
            .filter(|link| link.feed != Link::NONE.feed);
        first.chain(others).copied()
    }

    /// Returns the link to the feed of the topic with this index.
    fn link(&self, index: usize) -> Link {
        let mut links = self.links();
        links.nth(index).expect("the index is that of a topic")
    }

    /// Returns the topic with this index, and the position in it.
    pub(super) fn topic<'a>(&self, feeds: &'a Slab<Feed>, index: usize) -> (&'a Shared, LogId) {
        let topic = feeds[self.link(index).feed as usize].topic();
        (topic, self.after(index))
    }

    /// Counts the events of a batch that begin within `taken` bytes in the meters of their topics.
    pub(super) fn count(&self, feeds: &Slab<Feed>, batch: &Batch, taken: usize) {
        for count in batch.counts(taken) {
            let (topic, _) = self.topic(feeds, count.log);
            topic.meter().add_delivered(count.events, count.bytes);
        }
    }

    /// Returns where the connection is in the topic with this index.
    fn place(&self, index: usize) -> ReaderPlace {
        let since = self.state().map(|state| state.since[index]);
        ReaderPlace {
            after: self.after(index),
            since: since.unwrap_or_default(),
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

    /// Returns the position in the topic with this index.
    fn after(&self, index: usize) -> LogId {
        let from = self.rare.as_ref().and_then(|rare| rare.from.get(index));
        from.map_or(self.position, |from| self.position.max(*from))
    }

    /// Sets the position in one topic.
    fn set_from(&mut self, index: usize, id: LogId) {
        let count = self.links().count();
        let rare = self.rare.get_or_insert_default();
        if rare.from.is_empty() {
            rare.from = vec![LogId::default(); count].into();
        }
        rare.from[index] = id;
    }

    /// Replaces the topics. Each new one has a link, and whether what is known of it still counts.
    pub(super) fn set_links(&mut self, links: Vec<(Link, bool)>) {
        let from = links.iter().map(|(link, is_kept)| {
            let index = self.links().position(|old| old.feed == link.feed);
            index
                .filter(|_| *is_kept)
                .map_or(LogId::default(), |index| self.after(index))
        });
        let from = from.collect();
        let rare = self.rare.get_or_insert_default();
        (self.first, rare.others) = split(links.into_iter().map(|(link, _)| link));
        rare.from = from;
    }

    fn is_ended(&self, index: usize) -> bool {
        self.after(index) == ENDED
    }

    /// Sets the place of the connection among the members of the feed's group.
    pub(super) fn set_place(&mut self, feed: u32, place: u32) {
        let others = self.rare.as_mut().map(|rare| &mut rare.others[..]);
        let mut links = self.first.iter_mut().chain(others.unwrap_or_default());
        if let Some(link) = links.find(|link| link.feed == feed) {
            link.place = place;
        }
    }

    /// Moves the position after a batch or a slice has been written.
    pub(super) fn advance(&mut self, position: LogId) {
        self.position = self.position.max(position);
        self.drop_rare();
    }

    /// Drops what few connections have, once there is nothing in it.
    fn drop_rare(&mut self) {
        if let Some(rare) = &self.rare
            && rare.others.is_empty()
            && rare.state.is_none()
            && rare.view.is_none()
            && rare.from.iter().all(|from| *from <= self.position)
        {
            self.rare = None;
        }
    }

    fn state(&self) -> Option<&State> {
        self.rare.as_ref()?.state.as_ref()
    }

    /// Ends the state of keyed topics, and returns `true` if it had not been sent until now.
    fn end_state(&mut self) -> bool {
        let state = self.rare.as_mut().and_then(|rare| rare.state.take());
        self.drop_rare();
        state.is_some()
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
                Err(Missed { index, evicted, .. }) => {
                    self.set_from(index, evicted);
                    return NextOfJoint::Missed(index);
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
        for index in 0..count {
            if self.is_ended(index) {
                continue;
            }
            let feed = self.link(index).feed;
            let has_ended = match &mut feeds[feed as usize] {
                Feed::Single(single) => single.membership.wait(waker, self.after(index)),
                Feed::Group(group) => group.has_ended(self.after(index)),
            };
            if has_ended {
                self.set_from(index, ENDED);
                return Some(NextOfJoint::Ended(index));
            }
        }
        let is_over = count > 0 && (0..count).all(|index| self.is_ended(index));
        is_over.then_some(NextOfJoint::Over)
    }

    /// Returns `true` if there may be visible events after the position.
    pub(super) fn has_new(&self, feeds: &Slab<Feed>) -> bool {
        let mut links = self.links().enumerate();
        let Some(visible) = self.hub.order().visible_after(self.position) else {
            return true;
        };
        visible > self.position
            && links.any(|(index, link)| {
                let topic = feeds[link.feed as usize].topic();
                topic.may_have_after(self.after(index))
            })
            || self.view().is_some_and(|view| view.is_due(visible))
    }

    fn view(&self) -> Option<&View> {
        self.rare.as_ref()?.view.as_ref()
    }

    fn view_mut(&mut self) -> Option<&mut View> {
        self.rare.as_mut()?.view.as_mut()
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

/// Divides links into the first ones and the others.
fn split(links: impl IntoIterator<Item = Link>) -> ([Link; FIRST], Box<[Link]>) {
    let mut links = links.into_iter();
    let first = std::array::from_fn(|_| links.next().unwrap_or(Link::NONE));
    (first, links.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_a_connection_follows_is_small() {
        assert!(size_of::<Joint>() <= 48, "{}", size_of::<Joint>());
    }
}
