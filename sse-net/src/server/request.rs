//! A request, and the ways to answer it.

use std::any::Any;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sse_core::{Event, EventId, Head, Headers, MEDIA_TYPE, Rejection, Response, Upgrader};

use super::answer::{Answer, Kind, encode_response};
use super::body::Body;
use super::counters::Counters;
use super::health::Readiness;
use super::per_client::Writing;
use crate::config::{AtCapacity, jittered};
use crate::stats::Snapshot;
use crate::stream::Stream;
use crate::topic::StreamToken;
use crate::transport::{Extension, Peer};

/// A request with a valid head, which a [`Handler`](crate::Handler) answers.
///
/// ```
/// use sse_net::{Answer, Rejection, Request, Response, Start, Topic};
///
/// async fn handle(request: Request, feed: &Topic) -> Answer {
///     match (request.path(), request.query()) {
///         ("/feed", None) => request.follow(feed),
///         ("/feed", Some("history")) => request.follow_from(feed, Start::Last(100)),
///         ("/countdown", _) => request.stream(async |mut stream| {
///             for n in (0..3).rev() {
///                 stream.write_str(&n.to_string()).await?;
///             }
///             stream.close().await
///         }),
///         ("/health", _) => request.respond(Response::new(204)),
///         _ => request.reject(Rejection::NOT_FOUND),
///     }
/// }
/// # let _ = handle;
/// ```
#[derive(Debug)]
pub struct Request {
    pub(super) head: Arc<Head>,
    pub(super) body: Body,
    pub(super) peer: Peer,
    pub(super) upgrader: Upgrader,
    /// `None` if the stream has no reconnection time.
    pub(super) retry: Option<Duration>,
    pub(super) max_json: u64,
    pub(super) is_accept_ignored: bool,
    /// Set by `accepts_event_stream`: the answer then has `Vary: Accept`.
    pub(super) is_accept_asked: AtomicBool,
    pub(super) extensions: Vec<Extension>,
    /// The token of the stream, if its topics may change.
    pub(super) token: Option<StreamToken>,
    /// The headers of the answer.
    pub(super) headers: Headers,
    pub(super) counters: Arc<Counters>,
}

impl Request {
    /// Returns the request head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the method: `GET`, `HEAD` or another that is
    /// [allowed](Upgrader::allow_methods).
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.method()
    }

    /// Returns the path of the target, percent-encoded; see [`Head::path`].
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// Returns the query of the target, percent-encoded; see [`Head::query`].
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// Returns the first header of this name; see [`Head::header`].
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    /// Returns the first header of this name as text; see [`Head::header_text`].
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<&str> {
        self.head.header_text(name)
    }

    /// Returns a value of the query, decoded; see [`Head::query_value`].
    #[must_use]
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        self.head.query_value(name)
    }

    /// Returns the value of a cookie; see [`Head::cookie`].
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.head.cookie(name)
    }

    /// Returns whether `Accept` allows event streams; if not, respond with something else.
    ///
    /// The answer then has `Vary: Accept`, so that no cache sends it to clients that accept
    /// something else.
    ///
    /// ```
    /// use sse_net::{Answer, Request, Response, Topic};
    ///
    /// async fn price(request: Request, prices: &Topic) -> Answer {
    ///     if request.accepts_event_stream() {
    ///         request.follow(prices)
    ///     } else {
    ///         request.respond(Response::new(200).with_body("application/json", "{\"eur\":1.07}"))
    ///     }
    /// }
    /// # let _ = price;
    /// ```
    #[must_use]
    pub fn accepts_event_stream(&self) -> bool {
        self.is_accept_asked.store(true, Relaxed);
        self.head.accepts_event_stream()
    }

    /// Lets the request have a stream whatever `Accept` says; otherwise the response is 406.
    ///
    /// Clients of model endpoints ask for `application/json` and expect events.
    #[must_use]
    pub fn ignore_accept(mut self) -> Self {
        self.is_accept_ignored = true;
        self
    }

    /// Leaves out the blocks with the reconnection time, at the start and at the end.
    ///
    /// Some clients take every block for an event and fail at one without data. On a topic this
    /// also leaves out the ID of the position, which the first block has.
    #[must_use]
    pub fn without_retry(mut self) -> Self {
        self.retry = None;
        self
    }

    /// Returns the client's last event ID; see [`Head::last_event_id`].
    #[must_use]
    pub fn last_event_id(&self) -> Option<EventId<'_>> {
        self.head.last_event_id()
    }

    /// Returns the address of the peer, which behind a proxy is the proxy's.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns the counters of the server, such as for a page of metrics.
    ///
    /// See [`Snapshot::to_prometheus`].
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.counters.snapshot()
    }

    /// Returns whether the server can take another client; see [`Readiness`].
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.counters.readiness()
    }

    /// Returns `true` while the tasks of the server run; see
    /// [`ServerHandle::is_live`](crate::ServerHandle::is_live).
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.counters.health.is_live()
    }

    /// Returns the `T` that a listener attached to the connection, if there is one.
    ///
    /// See [`Transport::with_extension`](crate::Transport::with_extension).
    #[must_use]
    pub fn extension<T: Any>(&self) -> Option<&T> {
        let mut latest_first = self.extensions.iter().rev();
        latest_first.find_map(|extension| extension.downcast_ref())
    }

    /// Sets headers of the answer, be it a stream or a response.
    ///
    /// Each replaces any of the same name, except `Set-Cookie`: an answer may set several
    /// cookies. Headers of all streams belong to the [`Upgrader`].
    ///
    /// ```
    /// use sse_net::{Answer, FieldError, Headers, Rejection, Request, Topic};
    ///
    /// fn session_cookie(session: &str) -> Result<Headers, FieldError> {
    ///     let cookie = format!("session={session}; Path=/; Secure; HttpOnly");
    ///     Headers::new().with("Set-Cookie", cookie)
    /// }
    ///
    /// fn follow(request: Request, feed: &Topic, session: &str) -> Answer {
    ///     match session_cookie(session) {
    ///         Ok(headers) => request.with_headers(headers).follow(feed),
    ///         Err(_) => request.reject(Rejection::BAD_REQUEST),
    ///     }
    /// }
    /// # let _ = follow;
    /// ```
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }

    /// Streams events to this client only, such as tokens of a model, with back-pressure.
    ///
    /// The future of `write` writes the stream, which ends when the future resolves. Browsers
    /// reconnect after that, unless the page closes its `EventSource` at the event of
    /// [`close`](Stream::close). An error ends this stream only, and is logged with the feature
    /// `tracing`; convert one of another type with [`io::Error::other`]. See [`Stream`] for an
    /// example.
    ///
    /// The future is dropped at its next `await` when the client disconnects, and heartbeats
    /// are sent while it waits. A call returns when at most 16 KiB are pending. During a
    /// [drain](crate::ServerHandle::drain), the stream continues until the end of the window.
    pub fn stream<F>(self, write: impl FnOnce(Stream) -> F) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.write(write, false)
    }

    /// Like [`stream`](Self::stream), but the future continues when the client disconnects.
    ///
    /// It runs in a separate task, for work that must be completed in any case. After the
    /// disconnect, [`Stream::closed`] returns and calls of the stream fail with
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe).
    pub fn stream_detached<F>(self, write: impl FnOnce(Stream) -> F) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.write(write, true)
    }

    /// Sends a response that is not a stream.
    pub fn respond(self, response: impl Into<Response>) -> Answer {
        self.answer(response)
    }

    /// Refuses the request.
    pub fn reject(self, rejection: Rejection) -> Answer {
        self.answer(rejection)
    }

    /// Answers an `OPTIONS` request.
    pub(super) fn answer_options(self) -> Answer {
        match self.upgrader.answer_options(&self.head) {
            Some(response) => self.answer(response),
            None => self.answer(Rejection::METHOD_NOT_ALLOWED),
        }
    }

    /// Answers a request beyond the limit of connections.
    ///
    /// The handler is not asked, so the path may be that of a page or of a probe.
    pub(super) fn refuse(self, at_capacity: AtCapacity) -> Answer {
        let is_stream = at_capacity.has_stream_for(self.method());
        if is_stream && self.head.asks_for_event_stream() {
            self.retry_later()
        } else {
            self.answer(Rejection::UNAVAILABLE)
        }
    }

    /// Returns a stream that ends at once, after its reconnection time.
    pub(super) fn retry_later(&self) -> Answer {
        match self.accept() {
            Ok(opening) => Answer::new(Kind::Respond(opening)),
            Err(answer) => answer,
        }
    }

    fn write<F>(self, write: impl FnOnce(Stream) -> F, is_detached: bool) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        match self.accept() {
            Ok(opening) => {
                let sends_retry = self.retry.is_some();
                let writing = Writing::new(opening, write, is_detached, sends_retry);
                Answer::new(Kind::Stream(writing))
            }
            Err(answer) => answer,
        }
    }

    /// Returns the bytes before the first event of a per-client stream, or an answer to a
    /// request that cannot have a stream.
    fn accept(&self) -> Result<Vec<u8>, Answer> {
        let mut bytes = self.response_head(self.accept_head()?)?;
        if let Some(retry) = self.retry {
            Event::new().retry(jittered(retry)).encode(&mut bytes);
        }
        Ok(bytes)
    }

    /// Returns the response that accepts the request, or the answer that refuses it.
    pub(super) fn accept_head(&self) -> Result<Response, Answer> {
        let accepting = if self.is_accept_ignored {
            self.upgrader.accept_any(&self.head)
        } else {
            self.upgrader.accept(&self.head)
        };
        let accepting = accepting.map_err(|rejection| self.answer(rejection))?;
        if self.retry.is_some() {
            Ok(accepting)
        } else {
            Ok(accepting.with_body(MEDIA_TYPE, "")) // without that of the upgrader
        }
    }

    /// Returns the response head of a stream, or the answer to a `HEAD` request.
    pub(super) fn response_head(&self, accepting: Response) -> Result<Vec<u8>, Answer> {
        if self.head.method() == "HEAD" {
            return Err(self.answer(accepting));
        }
        Ok(self.encode(accepting))
    }

    pub(super) fn answer(&self, response: impl Into<Response>) -> Answer {
        Answer::new(Kind::Respond(self.encode(response)))
    }

    /// Returns the wire form of a response, with the headers of the answer.
    fn encode(&self, response: impl Into<Response>) -> Vec<u8> {
        let mut response = response.into().with_headers(self.headers.clone());
        if self.is_accept_asked.load(Relaxed) {
            response = response.vary_by_accept();
        }
        encode_response(&self.upgrader, response, Some(&self.head))
    }
}
