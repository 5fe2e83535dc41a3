//! The head of a request that an HTTP server has read.

use http::request::Parts;
use http::{HeaderMap, Method, Request, Uri, Version};
use sse_core::{EventId, Head, Rejection};

/// Returns the last event ID that the client has received; see [`Head::last_event_id`].
///
/// `None` if the request has none, or text that is not an event ID.
#[must_use]
pub fn last_event_id<B>(request: &Request<B>) -> Option<EventId<'static>> {
    let LastEventId(id) = LastEventId::of(request.uri(), request.headers());
    id
}

/// The last event ID that a client has received.
///
/// With the feature `axum` it is an extractor that never fails.
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
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let header = headers.get("last-event-id");
        let header = header.map(|id| ("last-event-id", id.as_bytes()));
        // Other faults of the request are reported elsewhere.
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

/// What a [`Responder`](crate::Responder) looks at of a request.
///
/// It is implemented for [`http::Request`], for its [`Parts`], which extractors leave (in axum
/// `axum::http::request::Parts`), and for [`NoRequest`].
pub trait RequestHead: sealed::RequestHead {}

impl<B> RequestHead for Request<B> {}
impl RequestHead for Parts {}
impl RequestHead for NoRequest {}

/// Stands for a request that the handler has consumed.
///
/// A [`Responder`](crate::Responder) then responds as to a `GET` without headers: the client
/// accepts event streams and resumes nothing, and of the allowed origins only "any" has an
/// effect. The handler has to check hosts and origins itself.
///
/// ```
/// use sse_net::{Body, NoRequest, Responder};
///
/// fn ask(responder: &Responder, question: String) -> http::Response<Body> {
///     responder.stream(&NoRequest, async move |mut stream| {
///         stream.write_str(&question).await?;
///         stream.close().await
///     })
/// }
/// # let _ = ask;
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRequest;

pub(super) mod sealed {
    use sse_core::{Head, Rejection};

    #[expect(unnameable_types, reason = "only this crate implements it")]
    pub trait RequestHead {
        /// Checks the head as a server checks one that it has read itself.
        fn head(&self) -> Result<Head, Rejection>;

        /// Returns what the response to a malformed request depends on: its method and origin.
        fn method_and_origin(&self) -> Option<Head>;
    }
}

impl<B> sealed::RequestHead for Request<B> {
    fn head(&self) -> Result<Head, Rejection> {
        head(self.method(), self.uri(), self.version(), self.headers())
    }

    fn method_and_origin(&self) -> Option<Head> {
        method_and_origin(self.method(), self.headers())
    }
}

impl sealed::RequestHead for Parts {
    fn head(&self) -> Result<Head, Rejection> {
        head(&self.method, &self.uri, self.version, &self.headers)
    }

    fn method_and_origin(&self) -> Option<Head> {
        method_and_origin(&self.method, &self.headers)
    }
}

impl sealed::RequestHead for NoRequest {
    fn head(&self) -> Result<Head, Rejection> {
        Head::from_parts("GET", "/", None, [])
    }

    fn method_and_origin(&self) -> Option<Head> {
        None
    }
}

fn head(
    method: &Method,
    uri: &Uri,
    version: Version,
    headers: &HeaderMap,
) -> Result<Head, Rejection> {
    let minor_version = match version {
        Version::HTTP_09 | Version::HTTP_10 => Some(0),
        Version::HTTP_11 => Some(1),
        _ => None,
    };
    let headers = headers.iter();
    Head::from_parts(
        method.as_str(),
        &uri.to_string(),
        minor_version,
        headers.map(|(name, value)| (name.as_str(), value.as_bytes())),
    )
}

fn method_and_origin(method: &Method, headers: &HeaderMap) -> Option<Head> {
    let origin = headers.get("origin");
    let origin = origin.map(|origin| ("origin", origin.as_bytes()));
    Head::from_parts(method.as_str(), "/", None, origin).ok()
}
