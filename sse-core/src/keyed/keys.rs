//! The keys of a keyed log, each with the address of its newest event.

use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::sync::Arc;

use hashbrown::HashTable;

/// The keys of a log. Each has a slot, so that an event refers to its key with four bytes.
#[derive(Debug, Default)]
pub(super) struct Keys {
    slots: Vec<Slot>,
    /// The slot of each key.
    by_key: HashTable<u32>,
    hasher: RandomState,
    free: Vec<u32>,
}

/// A key and its newest event, which may be a removal.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Arc<str>,
    pub(super) newest: Newest,
}

/// The newest event of a key. It is small, so that a slot lies in one line of the CPU's cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest {
    serial: u64,
    /// The number of its bytes.
    pub(super) len: u32,
    index: u16,
    pub(super) is_removal: bool,
}

impl Newest {
    pub(super) fn new(address: Address, len: usize, is_removal: bool) -> Self {
        Self {
            serial: address.serial,
            len: u32::try_from(len).unwrap_or(u32::MAX),
            index: address.index,
            is_removal,
        }
    }

    pub(super) const fn address(self) -> Address {
        let (serial, index) = (self.serial, self.index);
        Address { serial, index }
    }
}

/// The serial number of an event's chunk, and the event's index in it. A copy changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) serial: u64,
    /// A chunk has at most some 7,000 events, because each has an ID.
    index: u16,
}

impl Address {
    pub(super) fn new(serial: u64, index: usize) -> Self {
        Self {
            serial,
            index: u16::try_from(index).unwrap_or(u16::MAX),
        }
    }

    pub(super) const fn index(self) -> usize {
        self.index as usize
    }
}

/// An event's reference to its key, and whether it removes the key.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyRef(u32);

impl KeyRef {
    pub(super) fn new(slot: u32, is_removal: bool) -> Self {
        Self(slot << 1 | u32::from(is_removal))
    }

    pub(super) const fn slot(self) -> u32 {
        self.0 >> 1
    }

    pub(super) const fn is_removal(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Keys {
    /// Sets the newest event of a key. Returns its slot, and the event before.
    pub(super) fn replace(&mut self, key: &str, newest: Newest) -> (u32, Option<Newest>) {
        let hash = self.hasher.hash_one(key);
        if let Some(slot) = self.find(hash, key) {
            let before = &mut self.slots[slot as usize].newest;
            return (slot, Some(mem::replace(before, newest)));
        }
        let key = key.into();
        let slot = self.add(Slot { key, newest });
        let rehash = |slot: &u32| self.hasher.hash_one(&*self.slots[*slot as usize].key);
        self.by_key.insert_unique(hash, slot, rehash);
        (slot, None)
    }

    fn add(&mut self, added: Slot) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = added;
            return slot;
        }
        if self.slots.len() == self.slots.capacity() {
            // A quarter at a time, because a key is to cost little memory.
            self.slots.reserve_exact(self.slots.len() / 4 + 4);
        }
        self.slots.push(added);
        u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
    }

    fn find(&self, hash: u64, key: &str) -> Option<u32> {
        let is_equal = |slot: &u32| *self.slots[*slot as usize].key == *key;
        self.by_key.find(hash, is_equal).copied()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Slot> {
        let slot = self.find(self.hasher.hash_one(key), key)?;
        Some(&self.slots[slot as usize])
    }

    pub(super) fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    /// Follows the newest event of a key, and no other one, to where it was copied.
    #[inline]
    pub(super) fn follow(&mut self, slot: u32, from: Address, to: Address) {
        let newest = &mut self.slots[slot as usize].newest;
        if newest.address() == from {
            (newest.serial, newest.index) = (to.serial, to.index);
        }
    }

    /// Removes a key to which no event refers any more.
    pub(super) fn remove(&mut self, slot: u32) {
        let key = mem::take(&mut self.slots[slot as usize].key);
        let hash = self.hasher.hash_one(&*key);
        if let Ok(found) = self.by_key.find_entry(hash, |found| *found == slot) {
            found.remove();
        }
        self.free.push(slot);
    }

    /// Returns the number of keys, including those that were removed.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}
