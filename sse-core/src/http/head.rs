//! The request head: found, parsed once, and held to RFC 9112.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::net::Ipv6Addr;
use std::{fmt, str};

use memchr::{memchr_iter, memrchr};

use super::list::is_token_byte;
use super::response::Rejection;
use crate::event::EventId;

/// A well-framed request head: of HTTP/1.0 or 1.1, or, [from its parts](Self::from_parts), of
/// any version.
///
/// What is not well framed never becomes one: a head has a method, a target of ASCII in one
/// of the forms of [RFC 9112, 3.2], at most one valid `Host` (exactly one in 1.1), not both
/// `Content-Length` and `Transfer-Encoding`, and no transfer coding but `chunked`.
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
    body: Body,
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
            body: fields.check(minor_version)?,
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

    /// The minor version of HTTP/1, 0 or 1; none of another version. A request of HTTP/1.2 is
    /// read as one of 1.1 (RFC 9110, 2.5).
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
    /// query's `lastEventId`, `last_event_id` (polyfills) or `lastEventID` (Mercure). An empty
    /// one is none; blanks at its ends do not count; what is not UTF-8 becomes U+FFFD.
    ///
    /// It may be longer than the IDs that this library sends, and is then known to no log.
    #[must_use]
    pub fn last_event_id(&self) -> Option<EventId<'_>> {
        // A control character in it has been refused when the head was parsed.
        self.find_last_event_id().map(EventId::trusted)
    }

    /// Whether a body follows the head, which may be empty if it is
    /// [chunked](Self::is_chunked).
    #[must_use]
    pub const fn has_body(&self) -> bool {
        !matches!(self.body, Body::None)
    }

    /// Whether the body is chunked: only its first chunk tells whether there is content.
    #[must_use]
    pub const fn is_chunked(&self) -> bool {
        matches!(self.body, Body::Chunked)
    }

    fn parse<'b>(
        bytes: &'b [u8],
        headers: &mut [MaybeUninit<httparse::Header<'b>>],
    ) -> Result<Self, Rejection> {
        let max_headers = headers.len();
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, headers) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Ok(_) => return Err(Rejection::BAD_REQUEST),
            Err(httparse::Error::Version) => match as_http_1_1(bytes) {
                Some(bytes) => return Self::parse(&bytes, &mut Box::new_uninit_slice(max_headers)),
                None => return Err(malformed(httparse::Error::Version, bytes)),
            },
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
        let body = fields.check(minor_version)?;
        check_target(method, target)?;
        Self {
            method: Span::of(method.as_bytes(), bytes),
            target: Span::of(target.as_bytes(), bytes),
            minor_version,
            headers,
            host: fields.host,
            last_event_id: fields.last_event_id,
            body,
            bytes: bytes.to_vec(),
        }
        .check_query()
    }

    /// What can be told of a head that is refused, and what its answer depends on: whether the
    /// method is `HEAD`, and the origin of the page that asks. A line that has been cut does not
    /// count.
    fn salvage(bytes: &[u8]) -> Option<Self> {
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

    fn check_query(self) -> Result<Self, Rejection> {
        let is_control = |id: Cow<'_, str>| id.bytes().any(|byte| byte.is_ascii_control());
        match self.query().is_some() && self.query_last_event_id().is_some_and(is_control) {
            true => Err(Rejection::BAD_REQUEST
                .because("the last event ID in the query has a control character")),
            false => Ok(self),
        }
    }

    fn find_last_event_id(&self) -> Option<Cow<'_, str>> {
        match self.last_event_id.map(|id| self.slice(id).trim_ascii()) {
            Some([]) | None => self.query_last_event_id(),
            Some(value) => Some(String::from_utf8_lossy(value)),
        }
    }

    /// The first in the query that is not empty.
    fn query_last_event_id(&self) -> Option<Cow<'_, str>> {
        const NAMES: [&str; 3] = ["lastEventId", "last_event_id", "lastEventID"];
        form_urlencoded::parse(self.query()?.as_bytes())
            .filter(|(name, _)| NAMES.contains(&&**name))
            .map(|(_, value)| trim_blanks(value))
            .find(|value| !value.is_empty())
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
        // Neither the headers nor the query: they hold cookies and tokens.
        let query = self.query().map_or("", |_| "?…");
        f.debug_struct("Head")
            .field("method", &self.method())
            .field("target", &format_args!("{}{query}", self.path()))
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
    refused: Option<Box<Head>>,
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
            refused: None,
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
    /// The answer to a head that is malformed or too large: 400, 414, 431, 501, 505.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Rejection> {
        if let Some(head) = self.read_at_once(input) {
            *input = &[];
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

    /// Returns what is known of a head that [`read`](Self::read) has refused, for the
    /// [`Reply`](crate::Reply): its method and `Origin` alone.
    #[must_use]
    pub fn refused(&self) -> Option<&Head> {
        self.refused.as_deref()
    }

    /// Whether nothing has arrived.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn read_lines(&mut self, input: &mut &[u8]) -> Result<Option<Head>, Rejection> {
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
        let headers = self.lines - 1;
        if headers > self.max_headers {
            return Err(Rejection::HEADERS_TOO_LARGE);
        }
        let head = Head::parse(&self.bytes, &mut Box::new_uninit_slice(headers))?;
        self.bytes = Vec::new();
        (self.line, self.lines) = (0, 0);
        Ok(head)
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
    codings: Option<Codings>,
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
            17 if is("transfer-encoding") => {
                self.codings.get_or_insert_default().note(value);
            }
            _ => {}
        }
    }

    /// What body follows.
    fn check(&self, minor_version: Option<u8>) -> Result<Body, Rejection> {
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
        let Some(codings) = &self.codings else {
            return Ok(match self.content_length {
                Some(true) => Body::Sized,
                _ => Body::None,
            });
        };
        if self.content_length.is_some() {
            return bad("there is Content-Length beside Transfer-Encoding; send one of them");
        }
        // RFC 9112, 6.1: "A server or client that receives an HTTP/1.0 message containing
        // a Transfer-Encoding header field MUST treat the message as if the framing is
        // faulty".
        if minor_version == Some(0) {
            return bad("there is Transfer-Encoding, which HTTP/1.0 does not have");
        }
        codings.check()?;
        Ok(Body::Chunked)
    }
}

/// What follows a head.
#[derive(Debug, Clone, Copy)]
enum Body {
    None,
    /// Some bytes.
    Sized,
    /// Chunks, and perhaps nothing but the one that ends them.
    Chunked,
}

/// The transfer codings of a request, of which all lines make one list (RFC 9110, 5.3).
#[derive(Default)]
struct Codings {
    is_malformed: bool,
    /// How often there is `chunked`.
    chunked: usize,
    has_other: bool,
    is_last_chunked: bool,
}

impl Codings {
    fn note(&mut self, value: &[u8]) {
        let codings = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        // RFC 9110, 5.6.1: empty elements are none.
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
                .because("Transfer-Encoding does not end with chunked, or has it twice"));
        }
        // RFC 9112, 6.1: "A server that receives a request message with a transfer coding it
        // does not understand SHOULD respond with 501 (Not Implemented)."
        match self.has_other {
            true => Err(Rejection::NOT_IMPLEMENTED),
            false => Ok(()),
        }
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// RFC 9112, 3.2: which form of target goes with which method.
fn check_target(method: &str, target: &str) -> Result<(), Rejection> {
    if !target.is_ascii() {
        return Err(Rejection::BAD_REQUEST
            .because("the request target has a character outside ASCII; send it percent-encoded"));
    }
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

/// The same head as one of HTTP/1.1, if it is of a later HTTP/1.
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

fn trim_blanks(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(BLANKS)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(BLANKS).to_owned()),
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// Whether the request line ends like that of another version of HTTP.
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
