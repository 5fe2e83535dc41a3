//! The lower bound: a bare loop of rustls over the sockets, with the wire form of `fanout`. Each
//! event is sent to each session as one record with one write.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::{ServerConfig, ServerConnection};

use sse_net_benches::feed::{self, BATCH, Feed, Options};
use sse_net_benches::frame;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1).collect())?;
    let (certificate, key) = options.tls.as_ref().ok_or("--tls is needed")?;
    let config = configure(certificate, key)?;
    let listener = TcpListener::bind(("127.0.0.1", options.port.unwrap_or(0)))?;
    rustix::net::listen(&listener, 4096)?; // the largest usual backlog
    let mut bare = Bare::new(listener, config, &options)?;
    loop {
        bare.turn()?;
    }
}

/// The buffer size of the library.
fn configure(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(certificate)?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".into()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new()?;
    Ok(config.into())
}

struct Bare {
    listener: TcpListener,
    config: Arc<ServerConfig>,
    epoll: OwnedFd,
    feed: Feed,
    sessions: Vec<Option<Session>>,
    vacant: Vec<usize>,
}

struct Session {
    socket: TcpStream,
    tls: ServerConnection,
    /// Whether its request is complete and it receives events.
    is_subscriber: bool,
}

impl Bare {
    fn new(
        listener: TcpListener,
        config: Arc<ServerConfig>,
        options: &Options,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(u64::MAX);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            config,
            epoll,
            feed: Feed::new(options),
            sessions: Vec::new(),
            vacant: Vec::new(),
        })
    }

    fn turn(&mut self) -> Result<(), Box<dyn Error>> {
        let wait = self
            .feed
            .wait()
            .unwrap_or(std::time::Duration::from_millis(100));
        let mut events = Vec::with_capacity(1024);
        let wait = Timespec::try_from(wait)?;
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
        for event in events {
            match event.data.u64() {
                u64::MAX => self.welcome()?,
                key => self.serve(key as usize),
            }
        }
        let now = feed::now();
        let mut event = Vec::new();
        for _ in 0..BATCH {
            let Some(data) = self.feed.pop(now) else {
                break;
            };
            event.clear();
            frame::encode(&data, &mut event);
            for key in 0..self.sessions.len() {
                if let Some(session) = &mut self.sessions[key]
                    && session.is_subscriber
                    && session.send(&event).is_err()
                {
                    self.leave(key);
                }
            }
        }
        Ok(())
    }

    fn welcome(&mut self) -> Result<(), Box<dyn Error>> {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let key = self.vacant.pop().unwrap_or(self.sessions.len());
            let data = epoll::EventData::new_u64(key as u64);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
            let session = Session {
                socket,
                tls: ServerConnection::new(Arc::clone(&self.config))?,
                is_subscriber: false,
            };
            match self.sessions.get_mut(key) {
                Some(place) => *place = Some(session),
                None => self.sessions.push(Some(session)),
            }
        }
        Ok(())
    }

    fn serve(&mut self, key: usize) {
        if let Some(session) = &mut self.sessions[key]
            && session.serve().is_err()
        {
            self.leave(key);
        }
    }

    fn leave(&mut self, key: usize) {
        self.sessions[key] = None;
        self.vacant.push(key);
    }
}

impl Session {
    /// Reads available bytes, and responds to a complete head.
    fn serve(&mut self) -> io::Result<()> {
        loop {
            match self.tls.read_tls(&mut self.socket) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => _ = read?,
            }
            let processed = self.tls.process_new_packets();
            processed.map_err(io::Error::other)?;
            self.write()?;
            let mut head = [0; 2048];
            if let Ok(1..) = self.tls.reader().read(&mut head) {
                self.send(frame::HEAD)?;
                self.is_subscriber = true;
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}
