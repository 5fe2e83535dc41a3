//! An event stream over a bare `TcpListener`, with a thread for each connection.
//!
//! ```text
//! $ cargo run --bin low_level
//! curl -N http://127.0.0.1:31337/sse (Ctrl-C ends it)
//! ```
//!
//! Each client has its own count; `-H 'Last-Event-ID: 41'` resumes with 42.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{self, ExitCode};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cli::Ending;
use sse_core::{EventId, Rejection, UpgradeError, Upgrader};

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let listen = args.listen_address("127.0.0.1:31337")?;
        run(&listen).map_err(Ending::failure)
    })
}

/// Serves until Ctrl-C.
fn run(listen: &str) -> io::Result<()> {
    let listener = cli::bind(listen, |address| TcpListener::bind(address))?;
    let shared = Arc::new(Shared::default());
    let closing = Arc::clone(&shared);
    let close = move || {
        closing.close();
        cli::print("stopped");
        process::exit(0);
    };
    ctrlc::set_handler(close).map_err(io::Error::other)?;
    cli::print_serving(format_args!(
        "curl -N http://{}/sse (Ctrl-C ends it)",
        cli::url_host(listener.local_addr()?)
    ));
    for conn in listener.incoming() {
        let served = conn.and_then(|conn| match Permit::acquire(&shared) {
            Some(permit) => permit.spawn(conn),
            None => {
                refuse(conn);
                Ok(())
            }
        });
        if let Err(error) = served {
            // Files or threads have run out; an immediate retry would fail again.
            cli::print_error(format_args!("a connection can't be served: {error}"));
            thread::sleep(BACKOFF);
        }
    }
    Ok(())
}

/// Reads the request and writes the stream.
fn serve(conn: TcpStream, shared: &Shared) -> Result<(), UpgradeError> {
    conn.set_nodelay(true)?;
    conn.set_write_timeout(Some(TIMEOUT))?;
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

/// Returns the ID that follows the client's last event ID.
fn next(last: Option<EventId>) -> u64 {
    let next = last.and_then(|last| last.as_str().parse::<u64>().ok()?.checked_add(1));
    next.unwrap_or(1)
}

/// Responds with 503 without ever waiting for the peer.
fn refuse(mut conn: TcpStream) {
    let reply = upgrader().reply(Rejection::UNAVAILABLE, None, Some(SystemTime::now()));
    // Nonblocking, so that a full server spends no time on peers it refuses.
    let _ = conn
        .set_nonblocking(true)
        .and_then(|()| conn.write_all(&reply.encode()))
        .and_then(|()| conn.shutdown(Shutdown::Write))
        // A connection closed with unread input is reset, and the response may be lost.
        .and_then(|()| conn.read(&mut [0; 16 << 10]));
}

/// One of at most `MAX_CONNECTIONS` open connections, released on drop.
struct Permit(Arc<Shared>);

impl Permit {
    fn acquire(shared: &Arc<Shared>) -> Option<Self> {
        let mut state = shared.state();
        let has_room = state.connections < MAX_CONNECTIONS;
        state.connections += usize::from(has_room);
        has_room.then(|| Self(Arc::clone(shared)))
    }

    fn spawn(self, conn: TcpStream) -> io::Result<()> {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn(move || {
            // A refused peer has its response already; other errors concern this peer only.
            let _ = serve(conn, &self.0);
        })?;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state().connections -= 1;
        self.0.changed.notify_all();
    }
}

/// The state shared by all connections.
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
    /// Ends each stream after a whole event, and waits for that at most `GRACE`.
    fn close(&self) {
        self.state().is_closing = true;
        self.changed.notify_all();
        self.wait_while(GRACE, |state| state.connections > 0);
    }

    /// Waits for `time`, or until `close` is called. Returns whether it was called.
    fn closes_within(&self, time: Duration) -> bool {
        self.wait_while(time, |state| !state.is_closing).is_closing
    }

    /// Waits while `is_awaiting`, at most for `timeout`, and returns the state.
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

/// A connection with one deadline for all reads together, so that a peer that sends a byte
/// now and then does not keep its thread.
struct Deadline {
    conn: TcpStream,
    at: Instant,
}

impl Deadline {
    fn new(conn: TcpStream) -> Self {
        let at = Instant::now() + TIMEOUT;
        Self { conn, at }
    }

    /// Shuts down writing, and bounds the time for the rest of the peer's input.
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

  --listen ADDR  the address to listen on (127.0.0.1:31337); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --help         print this text";

/// The maximum number of open connections; further ones are refused with 503.
const MAX_CONNECTIONS: usize = 256;

const TICK: Duration = Duration::from_secs(1);

/// The reconnection time that clients are sent.
const RETRY: Duration = Duration::from_secs(1);

/// The deadline of a request head, and of each write.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long the input of a refused peer is read.
const LINGER: Duration = Duration::from_secs(1);

/// The pause after a failed accept.
const BACKOFF: Duration = Duration::from_millis(200);

/// The time that streams have to end at shutdown.
const GRACE: Duration = Duration::from_millis(500);

/// The stack of a connection's thread; small, so that hundreds of threads are cheap.
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
        conn.at = Instant::now() + Duration::from_millis(20);
        assert!(is_timeout(conn.read(&mut [0])), "the peer is silent");
        peer.write_all(b"c").unwrap();
        // Not what is left of the 20 ms: the kernel's timer may fire a little early.
        conn.at = Instant::now();
        assert!(is_timeout(conn.read(&mut [0])), "the peer is late");
    }

    #[test]
    fn shutting_down_shortens_the_deadline_and_never_extends_it() {
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
        // The kind depends on the platform.
        matches!(
            read.unwrap_err().kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        )
    }
}
