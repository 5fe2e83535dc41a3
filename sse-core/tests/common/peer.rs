//! A connection in memory.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use sse_core::{Rejection, UpgradeError, Upgrader};

/// The default response head of an accepted request.
pub(crate) const ACCEPTED: [&str; 5] = [
    "HTTP/1.1 200 OK",
    "Connection: close",
    "Content-Type: text/event-stream",
    "Cache-Control: no-cache, no-transform",
    "X-Accel-Buffering: no",
];

/// The stream that the test application sends.
pub(crate) const HEY: &str = "data: hey\n\n";

pub(crate) fn serve(upgrader: &Upgrader, peer: &mut Peer) -> Result<(), UpgradeError> {
    let request = upgrader.read(peer)?;
    let mut stream = match request.path() {
        "/sse" => request.accept()?,
        _ => return request.reject(Rejection::NOT_FOUND),
    };
    Ok(stream.write_str("hey")?)
}

/// Returns the bytes of a response.
pub(crate) fn response(head: &[&str], body: &str) -> String {
    format!("{}\r\n\r\n{body}", head.join("\r\n"))
}

/// Returns the bytes of a refusal, with extra headers.
pub(crate) fn refusal(status: &str, extra: &[&str], reason: &str) -> String {
    let status = format!("HTTP/1.1 {status}");
    let length = format!("Content-Length: {}", reason.len() + 1);
    let framing = [
        &*status,
        "Connection: close",
        &*length,
        "Content-Type: text/plain; charset=utf-8",
    ];
    let head = [&framing, extra, &["Cache-Control: no-store"]].concat();
    response(&head, &format!("{reason}\n"))
}

/// The peer of a connection: the bytes that it sends, and a record of calls.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The results of reads; then the end.
    script: VecDeque<Result<Vec<u8>, io::ErrorKind>>,
    at_once: usize,
    /// Whether it sends forever.
    pub(crate) is_endless: bool,
    /// The number of bytes that can be written before the connection breaks.
    pub(crate) takes: usize,

    pub(crate) done: Vec<Done>,
    pub(crate) read: usize,
    pub(crate) read_before_answer: usize,
    pub(crate) has_ended: bool,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Done {
    Wrote(Vec<u8>),
    Flushed,
    ShutDown,
}

impl Peer {
    pub(crate) fn sends(bytes: impl AsRef<[u8]>) -> Self {
        let peer = Self {
            script: VecDeque::new(),
            at_once: usize::MAX,
            is_endless: false,
            takes: usize::MAX,
            done: Vec::new(),
            read: 0,
            read_before_answer: 0,
            has_ended: false,
        };
        peer.then_sends(bytes)
    }

    pub(crate) fn then_sends(mut self, bytes: impl AsRef<[u8]>) -> Self {
        if !bytes.as_ref().is_empty() {
            self.script.push_back(Ok(bytes.as_ref().to_vec()));
        }
        self
    }

    pub(crate) fn then_fails(mut self, kind: io::ErrorKind) -> Self {
        self.script.push_back(Err(kind));
        self
    }

    /// Limits the bytes of one read.
    pub(crate) fn at_once(mut self, most: usize) -> Self {
        self.at_once = most;
        self
    }

    pub(crate) fn output(&self) -> String {
        let written = self.done.iter().map(|done| match done {
            Done::Wrote(bytes) => &bytes[..],
            Done::Flushed | Done::ShutDown => b"",
        });
        String::from_utf8(Vec::from_iter(written).concat()).expect("answers are text")
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut bytes = match self.script.pop_front() {
            Some(step) => step?,
            None if self.is_endless => vec![b'x'; buffer.len()],
            None => Vec::new(),
        };
        let len = bytes.len().min(buffer.len()).min(self.at_once);
        let rest = bytes.split_off(len);
        if !rest.is_empty() {
            self.script.push_front(Ok(rest));
        }
        buffer[..len].copy_from_slice(&bytes);
        self.read += len;
        self.has_ended = len == 0;
        if self.done.is_empty() {
            self.read_before_answer = self.read;
        }
        Ok(len)
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.takes);
        if taken == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.takes -= taken;
        self.done.push(Done::Wrote(bytes[..taken].to_vec()));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.done.push(Done::Flushed);
        Ok(())
    }
}
