//! Clients and servers in memory, for tests with a paused clock.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test file uses its part"
)]

use std::future::{pending, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

#[cfg(feature = "http")]
pub(crate) mod http;

use sse_core::Event;
use sse_net::{
    Answer, Config, Disconnect, Handler, Listener, Peer, Request, Server, ServerHandle, Snapshot,
    Start, Topic, Transport,
};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A pipe's capacity in bytes, larger than any response of a test.
pub(crate) const WIDE: usize = 1 << 20;

pub(crate) fn config() -> Config {
    Config::default().shards(1)
}

/// Starts a server, and returns the net that connects to it.
pub(crate) fn serve(config: Config, handler: impl Handler) -> (ServerHandle, Net) {
    let (connect, accept) = mpsc::unbounded_channel();
    let running = Server::new(config).listen(Pipes(accept)).serve(handler);
    (running, Net(connect))
}

/// This library's server, or an HTTP server with this library's bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    #[cfg(feature = "http")]
    Http1,
    #[cfg(feature = "http")]
    Http2,
}

/// Defines one test per [`Kind`] for each function.
macro_rules! over_all_servers {
    ($($test:ident,)*) => {
        $(mod $test {
            #[tokio::test(start_paused = true)]
            async fn over_a_server() {
                super::$test(crate::common::Kind::Server).await;
            }

            #[cfg(feature = "http")]
            #[tokio::test(start_paused = true)]
            async fn over_http1() {
                super::$test(crate::common::Kind::Http1).await;
            }

            #[cfg(feature = "http")]
            #[tokio::test(start_paused = true)]
            async fn over_http2() {
                super::$test(crate::common::Kind::Http2).await;
            }
        })*
    };
}
pub(crate) use over_all_servers;

impl Kind {
    /// Starts a server whose every request follows `topic`.
    pub(crate) fn serve_topic(
        self,
        config: Config,
        topic: &Topic,
        start: Start,
    ) -> (Control, Net, Ends) {
        let ends = Ends::default();
        let (reported, topic) = (ends.clone(), topic.clone());
        match self {
            Self::Server => {
                let (running, net) = serve(config, move |request: Request| {
                    ready(reported.watch(request.follow_from(&topic, start)))
                });
                (Control::Server(running), net, ends)
            }
            #[cfg(feature = "http")]
            Self::Http1 | Self::Http2 => {
                let responder = sse_net::Responder::new(config);
                let shared = responder.clone();
                let net = http::serve(self == Self::Http2, move |request| {
                    let response = shared.follow_from(&request, &topic, start);
                    response.map(|body| reported.watch_body(body))
                });
                (Control::Responder(responder), net, ends)
            }
        }
    }
}

/// The common methods of [`ServerHandle`] and `Responder`.
pub(crate) enum Control {
    Server(ServerHandle),
    #[cfg(feature = "http")]
    Responder(sse_net::Responder),
}

impl Control {
    pub(crate) fn stats(&self) -> Snapshot {
        match self {
            Self::Server(running) => running.stats(),
            #[cfg(feature = "http")]
            Self::Responder(responder) => responder.stats(),
        }
    }

    pub(crate) async fn drain(self, window: Duration) {
        match self {
            Self::Server(running) => running.drain(window).await,
            #[cfg(feature = "http")]
            Self::Responder(responder) => responder.drain(window).await,
        }
    }
}

/// Starts a server of this library whose every request follows `topic`.
pub(crate) fn serve_topic(config: Config, topic: &Topic, start: Start) -> (Control, Net, Ends) {
    Kind::Server.serve_topic(config, topic, start)
}

/// The reasons for which streams have ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ends(Arc<Mutex<Vec<Disconnect>>>);

impl Ends {
    pub(crate) fn watch(&self, answer: Answer) -> Answer {
        let ends = Arc::clone(&self.0);
        answer.on_end(move |reason| ends.lock().unwrap().push(reason))
    }

    #[cfg(feature = "http")]
    pub(crate) fn watch_body(&self, body: sse_net::Body) -> sse_net::Body {
        let ends = Arc::clone(&self.0);
        body.on_end(move |reason| ends.lock().unwrap().push(reason))
    }

    pub(crate) fn push(&self, reason: Disconnect) {
        self.0.lock().unwrap().push(reason);
    }

    pub(crate) fn take(&self) -> Vec<Disconnect> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

type Accepted = io::Result<(Transport, Peer)>;

struct Pipes(mpsc::UnboundedReceiver<Accepted>);

impl Listener for Pipes {
    type Handshake = std::future::Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        match self.0.recv().await {
            Some(accepted) => accepted.map(|(transport, peer)| (ready(Ok(transport)), peer)),
            None => pending().await,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Net(mpsc::UnboundedSender<Accepted>);

impl Net {
    /// A client that has sent nothing. At most `room` bytes wait for it.
    pub(crate) fn connect(&self, room: usize) -> Client {
        self.connect_as(Peer::Local, room)
    }

    pub(crate) fn connect_from(&self, ip: [u8; 4]) -> Client {
        self.connect_as(Peer::Tcp(SocketAddr::new(IpAddr::from(ip), 1)), WIDE)
    }

    /// A client that has requested `path`.
    pub(crate) async fn get(&self, path: &str) -> Client {
        self.ask(WIDE, &format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .await
    }

    pub(crate) async fn resume(&self, path: &str, id: &str) -> Client {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {id}\r\n\r\n");
        self.ask(WIDE, &head).await
    }

    pub(crate) async fn ask(&self, room: usize, head: &str) -> Client {
        let mut client = self.connect(room);
        client.send(head).await;
        client
    }

    /// A client whose pipe holds `room` bytes after its response head.
    pub(crate) async fn get_slow(&self, path: &str, room: usize) -> Client {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = self.ask(room, &head).await;
        client.follow().await;
        client
    }

    /// Passes a transport of any other kind to the server.
    pub(crate) fn accept(&self, transport: Transport) {
        self.0.send(Ok((transport, Peer::Local))).unwrap();
    }

    pub(crate) fn fail(&self, error: io::ErrorKind) {
        self.0.send(Err(error.into())).unwrap();
    }

    fn connect_as(&self, peer: Peer, room: usize) -> Client {
        // Requests are short, but the capacity of a pipe is that of both directions.
        let (ours, theirs) = duplex(room);
        let writes = Arc::new(AtomicUsize::new(0));
        let counting = Counting(theirs, Arc::clone(&writes));
        let _ = self.0.send(Ok((Transport::new(counting), peer)));
        Client {
            pipe: ours,
            writes,
            wire: Wire::Head(Vec::new()),
        }
    }
}

pub(crate) struct Client {
    pub(crate) pipe: DuplexStream,
    writes: Arc<AtomicUsize>,
    wire: Wire,
}

/// The framing of a response, with the bytes of an incomplete part.
enum Wire {
    Head(Vec<u8>),
    Plain,
    Chunked(Vec<u8>),
}

impl Wire {
    /// Returns `bytes` without the framing; chunks once they are complete.
    fn unframe(&mut self, bytes: &[u8]) -> String {
        let mut out = Vec::new();
        match self {
            Self::Plain => out.extend_from_slice(bytes),
            Self::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = find(head, b"\r\n\r\n") else {
                    return String::new();
                };
                let rest = head.split_off(end + 4);
                out.append(head);
                *self = match find(&out.to_ascii_lowercase(), b"transfer-encoding: chunked") {
                    Some(_) => Self::Chunked(Vec::new()),
                    None => Self::Plain,
                };
                out.extend(self.unframe(&rest).bytes());
            }
            Self::Chunked(chunks) => {
                chunks.extend_from_slice(bytes);
                while let Some(end) = find(chunks, b"\r\n") {
                    let size = str::from_utf8(&chunks[..end]).unwrap();
                    let size = usize::from_str_radix(size, 16).unwrap();
                    if chunks.len() < end + size + 4 {
                        break;
                    }
                    out.extend_from_slice(&chunks[end + 2..end + 2 + size]);
                    chunks.drain(..end + size + 4);
                }
            }
        }
        String::from_utf8(out).unwrap()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

impl Client {
    pub(crate) async fn send(&mut self, text: &str) {
        self.pipe.write_all(text.as_bytes()).await.unwrap();
    }

    /// Reads until nothing arrives for a millisecond.
    pub(crate) async fn read(&mut self) -> String {
        let mut text = Vec::new();
        while let Ok(Ok(1..)) =
            timeout(Duration::from_millis(1), self.pipe.read_buf(&mut text)).await
        {}
        self.wire.unframe(&text)
    }

    /// Waits for the first bytes, then reads.
    pub(crate) async fn wait(&mut self) -> String {
        let mut text = Vec::new();
        self.pipe.read_buf(&mut text).await.unwrap();
        self.wire.unframe(&text) + &self.read().await
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.pipe.read_to_end(&mut text).await;
        self.wire.unframe(&text)
    }

    /// Checks the response head and `retry`, and returns the events after them.
    #[track_caller]
    pub(crate) fn follow(&mut self) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let text = self.read().await;
            after_retry(&text).unwrap_or_else(|| panic!("{caller}: no stream: {text:?}"))
        }
    }

    /// Returns the number of writes of the server since the last call.
    pub(crate) fn writes(&self) -> usize {
        self.writes.swap(0, Ordering::Relaxed)
    }
}

/// Returns the events after the response head and the opening.
pub(crate) fn after_retry(text: &str) -> Option<String> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let is_stream = head.starts_with("HTTP/1.1 200 OK\r\n")
        && head.contains("\r\nContent-Type: text/event-stream");
    is_stream.then(|| strip_opening(body))?
}

/// Removes the opening block, with the default `retry` and the ID of the position. A gap event
/// before it stays.
pub(crate) fn strip_opening(body: &str) -> Option<String> {
    let is_gap = body.starts_with("event: ");
    let (gap, body) = match body.split_once("\n\n") {
        Some((gap, body)) if is_gap => (format!("{gap}\n\n"), body),
        _ => (String::new(), body),
    };
    let (block, rest) = body.split_once("\n\n")?;
    let (id, retry) = block.rsplit_once("retry: ")?;
    let is_opening = is_jittered(retry) && (id.is_empty() || id.starts_with("id: "));
    is_opening.then(|| gap + rest)
}

/// Returns whether this is from 3 s to 4.5 s.
pub(crate) fn is_jittered(retry: &str) -> bool {
    retry
        .parse::<u64>()
        .is_ok_and(|millis| (3000..=4500).contains(&millis))
}

/// Publishes events, unless the topic is finished.
pub(crate) fn publish(topic: &Topic, ids: std::ops::Range<u32>) {
    for id in ids {
        let _ = topic.publish(&Event::new().id(id).data("d"));
    }
}

pub(crate) fn published(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("id: {id}\ndata: d\n\n")).collect()
}

/// Lets every task that is ready run.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

pub(crate) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

struct Counting(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        if written.is_ready() {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
