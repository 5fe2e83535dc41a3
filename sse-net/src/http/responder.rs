//! Streams for the requests of an HTTP server.

use std::error::Error;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use futures_core::Stream as Events;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, Version};
use slab::Slab;
use sse_core::{Event, EventId, Head, Rejection, Response, UpgradeError};
use tokio::time::{Instant, timeout};

use super::body::{Body, Own, Source};
use crate::config::{AtCapacity, Config, jittered};
use crate::stats::{Disconnect, Snapshot, Stats};
use crate::stream::Stream;
use crate::stream::pipe::{PipeWriter, pipe};
use crate::topic::{Start, Subscription, Topic};
use crate::transport::limit::{Limit, Permit};
use crate::transport::on_end::OnEnd;
use crate::unwind::catch_async;

/// Answers the requests of an HTTP server, be that hyper, axum or another, with streams.
///
/// Requests are judged by the same code as those of a [`Server`](crate::Server), and answered
/// with the same headers; a refusal is a response too. `Date` and `Connection` are the HTTP
/// server's. What follows is a [`Body`]. Of the
/// [`Config`], what is about connections and request heads is the HTTP server's matter:
/// `head_timeout`, `handler_timeout`, `max_input`, `max_connections_per_address`, `shards` and
/// the sizes of heads have no effect here, and `max_connections` is how many streams there may be. `write_timeout` is
/// only that of what [`upgrade`](Self::upgrade) gives: an HTTP server does not ask a body for
/// more while its client takes nothing, so nothing grows, but it may wait for ever. A listener
/// of [`Tcp`](crate::Tcp) has the system give such connections up.
///
/// Cheap to clone; all clones are the same.
///
/// ```
/// use std::convert::Infallible;
/// use sse_core::Retention;
/// use sse_net::{Body, Config, Responder, Topic};
///
/// /// The service of a hyper server, which `service_fn` makes of this function.
/// async fn serve<B>(
///     responder: Responder,
///     ticks: Topic,
///     request: http::Request<B>,
/// ) -> Result<http::Response<Body>, Infallible> {
///     Ok(match request.uri().path() {
///         "/ticks" => responder.follow(&request, &ticks), // resumes from Last-Event-ID
///         "/ask" => responder.stream(&request, async |mut stream| {
///             stream.write_str("let me think").await?;
///             stream.close().await
///         }),
///         _ => responder.reject(&request, sse_core::Rejection::NOT_FOUND),
///     })
/// }
/// # let (responder, ticks) = (Responder::new(Config::default()), Topic::new(Retention::default()));
/// # drop(serve(responder, ticks, http::Request::new(())));
/// ```
#[derive(Debug, Clone)]
pub struct Responder(Arc<Office>);

impl Responder {
    /// A responder with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Office {
            limit: Limit::new(config.max_connections, usize::MAX, 128),
            heartbeat: config.heartbeat_form.encode().into(),
            stats: Stats::default(),
            wakers: Mutex::default(),
            drain: OnceLock::new(),
            config,
        }))
    }

    /// The process's own, with the default settings: that of [`upgrade_http`] and of
    /// [`Subscription::into_response`].
    #[must_use]
    pub fn global() -> &'static Self {
        static GLOBAL: LazyLock<Responder> = LazyLock::new(|| Responder::new(Config::default()));
        &GLOBAL
    }

    /// Lets the client follow `topic`, as [`Request::follow`](crate::Request::follow) does:
    /// from where it left off, or else from now on.
    #[must_use]
    pub fn follow<B>(&self, request: &Request<B>, topic: &Topic) -> http::Response<Body> {
        self.follow_from(request, topic, Start::Live)
    }

    /// Lets the client follow `topic`, as
    /// [`Request::follow_from`](crate::Request::follow_from) does: from where it left off,
    /// or else from `start`.
    #[must_use]
    pub fn follow_from<B>(
        &self,
        request: &Request<B>,
        topic: &Topic,
        start: Start,
    ) -> http::Response<Body> {
        let subscribe = |head: &Head| {
            let asked = head.last_event_id().map(EventId::into_owned);
            topic.subscribe_after(asked, start)
        };
        self.judge(request)
            .and_then(|head| self.follow_after(&head, subscribe))
            .unwrap_or_else(Into::into)
    }

    /// Gives the client a stream of its own, written by `write` with back-pressure, as
    /// [`Request::stream`](crate::Request::stream) does.
    ///
    /// The body drives the writer: when the client is gone, it is dropped, wherever it waits,
    /// and with it whatever it holds, such as a request to a model. There is no task to be
    /// cancelled, and no need to wait for [`Stream::closed`]. The body also sends the heartbeats.
    /// When the writer fails, so does the body, and the HTTP server breaks the response off.
    #[must_use]
    pub fn stream<B, F>(
        &self,
        request: &Request<B>,
        write: impl FnOnce(Stream<PipeWriter>) -> F,
    ) -> http::Response<Body>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let admitted = self.judge(request).and_then(|head| self.admit(&head));
        admitted.map_or_else(Into::into, |admission| {
            let (stream, mut own) = admission.office.own();
            let writing = catch_async("a per-client stream's future", write(stream));
            own.writer = Some(Box::pin(async {
                writing
                    .await
                    .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
            }));
            admission.write(own)
        })
    }

    /// Gives the client the events of `events`, a stream of them or of results: all that are
    /// ready, up to 16 KiB, in one piece. An error breaks the response off.
    ///
    /// When the events end, so does the response, after which browsers ask again: end with an
    /// event on which the page closes its `EventSource`.
    ///
    /// ```
    /// use futures_core::Stream;
    /// use sse_core::Event;
    /// use sse_net::{Body, Responder};
    ///
    /// fn follow<B>(
    ///     request: &http::Request<B>,
    ///     events: impl Stream<Item = Event<'static>> + Send + 'static,
    /// ) -> http::Response<Body> {
    ///     Responder::global().events(request, events)
    /// }
    /// ```
    #[must_use]
    pub fn events<B>(
        &self,
        request: &Request<B>,
        events: impl Events<Item: IntoEvent> + Send + 'static,
    ) -> http::Response<Body> {
        self.stream(request, async move |mut stream| {
            let mut events = pin!(events);
            let mut next = |cx: &mut Context<'_>| {
                let next = events.as_mut().poll_next(cx);
                next.map(|next| next.map(IntoEvent::into_event))
            };
            while let Some(event) = poll_fn(&mut next).await {
                stream.send(&event?).await?;
            }
            Ok(())
        })
    }

    /// Upgrades the request to a stream of the client's own, which may be written from
    /// anywhere while the HTTP server sends the response. When the client is gone, the stream's
    /// calls fail, and [`Stream::closed`] returns.
    ///
    /// # Errors
    ///
    /// The answer to a request that gets no stream, which is to be given instead.
    pub fn upgrade<B>(
        &self,
        request: &Request<B>,
    ) -> Result<(http::Response<Body>, Stream<PipeWriter>), Declined> {
        let admission = self.judge(request).and_then(|head| self.admit(&head))?;
        let (stream, own) = admission.office.own();
        Ok((admission.write(own), stream))
    }

    /// Answers with something else than a stream.
    #[must_use]
    pub fn respond<B>(
        &self,
        request: &Request<B>,
        response: impl Into<Response>,
    ) -> http::Response<Body> {
        let head = head(request).or_else(|_| salvage(request)).ok();
        self.reply(response, head.as_ref())
    }

    /// Refuses.
    #[must_use]
    pub fn reject<B>(&self, request: &Request<B>, rejection: Rejection) -> http::Response<Body> {
        self.respond(request, rejection)
    }

    /// What is going on. `connections` are streams here, and `furthest_lag` is not measured.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.0.stats.snapshot(self.0.limit.connections())
    }

    /// Ends every stream that follows a topic at a time of its own within `window`, asking the
    /// client to come back after a jittered time, and streams of one client's own at its end,
    /// unless they end by themselves. Who asks to follow a topic from now on is sent away at
    /// once in the same manner. There is no way back.
    ///
    /// Returns when all have ended, or a second after the window: a client that takes nothing
    /// is not told, and its connection is the HTTP server's matter.
    ///
    /// Servers that shut down gracefully, such as axum's, wait for their streams to end: drain
    /// first, or meanwhile.
    pub async fn drain(&self, window: Duration) {
        let since = Instant::now();
        let _ = self.0.drain.set(Drain { since, window });
        self.0.take_wakers().into_iter().for_each(Waker::wake);
        let hard_end = window.saturating_add(self.0.config.goodbye_timeout());
        let _ = timeout(hard_end, self.0.limit.idle()).await;
    }

    /// Answers with a subscription without looking at the request, for those who have looked
    /// themselves: nobody is refused but for want of room, and of the allowed origins only
    /// "any" has an effect. When there is nothing to follow any more, the answer is 204.
    #[must_use]
    pub fn respond_with(&self, subscription: Subscription) -> http::Response<Body> {
        Head::from_parts("GET", "/", None, [])
            .map_err(|rejection| self.decline(rejection, None))
            .and_then(|head| self.follow_after(&head, |_| subscription))
            .unwrap_or_else(Into::into)
    }

    /// Holds a request to all that those for streams are held to.
    fn judge<B>(&self, request: &Request<B>) -> Result<Head, Declined> {
        let head = head(request).map_err(|rejection| {
            let head = salvage(request).ok();
            self.decline(rejection, head.as_ref())
        })?;
        let upgrader = &self.0.config.upgrader;
        let checked = upgrader.check(&head);
        checked.map_err(|rejection| self.decline(rejection, Some(&head)))?;
        match upgrader.answer_options(&head) {
            Some(answer) => Err(Declined::answered(self.reply(answer, Some(&head)))),
            None => Ok(head),
        }
    }

    /// Lets the client of this head follow a topic, unless there is nothing to follow.
    fn follow_after(
        &self,
        head: &Head,
        subscribe: impl FnOnce(&Head) -> Subscription,
    ) -> Result<http::Response<Body>, Declined> {
        let accepted = self.0.config.upgrader.accept(head);
        accepted.map_err(|rejection| self.decline(rejection, Some(head)))?;
        let subscription = subscribe(head);
        if subscription.is_over() {
            return Ok(self.reply(Response::new(204), Some(head)));
        }
        Ok(self.admit(head)?.follow(subscription))
    }

    fn admit(&self, head: &Head) -> Result<Admission, Declined> {
        let config = &self.0.config;
        let permit = self.0.limit.admit(None);
        if permit.is_none() {
            self.0.stats.add_refused();
            if config.at_capacity == AtCapacity::Refuse {
                return Err(self.decline(Rejection::UNAVAILABLE, Some(head)));
            }
        }
        let accepted = config.upgrader.accept(head);
        let accepting = accepted.map_err(|rejection| self.decline(rejection, Some(head)))?;
        let content = accepting.content().to_vec();
        let (parts, _) = self.reply(accepting, Some(head)).into_parts();
        if head.method() == "HEAD" {
            return Err(Declined::answered(http::Response::from_parts(
                parts,
                Body::hidden(),
            )));
        }
        match permit {
            Some(permit) => Ok(Admission {
                office: Arc::clone(&self.0),
                parts,
                opening: content,
                permit,
            }),
            None => Err(Declined::answered(http::Response::from_parts(
                parts,
                Body::whole(self.0.with_retry(content).into()),
            ))),
        }
    }

    fn decline(&self, rejection: Rejection, head: Option<&Head>) -> Declined {
        Declined {
            response: Box::new(self.reply(rejection.clone(), head)),
            reason: rejection.into(),
        }
    }

    /// What is answered, but for `Date` and `Connection`, which are the HTTP server's.
    fn reply(&self, answer: impl Into<Response>, head: Option<&Head>) -> http::Response<Body> {
        let reply = self.0.config.upgrader.reply(answer, head, None);
        let answer = reply.response();
        let body = Body::whole(Bytes::copy_from_slice(answer.content()));
        let mut response = http::Response::new(body);
        *response.status_mut() = StatusCode::from_u16(answer.status()).unwrap_or_default();
        for (name, value) in answer.headers() {
            // Both have been checked already, by the same rules.
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

/// Upgrades a request to a stream of the client's own, with the default settings; see
/// [`Responder::upgrade`].
///
/// ```
/// use sse_net::{Body, upgrade_http};
///
/// fn ask<B>(request: &http::Request<B>) -> http::Response<Body> {
///     let (response, mut stream) = match upgrade_http(request) {
///         Ok(upgraded) => upgraded,
///         Err(declined) => return declined.into(),
///     };
///     tokio::spawn(async move {
///         stream.set_id(54)?;
///         stream.write_json(&["hey", "there"]).await?;
///         stream.close().await
///     });
///     response
/// }
/// # drop(ask(&http::Request::new(())));
/// ```
///
/// # Errors
///
/// The answer to a request that gets no stream, which is to be given instead.
pub fn upgrade_http<B>(
    request: &Request<B>,
) -> Result<(http::Response<Body>, Stream<PipeWriter>), Declined> {
    Responder::global().upgrade(request)
}

/// The last event ID that the client has seen; see [`Head::last_event_id`]. What is no event
/// ID is none.
#[must_use]
pub fn last_event_id<B>(request: &Request<B>) -> Option<EventId<'static>> {
    let LastEventId(id) = LastEventId::of(request.uri(), request.headers());
    id
}

/// The last event ID that a client has seen, from a request; with the feature `axum`, an
/// extractor.
///
/// ```
/// use sse_net::{Body, LastEventId, Start, Topic};
///
/// async fn sse(ticks: Topic, id: LastEventId) -> http::Response<Body> {
///     ticks.subscribe_after(id, Start::Live).into_response()
/// }
/// # drop(sse(Topic::new(sse_core::Retention::default()), LastEventId(None)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastEventId(pub Option<EventId<'static>>);

impl LastEventId {
    pub(crate) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let header = headers.get("last-event-id");
        let header = header.map(|id| ("last-event-id", id.as_bytes()));
        // Whatever else may be wrong with the request, this is not the place to say.
        let head = Head::from_parts("GET", &uri.to_string(), None, header);
        Self(
            head.ok()
                .and_then(|head| head.last_event_id().map(EventId::into_owned)),
        )
    }
}

impl From<LastEventId> for Option<EventId<'static>> {
    fn from(LastEventId(id): LastEventId) -> Self {
        id
    }
}

impl Subscription {
    /// A response that goes on with this, by the process's own [responder](Responder::global);
    /// see [`Responder::respond_with`].
    #[must_use]
    pub fn into_response(self) -> http::Response<Body> {
        Responder::global().respond_with(self)
    }
}

/// A request gets no stream, and this is its answer.
#[derive(Debug)]
pub struct Declined {
    response: Box<http::Response<Body>>,
    reason: UpgradeError,
}

impl Declined {
    /// The answer.
    #[must_use]
    pub fn into_response(self) -> http::Response<Body> {
        *self.response
    }

    fn answered(response: http::Response<Body>) -> Self {
        Self {
            response: Box::new(response),
            reason: UpgradeError::Answered,
        }
    }
}

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl Error for Declined {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.reason.source()
    }
}

impl From<Declined> for http::Response<Body> {
    fn from(declined: Declined) -> Self {
        declined.into_response()
    }
}

/// An event, or the failure to make one: what streams consist of that become responses.
pub trait IntoEvent {
    /// The event.
    ///
    /// # Errors
    ///
    /// The failure.
    fn into_event(self) -> io::Result<Event<'static>>;
}

impl IntoEvent for Event<'static> {
    fn into_event(self) -> io::Result<Self> {
        Ok(self)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> IntoEvent for Result<Event<'static>, E> {
    fn into_event(self) -> io::Result<Event<'static>> {
        self.map_err(io::Error::other)
    }
}

/// A request that gets a stream.
struct Admission {
    office: Arc<Office>,
    parts: http::response::Parts,
    /// What precedes the first event.
    opening: Vec<u8>,
    permit: Permit,
}

impl Admission {
    fn follow(mut self, mut subscription: Subscription) -> http::Response<Body> {
        self.office.stats.add_resume(subscription.resume());
        let retry = jittered(self.office.config.retry);
        subscription.encode_opening(retry, &mut self.opening);
        let age = match self.office.drain.get() {
            Some(_) => Duration::ZERO,
            None => self.office.config.age(),
        };
        let leave_at = Instant::now().checked_add(age);
        self.respond(Source::Topic(subscription), leave_at)
    }

    fn write(mut self, own: Own) -> http::Response<Body> {
        self.opening = self.office.with_retry(self.opening);
        self.respond(Source::Own(own), None)
    }

    fn respond(self, source: Source, leave_at: Option<Instant>) -> http::Response<Body> {
        let member = Member::new(self.office, self.permit);
        let body = Body::stream(member, source, self.opening, leave_at);
        http::Response::from_parts(self.parts, body)
    }
}

/// What the bodies of a responder have in common.
struct Office {
    config: Config,
    stats: Stats,
    limit: Limit,
    heartbeat: Bytes,
    /// One for each body, which a drain wakes.
    wakers: Mutex<Slab<Option<Waker>>>,
    drain: OnceLock<Drain>,
}

impl Office {
    fn own(&self) -> (Stream<PipeWriter>, Own) {
        let (pipe, reader) = pipe();
        (
            Stream::new(pipe, self.config.write_timeout),
            Own::new(reader),
        )
    }

    /// Appends a block with the reconnection time.
    fn with_retry(&self, mut opening: Vec<u8>) -> Vec<u8> {
        let retry = jittered(self.config.retry);
        Event::new().retry(retry).encode(&mut opening);
        opening
    }

    fn take_wakers(&self) -> Vec<Waker> {
        let mut wakers = self.wakers();
        wakers
            .iter_mut()
            .filter_map(|(_, waker)| waker.take())
            .collect()
    }

    fn wakers(&self) -> MutexGuard<'_, Slab<Option<Waker>>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// After how much silence there may be a heartbeat at the soonest, as on a server.
const MIN_SILENCE: Duration = Duration::from_millis(250);

/// From when on, and for how long, a responder drains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) since: Instant,
    pub(crate) window: Duration,
}

/// A body's place at its responder.
pub(crate) struct Member {
    office: Arc<Office>,
    key: usize,
    /// The one that the responder has.
    waker: Option<Waker>,
    silence: Duration,
    reason: Disconnect,
    on_end: OnEnd,
    _ticket: Permit,
}

impl Member {
    fn new(office: Arc<Office>, permit: Permit) -> Self {
        let heartbeat = office.config.heartbeat.max(MIN_SILENCE);
        let key = office.wakers().insert(None);
        Self {
            key,
            waker: None,
            // Up to a tenth early, so that not all are due at once.
            silence: heartbeat - heartbeat.mul_f64(fastrand::f64() / 10.0),
            reason: Disconnect::Gone,
            on_end: OnEnd::traced(),
            office,
            _ticket: permit,
        }
    }

    /// Whether another than before is to be woken from now on, which a drain does too.
    pub(crate) fn has_moved(&mut self, cx: &Context<'_>) -> bool {
        let waker = cx.waker();
        if self
            .waker
            .as_ref()
            .is_some_and(|last| last.will_wake(waker))
        {
            return false;
        }
        let replaced = self.office.wakers()[self.key].replace(waker.clone());
        drop(replaced); // With the lock released: it may be the last that a task hangs on.
        self.waker = Some(waker.clone());
        true
    }

    pub(crate) fn drain(&self) -> Option<Drain> {
        self.office.drain.get().copied()
    }

    pub(crate) fn on_end(&mut self, hook: impl FnOnce(Disconnect) + Send + 'static) {
        self.on_end.add(hook);
    }

    /// Why it leaves when it is dropped, if not because the client is gone.
    pub(crate) const fn leaves(&mut self, reason: Disconnect) {
        self.reason = reason;
    }

    /// After how much silence a heartbeat is due.
    pub(crate) const fn silence(&self) -> Duration {
        self.silence
    }

    pub(crate) fn heartbeat(&self) -> Bytes {
        self.office.heartbeat.clone()
    }

    pub(crate) fn stats(&self) -> &Stats {
        &self.office.stats
    }

    /// How long the client is to wait before it asks again.
    pub(crate) fn retry(&self) -> Duration {
        jittered(self.office.config.retry)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let waker = self.office.wakers().try_remove(self.key);
        drop(waker); // With the lock released.
        self.office.stats.add_disconnect(self.reason);
        self.on_end.call(self.reason);
    }
}

fn head<B>(request: &Request<B>) -> Result<Head, Rejection> {
    let minor_version = match request.version() {
        Version::HTTP_09 | Version::HTTP_10 => Some(0),
        Version::HTTP_11 => Some(1),
        _ => None,
    };
    let headers = request.headers().iter();
    Head::from_parts(
        request.method().as_str(),
        &request.uri().to_string(),
        minor_version,
        headers.map(|(name, value)| (name.as_str(), value.as_bytes())),
    )
}

/// What a malformed request's answer depends on: its method and origin.
fn salvage<B>(request: &Request<B>) -> Result<Head, Rejection> {
    let origin = request.headers().get("origin");
    let origin = origin.map(|origin| ("origin", origin.as_bytes()));
    Head::from_parts(request.method().as_str(), "/", None, origin)
}
