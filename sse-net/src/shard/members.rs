//! The connections that follow the feeds of a shard.

use std::mem;

use sse_core::LogId;

use super::connection::Follows;
use super::driver::Driver;
use super::feed::{Feed, Single};
use super::group::Group;
use super::joint::{Joint, Link, State};
use super::mailbox::{Key, Signal};
use super::work::{compact, make_room};
use crate::sync::Arc;
use crate::topic::{HubShared, Member, Membership, Several, Topic};

impl Driver {
    /// Returns the key of the topic's group. Creates it, or makes a group of the feed.
    pub(super) fn group_of(&mut self, topic: &Topic) -> u32 {
        let key = match self.feed_of_topic.get(&topic.address()) {
            Some(&key) if self.feeds[key as usize].group().is_some() => return key,
            Some(&key) => key,
            None => compact(self.feeds.vacant_key()),
        };
        let waker = Signal::waker(&self.mailbox, Key::Group(key));
        let mut group = Box::new(Group::new(topic, waker));
        match self.feeds.get_mut(key as usize) {
            Some(feed) => {
                if let Feed::Single(single) = feed {
                    group.members.push(single.member);
                    // Nobody wakes it for what was published before the group began.
                    let member = single.member;
                    let single = mem::replace(feed, Feed::Group(group));
                    single.end(topic.hub());
                    self.set_place(member, key, 0);
                    self.queue_connection(member);
                }
            }
            None => {
                self.feeds.insert(Feed::Group(group));
                self.feed_of_topic.insert(topic.address(), key);
            }
        }
        self.queue_pass(key);
        key
    }

    /// Adds a connection to a group, and returns its place.
    pub(super) fn add_member(&mut self, feed: u32, connection: u32) -> u32 {
        let Some(group) = self.group_mut(feed) else {
            return 0; // The connection is the only member.
        };
        group.members.push(connection);
        compact(group.members.len() - 1)
    }

    /// Adds what a connection follows that follows several topics, and returns its key.
    pub(super) fn add_joint(&mut self, several: Several, connection: u32) -> u32 {
        let (mut links, mut from, mut since) = (Vec::new(), Vec::new(), Vec::new());
        for followed in several.topics {
            let feed = self.feed_of_joint(&followed.topic, connection);
            let place = self.add_member(feed, connection);
            links.push(Link { feed, place });
            from.push(followed.from);
            since.push(followed.since);
        }
        let state = several.state_end.map(|end| State::new(end, since));
        let (hub, position) = (several.hub, several.position);
        let joint = Joint::new(hub, position, links, from, (state, several.view));
        make_room(&mut self.joints);
        compact(self.joints.insert(joint))
    }

    /// Returns the key of the topic's feed for one that follows other topics, too: the first one
    /// has the feed for itself.
    fn feed_of_joint(&mut self, topic: &Topic, member: u32) -> u32 {
        if self.feed_of_topic.contains_key(&topic.address()) {
            return self.group_of(topic);
        }
        let membership = Membership::new(topic);
        let feed = Feed::Single(Single { membership, member });
        make_room(&mut self.feeds);
        let key = compact(self.feeds.insert(feed));
        self.feed_of_topic.insert(topic.address(), key);
        key
    }

    pub(super) fn remove_joint(&mut self, joint: u32) {
        let joint = self.joints.remove(joint as usize);
        for link in joint.links() {
            self.remove_link(link, &joint.hub);
        }
    }

    fn remove_link(&mut self, link: Link, hub: &Arc<HubShared>) {
        match self.feeds.get(link.feed as usize) {
            Some(Feed::Group(_)) => self.remove_member(link.feed, link.place),
            Some(Feed::Single(_)) => self.remove_feed(link.feed, Some(hub)),
            None => {}
        }
    }

    /// Makes a connection follow the topics of its stream after a change.
    pub(super) fn change_topics(&mut self, connection: u32, joint: u32, members: Vec<Member>) {
        let changing = &self.joints[joint as usize];
        let (hub, position) = (Arc::clone(&changing.hub), changing.position);
        let mut old: Vec<_> = changing.links().collect();
        let mut links = Vec::with_capacity(members.len());
        for member in members {
            let address = member.address();
            let is_same = |link: &Link| self.feeds[link.feed as usize].address() == address;
            if let Some(index) = old.iter().position(is_same) {
                // A topic that was removed and added again may have to report its end again.
                links.push((old.swap_remove(index), member.change < position));
            } else {
                let topic = Topic::of_hub(member.topic, Arc::clone(&hub));
                let feed = self.feed_of_joint(&topic, connection);
                let place = self.add_member(feed, connection);
                links.push((Link { feed, place }, false));
            }
        }
        self.joints[joint as usize].set_links(links);
        for link in old {
            self.remove_link(link, &hub);
        }
    }

    /// Makes a connection follow the topic that has the name of one that was removed at this ID.
    pub(super) fn replace_topic(
        &mut self,
        connection: u32,
        joint: u32,
        index: usize,
        removed: LogId,
    ) {
        let following = &self.joints[joint as usize];
        let (hub, old) = (Arc::clone(&following.hub), following.link(index));
        let topic = hub.successor(self.feeds[old.feed as usize].topic());
        let topic = Topic::of_hub(topic, Arc::clone(&hub));
        let feed = self.feed_of_joint(&topic, connection);
        let place = self.add_member(feed, connection);
        let joint = &mut self.joints[joint as usize];
        joint.set_link(index, Link { feed, place });
        joint.set_from(index, removed);
        self.remove_link(old, &hub);
    }

    /// Removes a member from its group, and the group with the last one.
    pub(super) fn remove_member(&mut self, feed: u32, place: u32) {
        let Some(group) = self.group_mut(feed) else {
            return;
        };
        group.members.swap_remove(place as usize);
        if group.members.is_empty() {
            self.remove_feed(feed, None);
        } else if let Some(&moved) = group.members.get(place as usize) {
            let position = group.position();
            self.set_place(moved, feed, place);
            // A pass that has begun may be beyond this place already.
            let connection = &self.connections[moved];
            let is_behind = match connection.follows() {
                Follows::One(_) => connection.position < position,
                Follows::Several(_) => true,
            };
            if connection.unsent.is_none() && is_behind {
                self.queue_connection(moved);
            }
        }
    }

    fn remove_feed(&mut self, feed: u32, hub: Option<&Arc<HubShared>>) {
        let feed = self.feeds.remove(feed as usize);
        self.feed_of_topic.remove(&feed.address());
        feed.end(hub);
    }

    fn set_place(&mut self, connection: u32, feed: u32, place: u32) {
        let connection = &mut self.connections[connection];
        match connection.follows() {
            Follows::One(_) => connection.place = place,
            Follows::Several(joint) => self.joints[joint as usize].set_place(feed, place),
        }
    }
}
