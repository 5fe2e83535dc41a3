//! Responses to the requests of an HTTP server.

use std::borrow::Borrow;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use futures_core::Stream as Events;
use sse_core::{EventId, Head, Headers, Rejection, Response};

use super::body::Body;
use super::events::IntoEvent;
use super::inner::Inner;
use super::request::{NoRequest, RequestHead};
use super::stream_body::{PerClient, Writer};
use crate::config::Config;
use crate::stats::Snapshot;
use crate::stream::Stream;
use crate::stream::pipe::{PipeWriter, pipe};
use crate::topic::{Choice, Start, StreamToken, Subscription, Topic};
use crate::unwind::catch_async;

/// Responds to requests of an HTTP server (hyper, axum or another) with streams.
///
/// It checks requests as a [`Server`](crate::Server) does and responds with the same headers;
/// a refused request gets a response, too. The application checks the method and reads the body,
/// so [`Upgrader::allow_methods`](crate::Upgrader::allow_methods) only changes the responses to
/// `OPTIONS`. The HTTP server adds `Date` and `Connection`. A [`RequestHead`] is enough of a
/// request, such as the parts that an extractor leaves. Cheap to clone; all clones share limits,
/// counters and drain.
///
/// As on a server, a `POST` is refused with 403 if it comes from a page of an origin that is not
/// allowed; see [`Upgrader::allow_methods`](crate::Upgrader::allow_methods).
///
/// The [`Body`] of a response may end the stream [early](Body::until), and reports its
/// [end](Body::on_end).
///
/// These settings of the [`Config`] have no effect here, because the HTTP server owns the
/// connections: `head_timeout`, `body_timeout`, `max_json`, `handler_timeout`, `max_input`,
/// `max_connections_per_address`, `max_refusals`, `shards` and the sizes of heads.
/// `max_connections` limits the number of streams. `write_timeout` applies to
/// [`upgrade`](Self::upgrade) alone. A body is not polled while its client takes nothing, so
/// nothing grows, but nothing ends it either; a listener of [`Tcp`](crate::Tcp) makes the system
/// close such connections.
///
/// ```
/// use std::convert::Infallible;
/// use sse_core::{Rejection, Retention};
/// use sse_net::{Body, Config, Responder, Topic};
///
/// /// For `hyper::service::service_fn`.
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
///         _ => responder.reject(&request, Rejection::NOT_FOUND),
///     })
/// }
/// # let (responder, ticks) = (Responder::new(Config::default()), Topic::new(Retention::default()));
/// # drop(serve(responder, ticks, http::Request::new(())));
/// ```
#[derive(Debug, Clone)]
pub struct Responder {
    pub(super) inner: Arc<Inner>,
    pub(super) is_accept_ignored: bool,
    pub(super) sends_retry: bool,
    /// The token of a stream whose topics may change.
    token: Option<StreamToken>,
    /// The headers of the responses.
    pub(super) headers: Headers,
}

#[expect(
    clippy::result_large_err,
    reason = "the error is the response, which the caller returns as it is"
)]
impl Responder {
    /// Creates a responder with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            inner: Arc::new(Inner::new(config)),
            is_accept_ignored: false,
            sends_retry: true,
            token: None,
            headers: Headers::new(),
        }
    }

    /// Returns a clone that streams whatever `Accept` says.
    ///
    /// See [`Request::ignore_accept`](crate::Request::ignore_accept).
    #[must_use]
    pub fn ignore_accept(&self) -> Self {
        Self {
            is_accept_ignored: true,
            ..self.clone()
        }
    }

    /// Returns a clone whose streams have no blocks with the reconnection time.
    ///
    /// See [`Request::without_retry`](crate::Request::without_retry).
    #[must_use]
    pub fn without_retry(&self) -> Self {
        Self {
            sends_retry: false,
            ..self.clone()
        }
    }

    /// Returns a clone that sets headers of its responses, such as `Set-Cookie`.
    ///
    /// See [`Request::with_headers`](crate::Request::with_headers). Further headers may be added
    /// to the returned [`http::Response`].
    #[must_use]
    pub fn with_headers(&self, headers: Headers) -> Self {
        Self {
            headers,
            ..self.clone()
        }
    }

    /// Returns a clone whose stream has a token, under which its topics can be changed.
    ///
    /// See [`Request::with_token`](crate::Request::with_token).
    #[must_use]
    pub fn with_token(&self, token: StreamToken) -> Self {
        Self {
            token: Some(token),
            ..self.clone()
        }
    }

    /// Checks the host and the origin of a request.
    ///
    /// The methods that respond with a stream do this themselves, and [`respond`](Self::respond)
    /// does not. Call it first in a handler that starts work or changes something: a page of
    /// another origin can send a form to it, in the name of its visitor.
    ///
    /// It does not look at `Accept`. A client that excludes event streams gets 406 from the method
    /// that responds with one, when the work has begun; see
    /// [`ignore_accept`](Self::ignore_accept).
    ///
    /// ```
    /// use http::request::Parts;
    /// use sse_net::{Body, Responder, Response};
    ///
    /// async fn order(responder: Responder, parts: Parts, body: String) -> http::Response<Body> {
    ///     if let Err(refusal) = responder.check(&parts) {
    ///         return refusal;
    ///     }
    ///     println!("order {body}");
    ///     responder.respond(&parts, Response::new(204))
    /// }
    /// # let _ = order;
    /// ```
    ///
    /// # Errors
    ///
    /// The response to a request that is malformed (400), whose host is not allowed (421), or whose
    /// origin may not send it (403); see
    /// [`Upgrader::allow_methods`](crate::Upgrader::allow_methods). Also that to `OPTIONS`.
    pub fn check(&self, request: &impl RequestHead) -> Result<(), http::Response<Body>> {
        self.check_head(request).map(drop)
    }

    /// Returns whether `Accept` allows event streams; if not, respond with something else.
    ///
    /// Let that response say so with [`Response::vary_by_accept`], so that no cache sends it to
    /// clients that accept a stream. Returns `true` for a malformed request, which the methods that
    /// respond with a stream refuse.
    ///
    /// ```
    /// use http::request::Parts;
    /// use sse_net::{Body, Responder, Response, Topic};
    ///
    /// fn price(responder: &Responder, parts: &Parts, prices: &Topic) -> http::Response<Body> {
    ///     if responder.accepts_event_stream(parts) {
    ///         return responder.follow(parts, prices);
    ///     }
    ///     let json = Response::new(200).with_body("application/json", "{\"eur\":1.07}");
    ///     responder.respond(parts, json.vary_by_accept())
    /// }
    /// # let _ = price;
    /// ```
    #[must_use]
    pub fn accepts_event_stream(&self, request: &impl RequestHead) -> bool {
        request
            .head()
            .map_or(true, |head| head.accepts_event_stream())
    }

    /// Responds with the events of `topic`, after the client's last event ID or from
    /// [`TopicConfig::start`](crate::TopicConfig::start).
    ///
    /// See [`Request::follow`](crate::Request::follow).
    #[must_use]
    pub fn follow(&self, request: &impl RequestHead, topic: &Topic) -> http::Response<Body> {
        self.follow_from(request, topic, topic.start())
    }

    /// Responds with the events of `topic`, after the client's last event ID or from `start`.
    ///
    /// See [`Request::follow_from`](crate::Request::follow_from).
    #[must_use]
    pub fn follow_from(
        &self,
        request: &impl RequestHead,
        topic: &Topic,
        start: Start,
    ) -> http::Response<Body> {
        self.follow_all_from(request, [topic], start)
    }

    /// Responds with the events of several topics of a hub.
    ///
    /// They begin after the client's last event ID, or now. See
    /// [`Request::follow_all`](crate::Request::follow_all).
    #[must_use]
    pub fn follow_all(
        &self,
        request: &impl RequestHead,
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
    ) -> http::Response<Body> {
        self.follow_all_from(request, topics, Start::Live)
    }

    /// Responds with the events of several topics of a hub, from `start` on.
    ///
    /// They begin after the client's last event ID, or without one at `start` in each topic. See
    /// [`Request::follow_all_from`](crate::Request::follow_all_from).
    #[must_use]
    pub fn follow_all_from(
        &self,
        request: &impl RequestHead,
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
        start: Start,
    ) -> http::Response<Body> {
        let choose = |head: &Head| {
            Choice::of(topics, self.token.is_some())
                .map_err(|error| self.reply(error.rejection(), Some(head)))
        };
        let follow = |head: Head| {
            let choice = choose(&head)?;
            let asked = head.last_event_id().map(EventId::into_owned);
            let token = self.token.clone();
            match choice {
                Choice::Several(hub, topics) if !hub.is_ready(&topics, asked.as_ref()) => {
                    let subscribing = async move {
                        if !hub.is_ready_in_time(&topics, asked.as_ref()).await {
                            return None;
                        }
                        let choice = Choice::Several(hub, topics);
                        Some(Subscription::to_choice(choice, asked, start, token))
                    };
                    Ok(self.accept(&head)?.follow_later(Box::pin(subscribing)))
                }
                choice => self.follow_after(&head, |_| {
                    Subscription::to_choice(choice, asked, start, token)
                }),
            }
        };
        self.check_head(request)
            .and_then(follow)
            .unwrap_or_else(|response| response)
    }

    /// Responds with a per-client stream that the future of `write` writes, with back-pressure.
    ///
    /// See [`Request::stream`](crate::Request::stream). The body polls the future and sends
    /// heartbeats meanwhile. When the client disconnects, the HTTP server drops the body and the
    /// future, wherever it waits. If the future fails, so does the body, and the HTTP
    /// server aborts the response; the error is logged with the feature `tracing`.
    #[must_use]
    pub fn stream<F>(
        &self,
        request: &impl RequestHead,
        write: impl FnOnce(Stream<PipeWriter>) -> F,
    ) -> http::Response<Body>
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let accepted = self.check_head(request).and_then(|head| self.accept(&head));
        accepted.map_or_else(
            |response| response,
            |accepted| {
                let (pipe, reader) = pipe(Vec::new());
                let stream = Stream::new(pipe, self.inner.config.write_timeout);
                let writing = write(stream);
                let writer: Writer = Box::pin(async {
                    catch_async("a per-client stream's future", pin!(writing))
                        .await
                        .unwrap_or_else(|panicked| Err(io::Error::other(panicked)))
                });
                accepted.write(PerClient::new(reader, Some(writer)))
            },
        )
    }

    /// Responds with the events of a stream, or of a stream of results.
    ///
    /// Events that are ready are sent together, up to 16 KiB. An error aborts the response.
    /// When the events end, so does the response, and browsers reconnect: let the last event be
    /// one on which the page closes its `EventSource`.
    ///
    /// ```
    /// use futures_core::Stream;
    /// use sse_core::Event;
    /// use sse_net::{Body, Responder};
    ///
    /// fn follow<B>(
    ///     responder: &Responder,
    ///     request: &http::Request<B>,
    ///     events: impl Stream<Item = Event<'static>> + Send + 'static,
    /// ) -> http::Response<Body> {
    ///     responder.events(request, events)
    /// }
    /// ```
    #[must_use]
    pub fn events(
        &self,
        request: &impl RequestHead,
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

    /// Returns a response and the per-client stream that writes its body.
    ///
    /// The stream may be written from any task once the response has been returned to the HTTP
    /// server. After the client disconnects, its calls fail, and [`Stream::closed`] returns.
    ///
    /// ```
    /// use sse_net::{Body, Responder};
    ///
    /// fn ask<B>(responder: &Responder, request: &http::Request<B>) -> http::Response<Body> {
    ///     let (response, mut stream) = match responder.upgrade(request) {
    ///         Ok(upgraded) => upgraded,
    ///         Err(response) => return response,
    ///     };
    ///     tokio::spawn(async move {
    ///         stream.set_id(54)?;
    ///         stream.write_json(&["hey", "there"]).await?;
    ///         stream.close().await
    ///     });
    ///     response
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// The response to a request that does not get a stream: it is refused, or its method is
    /// `HEAD` or `OPTIONS`, or there is no room.
    pub fn upgrade(
        &self,
        request: &impl RequestHead,
    ) -> Result<(http::Response<Body>, Stream<PipeWriter>), http::Response<Body>> {
        let accepted = self
            .check_head(request)
            .and_then(|head| self.accept(&head))?;
        let (pipe, reader) = pipe(Vec::new());
        let stream = Stream::new(pipe, self.inner.config.write_timeout);
        Ok((accepted.write(PerClient::new(reader, None)), stream))
    }

    /// Responds with something other than a stream, and the headers that every response has.
    #[must_use]
    pub fn respond(
        &self,
        request: &impl RequestHead,
        response: impl Into<Response>,
    ) -> http::Response<Body> {
        let head = request.head().ok().or_else(|| request.method_and_origin());
        self.reply(response, head.as_ref())
    }

    /// Refuses the request.
    #[must_use]
    pub fn reject(&self, request: &impl RequestHead, rejection: Rejection) -> http::Response<Body> {
        self.respond(request, rejection)
    }

    /// Responds with a subscription, without looking at the request.
    ///
    /// The request is refused only if there is no room. Of the allowed origins only "any" has
    /// an effect. The response is 204 if the topic has been finished and everything has been read.
    #[must_use]
    pub fn respond_with(&self, subscription: Subscription) -> http::Response<Body> {
        self.check_head(&NoRequest)
            .and_then(|head| self.follow_after(&head, |_| subscription))
            .unwrap_or_else(|response| response)
    }

    /// Returns the counters.
    ///
    /// `connections` is the number of streams; `furthest_lag` is not measured.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        self.inner.stats.snapshot(self.inner.limit.connections())
    }

    /// Ends all streams within `window`, and asks their clients to reconnect.
    ///
    /// Each stream that follows a topic ends at a random time within the window, with a
    /// jittered reconnection time. Clients that keep up receive first what was published before.
    /// Per-client streams may continue until the end of the window. From now on, a new client that
    /// follows a topic is sent away at once in the same manner. A drain cannot be undone.
    ///
    /// Returns when all streams have ended, or a second after the window: the body of a client
    /// that takes nothing is not polled, and its connection is the HTTP server's.
    ///
    /// An HTTP server that shuts down gracefully, such as axum's, waits for its streams: drain
    /// before, or at the same time.
    pub async fn drain(&self, window: Duration) {
        self.inner.drain(window).await;
    }
}

impl Subscription {
    /// Responds with the subscription, with the default settings.
    ///
    /// The response belongs to no [`Responder`]: nothing limits, counts or drains it. Use
    /// [`Responder::respond_with`] for a server that shuts down gracefully.
    #[must_use]
    pub fn into_response(self) -> http::Response<Body> {
        Responder::new(Config::default()).respond_with(self)
    }
}
