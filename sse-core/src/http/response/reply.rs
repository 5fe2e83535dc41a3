//! Responses as they are written.

use std::time::SystemTime;

use bytes::Bytes;

use super::{Headers, Response, phrase};
use crate::http::date::imf_fixdate;

/// A response with the headers that every response has: CORS, `Date`, `Connection: close`.
///
/// [`Upgrader::reply`](crate::Upgrader::reply) returns one for any [`Response`] and
/// [`Rejection`](crate::Rejection). Every response to a request is written as one.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use sse_core::{Rejection, Upgrader};
///
/// let upgrader = Upgrader::new().allow_any_origin();
/// let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
/// let reply = upgrader.reply(Rejection::NOT_FOUND, None, Some(now)).encode();
/// assert!(reply.starts_with(
///     b"HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nConnection: close\r\n"
/// ));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub(crate) response: Response,
    pub(crate) cors: Headers,
    pub(crate) date: Option<SystemTime>,
    pub(crate) is_head_only: bool,
}

impl Reply {
    /// Returns the status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.response.status()
    }

    /// Returns the headers of the response, and those of CORS.
    ///
    /// They are for an HTTP server that adds `Date`, `Connection` and `Content-Length` itself.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.response.headers().chain(self.cors.iter())
    }

    /// Returns the body, which is not sent in response to a `HEAD` request.
    ///
    /// Empty where the status allows none: 204, 205 and 304.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        if self.has_body() {
            self.response.body()
        } else {
            &NONE
        }
    }

    /// Returns whether the request is a `HEAD`, so the body is not sent.
    #[must_use]
    pub const fn is_head_only(&self) -> bool {
        self.is_head_only
    }

    /// Returns the wire form, for a `HEAD` request without the body.
    ///
    /// The version is HTTP/1.1 for a client of 1.0, too (RFC 9110, 6.2). The connection always
    /// ends with the response, so nothing is chunked.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Response {
            status,
            headers,
            is_open,
            ..
        } = &self.response;
        let body = self.body();
        let (lines, cors) = (headers.as_bytes(), self.cors.as_bytes());
        let mut out = Vec::with_capacity(FRAMING_LEN + lines.len() + cors.len() + body.len());
        append_status_line(*status, &mut out);
        if let Some(date) = self.date
            && !headers.has_date()
        {
            append_line("Date: ", &imf_fixdate(date), &mut out);
        }
        out.extend_from_slice(b"Connection: close\r\n");
        if self.has_body() && !is_open {
            let mut length = itoa::Buffer::new();
            let length = length.format(body.len());
            append_line("Content-Length: ", length.as_bytes(), &mut out);
        }
        out.extend_from_slice(lines);
        out.extend_from_slice(cors);
        out.extend_from_slice(b"\r\n");
        if !self.is_head_only {
            out.extend_from_slice(body);
        }
        out
    }

    /// RFC 9110, 6.4.1, 8.6 and 15.3.6: some responses have neither a body nor its length.
    const fn has_body(&self) -> bool {
        !matches!(self.status(), 204 | 205 | 304)
    }
}

fn append_status_line(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    append_line(" ", phrase(status).as_bytes(), out);
}

fn append_line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Enough for the status line, `Date`, `Connection`, `Content-Length` and the blank line.
const FRAMING_LEN: usize = 160;
