//! From a bare connection to an event stream.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::accept::{MEDIA_TYPE, accepts_event_stream};
use super::head::{Head, HeadReader, is_authority};
use super::host::{Host, is_own_origin};
use super::response::{Headers, Rejection, Reply, Response};
use crate::event::Event;
use crate::event::{EventId, Fault, Field, FieldError};
use crate::stream::{CloseError, Stream};
use crate::stream::{Outbox, SendError};

/// Takes over connections: reads the request head, refuses what is wrong, and hands over
/// a stream. Cheap to clone.
///
/// [`read`](Self::read) refuses what is no request that an event stream's server can
/// answer. Then the application looks, at the path say, and accepts, answers or rejects;
/// [`Request::accept`] refuses what asks for something else than an event stream. The
/// judgements are pure functions, for those who bring their own input and output:
/// [`check`](Self::check), [`answer_options`](Self::answer_options),
/// [`accept`](Self::accept), and [`reply`](Self::reply) for whatever is written.
///
/// ```no_run
/// use std::net::{Shutdown, TcpListener};
/// use std::thread;
/// use std::time::{Duration, SystemTime};
/// use sse_core::{Rejection, UpgradeError, Upgrader};
///
/// let upgrader = Upgrader::new().allow_origin("https://example.org")?.clock(SystemTime::now);
/// for conn in TcpListener::bind("127.0.0.1:31337")?.incoming() {
///     let (conn, upgrader) = (conn?, upgrader.clone());
///     thread::spawn(move || -> Result<(), UpgradeError> {
///         conn.set_read_timeout(Some(Duration::from_secs(10)))?;
///         let request = upgrader.read_with(conn, |conn| conn.shutdown(Shutdown::Write))?;
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
/// head, wrap the connection in a reader that shortens the timeout as time passes.
///
/// A response other than a stream is followed by the end of the server's half of the
/// connection, as far as [`read_with`](Self::read_with) can end it, and by reading what the
/// peer still sends: dropping a connection with unread input resets it, and the response would
/// be lost. That takes at most [`MAX_LINGER`](Self::MAX_LINGER) bytes and 64 reads.
#[derive(Debug, Clone, Default)]
pub struct Upgrader(Arc<Settings>);

impl Upgrader {
    /// How many bytes are read from a peer that goes on sending after it has been answered,
    /// before the connection is dropped: 256 KiB.
    pub const MAX_LINGER: u64 = 256 << 10;

    /// An upgrader for requests to any host, without CORS headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers only for this host and others so named: `example.org` with any port, or
    /// `example.org:8080`. Others get 421. By default every host is answered for. Other
    /// spellings of a host are the same host: case, a dot at the end, percent-encoding, an
    /// IPv6 address with its zeros, and the ports 80 and 443, which clients leave out.
    ///
    /// Name the hosts of a server that listens on localhost: otherwise a web page whose
    /// name is made to resolve there (DNS rebinding) reads its streams, since its origin is
    /// then the server's own.
    ///
    /// Chromium asks its user before a page from elsewhere may connect to localhost or to the
    /// local network (Local Network Access), and only for pages that came over HTTPS. No
    /// response header has a part in that, those of Private Network Access have been given up:
    /// the page needs the permission, and CORS besides.
    ///
    /// # Errors
    ///
    /// Text that is no host.
    pub fn allow_host(mut self, host: &str) -> Result<Self, FieldError> {
        check_authority(Field::Host, host, 0)?;
        self.settings().hosts.push(Host::new(host));
        Ok(self)
    }

    /// Lets pages of this origin and others so named read the responses (CORS), and refuses
    /// pages of other origins with 403. Requests without `Origin` are not affected. The
    /// server's own origin, which is that of the host that is asked, is always allowed.
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

    /// Lets pages of every origin read the responses (CORS).
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

    /// Takes requests that have come over TLS: of the two origins that a host's name makes, only
    /// that with `https` is then the server's own. A `Server` knows by itself.
    #[must_use]
    pub fn https(mut self) -> Self {
        self.settings().is_https = true;
        self
    }

    /// Lets [`read`](Self::read) and the [`Request`]s that it gives send `Date`, which a server
    /// that has a clock must (RFC 9110, 6.6.1). This crate has none: [`SystemTime::now`] is one.
    #[must_use]
    pub fn clock(mut self, now: fn() -> SystemTime) -> Self {
        self.settings().clock = Some(now);
        self
    }

    /// Reads a request head from `conn` and [checks](Self::check) it.
    ///
    /// The server's half of the connection ends when `conn` is dropped, for nothing that only
    /// reads and writes can end it earlier. So a peer that has been refused in the middle of its
    /// request, or has sent more than the head, is read until it ends the connection, or a read
    /// times out. [`read_with`](Self::read_with) ends the server's half first.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Rejected`] for what is refused, [`UpgradeError::Answered`] for
    /// `OPTIONS`: both have been answered. [`UpgradeError::Io`] when the connection fails,
    /// or ends before anything was sent.
    pub fn read<C: Read + Write>(&self, conn: C) -> Result<Request<C>, UpgradeError> {
        self.read_head(conn, None)
    }

    /// As [`read`](Self::read); after any response but a stream `shut_down` ends the server's
    /// half of the connection, and may shorten its read timeout. Then the peer is read until it
    /// ends its half, which most do at once.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_with<C: Read + Write>(
        &self,
        conn: C,
        shut_down: fn(&mut C) -> io::Result<()>,
    ) -> Result<Request<C>, UpgradeError> {
        self.read_head(conn, Some(shut_down))
    }

    /// Returns what is written as the response to `head`, whoever writes it: this is the one
    /// way out. It adds the headers of CORS; a `Date` of `now`, which is none where there is no
    /// clock; `Connection: close`. For `HEAD` the body is left out.
    ///
    /// Without a head, or with one that was [refused](HeadReader::refused), it does as much of
    /// that as it can.
    #[must_use]
    pub fn reply(
        &self,
        response: impl Into<Response>,
        head: Option<&Head>,
        now: Option<SystemTime>,
    ) -> Reply {
        let mut response = response.into();
        self.0.add_cors(head, response.headers_mut());
        Reply {
            response,
            date: now,
            is_head_only: head.is_some_and(|head| head.method() == "HEAD"),
        }
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
    ///
    /// A chunked body passes, since some proxies send an empty one with every request. What it
    /// holds has no meaning (RFC 9110, 9.3.1), and as the connection ends with the response
    /// (RFC 9112, 9.6) nothing depends on where it ends: it is read like anything else that a
    /// client sends after its head, and thrown away.
    pub fn check(&self, head: &Head) -> Result<(), Rejection> {
        if !matches!(head.method(), "GET" | "HEAD" | "OPTIONS") {
            return Err(Rejection::METHOD_NOT_ALLOWED);
        }
        if head.has_body() && !head.is_chunked() {
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
        if let Err(rejection) = self.0.check_origin(head) {
            return Some(rejection.into_response());
        }
        let mut headers = Headers::new();
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

    /// The response that accepts `head`. Its body is only the beginning: the `retry` that is
    /// announced.
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
        self.0.check_origin(head)?;
        let mut headers = self.0.headers.clone();
        headers.add_default("Cache-Control", "no-cache, no-transform");
        headers.add_default("X-Accel-Buffering", "no");
        let retry = self.0.retry.filter(|_| !is_head_only);
        let beginning = retry.map_or_else(String::new, announce);
        Ok(Response::new(200)
            .with_headers(headers)
            .with_body(MEDIA_TYPE, beginning)
            .open())
    }

    fn read_head<C: Read + Write>(
        &self,
        mut conn: C,
        shut_down: Option<ShutDown<C>>,
    ) -> Result<Request<C>, UpgradeError> {
        let mut reader = self.head_reader();
        let (head, has_more) = match read(&mut reader, &mut conn) {
            Ok(read) => read,
            Err(UpgradeError::Rejected(rejection)) => {
                let reply = self.reply(rejection.clone(), reader.refused(), self.now());
                // A peer that has stalled sends nothing that could reset the connection.
                let is_sending = rejection != Rejection::REQUEST_TIMEOUT;
                let _ = finish(&mut conn, &reply, shut_down, is_sending);
                return Err(rejection.into());
            }
            Err(error) => return Err(error),
        };
        let mut request = Request {
            upgrader: self.clone(),
            head,
            has_more,
            shut_down,
            conn,
        };
        if let Err(rejection) = self.check(&request.head) {
            request.has_more = true; // Its body may be on its way.
            return Err(request.refuse(rejection));
        }
        match self.answer_options(&request.head) {
            Some(answer) => {
                request.respond(answer)?;
                Err(UpgradeError::Answered)
            }
            None => Ok(request),
        }
    }

    fn now(&self) -> Option<SystemTime> {
        self.0.clock.map(|now| now())
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
    shut_down: Option<ShutDown<C>>,
    conn: C,
}

/// Ends this half of a connection.
type ShutDown<C> = fn(&mut C) -> io::Result<()>;

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
    /// [`UpgradeError::Rejected`] for what [`Upgrader::accept`] refuses,
    /// [`UpgradeError::Answered`] for `HEAD`: both have been answered.
    /// [`UpgradeError::Io`] when the connection fails.
    pub fn accept(self) -> Result<Stream<C>, UpgradeError> {
        let accepting = match self.upgrader.accept(&self.head) {
            Ok(accepting) => accepting,
            Err(rejection) => return Err(self.refuse(rejection)),
        };
        if self.head.method() == "HEAD" {
            self.respond(accepting)?;
            return Err(UpgradeError::Answered);
        }
        let mut outbox = Outbox::new();
        outbox.push_raw(&self.reply(accepting).encode());
        let mut stream = Stream::with_outbox(self.conn, outbox);
        stream.flush()?;
        Ok(stream)
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
        let reply = self.reply(response);
        finish(&mut self.conn, &reply, self.shut_down, self.has_more)?;
        Ok(())
    }

    /// Refuses, and gives the error that says so.
    fn refuse(self, rejection: Rejection) -> UpgradeError {
        let _ = self.respond(rejection.clone());
        rejection.into()
    }

    fn reply(&self, response: impl Into<Response>) -> Reply {
        let now = self.upgrader.now();
        self.upgrader.reply(response, Some(&self.head), now)
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
    /// Empty where any host will do.
    hosts: Vec<Host>,
    origins: Origins,
    credentials: bool,
    headers: Headers,
    retry: Option<Duration>,
    is_https: bool,
    clock: Option<fn() -> SystemTime>,
}

impl Settings {
    fn is_allowed_host(&self, host: &str) -> bool {
        let mut hosts = self.hosts.iter();
        let asked = Host::new(host);
        self.hosts.is_empty() || hosts.any(|allowed| allowed.covers(&asked))
    }

    /// Refuses pages of origins that are not allowed.
    fn check_origin(&self, head: &Head) -> Result<(), Rejection> {
        match origin(head) {
            Some(origin) if !self.is_allowed_origin(&origin, head) => {
                Err(Rejection::FORBIDDEN.because("pages of this origin may not read the stream"))
            }
            _ => Ok(()),
        }
    }

    fn is_allowed_origin(&self, origin: &str, head: &Head) -> bool {
        self.origins.allow(origin) || is_own_origin(origin, head.host(), self.is_https)
    }

    /// Adds the headers of CORS to a response (Fetch, "CORS protocol").
    fn add_cors(&self, head: Option<&Head>, headers: &mut Headers) {
        let is_any = match &self.origins {
            Origins::Unchecked => return,
            Origins::Any => true,
            Origins::Listed(_) => false,
        };
        if headers.has("Access-Control-Allow-Origin") {
            return; // The program has decided.
        }
        // "*" does not go with credentials.
        if is_any && !self.credentials {
            return headers.add("Access-Control-Allow-Origin", "*");
        }
        headers.vary_by_origin();
        let Some((head, origin)) = head.and_then(|head| Some((head, origin(head)?))) else {
            return;
        };
        if self.is_allowed_origin(&origin, head) {
            headers.add("Access-Control-Allow-Origin", origin.into_owned());
            if self.credentials {
                headers.add("Access-Control-Allow-Credentials", "true");
            }
        }
    }
}

/// The origin of the page that asks.
fn origin(head: &Head) -> Option<Cow<'_, str>> {
    head.header("origin").map(String::from_utf8_lossy)
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
            is_https: false,
            clock: None,
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

/// A head, and whether the peer has sent more than that.
fn read(reader: &mut HeadReader, conn: &mut impl Read) -> Result<(Head, bool), UpgradeError> {
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

/// Writes a reply and ends this half of the connection. Then reads what the peer still sends:
/// until it ends its half, or, where it cannot know that it should, if it is sending.
fn finish<C: Read + Write>(
    conn: &mut C,
    reply: &Reply,
    shut_down: Option<ShutDown<C>>,
    is_sending: bool,
) -> io::Result<()> {
    conn.write_all(&reply.encode())?;
    conn.flush()?;
    if let Some(shut_down) = shut_down {
        shut_down(conn)?;
    }
    if shut_down.is_some() || is_sending {
        linger(conn);
    }
    Ok(())
}

/// A peer that sends byte by byte must not keep a thread longer than one that floods.
fn linger(conn: &mut impl Read) {
    let mut piece = [0; 8 << 10];
    let mut conn = conn.take(Upgrader::MAX_LINGER);
    for _ in 0..MAX_LINGER_READS {
        match conn.read(&mut piece) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

const MAX_LINGER_READS: usize = 64;

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
