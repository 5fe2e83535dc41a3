//! Answers other than a stream.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::Write as _;
use std::time::SystemTime;

use super::date::imf_fixdate;
use crate::event::{Fault, Field, FieldError};

/// A complete HTTP answer with a small body: a page, JSON, a redirect.
///
/// An [`Upgrader`](crate::Upgrader) makes a [`Reply`](crate::Reply) of it, which adds what any
/// response to a request has.
///
/// ```
/// use sse_core::Response;
///
/// let moved = Response::new(308).header("Location", "/events")?;
/// let page = Response::new(200).body("text/html; charset=utf-8", "<h1>Hey</h1>");
/// # let _ = (moved, page);
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Headers,
    content_type: &'static str,
    body: Cow<'static, [u8]>,
    /// Whether it goes on after its body, for as long as the connection lasts.
    is_open: bool,
}

impl Response {
    /// An answer without a body.
    ///
    /// # Panics
    ///
    /// On a status that is not final, which is one from 200 to 599.
    #[must_use]
    #[track_caller]
    pub const fn new(status: u16) -> Self {
        check_status(status);
        Self {
            status,
            headers: Headers::new(),
            content_type: "",
            body: Cow::Borrowed(b""),
            is_open: false,
        }
    }

    /// The body, and what it is.
    ///
    /// # Panics
    ///
    /// On a `content_type` that no header can have.
    #[must_use]
    #[track_caller]
    pub fn body(mut self, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        assert!(
            check_value(content_type).is_ok(),
            "a content type is one line of text"
        );
        self.content_type = content_type;
        self.body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        self
    }

    /// A header, in place of any of the same name.
    ///
    /// # Errors
    ///
    /// A name that is no token, a value with a control character, or one of the headers
    /// that the framing depends on.
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Result<Self, FieldError> {
        self.headers.insert(name.into(), value.into())?;
        Ok(self)
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The headers, `Content-Type` first if there is a body; not those of the framing, which
    /// [`Reply::encode`](crate::Reply::encode) writes.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let content_type = Some(("Content-Type", self.content_type));
        let headers = self
            .headers
            .0
            .iter()
            .map(|(name, value)| (&**name, &**value));
        content_type
            .filter(|(_, value)| !value.is_empty())
            .into_iter()
            .chain(headers)
    }

    /// The bytes of the body.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.body
    }

    /// Appends the wire form, for a `HEAD` request without the body. It says HTTP/1.1 also to
    /// a client of 1.0 (RFC 9110, 6.2), and always that the connection ends with it, so
    /// nothing is ever chunked.
    pub(crate) fn encode(&self, date: Option<SystemTime>, head_only: bool, out: &mut Vec<u8>) {
        let _ = write!(out, "HTTP/1.1 {} {}\r\n", self.status, phrase(self.status));
        let has_date = self.headers.has("Date");
        if let Some(date) = date.filter(|_| !has_date) {
            line(out, "Date", &imf_fixdate(date));
        }
        line(out, "Connection", "close");
        if !self.content_type.is_empty() {
            line(out, "Content-Type", self.content_type);
        }
        // RFC 9110, 6.4.1, 8.6 and 15.3.6: these have neither a body nor its length.
        let has_body = !matches!(self.status, 204 | 205 | 304);
        if has_body && !self.is_open {
            line(
                out,
                "Content-Length",
                itoa::Buffer::new().format(self.body.len()),
            );
        }
        self.headers.encode(out);
        out.extend_from_slice(b"\r\n");
        if has_body && !head_only {
            out.extend_from_slice(&self.body);
        }
    }

    /// Makes this the beginning of a stream, without an end that is known.
    pub(crate) const fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    pub(crate) const fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    pub(crate) fn with_headers(mut self, headers: Headers) -> Self {
        self.headers = headers;
        self
    }
}

/// A request is refused, and this is the answer: a status and a sentence that says why.
///
/// ```
/// use sse_core::Rejection;
///
/// assert_eq!(
///     Rejection::NOT_FOUND.to_string(),
///     "404 Not Found: there is nothing at this path",
/// );
/// let busy = Rejection::UNAVAILABLE.header("Retry-After", "30")?;
/// # let _ = busy;
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    status: u16,
    reason: &'static str,
    headers: Headers,
}

impl Rejection {
    /// 400: the request is malformed.
    pub const BAD_REQUEST: Self = Self::new(400, "the request is malformed");
    /// 401: who asks must say who they are, by a bearer token unless another
    /// `WWW-Authenticate` is given.
    pub const UNAUTHORIZED: Self = Self::with_header(
        401,
        "this needs credentials",
        &[(Cow::Borrowed("WWW-Authenticate"), Cow::Borrowed("Bearer"))],
    );
    /// 403: who asks may not have it.
    pub const FORBIDDEN: Self = Self::new(403, "this is not for you");
    /// 404: there is nothing at the path.
    pub const NOT_FOUND: Self = Self::new(404, "there is nothing at this path");
    /// 405: the method is none of those allowed.
    pub const METHOD_NOT_ALLOWED: Self = Self::with_header(
        405,
        "the method is not allowed; use GET",
        &[(Cow::Borrowed("Allow"), Cow::Borrowed("GET, HEAD, OPTIONS"))],
    );
    /// 406: `Accept` excludes event streams.
    pub const NOT_ACCEPTABLE: Self = Self::new(
        406,
        "Accept excludes text/event-stream, which is all there is here",
    );
    /// 408: the request head took too long.
    pub const REQUEST_TIMEOUT: Self = Self::new(408, "the request head took too long to arrive");
    /// 413: the request has a body.
    pub const CONTENT_TOO_LARGE: Self =
        Self::new(413, "the request has a body; send it without one");
    /// 414: the request line is too long.
    pub const URI_TOO_LONG: Self = Self::new(414, "the request line is too long");
    /// 421: the server does not answer for the host.
    pub const MISDIRECTED_REQUEST: Self =
        Self::new(421, "this server does not answer for that host");
    /// 429: too many requests.
    pub const TOO_MANY_REQUESTS: Self =
        Self::new(429, "there are too many requests from you; come back later");
    /// 431: the request head is too large.
    pub const HEADERS_TOO_LARGE: Self =
        Self::new(431, "the request head is too large or has too many headers");
    /// 500: the program failed to decide.
    pub const INTERNAL_SERVER_ERROR: Self =
        Self::new(500, "the server failed to answer; it has logged why");
    /// 501: the request has a transfer coding that is unknown.
    pub const NOT_IMPLEMENTED: Self = Self::new(
        501,
        "the request has a transfer coding other than chunked; send it without one",
    );
    /// 503: the server is full or about to stop.
    pub const UNAVAILABLE: Self = Self::new(503, "there is no room now; come back later");
    /// 505: the HTTP version is not 1.
    pub const VERSION_NOT_SUPPORTED: Self =
        Self::new(505, "the HTTP version is neither 1.0 nor 1.1");

    /// An answer with `status`, whose body is `reason`.
    ///
    /// # Panics
    ///
    /// On a status that is not final, which is one from 200 to 599.
    #[must_use]
    #[track_caller]
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self::with_header(status, reason, &[])
    }

    /// The same answer for another reason.
    #[must_use]
    pub const fn because(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    /// A header, in place of any of the same name.
    ///
    /// # Errors
    ///
    /// As [`Response::header`].
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Result<Self, FieldError> {
        self.headers.insert(name.into(), value.into())?;
        Ok(self)
    }

    /// The status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The sentence that says why.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }

    /// The answer. Caches are not to keep it: the next request may fare better.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut headers = self.headers;
        headers.add_default("Cache-Control", "no-store");
        Response::new(self.status)
            .with_headers(headers)
            .body("text/plain; charset=utf-8", format!("{}\n", self.reason))
    }

    #[track_caller]
    const fn with_header(status: u16, reason: &'static str, headers: &'static [Header]) -> Self {
        check_status(status);
        Self {
            status,
            reason,
            headers: Headers(Cow::Borrowed(headers)),
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.status,
            phrase(self.status),
            self.reason
        )
    }
}

impl Error for Rejection {}

impl From<Rejection> for Response {
    fn from(rejection: Rejection) -> Self {
        rejection.into_response()
    }
}

/// Headers that have been checked against injection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Headers(Cow<'static, [Header]>);

type Header = (Cow<'static, str>, Cow<'static, str>);

impl Headers {
    pub(crate) const fn new() -> Self {
        Self(Cow::Borrowed(&[]))
    }

    /// Checks a header and puts it in the place of any of the same name.
    pub(crate) fn insert(
        &mut self,
        name: Cow<'static, str>,
        value: Cow<'static, str>,
    ) -> Result<(), FieldError> {
        check_name(&name)?;
        check_value(&value)?;
        let headers = self.0.to_mut();
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(&name));
        headers.push((name, value));
        Ok(())
    }

    /// Adds a header of our own unless there is one of that name.
    pub(crate) fn add_default(&mut self, name: &'static str, value: &'static str) {
        if !self.has(name) {
            self.add(name, value);
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let mut names = self.0.iter().map(|(name, _)| name);
        names.any(|other| other.eq_ignore_ascii_case(name))
    }

    /// Names `Origin` in `Vary`, beside what the program has named there.
    pub(crate) fn vary_by_origin(&mut self) {
        let headers = self.0.to_mut();
        let vary = headers
            .iter_mut()
            .find(|(name, _)| name.eq_ignore_ascii_case("Vary"));
        let Some((_, names)) = vary else {
            return self.add("Vary", "Origin");
        };
        let mut named = names.split(',').map(str::trim);
        if !named.any(|name| name == "*" || name.eq_ignore_ascii_case("Origin")) {
            names.to_mut().push_str(", Origin");
        }
    }

    /// Adds a header whose value is known to be one.
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        self.0.to_mut().push((Cow::Borrowed(name), value.into()));
    }

    fn encode(&self, out: &mut Vec<u8>) {
        for (name, value) in &*self.0 {
            line(out, name, value);
        }
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, ": ", value, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// RFC 9110, 5.6.2: what a token is made of.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[track_caller]
const fn check_status(status: u16) {
    assert!(
        200 <= status && status <= 599,
        "a final status is one from 200 to 599"
    );
}

fn check_name(name: &str) -> Result<(), FieldError> {
    const OURS: [&str; 5] = [
        "Connection",
        "Content-Length",
        "Content-Type",
        "Transfer-Encoding",
        "Upgrade",
    ];
    if name.is_empty() {
        return Err(FieldError::new(Field::HeaderName, Fault::Empty));
    }
    if let Some(offset) = name.bytes().position(|byte| !is_token_byte(byte)) {
        return Err(FieldError::character(Field::HeaderName, name, offset));
    }
    if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
        return Err(FieldError::new(Field::HeaderName, Fault::Reserved));
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), FieldError> {
    match value
        .bytes()
        .position(|byte| byte.is_ascii_control() && byte != b'\t')
    {
        Some(offset) => Err(FieldError::character(Field::HeaderValue, value, offset)),
        None => Ok(()),
    }
}

/// RFC 9110, 15: the customary phrase, for those who read the wire.
const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(response: impl Into<Response>, head_only: bool) -> String {
        let mut out = Vec::new();
        response.into().encode(None, head_only, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_answer_is_framed_by_its_length_and_ends_the_connection() {
        let page = Response::new(200).body("text/html", "<h1>");
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/html\r\n\
                    Content-Length: 4\r\n\r\n";
        assert_eq!(wire(page.clone(), false), format!("{head}<h1>"));
        assert_eq!(wire(page, true), head);
        assert_eq!(
            wire(Response::new(204), false),
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_rejection_is_its_answer() {
        let rejection = Rejection::METHOD_NOT_ALLOWED;
        assert_eq!(
            rejection.to_string(),
            "405 Method Not Allowed: the method is not allowed; use GET"
        );
        assert_eq!(
            wire(rejection, false),
            "HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: 35\r\n\
             Allow: GET, HEAD, OPTIONS\r\nCache-Control: no-store\r\n\r\n\
             the method is not allowed; use GET\n"
        );
        let basic = Rejection::UNAUTHORIZED
            .header("www-authenticate", "Basic")
            .unwrap();
        assert!(wire(basic.clone(), false).contains("\r\nwww-authenticate: Basic\r\n"));
        assert!(!wire(basic, false).contains("Bearer"));
    }

    #[test]
    fn headers_cannot_inject() {
        let header = |name: &'static str, value: &'static str| {
            Response::new(200)
                .header(name, value)
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        assert_eq!(header("X-A", "b\tc é"), Ok(()));
        for (name, value, expected) in [
            (
                "X-A",
                "b\r\nX-C: d",
                "the header value has a carriage return at byte 1; remove it",
            ),
            (
                "X-A",
                "b\n",
                "the header value has a line feed at byte 1; remove it",
            ),
            (
                "X-A",
                "\0",
                "the header value has a NUL at byte 0; remove it",
            ),
            (
                "X-A",
                "\x7f",
                "the header value has '\\u{7f}' at byte 0; remove it",
            ),
            ("X A", "b", "the header name has ' ' at byte 1; remove it"),
            ("X:", "b", "the header name has ':' at byte 1; remove it"),
            ("é", "b", "the header name has 'é' at byte 0; remove it"),
            (
                "",
                "b",
                "the header name is empty; use at least one character",
            ),
            (
                "content-length",
                "0",
                "the header name is reserved, because the library sets it; leave it out",
            ),
        ] {
            assert_eq!(header(name, value), Err(expected.to_owned()));
        }
    }
}
