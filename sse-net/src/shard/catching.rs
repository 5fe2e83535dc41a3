//! What connections of keyed topics have still to get before they are up to date.
//!
//! A slow connection receives a keyed topic in passes. A pass is the newest event of each key
//! when it began, and is held until the connection has taken it. Without that, a key that is
//! superseded before the connection gets to it, again and again, would never be sent.
//!
//! They are few, so other connections do without a field for this.

use std::collections::{HashMap, VecDeque};

use sse_core::{Batch, Cursor, LogId, Slice};

use super::group::Group;
use crate::topic::{Joining, Since};

/// The connections of a shard that catch up in keyed topics, by their keys.
#[derive(Default)]
pub(super) struct CatchingUp {
    connections: HashMap<u32, Catching>,
    /// The bytes of all slices that are held.
    bytes: usize,
}

#[derive(Default)]
struct Catching {
    since: Since,
    /// Where the state ends that the connection gets first; `None` once it has got it.
    state_end: Option<Cursor>,
    /// The rest of the pass.
    held: VecDeque<Slice>,
    /// The rest of the pass of a connection that follows several topics.
    batches: VecDeque<Batch>,
}

/// What a connection gets next.
pub(super) enum NextOfState {
    Slice(Slice),
    /// The state has been sent.
    StateEnd,
    /// The connection is at this position now.
    UpToDate(Cursor),
    Lagged,
}

impl CatchingUp {
    /// Adds a connection that joins a keyed topic or comes back.
    pub(super) fn join(&mut self, connection: u32, joining: Joining) {
        let catching = Catching {
            since: joining.since,
            state_end: Some(joining.until),
            ..Catching::default()
        };
        self.connections.insert(connection, catching);
    }

    /// Holds a slice of which a connection has taken a part, unless it is held already.
    pub(super) fn hold(&mut self, connection: u32, slice: &Slice) {
        let catching = self.connections.entry(connection).or_default();
        let is_held = catching
            .held
            .front()
            .is_some_and(|held| held.end() == slice.end());
        if !is_held {
            self.bytes += slice.len();
            catching.held.push_front(slice.clone());
        }
    }

    pub(super) fn remove(&mut self, connection: u32) {
        if let Some(catching) = self.connections.remove(&connection) {
            let slices = catching.held.iter().map(Slice::len);
            let batches = catching.batches.iter().map(Batch::len);
            self.bytes -= slices.sum::<usize>() + batches.sum::<usize>();
        }
    }

    /// Returns what a connection at a position gets next, until it is where its group is.
    pub(super) fn next(&mut self, connection: u32, position: Cursor, group: &Group) -> NextOfState {
        let (mut since, mut gets_state) = (Since::default(), false);
        if let Some(catching) = self.connections.get_mut(&connection) {
            since = catching.since;
            while let Some(slice) = catching.held.front() {
                if let Some(rest) = slice.after(position) {
                    return NextOfState::Slice(rest);
                }
                self.bytes -= slice.len();
                catching.held.pop_front();
            }
            if catching.state_end.is_some_and(|end| position >= end) {
                catching.state_end = None;
                return NextOfState::StateEnd;
            }
            gets_state = catching.state_end.is_some();
            if !gets_state {
                self.connections.remove(&connection);
            }
        }
        // The state may end after the group's position.
        if position >= group.position() && !gets_state {
            return NextOfState::UpToDate(position);
        }
        // Up to the end of the log: a key that changes all the time is beyond the group's
        // position whenever one looks.
        match group.topic().read(position..Cursor::MAX, since) {
            Ok(Some(slice)) => {
                self.hold_pass(connection, &slice, since, group);
                NextOfState::Slice(slice)
            }
            Ok(None) if self.end_state(connection) => NextOfState::StateEnd,
            Ok(None) => NextOfState::UpToDate(group.position().max(position)),
            Err(_) => NextOfState::Lagged,
        }
    }

    /// Notes that a connection has got the state, and returns `true` unless it had it before.
    fn end_state(&mut self, connection: u32) -> bool {
        let catching = self.connections.get_mut(&connection);
        catching.is_some_and(|catching| catching.state_end.take().is_some())
    }

    /// Returns what a connection that follows several topics has still to get of its pass.
    pub(super) fn next_batch(&mut self, connection: u32, position: LogId) -> Option<Batch> {
        let catching = self.connections.get_mut(&connection)?;
        while let Some(batch) = catching.batches.front() {
            if let Some(rest) = batch.after(position) {
                return Some(rest);
            }
            self.bytes -= batch.len();
            catching.batches.pop_front();
        }
        self.connections.remove(&connection);
        None
    }

    /// Holds a batch and what follows it, which `next` returns after a position.
    pub(super) fn hold_batches(
        &mut self,
        connection: u32,
        batch: Batch,
        next: impl Fn(LogId) -> Option<Batch>,
    ) {
        let (mut following, mut bytes) = (Some(batch), 0);
        let catching = self.connections.entry(connection).or_default();
        while let Some(batch) = following.take() {
            bytes += batch.len();
            if bytes < MAX_PASS && self.bytes + bytes < MAX_HELD {
                following = next(batch.position());
            }
            catching.batches.push_back(batch);
        }
        self.bytes += bytes;
    }

    /// Holds a slice and what follows it in the log, if there is something.
    fn hold_pass(&mut self, connection: u32, slice: &Slice, since: Since, group: &Group) {
        let after = |slice: &Slice| {
            let rest = slice.end()..Cursor::MAX;
            group.topic().read(rest, since).unwrap_or_default()
        };
        let Some(second) = after(slice) else {
            return;
        };
        let (mut next, mut bytes) = (Some(second), slice.len());
        let catching = self.connections.entry(connection).or_default();
        catching.held.push_back(slice.clone());
        while let Some(slice) = next.take() {
            bytes += slice.len();
            if bytes < MAX_PASS && self.bytes + bytes < MAX_HELD {
                next = after(&slice);
            }
            catching.held.push_back(slice);
        }
        self.bytes += bytes;
    }
}

/// The most bytes of a pass that are held for one connection.
const MAX_PASS: usize = 4 << 20;

/// The number of bytes after which a shard holds only the slice that a connection is taking.
/// A topic may retain these bytes no more. Fewer [shards](crate::Config::shards) hold less in all.
const MAX_HELD: usize = 64 << 20;
