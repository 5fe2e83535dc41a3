//! Passes: new events on their way to the members of a group.

use std::array;
use std::task::{Context, Poll};

use sse_core::Slice;
use tokio::time::Instant;

use super::connection::{Follows, Written};
use super::driver::Driver;
use super::group::{Part, Pass};
use super::mailbox::Key;
use super::work::{LOOKS, PART, PART_BYTES, next_heartbeat};
use crate::stats::Disconnect;

/// The number of members that are looked at before the first of them is sent to. Each look waits
/// for memory, and those in a row wait together.
const AHEAD: usize = 8;

impl Driver {
    /// Writes new events to a part of a group's members.
    pub(super) fn pass(&mut self, key: u32) {
        let Some(group) = self.group_mut(key) else {
            return;
        };
        group.is_queued = false;
        let begun = group.pass.take();
        let Some(pass) = begun.or_else(|| self.begin_pass(key)) else {
            return;
        };
        let left = self.send_to_members(key, pass);
        // Usually nothing is new. To find that out later would cost another turn.
        let next = left.or_else(|| self.begin_pass(key));
        self.keep_pass(key, next);
    }

    /// Begins a pass over a group unless one is under way, though its events may linger.
    pub(super) fn advance_group(&mut self, key: u32) {
        let group = self.group_mut(key);
        if group.is_some_and(|group| group.pass.is_none()) {
            let pass = self.take_pass(key);
            self.keep_pass(key, pass);
        }
    }

    fn keep_pass(&mut self, key: u32, pass: Option<Pass>) {
        if pass.is_some()
            && let Some(group) = self.group_mut(key)
        {
            group.pass = pass;
            self.queue_pass(key);
        }
    }

    /// Begins the next pass, unless the group's events linger.
    fn begin_pass(&mut self, key: u32) -> Option<Pass> {
        let group = self.group_mut(key)?;
        if let Some(until) = group.reader.lingers_until()
            && until > Instant::now()
        {
            self.linger(Key::Group(key), until);
            return None;
        }
        self.take_pass(key)
    }

    /// Takes a slice for the next pass, or registers the group's waker.
    fn take_pass(&mut self, key: u32) -> Option<Pass> {
        let group = self.group_mut(key)?;
        let cx = &mut Context::from_waker(&group.waker);
        let mut before = group.id();
        let mut next = group.reader.poll_slice(cx);
        let has_lagged = matches!(next, Poll::Ready(Err(_)));
        if has_lagged {
            // Members that have lagged, too, continue with the slice that is taken now, or end.
            if group.topic().shared().is_keyed() {
                group.reader.skip_state();
            }
            before = group.id();
            next = group.reader.poll_slice(cx);
        }
        // A topic that has ended may begin anew.
        let is_finished = matches!(next, Poll::Ready(Ok(None)));
        group.is_finished = is_finished;
        let mut pass = None;
        match next {
            Poll::Ready(Ok(Some(slice))) => {
                pass = Some(Pass {
                    slice,
                    before,
                    next: 0,
                });
            }
            Poll::Ready(Err(_)) => self.queue_pass(key),
            Poll::Ready(Ok(None)) | Poll::Pending => {}
        }
        if has_lagged || is_finished {
            self.queue_idle_members(key);
        }
        pass
    }

    /// Queues the members that are up to date, to end or to skip the gap one by one.
    fn queue_idle_members(&mut self, key: u32) {
        for place in 0.. {
            let member = self
                .group_mut(key)
                .map(|group| group.members.get(place).copied());
            let Some(Some(member)) = member else {
                return;
            };
            if self.connections[member].unsent.is_none() {
                self.queue_connection(member);
            }
        }
    }

    /// Sends to a part of the members, and returns the pass unless that was the last part.
    fn send_to_members(&mut self, key: u32, mut pass: Pass) -> Option<Pass> {
        let (bytes, mut sent) = (pass.slice.as_bytes(), Sent::default());
        let (mut sends, mut looks) = (0, 0);
        let is_over = 'members: loop {
            for next in self.parts_ahead(key, &pass) {
                let Some((member, part)) = next else {
                    break 'members true;
                };
                if sends >= PART || looks >= LOOKS || sent.taken >= PART_BYTES {
                    break 'members false;
                }
                pass.next += 1;
                looks += 1;
                match part {
                    Part::All => self.send_part(member, &pass.slice, bytes, &mut sent),
                    Part::End(slice) => {
                        self.send_part(member, &slice, slice.as_bytes(), &mut sent);
                    }
                    Part::Nothing => continue,
                    Part::CatchUp => {
                        sent.behind.push(member);
                        continue;
                    }
                }
                sends += 1;
            }
        };
        self.stats.add_events(sent.events);
        self.stats.add_bytes(sent.taken);
        let topic = self.feeds[key as usize].topic();
        topic.meter().add_delivered(sent.events, sent.event_bytes);
        for member in sent.behind {
            self.queue_connection(member);
        }
        for (member, reason) in sent.leaving {
            self.remove_connection(member, reason);
        }
        (!is_over).then_some(pass)
    }

    /// Returns the next members of a pass over a group, each with its part.
    fn parts_ahead(&self, key: u32, pass: &Pass) -> [Option<(u32, Part)>; AHEAD] {
        let group = self.feeds[key as usize].group();
        let members = group.map_or(&[][..], |group| &group.members);
        array::from_fn(|index| {
            let member = *members.get(pass.next + index)?;
            Some((member, self.part_of(pass, key, member)))
        })
    }

    /// Returns the part of a pass over a group for one of its members.
    fn part_of(&self, pass: &Pass, key: u32, member: u32) -> Part {
        let connection = &self.connections[member];
        if connection.unsent.is_some() {
            return Part::Nothing; // It catches up by itself.
        }
        match connection.follows() {
            Follows::One(_) => pass.part_after(connection.position),
            Follows::Several(joint) => {
                let joint = &self.joints[joint as usize];
                joint.part_of(pass, &self.feeds, key)
            }
        }
    }

    /// Sends the bytes of a slice to a member.
    fn send_part(&mut self, member: u32, slice: &Slice, bytes: &[u8], sent: &mut Sent) {
        let connection = self.connections.resting_mut(member);
        let follows = connection.follows();
        let position = match connection.try_write(bytes) {
            Ok(Written::All) => {
                connection.position = slice.end();
                connection.heartbeat_at = next_heartbeat(self.now, self.heartbeat_time, member);
                sent.events += slice.count();
                sent.event_bytes += bytes.len();
                sent.taken += bytes.len();
                Some(slice.last_id())
            }
            Ok(written) => {
                let taken = written.taken(bytes.len());
                let begun = self.connections[member].keep_unsent(slice, taken, self.now);
                if let Follows::One(feed) = follows
                    && self.feeds[feed as usize].is_keyed()
                {
                    self.catching_up.hold(member, slice);
                }
                if matches!(written, Written::Paused(_)) {
                    sent.behind.push(member);
                }
                sent.events += begun.count;
                sent.event_bytes += begun.len;
                sent.taken += taken;
                begun.id
            }
            Err(reason) => {
                sent.leaving.push((member, reason));
                return;
            }
        };
        if let (Follows::Several(joint), Some(position)) = (follows, position) {
            self.joints[joint as usize].advance(position);
        }
    }
}

/// What has been sent in a part of a pass.
#[derive(Default)]
struct Sent {
    events: usize,
    event_bytes: usize,
    /// The number of bytes that connections took.
    taken: usize,
    /// The members that continue by themselves.
    behind: Vec<u32>,
    leaving: Vec<(u32, Disconnect)>,
}
