//! Response heads as clients receive them: RFC 9112, sections 4 and 5.

use std::time::{Duration, SystemTime};
use std::{error, fmt, io, mem};

use memchr::memchr_iter;

use super::body::{BodyLimits, BodyReader};
use super::body_error::BodyError;
use super::framing::Framing;
use super::list::{combine, elements, is_token, trim};

/// The head of an HTTP/1 response.
///
/// Bytes of it that are not UTF-8 become U+FFFD.
#[derive(Clone, PartialEq, Eq)]
pub struct ResponseHead {
    status: u16,
    minor_version: u8,
    headers: Vec<(String, String)>,
    text: String,
}

impl ResponseHead {
    /// Returns the status code.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Returns the minor version of HTTP/1.
    #[must_use]
    pub const fn minor_version(&self) -> u8 {
        self.minor_version
    }

    /// Returns the first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).next()
    }

    /// Returns the values of all headers of that name, in any case.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter();
        headers
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }

    /// Returns all of the head as it came, to the blank line at its end.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns a reader of the body that follows. `method` is that of the request.
    ///
    /// # Errors
    ///
    /// Those of [`Framing::of_response`] and [`BodyReader::new`].
    pub fn body(&self, method: &str, limits: BodyLimits) -> Result<BodyReader, BodyError> {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (&**name, value.as_bytes()));
        let framing = Framing::of_response(method, self.status, self.minor_version, headers)?;
        BodyReader::new(framing, limits)
    }

    /// Returns the media type of the body in lower case, without parameters, such as
    /// `text/event-stream`.
    ///
    /// It is the last valid one of all `Content-Type` lines, as in browsers
    /// ([Fetch, "extract a MIME type"]).
    ///
    /// [Fetch, "extract a MIME type"]: https://fetch.spec.whatwg.org/#concept-header-extract-mime-type
    #[must_use]
    pub fn media_type(&self) -> Option<String> {
        let combined = self.combined("content-type")?;
        let types = elements(&combined).filter_map(essence);
        types.filter(|essence| essence != "*/*").last()
    }

    /// Returns the content coding that has to be undone to read the body, in lower case, such
    /// as `gzip`.
    ///
    /// Codings that are not registered, such as `none`, leave the body as it is
    /// ([Fetch, "handle content codings"]).
    ///
    /// [Fetch, "handle content codings"]: https://fetch.spec.whatwg.org/#handle-content-codings
    #[must_use]
    pub fn content_coding(&self) -> Option<String> {
        let combined = self.combined("content-encoding")?;
        let mut codings = elements(&combined).map(str::to_ascii_lowercase);
        codings.find(|coding| is_registered(coding))
    }

    /// Returns how long the client is asked to wait before its next request, if `now` is the
    /// time: RFC 9110, 10.2.3. Zero for a date that has passed.
    #[must_use]
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let value = trim(self.header("retry-after")?);
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
            // Only an overflow fails here.
            return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
        }
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    }

    /// Whether the final response is yet to come: RFC 9110, 15.2. After 101 none comes.
    const fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    fn combined(&self, name: &str) -> Option<String> {
        combine(self.header_values(name).map(str::as_bytes))
    }

    fn parse(mut bytes: Vec<u8>, lines: usize) -> Result<Self, ResponseHeadError> {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        process_as_1_1(&mut bytes);
        let mut headers = vec![httparse::EMPTY_HEADER; lines];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = httparse::ParserConfig::default()
            .allow_obsolete_multiline_headers_in_responses(true)
            .parse_response(&mut response, &bytes);
        match (parsed, response.code, response.version) {
            (Ok(httparse::Status::Complete(_)), Some(status @ 100..), Some(minor_version)) => {
                Ok(Self {
                    status,
                    minor_version,
                    headers: response.headers.iter().map(unfold).collect(),
                    text,
                })
            }
            _ => Err(ResponseHeadError::Malformed),
        }
    }
}

impl fmt::Debug for ResponseHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the headers: they hold cookies.
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("minor_version", &self.minor_version)
            .finish_non_exhaustive()
    }
}

/// Finds the head of a response in input that arrives in pieces.
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
    max_size: usize,
    max_headers: usize,
    bytes: Vec<u8>,
    /// Where the line begins in which `bytes` ends.
    line: usize,
    /// How many lines have ended, without blank ones before the status line.
    lines: usize,
    /// How many bytes interim responses had.
    interim: usize,
}

impl ResponseHeadReader {
    /// The default of [`max_size`](Self::max_size): 64 KiB.
    pub const DEFAULT_MAX_SIZE: usize = 64 << 10;

    /// The default of [`max_headers`](Self::max_headers): 128.
    pub const DEFAULT_MAX_HEADERS: usize = 128;

    /// A reader with the default limits.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_size: Self::DEFAULT_MAX_SIZE,
            max_headers: Self::DEFAULT_MAX_HEADERS,
            bytes: Vec::new(),
            line: 0,
            lines: 0,
            interim: 0,
        }
    }

    /// How large the head may be, in bytes, together with the interim responses before it.
    #[must_use]
    pub const fn max_size(mut self, bytes: usize) -> Self {
        self.max_size = bytes;
        self
    }

    /// How many header lines there may be.
    #[must_use]
    pub const fn max_headers(mut self, count: usize) -> Self {
        self.max_headers = count;
        self
    }

    /// Takes from the front of `input` up to the end of the head.
    ///
    /// `None` means "not yet": all of `input` has been taken. After a head, the reader is ready
    /// for another response.
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
        let received = &self.bytes[..self.bytes.len().min(MAX_EXCERPT)];
        ResponseHeadError::Incomplete {
            received: String::from_utf8_lossy(received).into_owned(),
        }
    }

    /// No byte is searched twice.
    fn read_one(&mut self, input: &mut &[u8]) -> Result<Option<ResponseHead>, ResponseHeadError> {
        let before = self.bytes.len();
        let room = self.max_size.saturating_sub(self.interim + before);
        let room = room.min(input.len());
        self.bytes.extend_from_slice(&input[..room]);
        for end in memchr_iter(b'\n', &self.bytes[before..]) {
            let end = before + end + 1;
            let is_blank = matches!(&self.bytes[self.line..end], b"\n" | b"\r\n");
            if is_blank && self.lines > 0 {
                *input = &input[end - before..];
                self.bytes.truncate(end);
                return self.finish().map(Some);
            }
            self.check_beginning(end)?;
            self.lines += usize::from(!is_blank);
            self.line = end;
        }
        self.check_beginning(self.bytes.len())?;
        match room < input.len() {
            true => Err(ResponseHeadError::TooLarge {
                limit: self.max_size,
            }),
            false => {
                *input = &[];
                Ok(None)
            }
        }
    }

    fn finish(&mut self) -> Result<ResponseHead, ResponseHeadError> {
        let bytes = mem::take(&mut self.bytes);
        let headers = mem::take(&mut self.lines) - 1;
        self.line = 0;
        self.interim += bytes.len();
        match headers <= self.max_headers {
            true => ResponseHead::parse(bytes, headers),
            false => Err(ResponseHeadError::TooManyHeaders {
                limit: self.max_headers,
            }),
        }
    }

    /// Reports at once, not at a deadline, that the peer speaks another protocol.
    fn check_beginning(&self, end: usize) -> Result<(), ResponseHeadError> {
        let line = &self.bytes[self.line..end];
        let is_blank = line == b"\n" || b"\r\n".starts_with(line);
        let len = line.len().min(VERSION.len());
        match self.lines > 0 || is_blank || line[..len] == VERSION[..len] {
            true => Ok(()),
            false => Err(ResponseHeadError::NotHttp),
        }
    }
}

impl Default for ResponseHeadReader {
    fn default() -> Self {
        Self::new()
    }
}

/// Why there is no response head.
///
/// As an [`io::Error`], [`Incomplete`](Self::Incomplete) is of the kind
/// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof), and every other
/// [`InvalidData`](io::ErrorKind::InvalidData).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResponseHeadError {
    /// The first line does not begin with `HTTP/1.`.
    NotHttp,
    /// The status line or a header is malformed.
    Malformed,
    /// The head exceeds [`max_size`](ResponseHeadReader::max_size).
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// There are more header lines than [`max_headers`](ResponseHeadReader::max_headers).
    TooManyHeaders {
        /// The limit.
        limit: usize,
    },
    /// The connection ended before the end of the head.
    Incomplete {
        /// The beginning of what was received.
        received: String,
    },
}

impl fmt::Display for ResponseHeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotHttp => f.write_str(
                "the response does not begin with \"HTTP/1.\"; the server speaks another protocol",
            ),
            Self::Malformed => f.write_str("the response has a malformed status line or header"),
            Self::TooLarge { limit } => write!(f, "the response head exceeds {limit} bytes"),
            Self::TooManyHeaders { limit } => {
                write!(f, "the response head has more than {limit} header lines")
            }
            Self::Incomplete { received } => write!(
                f,
                "the connection ended before a response head, after {received:?}"
            ),
        }
    }
}

impl error::Error for ResponseHeadError {}

impl From<ResponseHeadError> for io::Error {
    fn from(error: ResponseHeadError) -> Self {
        let kind = match error {
            ResponseHeadError::Incomplete { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

/// RFC 9110, 6.2: a minor version above the highest known one is processed as that one.
fn process_as_1_1(bytes: &mut [u8]) {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte));
    let minor = start.and_then(|start| bytes.get_mut(start + VERSION.len()));
    if let Some(minor @ b'2'..=b'9') = minor {
        *minor = b'1';
    }
}

/// RFC 9112, 5.2: "A user agent that receives an obs-fold in a response message … MUST replace
/// each received obs-fold with one or more SP octets prior to interpreting the field value."
fn unfold(header: &httparse::Header<'_>) -> (String, String) {
    let value = String::from_utf8_lossy(header.value);
    let lines = value.split(['\r', '\n']).map(trim);
    let lines: Vec<_> = lines.filter(|line| !line.is_empty()).collect();
    (header.name.to_owned(), lines.join(" "))
}

/// Parses a media type down to its type and subtype: MIME Sniffing, 4.4.
fn essence(media_type: &str) -> Option<String> {
    let essence = media_type.split(';').next().unwrap_or_default();
    let (kind, subtype) = trim(essence).split_once('/')?;
    (is_token(kind) && is_token(subtype)).then(|| trim(essence).to_ascii_lowercase())
}

/// Whether a content coding changes the bytes: those of the registry, but `identity`.
fn is_registered(coding: &str) -> bool {
    matches!(
        coding,
        "aes128gcm"
            | "br"
            | "compress"
            | "dcb"
            | "dcz"
            | "deflate"
            | "exi"
            | "gzip"
            | "pack200-gzip"
            | "x-compress"
            | "x-gzip"
            | "zstd"
    )
}

const VERSION: &[u8] = b"HTTP/1.";

/// How much of an incomplete head an error shows, in bytes.
const MAX_EXCERPT: usize = 256;
