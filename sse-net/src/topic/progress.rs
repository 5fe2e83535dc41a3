//! How far the events of a topic have been stored, for a topic that stores them.
//!
//! The topic knows no journal: a storage holds the log's end back until events are written,
//! and keeps its progress here, under the topic's lock.

use sse_core::Cursor;

/// A storage that events are written to before subscribers see them.
pub(crate) trait Storage: Send + Sync {
    /// Waits until the events between the cursors are stored, if publishing has to wait for
    /// that. Returns `false` if storing failed.
    fn wait_stored(&self, start: Cursor, end: Cursor) -> bool;

    /// Waits until all published events are stored. Returns `false` if storing failed.
    fn flush(&self) -> bool;
}

/// The progress of a storage's writer, under the topic's lock.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Everything before has been written or missed.
    pub(crate) written: Cursor,
    /// Everything before is on disk, or has been missed.
    pub(crate) synced: Cursor,
    /// The end of the last events that were missed.
    pub(crate) missed: Cursor,
    /// Up to where a caller waits for a sync.
    pub(crate) wanted: Option<Cursor>,
    /// Up to where such a sync failed.
    pub(crate) unsynced: Option<Cursor>,
    /// The number of segments and their bytes.
    pub(crate) size: (usize, u64),
    /// Whether every event is written at once.
    pub(crate) is_urgent: bool,
    /// The most bytes that are left unwritten while no subscriber waits.
    pub(crate) max_unwritten: usize,
    pub(crate) is_failing: bool,
    pub(crate) is_closing: bool,
    pub(crate) wait: Wait,
}

/// What wakes the writer, besides a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Nothing: it is running, or the timer is short.
    Timer,
    /// A waiting subscriber, or many unwritten bytes.
    Reader,
    /// Any event.
    Event,
}

impl Progress {
    pub(crate) fn new(
        cursor: Cursor,
        size: (usize, u64),
        is_urgent: bool,
        max_unwritten: usize,
    ) -> Self {
        Self {
            written: cursor,
            synced: cursor,
            missed: Cursor::default(),
            wanted: None,
            unsynced: None,
            size,
            is_urgent,
            max_unwritten,
            is_failing: false,
            is_closing: false,
            wait: Wait::Timer,
        }
    }

    /// Returns `true` if the writer has to be woken to write up to `tip`: once is enough.
    pub(crate) fn wakes(&mut self, tip: Cursor, has_waiting: bool) -> bool {
        let unwritten = self.written.distance(tip);
        let wakes = match self.wait {
            Wait::Timer => false,
            Wait::Reader => unwritten > 0 && has_waiting || unwritten >= self.max_unwritten,
            Wait::Event => unwritten > 0,
        };
        if wakes {
            self.wait = Wait::Timer;
        }
        wakes
    }

    /// Returns `true` if a caller waits until everything is written.
    pub(crate) const fn is_awaited(&self) -> bool {
        self.is_urgent || self.is_closing || self.wanted.is_some()
    }
}
