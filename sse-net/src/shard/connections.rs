//! The table of a shard's connections.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::connection::Connection;
use super::work::{compact, make_room};

/// The connections of a shard by their keys.
///
/// A tick asks several times a second what is due for each connection. To load the state of very
/// many idle connections for that would cost more than all else that the shard does for them. So
/// the table itself has the time until which a connection rests, and the tick skips those that
/// do. Every access that may change a connection ends its rest, except
/// [`resting_mut`](Self::resting_mut).
pub(super) struct Connections(Slab<Slot>);

struct Slot {
    /// Boxed, so that connections fit in the gaps between the runtime's registrations of sockets,
    /// which are aligned to 128 bytes.
    connection: Box<Connection>,
    /// The tick before which nothing is due. It takes no memory: without it, this would be padding.
    rests_until: u32,
}

impl Connections {
    pub(super) const fn new() -> Self {
        Self(Slab::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the key of the next connection that is inserted.
    pub(super) fn vacant_key(&self) -> u32 {
        compact(self.0.vacant_key())
    }

    /// Returns a number that is greater than every key.
    pub(super) fn end(&self) -> u32 {
        compact(self.0.capacity())
    }

    pub(super) fn insert(&mut self, connection: Connection) {
        make_room(&mut self.0);
        self.0.insert(Slot {
            connection: Box::new(connection),
            rests_until: 0,
        });
    }

    pub(super) fn remove(&mut self, key: u32) -> Option<Connection> {
        let slot = self.0.try_remove(key as usize)?;
        Some(*slot.connection)
    }

    pub(super) fn contains(&self, key: u32) -> bool {
        self.0.contains(key as usize)
    }

    pub(super) fn get_mut(&mut self, key: u32) -> Option<&mut Connection> {
        let slot = self.0.get_mut(key as usize)?;
        slot.rests_until = 0;
        Some(&mut slot.connection)
    }

    /// Returns a connection for a change that leaves it at rest if it rests.
    pub(super) fn resting_mut(&mut self, key: u32) -> &mut Connection {
        &mut self.0[key as usize].connection
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.0.iter_mut().map(|(_, slot)| {
            slot.rests_until = 0;
            &mut *slot.connection
        })
    }

    /// Returns `true` if something may be due for the connection with this key, if there is one.
    pub(super) fn may_be_due(&self, key: u32, now: u32) -> bool {
        let slot = self.0.get(key as usize);
        slot.is_some_and(|slot| slot.rests_until <= now)
    }

    /// Lets a connection rest until a tick, or until it is changed.
    pub(super) fn rest(&mut self, key: u32, until: u32) {
        self.0[key as usize].rests_until = until;
    }
}

impl Index<u32> for Connections {
    type Output = Connection;

    fn index(&self, key: u32) -> &Connection {
        &self.0[key as usize].connection
    }
}

impl IndexMut<u32> for Connections {
    fn index_mut(&mut self, key: u32) -> &mut Connection {
        let slot = &mut self.0[key as usize];
        slot.rests_until = 0;
        &mut slot.connection
    }
}

#[cfg(all(test, target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_rest_takes_no_memory() {
        // An entry of a slab is a value, or the index of the next vacant one.
        type Entry<T> = Result<T, usize>;
        assert_eq!(
            size_of::<Entry<Slot>>(),
            size_of::<Entry<Box<Connection>>>()
        );
    }
}
