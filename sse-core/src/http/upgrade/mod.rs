//! The upgrade of a connection to an event stream.

mod body;
mod connection;
mod decide;
mod error;
mod methods;
mod request;
mod settings;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use super::head::HeadReader;
use super::response::Rejection;
use crate::event::{Event, Fault, Field, FieldError};
use connection::ShutDown;
use methods::Methods;
#[cfg(feature = "client")]
pub(crate) use methods::check_method;
use settings::{Origins, Settings};

pub use body::RequestBody;
pub use error::UpgradeError;
pub use request::Request;

/// Turns connections into event streams. Cheap to clone.
///
/// [`read`](Self::read) reads a request head and refuses requests that the server of an event
/// stream cannot serve. The application then looks at the [`Request`], such as at its path, and
/// accepts it, rejects it or sends another response. [`Request::accept`] refuses requests for
/// anything but an event stream, and [`Request::read_body`] reads the body of a `POST`.
///
/// The decisions are functions without I/O: [`check`](Self::check),
/// [`answer_options`](Self::answer_options), [`accept`](Self::accept) and
/// [`reply`](Self::reply). A server with its own I/O calls those.
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
///         conn.set_write_timeout(Some(Duration::from_secs(20)))?;
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
/// Timeouts are set on the connection: when its `read` fails with
/// [`WouldBlock`](io::ErrorKind::WouldBlock) or [`TimedOut`](io::ErrorKind::TimedOut), the
/// response is 408. A timeout of a socket bounds each read and each write; to bound the whole
/// head or body, wrap the connection in a reader that shortens the timeout as time passes.
///
/// After a response other than a stream, [`read_with`](Self::read_with) ends the server's half
/// of the connection. Then at most [`MAX_LINGER`](Self::MAX_LINGER) bytes that the peer still
/// sends are read, in at most 64 reads: dropping a connection with unread input resets it, and
/// the response would be lost.
#[derive(Debug, Clone, Default)]
pub struct Upgrader(Arc<Settings>);

impl Upgrader {
    /// The maximum number of bytes that are read after a response: 256 KiB.
    pub const MAX_LINGER: u64 = connection::MAX_LINGER;

    /// Creates an upgrader for requests to any host, without CORS headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an allowed host: `example.org` with any port, or `example.org:8080`.
    ///
    /// Requests to other hosts are refused with 421. Default: every host is allowed. Other
    /// spellings of a host are the same host: upper case, a dot at the end, percent-encoding,
    /// an IPv6 address with its zeros, and the ports 80 and 443, which clients leave out.
    ///
    /// A server on localhost should list its hosts. Otherwise a web page whose host name
    /// resolves to localhost (DNS rebinding) can read its streams, because its origin is then
    /// the server's own.
    ///
    /// Chromium asks the user before a page from the internet may connect to localhost or the
    /// local network (Local Network Access), and only for pages served over HTTPS. Response
    /// headers do not affect that; the page needs the permission in addition to CORS.
    ///
    /// # Errors
    ///
    /// `host` is not a valid host with an optional port.
    pub fn allow_host(mut self, host: &str) -> Result<Self, FieldError> {
        self.settings().allow_host(host)?;
        Ok(self)
    }

    /// Adds an origin whose pages may read the responses (CORS).
    ///
    /// Pages of other origins are refused with 403. Requests without `Origin` are not affected.
    /// The server's own origin is always allowed. Default: no CORS header is sent, so that
    /// browsers show the stream only to pages of the server's own origin.
    ///
    /// # Errors
    ///
    /// `origin` is not a scheme and a host with an optional port, without a slash at the end.
    pub fn allow_origin(mut self, origin: &str) -> Result<Self, FieldError> {
        self.settings().allow_origin(origin)?;
        Ok(self)
    }

    /// Allows pages of every origin to read the responses (CORS).
    ///
    /// Their requests with other methods than `GET`, `HEAD` and `OPTIONS` are refused with 403 if
    /// they have cookies, or a password in `Authorization` (`Basic`, `Digest`, `Negotiate` or
    /// `NTLM`), unless [credentials](Self::allow_credentials) are allowed: so no page can act for
    /// its visitor. A server that knows clients by their certificates or addresses should
    /// [list](Self::allow_origin) the origins instead.
    #[must_use]
    pub fn allow_any_origin(mut self) -> Self {
        self.settings().origins = Origins::Any;
        self
    }

    /// Allows pages of the allowed origins to send cookies and other credentials.
    ///
    /// Default: off. If any origin is allowed, every page can then act for its visitor.
    #[must_use]
    pub fn allow_credentials(mut self) -> Self {
        self.settings().credentials = true;
        self
    }

    /// Sets the allowed methods, such as `["GET", "HEAD", "POST"]`.
    ///
    /// Other methods are refused with 405. Default: `GET` and `HEAD`. `OPTIONS` is answered in
    /// any case, and a preflight (CORS) lists these methods. Only requests with a method other
    /// than `GET`, `HEAD` and `OPTIONS` may have a body with a length.
    ///
    /// A page of another origin can send a form without a preflight. So a request with such a
    /// method is refused with 403 unless its `Origin` is allowed or the server's own, or the
    /// browser declares it as same-origin (`Sec-Fetch-Site`). Clients that are not browsers
    /// send no `Origin`.
    ///
    /// # Errors
    ///
    /// A method is not a token; or it is `CONNECT`, which asks for a tunnel.
    pub fn allow_methods<'m>(
        mut self,
        methods: impl IntoIterator<Item = &'m str>,
    ) -> Result<Self, FieldError> {
        self.settings().methods = Methods::new(methods)?;
        Ok(self)
    }

    /// Sets a header of the responses that are streams. It replaces any of the same name.
    ///
    /// Defaults: `Cache-Control: no-cache, no-transform` and `X-Accel-Buffering: no`.
    ///
    /// # Errors
    ///
    /// The name is not a token, is one of the framing, or is one of CORS, which follow from
    /// the allowed origins; or the value has a control character.
    pub fn header(
        mut self,
        name: impl AsRef<str>,
        value: impl AsRef<str>,
    ) -> Result<Self, FieldError> {
        let name = name.as_ref();
        // They could contradict the allowed origins.
        if CORS
            .iter()
            .any(|reserved| reserved.eq_ignore_ascii_case(name))
        {
            return Err(FieldError::new(Field::HeaderName, Fault::Reserved));
        }
        let headers = self.settings().accepting.headers_mut();
        headers.insert(name, value.as_ref())?;
        Ok(self)
    }

    /// Sets the reconnection time that is sent at the beginning of each stream.
    ///
    /// Default: none is sent, and browsers wait a few seconds.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        let mut beginning = Vec::new();
        Event::new().retry(retry).encode(&mut beginning);
        self.settings().accepting.set_beginning(beginning);
        self
    }

    /// Sets the maximum size of a request head in bytes. Default: 16 KiB.
    ///
    /// See [`HeadReader::max_head`].
    #[must_use]
    pub fn max_head(mut self, bytes: usize) -> Self {
        self.settings().max_head = bytes;
        self
    }

    /// Sets the maximum number of headers of a request. Default: 100.
    #[must_use]
    pub fn max_headers(mut self, count: usize) -> Self {
        self.settings().max_headers = count;
        self
    }

    /// Declares that requests arrive over TLS.
    ///
    /// Then only the origin with `https` is the server's own, not the one with `http`. The
    /// `Server` of `sse-net` sets this itself.
    #[must_use]
    pub fn https(mut self) -> Self {
        self.settings().is_https = true;
        self
    }

    /// Sets the clock for the `Date` of responses, usually [`SystemTime::now`].
    ///
    /// Default: none, and no `Date` is sent. A server with a clock has to send it (RFC 9110,
    /// 6.6.1). It applies to [`read`](Self::read) and its [`Request`]s.
    #[must_use]
    pub fn clock(mut self, now: fn() -> SystemTime) -> Self {
        self.settings().clock = Some(now);
        self
    }

    /// Reads a request head from `conn` and [checks](Self::check) it.
    ///
    /// The server's half of the connection ends when `conn` is dropped. A peer that has been
    /// refused while it was sending is read until it ends the connection or a read times out.
    /// [`read_with`](Self::read_with) avoids that by ending the server's half first.
    ///
    /// # Errors
    ///
    /// [`UpgradeError::Rejected`] for a refused request and [`UpgradeError::Answered`] for
    /// `OPTIONS`; the response has been sent. [`UpgradeError::Io`] when the connection fails, or
    /// ends before the peer has sent anything.
    pub fn read<C: Read + Write>(&self, conn: C) -> Result<Request<C>, UpgradeError> {
        self.read_head(conn, None)
    }

    /// Like [`read`](Self::read), with a function that ends the server's half of `conn`.
    ///
    /// It is called after any response but a stream, and may shorten the read timeout. Then
    /// the peer is read until it ends its half, which most peers do at once.
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

    /// Creates a reader of request heads with this upgrader's limits.
    #[must_use]
    pub fn head_reader(&self) -> HeadReader {
        HeadReader::new()
            .max_head(self.0.max_head)
            .max_headers(self.0.max_headers)
    }

    fn read_head<C: Read + Write>(
        &self,
        mut conn: C,
        shut_down: Option<ShutDown<C>>,
    ) -> Result<Request<C>, UpgradeError> {
        let mut reader = self.head_reader();
        let (head, rest) = match connection::read_head(&mut reader, &mut conn) {
            Ok(read) => read,
            Err(UpgradeError::Rejected(rejection)) => {
                let reply = self.reply(rejection.clone(), reader.refused(), self.now());
                // A peer that has stalled sends nothing that would reset the connection.
                let is_sending = rejection != Rejection::REQUEST_TIMEOUT;
                let _ = connection::finish(&mut conn, &reply, shut_down, is_sending);
                return Err(rejection.into());
            }
            Err(error) => return Err(error),
        };
        let request = Request {
            upgrader: self.clone(),
            is_body_held: head.expects_continue(),
            head,
            rest,
            is_body_read: false,
            is_accept_ignored: false,
            is_accept_asked: AtomicBool::new(false),
            shut_down,
            conn,
        };
        if let Err(rejection) = self.check(&request.head) {
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

/// The headers that follow from the allowed origins.
const CORS: [&str; 5] = [
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Max-Age",
];
