//! The limits of a keyed log.

use std::time::Duration;
use std::{error, fmt, io};

use super::KeyedLog;
use crate::log::{Entry, Evicted, Now, millis};

/// How many keys and bytes a [`KeyedLog`](crate::KeyedLog) retains, and removals for how long.
///
/// ```
/// use std::time::Duration;
/// use sse_core::KeyedRetention;
///
/// let day = Duration::from_secs(24 * 3600);
/// let retention = KeyedRetention::default().keys(1000).removals(day);
/// # let _ = retention;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct KeyedRetention {
    pub(super) keys: usize,
    pub(super) bytes: usize,
    pub(super) removals: Duration,
}

impl Default for KeyedRetention {
    /// 65,536 keys in 16 MiB, and removals for an hour.
    fn default() -> Self {
        Self {
            keys: 1 << 16,
            bytes: 16 << 20,
            removals: Duration::from_secs(3600),
        }
    }
}

impl KeyedRetention {
    /// Returns the maximum number of keys.
    #[must_use]
    pub const fn max_keys(&self) -> usize {
        self.keys
    }

    /// Returns the maximum bytes of keys and their newest events.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the time for which a removal is retained.
    #[must_use]
    pub const fn max_removal_age(&self) -> Duration {
        self.removals
    }

    /// Sets the maximum number of keys, including those whose removals are retained.
    ///
    /// Default: 65,536. A key costs some 100 bytes beside its event. The oldest removals are
    /// dropped early to make room for other keys.
    pub const fn keys(mut self, count: usize) -> Self {
        self.keys = count;
        self
    }

    /// Sets the maximum bytes of keys and their newest events. Default: 16 MiB.
    ///
    /// The log takes up to twice as much. Events that do not supersede others yet, because they
    /// are held back, count as well.
    pub const fn bytes(mut self, count: usize) -> Self {
        self.bytes = count;
        self
    }

    /// Sets the time for which a removal is retained. Default: one hour.
    ///
    /// A client that comes back after a longer time gets a gap event and then all keys. So this
    /// is the longest absence that costs a client only what has changed.
    pub const fn removals(mut self, age: Duration) -> Self {
        self.removals = age;
        self
    }
}

impl KeyedLog {
    /// Returns whether an event of this encoded length fits, even if it does not supersede another.
    ///
    /// That costs less than [`make_room`](Self::make_room), and the length may be too large.
    #[must_use]
    pub fn has_room(&self, key: &str, len: usize) -> bool {
        let KeyedRetention { keys, bytes, .. } = self.retention;
        let len = len.saturating_add(key.len());
        let fits = self.bytes.saturating_add(len) <= bytes;
        fits && (self.keys.len() < keys || self.keys.get(key).is_some())
    }

    /// Makes room for an event of this key and encoded length.
    ///
    /// The oldest removals are dropped for that, but none if the event would not fit without any
    /// removal. The caller does this before it assigns an ID.
    ///
    /// # Errors
    ///
    /// [`KeyedFull`]: the event would exceed a limit of the retention.
    pub fn make_room(&mut self, key: &str, len: usize) -> Result<Evicted, KeyedFull> {
        let len = len.saturating_add(key.len());
        self.check_room(key, len, (self.removals.len(), self.removal_bytes))?;
        let (mut evicted, mut drops) = (Evicted::default(), 0);
        loop {
            let Err(full) = self.check_room(key, len, (0, 0)) else {
                return Ok(evicted);
            };
            if drops == DROPS || !self.drop_removal(&mut evicted, |_| true) {
                return Err(full);
            }
            drops += 1;
        }
    }

    /// Checks that an event of this key fits once some keys and bytes have been dropped. The event
    /// and its key take `len` bytes.
    fn check_room(
        &self,
        key: &str,
        len: usize,
        (dropped_keys, dropped_bytes): (usize, usize),
    ) -> Result<(), KeyedFull> {
        let KeyedRetention { keys, bytes, .. } = self.retention;
        let newest = self.keys.get(key).map(|slot| slot.newest);
        if newest.is_none() && self.keys.len() - dropped_keys >= keys {
            return Err(KeyedFull::Keys { max: keys });
        }
        let superseded = newest.filter(|_| self.visible.is_none());
        let freed = superseded.map_or(0, |newest| newest.len as usize + key.len());
        // A removal of this key may count twice.
        let left = self.bytes.saturating_sub(freed + dropped_bytes);
        if left.saturating_add(len) > bytes {
            return Err(KeyedFull::Bytes { max: bytes });
        }
        Ok(())
    }

    /// Drops removals that are older than the retention allows.
    ///
    /// At most 512 of them, and never the newest event.
    pub fn evict(&mut self, now: impl Into<Now>) -> Evicted {
        let (now, max) = (millis(now.into().steady), millis(self.retention.removals));
        let mut evicted = Evicted::default();
        for _ in 0..DROPS {
            // The newest event is retained, so that readers find the end.
            let newest = self.newest_id;
            let has_expired =
                |entry: &Entry| now.saturating_sub(entry.appended) > max && entry.id != newest;
            if !self.drop_removal(&mut evicted, has_expired) {
                break;
            }
        }
        self.tidy(&mut evicted);
        evicted
    }

    /// Drops the oldest removal for good if it is visible and `qualifies`, and returns whether
    /// there was one.
    fn drop_removal(
        &mut self,
        evicted: &mut Evicted,
        qualifies: impl FnOnce(&Entry) -> bool,
    ) -> bool {
        let Some((&id, &slot)) = self.removals.first_key_value() else {
            return false;
        };
        let newest = self.keys.slot(slot).newest;
        let Some(place) = self.place_at(newest.address()) else {
            return false;
        };
        let is_held =
            self.held.front().is_some_and(|(held, _)| *held <= id) || !self.is_visible(id);
        if is_held || id > self.kept_after || !qualifies(self.entry(place)) {
            return false;
        }
        // One of a restored log may be before those that an earlier run dropped.
        self.evicted.0 = id.max(self.evicted.0);
        self.evicted.1 = self.entry(place).end;
        self.removals.pop_first();
        let len = (newest.len as usize, self.keys.slot(slot).key.len());
        self.removal_bytes -= len.0 + len.1;
        self.keys.remove(slot);
        self.supersede(place, len, evicted);
        true
    }
}

/// A keyed log has no room for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyedFull {
    /// There are this many keys.
    Keys {
        /// The limit.
        max: usize,
    },
    /// The keys and their newest events would have more bytes than this.
    Bytes {
        /// The limit in bytes.
        max: usize,
    },
}

impl fmt::Display for KeyedFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { max } => write!(
                f,
                "the event has a new key and there are {max} keys, the most allowed; remove keys \
                 or raise `KeyedRetention::keys`"
            ),
            Self::Bytes { max } => write!(
                f,
                "with the event, the newest events of all keys exceed {max} bytes; remove keys \
                 or raise `KeyedRetention::bytes`"
            ),
        }
    }
}

impl error::Error for KeyedFull {}

impl From<KeyedFull> for io::Error {
    fn from(full: KeyedFull) -> Self {
        Self::other(full)
    }
}

/// The number of removals that one call drops at most.
const DROPS: usize = 512;
