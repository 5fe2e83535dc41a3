//! The keys of a keyed log, each with the address of its newest event.

use std::hash::{BuildHasher, Hasher, RandomState};
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

/// A key and its newest event, which may be a removal. It lies in one line of the CPU's cache:
/// with thousands of keys, a publisher mostly waits for memory.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Slot {
    pub(super) key: Key,
    pub(super) newest: Newest,
}

/// A key. The text of a short one is not elsewhere in memory.
#[derive(Debug)]
pub(super) enum Key {
    Short { len: u8, text: [u8; MAX_SHORT] },
    Long(Arc<str>),
}

/// The length of the longest key that fits into a slot.
const MAX_SHORT: usize = 46;

impl Key {
    fn new(key: &str) -> Self {
        let mut text = [0; MAX_SHORT];
        match (text.get_mut(..key.len()), u8::try_from(key.len())) {
            (Some(start), Ok(len)) => {
                start.copy_from_slice(key.as_bytes());
                Self::Short { len, text }
            }
            _ => Self::Long(key.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { len, text } => &text[..usize::from(*len)],
            Self::Long(key) => key.as_bytes(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.as_bytes().len()
    }

    pub(super) fn to_shared(&self) -> Arc<str> {
        match self {
            Self::Short { .. } => str::from_utf8(self.as_bytes()).unwrap_or_default().into(),
            Self::Long(key) => Arc::clone(key),
        }
    }
}

/// The newest event of a key.
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
    /// Sets the newest event of a key that has been [found](Self::find), or of a new one. Returns
    /// its slot, and the event before.
    pub(super) fn replace(
        &mut self,
        (key, found): (&str, Option<u32>),
        newest: Newest,
    ) -> (u32, Option<Newest>) {
        if let Some(slot) = found {
            let before = &mut self.slots[slot as usize].newest;
            return (slot, Some(mem::replace(before, newest)));
        }
        let hash_of_key = hash(&self.hasher, key.as_bytes());
        let key = Key::new(key);
        let slot = self.add(Slot { key, newest });
        let (hasher, slots) = (&self.hasher, &self.slots);
        let rehash = |slot: &u32| hash(hasher, slots[*slot as usize].key.as_bytes());
        self.by_key.insert_unique(hash_of_key, slot, rehash);
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

    /// Returns the slot of a key.
    pub(super) fn find(&self, key: &str) -> Option<u32> {
        let is_equal = |slot: &u32| self.slots[*slot as usize].key.as_bytes() == key.as_bytes();
        let hash = hash(&self.hasher, key.as_bytes());
        self.by_key.find(hash, is_equal).copied()
    }

    pub(super) fn get(&self, key: &str) -> Option<&Slot> {
        self.find(key).map(|slot| self.slot(slot))
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
        let key = mem::replace(&mut self.slots[slot as usize].key, Key::new(""));
        let hash = hash(&self.hasher, key.as_bytes());
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

fn hash(hasher: &RandomState, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_any_length_are_found() {
        let mut keys = Keys::default();
        let newest = Newest::new(Address::new(0, 0), 1, false);
        for len in [0, 1, MAX_SHORT, MAX_SHORT + 1, 255, 256, 1024] {
            let [key, other] = ["k".repeat(len), "k".repeat(len + 2)];
            let (slot, before) = keys.replace((&key, keys.find(&key)), newest);
            assert!(before.is_none() && keys.get(&other).is_none(), "{len}");
            let (_, before) = keys.replace((&key, keys.find(&key)), newest);
            assert!(before.is_some(), "{len}");
            let known = &keys.slot(slot).key;
            assert_eq!((known.len(), &*known.to_shared()), (len, &*key));
            keys.remove(slot);
            assert!(keys.get(&key).is_none() && keys.len() == 0, "{len}");
        }
    }

    #[test]
    fn a_slot_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Slot>(), 64);
    }
}
