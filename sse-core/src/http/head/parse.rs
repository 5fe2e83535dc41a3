//! Parsing of request heads.

use std::mem::MaybeUninit;
use std::str;

use memchr::memrchr;

use super::Head;
use super::fields::Fields;
use super::span::Span;
use super::target::check_target;
use crate::http::response::Rejection;

impl Head {
    /// Parses the head that `bytes` begin with, with at most as many headers as there is room.
    pub(super) fn parse<'b>(
        bytes: &'b [u8],
        headers: &mut [MaybeUninit<httparse::Header<'b>>],
    ) -> Result<Self, Rejection> {
        let max_headers = headers.len();
        let mut request = httparse::Request::new(&mut []);
        let len = match request.parse_with_uninit_headers(bytes, headers) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Err(Rejection::BAD_REQUEST),
            Err(httparse::Error::Version) => match as_http_1_1(bytes) {
                Some(bytes) => return Self::parse(&bytes, &mut Box::new_uninit_slice(max_headers)),
                None => return Err(rejection_of(httparse::Error::Version, bytes)),
            },
            Err(error) => return Err(rejection_of(error, bytes)),
        };
        let (Some(method), Some(target), minor_version @ Some(_)) =
            (request.method, request.path, request.version)
        else {
            return Err(Rejection::BAD_REQUEST);
        };
        let mut fields = Fields::default();
        let spans = request.headers.iter().map(|header| {
            let value = Span::of(header.value, bytes);
            fields.add(header.name, header.value, value);
            (Span::of(header.name.as_bytes(), bytes), value)
        });
        let headers = spans.collect();
        let framing = fields.check(minor_version)?;
        check_target(method, target)?;
        let head = Self {
            method: Span::of(method.as_bytes(), bytes),
            target: Span::of(target.as_bytes(), bytes),
            minor_version,
            headers,
            host: fields.host,
            last_event_id: fields.last_event_id,
            accept: fields.accept,
            framing,
            expectation: fields.expectation,
            bytes: bytes[..len].to_vec(),
        };
        head.check_query()?;
        Ok(head)
    }

    /// Returns what the response to a malformed head depends on: its method and `Origin`.
    ///
    /// A last line without an end is ignored.
    pub(super) fn salvage(bytes: &[u8]) -> Option<Self> {
        let end = memrchr(b'\n', bytes)?;
        let mut lines = bytes[..end]
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii);
        let request_line = lines.find(|line| !line.is_empty())?;
        let method = request_line.split(|byte| *byte == b' ').next()?;
        let headers = lines.take_while(|line| !line.is_empty());
        let mut origins = headers.filter_map(|line| {
            let (name, value) = line.split_at_checked(b"origin:".len())?;
            name.eq_ignore_ascii_case(b"origin:")
                .then(|| ("origin", value.trim_ascii()))
        });
        let origin = origins.next().filter(|_| origins.next().is_none());
        Self::from_parts(str::from_utf8(method).ok()?, "/", None, origin).ok()
    }
}

fn rejection_of(error: httparse::Error, bytes: &[u8]) -> Rejection {
    match error {
        httparse::Error::Version if has_other_version(bytes) => Rejection::VERSION_NOT_SUPPORTED,
        httparse::Error::TooManyHeaders => Rejection::HEADERS_TOO_LARGE,
        httparse::Error::HeaderName => Rejection::BAD_REQUEST
            .because("a header name is malformed: it has a space, is folded, or is not a token"),
        httparse::Error::HeaderValue => {
            Rejection::BAD_REQUEST.because("a header value has a control character")
        }
        _ => Rejection::BAD_REQUEST.because("the request line or a line end is malformed"),
    }
}

/// Returns the head with the version HTTP/1.1, if it has a later version of HTTP/1.
///
/// RFC 9110, 2.5: "A recipient that receives a message with a major version number that it
/// implements and a minor version number higher than what it implements SHOULD process the
/// message as if it was in the highest minor version within that major version".
fn as_http_1_1(bytes: &[u8]) -> Option<Vec<u8>> {
    let start = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
    let line = bytes[start..].split(|byte| *byte == b'\n').next()?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line {
        [
            ..,
            b' ',
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            b'2'..=b'9',
        ] => {
            let mut bytes = bytes.to_vec();
            bytes[start + line.len() - 1] = b'1';
            Some(bytes)
        }
        _ => None,
    }
}

/// Returns whether the request line ends with another version of HTTP.
fn has_other_version(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_start().split(|byte| *byte == b'\n').next();
    let version = line.and_then(|line| line.trim_ascii_end().rsplit(|byte| *byte == b' ').next());
    matches!(
        version,
        Some([
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'0' | b'2'..=b'9',
            b'.',
            b'0'..=b'9'
        ])
    )
}
