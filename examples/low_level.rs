//! An event stream over a bare `TcpListener`, with a thread for each connection.
//!
//! ```text
//! $ cargo run --bin low_level
//! curl -N http://127.0.0.1:31337/sse (Ctrl-C ends it)
//! ```
//!
//! Each client has a count of its own, and `-H 'Last-Event-ID: 41'` goes on from there.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{self, ExitCode};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cli::{Args, Ending};
use sse_core::{EventId, Rejection, UpgradeError, Upgrader};

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let listen = listen(args)?;
        run(&listen)
            .map_err(|error| Ending::Failure(format!("can't listen on {listen:?}: {error}")))
    })
}

fn listen(mut args: Args) -> Result<String, Ending> {
    let mut listen = "127.0.0.1:31337".to_owned();
    while let Some(option) = args.option()? {
        match &*option {
            "--listen" => listen = args.value("an address")?,
            _ => return Err(args.unknown()),
        }
    }
    Ok(listen)
}

/// Serves until Ctrl-C.
fn run(listen: &str) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    let shared = Arc::new(Shared::default());
    let closing = Arc::clone(&shared);
    let close = move || {
        closing.close();
        cli::say("goodbye");
        process::exit(0);
    };
    ctrlc::set_handler(close).map_err(io::Error::other)?;
    cli::say(format_args!(
        "curl -N http://{}/sse (Ctrl-C ends it)",
        listener.local_addr()?
    ));
    for conn in listener.incoming() {
        let served = conn.and_then(|conn| match Place::take(&shared) {
            Some(place) => place.spawn(conn),
            None => {
                refuse(conn);
                Ok(())
            }
        });
        if let Err(error) = served {
            // Files or threads have run out: trying again at once would fail again.
            cli::complain(format_args!("a connection can't be served: {error}"));
            thread::sleep(BACKOFF);
        }
    }
    Ok(())
}

/// Reads the request, and writes the stream.
fn serve(conn: TcpStream, shared: &Shared) -> Result<(), UpgradeError> {
    conn.set_nodelay(true)?;
    conn.set_write_timeout(Some(PATIENCE))?;
    let upgrader = upgrader().retry(RETRY);
    let request = upgrader.read_with(Deadline::new(conn), Deadline::shut_down)?;
    let first = next(request.last_event_id());
    let mut stream = match request.path() {
        "/sse" => request.accept()?,
        _ => return request.reject(Rejection::NOT_FOUND),
    };
    for id in first..=u64::MAX {
        stream.set_id(id)?;
        stream.write_str("hey there")?;
        if shared.closes_within(TICK) {
            break;
        }
    }
    Ok(())
}

fn upgrader() -> Upgrader {
    Upgrader::new().clock(SystemTime::now)
}

/// The ID after the last that the client has seen.
fn next(last: Option<EventId>) -> u64 {
    let next = last.and_then(|last| last.as_str().parse::<u64>().ok()?.checked_add(1));
    next.unwrap_or(1)
}

/// Answers that there is no room, without waiting for the peer.
fn refuse(mut conn: TcpStream) {
    let reply = upgrader().reply(Rejection::UNAVAILABLE, None, Some(SystemTime::now()));
    // What does not work at once would only be lost on the peer.
    let _ = conn
        .set_nonblocking(true)
        .and_then(|()| conn.write_all(&reply.encode()))
        .and_then(|()| conn.shutdown(Shutdown::Write))
        // Dropping a connection with unread input resets it.
        .and_then(|()| conn.read(&mut [0; 16 << 10]));
}

/// One of the connections that may be open at once, until it is dropped.
struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let mut state = shared.state();
        let has_room = state.connections < MAX_CONNECTIONS;
        state.connections += usize::from(has_room);
        has_room.then(|| Self(Arc::clone(shared)))
    }

    fn spawn(self, conn: TcpStream) -> io::Result<()> {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn(move || {
            // A peer that was refused has been answered, and one that is gone is gone.
            let _ = serve(conn, &self.0);
        })?;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.state().connections -= 1;
        self.0.changed.notify_all();
    }
}

/// What all connections share.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct State {
    connections: usize,
    is_closing: bool,
}

impl Shared {
    /// Has each stream end after a whole event. Who does not let it is not waited for.
    fn close(&self) {
        self.state().is_closing = true;
        self.changed.notify_all();
        self.wait_while(GRACE, |state| state.connections > 0);
    }

    /// Waits for that time, unless the end comes earlier, and gives whether it does.
    fn closes_within(&self, time: Duration) -> bool {
        self.wait_while(time, |state| !state.is_closing).is_closing
    }

    /// The state after that time, or as soon as it need not be waited for any more.
    fn wait_while(&self, timeout: Duration, is_awaiting: impl Fn(State) -> bool) -> State {
        let wait = self
            .changed
            .wait_timeout_while(self.state(), timeout, |state| is_awaiting(*state));
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Ends this half. What comes after a response is read only so that it arrives.
    fn shut_down(&mut self) -> io::Result<()> {
        self.at = self.at.min(Instant::now() + LINGER);
        self.conn.shutdown(Shutdown::Write)
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
        self.conn.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.conn.flush()
    }
}

const USAGE: &str = "\
Usage: low_level [OPTIONS]

Serves an event stream at /sse, one event a second, with a thread for each connection.

  --listen ADDR  listen there instead of on 127.0.0.1:31337; port 0 is any free one
  --help         show this";

/// How many connections may be open at once: beyond, 503 is answered.
const MAX_CONNECTIONS: usize = 256;

const TICK: Duration = Duration::from_secs(1);

/// How long a client that has lost its stream waits before it asks again.
const RETRY: Duration = Duration::from_secs(1);

/// How long a request head may take to arrive, and each write to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a peer that was refused may go on sending.
const LINGER: Duration = Duration::from_secs(1);

/// How long nothing is accepted after that has failed.
const BACKOFF: Duration = Duration::from_millis(200);

/// How long streams may take to end.
const GRACE: Duration = Duration::from_millis(500);

/// Enough for a connection's thread, so that hundreds of them are cheap.
const STACK: usize = 128 << 10;

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
        let (mut peer, mut conn) = connection();
        conn.write_all(b"no").unwrap();
        conn.shut_down().unwrap();
        assert!(conn.at <= Instant::now() + LINGER);
        let mut answer = String::new();
        peer.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "no");
        let at = Instant::now();
        conn.at = at;
        conn.shut_down().unwrap();
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
