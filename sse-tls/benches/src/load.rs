//! Many TLS clients in one thread, which check the events they receive.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

const REQUEST: &[u8] =
    b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";

/// Returns a client configuration without session resumption.
///
/// # Errors
///
/// The certificate is invalid.
pub fn configure(authority: CertificateDer<'static>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    let mut config = ClientConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config.into())
}

/// The clients.
pub struct Load {
    server: SocketAddr,
    config: Arc<ClientConfig>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    report: Report,
}

/// What the clients have received.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    pub events: u64,
    pub records: u64,
    /// The number of events that did not follow their predecessor.
    pub holes: u64,
}

impl Load {
    /// Creates a load without clients.
    ///
    /// # Errors
    ///
    /// The limit of open files is too low.
    pub fn new(server: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Ok(Self {
            server,
            config: Arc::clone(config),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            clients: Vec::new(),
            report: Report::default(),
        })
    }

    /// Adds a client and reads its response head, while the others read.
    ///
    /// # Errors
    ///
    /// A connection fails.
    pub fn connect(&mut self) -> io::Result<()> {
        let client = Client::connect(self.server, &self.config)?;
        client.socket.set_nonblocking(true)?;
        let data = epoll::EventData::new_u64(self.clients.len() as u64);
        epoll::add(&self.epoll, &client.socket, data, epoll::EventFlags::IN)?;
        self.clients.push(client);
        self.turn(Duration::ZERO)
    }

    /// Reads for a time, and reports what arrived.
    ///
    /// # Errors
    ///
    /// A connection ends.
    pub fn run(&mut self, time: Duration) -> io::Result<Report> {
        self.report = Report::default();
        let start = Instant::now();
        while start.elapsed() < time {
            self.turn(Duration::from_millis(50))?;
        }
        Ok(self.report)
    }

    fn turn(&mut self, wait: Duration) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let wait = Timespec::try_from(wait).map_err(|_| ErrorKind::InvalidInput)?;
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
        for event in events {
            self.clients[event.data.u64() as usize].read(&mut self.report)?;
        }
        Ok(())
    }
}

struct Client {
    socket: TcpStream,
    tls: ClientConnection,
    /// The beginning of an incomplete line.
    rest: Vec<u8>,
    /// The sequence number of the next event.
    next: Option<u64>,
}

impl Client {
    fn connect(server: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let (tls, socket) = shake_hands(server, config)?;
        Ok(Self {
            socket,
            tls,
            rest: Vec::new(),
            next: None,
        })
    }

    fn read(&mut self, report: &mut Report) -> io::Result<()> {
        match self.tls.read_tls(&mut self.socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            read => _ = read?,
        }
        self.tls.process_new_packets().map_err(io::Error::other)?;
        let mut reader = self.tls.reader();
        loop {
            let before = self.rest.len();
            self.rest.resize(before + 16_384, 0);
            let read = reader.read(&mut self.rest[before..]).unwrap_or(0);
            self.rest.truncate(before + read);
            if read == 0 {
                break;
            }
            report.records += 1;
        }
        let mut begin = 0;
        while let Some(end) = self.rest[begin..].iter().position(|byte| *byte == b'\n') {
            let line = &self.rest[begin..begin + end];
            begin += end + 1;
            let Some(event) = line.strip_prefix(b"data: {\"n\":") else {
                continue;
            };
            let digits = event.iter().take_while(|byte| byte.is_ascii_digit());
            let sequence = digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
            if self.next.is_some_and(|next| next != sequence) {
                report.holes += 1;
            }
            self.next = Some(sequence + 1);
            report.events += 1;
        }
        self.rest.drain(..begin);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        Ok(())
    }
}

/// Performs a full handshake and a request, and reads the beginning of the response.
///
/// # Errors
///
/// A connection fails.
pub fn shake_hands(
    server: SocketAddr,
    config: &Arc<ClientConfig>,
) -> io::Result<(ClientConnection, TcpStream)> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    let mut stream = rustls::Stream::new(&mut tls, &mut socket);
    stream.write_all(REQUEST)?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok((tls, socket))
}
