//! What is going on, in numbers.

#[cfg(feature = "http")]
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use sse_core::{EventId, Resume};

#[cfg(feature = "http")]
use crate::server::unwind::Panicked;

/// Why a stream ended, or a request was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disconnect {
    /// The client left, or its connection broke.
    Gone,
    /// It took nothing for the length of the write timeout.
    WriteTimeout,
    /// It fell behind what its topic keeps.
    FellBehind,
    /// It reached the maximum age.
    MaxAge,
    /// Nothing more was to come: its topic was finished, its per-client stream's future was
    /// done, or its answer was no stream.
    Finished,
    /// The server drained or stopped.
    Drained,
    /// The future of its per-client stream returned an error of its own.
    HandlerFailed,
    /// The handler, or the future of its per-client stream, panicked.
    HandlerPanicked,
    /// The handler took longer than [`handler_timeout`](crate::Config::handler_timeout).
    HandlerTimedOut,
    /// It sent more after its request head than [`max_input`](crate::Config::max_input).
    UnexpectedInput,
    /// Its transport panicked.
    Panicked,
}

impl Disconnect {
    const COUNT: usize = Self::Panicked as usize + 1;

    /// Why a per-client stream ended whose future returned this, with its client still there.
    #[cfg(feature = "http")]
    pub(crate) fn of(written: &io::Result<()>) -> Self {
        match written {
            Ok(()) => Self::Finished,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Self::WriteTimeout,
            Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(Panicked) => Self::HandlerPanicked,
                None => Self::HandlerFailed,
            },
        }
    }
}

/// A server's counters at one moment. Those of the past count from its start.
///
/// A counter costs an atomic addition where it counts, and a snapshot some loads: take one as
/// often as you like. The counters are read one after the other, so they may be apart by what
/// happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Connections that are open, those among them that do not stream, or do not yet.
    pub connections: usize,
    /// The furthest that a client that follows a topic is behind it, in bytes, as of the last
    /// quarter of a second.
    pub furthest_lag: usize,
    /// Connections that were refused because there was no room.
    pub refused: u64,
    /// Errors of listeners, such as too many open files.
    pub accept_errors: u64,
    /// Panics of listeners, which have been asked for the next connection all the same.
    pub accept_panics: u64,
    /// Clients that resumed by their last event ID and had missed nothing.
    pub resumed: u64,
    /// Gaps that clients were told of: those who resumed too late, and those who skipped
    /// ahead.
    pub gaps: u64,
    /// Clients whose last event ID their topic did not know, which they were told.
    pub unknown_ids: u64,
    /// Events that were written in full or in part, each as often as there were clients.
    pub events: u64,
    /// Bytes that were written to clients who follow topics.
    pub bytes: u64,
    /// Heartbeats that were written to clients who follow topics.
    pub heartbeats: u64,
    /// Streams that ended, and handlers that were dropped, because the client left.
    pub gone: u64,
    /// Streams that ended at the write timeout.
    pub write_timeouts: u64,
    /// Streams that ended because they fell behind.
    pub fell_behind: u64,
    /// Streams that ended at their maximum age.
    pub max_age: u64,
    /// Streams that ended because nothing more was to come.
    pub finished: u64,
    /// Streams that were drained.
    pub drained: u64,
    /// Per-client streams whose future returned an error of its own.
    pub handler_failures: u64,
    /// Handlers, and futures of per-client streams, that panicked.
    pub handler_panics: u64,
    /// Handlers that took too long, so that the client got 503.
    pub handler_timeouts: u64,
    /// Clients that were cut because they sent too much after their request head.
    pub unexpected_input: u64,
    /// Connections that ended because their transport panicked.
    pub panics: u64,
    /// IDs of foreign events that clients could not have sent back, and that were left out; of
    /// the whole process. See [`EventId::foreign`](sse_core::EventId::foreign).
    pub dropped_ids: u64,
}

/// The counters behind a [`Snapshot`].
#[derive(Debug, Default)]
pub(crate) struct Stats {
    refused: AtomicU64,
    accept_errors: AtomicU64,
    accept_panics: AtomicU64,
    resumed: AtomicU64,
    gaps: AtomicU64,
    unknown_ids: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    heartbeats: AtomicU64,
    disconnects: [AtomicU64; Disconnect::COUNT],
    /// One for each shard.
    lags: Mutex<Vec<Arc<AtomicUsize>>>,
}

impl Stats {
    pub(crate) fn snapshot(&self, connections: usize) -> Snapshot {
        let ended = |reason: Disconnect| self.disconnects[reason as usize].load(Relaxed);
        let lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        let furthest_lag = lags.iter().map(|lag| lag.load(Relaxed)).max();
        Snapshot {
            connections,
            furthest_lag: furthest_lag.unwrap_or_default(),
            refused: self.refused.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            accept_panics: self.accept_panics.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
            unknown_ids: self.unknown_ids.load(Relaxed),
            events: self.events.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            heartbeats: self.heartbeats.load(Relaxed),
            gone: ended(Disconnect::Gone),
            write_timeouts: ended(Disconnect::WriteTimeout),
            fell_behind: ended(Disconnect::FellBehind),
            max_age: ended(Disconnect::MaxAge),
            finished: ended(Disconnect::Finished),
            drained: ended(Disconnect::Drained),
            handler_failures: ended(Disconnect::HandlerFailed),
            handler_panics: ended(Disconnect::HandlerPanicked),
            handler_timeouts: ended(Disconnect::HandlerTimedOut),
            unexpected_input: ended(Disconnect::UnexpectedInput),
            panics: ended(Disconnect::Panicked),
            dropped_ids: EventId::dropped(),
        }
    }

    /// Where a shard says how far its clients are behind.
    pub(crate) fn lag(&self) -> Arc<AtomicUsize> {
        let lag = Arc::default();
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        lags.push(Arc::clone(&lag));
        lag
    }

    pub(crate) fn add_resume(&self, resume: Resume) {
        match resume {
            Resume::New => return,
            Resume::Resumed(_) => &self.resumed,
            Resume::Gap(_) => &self.gaps,
            Resume::Unknown => &self.unknown_ids,
        }
        .fetch_add(1, Relaxed);
    }

    pub(crate) fn add_events(&self, count: usize) {
        self.events.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn add_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_accept_error(&self) {
        self.accept_errors.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_accept_panic(&self) {
        self.accept_panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_bytes(&self, count: usize) {
        self.bytes.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn add_heartbeat(&self) {
        self.heartbeats.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_gap(&self) {
        self.gaps.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_disconnect(&self, reason: Disconnect) {
        self.disconnects[reason as usize].fetch_add(1, Relaxed);
    }
}
