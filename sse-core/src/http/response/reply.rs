//! Responses as they are written.

use std::time::SystemTime;

use super::Response;

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
    pub(crate) date: Option<SystemTime>,
    pub(crate) is_head_only: bool,
}

impl Reply {
    /// Returns the response with its CORS headers.
    ///
    /// It is for an HTTP server that adds `Date` and `Connection` itself.
    #[must_use]
    pub const fn response(&self) -> &Response {
        &self.response
    }

    /// Returns the wire form, for a `HEAD` request without the body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(320 + self.response.body().len());
        self.response.encode(self.date, self.is_head_only, &mut out);
        out
    }
}
