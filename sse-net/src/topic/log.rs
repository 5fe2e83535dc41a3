//! The log of a topic: of all events, or of the newest of each key.

use std::ops::{Deref, DerefMut, Range};

use sse_core::{
    Cursor, Epochs, EventId, Evicted, KeyedLog, KeyedSlice, Lagged, Log, LogId, Now, Slice,
};

use crate::config::TopicConfig;
use crate::sync::{Arc, Mutex, lock};

/// The log of a topic. Readers of both kinds have a position and take slices in the order of IDs.
#[expect(clippy::large_enum_variant, reason = "nearly all topics are ordinary")]
pub(crate) enum TopicLog {
    Ordinary(Log),
    Keyed(Box<TopicKeyedLog>),
}

/// The log of a keyed topic.
pub(crate) struct TopicKeyedLog {
    log: KeyedLog,
    /// Events up to this ID are of a topic of the same name that was removed.
    removed: LogId,
    /// `None` without a storage.
    safe: Option<Arc<SafeId>>,
}

/// The ID up to which a storage has events safe from a power failure.
#[derive(Debug, Default)]
pub(crate) struct SafeId(Mutex<LogId>);

impl SafeId {
    pub(crate) fn set(&self, id: LogId) {
        *lock(&self.0) = id;
    }

    pub(super) fn get(&self) -> LogId {
        *lock(&self.0)
    }
}

impl TopicKeyedLog {
    /// Wraps an empty log. Events up to the ID `removed` are of a topic of the same name that was
    /// removed.
    pub(super) const fn new(log: KeyedLog, removed: LogId, safe: Option<Arc<SafeId>>) -> Self {
        Self { log, removed, safe }
    }

    /// Lets removals be dropped once they are safe: a key that was removed must not come back.
    pub(super) fn release_removals(&mut self) {
        if let Some(safe) = &self.safe {
            self.log.keep_removals_after(safe.get());
        }
    }
}

impl Deref for TopicKeyedLog {
    type Target = KeyedLog;

    fn deref(&self) -> &KeyedLog {
        &self.log
    }
}

impl DerefMut for TopicKeyedLog {
    fn deref_mut(&mut self) -> &mut KeyedLog {
        &mut self.log
    }
}

impl From<Log> for TopicLog {
    fn from(log: Log) -> Self {
        Self::Ordinary(log)
    }
}

impl From<TopicKeyedLog> for TopicLog {
    fn from(log: TopicKeyedLog) -> Self {
        Self::Keyed(Box::new(log))
    }
}

/// Which log a topic has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogKind {
    Ordinary,
    Keyed,
}

/// What a reader of a keyed topic knows when it begins.
///
/// A reader that begins with the first key has an earlier position than removals which were
/// dropped before, and has missed none of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since(pub(crate) LogId);

impl TopicLog {
    /// Creates an empty log for a topic of a hub, which has evicted events up to this ID.
    pub(super) fn new(
        kind: LogKind,
        config: &TopicConfig,
        evicted: LogId,
        safe: Option<&Arc<SafeId>>,
    ) -> Self {
        match kind {
            LogKind::Ordinary => Self::Ordinary(Log::of_hub(config.retention, evicted)),
            LogKind::Keyed => {
                let log = KeyedLog::new(config.keyed, evicted);
                TopicKeyedLog::new(log, evicted, safe.cloned()).into()
            }
        }
    }

    pub(crate) const fn is_keyed(&self) -> bool {
        matches!(self, Self::Keyed(_))
    }

    /// Returns the log of a topic that is not keyed.
    pub(crate) fn ordinary(&mut self) -> Option<&mut Log> {
        match self {
            Self::Ordinary(log) => Some(log),
            Self::Keyed(_) => None,
        }
    }

    /// Packs the log, which is at rest; see [`Log::pack`].
    pub(crate) fn pack(&mut self) {
        if let Self::Ordinary(log) = self {
            log.pack();
        }
    }

    #[inline]
    pub(crate) fn unpack(&mut self) {
        if let Self::Ordinary(log) = self
            && log.is_packed()
        {
            log.unpack();
        }
    }

    #[cfg(test)]
    pub(crate) const fn is_packed(&self) -> bool {
        matches!(self, Self::Ordinary(log) if log.is_packed())
    }

    /// Returns the first events in `range` that lie together.
    pub(crate) fn slice(&mut self, range: Range<Cursor>) -> Result<Option<Slice>, Lagged> {
        match self {
            Self::Ordinary(log) => log.slice(range),
            Self::Keyed(log) => Ok(log.slice(range)),
        }
    }

    /// Returns the first events between two IDs that lie together, with their keys if the log is
    /// keyed.
    pub(crate) fn keyed_slice_between(
        &mut self,
        after: LogId,
        until: LogId,
    ) -> Result<Option<KeyedSlice>, Lagged> {
        match self {
            Self::Ordinary(log) => {
                let events = log.slice_between(after, until)?;
                let keys = Vec::new();
                Ok(events.map(|events| KeyedSlice { events, keys }))
            }
            Self::Keyed(log) => Ok(log.keyed_slice_between(after, until)),
        }
    }

    /// Returns the first events between two IDs that lie together.
    pub(crate) fn slice_between(
        &mut self,
        after: LogId,
        until: LogId,
    ) -> Result<Option<Slice>, Lagged> {
        match self {
            Self::Ordinary(log) => log.slice_between(after, until),
            Self::Keyed(log) => Ok(log.slice_between(after, until)),
        }
    }

    /// Like [`slice`](Self::slice), for a reader that may have missed removals.
    pub(crate) fn read(
        &mut self,
        range: Range<Cursor>,
        since: Since,
    ) -> Result<Option<Slice>, Lagged> {
        match self {
            Self::Keyed(log) if since.0 < log.evicted() && range.start < log.evicted_end() => {
                Err(BEGINS_ANEW)
            }
            _ => self.slice(range),
        }
    }

    /// Like [`slice_between`](Self::slice_between), for a reader that may have missed removals.
    pub(crate) fn read_between(
        &mut self,
        after: LogId,
        until: LogId,
        since: Since,
    ) -> Result<Option<Slice>, Lagged> {
        match self {
            Self::Keyed(log) if after.max(since.0) < log.evicted() => Err(BEGINS_ANEW),
            _ => self.slice_between(after, until),
        }
    }

    /// Returns the ID after which a reader that has lagged continues.
    pub(crate) fn begin_id(&self) -> LogId {
        match self {
            Self::Ordinary(log) => log.evicted(),
            Self::Keyed(_) => LogId::default(),
        }
    }

    /// Returns what a reader that starts now has received.
    pub(crate) fn since(&self) -> Since {
        match self {
            Self::Ordinary(_) => Since::default(),
            Self::Keyed(log) => Since(log.evicted()),
        }
    }

    pub(crate) fn begin(&self) -> Cursor {
        match self {
            Self::Ordinary(log) => log.begin(),
            Self::Keyed(_) => Cursor::default(),
        }
    }

    pub(crate) fn end(&self) -> Cursor {
        match self {
            Self::Ordinary(log) => log.end(),
            Self::Keyed(log) => log.end(),
        }
    }

    pub(crate) fn tip(&self) -> Cursor {
        match self {
            Self::Ordinary(log) => log.tip(),
            Self::Keyed(log) => log.tip(),
        }
    }

    pub(crate) fn newest_id(&self) -> LogId {
        match self {
            Self::Ordinary(log) => log.newest_id(),
            Self::Keyed(log) => log.newest_id(),
        }
    }

    pub(crate) fn after(&self, id: LogId) -> Cursor {
        match self {
            Self::Ordinary(log) => log.after(id),
            Self::Keyed(log) => log.after(id).min(log.end()),
        }
    }

    /// Returns an ID with which a client of a topic that stands alone resumes at the cursor.
    pub(crate) fn position_id(&mut self, cursor: Cursor, now: Now) -> Option<EventId<'static>> {
        self.ordinary()?.position_id(cursor, now)
    }

    pub(crate) fn next_event_id(&mut self, cursor: Cursor) -> Option<EventId<'static>> {
        match self {
            Self::Ordinary(log) => log.next_event_id(cursor),
            Self::Keyed(log) => {
                let next = log.slice(cursor..Cursor::MAX)?;
                Some(next.first_id().into())
            }
        }
    }

    /// Returns the wire bytes of the events that are not superseded.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Ordinary(log) => log.begin().distance(log.tip()),
            Self::Keyed(log) => log.bytes_until(LogId::MAX),
        }
    }

    /// Returns the wire bytes of those up to an ID.
    pub(crate) fn bytes_until(&self, id: LogId) -> usize {
        match self {
            Self::Ordinary(log) => log.begin().distance(log.after(id)),
            Self::Keyed(log) => log.bytes_until(id),
        }
    }

    /// Returns the bytes of the keys.
    pub(crate) fn key_bytes(&self) -> usize {
        match self {
            Self::Ordinary(_) => 0,
            Self::Keyed(log) => log.bytes().saturating_sub(self.bytes()),
        }
    }

    /// Returns the number of events, or of keys with a value.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ordinary(log) => log.len(),
            Self::Keyed(log) => log.len(),
        }
    }

    /// Returns the greatest evicted ID, in a keyed log that of a dropped removal.
    pub(crate) fn evicted(&self) -> LogId {
        match self {
            Self::Ordinary(log) => log.evicted(),
            Self::Keyed(log) => log.evicted(),
        }
    }

    /// Returns up to where events are of a topic of the same name that was removed, if the log is
    /// keyed.
    pub(crate) fn removed(&self) -> Option<LogId> {
        match self {
            Self::Ordinary(_) => None,
            Self::Keyed(log) => Some(log.removed),
        }
    }

    /// Returns the epochs of a topic that stands alone.
    pub(crate) fn epochs(&self) -> Option<&Epochs> {
        match self {
            Self::Ordinary(log) => log.epochs(),
            Self::Keyed(_) => None,
        }
    }

    /// Holds back the events after a cursor, or none with `None`.
    pub(crate) fn hold(&mut self, after: Option<Cursor>) {
        match self {
            Self::Ordinary(log) => log.hold(after),
            Self::Keyed(log) => {
                let after = after.map(|after| log.id_before(after));
                log.hold(after);
            }
        }
    }

    pub(crate) fn hold_after(&mut self, id: LogId) {
        match self {
            Self::Ordinary(log) => log.hold_after(id),
            Self::Keyed(log) => log.hold(Some(id)),
        }
    }

    /// Lets some of the events that have become visible supersede others; see
    /// [`KeyedLog::settle`].
    pub(crate) fn settle(&mut self) -> Option<Evicted> {
        match self {
            Self::Ordinary(_) => None,
            Self::Keyed(log) => log.settle(),
        }
    }

    pub(crate) fn evict(&mut self, now: Now) -> Evicted {
        match self {
            Self::Ordinary(log) => log.evict(now),
            Self::Keyed(log) => {
                log.release_removals();
                log.evict(now)
            }
        }
    }

    pub(crate) fn has_expired(&self, now: Now) -> bool {
        match self {
            Self::Ordinary(log) => log.has_expired(now),
            Self::Keyed(log) => log.has_expired(now),
        }
    }
}

/// The error of a reader that has missed removals.
const BEGINS_ANEW: Lagged = Lagged {
    begin: Cursor::START,
};
