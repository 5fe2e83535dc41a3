//! A connection that is behind, and its input.

use std::mem;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use sse_core::{Batch, Slice};
use tokio::time::Instant;

use super::catching::NextOfState;
use super::connection::{Follows, Input, Written};
use super::driver::Driver;
use super::mailbox::Key;
use super::merge::NextOfJoint;
use super::work::{PART_BYTES, next_heartbeat};
use crate::config::SlowClients;
use crate::stats::Disconnect;
use crate::sync::Arc;

impl Driver {
    /// Reads from a connection, and writes what it has not received yet.
    pub(super) fn serve(&mut self, key: u32) {
        if !self.connections.contains(key) {
            return; // It has been removed since it became ready.
        }
        let served = self.end_if_expired(key);
        let served = served.and_then(|()| self.read_input(key));
        if let Err(reason) = served.and_then(|()| self.catch_up(key)) {
            self.remove_connection(key, reason);
        }
    }

    /// Ends the stream if a future of `until` has resolved.
    fn end_if_expired(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key];
        match connection.poll_signals() {
            Poll::Ready(reason) if !connection.is_closing() => self.close_with_retry(key, reason),
            _ => Ok(()),
        }
    }

    /// Keeps a read pending, so that a client that closes is noticed at once.
    fn read_input(&mut self, key: u32) -> Result<(), Disconnect> {
        let connection = &mut self.connections[key];
        let input = connection.poll_input();
        if connection.input as usize > self.config.max_input {
            return Err(Disconnect::UnexpectedInput);
        }
        match input {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(Input::More)) => {
                self.queue_connection(key);
                Ok(())
            }
            Poll::Ready(Ok(Input::End)) => {
                if self.half_closed.insert(key) {
                    // A closed tab answers a heartbeat with a reset, which a peer nearby has
                    // sent already. A peer that has only closed its own half continues to read.
                    self.send_heartbeat(key)?;
                }
                self.connections[key].probe()
            }
            Poll::Ready(Err(reason)) => Err(reason),
        }
    }

    /// Writes what a connection has not received yet.
    pub(super) fn catch_up(&mut self, key: u32) -> Result<(), Disconnect> {
        // Unsent bytes may be empty: then the connection took nothing of the next event.
        let unsent = self.connections[key].unsent.as_ref();
        let mut since = unsent.map_or(self.now, |unsent| unsent.since);
        loop {
            match self.write_unsent(key, &mut since)? {
                Progress::Done => {}
                Progress::Blocked => return Ok(()),
                Progress::Paused => break,
            }
            let next = match self.connections[key].follows() {
                Follows::One(feed) => self.next_of_group(key, feed),
                Follows::Several(joint) => self.next_of_joint(key, joint),
            };
            match next {
                Next::Events(events) => match self.write_events(key, &events, &mut since)? {
                    Progress::Done => {}
                    Progress::Blocked => return Ok(()),
                    Progress::Paused => break,
                },
                Next::Notice(bytes) => {
                    self.connections[key].set_unsent(bytes, self.now);
                }
                Next::Changed => {}
                Next::Close(reason) => {
                    self.connections[key].close(Bytes::new(), reason, self.now);
                }
                Next::Pause => break,
                Next::Nothing => return Ok(()),
            }
        }
        self.queue_connection(key);
        Ok(())
    }

    /// Writes the unsent bytes of a connection, and closes it after them if it is to end.
    fn write_unsent(&mut self, key: u32, since: &mut u32) -> Result<Progress, Disconnect> {
        let connection = &mut self.connections[key];
        while let Some(unsent) = &mut connection.unsent {
            let bytes = mem::take(&mut unsent.bytes);
            let written = connection.try_write(&bytes)?;
            let taken = written.taken(bytes.len());
            self.written += taken;
            self.stats.add_bytes(taken);
            if taken > 0 {
                *since = self.now;
            }
            let Some(unsent) = &mut connection.unsent else {
                break;
            };
            unsent.bytes = bytes.slice(taken..);
            unsent.since = *since;
            match written {
                Written::All => {}
                Written::Blocked(_) => return Ok(Progress::Blocked),
                Written::Paused(_) => return Ok(Progress::Paused),
            }
            connection.heartbeat_at = next_heartbeat(self.now, self.heartbeat_time, key);
            let Some(close) = &mut unsent.close else {
                connection.unsent = None;
                break;
            };
            if !close.last.is_empty() {
                unsent.bytes = mem::take(&mut close.last);
                continue;
            }
            let reason = close.reason;
            return match connection.poll_shutdown() {
                Poll::Ready(shut_down) => Err(shut_down.err().unwrap_or(reason)),
                Poll::Pending => Ok(Progress::Blocked),
            };
        }
        Ok(Progress::Done)
    }

    /// Writes events after the position of a connection.
    fn write_events(
        &mut self,
        key: u32,
        events: &Events,
        since: &mut u32,
    ) -> Result<Progress, Disconnect> {
        let connection = &mut self.connections[key];
        let bytes = events.bytes();
        let written = connection.try_write(&bytes)?;
        let taken = written.taken(bytes.len());
        self.written += taken;
        self.stats.add_bytes(taken);
        if taken > 0 {
            *since = self.now;
        }
        let is_all = written == Written::All;
        let begun = match events {
            Events::Slice(slice) => {
                if !is_all && self.feeds[connection.feed as usize].is_keyed() {
                    self.catching_up.hold(key, slice);
                }
                let begun = connection.keep_unsent(slice, taken, *since);
                let topic = self.feeds[connection.feed as usize].topic();
                topic.meter().add_delivered(begun.count, begun.len);
                begun.count
            }
            Events::Batch(batch, joint) => {
                let (count, len, id) = batch.begun(taken);
                self.joints[*joint as usize].count(&self.feeds, batch, taken);
                let position = if is_all { Some(batch.position()) } else { id };
                if let Some(position) = position {
                    self.joints[*joint as usize].advance(position);
                }
                connection.set_unsent(bytes.slice(taken..len), *since);
                count
            }
        };
        self.stats.add_events(begun);
        match written {
            Written::All => connection.unsent = None,
            Written::Blocked(_) => return Ok(Progress::Blocked),
            Written::Paused(_) => return Ok(Progress::Paused),
        }
        connection.heartbeat_at = next_heartbeat(self.now, self.heartbeat_time, key);
        Ok(Progress::Done)
    }

    /// Returns what a member of a group gets next, up to the position of the group.
    fn next_of_group(&mut self, key: u32, feed: u32) -> Next {
        let connection = &mut self.connections[key];
        let Some(group) = self.feeds[feed as usize].group() else {
            return Next::Nothing; // This is unreachable: the feed is a group.
        };
        if group.topic().shared().is_keyed() {
            return self.next_of_keyed(key, feed);
        }
        if connection.position >= group.position() {
            return if group.is_over() {
                Next::Close(Disconnect::Finished)
            } else {
                Next::Nothing
            };
        }
        if self.written >= PART_BYTES {
            return Next::Pause;
        }
        match group.slice_after(connection.position) {
            Ok(Some(slice)) => Next::Events(Events::Slice(slice)),
            Ok(None) => Next::Nothing,
            Err(lagged) => match group.topic().shared().slow_clients() {
                SlowClients::Disconnect => Next::Close(Disconnect::Lagged),
                SlowClients::SkipAhead => {
                    self.stats.add_gap();
                    connection.position = group.begin_after(lagged);
                    let gap = group.topic().shared().gap_event(None, connection.position);
                    Next::Notice(gap.into())
                }
            },
        }
    }

    /// Returns what a member of the group of a keyed topic gets next.
    fn next_of_keyed(&mut self, key: u32, feed: u32) -> Next {
        if self.written >= PART_BYTES {
            return Next::Pause;
        }
        let connection = &mut self.connections[key];
        let Some(group) = self.feeds[feed as usize].group() else {
            return Next::Nothing;
        };
        match self.catching_up.next(key, connection.position, group) {
            NextOfState::Slice(slice) => Next::Events(Events::Slice(slice)),
            NextOfState::StateEnd => match group.topic().shared().marker_event() {
                Some(marker) => Next::Notice(marker.into()),
                None => self.next_of_keyed(key, feed),
            },
            NextOfState::UpToDate(position) => {
                connection.position = position;
                if group.is_over() {
                    Next::Close(Disconnect::Finished)
                } else {
                    Next::Nothing
                }
            }
            NextOfState::Lagged => Next::Close(Disconnect::Lagged),
        }
    }

    /// Returns what a connection gets next that follows several topics.
    fn next_of_joint(&mut self, key: u32, joint: u32) -> Next {
        if self.written >= PART_BYTES {
            return Next::Pause;
        }
        let joint_key = joint;
        let joint = &self.joints[joint_key as usize];
        if !joint.is_read(&self.feeds) {
            self.linger(Key::Connection(key), Instant::now() + UNREAD);
            return Next::Nothing;
        }
        if let Some(batch) = self.catching_up.next_batch(key, joint.position) {
            return Next::Events(Events::Batch(batch, joint_key));
        }
        let is_leaving = self.connections[key].leave_at <= self.now;
        if !joint.hub.linger().is_zero() && !is_leaving && joint.has_new(&self.feeds) {
            let (hub, position) = (Arc::clone(&joint.hub), joint.position);
            if let Some(until) = self.hub_wait(&hub, position) {
                self.linger(Key::Connection(key), until);
                return Next::Nothing;
            }
        }
        let waker = &self.connections[key].waker;
        let joint = &mut self.joints[joint_key as usize];
        match joint.next(&mut self.feeds, waker) {
            NextOfJoint::Events(batch) => {
                if joint.has_keyed(&self.feeds) {
                    let next = |position| joint.batch_after(&self.feeds, position);
                    self.catching_up.hold_batches(key, batch.clone(), next);
                }
                Next::Events(Events::Batch(batch, joint_key))
            }
            NextOfJoint::Change(members) => {
                self.change_topics(key, joint_key, members);
                Next::Changed
            }
            NextOfJoint::Replaced(index, removed) => {
                self.replace_topic(key, joint_key, index, removed);
                Next::Changed
            }
            NextOfJoint::Piece(piece) => {
                self.stats.add_events(piece.count);
                if piece.is_gap {
                    self.stats.add_gap();
                }
                Next::Notice(piece.bytes)
            }
            NextOfJoint::Missed(index) => {
                let (topic, from) = joint.topic(&self.feeds, index);
                match topic.slow_clients() {
                    SlowClients::Disconnect => Next::Close(Disconnect::Lagged),
                    SlowClients::SkipAhead => {
                        self.stats.add_gap();
                        Next::Notice(topic.gap_event_after(None, from).into())
                    }
                }
            }
            NextOfJoint::Ended(index) => {
                Next::Notice(joint.topic(&self.feeds, index).0.end_event().into())
            }
            NextOfJoint::StateEnd => match joint.markers(&self.feeds) {
                markers if markers.is_empty() => self.next_of_joint(key, joint_key),
                markers => Next::Notice(markers.into()),
            },
            NextOfJoint::Lost => Next::Close(Disconnect::Lagged),
            NextOfJoint::Over => Next::Close(Disconnect::Finished),
            NextOfJoint::Nothing => Next::Nothing,
        }
    }
}

/// What a connection gets next.
enum Next {
    Events(Events),
    /// Whole events that do not move the position, such as one that is not in a log.
    Notice(Bytes),
    /// Something, once what has changed is looked at again.
    Changed,
    Close(Disconnect),
    /// Something, after other work.
    Pause,
    Nothing,
}

/// Events after the position of a connection.
enum Events {
    Slice(Slice),
    /// Events of several topics, and the key of the connection's [`Joint`](super::joint::Joint).
    Batch(Batch, u32),
}

impl Events {
    fn bytes(&self) -> Bytes {
        match self {
            Self::Slice(slice) => slice.bytes(),
            Self::Batch(batch, _) => batch.bytes(),
        }
    }
}

/// The result of a write to a connection that catches up.
enum Progress {
    Done,
    /// The connection wakes the shard when it takes more.
    Blocked,
    /// The connection has taken the most at a time.
    Paused,
}

/// After what time a client looks again whether its topics have been read from an engine.
const UNREAD: Duration = Duration::from_millis(50);
