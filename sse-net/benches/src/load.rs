//! Many clients in one thread, which check the events they receive.

use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use memchr::memchr;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with,
};

use crate::feed;
use crate::histogram::Histogram;

/// The behaviour of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads and checks events.
    Reader,
    /// Reads events from the first retained one, and checks them.
    LateJoiner,
    /// Reads and counts bytes.
    Drain,
    /// Never reads.
    Stuck,
    /// Sends its request head at one byte per second.
    SlowHead,
}

impl Kind {
    const fn request(self) -> &'static str {
        match self {
            Self::LateJoiner => {
                "GET /late HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
                Last-Event-ID: 0\r\n\r\n"
            }
            _ => {
                "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
                User-Agent: load\r\n\r\n"
            }
        }
    }
}

/// The clients.
#[derive(Debug)]
pub struct Load {
    server: SocketAddr,
    epoll: OwnedFd,
    clients: Vec<Client>,
    connected: u32,
    /// The number of clients waiting for a response.
    waiting: usize,
    /// How long a poll waits at most.
    longest_wait: Duration,
    buffer: Vec<u8>,
    /// When a group of the slow clients last sent a byte, and the next group.
    sent_slowly: (Instant, usize),
    report: Report,
}

/// What the clients have received.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub time: Duration,
    pub bytes: u64,
    /// The delay of each event after its due time.
    pub latency: Histogram,
    /// The number of events that did not follow their predecessor.
    pub holes: u64,
    /// Connections that the server closed or refused.
    pub closed: u64,
}

impl Report {
    pub fn deliveries(&self) -> f64 {
        self.latency.count() as f64
    }

    /// Returns the deliveries per second.
    pub fn rate(&self) -> f64 {
        self.deliveries() / self.time.as_secs_f64()
    }

    pub fn p99(&self) -> Duration {
        self.latency.quantile(0.99)
    }

    /// Returns the report if every client received every event.
    ///
    /// # Errors
    ///
    /// The numbers of events out of order and of closed connections.
    pub fn complete(self) -> io::Result<Self> {
        match (self.holes, self.closed) {
            (0, 0) => Ok(self),
            (holes, closed) => Err(io::Error::other(format!(
                "{holes} events out of order, {closed} connections closed"
            ))),
        }
    }
}

impl Load {
    /// Creates a load without clients.
    ///
    /// # Errors
    ///
    /// The limit of open files is too low.
    pub fn new(server: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            server,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            connected: 0,
            waiting: 0,
            longest_wait: SLICE,
            buffer: Vec::with_capacity(BUFFER),
            sent_slowly: (Instant::now(), 0),
            report: Report::default(),
        })
    }

    /// Polls without waiting. Otherwise a sender on another core pays up to a microsecond to wake
    /// this thread, as often as it has come to sleep since the last event: a cost that depends on
    /// how the two happen to keep pace, and that a server of remote clients does not have.
    pub const fn busy_poll(&mut self) {
        self.longest_wait = Duration::ZERO;
    }

    /// Sends further clients to another server.
    pub const fn switch(&mut self, server: SocketAddr) {
        self.server = server;
    }

    /// Adds `count` clients, while the others read.
    ///
    /// # Errors
    ///
    /// A connection fails.
    pub fn connect(&mut self, count: usize, kind: Kind) -> io::Result<()> {
        for n in 1..=count {
            let socket = self.open(kind)?;
            let sent = match kind {
                Kind::SlowHead => 0,
                _ => send(&socket, kind.request().as_bytes(), SendFlags::NOSIGNAL)?,
            };
            let events = match kind {
                Kind::Stuck => epoll::EventFlags::empty(),
                _ => epoll::EventFlags::IN,
            };
            let data = epoll::EventData::new_u64(self.clients.len() as u64);
            epoll::add(&self.epoll, &socket, data, events)?;
            self.clients.push(Client::new(socket, kind, sent));
            if !matches!(kind, Kind::Stuck | Kind::SlowHead) {
                self.waiting += 1;
            }
            // A connection beyond the server's backlog would be delayed by a second.
            if n % 100 == 0 {
                self.wait_for_answers(400)?;
            }
        }
        self.wait_for_answers(0)
    }

    /// Reads for a time, and reports everything since the last report.
    ///
    /// # Errors
    ///
    /// Polling fails; a server cannot cause that.
    pub fn run(&mut self, time: Duration) -> io::Result<Report> {
        self.run_until(time, |_| false)
    }

    /// Reads until enough has arrived, at most for `time`.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Self::run).
    pub fn run_until(
        &mut self,
        time: Duration,
        is_enough: impl Fn(&Report) -> bool,
    ) -> io::Result<Report> {
        let start = Instant::now();
        while let left = time.saturating_sub(start.elapsed())
            && !left.is_zero()
            && !is_enough(&self.report)
        {
            self.turn(left.min(self.longest_wait))?;
            self.send_slowly();
        }
        self.report.time = start.elapsed();
        Ok(mem::take(&mut self.report))
    }

    /// Returns the number of connected clients of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        let clients = self.clients.iter();
        clients
            .filter(|client| client.kind == kind && client.socket.is_some())
            .count()
    }

    /// Connects from one of many addresses, because each has a limited number of ports.
    fn open(&mut self, kind: Kind) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        if kind == Kind::Stuck {
            set_socket_recv_buffer_size(&socket, 4096)?;
        }
        self.connected += 1;
        let [.., high, low] = (self.connected % 100 + 2).to_be_bytes();
        let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, high, low), 0);
        bind(&socket, &source)?;
        connect(&socket, &self.server)?;
        Ok(socket)
    }

    fn turn(&mut self, wait: Duration) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let wait = Timespec::try_from(wait).map_err(|_| ErrorKind::InvalidInput)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait)) {
            Err(Errno::INTR) => {}
            waited => _ = waited?,
        }
        for event in events {
            let key = event.data.u64() as usize;
            let client = &mut self.clients[key];
            if !client.is_answered {
                client.is_answered = true;
                self.waiting -= 1;
            }
            client.read(&mut self.buffer, &mut self.report);
        }
        Ok(())
    }

    /// Reads until at most `count` clients wait for a response.
    fn wait_for_answers(&mut self, count: usize) -> io::Result<()> {
        let start = Instant::now();
        while self.waiting > count {
            self.turn(Duration::from_millis(100))?;
            if start.elapsed() > Duration::from_secs(10) {
                return Err(ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Sends a byte for each slow client once per second, group by group, so that they are not
    /// synchronized.
    fn send_slowly(&mut self) {
        let (last, part) = &mut self.sent_slowly;
        if last.elapsed() > SLICE {
            *last += SLICE;
            *part = (*part + 1) % SLICES;
            let clients = self.clients.iter_mut().skip(*part).step_by(SLICES);
            clients.for_each(Client::send_slowly);
        }
    }
}

/// The number of groups.
const SLICE: Duration = Duration::from_millis(10);
const SLICES: usize = 100;

/// The size of a read in bytes.
const BUFFER: usize = 256 << 10;

#[derive(Debug)]
struct Client {
    /// `None` after the server has closed the connection.
    socket: Option<OwnedFd>,
    kind: Kind,
    /// The number of bytes of the request that have been sent.
    sent: usize,
    is_answered: bool,
    /// The beginning of an incomplete line.
    rest: Vec<u8>,
    /// The sequence number of the next event.
    next: Option<u64>,
    /// The length of the last line with data.
    line: usize,
}

impl Client {
    const fn new(socket: OwnedFd, kind: Kind, sent: usize) -> Self {
        Self {
            socket: Some(socket),
            kind,
            sent,
            is_answered: matches!(kind, Kind::Stuck | Kind::SlowHead),
            rest: Vec::new(),
            next: None,
            line: 0,
        }
    }

    fn read(&mut self, buffer: &mut Vec<u8>, report: &mut Report) {
        let Some(socket) = &self.socket else { return };
        buffer.clear();
        buffer.append(&mut self.rest);
        let before = buffer.len();
        match recv(socket, spare_capacity(buffer), RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => self.rest.extend_from_slice(buffer),
            Err(_) | Ok((_, 0)) => {
                self.socket = None;
                report.closed += 1;
            }
            Ok(_) => {
                report.bytes += (buffer.len() - before) as u64;
                if self.kind != Kind::Drain {
                    let rest = self.check(buffer, report);
                    self.rest = rest.to_vec();
                }
            }
        }
    }

    /// Checks all complete lines, and returns the incomplete one. Other lines than those of
    /// the feed are skipped: heads, chunks, heartbeats.
    fn check<'b>(&mut self, mut bytes: &'b [u8], report: &mut Report) -> &'b [u8] {
        let now = feed::now();
        loop {
            // Most lines with data have the same length.
            let end = match bytes.get(self.line) {
                Some(b'\n') if event(bytes).is_some() => self.line,
                _ => match memchr(b'\n', bytes) {
                    Some(end) => end,
                    None => return bytes,
                },
            };
            if let Some(event) = event(&bytes[..end]) {
                self.line = end;
                let (sequence, event) = number(event);
                let (due, _) = number(event.strip_prefix(b",\"t\":").unwrap_or_default());
                if self.next.is_some_and(|next| next != sequence) {
                    report.holes += 1;
                }
                self.next = Some(sequence + 1);
                report.latency.add(now.saturating_sub(due));
            }
            bytes = &bytes[end + 1..];
        }
    }

    fn send_slowly(&mut self) {
        let rest = &self.kind.request().as_bytes()[self.sent..];
        if let Some(socket) = &self.socket
            && !rest.is_empty()
        {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            self.sent += send(socket, &rest[..1], flags).unwrap_or(0);
        }
    }
}

/// Returns the rest of a line that begins with the data of an event.
fn event(line: &[u8]) -> Option<&[u8]> {
    let value = line.strip_prefix(b"data:")?;
    value
        .strip_prefix(b" ")
        .unwrap_or(value)
        .strip_prefix(b"{\"n\":")
}

/// Returns the number at the beginning of `text`, and the rest.
fn number(text: &[u8]) -> (u64, &[u8]) {
    let mut number = 0;
    let mut text = text;
    while let [digit @ b'0'..=b'9', rest @ ..] = text {
        number = number * 10 + u64::from(digit - b'0');
        text = rest;
    }
    (number, text)
}
