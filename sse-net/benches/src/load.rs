//! Very many clients in one thread, which check what they get.

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

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Reads and checks events.
    Reader,
    /// Reads events from the first that is kept, and checks them.
    LateJoiner,
    /// Reads and counts bytes.
    Drain,
    /// Never reads.
    Stuck,
    /// Sends its head one byte a second.
    SlowHead,
}

impl Kind {
    const fn request(self) -> &'static str {
        match self {
            Self::LateJoiner => {
                "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
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
    /// How many have asked and not been answered.
    waiting: usize,
    buffer: Vec<u8>,
    /// When a part of the slow clients sent last, and which part is next.
    sent_slowly: (Instant, usize),
    report: Report,
}

/// What the clients got.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub time: Duration,
    pub bytes: u64,
    /// How long after it was due each event came.
    pub latency: Histogram,
    /// Events that did not follow their predecessor.
    pub holes: u64,
    /// Connections that the server closed, and those that were refused.
    pub closed: u64,
}

impl Report {
    pub fn deliveries(&self) -> f64 {
        self.latency.count() as f64
    }

    /// Deliveries a second.
    pub fn rate(&self) -> f64 {
        self.deliveries() / self.time.as_secs_f64()
    }

    pub fn p99(&self) -> Duration {
        self.latency.quantile(0.99)
    }
}

impl Load {
    /// No clients yet.
    ///
    /// # Errors
    ///
    /// Too many open files.
    pub fn new(server: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            server,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            connected: 0,
            waiting: 0,
            buffer: Vec::with_capacity(BUFFER),
            sent_slowly: (Instant::now(), 0),
            report: Report::default(),
        })
    }

    /// Adds `count` clients, reading meanwhile.
    ///
    /// # Errors
    ///
    /// A connection that fails.
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
            // More at once than the server's backlog holds would be delayed by a second.
            if n % 100 == 0 {
                self.wait_for_answers(400)?;
            }
        }
        self.wait_for_answers(0)
    }

    /// Reads for a time, and reports that and what came since the last report.
    ///
    /// # Errors
    ///
    /// None that a server can bring about.
    pub fn run(&mut self, time: Duration) -> io::Result<Report> {
        self.run_until(time, |_| false)
    }

    /// Reads until enough has come, but no longer than `time`.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
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
            self.turn(left.min(SLICE))?;
            self.send_slowly();
        }
        self.report.time = start.elapsed();
        Ok(mem::take(&mut self.report))
    }

    /// How many clients of a kind are connected.
    pub fn count(&self, kind: Kind) -> usize {
        let clients = self.clients.iter();
        clients
            .filter(|client| client.kind == kind && client.socket.is_some())
            .count()
    }

    /// A connected socket, from one of many addresses, for each has only so many ports.
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

    /// Reads until no more than `count` wait for an answer.
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

    /// Sends a byte to each slow client once a second, one part of them after the other: they
    /// do not know of each other.
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

/// How a second is divided.
const SLICE: Duration = Duration::from_millis(10);
const SLICES: usize = 100;

/// How much is read at once.
const BUFFER: usize = 256 << 10;

#[derive(Debug)]
struct Client {
    /// None when the server has closed it.
    socket: Option<OwnedFd>,
    kind: Kind,
    /// How much of the request has been sent.
    sent: usize,
    is_answered: bool,
    /// The beginning of a line.
    rest: Vec<u8>,
    /// The sequence number of the next event.
    next: Option<u64>,
    /// How long a line with data was.
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

    /// Checks all lines, and gives the beginning of the last. All lines of other kinds than
    /// those of the feed are skipped: heads, chunks, heartbeats.
    fn check<'b>(&mut self, mut bytes: &'b [u8], report: &mut Report) -> &'b [u8] {
        let now = feed::now();
        loop {
            // The lines with data are mostly of one length.
            let end = match bytes.get(self.line) {
                Some(b'\n') if bytes.starts_with(EVENT) => self.line,
                _ => match memchr(b'\n', bytes) {
                    Some(end) => end,
                    None => return bytes,
                },
            };
            if let Some(event) = bytes[..end].strip_prefix(EVENT) {
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

const EVENT: &[u8] = b"data: {\"n\":";

/// The number with which `text` begins, and what follows.
fn number(text: &[u8]) -> (u64, &[u8]) {
    let mut number = 0;
    let mut text = text;
    while let [digit @ b'0'..=b'9', rest @ ..] = text {
        number = number * 10 + u64::from(digit - b'0');
        text = rest;
    }
    (number, text)
}
