//! Requests that the application decides on.

use std::borrow::Cow;
use std::fmt;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::connection::{ShutDown, finish};
use super::{UpgradeError, Upgrader};
use crate::event::EventId;
use crate::http::head::Head;
use crate::http::response::{Rejection, Reply, Response};
use crate::stream::{Outbox, Stream};

/// A request that the application accepts, rejects or responds to.
///
/// ```
/// use std::io::{Read, Write};
///
/// use sse_core::{Rejection, UpgradeError, Upgrader};
///
/// /// `POST` has to be among the methods of [`Upgrader::allow_methods`].
/// fn serve<C: Read + Write>(upgrader: &Upgrader, conn: C) -> Result<(), UpgradeError> {
///     let request = upgrader.read(conn)?;
///     match (request.path(), request.method()) {
///         ("/ticks", _) => request.accept()?.write_str("tick")?,
///         ("/ask", "POST") => {
///             let (request, question) = request.read_body(64 << 10)?;
///             request.accept()?.write_bytes(&question)?;
///         }
///         ("/ask", _) => request.reject(Rejection::method_not_allowed("POST"))?,
///         _ => request.reject(Rejection::NOT_FOUND)?,
///     }
///     Ok(())
/// }
/// # let _ = serve::<std::net::TcpStream>;
/// ```
pub struct Request<C> {
    pub(super) upgrader: Upgrader,
    pub(super) head: Head,
    /// The bytes after the head that have been read, without those of a body that was read.
    pub(super) rest: Vec<u8>,
    pub(super) is_body_read: bool,
    /// Whether the peer sends no body now: it waits for "100 Continue", or has stalled.
    pub(super) is_body_held: bool,
    pub(super) is_accept_ignored: bool,
    /// Set by `accepts_event_stream`: the response then has `Vary: Accept`.
    pub(super) is_accept_asked: AtomicBool,
    pub(super) shut_down: Option<ShutDown<C>>,
    pub(super) conn: C,
}

impl<C> Request<C> {
    /// Returns the request head.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the method: `GET`, `HEAD` or another that is
    /// [allowed](Upgrader::allow_methods).
    pub fn method(&self) -> &str {
        self.head.method()
    }

    /// Returns the path, still percent-encoded; see [`Head::path`].
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// Returns the query, still percent-encoded; see [`Head::query`].
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// Returns the first header of this name; see [`Head::header`].
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    /// Returns the first header of this name as text; see [`Head::header_text`].
    pub fn header_text(&self, name: &str) -> Option<&str> {
        self.head.header_text(name)
    }

    /// Returns a value of the query, decoded; see [`Head::query_value`].
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.head.query_value(name)
    }

    /// Returns the value of a cookie; see [`Head::cookie`].
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.head.cookie(name)
    }

    /// Returns whether `Accept` allows event streams; see [`Head::accepts_event_stream`].
    ///
    /// The response then has `Vary: Accept`, so that no cache sends it to other clients.
    pub fn accepts_event_stream(&self) -> bool {
        self.is_accept_asked.store(true, Relaxed);
        self.head.accepts_event_stream()
    }

    /// Lets [`accept`](Self::accept) stream whatever `Accept` says.
    #[must_use]
    pub fn ignore_accept(mut self) -> Self {
        self.is_accept_ignored = true;
        self
    }

    /// Returns the ID of the last event that the client has received.
    ///
    /// See [`Head::last_event_id`].
    pub fn last_event_id(&self) -> Option<EventId<'_>> {
        self.head.last_event_id()
    }

    /// Returns the connection.
    pub const fn conn(&self) -> &C {
        &self.conn
    }

    /// Returns the head and the connection, for a response of the caller's own.
    pub fn into_parts(self) -> (Head, C) {
        (self.head, self.conn)
    }
}

impl<C: Read + Write> Request<C> {
    /// Accepts the request: writes the response head, flushes, and returns the stream.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Rejected`] for a request that [`Upgrader::accept`] refuses and
    /// [`UpgradeError::Answered`] for `HEAD`; the response has been sent.
    /// [`UpgradeError::Io`] when the connection fails.
    pub fn accept(self) -> Result<Stream<C>, UpgradeError> {
        let accepting = if self.is_accept_ignored {
            self.upgrader.accept_any(&self.head)
        } else {
            self.upgrader.accept(&self.head)
        };
        let accepting = match accepting {
            Ok(accepting) => accepting,
            Err(rejection) => return Err(self.refuse(rejection)),
        };
        if self.head.method() == "HEAD" {
            self.respond(accepting)?;
            return Err(UpgradeError::Answered);
        }
        let mut outbox = Outbox::new();
        outbox.push_raw(&self.reply(accepting).encode());
        let mut stream = Stream::with_outbox(self.conn, outbox);
        stream.flush()?;
        Ok(stream)
    }

    /// Refuses the request.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Io`] when the connection fails.
    pub fn reject(self, rejection: Rejection) -> Result<(), UpgradeError> {
        self.respond(rejection)
    }

    /// Sends a response other than a stream. For `HEAD` the body is left out.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Io`] when the connection fails.
    pub fn respond(mut self, response: impl Into<Response>) -> Result<(), UpgradeError> {
        let reply = self.reply(response);
        let is_sending = self.is_sending();
        finish(&mut self.conn, &reply, self.shut_down, is_sending)?;
        Ok(())
    }

    /// Refuses the request and returns the error.
    pub(super) fn refuse(self, rejection: Rejection) -> UpgradeError {
        let _ = self.respond(rejection.clone());
        rejection.into()
    }

    /// Returns whether the peer is sending, as far as is known.
    fn is_sending(&self) -> bool {
        let is_body_coming = self.head.has_body() && !self.is_body_read && !self.is_body_held;
        is_body_coming || !self.rest.is_empty()
    }

    fn reply(&self, response: impl Into<Response>) -> Reply {
        let mut response = response.into();
        if self.is_accept_asked.load(Relaxed) {
            response = response.vary_by_accept();
        }
        let now = self.upgrader.now();
        self.upgrader.reply(response, Some(&self.head), now)
    }
}

impl<C> fmt::Debug for Request<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}
