//! The request head: found, parsed once, and held to RFC 9112.

use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use std::{fmt, mem, str};

use memchr::memchr_iter;

use crate::field::{EventId, FieldError};
use crate::response::{Rejection, is_token_byte};

/// A well-framed request head: of HTTP/1.0 or 1.1, or, [from its parts](Self::from_parts), of
/// any version.
///
/// What is not well framed never becomes one: a head has a method, a target in one of the
/// forms of [RFC 9112, 3.2], at most one valid `Host` (exactly one in 1.1), and not both
/// `Content-Length` and `Transfer-Encoding`.
///
/// [RFC 9112, 3.2]: https://www.rfc-editor.org/rfc/rfc9112#section-3.2
#[derive(Clone)]
pub struct Head {
    bytes: Vec<u8>,
    method: Span,
    target: Span,
    minor_version: Option<u8>,
    headers: Vec<(Span, Span)>,
    host: Option<Span>,
    last_event_id: Option<Span>,
    has_body: bool,
}

impl Head {
    /// A head that somebody else has read, such as an HTTP server. It is held to the same
    /// rules, but for the limits of its size, which are the reader's matter.
    ///
    /// The target of HTTP/2 and 3 is the URL that their pseudo-headers make up; their
    /// `minor_version` is none, and they need no `Host`.
    ///
    /// ```
    /// use sse_core::Head;
    ///
    /// let headers = [("last-event-id", &b"54"[..])];
    /// let head = Head::from_parts("GET", "https://a.example/sse?x=y", None, headers)?;
    /// assert_eq!((head.host(), head.path()), ("a.example", "/sse"));
    /// # Ok::<(), sse_core::Rejection>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The answer to a head that is malformed, 400, or of 4 GiB, 431.
    pub fn from_parts<'h>(
        method: &str,
        target: &str,
        minor_version: Option<u8>,
        headers: impl IntoIterator<Item = (&'h str, &'h [u8])>,
    ) -> Result<Self, Rejection> {
        let mut parts = Parts(Vec::with_capacity(512));
        let (method_span, target_span) =
            (parts.add(method.as_bytes()), parts.add(target.as_bytes()));
        let mut fields = Fields::default();
        let mut spans = Vec::new();
        for (name, value) in headers {
            let span = (parts.add(name.as_bytes()), parts.add(value));
            let is_value = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
            if !is_token(name) || !value.iter().all(is_value) {
                return Err(Rejection::BAD_REQUEST
                    .because("a header name is no token, or its value has a control character"));
            }
            fields.note(name, value, span.1);
            spans.push(span);
        }
        if parts.0.len() > MAX_SIZE {
            return Err(Rejection::HEADERS_TOO_LARGE);
        }
        if !is_token(method) || target.bytes().any(|byte| byte <= b' ' || byte == b'\x7f') {
            return Err(Rejection::BAD_REQUEST.because(
                "the method is no token, or the target has a space or a control character",
            ));
        }
        check_target(method, target)?;
        Self {
            bytes: parts.0,
            method: method_span,
            target: target_span,
            minor_version,
            headers: spans,
            has_body: fields.check(minor_version)?,
            host: fields.host,
            last_event_id: fields.last_event_id,
        }
        .check_query()
    }

    /// The method, such as `GET`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.text(self.method)
    }

    /// The request target as it was sent.
    #[must_use]
    pub fn target(&self) -> &str {
        self.text(self.target)
    }

    /// The target's path, still percent-encoded, never empty.
    #[must_use]
    pub fn path(&self) -> &str {
        let (_, path_and_query) = split_target(self.target());
        match path_and_query.split('?').next() {
            None | Some("") => "/",
            Some(path) => path,
        }
    }

    /// The target's query, still percent-encoded and without the `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        let (_, path_and_query) = split_target(self.target());
        path_and_query.split_once('?').map(|(_, query)| query)
    }

    /// The minor version of HTTP/1, 0 or 1; none of another version.
    #[must_use]
    pub const fn minor_version(&self) -> Option<u8> {
        self.minor_version
    }

    /// The host that is asked, with the port if one was sent: of an absolute target, else
    /// of the `Host` header. Empty where an HTTP/1.0 client sends none.
    #[must_use]
    pub fn host(&self) -> &str {
        let (authority, _) = split_target(self.target());
        authority.unwrap_or_else(|| self.host.map_or("", |host| self.text(host)))
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.header_values(name).next()
    }

    /// The values of all headers of that name, in any case.
    pub fn header_values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |(other, _)| self.slice(*other).eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| self.slice(*value))
    }

    /// All headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers
            .iter()
            .map(|(name, value)| (self.text(*name), self.slice(*value)))
    }

    /// The last event ID that the client has seen: the `Last-Event-ID` header, else the
    /// query's `lastEventId` or `last_event_id`, in which polyfills send it. An empty one
    /// is none; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn last_event_id(&self) -> Option<EventId<'_>> {
        // What is no event ID has been refused when the head was parsed.
        self.find_last_event_id().ok().flatten()
    }

    /// Whether a body follows the head.
    #[must_use]
    pub const fn has_body(&self) -> bool {
        self.has_body
    }

    fn parse<'b>(
        bytes: &'b [u8],
        headers: &mut [MaybeUninit<httparse::Header<'b>>],
    ) -> Result<Self, Rejection> {
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, headers) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Ok(_) => return Err(Rejection::BAD_REQUEST),
            Err(error) => return Err(malformed(error, bytes)),
        }
        let (Some(method), Some(target), minor_version @ Some(_)) =
            (request.method, request.path, request.version)
        else {
            return Err(Rejection::BAD_REQUEST);
        };
        let mut fields = Fields::default();
        let spans = request.headers.iter().map(|header| {
            let value = Span::of(header.value, bytes);
            fields.note(header.name, header.value, value);
            (Span::of(header.name.as_bytes(), bytes), value)
        });
        let headers = spans.collect();
        let has_body = fields.check(minor_version)?;
        check_target(method, target)?;
        Self {
            method: Span::of(method.as_bytes(), bytes),
            target: Span::of(target.as_bytes(), bytes),
            minor_version,
            headers,
            host: fields.host,
            last_event_id: fields.last_event_id,
            has_body,
            bytes: bytes.to_vec(),
        }
        .check_query()
    }

    fn check_query(self) -> Result<Self, Rejection> {
        match self.query().map(|_| self.find_last_event_id()) {
            Some(Err(_)) => Err(Rejection::BAD_REQUEST
                .because("the last event ID in the query has a line break or a NUL")),
            _ => Ok(self),
        }
    }

    fn find_last_event_id(&self) -> Result<Option<EventId<'_>>, FieldError> {
        let id = match self.last_event_id.map(|id| self.slice(id)) {
            Some([]) | None => self.query().and_then(|query| {
                form_urlencoded::parse(query.as_bytes())
                    .filter(|(key, _)| matches!(&**key, "lastEventId" | "last_event_id"))
                    .map(|(_, value)| value)
                    .find(|value| !value.is_empty())
            }),
            Some(value) => Some(String::from_utf8_lossy(value)),
        };
        id.map(EventId::new).transpose()
    }

    fn slice(&self, span: Span) -> &[u8] {
        span.of_bytes(&self.bytes)
    }

    fn text(&self, span: Span) -> &str {
        str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the headers: they hold cookies and tokens.
        f.debug_struct("Head")
            .field("method", &self.method())
            .field("target", &self.target())
            .field("minor_version", &self.minor_version)
            .finish_non_exhaustive()
    }
}

/// Finds the request head in input that arrives in pieces.
///
/// No byte is looked at twice on the way to the head's end, where the head is parsed. One that
/// comes in one piece is parsed at once, without looking for its end.
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
    max_size: usize,
    max_headers: usize,
    bytes: Vec<u8>,
    /// Where the line begins in which `bytes` ends.
    line: usize,
    /// How many lines have ended, not counting blank ones before the request line.
    lines: usize,
}

impl HeadReader {
    /// The default of [`max_size`](Self::max_size): 16 KiB.
    pub const DEFAULT_MAX_SIZE: usize = 16 << 10;

    /// The default of [`max_headers`](Self::max_headers): 100.
    pub const DEFAULT_MAX_HEADERS: usize = 100;

    /// A reader for one head.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_size: Self::DEFAULT_MAX_SIZE,
            max_headers: Self::DEFAULT_MAX_HEADERS,
            bytes: Vec::new(),
            line: 0,
            lines: 0,
        }
    }

    /// How large the head may be, in bytes, with blank lines before it and the one after
    /// it, and never 4 GiB. Room for it is taken as it arrives.
    #[must_use]
    pub const fn max_size(mut self, bytes: usize) -> Self {
        self.max_size = if bytes < MAX_SIZE { bytes } else { MAX_SIZE };
        self
    }

    /// How many headers there may be.
    #[must_use]
    pub const fn max_headers(mut self, count: usize) -> Self {
        self.max_headers = count;
        self
    }

    /// Takes from the front of `input` up to the end of the head.
    ///
    /// `None` means "not yet": all of `input` has been taken. What follows the head stays
    /// in `input`.
    ///
    /// # Errors
    ///
    /// The answer to a head that is malformed or too large: 400, 414, 431, 505.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Rejection> {
        if let Some(head) = self.read_at_once(input) {
            *input = &[];
            return Ok(Some(head));
        }
        let before = self.bytes.len();
        let room = self.max_size.saturating_sub(before).min(input.len());
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
        match room < input.len() {
            true if self.lines == 0 => Err(Rejection::URI_TOO_LONG),
            true => Err(Rejection::HEADERS_TOO_LARGE),
            false => {
                *input = &[];
                Ok(None)
            }
        }
    }

    /// Whether nothing has arrived.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Nearly every head comes in one piece, with nothing after it. Then its end need not be
    /// looked for: where it is parsed to the end, there it ends.
    fn read_at_once(&self, input: &[u8]) -> Option<Head> {
        let is_likely =
            self.bytes.is_empty() && input.ends_with(b"\r\n\r\n") && input.len() <= self.max_size;
        let headers = &mut [const { MaybeUninit::uninit() }; Self::DEFAULT_MAX_HEADERS];
        let count = headers.len().min(self.max_headers);
        // What is wrong with any other is told by those who look at every line.
        is_likely
            .then(|| Head::parse(input, &mut headers[..count]).ok())
            .flatten()
    }

    /// Parses the head, and is ready for another.
    fn finish(&mut self) -> Result<Head, Rejection> {
        let bytes = mem::take(&mut self.bytes);
        let headers = mem::take(&mut self.lines) - 1;
        self.line = 0;
        match headers <= self.max_headers {
            true => Head::parse(&bytes, &mut Box::new_uninit_slice(headers)),
            false => Err(Rejection::HEADERS_TOO_LARGE),
        }
    }

    /// What speaks something else, such as TLS, is to learn it at once, not at a deadline.
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

/// What a [`Span`] can tell.
const MAX_SIZE: usize = u32::MAX as usize;

/// A part of the head's bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Where `part` lies within `bytes`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a head is smaller than 4 GiB"
    )]
    fn of(part: &[u8], bytes: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
        Self {
            start: start as u32,
            end: (start + part.len()) as u32,
        }
    }

    fn of_bytes(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// The bytes of a head that is put together.
struct Parts(Vec<u8>);

impl Parts {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a head of 4 GiB is refused before a span of it is used"
    )]
    fn add(&mut self, part: &[u8]) -> Span {
        let start = self.0.len() as u32;
        self.0.extend_from_slice(part);
        Span {
            start,
            end: self.0.len() as u32,
        }
    }
}

/// What the framing depends on.
#[derive(Default)]
struct Fields {
    host: Option<Span>,
    bad_host: bool,
    last_event_id: Option<Span>,
    content_length: Option<bool>,
    bad_length: bool,
    transfer_encoding: bool,
}

impl Fields {
    fn note(&mut self, name: &str, value: &[u8], span: Span) {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => {
                self.bad_host |= self.host.is_some() || !is_authority(value);
                self.host = Some(span);
            }
            13 if is("last-event-id") => {
                self.last_event_id.get_or_insert(span);
            }
            14 if is("content-length") => {
                self.bad_length |= self.content_length.is_some()
                    || value.is_empty()
                    || !value.iter().all(u8::is_ascii_digit);
                self.content_length = Some(value.iter().any(|digit| *digit != b'0'));
            }
            17 if is("transfer-encoding") => self.transfer_encoding = true,
            _ => {}
        }
    }

    /// Whether a body follows.
    fn check(&self, minor_version: Option<u8>) -> Result<bool, Rejection> {
        let bad = |reason| Err(Rejection::BAD_REQUEST.because(reason));
        if self.bad_host {
            return bad("Host is there twice or is no host; send it once");
        }
        // RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to
        // any HTTP/1.1 request message that lacks a Host header field".
        if self.host.is_none() && minor_version == Some(1) {
            return bad("Host is missing; HTTP/1.1 requires it");
        }
        if self.bad_length {
            return bad("Content-Length is there twice or is no number");
        }
        if self.transfer_encoding && self.content_length.is_some() {
            return bad("there is Content-Length beside Transfer-Encoding; send one of them");
        }
        // RFC 9112, 6.1: "A server or client that receives an HTTP/1.0 message containing
        // a Transfer-Encoding header field MUST treat the message as if the framing is
        // faulty".
        if self.transfer_encoding && minor_version == Some(0) {
            return bad("there is Transfer-Encoding, which HTTP/1.0 does not have");
        }
        Ok(self.transfer_encoding || self.content_length == Some(true))
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// RFC 9112, 3.2: which form of target goes with which method.
fn check_target(method: &str, target: &str) -> Result<(), Rejection> {
    let is_legal = match split_target(target) {
        _ if method == "CONNECT" => is_authority(target.as_bytes()),
        (Some(authority), rest) => {
            !authority.is_empty()
                && is_authority(authority.as_bytes())
                && matches!(rest.bytes().next(), None | Some(b'/' | b'?'))
        }
        (None, "*") => method == "OPTIONS",
        (None, path) => path.starts_with('/'),
    };
    match is_legal && !target.contains('#') {
        true => Ok(()),
        false => Err(Rejection::BAD_REQUEST
            .because("the request target is neither a path nor an absolute http URL")),
    }
}

/// The authority of an absolute target, and what follows it; else all of the target.
fn split_target(target: &str) -> (Option<&str>, &str) {
    if target.starts_with('/') {
        return (None, target);
    }
    match target.split_once("://") {
        Some((scheme, rest))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") =>
        {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            (Some(&rest[..end]), &rest[end..])
        }
        _ => (None, target),
    }
}

/// RFC 3986, 3.2: a host, which may be empty, and perhaps a port; no user information
/// (RFC 9110, 4.2.4).
pub(crate) fn is_authority(text: &[u8]) -> bool {
    let (is_host, port) = match text {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => (is_ip_literal(&rest[..end]), &rest[end + 1..]),
            None => return false,
        },
        _ => {
            let end = text
                .iter()
                .position(|byte| *byte == b':')
                .unwrap_or(text.len());
            (is_registered_name(&text[..end]), &text[end..])
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_host && is_port
}

fn is_ip_literal(text: &[u8]) -> bool {
    str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

fn is_registered_name(mut name: &[u8]) -> bool {
    loop {
        name = match name {
            [] => return true,
            [b'%', a, b, rest @ ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if byte.is_ascii_alphanumeric() => rest,
            [
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
                | b',' | b';' | b'=',
                rest @ ..,
            ] => rest,
            _ => return false,
        }
    }
}

fn malformed(error: httparse::Error, bytes: &[u8]) -> Rejection {
    match error {
        httparse::Error::Version if has_other_version(bytes) => Rejection::VERSION_NOT_SUPPORTED,
        httparse::Error::TooManyHeaders => Rejection::HEADERS_TOO_LARGE,
        httparse::Error::HeaderName => Rejection::BAD_REQUEST
            .because("a header name is malformed: it has a space, is folded, or is no token"),
        httparse::Error::HeaderValue => {
            Rejection::BAD_REQUEST.because("a header value has a control character")
        }
        _ => Rejection::BAD_REQUEST.because("the request line or a line end is malformed"),
    }
}

/// Whether the request line ends like that of another version of HTTP.
fn has_other_version(bytes: &[u8]) -> bool {
    let line = bytes.trim_ascii_start().split(|byte| *byte == b'\n').next();
    let version = line.and_then(|line| line.trim_ascii_end().rsplit(|byte| *byte == b' ').next());
    matches!(
        version,
        Some([b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'])
            if !matches!((major, minor), (b'1', b'0' | b'1'))
    )
}
