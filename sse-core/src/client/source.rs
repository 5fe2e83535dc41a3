//! The request of a client.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::settings::Settings;
use super::terminal::Terminal;
use super::url::Url;
use crate::decode::{Decoder, MessageEvent};
use crate::event::{EventId, EventType, FieldError};
use crate::http::{check_header_name, check_header_value, check_method};

/// An event source: a request, and how a client follows its response.
///
/// There are three kinds.
///
/// - A *feed*, a `GET` request, is followed for ever: the client reconnects with the last event
///   ID when the stream ends, fails or is silent, and stops at a response of 204.
/// - A *call*, any other request, is sent once. It is sent again only if no byte of it was sent,
///   or if the server refused it with 408, 425, 429, 503 or 529; by default at most twice. After
///   500, 502 or 504 the server may have acted on it. It ends with the response.
///   [`repeatable`](Self::repeatable) and [`resumable`](Self::resumable) change that.
/// - A *completion* is a call with an end in the stream, such as `[DONE]`
///   ([`ends_at_data`](Self::ends_at_data), [`ends_at_event`](Self::ends_at_event),
///   [`ends_when`](Self::ends_when)). A stream that ends without it is
///   [truncated](super::ClientError::Truncated), and an event that reports an error
///   [is an error](super::ClientError::Reported).
///
/// Redirects are followed. The headers of the application stay with the origin of its URL,
/// except `Accept`, `Accept-Language`, `Cache-Control`, `User-Agent`, and those about the body,
/// such as `Content-Type`, which follow the body.
///
/// ```
/// use std::time::Duration;
/// use sse_core::client::EventSource;
///
/// let feed = EventSource::get("https://example.org/prices")?;
/// let completion = EventSource::post("https://example.org/v1/chat")?
///     .header("Authorization", "Bearer …")?
///     .header("Content-Type", "application/json")?
///     .body(r#"{"stream": true, "prompt": "hey"}"#)
///     .silence(Duration::from_secs(30))
///     .ends_at_data("[DONE]");
/// # let _ = (feed, completion);
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Clone)]
pub struct EventSource {
    pub(super) url: Url,
    pub(super) method: Cow<'static, str>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) last_event_id: Option<Cow<'static, str>>,
    pub(super) is_repeatable: bool,
    pub(super) is_resumable: bool,
    pub(super) is_strict: bool,
    pub(super) terminals: Vec<Terminal>,
    pub(super) gap_type: EventType<'static>,
    pub(super) settings: Settings,
}

impl EventSource {
    /// Creates a feed: a `GET` request.
    ///
    /// # Errors
    ///
    /// The text is not a [`Url`].
    pub fn get(url: impl TryInto<Url, Error: Into<FieldError>>) -> Result<Self, FieldError> {
        Ok(Self::with_method(
            "GET".into(),
            url.try_into().map_err(Into::into)?,
        ))
    }

    /// Creates a call: a `POST` request.
    ///
    /// # Errors
    ///
    /// The text is not a [`Url`].
    pub fn post(url: impl TryInto<Url, Error: Into<FieldError>>) -> Result<Self, FieldError> {
        Ok(Self::with_method(
            "POST".into(),
            url.try_into().map_err(Into::into)?,
        ))
    }

    /// Creates a request with another method, such as `QUERY`.
    ///
    /// A request with a method other than `GET` is a call.
    ///
    /// # Errors
    ///
    /// The method is not a token (RFC 9110, 9.1) or is `CONNECT`, or the text is not a [`Url`].
    pub fn request(
        method: &str,
        url: impl TryInto<Url, Error: Into<FieldError>>,
    ) -> Result<Self, FieldError> {
        check_method(method)?;
        let url = url.try_into().map_err(Into::into)?;
        Ok(Self::with_method(method.to_owned().into(), url))
    }

    fn with_method(method: Cow<'static, str>, url: Url) -> Self {
        let is_feed = method == "GET";
        Self {
            url,
            method,
            headers: Vec::new(),
            body: Bytes::new(),
            last_event_id: None,
            is_repeatable: is_feed,
            is_resumable: false,
            is_strict: false,
            terminals: Vec::new(),
            gap_type: EventType::from_static("gap"),
            settings: Settings::new(),
        }
    }

    /// Replaces the URL, for example in a hook before an attempt.
    ///
    /// # Errors
    ///
    /// The text is not a [`Url`].
    pub fn url(
        mut self,
        url: impl TryInto<Url, Error: Into<FieldError>>,
    ) -> Result<Self, FieldError> {
        self.url = url.try_into().map_err(Into::into)?;
        Ok(self)
    }

    /// Sets a header of every request. It replaces any of the same name.
    ///
    /// Defaults are `Accept: text/event-stream`, `Accept-Encoding: identity`,
    /// `Cache-Control: no-cache` and `Host`.
    ///
    /// # Errors
    ///
    /// The name is not a token, the value has a control character, or the client sets this
    /// header itself: `Connection`, `Content-Length`, `Expect`, `Last-Event-ID`, `TE`, `Trailer`,
    /// `Transfer-Encoding` and `Upgrade`.
    pub fn header(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, FieldError> {
        let (name, value) = (name.into(), value.into());
        check_header_name(&name, &RESERVED)?;
        check_header_value(&value)?;
        self.set_header(name, value);
        Ok(self)
    }

    /// Sets the body of the request. Default: none.
    ///
    /// Its media type is that of the header `Content-Type`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body of the request to a value as JSON, and `Content-Type` to match.
    ///
    /// # Errors
    ///
    /// The value cannot be serialised.
    #[cfg(feature = "json")]
    pub fn json(
        mut self,
        value: &(impl serde::Serialize + ?Sized),
    ) -> Result<Self, crate::JsonError> {
        self.body = serde_json::to_vec(value).map_err(crate::JsonError)?.into();
        self.set_header("Content-Type".to_owned(), "application/json".to_owned());
        Ok(self)
    }

    /// Sets the last event ID of the first request. Default: none.
    #[must_use]
    pub fn last_event_id(mut self, id: EventId<'static>) -> Self {
        self.last_event_id = Some(id.into_text());
        self
    }

    /// Continues a stream that `decoder` has read, such as from a recording.
    ///
    /// Sets the last event ID and the reconnection time to those of the decoder, if it has them.
    /// The ID may be longer than an [`EventId`], because it is the server's own.
    ///
    /// ```
    /// use sse_core::Decoder;
    /// use sse_core::client::EventSource;
    ///
    /// let mut decoder = Decoder::new();
    /// let mut chunk = decoder.chunk(b"id: 7\ndata: hey\n\n");
    /// while chunk.next()?.is_some() {}
    /// drop(chunk);
    /// let feed = EventSource::get("https://example.org/feed")?.resume_after(&decoder);
    /// # drop(feed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn resume_after(mut self, decoder: &Decoder) -> Self {
        let id = decoder.last_event_id();
        if !id.is_empty() {
            self.last_event_id = Some(id.to_owned().into());
        }
        match decoder.retry() {
            Some(time) => self.reconnection_time(time),
            None => self,
        }
    }

    /// Allows a call to be sent again, so that it is followed like a feed.
    ///
    /// Only for requests that have the same effect when they are sent twice.
    #[must_use]
    pub const fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }

    /// Allows a call to be continued with `GET` requests to its URL and the last event ID.
    ///
    /// They have no body, so the server has to know the call by its URL. A call that is cut before
    /// its first event ID fails as without this setting.
    #[must_use]
    pub const fn resumable(mut self) -> Self {
        self.is_resumable = true;
        self
    }

    /// Makes every response but a redirect, 200 and 204 final, as browsers do.
    ///
    /// Connections that fail or end are still retried.
    #[must_use]
    pub const fn strict(mut self) -> Self {
        self.is_strict = true;
        self
    }

    /// Ends the stream, with success, at an event with this data, such as `[DONE]`.
    ///
    /// That event is not returned. This setting and its siblings may be combined.
    #[must_use]
    pub fn ends_at_data(mut self, data: impl Into<String>) -> Self {
        self.terminals.push(Terminal::Data(data.into()));
        self
    }

    /// Ends the stream, with success, after an event of this type, such as `message_stop`.
    #[must_use]
    pub fn ends_at_event(mut self, event_type: impl Into<String>) -> Self {
        self.terminals.push(Terminal::Event(event_type.into()));
        self
    }

    /// Ends the stream, with success, after the first event for which `is_last` returns `true`.
    #[must_use]
    pub fn ends_when(
        mut self,
        is_last: impl Fn(&MessageEvent<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.terminals.push(Terminal::When(Arc::new(is_last)));
        self
    }

    /// Sets the type of the events by which the server reports a gap. Default: `gap`.
    #[must_use]
    pub fn gap_type(mut self, event_type: EventType<'static>) -> Self {
        self.gap_type = event_type;
        self
    }

    /// Returns whether the URL requires TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.is_https()
    }

    pub(super) fn set_header(&mut self, name: String, value: String) {
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        self.headers.reserve_exact(1);
        self.headers.push((name, value));
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the headers, the body and the query: they hold credentials.
        f.debug_struct("EventSource")
            .field("method", &self.method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// The headers that the client sets itself.
const RESERVED: [&str; 8] = [
    "Connection",
    "Content-Length",
    "Expect",
    "Last-Event-ID",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];
