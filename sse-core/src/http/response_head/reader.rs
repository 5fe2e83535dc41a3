//! Reading of response heads from input that arrives in pieces.

use std::mem;

use memchr::memchr;

use super::error::ResponseHeadError;
use super::{ResponseHead, VERSION};

/// Reads response heads from input that arrives in pieces.
///
/// Interim responses, such as 103 (Early Hints), are skipped.
///
/// ```
/// use sse_core::ResponseHeadReader;
///
/// let mut reader = ResponseHeadReader::new();
/// let mut piece = &b"HTTP/1.1 200 OK\r\nContent-Ty"[..];
/// assert!(reader.read(&mut piece)?.is_none(), "not yet");
/// let mut piece = &b"pe: text/event-stream\r\n\r\ndata: a"[..];
/// let head = reader.read(&mut piece)?.expect("complete");
/// assert_eq!((head.status(), piece), (200, &b"data: a"[..]));
/// # Ok::<(), sse_core::ResponseHeadError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ResponseHeadReader {
    max_head: usize,
    max_headers: usize,
    bytes: Vec<u8>,
    /// The offset of the last line in `bytes`, which has not ended.
    line: usize,
    /// The number of lines that have ended, without blank ones before the status line.
    lines: usize,
    /// The bytes of interim responses.
    interim: usize,
}

impl ResponseHeadReader {
    /// The default of [`max_head`](Self::max_head): 64 KiB.
    pub const DEFAULT_MAX_HEAD: usize = 64 << 10;

    /// The default of [`max_headers`](Self::max_headers): 128.
    pub const DEFAULT_MAX_HEADERS: usize = 128;

    /// Creates a reader with the default limits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_head: Self::DEFAULT_MAX_HEAD,
            max_headers: Self::DEFAULT_MAX_HEADERS,
            bytes: Vec::new(),
            line: 0,
            lines: 0,
            interim: 0,
        }
    }

    /// Sets the maximum size of the head in bytes. Default: 64 KiB.
    ///
    /// It includes the interim responses before it.
    #[must_use]
    pub const fn max_head(mut self, bytes: usize) -> Self {
        self.max_head = bytes;
        self
    }

    /// Sets the maximum number of header lines. Default: 128.
    #[must_use]
    pub const fn max_headers(mut self, count: usize) -> Self {
        self.max_headers = count;
        self
    }

    /// Reads up to the end of the head from the front of `input`.
    ///
    /// `None` means that the head is not complete and that all of `input` has been read. After
    /// a head, the reader reads that of the next response.
    ///
    /// # Errors
    ///
    /// The head is malformed or too large.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<ResponseHead>, ResponseHeadError> {
        while let Some(head) = self.read_one(input)? {
            if !head.is_interim() {
                self.interim = 0;
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    /// Returns the error of a connection that has ended before the end of a head.
    #[must_use]
    pub fn end(&self) -> ResponseHeadError {
        let received = &self.bytes[..self.bytes.len().min(MAX_SHOWN)];
        ResponseHeadError::Incomplete {
            received: String::from_utf8_lossy(received).into_owned(),
        }
    }

    /// Reads a head, interim or final, line by line: what follows it is not copied.
    fn read_one(&mut self, input: &mut &[u8]) -> Result<Option<ResponseHead>, ResponseHeadError> {
        loop {
            let room = self
                .max_head
                .saturating_sub(self.interim + self.bytes.len());
            let room = &input[..room.min(input.len())];
            let end = memchr(b'\n', room).map(|end| end + 1);
            let (line, rest) = input.split_at(end.unwrap_or(room.len()));
            self.bytes.extend_from_slice(line);
            *input = rest;
            let line = &self.bytes[self.line..];
            let is_blank = matches!(line, b"\n" | b"\r\n");
            if is_blank && self.lines > 0 {
                return self.finish().map(Some);
            }
            self.check_beginning(line)?;
            if end.is_none() && rest.is_empty() {
                return Ok(None);
            }
            if end.is_none() {
                return Err(ResponseHeadError::TooLarge {
                    limit: self.max_head,
                });
            }
            self.lines += usize::from(!is_blank);
            self.line = self.bytes.len();
        }
    }

    fn finish(&mut self) -> Result<ResponseHead, ResponseHeadError> {
        let bytes = mem::take(&mut self.bytes);
        let headers = mem::take(&mut self.lines) - 1;
        self.line = 0;
        self.interim += bytes.len();
        if headers > self.max_headers {
            return Err(ResponseHeadError::TooManyHeaders {
                limit: self.max_headers,
            });
        }
        ResponseHead::parse(bytes, headers)
    }

    /// Refuses a peer that speaks another protocol before the deadline.
    fn check_beginning(&self, line: &[u8]) -> Result<(), ResponseHeadError> {
        let is_blank = line == b"\n" || b"\r\n".starts_with(line);
        let len = line.len().min(VERSION.len());
        if self.lines > 0 || is_blank || line[..len] == VERSION[..len] {
            return Ok(());
        }
        Err(ResponseHeadError::NotHttp)
    }
}

impl Default for ResponseHeadReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The bytes of an incomplete head that an error shows.
const MAX_SHOWN: usize = 256;
