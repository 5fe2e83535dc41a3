//! The head of a request that an HTTP server has read.

use http::{HeaderMap, Request, Uri, Version};
use sse_core::{EventId, Head, Rejection};

/// Returns the last event ID that the client has seen; see [`Head::last_event_id`].
///
/// `None` if the request has none, or text that is not an event ID.
#[must_use]
pub fn last_event_id<B>(request: &Request<B>) -> Option<EventId<'static>> {
    let LastEventId(id) = LastEventId::of(request.uri(), request.headers());
    id
}

/// The last event ID that a client has seen.
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

/// Checks the request head as a server checks one that it has read itself.
pub(super) fn head<B>(request: &Request<B>) -> Result<Head, Rejection> {
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

/// Returns what the response to a malformed request depends on: its method and origin.
pub(super) fn method_and_origin<B>(request: &Request<B>) -> Option<Head> {
    let origin = request.headers().get("origin");
    let origin = origin.map(|origin| ("origin", origin.as_bytes()));
    Head::from_parts(request.method().as_str(), "/", None, origin).ok()
}
