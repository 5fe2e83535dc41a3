//! Heartbeats, deadlines, ages and the drain: one coarse tick for all connections of a shard.

use std::sync::atomic::Ordering;
use std::time::Duration;

use sse_core::Event;

use super::connection::{Follows, Unsent, Written};
use super::driver::Driver;
use super::work::{LOOKS, PART, PART_BYTES, TICK, Tick, Work, compact, next_heartbeat, ticks};
use crate::config::jittered;
use crate::stats::Disconnect;

impl Driver {
    /// Begins a tick, unless the last one has not ended yet.
    pub(super) fn begin_tick(&mut self) {
        if self.tick.is_none() {
            self.tick = Some(Tick {
                half_closed: self.half_closed.iter().copied().collect(),
                ..Tick::default()
            });
            self.queue.push_front(Work::Tick);
        }
    }

    /// Checks a part of the connections, and after the last one the feeds.
    pub(super) fn tick(&mut self) {
        let Some(mut tick) = self.tick.take() else {
            return;
        };
        let mut sends = self.probe_half_closed(&mut tick.half_closed);
        let end = self.connections.end();
        let stop = end.min(tick.next_connection.saturating_add(LOOKS));
        while tick.next_connection < stop && sends < PART && self.written < PART_BYTES {
            let key = tick.next_connection;
            tick.next_connection += 1;
            if !self.connections.may_be_due(key, self.now) {
                continue;
            }
            match self.check_time(key) {
                Ok(has_sent) => sends += usize::from(has_sent),
                Err(reason) => {
                    self.remove_connection(key, reason);
                    sends += 1;
                    continue;
                }
            }
            let lag = self.lag(key);
            tick.furthest_lag = tick.furthest_lag.max(lag);
            let connection = &self.connections[key];
            if lag == 0 && connection.unsent.is_none() && !connection.is_queued {
                let next = connection.heartbeat_at.min(connection.leave_at);
                let drained = self.drained.unwrap_or(u32::MAX);
                self.connections.rest(key, next.min(drained));
            }
        }
        if tick.next_connection < end {
            self.tick = Some(tick);
            self.queue_tick();
            return;
        }
        self.furthest_lag
            .store(tick.furthest_lag, Ordering::Relaxed);
        self.evict_old(tick);
    }

    /// Returns the number of unsent bytes of a connection.
    fn lag(&self, key: u32) -> usize {
        let connection = &self.connections[key];
        match connection.follows() {
            Follows::One(feed) => {
                let group = self.feeds[feed as usize].group();
                group.map_or(0, |group| connection.position.distance(group.position()))
            }
            Follows::Several(_) if connection.unsent.is_none() => 0,
            Follows::Several(joint) => self.joints[joint as usize].lag(&self.feeds),
        }
    }

    /// Evicts old events, of a part of the topics at a time: a topic without publishers would
    /// keep its backlog.
    fn evict_old(&mut self, mut tick: Tick) {
        let end = compact(self.feeds.capacity());
        let stop = end.min(tick.next_feed.saturating_add(LOOKS));
        for key in tick.next_feed..stop {
            if let Some(feed) = self.feeds.get(key as usize) {
                feed.topic().evict();
            }
        }
        tick.next_feed = stop;
        if stop < end {
            self.tick = Some(tick);
            self.queue_tick();
        }
    }

    /// Removes half-closed connections that have been reset, and returns the number of probes.
    fn probe_half_closed(&mut self, keys: &mut Vec<u32>) -> usize {
        let part = keys.split_off(keys.len().saturating_sub(PART));
        for key in &part {
            if self.half_closed.contains(key)
                && let Err(reason) = self.connections[*key].probe()
            {
                self.remove_connection(*key, reason);
            }
        }
        part.len()
    }

    /// Does what is due for a connection, and returns `true` if that was a send.
    fn check_time(&mut self, key: u32) -> Result<bool, Disconnect> {
        let connection = &self.connections[key];
        if self.drained.is_some_and(|drained| drained <= self.now) {
            return Err(Disconnect::Drained);
        }
        if let Some(unsent) = &connection.unsent {
            // Two ticks more, since both ends are rounded down: no client is cut off early.
            let time = ticks(self.config.write_timeout.saturating_add(2 * TICK));
            let is_late = |unsent: &Unsent, now| unsent.since.saturating_add(time) <= now;
            if is_late(unsent, self.now) {
                // The client may have read while the shard was blocked.
                self.catch_up(key)?;
                let unsent = self.connections[key].unsent.as_ref();
                return match unsent {
                    Some(unsent) if is_late(unsent, self.now) => Err(Disconnect::WriteTimeout),
                    _ => Ok(true),
                };
            }
            if unsent.close.is_some() {
                return Ok(false);
            }
        }
        if connection.leave_at <= self.now {
            let (follows, reason) = (connection.follows(), connection.leave_reason);
            // What was published before comes first, such as an event that announces a drain.
            if let Follows::One(feed) = follows {
                self.advance_group(feed);
            }
            self.catch_up(key)?;
            if self.connections[key].is_closing() {
                return Ok(true);
            }
            return self.close_with_retry(key, reason).map(|()| true);
        }
        if connection.unsent.is_none() && connection.heartbeat_at <= self.now {
            return self.send_heartbeat(key).map(|()| true);
        }
        Ok(false)
    }

    /// Writes a heartbeat, unless bytes are unsent.
    pub(super) fn send_heartbeat(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key];
        if connection.unsent.is_some() {
            return Ok(());
        }
        connection.heartbeat_at = next_heartbeat(self.now, self.heartbeat_time, key);
        self.stats.add_heartbeat();
        let written = connection.try_write(&self.heartbeat)?;
        let taken = written.taken(self.heartbeat.len());
        self.stats.add_bytes(taken);
        if written != Written::All {
            connection.set_unsent(self.heartbeat.slice(taken..), self.now);
        }
        Ok(())
    }

    /// Ends a stream with a jittered reconnection time.
    pub(super) fn close_with_retry(
        &mut self,
        key: u32,
        reason: Disconnect,
    ) -> Result<(), Disconnect> {
        let mut last = Vec::new();
        if self.connections[key].sends_retry {
            let retry = jittered(self.config.retry);
            Event::new().retry(retry).encode(&mut last);
        }
        self.connections[key].close(last.into(), reason, self.now);
        self.catch_up(key)
    }

    /// Ends each stream at a random time within `window`.
    pub(super) fn drain(&mut self, window: Duration) {
        for connection in self.connections.iter_mut() {
            let wait = ticks(window.mul_f64(fastrand::f64()));
            let leave_at = self.now.saturating_add(wait);
            if leave_at < connection.leave_at {
                connection.leave_at = leave_at;
                connection.leave_reason = Disconnect::Drained;
            }
        }
        let end = window.saturating_add(self.config.goodbye_timeout());
        self.drained = Some(self.now.saturating_add(ticks(end)));
    }
}
