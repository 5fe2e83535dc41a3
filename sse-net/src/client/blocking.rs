//! The client for programs without a runtime.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use sse_core::MessageEvent;
use sse_core::client::{ClientError, EventSource, Item, Machine, Step, Url};

use super::connector::{Direct, NO_TLS};
use super::link::BoxError;
use crate::trace;

/// A client without a runtime, which blocks its thread.
///
/// It is made by [`Connect::connect_blocking`](crate::Connect::connect_blocking), and does what a
/// [`Client`](crate::Client) does. It is an iterator, too, over owned events.
///
/// ```no_run
/// use sse_net::{Connect, EventSource};
///
/// # fn follow() -> Result<(), Box<dyn std::error::Error>> {
/// let mut feed = EventSource::get("http://127.0.0.1:31337/sse")?.connect_blocking();
/// while let Some(event) = feed.next()? {
///     println!("{}: {}", event.event(), event.data());
/// }
/// # Ok(())
/// # }
/// ```
pub struct BlockingClient {
    machine: Machine,
    connector: Box<dyn BlockingConnector>,
    hook: Option<Hook>,
    connection: Option<Box<dyn BlockingConnection>>,
    /// The timeout of the connection, which costs system calls to set.
    timeout: Option<Duration>,
    /// Whether the end of the request may lie in a buffer of the connection.
    is_unflushed: bool,
    /// Why the request could not be sent whole. The server may have responded already.
    write_error: Option<io::Error>,
    buffer: Vec<u8>,
    began: Instant,
}

type Hook = Box<dyn FnMut(EventSource) -> Result<EventSource, BoxError> + Send>;

/// Opens the connections of a [`BlockingClient`].
///
/// A function of a [`Url`] and a timeout is a connector, too.
pub trait BlockingConnector: Send + 'static {
    /// Opens a connection to the server of `url` within `timeout`.
    ///
    /// # Errors
    ///
    /// Those of the connection. Their kinds have the same meaning as for a
    /// [`Connector`](crate::Connector).
    fn connect(&mut self, url: &Url, timeout: Duration) -> io::Result<Box<dyn BlockingConnection>>;
}

/// A connection of a [`BlockingClient`]: a socket, or a TLS session over one.
pub trait BlockingConnection: Read + Write + Send {
    /// Sets how long each read and write may block. `None` means for ever.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
}

impl BlockingClient {
    pub(super) fn new(source: EventSource, connector: impl BlockingConnector) -> Self {
        Self {
            machine: Machine::new(source, fastrand::u64(..))
                .with_epoch(SystemTime::now())
                .on_closed(trace::reconnects),
            connector: Box::new(connector),
            hook: None,
            connection: None,
            timeout: None,
            is_unflushed: false,
            write_error: None,
            buffer: vec![0; READ],
            began: Instant::now(),
        }
    }

    /// Sets a hook that is called before each attempt, and may change the source.
    ///
    /// See [`Client::before_attempt`](crate::Client::before_attempt).
    #[must_use]
    pub fn before_attempt<F, E>(mut self, mut hook: F) -> Self
    where
        F: FnMut(EventSource) -> Result<EventSource, E> + Send + 'static,
        E: Into<BoxError>,
    {
        self.hook = Some(Box::new(move |source| hook(source).map_err(Into::into)));
        self
    }

    /// Returns the next event; `None` when the source has ended with success.
    ///
    /// Skips what [`Client::next`](crate::Client::next) skips.
    ///
    /// # Errors
    ///
    /// Why the source cannot be followed any longer. It is returned once, and `None` after it.
    #[expect(clippy::should_implement_trait, reason = "it lends, and has errors")]
    pub fn next(&mut self) -> Result<Option<MessageEvent<'_>>, ClientError> {
        while !self.machine.skip_to_event() {
            if !self.wait()? {
                return Ok(None);
            }
        }
        Ok(self.machine.next_event())
    }

    /// Returns the next item: an event, a comment, the beginning or the end of a connection.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, ClientError> {
        self.wait()?;
        Ok(self.machine.next_item())
    }

    /// Returns the ID that the next request will send; empty if there is none.
    ///
    /// An ID with a control character or more than 8 KiB is not sent.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        self.machine.last_event_id()
    }

    /// Waits until there are items. Returns `false` when nothing will follow.
    fn wait(&mut self) -> Result<bool, ClientError> {
        loop {
            if self.machine.has_items() {
                return Ok(true);
            }
            let now = self.began.elapsed();
            match self.machine.step(now) {
                _ if self.machine.has_items() => {}
                Step::Wait { until } => {
                    self.connection = None;
                    thread::sleep(until - now);
                }
                Step::Connect { deadline } => self.connect(deadline),
                Step::Exchange { deadline } => self.exchange(deadline - now),
                _ => {
                    self.connection = None;
                    return self.machine.take_result().map(|()| false);
                }
            }
        }
    }

    fn connect(&mut self, deadline: Duration) {
        (self.connection, self.write_error) = (None, None);
        if let Some(hook) = &mut self.hook
            && self.machine.is_attempt_new()
        {
            match hook(self.machine.source().clone()) {
                Ok(source) => self.machine.set_source(source),
                Err(error) => {
                    let now = self.began.elapsed();
                    return self.machine.fail_to_prepare(now, error);
                }
            }
        }
        let timeout = deadline.saturating_sub(self.began.elapsed());
        if timeout.is_zero() {
            return; // The next step reports it.
        }
        let connected = self.connector.connect(self.machine.url(), timeout);
        let now = self.began.elapsed();
        match connected {
            Ok(connection) => {
                self.machine.connected(now);
                self.connection = Some(connection);
                (self.timeout, self.is_unflushed) = (None, true);
            }
            Err(error) => self.machine.fail(now, error),
        }
    }

    /// Writes, flushes or reads once.
    fn exchange(&mut self, timeout: Duration) {
        let Some(connection) = &mut self.connection else {
            let lost = io::ErrorKind::NotConnected;
            return self.machine.fail(self.began.elapsed(), lost.into());
        };
        let timeout = in_steps(timeout).min(FOREVER);
        let is_set = self.timeout.replace(timeout) == Some(timeout);
        let set = match timeout {
            _ if is_set => Ok(()),
            FOREVER => connection.set_timeout(None),
            timeout => connection.set_timeout(Some(timeout)),
        };
        let unsent = self.machine.unsent();
        let is_sending = self.is_unflushed && self.write_error.is_none();
        let done = set.and_then(|()| match unsent {
            _ if !is_sending => connection.read(&mut self.buffer).map(Done::Read),
            [] => connection.flush().map(|()| Done::Flushed),
            unsent => connection.write(unsent).map(Done::Written),
        });
        let now = self.began.elapsed();
        match (done, self.write_error.take()) {
            (Ok(Done::Written(0)), _) => self.write_error = Some(io::ErrorKind::WriteZero.into()),
            // Also if the flush fails: the server may act on what has left.
            (Ok(Done::Written(len)), _) => self.machine.sent(now, len),
            (Ok(Done::Flushed), _) => self.is_unflushed = false,
            (Ok(Done::Read(len @ 1..)), _) => self.machine.receive(now, &self.buffer[..len]),
            (Err(error), kept) if is_early(&error) => self.write_error = kept,
            (Err(error), None) if is_sending => self.write_error = Some(error),
            // A server may respond without reading the whole request.
            (Ok(Done::Read(_)), Some(_)) if self.machine.is_open() => self.machine.end(now),
            (_, Some(error)) | (Err(error), None) => self.machine.fail(now, error),
            (Ok(Done::Read(_)), None) => self.machine.end(now),
        }
    }
}

enum Done {
    Written(usize),
    Flushed,
    Read(usize),
}

/// Rounds a timeout up, so that it stays the same from one read to the next.
///
/// It is never zero, which would mean for ever.
fn in_steps(timeout: Duration) -> Duration {
    let steps = timeout.as_nanos() / STEP.as_nanos() + 1;
    u32::try_from(steps).map_or(FOREVER, |steps| STEP.saturating_mul(steps))
}

/// Returns whether an operation may be repeated: the machine knows which deadlines have passed.
fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

impl Iterator for BlockingClient {
    type Item = Result<MessageEvent<'static>, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let event = Self::next(self);
        event
            .map(|event| event.map(MessageEvent::into_owned))
            .transpose()
    }
}

impl fmt::Debug for BlockingClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingClient")
            .field("source", self.machine.source())
            .field("attempt", &self.machine.attempt())
            .finish_non_exhaustive()
    }
}

impl BlockingConnector for Direct {
    fn connect(&mut self, url: &Url, timeout: Duration) -> io::Result<Box<dyn BlockingConnection>> {
        if url.is_https() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, NO_TLS));
        }
        match url.unix_path() {
            #[cfg(unix)]
            Some(path) => Ok(Box::new(connect_to_unix(path, timeout)?)),
            #[cfg(not(unix))]
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
            None => {
                let addresses = (url.host(), url.port()).to_socket_addrs()?;
                let socket = connect_to_any(&Vec::from_iter(addresses), timeout)?;
                socket.set_nodelay(true)?;
                Ok(Box::new(socket))
            }
        }
    }
}

/// Connects to a Unix socket. A listener whose queue is full lets a client wait.
#[cfg(unix)]
fn connect_to_unix(path: &str, timeout: Duration) -> io::Result<std::os::unix::net::UnixStream> {
    use socket2::{Domain, SockAddr, Socket, Type};

    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(in_steps(timeout).min(FOREVER)))?;
    match socket.connect(&SockAddr::unix(path)?) {
        Ok(()) => Ok(socket.into()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::ErrorKind::TimedOut.into())
        }
        Err(error) => Err(error),
    }
}

/// Connects to the first of several addresses that accepts.
fn connect_to_any(addresses: &[SocketAddr], timeout: Duration) -> io::Result<TcpStream> {
    let began = Instant::now();
    let mut failed = io::ErrorKind::NotFound.into();
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        let rest = timeout.min(FOREVER).saturating_sub(began.elapsed());
        // An unreachable address may never answer, so it leaves time for those after it.
        let share = rest / u32::try_from(left).unwrap_or(u32::MAX);
        if share.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match TcpStream::connect_timeout(address, share) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl<F, C> BlockingConnector for F
where
    F: FnMut(&Url, Duration) -> io::Result<C> + Send + 'static,
    C: BlockingConnection + 'static,
{
    fn connect(&mut self, url: &Url, timeout: Duration) -> io::Result<Box<dyn BlockingConnection>> {
        Ok(Box::new(self(url, timeout)?))
    }
}

impl BlockingConnection for TcpStream {
    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)?;
        self.set_write_timeout(timeout)
    }
}

#[cfg(unix)]
impl BlockingConnection for std::os::unix::net::UnixStream {
    fn set_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)?;
        self.set_write_timeout(timeout)
    }
}

/// The most that is read at once.
const READ: usize = 16 << 10;

/// By how much a deadline may be missed.
const STEP: Duration = Duration::from_millis(10);

/// Longer times are not passed to the system, which may not know them.
const FOREVER: Duration = Duration::from_secs(1 << 30);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn an_address_that_does_not_answer_leaves_time_for_the_next_one() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mute = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        mute.bind(&any.into()).unwrap();
        mute.listen(0).unwrap();
        let mute = TcpListener::from(mute);
        let mute_address = mute.local_addr().unwrap();
        // A listener whose queue is full does not answer.
        let millis = Duration::from_millis;
        let connect = || TcpStream::connect_timeout(&mute_address, millis(50)).ok();
        let _queued = Vec::from_iter(std::iter::from_fn(connect));
        let listener = TcpListener::bind(any).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = connect_to_any(&[mute_address, address], millis(400)).unwrap();
        assert_eq!(socket.peer_addr().unwrap(), address);
    }
}
