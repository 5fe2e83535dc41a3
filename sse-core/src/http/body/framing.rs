//! How the body of a message is delimited: RFC 9112, section 6.3.

use super::error::BodyError;
use crate::http::list::{combine, elements, is_token, split, trim};

/// How the body of an HTTP/1.1 message is delimited: [RFC 9112, 6.3].
///
/// [`Head::framing`](crate::Head::framing) returns that of a request. Of a response, the lines of
/// one header name are one list, codings are whole tokens, and an ambiguous length is an error.
///
/// ```
/// use sse_core::Framing;
///
/// let headers = [("Transfer-Encoding", &b"identity"[..]), ("Transfer-Encoding", b"chunked")];
/// assert_eq!(Framing::of_response("GET", 200, 1, headers)?, Framing::Chunked);
/// let headers = [("Content-Length", &b"9"[..]), ("Content-Length", b"17")];
/// assert!(Framing::of_response("GET", 200, 1, headers).is_err());
/// # Ok::<(), sse_core::BodyError>(())
/// ```
///
/// [RFC 9112, 6.3]: https://www.rfc-editor.org/rfc/rfc9112#section-6.3
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// The message has no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body is a series of chunks that ends with an empty one.
    Chunked,
    /// The body ends with the connection. Only responses have this framing.
    UntilClose,
}

impl Framing {
    /// Returns the framing of a response's body.
    ///
    /// `method` is that of the request, and `minor_version` that of HTTP/1 in the response.
    /// After 101, and after a success for `CONNECT`, the body is all that follows on the
    /// connection. A transfer coding that is not registered is ignored.
    ///
    /// # Errors
    ///
    /// - `Content-Length` is not a number or has different values, and there is no
    ///   `Transfer-Encoding` to override it.
    /// - `Transfer-Encoding` is malformed, has a coding such as `gzip`, or is in an HTTP/1.0
    ///   response.
    pub fn of_response<'h>(
        method: &str,
        status: u16,
        minor_version: u8,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Self, BodyError> {
        match status {
            101 => return Ok(Self::UntilClose),
            200..300 if method == "CONNECT" => return Ok(Self::UntilClose),
            100..200 | 204 | 304 => return Ok(Self::None),
            _ if method == "HEAD" => return Ok(Self::None),
            _ => {}
        }
        let lines = Lines::collect(headers);
        let Some(codings) = lines.codings(minor_version)? else {
            return Ok(lines.length()?.map_or(Self::UntilClose, Self::Length));
        };
        match codings.other {
            Some(coding) if is_registered(&coding) => Err(BodyError::UnknownCoding(coding)),
            _ if codings.ends_in_chunked => Ok(Self::Chunked),
            _ => Ok(Self::UntilClose),
        }
    }
}

/// The header lines that the framing depends on.
struct Lines<'h> {
    lengths: Vec<&'h [u8]>,
    codings: Vec<&'h [u8]>,
}

impl<'h> Lines<'h> {
    fn collect(headers: impl IntoIterator<Item = (&'h str, &'h [u8])>) -> Self {
        let mut lines = Self {
            lengths: Vec::new(),
            codings: Vec::new(),
        };
        for (name, value) in headers {
            if name.eq_ignore_ascii_case("content-length") {
                lines.lengths.push(value);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                lines.codings.push(value);
            }
        }
        lines
    }

    /// Returns the value of `Content-Length`, which may be repeated if it is the same.
    fn length(&self) -> Result<Option<u64>, BodyError> {
        let Some(combined) = combine(self.lengths.iter().copied()) else {
            return Ok(None);
        };
        let mut length = None;
        for element in elements(&combined) {
            let other = parse_length(element).ok_or(BodyError::BadLength)?;
            if *length.get_or_insert(other) != other {
                return Err(BodyError::DifferentLengths);
            }
        }
        Ok(length)
    }

    fn codings(&self, minor_version: u8) -> Result<Option<Codings>, BodyError> {
        let Some(combined) = combine(self.codings.iter().copied()) else {
            return Ok(None);
        };
        // RFC 9112, 6.1: "MUST treat the message as if the framing is faulty, even if a
        // Content-Length is present".
        if minor_version == 0 {
            return Err(BodyError::CodingInHttp10);
        }
        let mut codings = Codings::default();
        let mut is_empty = true;
        // RFC 9110, 5.6.1.2: empty elements do not count.
        for element in elements(&combined).filter(|element| !element.is_empty()) {
            is_empty = false;
            codings.add(element)?;
        }
        if is_empty {
            return Err(BodyError::BadCoding);
        }
        Ok(Some(codings))
    }
}

#[derive(Default)]
struct Codings {
    ends_in_chunked: bool,
    /// The first coding other than `chunked` and `identity`, in lower case.
    other: Option<String>,
}

impl Codings {
    fn add(&mut self, element: &str) -> Result<(), BodyError> {
        let mut parts = split(element, b';').map(trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let has_parameters = parts.next().is_some();
        // RFC 9112, 6.1: chunked is applied once, and last; 7.1: it has no parameters.
        if !is_token(&name) || self.ends_in_chunked || (name == "chunked" && has_parameters) {
            return Err(BodyError::BadCoding);
        }
        match &*name {
            "chunked" => self.ends_in_chunked = true,
            // A coding of RFC 2616 that changes nothing.
            "identity" => {}
            _ => drop(self.other.get_or_insert(name)),
        }
        Ok(())
    }
}

/// Returns whether a coding changes the bytes: the others of the registry of transfer codings.
fn is_registered(coding: &str) -> bool {
    matches!(
        coding,
        "compress" | "deflate" | "gzip" | "x-compress" | "x-gzip"
    )
}

/// Parses a decimal number without a sign or spaces.
fn parse_length(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}
