//! From a bare connection to an event stream.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::event::Event;
use crate::field::{EventId, Fault, Field, FieldError};
use crate::head::{Head, HeadReader, is_authority};
use crate::negotiate::accepts_event_stream;
use crate::outbox::{Outbox, SendError};
use crate::response::{Headers, Rejection, Response};
use crate::stream::{CloseError, Stream};

/// Takes over connections: reads the request head, refuses what is wrong, and hands over
/// a stream. Cheap to clone.
///
/// [`read`](Self::read) refuses what is no request that an event stream's server can
/// answer. Then the application looks, at the path say, and accepts, answers or rejects;
/// [`Request::accept`] refuses what asks for something else than an event stream. The
/// judgements are pure functions, for those who bring their own input and output:
/// [`check`](Self::check), [`answer_options`](Self::answer_options),
/// [`accept`](Self::accept) and [`accept_head`](Self::accept_head).
///
/// ```no_run
/// use std::net::TcpListener;
/// use std::{thread, time::Duration};
/// use sse_core::{Rejection, UpgradeError, Upgrader};
///
/// let upgrader = Upgrader::new().allow_origin("https://example.org")?;
/// for conn in TcpListener::bind("127.0.0.1:31337")?.incoming() {
///     let (conn, upgrader) = (conn?, upgrader.clone());
///     thread::spawn(move || -> Result<(), UpgradeError> {
///         conn.set_read_timeout(Some(Duration::from_secs(10)))?;
///         let request = upgrader.read(conn)?;
///         let mut stream = match request.path() {
///             "/sse" => request.accept()?,
///             _ => return request.reject(Rejection::NOT_FOUND),
///         };
///         Ok(stream.write_str("hey there")?)
///     });
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Time is the connection's matter: a `read` of the connection that gives
/// [`WouldBlock`](io::ErrorKind::WouldBlock) or [`TimedOut`](io::ErrorKind::TimedOut) is
/// answered with 408. A timeout of a socket bounds each read and each write; to bound the whole
/// head, wrap the connection in a reader that shortens the timeout as time passes. That also
/// bounds how long a peer may go on sending after it has been refused in the middle of its
/// request, which is read to its end, so that the answer is not lost in a reset.
#[derive(Debug, Clone, Default)]
pub struct Upgrader(Arc<Settings>);

impl Upgrader {
    /// What a peer may still send after it has been refused in the middle of its request, or
    /// has had its answer but sent more than the head, before the connection is dropped:
    /// 256 KiB. Dropping a connection with unread input resets it, and the answer would be
    /// lost.
    pub const MAX_LINGER: u64 = 256 << 10;

    /// An upgrader for requests to any host, without CORS headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers only for this host and others so named: `example.org` with any port, or
    /// `example.org:8080`. Others get 421. By default every host is answered for. Browsers don't
    /// send the port that is their scheme's own, so don't name 80 and 443.
    ///
    /// Name the hosts of a server that listens on localhost: otherwise a web page whose
    /// name is made to resolve there (DNS rebinding) reads its streams.
    ///
    /// # Errors
    ///
    /// Text that is no host.
    pub fn allow_host(mut self, host: &str) -> Result<Self, FieldError> {
        check_authority(Field::Host, host, 0)?;
        self.settings().hosts.push(host.to_ascii_lowercase());
        Ok(self)
    }

    /// Lets pages of this origin and others so named read the stream (CORS), and refuses
    /// pages of other origins with 403. Requests without `Origin` are not affected.
    ///
    /// By default no CORS header is sent: browsers show the stream to pages of its own
    /// origin only.
    ///
    /// # Errors
    ///
    /// Text that is no origin, which has a scheme, a host and perhaps a port, but no slash
    /// at its end.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, FieldError> {
        // An opaque origin, such as that of a local file, is spelt "null".
        if origin != "null" {
            match origin.find("://") {
                Some(scheme @ 1..) if is_scheme(&origin[..scheme]) => {
                    check_authority(Field::Origin, origin, scheme + 3)?;
                }
                _ if origin.is_empty() => check_authority(Field::Origin, origin, 0)?,
                _ => return Err(FieldError::new(Field::Origin, Fault::Malformed)),
            }
        }
        let mut origin = origin.to_ascii_lowercase();
        // RFC 6454, 6.2: an origin does not name its scheme's own port.
        for (scheme, port) in [("http://", ":80"), ("https://", ":443")] {
            if origin.starts_with(scheme) && origin.ends_with(port) {
                origin.truncate(origin.len() - port.len());
            }
        }
        match &mut self.settings().origins {
            Origins::Listed(origins) => origins.push(origin),
            others => *others = Origins::Listed(vec![origin]),
        }
        Ok(self)
    }

    /// Lets pages of every origin read the stream (CORS).
    #[must_use]
    pub fn allow_any_origin(mut self) -> Self {
        self.settings().origins = Origins::Any;
        self
    }

    /// Lets pages of the allowed origins send cookies and other credentials along. Off by
    /// default; with any origin allowed it lets every page act for its visitor.
    #[must_use]
    pub fn allow_credentials(mut self) -> Self {
        self.settings().credentials = true;
        self
    }

    /// A header of the accepting response, in place of any of the same name, `Cache-Control`
    /// and `X-Accel-Buffering` among them.
    ///
    /// # Errors
    ///
    /// A name that is no token, a value with a control character, one of the headers that the
    /// framing depends on, or one of CORS, which follow from the allowed origins.
    pub fn header(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Into<Cow<'static, str>>,
    ) -> Result<Self, FieldError> {
        let name = name.into();
        // Those would contradict what the allowed origins lead to.
        if CORS.iter().any(|ours| ours.eq_ignore_ascii_case(&name)) {
            return Err(FieldError::new(Field::HeaderName, Fault::Reserved));
        }
        self.settings().headers.insert(name, value.into())?;
        Ok(self)
    }

    /// Announces how long the client is to wait before it reconnects. By default nothing
    /// is announced; browsers then wait a few seconds.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.settings().retry = Some(retry);
        self
    }

    /// How large a request head may be, in bytes; see [`HeadReader::max_size`]. The
    /// default is 16 KiB.
    #[must_use]
    pub fn max_head_size(mut self, bytes: usize) -> Self {
        self.settings().max_head_size = bytes;
        self
    }

    /// How many headers a request may have. The default is 100.
    #[must_use]
    pub fn max_headers(mut self, count: usize) -> Self {
        self.settings().max_headers = count;
        self
    }

    /// Reads a request head from `conn` and [checks](Self::check) it.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Rejected`] for what is refused, [`UpgradeError::Answered`] for
    /// `OPTIONS`: both have been answered. [`UpgradeError::Io`] when the connection fails,
    /// or ends before anything was sent.
    pub fn read<C: Read + Write>(&self, mut conn: C) -> Result<Request<C>, UpgradeError> {
        let mut is_head_only = false;
        let checked = self.read_head(&mut conn).and_then(|(head, has_more)| {
            is_head_only = head.method() == "HEAD";
            self.check(&head)?;
            Ok((head, has_more))
        });
        let (head, has_more) = match checked {
            Ok(read) => read,
            Err(UpgradeError::Rejected(rejection)) => {
                let _ = respond(&mut conn, &rejection.clone().into(), is_head_only);
                // A peer that has stalled sends nothing that could reset the connection.
                if rejection != Rejection::REQUEST_TIMEOUT {
                    linger(&mut conn);
                }
                return Err(UpgradeError::Rejected(rejection));
            }
            Err(error) => return Err(error),
        };
        if let Some(answer) = self.answer_options(&head) {
            respond(&mut conn, &answer, false)?;
            return Err(UpgradeError::Answered);
        }
        Ok(Request {
            upgrader: self.clone(),
            head,
            has_more,
            conn,
        })
    }

    /// A reader for one request head, with this upgrader's limits.
    #[must_use]
    pub fn head_reader(&self) -> HeadReader {
        HeadReader::new()
            .max_size(self.0.max_head_size)
            .max_headers(self.0.max_headers)
    }

    /// Judges whether `head` is a request that can be answered at all.
    ///
    /// # Errors
    ///
    /// 405 for a method other than `GET`, `HEAD` and `OPTIONS`, 413 for a request with a
    /// body, 421 for a host that is not allowed.
    pub fn check(&self, head: &Head) -> Result<(), Rejection> {
        if !matches!(head.method(), "GET" | "HEAD" | "OPTIONS") {
            return Err(Rejection::METHOD_NOT_ALLOWED);
        }
        if head.has_body() {
            return Err(Rejection::CONTENT_TOO_LARGE);
        }
        if !self.0.is_allowed_host(head.host()) {
            return Err(Rejection::MISDIRECTED_REQUEST);
        }
        Ok(())
    }

    /// The answer to an `OPTIONS` request, a CORS preflight among them; `None` for other
    /// methods.
    #[must_use]
    pub fn answer_options(&self, head: &Head) -> Option<Response> {
        if head.method() != "OPTIONS" {
            return None;
        }
        let mut headers = match self.0.cors(head) {
            Ok(headers) => headers,
            Err(rejection) => return Some(rejection.into_response()),
        };
        headers.add("Allow", "GET, HEAD, OPTIONS");
        let is_preflight = head.header("access-control-request-method").is_some();
        if is_preflight && !matches!(self.0.origins, Origins::Unchecked) {
            headers.add("Access-Control-Allow-Methods", "GET, HEAD");
            headers.add("Access-Control-Max-Age", "7200");
            if let Some(names) = head.header("access-control-request-headers") {
                let names = String::from_utf8_lossy(names).into_owned();
                headers.add("Access-Control-Allow-Headers", names);
            }
        }
        Some(Response::new(204).with_headers(headers))
    }

    /// The response that accepts `head`, for those who answer by way of an HTTP server. Its
    /// body is only the beginning: the `retry` that is announced.
    ///
    /// # Errors
    ///
    /// 405 for a method other than `GET` and `HEAD`, 406 where `Accept` excludes
    /// `text/event-stream`, 403 for an origin that is not allowed.
    pub fn accept(&self, head: &Head) -> Result<Response, Rejection> {
        let is_head_only = match head.method() {
            "GET" => false,
            "HEAD" => true,
            _ => return Err(Rejection::METHOD_NOT_ALLOWED),
        };
        if !accepts_event_stream(head.header_values("accept")) {
            return Err(Rejection::NOT_ACCEPTABLE);
        }
        let mut headers = self.0.headers.clone();
        headers.add_default("Cache-Control", "no-cache, no-transform");
        headers.add_default("X-Accel-Buffering", "no");
        headers.append(self.0.cors(head)?);

        let retry = self.0.retry.filter(|_| !is_head_only);
        Ok(Response::new(200).with_headers(headers).body(
            "text/event-stream",
            retry.map_or_else(String::new, announce),
        ))
    }

    /// The response head that accepts `head`, and the `retry` that is announced: the wire
    /// form of what [`accept`](Self::accept) gives.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub fn accept_head(&self, head: &Head) -> Result<Vec<u8>, Rejection> {
        let mut out = Vec::with_capacity(256);
        self.accept(head)?.encode_open(&mut out);
        Ok(out)
    }

    /// A head, and whether the peer has sent more than that.
    fn read_head(&self, conn: &mut impl Read) -> Result<(Head, bool), UpgradeError> {
        let mut reader = self.head_reader();
        let mut piece = [0; 2048];
        loop {
            let mut input = match conn.read(&mut piece) {
                Ok(0) if reader.is_empty() => {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Ok(0) => {
                    return Err(Rejection::BAD_REQUEST
                        .because("the connection ended within the request head")
                        .into());
                }
                Ok(len) => &piece[..len],
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        return Err(Rejection::REQUEST_TIMEOUT.into());
                    }
                    _ => return Err(error.into()),
                },
            };
            if let Some(head) = reader.read(&mut input)? {
                return Ok((head, !input.is_empty()));
            }
        }
    }

    fn settings(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.0)
    }
}

/// A request that awaits the application's decision.
pub struct Request<C> {
    upgrader: Upgrader,
    head: Head,
    /// Whether the peer has sent more than the head.
    has_more: bool,
    conn: C,
}

impl<C> Request<C> {
    /// The request head.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The method: `GET` or `HEAD`.
    pub fn method(&self) -> &str {
        self.head.method()
    }

    /// The target's path, still percent-encoded; see [`Head::path`].
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// The target's query, still percent-encoded; see [`Head::query`].
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The first header of that name; see [`Head::header`].
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    /// The last event ID that the client has seen; see [`Head::last_event_id`].
    pub fn last_event_id(&self) -> Option<EventId<'_>> {
        self.head.last_event_id()
    }

    /// The connection.
    pub const fn conn(&self) -> &C {
        &self.conn
    }

    /// The head and the connection, for those who answer themselves.
    pub fn into_parts(self) -> (Head, C) {
        (self.head, self.conn)
    }
}

impl<C: Read + Write> Request<C> {
    /// Accepts: writes the response head, flushes, and hands over the stream.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Rejected`] for what [`Upgrader::accept_head`] refuses,
    /// [`UpgradeError::Answered`] for `HEAD`: both have been answered.
    /// [`UpgradeError::Io`] when the connection fails.
    pub fn accept(mut self) -> Result<Stream<C>, UpgradeError> {
        let accepting = match self.upgrader.accept_head(&self.head) {
            Ok(accepting) => accepting,
            Err(rejection) => {
                let _ = self.answer(&rejection.clone().into());
                return Err(rejection.into());
            }
        };
        let is_head_only = self.is_head_only();
        let mut outbox = Outbox::new();
        outbox.push_raw(&accepting);
        let mut stream = Stream::with_outbox(self.conn, outbox);
        stream.flush()?;
        match is_head_only {
            true => Err(UpgradeError::Answered),
            false => Ok(stream),
        }
    }

    /// Refuses, for the application's own reason.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Io`] when the connection fails.
    pub fn reject(self, rejection: Rejection) -> Result<(), UpgradeError> {
        self.respond(rejection)
    }

    /// Answers with something else than a stream. For `HEAD` the body is left out.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Io`] when the connection fails.
    pub fn respond(mut self, response: impl Into<Response>) -> Result<(), UpgradeError> {
        Ok(self.answer(&response.into())?)
    }

    fn answer(&mut self, response: &Response) -> io::Result<()> {
        let is_head_only = self.is_head_only();
        respond(&mut self.conn, response, is_head_only)?;
        if self.has_more {
            linger(&mut self.conn);
        }
        Ok(())
    }

    fn is_head_only(&self) -> bool {
        self.method() == "HEAD"
    }
}

impl<C> fmt::Debug for Request<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

/// Why a connection did not become a stream.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The request was refused. The peer has been told, unless the connection failed.
    Rejected(Rejection),
    /// The request asked for no stream (`HEAD`, `OPTIONS`) and has its answer.
    Answered,
    /// An event could not be sent on the stream.
    Send(SendError),
    /// The connection failed.
    Io(io::Error),
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejection) => write!(f, "refused with {rejection}"),
            Self::Answered => f.write_str("the request asked for no stream and has its answer"),
            Self::Send(error) => error.fmt(f),
            Self::Io(error) => write!(f, "the connection failed: {error}"),
        }
    }
}

impl Error for UpgradeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Rejected(rejection) => Some(rejection),
            Self::Send(error) => Some(error),
            Self::Io(error) => Some(error),
            Self::Answered => None,
        }
    }
}

impl From<Rejection> for UpgradeError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<io::Error> for UpgradeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

// So that a connection's handler can use `?` throughout.

impl From<SendError> for UpgradeError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Io(error) => Self::Io(error),
            error => Self::Send(error),
        }
    }
}

impl From<FieldError> for UpgradeError {
    fn from(error: FieldError) -> Self {
        Self::Send(error.into())
    }
}

impl<W> From<CloseError<W>> for UpgradeError {
    fn from(error: CloseError<W>) -> Self {
        Self::Io(error.into())
    }
}

/// The headers that follow from the allowed origins.
const CORS: [&str; 5] = [
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Max-Age",
];

#[derive(Debug, Clone)]
struct Settings {
    max_head_size: usize,
    max_headers: usize,
    /// In lower case; empty where any host will do.
    hosts: Vec<String>,
    origins: Origins,
    credentials: bool,
    headers: Headers,
    retry: Option<Duration>,
}

impl Settings {
    fn is_allowed_host(&self, host: &str) -> bool {
        if self.hosts.is_empty() {
            return true;
        }
        let host = host.to_ascii_lowercase();
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &host,
        };
        self.hosts
            .iter()
            .any(|allowed| allowed == name || *allowed == host)
    }

    /// The CORS headers of an answer (Fetch, "CORS protocol").
    fn cors(&self, head: &Head) -> Result<Headers, Rejection> {
        let mut headers = Headers::new();
        let is_any = match &self.origins {
            Origins::Unchecked => return Ok(headers),
            Origins::Any => true,
            Origins::Listed(_) => false,
        };
        // "*" does not go with credentials.
        if is_any && !self.credentials {
            headers.add("Access-Control-Allow-Origin", "*");
            return Ok(headers);
        }
        headers.add("Vary", "Origin");
        if let Some(origin) = head.header("origin") {
            let origin = String::from_utf8_lossy(origin);
            if !self.origins.allow(&origin) {
                return Err(
                    Rejection::FORBIDDEN.because("pages of this origin may not read the stream")
                );
            }
            headers.add("Access-Control-Allow-Origin", origin.into_owned());
            if self.credentials {
                headers.add("Access-Control-Allow-Credentials", "true");
            }
        }
        Ok(headers)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_head_size: HeadReader::DEFAULT_MAX_SIZE,
            max_headers: HeadReader::DEFAULT_MAX_HEADERS,
            hosts: Vec::new(),
            origins: Origins::Unchecked,
            credentials: false,
            headers: Headers::new(),
            retry: None,
        }
    }
}

#[derive(Debug, Clone)]
enum Origins {
    Unchecked,
    Any,
    /// In lower case.
    Listed(Vec<String>),
}

impl Origins {
    fn allow(&self, origin: &str) -> bool {
        match self {
            Self::Unchecked | Self::Any => true,
            Self::Listed(origins) => origins
                .iter()
                .any(|allowed| allowed.eq_ignore_ascii_case(origin)),
        }
    }
}

fn announce(retry: Duration) -> String {
    let mut out = Vec::new();
    Event::new().retry(retry).encode(&mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn respond(conn: &mut impl Write, response: &Response, is_head_only: bool) -> io::Result<()> {
    let mut out = Vec::new();
    response.encode(is_head_only, &mut out);
    conn.write_all(&out)?;
    conn.flush()
}

/// Reads what a peer still sends that has had its answer: dropping a connection with unread
/// input resets it, and the answer would be lost.
fn linger(conn: &mut impl Read) {
    let _ = io::copy(&mut conn.take(Upgrader::MAX_LINGER), &mut io::sink());
}

/// RFC 3986, 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

fn has_sane_port(authority: &str) -> bool {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains('[') || host.ends_with(']') => {
            port.parse::<u16>().is_ok()
        }
        _ => true,
    }
}

/// Whether `text` is an authority from `start` on.
fn check_authority(field: Field, text: &str, start: usize) -> Result<(), FieldError> {
    let authority = &text.as_bytes()[start..];
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()+;=%:[]".contains(&byte);
    if let Some(offset) = authority.iter().position(|byte| !is_legal(*byte)) {
        return Err(FieldError::character(field, text, start + offset));
    }
    match authority {
        [] if text.is_empty() => Err(FieldError::new(field, Fault::Empty)),
        [] | [.., b':'] => Err(FieldError::new(field, Fault::Malformed)),
        _ if is_authority(authority) && has_sane_port(&text[start..]) => Ok(()),
        _ => Err(FieldError::new(field, Fault::Malformed)),
    }
}
