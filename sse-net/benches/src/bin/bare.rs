//! The lower bound: bare loops over the same sockets, with the wire form of `fanout`.
//!
//! By default, each event is sent to each socket with its own `send`.
//! `--coalesce` sends each socket everything due since its last turn at once;
//! `--tick MS` does so every `MS` milliseconds. `--upgrade` accepts, reads, writes,
//! closes. `--flood` writes to one socket in blocks of 64 KiB; with `--coalesce` it sends each
//! socket another 64 KiB every turn, and drops what a socket does not accept. `--second RATE` is
//! the rate of another topic, `/second`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use sse_net_benches::feed::{self, BATCH, Feed, Options};
use sse_net_benches::frame;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let is_upgrade = feed::flag(&mut args, "--upgrade");
    let tick = feed::value(&mut args, "--tick")?.map(Duration::from_millis);
    let coalesce = feed::flag(&mut args, "--coalesce") || tick.is_some();
    let options = Options::parse(args)?;
    let listener = TcpListener::bind(("127.0.0.1", options.port.unwrap_or(0)))?;
    rustix::net::listen(&listener, 4096)?; // the largest usual backlog
    if is_upgrade {
        return Ok(upgrade(&listener)?);
    }
    if options.flood && !coalesce {
        return Ok(flood(&listener, &options)?);
    }
    let mut bare = Bare::new(listener, &options)?;
    loop {
        bare.turn(coalesce, tick)?;
    }
}

fn upgrade(listener: &TcpListener) -> io::Result<()> {
    let mut piece = [0; 2048];
    loop {
        let (mut socket, _) = listener.accept()?;
        if socket.read(&mut piece)? > 0 {
            socket.write_all(frame::HEAD)?;
        }
    }
}

fn flood(listener: &TcpListener, options: &Options) -> io::Result<()> {
    let mut feed = Feed::new(options);
    let mut piece = Vec::new();
    while piece.len() < 64 << 10 {
        frame::encode(&feed.store(), &mut piece);
    }
    piece.truncate(64 << 10);
    loop {
        let (mut socket, _) = listener.accept()?;
        if socket.read(&mut [0; 2048])? > 0 {
            socket.write_all(frame::HEAD)?;
            while socket.write_all(&piece).is_ok() {}
        }
    }
}

struct Bare {
    listener: TcpListener,
    epoll: std::os::fd::OwnedFd,
    feed: Feed,
    is_flood: bool,
    second: Feed,
    seconds: Vec<TcpStream>,
    /// The bytes of due events, from offset `begin` on.
    log: Vec<u8>,
    begin: usize,
    preload: Vec<u8>,
    /// Clients whose request head is incomplete.
    arrivals: Vec<Option<TcpStream>>,
    subscribers: Vec<Subscriber>,
}

struct Subscriber {
    socket: TcpStream,
    /// Its offset in the log.
    cursor: usize,
}

impl Bare {
    fn new(listener: TcpListener, options: &Options) -> io::Result<Self> {
        let mut feed = Feed::new(options);
        let mut preload = frame::HEAD.to_vec();
        for _ in 0..options.preload {
            frame::encode(&feed.store(), &mut preload);
        }
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(u64::MAX);
        epoll::add(&epoll, &listener, data, epoll::EventFlags::IN)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            epoll,
            feed,
            is_flood: options.flood,
            second: Feed::second(options),
            seconds: Vec::new(),
            log: Vec::new(),
            begin: 0,
            preload,
            arrivals: Vec::new(),
            subscribers: Vec::new(),
        })
    }

    fn turn(&mut self, coalesce: bool, tick: Option<Duration>) -> io::Result<()> {
        let is_behind = coalesce && self.subscribers.iter().any(|s| s.cursor < self.end());
        let wait = match (self.feed.wait(), tick) {
            (Some(_), Some(tick)) => tick,
            (Some(wait), None) if is_behind => wait.min(Duration::from_millis(1)),
            (Some(wait), None) => wait,
            (None, _) if self.is_flood => Duration::ZERO,
            (None, _) => Duration::from_millis(100),
        };
        self.accept(wait)?;
        self.send_second();
        while self.is_flood && self.log.len() < 64 << 10 {
            frame::encode(&self.feed.store(), &mut self.log);
        }
        let now = feed::now();
        for _ in 0..BATCH {
            let Some(data) = self.feed.pop(now) else {
                break;
            };
            let before = self.log.len();
            frame::encode(&data, &mut self.log);
            if !coalesce {
                let event = &self.log[before..];
                self.subscribers.retain(|subscriber| {
                    let sent = send(&subscriber.socket, event, FLAGS);
                    sent == Ok(event.len())
                });
                self.log.clear();
            }
        }
        if coalesce {
            self.send_all();
            self.forget();
        }
        if self.is_flood {
            self.skip_ahead();
        }
        Ok(())
    }

    fn send_second(&mut self) {
        let now = feed::now();
        while let Some(data) = self.second.pop(now) {
            let mut event = Vec::new();
            frame::encode(&data, &mut event);
            self.seconds
                .retain(|socket| send(socket, &event, FLAGS) == Ok(event.len()));
        }
    }

    fn send_all(&mut self) {
        let (log, begin) = (&self.log, self.begin);
        self.subscribers.retain_mut(|subscriber| {
            let news = &log[subscriber.cursor - begin..];
            if news.is_empty() {
                return true;
            }
            match send(&subscriber.socket, news, FLAGS) {
                Ok(taken) => subscriber.cursor += taken,
                Err(Errno::AGAIN) => {}
                Err(_) => return false,
            }
            true
        });
    }

    /// Removes all bytes, read or not.
    fn skip_ahead(&mut self) {
        self.begin = self.end();
        self.log.clear();
        for subscriber in &mut self.subscribers {
            subscriber.cursor = self.begin;
        }
    }

    /// Removes bytes that all clients have, from time to time.
    fn forget(&mut self) {
        if self.log.len() > 16 << 20 {
            let cursors = self.subscribers.iter().map(|s| s.cursor);
            let least = cursors.min().unwrap_or(self.end());
            self.log.drain(..least - self.begin);
            self.begin = least;
        }
    }

    fn accept(&mut self, wait: Duration) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        let wait = Timespec::try_from(wait).map_err(|_| io::ErrorKind::InvalidInput)?;
        epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&wait))?;
        for event in events {
            match event.data.u64() {
                u64::MAX => self.welcome()?,
                key => self.greet(key as usize)?,
            }
        }
        Ok(())
    }

    fn welcome(&mut self) -> io::Result<()> {
        while let Ok((socket, _)) = self.listener.accept() {
            socket.set_nodelay(true)?;
            let data = epoll::EventData::new_u64(self.arrivals.len() as u64);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
            self.arrivals.push(Some(socket));
        }
        Ok(())
    }

    fn greet(&mut self, key: usize) -> io::Result<()> {
        let Some(mut socket) = self.arrivals[key].take() else {
            return Ok(());
        };
        let mut head = [0; 2048];
        epoll::delete(&self.epoll, &socket)?;
        let (len, _) = recv(&socket, &mut head[..], RecvFlags::DONTWAIT).unwrap_or_default();
        if len == 0 {
            return Ok(());
        }
        let is_second = head.starts_with(b"GET /second ");
        let is_late = memchr::memmem::find(&head[..len], b"Last-Event-ID").is_some();
        let opening = if is_late { &self.preload } else { frame::HEAD };
        if socket.write_all(opening).is_err() {
        } else if is_second {
            self.seconds.push(socket);
        } else {
            let cursor = self.end();
            self.subscribers.push(Subscriber { socket, cursor });
        }
        Ok(())
    }

    fn end(&self) -> usize {
        self.begin + self.log.len()
    }
}

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
