//! Connections that arrive at a shard, become ready, and leave.

use std::time::Duration;

use sse_core::Cursor;
use tokio::time::Instant;

use super::connection::{Arrival, Connection, Follow, Follows, SEVERAL};
use super::driver::Driver;
use super::mailbox::{Key, Signal};
use super::work::{PART, PART_BYTES, Work, ticks};
use crate::stats::Disconnect;

impl Driver {
    /// Admits a part of the connections that have arrived.
    pub(super) fn admit_connections(&mut self) {
        for _ in 0..PART {
            let Some(arrival) = self.mail.arrivals.pop_front() else {
                return;
            };
            self.admit(arrival);
            if self.written >= PART_BYTES {
                break;
            }
        }
        if !self.mail.arrivals.is_empty() {
            self.queue.push_back(Work::Arrivals);
        }
    }

    fn admit(&mut self, arrival: Arrival) {
        let key = self.connections.vacant_key();
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
        let (feed, place, position) = match arrival.follows {
            Follow::One {
                topic,
                cursor,
                joining,
            } => {
                if let Some(joining) = joining {
                    self.catching_up.join(key, *joining);
                }
                let feed = self.group_of(&topic);
                (feed, self.add_member(feed, key), cursor)
            }
            Follow::Several(several) => (SEVERAL, self.add_joint(*several, key), Cursor::default()),
        };
        let mut connection = Connection {
            transport: arrival.transport,
            waker: Signal::waker(&self.mailbox, Key::Connection(key)),
            feed,
            place,
            position,
            heartbeat_at: 0,
            leave_at: self.now.saturating_add(ticks(wait)),
            leave_reason,
            input: arrival.input,
            sends_retry: arrival.sends_retry,
            has_unread_body: arrival.has_unread_body,
            is_queued: false,
            unsent: None,
            on_end: arrival.on_end,
            permit: arrival.permit,
        };
        connection.set_unsent(arrival.opening.into(), self.now);
        self.connections.insert(connection);
        self.serve(key);
    }

    /// Serves a part of the connections and groups that have become ready.
    pub(super) fn serve_ready(&mut self) {
        for _ in 0..PART {
            let Some(signal) = self.mail.ready.pop_front() else {
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
        if !self.mail.ready.is_empty() {
            self.queue.push_back(Work::Ready);
        }
    }

    /// Removes a connection, and its feeds if it is the last one that follows them.
    pub(super) fn remove_connection(&mut self, key: u32, reason: Disconnect) {
        let Some(connection) = self.connections.remove(key) else {
            return; // It has been removed for another reason.
        };
        self.half_closed.remove(&key);
        self.catching_up.remove(key);
        self.stats.add_disconnect(reason);
        let (follows, place) = (connection.follows(), connection.place);
        connection.end(reason);
        match follows {
            Follows::One(feed) => self.remove_member(feed, place),
            Follows::Several(joint) => self.remove_joint(joint),
        }
    }
}
