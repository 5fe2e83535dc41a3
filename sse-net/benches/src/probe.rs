//! Measures new clients and another topic while many clients keep the server busy.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::feed;
use crate::histogram::Histogram;

/// The latency that stands for everything longer.
pub const NEVER: Duration = Duration::from_secs(5);

/// The latencies of new clients' response heads, and of events of the topic `/second`.
#[derive(Debug)]
pub struct Probes {
    pub admission: Histogram,
    pub second: Histogram,
}

impl Probes {
    /// Measures for a time.
    ///
    /// # Errors
    ///
    /// The server closes a connection.
    pub fn measure(server: SocketAddr, time: Duration) -> io::Result<Self> {
        thread::scope(|scope| {
            let second = scope.spawn(move || follow(server, time));
            let admission = admit(server, time)?;
            let second = second.join().map_err(|_| io::ErrorKind::Other)??;
            Ok(Self { admission, second })
        })
    }
}

/// Connects repeatedly.
fn admit(server: SocketAddr, time: Duration) -> io::Result<Histogram> {
    let mut waits = Histogram::default();
    let start = Instant::now();
    while start.elapsed() < time {
        let begin = Instant::now();
        let wait = match get(server, "/second")?.read(&mut [0; 2048]) {
            Ok(1..) => begin.elapsed(),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => NEVER,
        };
        waits.add(nanos(wait));
        sleep(Duration::from_millis(10));
    }
    Ok(waits)
}

/// Reads events, whose data contains the due time.
fn follow(server: SocketAddr, time: Duration) -> io::Result<Histogram> {
    let mut latency = Histogram::default();
    let mut reader = BufReader::new(get(server, "/second")?);
    let mut line = String::new();
    let start = Instant::now();
    while start.elapsed() < time {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(1..) => {}
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(_) => latency.add(nanos(NEVER)),
        }
        let due = line.split_once("\"t\":").and_then(|(_, rest)| {
            let (due, _) = rest.split_once(',')?;
            due.parse::<u64>().ok()
        });
        if let Some(due) = due {
            latency.add(feed::now().saturating_sub(due));
        }
    }
    Ok(latency)
}

fn get(server: SocketAddr, path: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&server, NEVER)?;
    socket.set_read_timeout(Some(NEVER))?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
    )?;
    Ok(socket)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
