//! The limits of a keyed log.

use std::time::Duration;
use std::{error, fmt};

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
