//! A server program as a child process, and clients for it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file takes what it needs"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use sse_core::{Events, MessageEvent};

/// A test fails when it has waited this long.
pub const TIMEOUT: Duration = Duration::from_secs(30);

pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub addr: SocketAddr,
}

impl Server {
    /// Starts `program` on a free port and waits until it prints its address.
    pub fn start(program: &str, args: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", program, args)
    }

    pub fn start_at(listen: &str, program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(["--listen", listen]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let addr = line.split_once("http://").and_then(|(_, rest)| {
            let (addr, _) = rest.split_once('/')?;
            addr.parse().ok()
        });
        let addr = addr.expect(&line);
        Self {
            child,
            stdout,
            addr,
        }
    }

    pub fn connect(&self) -> TcpStream {
        let conn = TcpStream::connect(self.addr).unwrap();
        conn.set_read_timeout(Some(TIMEOUT)).unwrap();
        conn
    }

    pub fn send(&self, bytes: &str) -> TcpStream {
        let mut conn = self.connect();
        conn.write_all(bytes.as_bytes()).unwrap();
        conn
    }

    pub fn get(&self, target: &str, header: &str) -> TcpStream {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: demo\r\n{header}\r\n"
        ))
    }

    /// Sends a request, such as `GET /`, and checks the response: its status, a header that it
    /// has, and its whole body.
    #[track_caller]
    pub fn check(&self, request: &str, status: &str, header: &str, body: &str) {
        let conn = self.send(&format!("{request} HTTP/1.1\r\nHost: demo\r\n\r\n"));
        // The server reads the input of a refused peer to its end.
        conn.shutdown(Shutdown::Write).unwrap();
        let (head, found) = response_to_end(conn);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{request}: {head}"
        );
        assert!(head.contains(header), "{request}: {head}");
        assert_eq!(found, body, "{request}");
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// Waits for the next line of the output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// Waits for the end. Returns the exit status and the output after the first line.
    pub fn wait(&mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).unwrap();
        (status.code(), said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the response head. Returns it and a reader of the body.
pub fn response<R: Read>(conn: R) -> (String, BufReader<R>) {
    let mut reader = BufReader::new(conn);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    (head, reader)
}

/// Reads the response to its end. Returns the head and the body.
pub fn response_to_end(conn: impl Read) -> (String, String) {
    let (head, mut rest) = response(conn);
    let mut body = String::new();
    rest.read_to_string(&mut body).unwrap();
    (head, body)
}

/// Reads the events of a stream as they arrive.
pub fn events(conn: impl Read) -> impl Iterator<Item = MessageEvent<'static>> {
    let (head, rest) = response(conn);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: text/event-stream\r\n"),
        "{head}"
    );
    Events::new(rest).map(Result::unwrap)
}
