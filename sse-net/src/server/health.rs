//! The readiness and the liveness of a server.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use sse_core::Response;

use crate::shard::Liveness;

/// Whether a server can take another client.
///
/// It converts into a [`Response`] for the probe of a load balancer: 200, or 503 with the
/// sentence that it is displayed as.
///
/// ```
/// use sse_net::{Answer, Request, Response};
///
/// async fn probe(request: Request) -> Answer {
///     match request.path() {
///         "/readyz" => {
///             let readiness = request.readiness();
///             request.respond(readiness)
///         }
///         // A process whose tasks have ended is restarted.
///         _ if request.is_live() => request.respond(Response::new(200)),
///         _ => request.respond(Response::new(503)),
///     }
/// }
/// # let _ = probe;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// The server can take another client.
    Ready,
    /// It has as many connections as [`Config::max_connections`](crate::Config::max_connections)
    /// allows.
    Full,
    /// A drain has been [announced](crate::ServerHandle::announce_drain) or begun.
    Draining,
    /// No listener accepts connections, or a task of the server has ended by a panic.
    Dead,
}

impl Readiness {
    /// Returns whether the server can take another client.
    #[must_use]
    pub fn is_ready(self) -> bool {
        self == Self::Ready
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ready => "the server is ready",
            Self::Full => "the server has its maximum number of connections; connect to another",
            Self::Draining => "the server drains; connect to another",
            Self::Dead => "a task of the server has ended; restart it",
        })
    }
}

impl From<Readiness> for Response {
    fn from(readiness: Readiness) -> Self {
        let status = if readiness.is_ready() { 200 } else { 503 };
        Self::new(status).with_body("text/plain", format!("{readiness}\n"))
    }
}

/// The state from which the readiness of a server is judged.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The tasks that accept connections.
    acceptors: AtomicUsize,
    shards: Vec<Liveness>,
    is_draining: AtomicBool,
}

impl Health {
    pub(super) fn new(shards: Vec<Liveness>) -> Self {
        Self {
            shards,
            ..Self::default()
        }
    }

    pub(super) fn announce_drain(&self) {
        self.is_draining.store(true, Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Relaxed)
    }

    /// Returns whether the tasks run. A server that drains accepts no more.
    pub(super) fn is_live(&self) -> bool {
        let accepts = self.acceptors.load(Relaxed) > 0 || self.is_draining();
        accepts && self.shards.iter().all(Liveness::is_live)
    }

    pub(super) fn count_acceptor(&self) {
        self.acceptors.fetch_add(1, Relaxed);
    }

    pub(super) fn uncount_acceptor(&self) {
        self.acceptors.fetch_sub(1, Relaxed);
    }
}
