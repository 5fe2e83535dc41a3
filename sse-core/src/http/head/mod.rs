//! The request head: RFC 9112, sections 3 and 5.

mod fields;
mod parse;
mod reader;
mod span;
mod target;
mod values;

use std::borrow::Cow;
use std::{fmt, str};

use super::accept::Accept;
use super::body::Framing;
use super::list::is_token;
use super::response::Rejection;
use crate::event::EventId;
use fields::{Expectation, Fields};
use span::{Joined, MAX_SIZE, Span};
use target::{check_target, split_target};

pub use reader::HeadReader;
pub(crate) use target::is_authority;

/// A valid request head, of HTTP/1.0 or 1.1.
///
/// It has a method, a target of ASCII in one of the forms of [RFC 9112, 3.2], at most one
/// valid `Host` (exactly one in 1.1), not both `Content-Length` and `Transfer-Encoding`, and no
/// transfer coding but `chunked`. A head of any version can be made
/// [from its parts](Self::from_parts).
///
/// [RFC 9112, 3.2]: https://www.rfc-editor.org/rfc/rfc9112#section-3.2
#[derive(Clone)]
pub struct Head {
    bytes: Vec<u8>,
    method: Span,
    target: Span,
    minor_version: Option<u8>,
    headers: Vec<(Span, Span)>,
    host: Option<Span>,
    last_event_id: Option<Span>,
    accept: Accept,
    framing: Framing,
    expectation: Expectation,
}

impl Head {
    /// Creates a head from its parts, which an HTTP server has read.
    ///
    /// The same rules apply, except for the limits of a [`HeadReader`]. For HTTP/2 and 3, the
    /// target is the URL that the pseudo-headers make up, `minor_version` is `None`, and no
    /// `Host` is needed.
    ///
    /// ```
    /// use sse_core::Head;
    ///
    /// let headers = [("last-event-id", &b"54"[..])];
    /// let head = Head::from_parts("GET", "https://a.example/sse?x=y", None, headers)?;
    /// assert_eq!((head.host(), head.path()), ("a.example", "/sse"));
    /// # Ok::<(), sse_core::Rejection>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The response to a head that is malformed (400, 501) or has 4 GiB or more (431).
    pub fn from_parts<'h>(
        method: &str,
        target: &str,
        minor_version: Option<u8>,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Self, Rejection> {
        let mut parts = Joined::new();
        let (method_span, target_span) =
            (parts.add(method.as_bytes()), parts.add(target.as_bytes()));
        let mut fields = Fields::default();
        let mut spans = Vec::new();
        for (name, value) in headers {
            let span = (parts.add(name.as_bytes()), parts.add(value));
            let is_value = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
            if !is_token(name) || !value.iter().all(is_value) {
                return Err(Rejection::BAD_REQUEST.because(
                    "a header name is not a token, or a header value has a control character",
                ));
            }
            fields.add(name, value, span.1);
            spans.push(span);
        }
        if parts.len() > MAX_SIZE {
            return Err(Rejection::HEADERS_TOO_LARGE);
        }
        if !is_token(method) || target.bytes().any(|byte| byte <= b' ' || byte == b'\x7f') {
            return Err(Rejection::BAD_REQUEST.because(
                "the method is not a token, or the target has a space or a control character",
            ));
        }
        check_target(method, target)?;
        let head = Self {
            bytes: parts.into_bytes(),
            method: method_span,
            target: target_span,
            minor_version,
            headers: spans,
            framing: fields.check(minor_version)?,
            expectation: fields.expectation,
            host: fields.host,
            last_event_id: fields.last_event_id,
            accept: fields.accept,
        };
        head.check_query()?;
        Ok(head)
    }

    /// Returns the method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    pub(crate) fn method_bytes(&self) -> &[u8] {
        self.slice(self.method)
    }

    /// Returns the request target as it was sent.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// Returns the path of the target, still percent-encoded and never empty.
    #[must_use]
    pub fn path(&self) -> &str {
        let (_, path_and_query) = split_target(self.target());
        match path_and_query.split('?').next() {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// Returns the query of the target, still percent-encoded and without the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        let (_, path_and_query) = split_target(self.target());
        path_and_query.split_once('?').map(|(_, query)| query)
    }

    /// Returns the minor version of HTTP/1, 0 or 1, or `None` for another major version.
    ///
    /// A request of HTTP/1.2 is read as one of 1.1 (RFC 9110, 2.5).
    #[must_use]
    pub const fn minor_version(&self) -> Option<u8> {
        self.minor_version
    }

    /// Returns the requested host, with the port if the client sent one.
    ///
    /// It is that of an absolute target, or else of the `Host` header. It is empty where an
    /// HTTP/1.0 client sends none.
    #[must_use]
    pub fn host(&self) -> &str {
        let (authority, _) = split_target(self.target());
        authority.unwrap_or_else(|| self.host.map_or("", |host| self.text(host)))
    }

    /// Returns the first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_values(name).next()
    }

    /// Returns the values of all headers of this name, in any case.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        // The length excludes nearly all others.
        let is_named = move |other: Span| {
            other.len() == name.len() && self.slice(other).eq_ignore_ascii_case(name.as_bytes())
        };
        self.headers
            .iter()
            .filter(move |(other, _)| is_named(*other))
            .map(|(_, value)| self.slice(*value))
    }

    /// Returns all headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers
            .iter()
            .map(|(name, value)| (self.text(*name), self.slice(*value)))
    }

    /// Returns the ID of the last event that the client has received.
    ///
    /// It is the value of the `Last-Event-ID` header, or else of `lastEventId`,
    /// `last_event_id` (polyfills) or `lastEventID` (Mercure) in the query. Spaces and tabs at
    /// the ends are removed, an empty ID is `None`, and bytes that are not UTF-8 become U+FFFD.
    /// It may be longer than [`EventId::MAX_LEN`]; no log knows such an ID.
    #[must_use]
    pub fn last_event_id(&self) -> Option<EventId<'_>> {
        // Heads with a control character in the ID were refused when they were parsed.
        self.find_last_event_id().map(EventId::trusted)
    }

    /// Returns whether a body follows the head.
    ///
    /// A [chunked](Self::is_chunked) body may turn out to be empty.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        !matches!(self.framing, Framing::None | Framing::Length(0))
    }

    /// Returns whether the body is chunked.
    #[must_use]
    pub const fn is_chunked(&self) -> bool {
        matches!(self.framing, Framing::Chunked)
    }

    /// Returns how the body that follows the head is delimited.
    ///
    /// A length beyond 64 bits is [`u64::MAX`].
    #[must_use]
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Returns whether the client waits for "100 Continue" before it sends the body.
    ///
    /// An HTTP/1.0 client never does (RFC 9110, 10.1.1).
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.expectation == Expectation::Continue && self.minor_version != Some(0)
    }

    /// Returns whether the client expects something else than "100 Continue".
    pub(crate) fn has_unknown_expectation(&self) -> bool {
        self.expectation == Expectation::Unknown
    }

    /// Refuses a control character in the last event ID of the query.
    fn check_query(&self) -> Result<(), Rejection> {
        let is_control = |id: Cow<'_, str>| id.bytes().any(|byte| byte.is_ascii_control());
        let has_query = self.slice(self.target).contains(&b'?');
        if has_query && self.query_last_event_id().is_some_and(is_control) {
            return Err(Rejection::BAD_REQUEST
                .because("the last event ID in the query has a control character"));
        }
        Ok(())
    }

    fn find_last_event_id(&self) -> Option<Cow<'_, str>> {
        match self.last_event_id.map(|id| self.slice(id).trim_ascii()) {
            Some([]) | None => self.query_last_event_id(),
            Some(value) => Some(String::from_utf8_lossy(value)),
        }
    }

    /// Returns the first last event ID in the query that is not empty.
    fn query_last_event_id(&self) -> Option<Cow<'_, str>> {
        const NAMES: [&str; 3] = ["lastEventId", "last_event_id", "lastEventID"];
        form_urlencoded::parse(self.query()?.as_bytes())
            .filter(|(name, _)| NAMES.contains(&&**name))
            .map(|(_, value)| trim_blanks(value))
            .find(|value| !value.is_empty())
    }

    /// Returns the length of a parsed head, with all of its line ends.
    const fn len(&self) -> usize {
        self.bytes.len()
    }

    fn slice(&self, span: Span) -> &[u8] {
        span.of_bytes(&self.bytes)
    }

    fn text(&self, span: Span) -> &str {
        str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the headers, nor the query: they hold cookies and tokens.
        let query = self.query().map_or("", |_| "?…");
        f.debug_struct("Head")
            .field("method", &self.method())
            .field("target", &format_args!("{}{query}", self.path()))
            .field("minor_version", &self.minor_version)
            .finish_non_exhaustive()
    }
}

fn trim_blanks(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(BLANKS)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(BLANKS).to_owned()),
    }
}

const BLANKS: [char; 2] = [' ', '\t'];
