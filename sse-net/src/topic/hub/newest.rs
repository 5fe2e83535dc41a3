//! The newest ID of a topic, which readers see without a lock.

use sse_core::LogId;

use crate::sync::{AtomicU64, Ordering};

/// The ID of the newest event that a hub has assigned to a topic, or of the last change of a
/// stream's topics.
///
/// It is stored while the hub's lock is held. So a reader first locks the hub, or reads an event of
/// it. If this ID is then not later than a position, the topic has no event between that position
/// and what the reader has seen of the hub, and the reader need not lock the topic.
///
/// An ID has two words, and a reader may see one of each: the writer stores the milliseconds
/// first, and the reader loads them last. What it sees is the ID that was stored or a later one,
/// which costs it a look at the log, and never an earlier one.
#[derive(Debug)]
pub(crate) struct NewestId {
    millis: AtomicU64,
    sequence: AtomicU64,
}

impl NewestId {
    pub(crate) fn new(id: LogId) -> Self {
        Self {
            millis: AtomicU64::new(id.millis()),
            sequence: AtomicU64::new(id.sequence()),
        }
    }

    /// Stores a later ID.
    pub(crate) fn store(&self, id: LogId) {
        self.millis.store(id.millis(), Ordering::Relaxed);
        self.sequence.store(id.sequence(), Ordering::Release);
    }

    /// Returns the ID or a later one.
    pub(crate) fn load(&self) -> LogId {
        let sequence = self.sequence.load(Ordering::Acquire);
        LogId::new(self.millis.load(Ordering::Relaxed), sequence)
    }
}
