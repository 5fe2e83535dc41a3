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
//! A topic that was removed from the hub may have been replaced, when its name was used again. Once
//! a connection has received all of the first one, it follows the second one.
//!
//! A topic that only one connection of the shard follows, such as the inbox of its user, has no
//! group: the connection waits in it with its own waker.

use slab::Slab;
use sse_core::LogId;

use super::feed::Feed;
use crate::sync::Arc;
use crate::topic::{HubShared, ReaderPlace, Shared, Since, View};

/// The topics of a connection that follows several.
pub(super) struct Joint {
    pub(super) hub: Arc<HubShared>,
    /// All events of the topics up to this ID have been written, or are unsent.
    pub(super) position: LogId,
    /// The feeds of the first topics, or [`Link::NONE`]. Most connections have no more topics, and
    /// save the memory of a list.
    first: [Link; FIRST],
    /// `None` if there is nothing in it, as nearly always.
    rare: Option<Box<Rare>>,
}

/// The number of topics whose feeds every connection has room for.
const FIRST: usize = 2;

/// State that few connections need.
#[derive(Default)]
struct Rare {
    /// The feeds of the topics after the first ones.
    others: Box<[Link]>,
    /// For each topic the ID up to which it has nothing for the connection, if that is after the
    /// position: what is before its beginning, or was missed. [`ENDED`] if its end was reported,
    /// and the topic has not begun anew.
    from: Box<[LogId]>,
    /// Until the state of keyed topics has been sent.
    state: Option<State>,
    /// What has been applied of the changes of the topics, if the stream has a token.
    view: Option<View>,
}

/// The state of keyed topics, which a connection gets first.
pub(super) struct State {
    /// The ID at which the state ends and the changes begin.
    pub(super) end: LogId,
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

/// Stands for the position in a topic whose end has been reported.
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
    pub(super) fn link(&self, index: usize) -> Link {
        let mut links = self.links();
        links.nth(index).expect("the index is that of a topic")
    }

    /// Returns the topic with this index, and the position in it.
    pub(super) fn topic<'a>(&self, feeds: &'a Slab<Feed>, index: usize) -> (&'a Shared, LogId) {
        let topic = feeds[self.link(index).feed as usize].topic();
        (topic, self.after(index))
    }

    /// Returns where the connection is in the topic with this index.
    pub(super) fn place(&self, index: usize) -> ReaderPlace {
        let since = self.state().map(|state| state.since[index]);
        ReaderPlace {
            after: self.after(index),
            since: since.unwrap_or_default(),
        }
    }

    /// Returns the position in the topic with this index.
    pub(super) fn after(&self, index: usize) -> LogId {
        let from = self.from(index).filter(|from| *from != ENDED);
        from.map_or(self.position, |from| self.position.max(from))
    }

    fn from(&self, index: usize) -> Option<LogId> {
        self.rare.as_ref()?.from.get(index).copied()
    }

    /// Sets the position in one topic.
    pub(super) fn set_from(&mut self, index: usize, id: LogId) {
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
                .and_then(|index| self.from(index))
                .unwrap_or_default()
        });
        let from = from.collect();
        let rare = self.rare.get_or_insert_default();
        (self.first, rare.others) = split(links.into_iter().map(|(link, _)| link));
        rare.from = from;
    }

    pub(super) fn is_ended(&self, index: usize) -> bool {
        self.from(index) == Some(ENDED)
    }

    /// Notes whether the end of a topic has been reported, and returns whether that is new.
    pub(super) fn set_ended(&mut self, index: usize, is_ended: bool) -> bool {
        let has_changed = self.is_ended(index) != is_ended;
        if has_changed {
            self.set_from(index, if is_ended { ENDED } else { LogId::default() });
        }
        has_changed
    }

    /// Sets the place of the connection among the members of the feed's group.
    pub(super) fn set_place(&mut self, feed: u32, place: u32) {
        if let Some(link) = self.links_mut().find(|link| link.feed == feed) {
            link.place = place;
        }
    }

    /// Replaces the link to the feed of the topic with this index.
    pub(super) fn set_link(&mut self, index: usize, link: Link) {
        if let Some(old) = self.links_mut().nth(index) {
            *old = link;
        }
    }

    fn links_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        let others = self.rare.as_mut().map(|rare| &mut rare.others[..]);
        self.first.iter_mut().chain(others.unwrap_or_default())
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

    pub(super) fn state(&self) -> Option<&State> {
        self.rare.as_ref()?.state.as_ref()
    }

    /// Ends the state of keyed topics, and returns `true` if it had not been sent until now.
    pub(super) fn end_state(&mut self) -> bool {
        let state = self.rare.as_mut().and_then(|rare| rare.state.take());
        self.drop_rare();
        state.is_some()
    }

    pub(super) fn view(&self) -> Option<&View> {
        self.rare.as_ref()?.view.as_ref()
    }

    pub(super) fn view_mut(&mut self) -> Option<&mut View> {
        self.rare.as_mut()?.view.as_mut()
    }
}

/// Divides links into the first ones and the others.
fn split(links: impl IntoIterator<Item = Link>) -> ([Link; FIRST], Box<[Link]>) {
    let mut links = links.into_iter();
    let first = std::array::from_fn(|_| links.next().unwrap_or(Link::NONE));
    (first, links.collect())
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_follows_is_small() {
        assert!(size_of::<Joint>() <= 48, "{}", size_of::<Joint>());
    }
}
