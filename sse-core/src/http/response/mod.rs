//! Responses other than a stream.

mod headers;
mod rejection;
mod reply;

use std::borrow::Cow;

use bytes::Bytes;

use super::accept::EVENT_STREAM_HEADERS;
use crate::event::FieldError;
pub use headers::Headers;
use headers::check_value;
#[cfg(feature = "client")]
pub(crate) use headers::{check_name as check_header_name, check_value as check_header_value};
pub use rejection::Rejection;
pub use reply::Reply;

/// A complete HTTP response with a small body: a page, an image, JSON, a redirect.
///
/// An [`Upgrader`](crate::Upgrader) turns it into a [`Reply`], which adds the headers that
/// every response has.
///
/// ```
/// use sse_core::Response;
///
/// let moved = Response::new(308).header("Location", "/events")?;
/// let page = Response::new(200).with_body("text/html; charset=utf-8", "<h1>Hey</h1>");
/// let icon = Response::new(200).with_body("image/png", vec![0x89, b'P', b'N', b'G']);
/// # let _ = (moved, page, icon);
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    /// With `Content-Type`, if there is a body.
    headers: Headers,
    body: Bytes,
    /// Whether events follow the body, until the connection ends.
    is_open: bool,
}

impl Response {
    /// Creates a response without a body.
    ///
    /// # Panics
    ///
    /// When `status` is not a final one, from 200 to 599.
    #[must_use]
    #[track_caller]
    pub const fn new(status: u16) -> Self {
        check_status(status);
        Self {
            status,
            headers: Headers::new(),
            body: Bytes::new(),
            is_open: false,
        }
    }

    /// Sets the body, text or binary, and its content type.
    ///
    /// # Panics
    ///
    /// When `content_type` has a control character. For a type that is made at run time, use
    /// [`try_with_body`](Self::try_with_body).
    #[must_use]
    #[track_caller]
    pub fn with_body(self, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        match self.try_with_body(content_type, body) {
            Ok(response) => response,
            Err(error) => panic!("the content type is not valid: {error}"),
        }
    }

    /// Sets the body, text or binary, and its content type, made at run time.
    ///
    /// # Errors
    ///
    /// `content_type` has a control character.
    pub fn try_with_body(
        mut self,
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Bytes>,
    ) -> Result<Self, FieldError> {
        let content_type = content_type.into();
        check_value(&content_type)?;
        self.headers.set_content_type(&content_type);
        self.body = body.into();
        Ok(self)
    }

    /// Sets headers. Each replaces any of the same name, except `Set-Cookie`.
    #[must_use]
    pub fn with_headers(mut self, headers: Headers) -> Self {
        self.headers.extend(headers);
        self
    }

    /// Sets a header. It replaces any of the same name, except `Set-Cookie`.
    ///
    /// # Errors
    ///
    /// The name is not a token or is one of the framing, such as `Content-Length`; or the
    /// value has a control character.
    pub fn header(
        mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<Self, FieldError> {
        self.headers.insert(name.as_ref(), value.as_ref())?;
        Ok(self)
    }

    /// Adds `Accept` to `Vary`, because the handler chose this response by that header.
    ///
    /// Otherwise a cache may send it to a client that accepts something else. The `Request`s of
    /// this crate and of `sse-net` do this themselves once their `accepts_event_stream` has been
    /// called.
    #[must_use]
    pub fn vary_by_accept(mut self) -> Self {
        if !self.headers.extend_vary("Accept") {
            self.headers.add("Vary", "Accept");
        }
        self
    }

    /// Returns the status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns the headers, `Content-Type` first.
    ///
    /// Those of the framing are not among them; [`Reply::encode`] writes them.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter()
    }

    /// Returns the body.
    #[must_use]
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Creates the response that a stream of events follows.
    pub(crate) const fn event_stream() -> Self {
        Self {
            status: 200,
            headers: Headers::constant(EVENT_STREAM_HEADERS),
            body: Bytes::new(),
            is_open: true,
        }
    }

    /// Sets the beginning of the stream that follows.
    pub(crate) fn set_beginning(&mut self, beginning: Vec<u8>) {
        self.body = beginning.into();
    }

    pub(crate) const fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }
}

#[track_caller]
const fn check_status(status: u16) {
    assert!(
        200 <= status && status <= 599,
        "a status code of a response is from 200 to 599"
    );
}

/// Returns the usual reason phrase: RFC 9110, 15.
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
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
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

    fn reply(response: Response, is_head_only: bool) -> Reply {
        Reply {
            response,
            cors: Headers::new(),
            date: None,
            is_head_only,
        }
    }

    fn wire(response: impl Into<Response>, head_only: bool) -> String {
        let reply = reply(response.into(), head_only);
        String::from_utf8(reply.encode()).unwrap()
    }

    #[test]
    fn a_response_has_a_length_and_ends_the_connection() {
        let page = Response::new(200).with_body("text/html", "<h1>");
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\
                    Content-Type: text/html\r\n\r\n";
        assert_eq!(wire(page.clone(), false), format!("{head}<h1>"));
        assert_eq!(wire(page, true), head);
        assert_eq!(
            wire(Response::new(204), false),
            "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        );
    }

    #[test]
    fn a_rejection_is_a_plain_text_response() {
        let rejection = Rejection::METHOD_NOT_ALLOWED;
        assert_eq!(
            rejection.to_string(),
            "405 Method Not Allowed: the method is not allowed; use one that Allow lists"
        );
        assert_eq!(
            wire(rejection, false),
            "HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\n\
             Content-Length: 52\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Allow: GET, HEAD, OPTIONS\r\nCache-Control: no-store\r\n\r\n\
             the method is not allowed; use one that Allow lists\n"
        );
        let basic = Rejection::UNAUTHORIZED
            .header("www-authenticate", "Basic")
            .unwrap();
        assert!(wire(basic.clone(), false).contains("\r\nwww-authenticate: Basic\r\n"));
        assert!(!wire(basic, false).contains("Bearer"));
    }

    #[test]
    fn a_body_may_be_binary_and_its_type_made_at_run_time() {
        let bytes = vec![0x89, b'P', 0, 0xff];
        let content_type = format!("image/{}", "png");
        let image = Response::new(200).try_with_body(content_type, bytes.clone());
        let image = image.unwrap();
        assert_eq!(image.body(), &bytes);
        let headers = Vec::from_iter(image.headers());
        assert_eq!(headers, [("Content-Type", "image/png")]);
        let wire = reply(image, false).encode();
        assert!(wire.ends_with(b"\r\nContent-Type: image/png\r\n\r\n\x89P\0\xff"));

        let error = Response::new(200).try_with_body("a\r\nb: c".to_owned(), bytes);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the header value has a carriage return at byte 1; remove it"
        );
    }

    #[test]
    fn a_body_that_replaces_another_keeps_the_other_headers() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let response = Response::new(200).with_body("text/html", "<h1>");
        let response = response.header("Date", date).unwrap();
        let reply = Reply {
            date: Some(std::time::UNIX_EPOCH),
            ..reply(response.with_body("text/plain", "hey"), false)
        };
        let expected = format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\
             Content-Type: text/plain\r\nDate: {date}\r\n\r\nhey"
        );
        assert_eq!(reply.encode(), expected.as_bytes());
    }

    #[test]
    #[should_panic(expected = "the content type is not valid: the header value has a line feed")]
    fn a_constant_content_type_that_is_not_valid_panics() {
        let _ = Response::new(200).with_body("a\n", "");
    }

    #[test]
    fn a_reason_may_be_made_at_run_time() {
        let topic = "news";
        let rejection = Rejection::new(404, format!("there is no topic {topic:?}"));
        assert_eq!(rejection.reason(), "there is no topic \"news\"");
        assert!(wire(rejection, false).ends_with("\r\n\r\nthere is no topic \"news\"\n"));
    }
}
