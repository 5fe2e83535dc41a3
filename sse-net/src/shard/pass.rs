//! Passes: new events on their way to the members of a group.

use std::task::{Context, Poll};

use super::connection::Written;
use super::driver::Driver;
use super::group::Pass;
use super::work::{LOOKS, PART, PART_BYTES, Work, next_heartbeat};

impl Driver {
    /// Writes new events to a part of a group's members.
    pub(super) fn pass(&mut self, key: u32) {
        let Some(group) = self.groups.get_mut(key as usize) else {
            return;
        };
        group.is_queued = false;
        let Some(pass) = group.pass.take() else {
            return self.begin_pass(key);
        };
        let left = self.send_to_members(key, pass);
        let Some(group) = self.groups.get_mut(key as usize) else {
            return; // The last member has left.
        };
        group.is_queued = true;
        group.pass = left;
        self.queue.push_back(Work::Pass(key));
    }

    /// Takes a slice for the next pass, or registers the group's waker.
    fn begin_pass(&mut self, key: u32) {
        let now = tokio::time::Instant::now();
        let Some(group) = self.groups.get_mut(key as usize) else {
            return;
        };
        if let Some(until) = group
            .subscription
            .lingers_until()
            .filter(|until| *until > now)
        {
            return self.linger(key, until);
        }
        let cx = &mut Context::from_waker(&group.waker);
        let mut next = group.subscription.poll_slice(cx);
        let has_lagged = matches!(next, Poll::Ready(Err(_)));
        if has_lagged {
            // Members that have lagged, too, continue with the slice that is taken now.
            next = group.subscription.poll_slice(cx);
        }
        let is_ready = next.is_ready();
        match next {
            Poll::Ready(Ok(Some(slice))) => group.pass = Some(Pass { slice, next: 0 }),
            Poll::Ready(Ok(None)) => group.is_finished = true,
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        let is_finished = group.is_finished;
        if is_ready && !is_finished {
            group.is_queued = true;
            self.queue.push_back(Work::Pass(key));
        }
        if has_lagged || is_finished {
            self.queue_idle_members(key);
        }
    }

    /// Queues the members that are up to date, to end or to skip the gap one by one.
    fn queue_idle_members(&mut self, key: u32) {
        for place in 0.. {
            let members = &self.groups[key as usize].members;
            let Some(&member) = members.get(place) else {
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
        let (start, end) = (pass.slice.start(), pass.slice.end());
        let (mut events, mut taken_bytes) = (0, 0);
        let (mut leaving, mut paused) = (Vec::new(), Vec::new());
        let members = &self.groups[key as usize].members;
        let (mut sends, mut looks, mut is_over) = (0, 0, true);
        while let Some(&member) = members.get(pass.next) {
            if sends >= PART || looks >= LOOKS || taken_bytes >= PART_BYTES {
                is_over = false;
                break;
            }
            pass.next += 1;
            looks += 1;
            let connection = &mut self.connections[member as usize];
            let position = connection.position;
            if connection.unsent.is_some() || position < start || position >= end {
                continue; // It catches up by itself, or joined at a later position.
            }
            sends += 1;
            let slice = if position == start {
                None
            } else {
                pass.slice.after(position)
            };
            let slice = slice.as_ref().unwrap_or(&pass.slice);
            let bytes = if position == start {
                bytes.clone()
            } else {
                slice.bytes()
            };
            match connection.try_write(&bytes) {
                Ok(Written::All) => {
                    connection.position = end;
                    events += slice.count();
                    taken_bytes += bytes.len();
                    connection.heartbeat_at =
                        next_heartbeat(self.now, self.config.heartbeat, member);
                }
                Ok(written) => {
                    let taken = written.taken(bytes.len());
                    taken_bytes += taken;
                    events += connection.keep_unsent(slice, taken, self.now);
                    if matches!(written, Written::Paused(_)) {
                        paused.push(member);
                    }
                }
                Err(reason) => leaving.push((member, reason)),
            }
        }
        self.stats.add_events(events);
        self.stats.add_bytes(taken_bytes);
        for member in paused {
            self.queue_connection(member);
        }
        for (member, reason) in leaving {
            self.remove_connection(member, reason);
        }
        (!is_over).then_some(pass)
    }
}
