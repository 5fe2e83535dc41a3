//! What every response to a request has.

use std::time::SystemTime;

use super::response::Response;

/// A response that is about to be written, with what every response has: the headers of CORS
/// and `Vary: Origin`, `Date`, `Connection: close`.
///
/// [`Upgrader::reply`](crate::Upgrader::reply) makes one of any [`Response`] and
/// [`Rejection`](crate::Rejection). Whatever writes to a connection writes one of these.
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
    /// Returns the response with the headers of CORS, for an HTTP server, which adds `Date` and
    /// `Connection` itself.
    #[must_use]
    pub const fn response(&self) -> &Response {
        &self.response
    }

    /// Returns the wire form; for a `HEAD` request without the body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(320 + self.response.content().len());
        self.response.encode(self.date, self.is_head_only, &mut out);
        out
    }
}
