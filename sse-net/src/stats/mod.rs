//! Counters, and the reasons of disconnects.

#[cfg(feature = "metrics")]
mod facade;
mod metric;
mod prometheus;
mod topics;

#[cfg(feature = "http")]
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use sse_core::{EventId, Resume};

#[cfg(feature = "http")]
use crate::unwind::Panicked;

#[cfg(feature = "redis")]
pub(crate) use metric::{Metric, metric};
#[cfg(feature = "redis")]
pub(crate) use prometheus::push_sample;
pub use topics::{HubSnapshot, TopicSnapshot};
pub(crate) use topics::{Meter, Meters};

/// The reason for which a stream or a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Disconnect {
    /// The client disconnected, or its connection broke.
    ClientClosed,
    /// The client accepted no byte within the [write timeout](crate::Config::write_timeout).
    WriteTimeout,
    /// The client's next event was evicted before it could be written, or an engine has lost
    /// events that the client may have received.
    Lagged,
    /// The stream reached the [maximum age](crate::Config::max_age).
    MaxAge,
    /// The time of [`until`](crate::Answer::until) has passed or its future has resolved, or the
    /// stream has waited too long for its engine.
    Expired,
    /// The stream is complete: its topic was finished, or its future resolved. Also the end of
    /// a response that is not a stream.
    Finished,
    /// The server drained or stopped.
    Drained,
    /// The future of a per-client stream resolved to an error of the application.
    HandlerFailed,
    /// The handler, the future of a per-client stream or that of `until` panicked.
    HandlerPanicked,
    /// The handler took longer than [`handler_timeout`](crate::Config::handler_timeout).
    HandlerTimedOut,
    /// The client sent more than [`max_input`](crate::Config::max_input) after its request.
    UnexpectedInput,
    /// The transport panicked.
    Panicked,
}

impl Disconnect {
    const COUNT: usize = Self::Panicked as usize + 1;

    /// Returns whether the server ended the stream, after writing all that was due.
    pub(crate) const fn is_orderly(self) -> bool {
        matches!(
            self,
            Self::Finished | Self::Drained | Self::Expired | Self::MaxAge | Self::Lagged
        )
    }

    /// Returns the reason for which a stream ended whose future resolved to `written`.
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

/// The counters of a server at one time, most of them since its start.
///
/// A snapshot costs some atomic loads, and each count an atomic addition. The counters are read
/// one after the other, so events that are counted meanwhile may be missing in some of them.
/// [`to_prometheus`](Self::to_prometheus) returns them as text for Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Open connections, including those that are not streaming yet.
    pub connections: usize,
    /// The largest backlog of any client of a topic, in bytes, sampled every 250 ms.
    pub furthest_lag: usize,
    /// Connections that listeners have accepted, including those that were refused.
    pub accepted: u64,
    /// Connections that were refused at a limit of connections.
    pub refused: u64,
    /// Connections whose handshake, such as that of TLS, failed or took too long.
    pub handshake_errors: u64,
    /// Errors of listeners, such as too many open files.
    pub accept_errors: u64,
    /// Panics of listeners, which are then called again.
    pub accept_panics: u64,
    /// Clients that followed topics without a last event ID.
    pub joined: u64,
    /// Clients that resumed without a gap.
    pub resumed: u64,
    /// Gap events sent to clients that resumed too late or skipped ahead.
    pub gaps: u64,
    /// Gap events sent to clients whose last event ID was unknown.
    pub unknown_ids: u64,
    /// Events written to clients of topics, in full or in part; each counts once per client.
    pub events: u64,
    /// Bytes written to clients of topics.
    pub bytes: u64,
    /// Heartbeats written to clients.
    pub heartbeats: u64,
    /// Streams and handlers that ended because the client disconnected.
    pub client_closed: u64,
    /// Streams that ended at the write timeout.
    pub write_timeouts: u64,
    /// Streams that ended because the next event had been evicted.
    pub lagged: u64,
    /// Streams that ended at their maximum age.
    pub max_age: u64,
    /// Streams that ended as [`Disconnect::Expired`].
    pub expired: u64,
    /// Streams that were complete.
    pub finished: u64,
    /// Streams that were drained.
    pub drained: u64,
    /// Per-client streams whose future resolved to an error of the application.
    pub handler_failures: u64,
    /// Handlers and futures of per-client streams that panicked.
    pub handler_panics: u64,
    /// Handlers that reached their time limit, so that the client got 503.
    pub handler_timeouts: u64,
    /// Clients that were disconnected because they sent too much after their request.
    pub unexpected_input: u64,
    /// Connections that ended because their transport panicked.
    pub panics: u64,
    /// IDs of foreign events that were dropped because clients cannot send them back.
    ///
    /// Counts the whole process. See [`EventId::foreign`](sse_core::EventId::foreign).
    pub dropped_ids: u64,
}

/// The counters behind a [`Snapshot`].
#[derive(Debug, Default)]
pub(crate) struct Stats {
    accepted: AtomicU64,
    refused: AtomicU64,
    handshake_errors: AtomicU64,
    accept_errors: AtomicU64,
    accept_panics: AtomicU64,
    joined: AtomicU64,
    resumed: AtomicU64,
    gaps: AtomicU64,
    unknown_ids: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    heartbeats: AtomicU64,
    disconnects: [AtomicU64; Disconnect::COUNT],
    /// The largest backlog of each shard.
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
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            handshake_errors: self.handshake_errors.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            accept_panics: self.accept_panics.load(Relaxed),
            joined: self.joined.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            gaps: self.gaps.load(Relaxed),
            unknown_ids: self.unknown_ids.load(Relaxed),
            events: self.events.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            heartbeats: self.heartbeats.load(Relaxed),
            client_closed: ended(Disconnect::ClientClosed),
            write_timeouts: ended(Disconnect::WriteTimeout),
            lagged: ended(Disconnect::Lagged),
            max_age: ended(Disconnect::MaxAge),
            expired: ended(Disconnect::Expired),
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

    /// Returns a new gauge for the largest backlog of a shard.
    pub(crate) fn lag(&self) -> Arc<AtomicUsize> {
        let lag = Arc::default();
        let mut lags = self.lags.lock().unwrap_or_else(PoisonError::into_inner);
        lags.push(Arc::clone(&lag));
        lag
    }

    pub(crate) fn add_resume(&self, resume: Resume) {
        match resume {
            Resume::New => &self.joined,
            Resume::Resumed => &self.resumed,
            Resume::Gap => &self.gaps,
            Resume::Unknown => &self.unknown_ids,
        }
        .fetch_add(1, Relaxed);
    }

    pub(crate) fn add_events(&self, count: usize) {
        self.events.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn add_accepted(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_handshake_error(&self) {
        self.handshake_errors.fetch_add(1, Relaxed);
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
