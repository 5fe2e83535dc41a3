//! Passes: new events on their way to the members of a group.

use std::task::{Context, Poll};

use tokio::time::Instant;

use super::connection::{Follows, Written};
use super::driver::Driver;
use super::group::{Part, Pass};
use super::mailbox::Key;
use super::work::{LOOKS, PART, PART_BYTES, Work, next_heartbeat};

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
        let Some(group) = self.group_mut(key) else {
            return; // The last member has left.
        };
        group.is_queued = true;
        group.pass = left;
        self.queue.push_back(Work::Pass(key));
    }

    /// Takes a slice for the next pass, or registers the group's waker.
    fn begin_pass(&mut self, key: u32) -> Option<Pass> {
        let group = self.group_mut(key)?;
        if let Some(until) = group.reader.lingers_until()
            && until > Instant::now()
        {
            self.linger(Key::Group(key), until);
            return None;
        }
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
        let mut pass = None;
        match next {
            Poll::Ready(Ok(Some(slice))) => {
                pass = Some(Pass {
                    slice,
                    before,
                    next: 0,
                });
            }
            Poll::Ready(Ok(None)) => group.is_finished = true,
            Poll::Ready(Err(_)) => self.queue_pass(key),
            Poll::Pending => {}
        }
        if has_lagged || self.group_mut(key)?.is_finished {
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
            if self.connections[member as usize].unsent.is_none() {
                self.queue_connection(member);
            }
        }
    }

    /// Sends to a part of the members, and returns the pass unless that was the last part.
    fn send_to_members(&mut self, key: u32, mut pass: Pass) -> Option<Pass> {
        let bytes = pass.slice.bytes();
        // Each member's part ends with the slice.
        let (start, end, last_id) = (pass.slice.start(), pass.slice.end(), pass.slice.last_id());
        let (mut events, mut event_bytes, mut taken_bytes) = (0, 0, 0);
        let (mut leaving, mut behind) = (Vec::new(), Vec::new());
        let members = &self.feeds[key as usize].group()?.members;
        let is_keyed = self.feeds[key as usize].is_keyed();
        let (mut sends, mut looks, mut is_over) = (0, 0, true);
        while let Some(&member) = members.get(pass.next) {
            if sends >= PART || looks >= LOOKS || taken_bytes >= PART_BYTES {
                is_over = false;
                break;
            }
            pass.next += 1;
            looks += 1;
            let connection = &mut self.connections[member as usize];
            if connection.unsent.is_some() {
                continue; // It catches up by itself.
            }
            let follows = connection.follows();
            let part = match follows {
                Follows::One(_) if connection.position == start => Part::All,
                Follows::One(_) => pass.part_after(connection.position),
                Follows::Several(joint) => {
                    let joint = &self.joints[joint as usize];
                    joint.part_of(&pass, &self.feeds, key)
                }
            };
            let end_bytes;
            let (slice, bytes) = match &part {
                Part::All => (&pass.slice, &bytes),
                Part::End(slice) => {
                    end_bytes = slice.bytes();
                    (slice, &end_bytes)
                }
                Part::Nothing => continue,
                Part::CatchUp => {
                    behind.push(member);
                    continue;
                }
            };
            sends += 1;
            let position = match connection.try_write(bytes) {
                Ok(Written::All) => {
                    connection.position = end;
                    events += slice.count();
                    event_bytes += bytes.len();
                    taken_bytes += bytes.len();
                    connection.heartbeat_at = next_heartbeat(self.now, self.heartbeat_time, member);
                    Some(last_id)
                }
                Ok(written) => {
                    let taken = written.taken(bytes.len());
                    taken_bytes += taken;
                    let begun = connection.keep_unsent(slice, taken, self.now);
                    if is_keyed && matches!(follows, Follows::One(_)) {
                        self.catching_up.hold(member, slice);
                    }
                    events += begun.count;
                    event_bytes += begun.len;
                    if matches!(written, Written::Paused(_)) {
                        behind.push(member);
                    }
                    begun.id
                }
                Err(reason) => {
                    leaving.push((member, reason));
                    continue;
                }
            };
            if let (Follows::Several(joint), Some(position)) = (follows, position) {
                self.joints[joint as usize].advance(position);
            }
        }
        self.stats.add_events(events);
        self.stats.add_bytes(taken_bytes);
        let topic = self.feeds[key as usize].topic();
        topic.meter().add_delivered(events, event_bytes);
        for member in behind {
            self.queue_connection(member);
        }
        for (member, reason) in leaving {
            self.remove_connection(member, reason);
        }
        (!is_over).then_some(pass)
    }
}
