//! The headers that the library reads: host, framing, last event ID and accepted types.

use super::span::Span;
use super::target::is_authority;
use crate::http::accept::Accept;
use crate::http::body::Framing;
use crate::http::list::is_token_byte;
use crate::http::response::Rejection;

/// The values of the headers that the library reads.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) host: Option<Span>,
    has_two_hosts: bool,
    is_host_malformed: bool,
    pub(super) last_event_id: Option<Span>,
    /// `u64::MAX` where it is greater.
    content_length: Option<u64>,
    is_length_malformed: bool,
    codings: Option<Codings>,
    pub(super) accept: Accept,
    pub(super) expectation: Expectation,
}

impl Fields {
    /// Adds a header, if it is one of these.
    #[inline]
    pub(super) fn add(&mut self, name: &str, value: &[u8], span: Span) {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        // The length excludes nearly all others.
        match name.len() {
            6 if is("accept") => self.accept.add(value),
            6 if is("expect") => self.expectation.add(value),
            4 if is("host") => {
                self.has_two_hosts |= self.host.is_some();
                self.is_host_malformed |= !is_authority(value);
                self.host = Some(span);
            }
            13 if is("last-event-id") => {
                self.last_event_id.get_or_insert(span);
            }
            14 if is("content-length") => {
                self.is_length_malformed |= self.content_length.is_some()
                    || value.is_empty()
                    || !value.iter().all(u8::is_ascii_digit);
                self.content_length = Some(parse_length(value));
            }
            17 if is("transfer-encoding") => {
                self.codings.get_or_insert_default().add(value);
            }
            _ => {}
        }
    }

    /// Returns the framing of the body that follows the head.
    pub(super) fn check(&self, minor_version: Option<u8>) -> Result<Framing, Rejection> {
        let bad = |reason| Err(Rejection::BAD_REQUEST.because(reason));
        if self.has_two_hosts {
            return bad("the request has two Host headers; send one");
        }
        if self.is_host_malformed {
            return bad("Host is not a valid host with an optional port");
        }
        // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to
        // any HTTP/1.1 request message that lacks a Host header field".
        if self.host.is_none() && minor_version == Some(1) {
            return bad("the request has no Host header, which HTTP/1.1 requires");
        }
        if self.is_length_malformed {
            return bad("Content-Length is not a number, or there are two; send one");
        }
        let Some(codings) = &self.codings else {
            return Ok(self.content_length.map_or(Framing::None, Framing::Length));
        };
        if self.content_length.is_some() {
            return bad(
                "the request has both Content-Length and Transfer-Encoding; send one of them",
            );
        }
        // RFC 9112, 6.1: "A server or client that receives an HTTP/1.0 message containing
        // a Transfer-Encoding header field MUST treat the message as if the framing is
        // faulty".
        if minor_version == Some(0) {
            return bad("the request has Transfer-Encoding, which HTTP/1.0 does not have");
        }
        codings.check()?;
        Ok(Framing::Chunked)
    }
}

/// Parses digits; `u64::MAX` stands for every greater number.
fn parse_length(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |length: u64, digit| {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        length.saturating_mul(10).saturating_add(digit)
    })
}

/// What the client expects before it sends the body: RFC 9110, 10.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Expectation {
    #[default]
    None,
    Continue,
    Unknown,
}

impl Expectation {
    fn add(&mut self, value: &[u8]) {
        *self = match self {
            Self::None | Self::Continue if value.eq_ignore_ascii_case(b"100-continue") => {
                Self::Continue
            }
            _ => Self::Unknown,
        };
    }
}

/// The transfer codings of a request. All lines are one list (RFC 9110, 5.3).
#[derive(Default)]
struct Codings {
    is_malformed: bool,
    /// The number of times that `chunked` is listed.
    chunked: usize,
    has_other: bool,
    is_last_chunked: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        let codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        // RFC 9110, 5.6.1: empty elements do not count.
        for coding in codings.filter(|coding| !coding.is_empty()) {
            let name = coding.split(|byte| *byte == b';').next();
            let name = name.unwrap_or_default().trim_ascii();
            self.is_malformed |= name.is_empty() || !name.iter().copied().all(is_token_byte);
            self.is_last_chunked = name.eq_ignore_ascii_case(b"chunked");
            self.chunked += usize::from(self.is_last_chunked);
            self.has_other |= !self.is_last_chunked;
            // RFC 9112, 7.1: the chunked coding has no parameters.
            self.is_malformed |= self.is_last_chunked && name.len() < coding.len();
        }
    }

    fn check(&self) -> Result<(), Rejection> {
        if self.is_malformed {
            return Err(
                Rejection::BAD_REQUEST.because("Transfer-Encoding is not a list of codings")
            );
        }
        // RFC 9112, 6.3: "If a Transfer-Encoding header field is present in a request and the
        // chunked transfer coding is not the final encoding, the message body length cannot be
        // determined reliably; the server MUST respond with the 400 (Bad Request) status code
        // and then close the connection."
        if !self.is_last_chunked || self.chunked > 1 {
            return Err(Rejection::BAD_REQUEST
                .because("Transfer-Encoding does not end with chunked, or lists it twice"));
        }
        // RFC 9112, 6.1: "A server that receives a request message with a transfer coding it
        // does not understand SHOULD respond with 501 (Not Implemented)."
        if self.has_other {
            return Err(Rejection::NOT_IMPLEMENTED);
        }
        Ok(())
    }
}
