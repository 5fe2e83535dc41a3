//! Response heads as clients receive them: RFC 9112, sections 4 and 5.

mod error;
mod reader;

use std::fmt;
use std::time::{Duration, SystemTime};

use super::body::{BodyError, BodyLimits, BodyReader, Framing};
use super::list::{combine, elements, is_token, trim};

pub use error::ResponseHeadError;
pub use reader::ResponseHeadReader;

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
    /// Makes a head from what another HTTP library has read.
    ///
    /// Its [`text`](Self::text) is empty, and its minor version is 1.
    #[must_use]
    pub fn from_parts<'h>(
        status: u16,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Self {
        let headers = headers.into_iter().map(|(name, value)| {
            let value = String::from_utf8_lossy(value).into_owned();
            (name.to_owned(), value)
        });
        Self {
            status,
            minor_version: 1,
            headers: headers.collect(),
            text: String::new(),
        }
    }

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

    /// Returns the first header of this name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).next()
    }

    /// Returns the values of all headers of this name, in any case.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &str> {
        let headers = self.headers.iter();
        headers
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
    }

    /// Returns the whole head as received, with the blank line at its end.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns a reader of the body that follows.
    ///
    /// `method` is that of the request.
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

    /// Returns the media type of the body in lower case and without parameters.
    ///
    /// That of an event stream is [`MEDIA_TYPE`](crate::MEDIA_TYPE). Of several `Content-Type`
    /// lines, the last valid one counts, as in browsers ([Fetch, "extract a MIME type"]).
    ///
    /// [Fetch, "extract a MIME type"]: https://fetch.spec.whatwg.org/#concept-header-extract-mime-type
    #[must_use]
    pub fn media_type(&self) -> Option<String> {
        let combined = self.combined("content-type")?;
        let types = elements(&combined).filter_map(essence);
        types.filter(|essence| essence != "*/*").last()
    }

    /// Returns the content coding of the body in lower case, such as `gzip`.
    ///
    /// Codings that are not registered, such as `none`, are ignored
    /// ([Fetch, "handle content codings"]).
    ///
    /// [Fetch, "handle content codings"]: https://fetch.spec.whatwg.org/#handle-content-codings
    #[must_use]
    pub fn content_coding(&self) -> Option<String> {
        let combined = self.combined("content-encoding")?;
        let mut codings = elements(&combined).map(str::to_ascii_lowercase);
        codings.find(|coding| is_registered(coding))
    }

    /// Returns the delay before the next request that `Retry-After` asks for.
    ///
    /// `now` is the current time. The delay is zero for a date in the past (RFC 9110, 10.2.3).
    #[must_use]
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        if let Some(delay) = self.retry_seconds() {
            return Some(delay);
        }
        let value = trim(self.header("retry-after")?);
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default())
    }

    /// Like [`retry_after`](Self::retry_after), by the clock of the server (`Date`).
    ///
    /// `None` if `Retry-After` is a date and there is no `Date`.
    #[must_use]
    pub fn retry_delay(&self) -> Option<Duration> {
        let date = self.header("date").map(trim);
        match date.and_then(|date| httpdate::parse_http_date(date).ok()) {
            Some(now) => self.retry_after(now),
            None => self.retry_seconds(),
        }
    }

    /// Returns the value of a `Retry-After` that is a number of seconds.
    fn retry_seconds(&self) -> Option<Duration> {
        let value = trim(self.header("retry-after")?);
        let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        // Only an overflow fails here.
        is_number.then(|| Duration::from_secs(value.parse().unwrap_or(u64::MAX)))
    }

    /// Returns whether another response follows: RFC 9110, 15.2. None follows 101.
    const fn is_interim(&self) -> bool {
        matches!(self.status, 100 | 102..=199)
    }

    fn combined(&self, name: &str) -> Option<String> {
        combine(self.header_values(name).map(str::as_bytes))
    }

    /// Parses a complete head with this number of header lines.
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

/// Replaces a minor version above 1 by 1: RFC 9110, 6.2.
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

/// Returns whether a content coding changes the bytes: those of the registry, but `identity`.
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
