//! The stream of a server in another process, over a bare socket.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use sse_core::Events;

/// Asks for `path` after an event ID, which may be empty, and reads the response head. Returns
/// `None` if the process has ended.
pub(crate) fn follow(port: u16, path: &str, last_id: &str) -> Option<Events<BufReader<TcpStream>>> {
    let mut conn = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let id = match last_id {
        "" => String::new(),
        id => format!("Last-Event-ID: {id}\r\n"),
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{id}\r\n");
    conn.write_all(head.as_bytes()).ok()?;
    let mut conn = BufReader::new(conn);
    let mut line = String::from("head");
    while !line.trim().is_empty() {
        line.clear();
        if conn.read_line(&mut line).ok()? == 0 {
            return None;
        }
    }
    Some(Events::new(conn))
}
