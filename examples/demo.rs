//! The demo: a page and its event stream, over a bare `TcpListener` and a thread for each
//! connection.
//!
//! ```text
//! $ cargo run
//! open http://127.0.0.1:31337/ (Ctrl-C ends it)
//! ```
//!
//! `--listen ADDR` listens elsewhere, `--count N` sends `close` after `N` events, and
//! `--max-connections N` is when 503 is answered. Without a browser,
//! `curl -N http://127.0.0.1:31337/sse` shows the stream, and `-H 'Last-Event-ID: 41'` goes
//! on from there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cli::{Args, Ending};
use serde::Serialize;
use socket2::SockRef;
use sse_core::{EventId, Rejection, Response, Stream, UpgradeError, Upgrader};

fn main() -> ExitCode {
    cli::run(USAGE, |args| demonstrate(&Options::parse(args)?))
}

struct Options {
    listen: String,
    count: Option<u64>,
    max_connections: usize,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let mut options = Self {
            listen: "127.0.0.1:31337".to_owned(),
            count: None,
            max_connections: 4096,
        };
        while let Some(option) = args.option()? {
            match &*option {
                "--listen" => options.listen = args.value("an address")?,
                "--count" => options.count = Some(args.value("a number")?),
                "--max-connections" => options.max_connections = args.value("a number")?,
                _ => return Err(args.unknown()),
            }
        }
        Ok(options)
    }
}

fn demonstrate(options: &Options) -> Result<(), Ending> {
    let listener = TcpListener::bind(&options.listen).map_err(|error| {
        let listen = &options.listen;
        Ending::Failure(match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("{listen} is in use; end what listens there, or --listen elsewhere")
            }
            _ => format!("can't listen on {listen:?}: {error}"),
        })
    })?;
    let demo = Arc::new(Demo::new(options));
    start(&demo, listener).map_err(|error| Ending::Failure(format!("can't start: {error}")))?;
    demo.stopping.wait_while(|stopping| !stopping);
    // Each stream ends after a whole event. Who does not let it is not waited for.
    demo.connections
        .wait_timeout_while(GRACE, |connections| connections > 0);
    cli::say("goodbye");
    Ok(())
}

fn start(demo: &Arc<Demo>, listener: TcpListener) -> io::Result<()> {
    let stopping = Arc::clone(demo);
    ctrlc::set_handler(move || stopping.stopping.update(|stopping| *stopping = true))
        .map_err(io::Error::other)?;
    SockRef::from(&listener).listen(BACKLOG)?;
    let address = listener.local_addr()?;
    let accepting = Arc::clone(demo);
    thread::Builder::new().spawn(move || accepting.accept(&listener))?;
    cli::say(format_args!("open http://{address}/ (Ctrl-C ends it)"));
    Ok(())
}

struct Demo {
    upgrader: Upgrader,
    count: Option<u64>,
    max_connections: usize,
    connections: Watch<usize>,
    stopping: Watch<bool>,
}

impl Demo {
    fn new(options: &Options) -> Self {
        Self {
            upgrader: Upgrader::new().retry(RETRY),
            count: options.count,
            max_connections: room(options.max_connections),
            connections: Watch::default(),
            stopping: Watch::default(),
        }
    }

    /// Accepts connections until the demo ends, come what may.
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for conn in listener.incoming() {
            if self.stopping.get() {
                return;
            }
            let spawned = conn.and_then(|conn| match Place::take(self) {
                Some(place) => place.spawn(conn),
                None => {
                    refuse(conn);
                    Ok(())
                }
            });
            if let Err(error) = spawned {
                // Files or threads have run out: trying again at once would fail again.
                cli::complain(format_args!("a connection can't be served: {error}"));
                self.stopping
                    .wait_timeout_while(BACKOFF, |stopping| !stopping);
            }
        }
    }

    fn serve(&self, conn: TcpStream) -> Result<(), UpgradeError> {
        conn.set_nodelay(true)?;
        conn.set_write_timeout(Some(PATIENCE))?;
        let request = self.upgrader.read(Deadline::new(conn))?;
        match request.path() {
            "/" => request.respond(Response::new(200).body("text/html; charset=utf-8", PAGE)),
            "/sse" => {
                let (id, welcome) = resume(request.last_event_id());
                Ok(self.tick(request.accept()?, id, welcome)?)
            }
            _ => request.reject(Rejection::NOT_FOUND),
        }
    }

    fn tick(&self, mut stream: Stream<Deadline>, first: u64, welcome: String) -> io::Result<()> {
        let mut text = welcome;
        let count = self.count.unwrap_or(u64::MAX);
        for (id, left) in (first..=u64::MAX).zip((0..count).rev()) {
            stream.set_id(id)?;
            stream.write_json(&Tick { text, ts: now() })?;
            text = "hey there".to_owned();
            if left > 0 && self.stopping.wait_timeout_while(TICK, |stopping| !stopping) {
                return Ok(());
            }
        }
        stream.close()?;
        Ok(())
    }
}

#[derive(Serialize)]
struct Tick {
    text: String,
    /// Seconds since 1970.
    ts: u64,
}

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs())
}

/// The ID after the last that the client has seen, and what to say to that.
fn resume(last: Option<EventId>) -> (u64, String) {
    let Some(last) = last else {
        return (1, "welcome".to_owned());
    };
    let digits = Some(last.as_str()).filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
    let next = digits
        .and_then(|id| id.parse().ok())
        .and_then(|id: u64| id.checked_add(1));
    match next {
        Some(next) => (next, format!("welcome back after event {last}")),
        None => (1, format!("{last:?} is no ID of ours, so we begin anew")),
    }
}

/// Answers that there is no room, without waiting for the peer.
fn refuse(mut conn: TcpStream) {
    let mut answer = Vec::new();
    Response::from(Rejection::UNAVAILABLE).encode(false, &mut answer);
    // What does not work at once would only be lost on the peer.
    let _ = conn
        .set_nonblocking(true)
        .and_then(|()| conn.write_all(&answer))
        .and_then(|()| conn.shutdown(Shutdown::Write))
        // Dropping a connection with unread input resets it.
        .and_then(|()| conn.read(&mut [0; 16 << 10]));
}

/// One of the connections that may be open at once; free again when it is dropped.
struct Place(Arc<Demo>);

impl Place {
    fn take(demo: &Arc<Demo>) -> Option<Self> {
        demo.connections.update(|connections| {
            let is_free = *connections < demo.max_connections;
            *connections += usize::from(is_free);
            is_free.then(|| Self(Arc::clone(demo)))
        })
    }

    fn spawn(self, conn: TcpStream) -> io::Result<()> {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn(move || {
            // A peer that was refused has been answered, and one that is gone is gone.
            let _ = self.0.serve(conn);
        })?;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.update(|connections| *connections -= 1);
    }
}

/// A connection from which everything has to be read by one instant, so that a peer who
/// sends a byte now and then does not keep its thread.
struct Deadline {
    conn: TcpStream,
    at: Instant,
}

impl Deadline {
    fn new(conn: TcpStream) -> Self {
        let at = Instant::now() + PATIENCE;
        Self { conn, at }
    }
}

impl Read for Deadline {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.at.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.conn.set_read_timeout(Some(left))?;
        self.conn.read(buf)
    }
}

impl Write for Deadline {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        // What comes after an answer is read only so that the answer arrives.
        self.at = self.at.min(Instant::now() + LINGER);
        self.conn.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.conn.flush()
    }
}

/// A value for whose changes threads can wait.
#[derive(Default)]
struct Watch<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T: Copy> Watch<T> {
    fn get(&self) -> T {
        *self.lock()
    }

    fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn wait_while(&self, is_awaiting: impl Fn(T) -> bool) {
        let wait = self
            .changed
            .wait_while(self.lock(), |value| is_awaiting(*value));
        drop(wait);
    }

    /// The value after that time, or as soon as it need not be waited for any more.
    fn wait_timeout_while(&self, timeout: Duration, is_awaiting: impl Fn(T) -> bool) -> T {
        let wait = self
            .changed
            .wait_timeout_while(self.lock(), timeout, |value| is_awaiting(*value));
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many of the `wanted` connections the limit of open files leaves room for, once it
/// has been raised as far as needed and allowed.
fn room(wanted: usize) -> usize {
    let files = wanted.saturating_add(OTHER_FILES) as u64;
    let files = rlimit::increase_nofile_limit(files).unwrap_or(files);
    let room = usize::try_from(files).unwrap_or(usize::MAX);
    let room = room.saturating_sub(OTHER_FILES).min(wanted);
    if room < wanted {
        cli::complain(format_args!(
            "the limit of open files leaves room for {room} connections, not {wanted}"
        ));
    }
    room
}

const PAGE: &str = include_str!("demo.html");

const USAGE: &str = "\
Usage: demo [OPTIONS]

Serves a page that shows an event stream, and the stream at /sse, one event a second.

  --listen ADDR         listen there instead of on 127.0.0.1:31337; port 0 is any free one
  --count N             end each stream with a `close` event after N events
  --max-connections N   answer 503 beyond so many connections at once (4096)
  --help                show this";

const TICK: Duration = Duration::from_secs(1);

/// How long a client that has lost its stream waits before it asks again.
const RETRY: Duration = Duration::from_secs(1);

/// How long a request head may take to arrive, and each write to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a peer that was refused may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// How many connections may wait to be accepted. When thousands of clients reconnect at
/// once, those who find no room ask again after a second, then after two, four, ...
const BACKLOG: i32 = 4096;

/// How long nothing is accepted after that has failed.
const BACKOFF: Duration = Duration::from_millis(200);

/// How long streams may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// Enough for a connection's thread, so that thousands of them are cheap.
const STACK: usize = 128 << 10;

/// The listener, the standard streams, and what the system's libraries open.
const OTHER_FILES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_holds_for_all_reads_together() {
        let (mut peer, mut conn) = connection();
        peer.write_all(b"ab").unwrap();
        for byte in *b"ab" {
            let mut buf = [0];
            conn.read_exact(&mut buf).unwrap();
            assert_eq!(buf, [byte]);
        }
        let at = Instant::now() + Duration::from_millis(20);
        conn.at = at;
        assert!(is_timeout(conn.read(&mut [0])), "the peer is silent");
        assert!(Instant::now() >= at);
        peer.write_all(b"c").unwrap();
        assert!(is_timeout(conn.read(&mut [0])), "the peer is late");
    }

    #[test]
    fn an_answer_leaves_little_time_and_never_more() {
        let (_peer, mut conn) = connection();
        conn.write_all(b"no").unwrap();
        assert!(conn.at <= Instant::now() + LINGER);
        let at = Instant::now();
        conn.at = at;
        conn.write_all(b"no").unwrap();
        assert_eq!(conn.at, at);
    }

    fn connection() -> (TcpStream, Deadline) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (peer, Deadline::new(listener.accept().unwrap().0))
    }

    fn is_timeout(read: io::Result<usize>) -> bool {
        // Platforms differ in which it is.
        matches!(
            read.unwrap_err().kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        )
    }
}
