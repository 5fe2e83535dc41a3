//! The body of a request.

use std::io::{self, Read, Write};

use super::{Request, UpgradeError};
use crate::http::body::{BodyLimits, BodyReader, Framing};
use crate::http::head::Head;
use crate::http::response::Rejection;

/// Collects the body of a request from input that arrives in pieces.
///
/// It does no I/O. The body is complete or an error: no part of one is returned.
///
/// ```
/// use sse_core::{Head, RequestBody};
///
/// let headers = [("expect", &b"100-continue"[..]), ("content-length", b"5")];
/// let head = Head::from_parts("POST", "http://a/", Some(1), [headers[0], headers[1], ("host", b"a")])?;
/// let mut body = RequestBody::new(&head, 1 << 20)?;
/// assert_eq!(body.interim(), Some(&b"HTTP/1.1 100 Continue\r\n\r\n"[..]));
/// for mut piece in [&b"he"[..], b"llo and more"] {
///     if body.read(&mut piece)? {
///         assert_eq!(piece, b" and more");
///     }
/// }
/// assert_eq!(body.into_bytes()?, b"hello");
/// # Ok::<(), sse_core::Rejection>(())
/// ```
#[derive(Debug)]
pub struct RequestBody {
    reader: BodyReader,
    bytes: Vec<u8>,
    is_awaited: bool,
}

impl RequestBody {
    /// Creates a collector of the body that follows `head`, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// 411 if the method is one with a body and the request has neither `Content-Length` nor
    /// chunks; 413 if `Content-Length` exceeds `limit`.
    pub fn new(head: &Head, limit: u64) -> Result<Self, Rejection> {
        let has_no_body = matches!(head.method(), "GET" | "HEAD" | "OPTIONS" | "DELETE");
        if head.framing() == Framing::None && !has_no_body {
            return Err(Rejection::LENGTH_REQUIRED);
        }
        let limits = BodyLimits::new().max_length(limit);
        Ok(Self {
            reader: BodyReader::new(head.framing(), limits)?,
            bytes: Vec::new(),
            is_awaited: head.expects_continue(),
        })
    }

    /// Returns what to write before the first read, once: "100 Continue".
    ///
    /// `None` if the client does not wait for it, or has sent a part of the body already.
    pub fn interim(&mut self) -> Option<&'static [u8]> {
        let is_awaited = self.is_awaited && self.bytes.is_empty() && !self.reader.is_complete();
        self.is_awaited = false;
        is_awaited.then_some(b"HTTP/1.1 100 Continue\r\n\r\n")
    }

    /// Reads from the front of `input` and returns whether the body is complete.
    ///
    /// Bytes after the body stay in `input`.
    ///
    /// # Errors
    ///
    /// 400 if the framing is malformed, 413 beyond the limit, 431 for trailers that are too
    /// large.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<bool, Rejection> {
        self.is_awaited &= input.is_empty();
        while let Some(part) = self.reader.read(input)? {
            self.bytes.extend_from_slice(part);
        }
        Ok(self.reader.is_complete())
    }

    /// Returns the complete body.
    ///
    /// # Errors
    ///
    /// 400 if the body is incomplete.
    pub fn into_bytes(mut self) -> Result<Vec<u8>, Rejection> {
        self.reader.end()?;
        Ok(self.bytes)
    }
}

impl<C: Read + Write> Request<C> {
    /// Reads the body, of at most `limit` bytes, and returns it with the request.
    ///
    /// A client that waits for "100 Continue" gets that first. Memory grows with what has
    /// arrived, up to twice `limit`.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Rejected`] if there is no complete body, and the response has been sent:
    /// 400, 408, 411, 413 or 431. [`UpgradeError::Io`] when the connection fails.
    pub fn read_body(mut self, limit: u64) -> Result<(Self, Vec<u8>), UpgradeError> {
        match self.collect_body(limit) {
            Ok(body) => Ok((self, body)),
            Err(UpgradeError::Rejected(rejection)) => Err(self.refuse(rejection)),
            Err(error) => Err(error),
        }
    }

    fn collect_body(&mut self, limit: u64) -> Result<Vec<u8>, UpgradeError> {
        let mut body = RequestBody::new(&self.head, limit)?;
        let mut rest = &self.rest[..];
        let mut is_complete = body.read(&mut rest)?;
        self.rest = rest.to_vec();
        if let Some(interim) = body.interim() {
            self.conn.write_all(interim)?;
            self.conn.flush()?;
            self.is_body_held = false;
        }
        let mut piece = [0; 8 << 10];
        while !is_complete {
            let mut input = match self.conn.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => &piece[..len],
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        self.is_body_held = true;
                        return Err(Rejection::REQUEST_TIMEOUT.because(BODY_TIMED_OUT).into());
                    }
                    _ => return Err(error.into()),
                },
            };
            is_complete = body.read(&mut input)?;
            self.rest = input.to_vec();
        }
        let body = body.into_bytes()?;
        self.is_body_read = true;
        Ok(body)
    }
}

const BODY_TIMED_OUT: &str = "the request body took too long to arrive";
