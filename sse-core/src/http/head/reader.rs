//! Reading of request heads from input that arrives in pieces.

use std::mem::MaybeUninit;

use memchr::memchr_iter;

use super::Head;
use super::span::MAX_SIZE;
use crate::http::list::is_token_byte;
use crate::http::response::Rejection;

/// Reads a request head from input that arrives in pieces.
///
/// Each byte is searched once for the end of the head, and then the head is parsed. A head
/// that arrives in one piece is parsed without the search.
///
/// ```
/// use sse_core::HeadReader;
///
/// let mut reader = HeadReader::new();
/// let mut piece = &b"GET /sse HTTP/1.1\r\nHost: a"[..];
/// assert!(reader.read(&mut piece)?.is_none(), "not yet");
/// let mut piece = &b".example\r\n\r\nrest"[..];
/// let head = reader.read(&mut piece)?.expect("complete");
/// assert_eq!((head.path(), head.host(), piece), ("/sse", "a.example", &b"rest"[..]));
/// # Ok::<(), sse_core::Rejection>(())
/// ```
#[derive(Debug, Clone)]
pub struct HeadReader {
    max_head: usize,
    max_headers: usize,
    bytes: Vec<u8>,
    /// The offset of the last line in `bytes`, which has not ended.
    line: usize,
    /// The number of lines that have ended, without blank ones before the request line.
    lines: usize,
    refused: Option<Box<Head>>,
}

impl HeadReader {
    /// The default of [`max_head`](Self::max_head): 16 KiB.
    pub const DEFAULT_MAX_HEAD: usize = 16 << 10;

    /// The default of [`max_headers`](Self::max_headers): 100.
    pub const DEFAULT_MAX_HEADERS: usize = 100;

    /// Creates a reader with the default limits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_head: Self::DEFAULT_MAX_HEAD,
            max_headers: Self::DEFAULT_MAX_HEADERS,
            bytes: Vec::new(),
            line: 0,
            lines: 0,
            refused: None,
        }
    }

    /// Sets the maximum size of the head in bytes, including all blank lines. Default: 16 KiB.
    ///
    /// Sizes of 4 GiB or more count as 4 GiB. Memory grows with what has arrived.
    #[must_use]
    pub const fn max_head(mut self, bytes: usize) -> Self {
        self.max_head = if bytes < MAX_SIZE { bytes } else { MAX_SIZE };
        self
    }

    /// Sets the maximum number of headers. Default: 100.
    #[must_use]
    pub const fn max_headers(mut self, count: usize) -> Self {
        self.max_headers = count;
        self
    }

    /// Reads up to the end of the head from the front of `input`.
    ///
    /// `None` means that the head is not complete and that all of `input` has been read. Bytes
    /// after the head stay in `input`.
    ///
    /// # Errors
    ///
    /// The response to a head that is malformed or too large: 400, 414, 431, 501, 505.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Rejection> {
        if let Some(head) = self.read_at_once(input) {
            return Ok(Some(head));
        }
        let read = self.read_lines(input);
        if read.is_err() {
            self.refused = Head::salvage(&self.bytes).map(Box::new);
            self.bytes = Vec::new();
            (self.line, self.lines) = (0, 0);
        }
        read
    }

    /// Returns the method and `Origin` of a head that [`read`](Self::read) has refused.
    ///
    /// The [`Reply`](crate::Reply) to it depends on them.
    #[must_use]
    pub fn refused(&self) -> Option<&Head> {
        self.refused.as_deref()
    }

    /// Returns whether no byte of the head has arrived.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn read_lines(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Rejection> {
        let before = self.bytes.len();
        let room = self.max_head.saturating_sub(before).min(input.len());
        self.bytes.extend_from_slice(&input[..room]);

        for end in memchr_iter(b'\n', &self.bytes[before..]) {
            let end = before + end + 1;
            let is_blank = matches!(&self.bytes[self.line..end], b"\n" | b"\r\n");
            if is_blank && self.lines > 0 {
                *input = &input[end - before..];
                self.bytes.truncate(end);
                return self.finish().map(Some);
            }
            if !is_blank {
                self.check_beginning()?;
                self.lines += 1;
            }
            self.line = end;
        }
        self.check_beginning()?;
        if room < input.len() {
            return Err(if self.lines == 0 {
                Rejection::URI_TOO_LONG
            } else {
                Rejection::HEADERS_TOO_LARGE
            });
        }
        *input = &[];
        Ok(None)
    }

    /// Parses a whole head at the front of `input`. Nearly every head arrives like this, with
    /// the body behind it, or with nothing.
    fn read_at_once(&self, input: &mut &[u8]) -> Option<Head> {
        if !self.bytes.is_empty() {
            return None;
        }
        let headers = &mut [const { MaybeUninit::uninit() }; Self::DEFAULT_MAX_HEADERS];
        let count = headers.len().min(self.max_headers);
        let part = &input[..input.len().min(self.max_head)];
        // An error is found again, and reported, by `read_lines`.
        let head = Head::parse(part, &mut headers[..count]).ok()?;
        *input = &input[head.len()..];
        Some(head)
    }

    /// Parses the complete head and resets the reader.
    fn finish(&mut self) -> Result<Head, Rejection> {
        let headers = self.lines - 1;
        if headers > self.max_headers {
            return Err(Rejection::HEADERS_TOO_LARGE);
        }
        let head = Head::parse(&self.bytes, &mut Box::new_uninit_slice(headers))?;
        if head.len() != self.bytes.len() {
            return Err(Rejection::BAD_REQUEST);
        }
        self.bytes = Vec::new();
        (self.line, self.lines) = (0, 0);
        Ok(head)
    }

    /// Refuses a peer that speaks another protocol, such as TLS, before the deadline.
    fn check_beginning(&self) -> Result<(), Rejection> {
        match self.bytes.get(self.line) {
            Some(&byte) if self.lines == 0 && !is_token_byte(byte) && byte != b'\r' => {
                Err(Rejection::BAD_REQUEST
                    .because("this does not begin like HTTP; the port speaks plain HTTP/1.1"))
            }
            _ => Ok(()),
        }
    }
}

impl Default for HeadReader {
    fn default() -> Self {
        Self::new()
    }
}
