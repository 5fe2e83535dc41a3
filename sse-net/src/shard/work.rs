//! The pieces of work of a shard, their budgets, and its time in ticks.

use std::time::Duration;

use slab::Slab;

/// A piece of work. Each takes a part at a time.
pub(super) enum Work {
    /// Admit connections.
    Arrivals,
    /// Read from and write to connections that have become ready.
    Ready,
    /// Write new events to the members of a group.
    Pass(u32),
    /// Check heartbeats, deadlines and ages.
    Tick,
}

/// The progress of a tick.
#[derive(Debug, Default)]
pub(super) struct Tick {
    /// Half-closed connections that have not been probed yet.
    pub(super) half_closed: Vec<u32>,
    pub(super) next_connection: u32,
    pub(super) next_feed: u32,
    pub(super) furthest_lag: usize,
}

// The budgets of a part are not settings: they bound a turn to a millisecond for every application,
// and larger ones make no send cheaper.

/// The number of connections that a part of the work admits, reads from or sends to.
pub(super) const PART: usize = 64;

/// The number of bytes that a part of the work writes.
pub(super) const PART_BYTES: usize = 256 << 10;

/// The resolution of heartbeats, deadlines and ages.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// The number of connections that a part of the work looks at.
pub(super) const LOOKS: u32 = 4096;

/// Converts a duration to ticks, rounded down.
pub(super) fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

/// Returns the tick of the next heartbeat of a connection that is written to now, after `time`
/// ticks. It is up to 10 % early, so that not all are due at once.
pub(super) const fn next_heartbeat(now: u32, time: u32, key: u32) -> u32 {
    let early = key % (time / 10 + 1);
    now.saturating_add(time - early)
}

/// Makes room for another entry, a quarter more at a time: doubled, a table of very many
/// connections would take up to twice its entries.
pub(super) fn make_room<T>(table: &mut Slab<T>) {
    if table.len() == table.capacity() {
        table.reserve_exact(table.len() / 4 + 4);
    }
}

/// Converts a key or an index to the size that each connection stores.
pub(super) fn compact(key: usize) -> u32 {
    u32::try_from(key).expect("a shard has fewer than 2^32 connections")
}
