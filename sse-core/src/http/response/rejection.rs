//! Refusals.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use super::headers::Headers;
use super::{Response, check_status, phrase};
use crate::event::FieldError;

/// A refusal of a request: a status code and a sentence with the reason.
///
/// The client receives the sentence as plain text.
///
/// ```
/// use sse_core::Rejection;
///
/// assert_eq!(
///     Rejection::NOT_FOUND.to_string(),
///     "404 Not Found: there is nothing at this path",
/// );
/// let busy = Rejection::UNAVAILABLE.header("Retry-After", "30")?;
/// let unknown = Rejection::NOT_FOUND.because(format!("there is no topic {:?}", "news"));
/// # let _ = (busy, unknown);
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    status: u16,
    reason: Cow<'static, str>,
    headers: Headers,
}

impl Rejection {
    /// 400: the request is malformed.
    pub const BAD_REQUEST: Self = Self::constant(400, "the request is malformed");
    /// 401: the request needs credentials. `WWW-Authenticate` is `Bearer` by default.
    pub const UNAUTHORIZED: Self = Self::with_headers(
        401,
        "the request needs credentials",
        "WWW-Authenticate: Bearer\r\n",
    );
    /// 403: the client is not allowed to read this.
    pub const FORBIDDEN: Self = Self::constant(403, "the client may not read this");
    /// 404: there is nothing at the path.
    pub const NOT_FOUND: Self = Self::constant(404, "there is nothing at this path");
    /// 405: the method is not allowed.
    pub const METHOD_NOT_ALLOWED: Self = Self::with_headers(
        405,
        "the method is not allowed; use one that Allow lists",
        "Allow: GET, HEAD, OPTIONS\r\n",
    );
    /// 406: `Accept` excludes event streams.
    pub const NOT_ACCEPTABLE: Self = Self::constant(
        406,
        "Accept excludes event streams, and there is nothing else here",
    );
    /// 408: the request took too long to arrive.
    pub const REQUEST_TIMEOUT: Self =
        Self::constant(408, "the request head took too long to arrive");
    /// 411: the request has neither `Content-Length` nor chunks.
    pub const LENGTH_REQUIRED: Self = Self::constant(
        411,
        "the request has no body; send one with Content-Length or in chunks",
    );
    /// 413: the request has a body, and its method should have none.
    pub const CONTENT_TOO_LARGE: Self =
        Self::constant(413, "the request has a body; send it without one");
    /// 414: the request line is too long.
    pub const URI_TOO_LONG: Self = Self::constant(414, "the request line is too long");
    /// 415: the body is not of the expected type.
    pub const UNSUPPORTED_MEDIA_TYPE: Self = Self::constant(
        415,
        "the body is not JSON; send Content-Type: application/json and no Content-Encoding",
    );
    /// 417: the client expects something else than "100 Continue".
    pub const EXPECTATION_FAILED: Self = Self::constant(
        417,
        "Expect asks for more than 100-continue; send the request without it",
    );
    /// 421: the server does not serve this host.
    pub const MISDIRECTED_REQUEST: Self = Self::constant(
        421,
        "the server does not serve the host that the request names",
    );
    /// 429: the client sends too many requests.
    pub const TOO_MANY_REQUESTS: Self =
        Self::constant(429, "the client sends too many requests; retry later");
    /// 431: the request head is too large.
    pub const HEADERS_TOO_LARGE: Self =
        Self::constant(431, "the request head is too large or has too many headers");
    /// 500: the handler failed.
    pub const INTERNAL_SERVER_ERROR: Self =
        Self::constant(500, "the server failed to handle the request");
    /// 501: the request has an unknown transfer coding.
    pub const NOT_IMPLEMENTED: Self = Self::constant(
        501,
        "the request has a transfer coding other than chunked; send it without one",
    );
    /// 503: the server is full or is shutting down.
    pub const UNAVAILABLE: Self = Self::constant(503, "the server is at capacity; retry later");
    /// 505: the HTTP version is not 1.
    pub const VERSION_NOT_SUPPORTED: Self =
        Self::constant(505, "the HTTP version is neither 1.0 nor 1.1");

    /// Creates a refusal with this status code and reason.
    ///
    /// # Panics
    ///
    /// When `status` is not a final one, from 200 to 599.
    #[must_use]
    #[track_caller]
    pub fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::constant(status, "").because(reason)
    }

    /// Creates a refusal (405) whose `Allow` lists these methods, and `OPTIONS`.
    ///
    /// `methods` is a list such as `GET, HEAD`. For a path with fewer methods than the server
    /// [allows](crate::Upgrader::allow_methods).
    /// [`METHOD_NOT_ALLOWED`](Self::METHOD_NOT_ALLOWED) lists `GET` and `HEAD`.
    ///
    /// ```
    /// use sse_core::{Rejection, Response};
    ///
    /// let refusal = Response::from(Rejection::method_not_allowed("POST"));
    /// assert!(refusal.headers().any(|header| header == ("Allow", "POST, OPTIONS")));
    /// ```
    ///
    /// # Panics
    ///
    /// When `methods` has a control character.
    #[must_use]
    #[track_caller]
    pub fn method_not_allowed(methods: &str) -> Self {
        match Self::METHOD_NOT_ALLOWED.header("Allow", format!("{methods}, OPTIONS")) {
            Ok(rejection) => rejection,
            Err(error) => panic!("the methods are not valid: {error}"),
        }
    }

    /// Replaces the reason, a sentence that the client can read.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Sets a header. It replaces any of the same name, except `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// As [`Response::header`].
    pub fn header(
        mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<Self, FieldError> {
        self.headers.insert(name.as_ref(), value.as_ref())?;
        Ok(self)
    }

    /// Returns the status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns the reason, a sentence.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the response: the reason as plain text, not to be cached by default.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut headers = self.headers;
        headers.add_default("Cache-Control", "no-store");
        Response::new(self.status)
            .with_headers(headers)
            .with_body("text/plain; charset=utf-8", format!("{}\n", self.reason))
    }

    #[track_caller]
    const fn constant(status: u16, reason: &'static str) -> Self {
        Self::with_headers(status, reason, "")
    }

    #[track_caller]
    const fn with_headers(status: u16, reason: &'static str, lines: &'static str) -> Self {
        check_status(status);
        Self {
            status,
            reason: Cow::Borrowed(reason),
            headers: Headers::constant(lines),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, reason, .. } = self;
        write!(f, "{status} {}: {reason}", phrase(*status))
    }
}

impl Error for Rejection {}

impl From<Rejection> for Response {
    fn from(rejection: Rejection) -> Self {
        rejection.into_response()
    }
}
