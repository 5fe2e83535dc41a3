//! A server that fails on purpose, by a script.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sse_core::{BodyLimits, BodyReader, FieldError, Head, HeadReader, Headers, MEDIA_TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::transport::{Listener, Transport};

/// A server that follows a script, for tests of clients.
///
/// Each connection gets the next [`Reply`] of the script. When there is none left, connections
/// are closed at once, without a response. Dropping the server cuts all connections.
///
/// ```
/// use std::time::Duration;
/// use sse_net::testing::{FlakyServer, Reply, pipes};
/// use sse_net::{Connect, EventSource};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (listener, clients) = pipes(); // or a TcpListener
/// let server = FlakyServer::serve(listener, [
///     Reply::stream().send("id: 1\ndata: one\n\nid: 2\nda").cut(),
///     Reply::nothing(),
///     Reply::status(503).header("Retry-After", "20")?,
///     Reply::stream().wait(Duration::from_secs(10)).send("id: 2\ndata: two\n\n"),
///     Reply::status(204),
/// ]);
///
/// let source = EventSource::get("http://localhost/feed")?;
/// let mut feed = source.connect_with(move |_| std::future::ready(clients.connect()));
/// let mut data = Vec::new();
/// while let Some(event) = feed.next().await? {
///     data.push(event.data().to_owned());
/// }
/// assert_eq!(data, ["one", "two"]);
/// let ids = server.requests().into_iter().map(|request| {
///     request.last_event_id().map(|id| id.as_str().to_owned())
/// });
/// let one = || Some("1".to_owned());
/// assert_eq!(ids.collect::<Vec<_>>(), [None, one(), one(), one(), Some("2".to_owned())]);
/// # Ok(())
/// # }
/// ```
pub struct FlakyServer {
    requests: Arc<Mutex<Vec<Head>>>,
    accepting: JoinHandle<()>,
}

/// The script of a [`FlakyServer`] for one connection, step by step.
///
/// A body is chunked, so that a client can see whether it is complete.
#[derive(Debug, Clone)]
#[must_use]
pub struct Reply {
    /// `None` for a connection that is closed without a response.
    status: Option<u16>,
    /// Names and values of headers, each name once.
    headers: Vec<(String, String)>,
    steps: Vec<Step>,
    end: End,
}

#[derive(Debug, Clone)]
enum Step {
    Send(Bytes),
    Wait(Duration),
}

#[derive(Debug, Clone, Copy)]
enum End {
    Complete,
    Cut,
    Hold,
}

impl Reply {
    /// Responds with a status code, and an empty body unless there are further steps.
    pub fn status(status: u16) -> Self {
        Self {
            status: Some(status),
            headers: Vec::new(),
            steps: Vec::new(),
            end: End::Complete,
        }
    }

    /// Responds with an event stream, whose bytes are sent by [`send`](Self::send).
    pub fn stream() -> Self {
        Self {
            headers: vec![("Content-Type".to_owned(), MEDIA_TYPE.to_owned())],
            ..Self::status(200)
        }
    }

    /// Reads the request and closes the connection without a response.
    pub fn nothing() -> Self {
        Self {
            status: None,
            end: End::Cut,
            ..Self::status(200)
        }
    }

    /// Sets a header of the response. It replaces one of the same name.
    ///
    /// # Errors
    ///
    /// The name or the value cannot stand in a header; or the header is one of the framing, such as
    /// `Content-Length`, or `Content-Type`, which only [`stream`](Self::stream) has.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, FieldError> {
        Headers::new().with(name, value)?;
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        Ok(self)
    }

    /// Sends these bytes, as one chunk of the body. They need not be a whole event.
    pub fn send(mut self, bytes: impl Into<Bytes>) -> Self {
        self.steps.push(Step::Send(bytes.into()));
        self
    }

    /// Waits before the next step; as the first one, before the response head.
    pub fn wait(mut self, time: Duration) -> Self {
        self.steps.push(Step::Wait(time));
        self
    }

    /// Ends the connection without the end of the body.
    pub fn cut(mut self) -> Self {
        self.end = End::Cut;
        self
    }

    /// Keeps the connection open until the client closes it or the server is dropped.
    pub fn hold(mut self) -> Self {
        self.end = End::Hold;
        self
    }

    /// Returns the response head.
    fn head(&self, status: u16) -> Vec<u8> {
        // RFC 9112, 6.1: these responses have no Transfer-Encoding.
        let coding = match status {
            204 | 304 => "",
            _ => "Transfer-Encoding: chunked\r\n",
        };
        let lines = self.headers.iter();
        let lines: String = lines
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!("HTTP/1.1 {status} -\r\n{lines}{coding}\r\n").into_bytes()
    }

    async fn run(self, connection: &mut Transport) -> io::Result<()> {
        let mut head = self.status.map(|status| self.head(status));
        for step in &self.steps {
            match step {
                Step::Wait(time) => sleep(*time).await,
                Step::Send(bytes) => {
                    let mut out = head.take().unwrap_or_default();
                    if !bytes.is_empty() {
                        // An empty chunk would end the body.
                        out.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                        out.extend_from_slice(bytes);
                        out.extend_from_slice(b"\r\n");
                    }
                    AsyncWriteExt::write_all(connection, &out).await?;
                    connection.flush().await?;
                }
            }
        }
        let mut out = head.take().unwrap_or_default();
        if matches!(self.end, End::Complete) && !matches!(self.status, Some(204 | 304)) {
            out.extend_from_slice(b"0\r\n\r\n");
        }
        AsyncWriteExt::write_all(connection, &out).await?;
        connection.flush().await?;
        match self.end {
            End::Complete => connection.shutdown().await?,
            End::Cut => return Ok(()),
            End::Hold => {}
        }
        // Until the client has seen the end: closing earlier might reset the connection.
        let mut rest = [0; 1024];
        while connection.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

impl FlakyServer {
    /// Starts the server on the current Tokio runtime.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub fn serve(listener: impl Listener, script: impl IntoIterator<Item = Reply>) -> Self {
        let requests = Arc::default();
        let script = Vec::from_iter(script);
        let accepting = tokio::spawn(accept(listener, script, Arc::clone(&requests)));
        Self {
            requests,
            accepting,
        }
    }

    /// Returns the heads of the requests, in the order of their arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Head> {
        lock(&self.requests).clone()
    }
}

impl Drop for FlakyServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl fmt::Debug for FlakyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlakyServer")
            .field("requests", &lock(&self.requests).len())
            .finish_non_exhaustive()
    }
}

async fn accept(mut listener: impl Listener, script: Vec<Reply>, requests: Arc<Mutex<Vec<Head>>>) {
    let mut script = script.into_iter();
    // Its connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        let Ok((handshake, _)) = listener.accept().await else {
            sleep(PAUSE).await; // Files may have run out.
            continue;
        };
        let Some(reply) = script.next() else {
            continue;
        };
        let requests = Arc::clone(&requests);
        connections.spawn(async move {
            let mut connection = handshake.await?;
            let head = read_request(&mut connection).await?;
            lock(&requests).push(head);
            reply.run(&mut connection).await
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Reads a request, and discards its body.
async fn read_request(connection: &mut Transport) -> io::Result<Head> {
    let mut reader = HeadReader::new();
    let (mut piece, mut rest) = (Vec::new(), 0);
    let head = loop {
        piece.clear();
        if connection.read_buf(&mut piece).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut input = &piece[..];
        let read = reader.read(&mut input);
        if let Some(head) = read.map_err(|rejection| io::Error::other(rejection.to_string()))? {
            rest += input.len();
            break head;
        }
    };
    let mut body = BodyReader::new(head.framing(), BodyLimits::new())?;
    let mut piece = piece.split_off(piece.len() - rest);
    loop {
        let mut input = &piece[..];
        while body.read(&mut input)?.is_some() {}
        if body.is_complete() {
            return Ok(head);
        }
        piece.clear();
        if connection.read_buf(&mut piece).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The pause after a failed accept.
const PAUSE: Duration = Duration::from_millis(5);

fn lock(requests: &Mutex<Vec<Head>>) -> MutexGuard<'_, Vec<Head>> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{PipeListener, RawClient, pipes};
    use crate::transport::Peer;

    #[tokio::test]
    async fn sending_nothing_sends_the_head_and_does_not_end_the_body() {
        let (listener, clients) = pipes();
        let reply = Reply::stream()
            .send("")
            .send("data: hey\n\n")
            .send("")
            .cut();
        let _server = FlakyServer::serve(listener, [reply]);
        let mut client = RawClient::new(clients.connect().unwrap());
        assert_eq!(client.get("/").await.unwrap().status(), 200);
        assert_eq!(client.event().await.unwrap().data(), "hey");
        let cut = client.next().await.unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// A listener whose first accept fails.
    struct FailsOnce(Option<io::Error>, PipeListener);

    impl Listener for FailsOnce {
        type Handshake = <PipeListener as Listener>::Handshake;

        async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
            match self.0.take() {
                Some(error) => Err(error),
                None => self.1.accept().await,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_accept_does_not_end_the_server() {
        let (listener, clients) = pipes();
        let listener = FailsOnce(Some(io::ErrorKind::ConnectionAborted.into()), listener);
        let _server = FlakyServer::serve(listener, [Reply::status(204)]);
        let mut client = RawClient::new(clients.connect().unwrap());
        assert_eq!(client.get("/").await.unwrap().status(), 204);
    }

    #[test]
    fn a_header_replaces_one_of_the_same_name() {
        let reply = Reply::status(503).header("Retry-After", "1").unwrap();
        let reply = reply.header("retry-after", "2").unwrap();
        let head = String::from_utf8(reply.head(503)).unwrap();
        assert_eq!(
            head,
            "HTTP/1.1 503 -\r\nretry-after: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
    }
}
