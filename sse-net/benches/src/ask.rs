//! Clients of a model endpoint, one after the other.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crate::process::Server;

/// Returns a request for `path`, with a JSON body of 1 KiB for `POST`.
#[must_use]
pub fn request(method: &str, path: &str) -> Vec<u8> {
    let (headers, body) = match method {
        "POST" => {
            let body = format!("{{\"text\":\"{}\"}}", "x".repeat(1024 - 11));
            let length = body.len();
            let headers = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
            (headers, body)
        }
        _ => (String::new(), String::new()),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
         User-Agent: load\r\nConnection: close\r\n{headers}\r\n{body}"
    )
    .into()
}

/// Sends the request `count` times, and returns the CPU time of the server.
///
/// # Errors
///
/// A response is not a stream with `events` events.
pub fn measure(
    server: &Server,
    request: &[u8],
    count: usize,
    events: usize,
) -> io::Result<Duration> {
    let before = server.time_on_cpu()?;
    let mut response = Vec::new();
    for _ in 0..count {
        exchange(server.address(), request, &mut response)?;
        let found = memchr::memmem::find_iter(&response, b"data: ").count();
        if found != events {
            let text = String::from_utf8_lossy(&response);
            return Err(io::Error::other(format!("{found} events: {text}")));
        }
    }
    Ok(server.time_on_cpu()?.saturating_sub(before))
}

/// Sends a request, and reads the response now and then.
///
/// A client that waits in a read is woken at the expense of the server, as
/// [`busy_poll`](crate::load::Load::busy_poll) says, and one that reads without a pause competes
/// with it for the lock of the socket.
fn exchange(address: SocketAddr, request: &[u8], response: &mut Vec<u8>) -> io::Result<()> {
    let mut connection = TcpStream::connect(address)?;
    connection.write_all(request)?;
    connection.set_nonblocking(true)?;
    response.clear();
    loop {
        // What was read before an error stays in `response`.
        match connection.read_to_end(response) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
}

/// The time between two reads.
const PAUSE: Duration = Duration::from_micros(50);
