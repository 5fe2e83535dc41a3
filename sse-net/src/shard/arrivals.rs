//! Connections that arrive at a shard, become ready, and leave.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::{Arrival, Connection};
use super::driver::Driver;
use super::group::Group;
use super::mailbox::{Key, Signal};
use super::work::{PART, PART_BYTES, Work, compact, ticks};
use crate::stats::Disconnect;

impl Driver {
    /// Admits a part of the connections that have arrived.
    pub(super) fn admit_connections(&mut self) {
        for _ in 0..PART {
            let Some(arrival) = self.arrivals.pop_front() else {
                return;
            };
            self.admit(arrival);
            if self.written >= PART_BYTES {
                break;
            }
        }
        if !self.arrivals.is_empty() {
            self.queue.push_back(Work::Arrivals);
        }
    }

    fn admit(&mut self, arrival: Arrival) {
        let group = self.group_of(&arrival);
        let members = &mut self.groups[group as usize].members;
        let entry = self.connections.vacant_entry();
        let key = compact(entry.key());
        let age = self.config.age();
        let until = arrival.expires_at.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        let (wait, leave_reason) = if self.drained.is_some() {
            (Duration::ZERO, Disconnect::Drained)
        } else if until < age {
            (until, Disconnect::Expired)
        } else {
            (age, Disconnect::MaxAge)
        };
        let mut connection = Box::new(Connection {
            transport: arrival.transport,
            waker: Signal::waker(&self.mailbox, Key::Connection(key)),
            group,
            place: compact(members.len()),
            position: arrival.cursor,
            heartbeat_at: 0,
            leave_at: self.now.saturating_add(ticks(wait)),
            leave_reason,
            input: 0,
            sends_retry: arrival.sends_retry,
            is_queued: false,
            unsent: None,
            on_end: arrival.on_end,
            permit: arrival.permit,
        });
        connection.set_unsent(arrival.opening.into(), self.now);
        entry.insert(connection);
        members.push(key);
        self.serve(key);
    }

    /// Returns the group of the arrival's topic, and creates it if need be.
    fn group_of(&mut self, arrival: &Arrival) -> u32 {
        let address = arrival.topic.address();
        if let Some(key) = self.group_of_topic.get(&address) {
            return *key;
        }
        let entry = self.groups.vacant_entry();
        let key = compact(entry.key());
        let waker = Signal::waker(&self.mailbox, Key::Group(key));
        entry.insert(Group::new(&arrival.topic, waker));
        self.group_of_topic.insert(address, key);
        self.queue_pass(key);
        key
    }

    /// Serves a part of the connections and groups that have become ready.
    pub(super) fn serve_ready(&mut self) {
        for _ in 0..PART {
            let Some(signal) = self.ready.pop_front() else {
                return;
            };
            match signal.lower() {
                Key::Connection(key) => self.serve(key),
                Key::Group(key) => self.queue_pass(key),
            }
            if self.written >= PART_BYTES {
                break;
            }
        }
        if !self.ready.is_empty() {
            self.queue.push_back(Work::Ready);
        }
    }

    /// Removes a connection, and its group with the last one.
    pub(super) fn remove_connection(&mut self, key: u32, reason: Disconnect) {
        let Some(connection) = self.connections.try_remove(key as usize) else {
            return; // It has been removed for another reason.
        };
        self.half_closed.remove(&key);
        self.stats.add_disconnect(reason);
        let (place, group_key) = (connection.place, connection.group);
        connection.end(reason);

        let group = &mut self.groups[group_key as usize];
        group.members.swap_remove(place as usize);
        if group.members.is_empty() {
            let group = self.groups.remove(group_key as usize);
            self.group_of_topic.remove(&group.topic().address());
        } else if let Some(&moved) = group.members.get(place as usize) {
            let position = group.position();
            let connection = &mut self.connections[moved as usize];
            connection.place = place;
            // A pass that has begun may be beyond this place already.
            if connection.unsent.is_none() && connection.position < position {
                self.queue_connection(moved);
            }
        }
    }
}
