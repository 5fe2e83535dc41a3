//! The ends of handlers and of the futures of per-client streams.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::{pending, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use common::{Ends, WIDE, after_retry, config, pass, serve, settle};
use sse_core::{Rejection, Response, Retention, Upgrader};
use sse_net::{
    Answer, Disconnect, Hub, HubConfig, Journal, Listener, Peer, Request, Runs, RunsConfig, Server,
    Snapshot, Topic, Transport,
};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream, DuplexStream, ReadBuf, duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// Counts values that have not been dropped.
#[derive(Clone, Default)]
struct Alive(Arc<AtomicUsize>);

struct One(Arc<AtomicUsize>);

impl Alive {
    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::Relaxed);
        One(Arc::clone(&self.0))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns a handler that takes `time`, and the count of its futures.
fn thinker(
    time: Duration,
) -> (
    Alive,
    impl Fn(Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync,
) {
    let alive = Alive::default();
    let thinking = alive.clone();
    let handler = move |request: Request| {
        let one = thinking.one();
        Box::pin(async move {
            pass(time).await;
            drop(one);
            request.respond(Response::new(200).with_body("text/plain", "42"))
        }) as Pin<Box<dyn Future<Output = Answer> + Send>>
    };
    (alive, handler)
}

/// A handler, `main` and the future of a stream return them with `?`.
#[test]
fn errors_convert_into_io_errors_with_their_text() {
    fn kind(error: impl Into<io::Error> + ToString) -> io::ErrorKind {
        let text = error.to_string();
        let error = error.into();
        assert_eq!(error.to_string(), text);
        error.kind()
    }
    let full = Hub::new(HubConfig::from(Retention::default()).max_topics(1));
    let _topic = full.topic("a").unwrap();
    let runs = Runs::new(Hub::new(HubConfig::default()), RunsConfig::default());
    let file = Journal::new(std::env::current_exe().unwrap());
    let other = io::ErrorKind::Other;
    assert_eq!(kind(full.topic("b").unwrap_err()), other);
    assert_eq!(kind(full.keyed_topic("a").unwrap_err()), other);
    assert_eq!(kind(runs.get("nothing").unwrap_err()), other);
    let opened = Topic::open(Retention::default(), &file);
    assert_eq!(kind(opened.unwrap_err()), io::ErrorKind::AlreadyExists);
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_when_its_client_disconnects() {
    let (alive, handler) = thinker(SECOND * 3600);
    let (server, net) = serve(config(), handler);
    let clients = [net.get("/").await, net.get("/").await];
    settle().await;
    assert_eq!(alive.count(), 2);
    drop(clients);
    pass(SECOND / 20).await;
    let stats = server.stats();
    assert_eq!(
        (alive.count(), stats.client_closed, stats.connections),
        (0, 2, 0)
    );
}

/// Such a client has sent its request and waits for the response.
#[tokio::test(start_paused = true)]
async fn a_handler_continues_for_a_half_closed_client() {
    let (_, handler) = thinker(SECOND * 10);
    let (server, net) = serve(config(), handler);
    for leaves in [false, true] {
        let mut client = net.get("/").await;
        client.pipe.shutdown().await.unwrap();
        pass(SECOND * 5).await;
        assert_eq!(server.stats().connections, 1);
        if leaves {
            drop(client);
            pass(SECOND).await;
            assert_eq!(server.stats().connections, 0);
            continue;
        }
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\nDate: "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n42"), "{answer}");
    }
}

/// The first byte is sent early to a half-closed client; the rest follows it.
#[tokio::test(start_paused = true)]
async fn a_response_is_complete_after_its_first_byte_was_sent_early() {
    let topic = Topic::new(Retention::default());
    let (_server, net) = serve(config(), move |request: Request| {
        let topic = topic.clone();
        async move {
            pass(SECOND).await;
            match request.path() {
                "/follow" => request.follow(&topic),
                "/stream" => request.stream(async |stream| stream.close().await),
                _ => panic!("the handler fails"),
            }
        }
    });
    for (path, expected) in [
        ("/follow", "HTTP/1.1 200 OK\r\n"),
        ("/stream", "HTTP/1.1 200 OK\r\n"),
        ("/panic", "HTTP/1.1 500 Internal Server Error\r\n"),
    ] {
        let mut client = net.get(path).await;
        client.pipe.shutdown().await.unwrap();
        pass(SECOND * 2).await;
        let answer = client.read().await;
        assert!(answer.starts_with(expected), "{path}: {answer}");
    }
}

#[tokio::test]
async fn clients_that_close_after_their_request_free_their_connections() {
    let (alive, handler) = thinker(SECOND * 3600);
    let slow = Arc::new(handler);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = config().max_connections(100);
    let server = Server::new(config)
        .listen(listener)
        .serve(move |request: Request| {
            let slow = Arc::clone(&slow);
            async move {
                match request.path() {
                    "/slow" => slow(request).await,
                    _ => request.reject(Rejection::NOT_FOUND),
                }
            }
        });
    for _ in 0..10 {
        for _ in 0..100 {
            let mut client = TcpStream::connect(address).await.unwrap();
            let request = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
            client.write_all(request).await.unwrap();
        }
        until(|| server.stats().connections == 0).await;
    }
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!((alive.count(), server.stats().refused), (0, 0));
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SECOND * 20, waiting)
        .await
        .expect("the condition holds within 20 s");
}

#[tokio::test(start_paused = true)]
async fn a_handler_is_dropped_at_its_time_limit() {
    let (alive, handler) = thinker(SECOND * 10);
    let config = |time| {
        config()
            .handler_timeout(time)
            .upgrader(Upgrader::new().allow_any_origin())
    };
    let (server, net) = serve(config(SECOND * 5), handler);
    let start = Instant::now();
    let answer = net.get("/").await.read_to_end().await;
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\nDate: "));
    assert!(answer.contains("\r\nAccess-Control-Allow-Origin: *\r\n"));
    assert!(answer.ends_with("\r\n\r\nthe server took too long to answer; retry later\n"));
    assert_eq!((alive.count(), server.stats().handler_timeouts), (0, 1));

    let (_, handler) = thinker(SECOND * 10);
    let (_server, net) = serve(config(SECOND * 11), handler);
    let answer = net.get("/").await.read_to_end().await;
    assert!(answer.ends_with("\r\n\r\n42"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_handler_is_answered_with_500() {
    let (server, net) = serve(config(), |request: Request| {
        assert_ne!(request.path(), "/at-once", "the handler fails");
        async move {
            match request.path() {
                "/" => request.respond(Response::new(200)),
                _ => panic!("the handler fails"),
            }
        }
    });
    for path in ["/at-once", "/later"] {
        let answer = net.get(path).await.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\nDate: "));
        assert!(answer.ends_with("\r\n\r\nthe server failed to handle the request\n"));
    }
    let answer = net.get("/").await.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(server.stats().handler_panics, 2);
}

/// RFC 9110, 9.3.1: content in a GET request has no defined meaning.
#[tokio::test(start_paused = true)]
async fn input_after_the_request_head_is_discarded_up_to_the_limit() {
    let (server, net) = serve(config(), |request: Request| async move {
        match request.path() {
            "/slow" => pending().await,
            _ => request.stream(async |mut stream| {
                stream.write_str("hey").await?;
                pending().await
            }),
        }
    });
    for path in ["/slow", "/stream"] {
        let before = server.stats();
        let mut client = net.get(path).await;
        let chunk = "x".repeat(16 << 10);
        for _ in 0..4 {
            client.send(&chunk).await;
            pass(SECOND).await;
            assert_eq!(server.stats().connections, 1, "{path}");
        }
        client.send("x").await;
        pass(SECOND).await;
        let stats = server.stats();
        assert_eq!(
            stats.unexpected_input - before.unexpected_input,
            1,
            "{path}"
        );
        assert_eq!(stats.connections, 0, "{path}");
    }
}

/// It is dropped at its `await`, like that of `Responder::stream`.
#[tokio::test(start_paused = true)]
async fn the_future_of_a_stream_is_dropped_when_its_client_disconnects() {
    let alive = Alive::default();
    let thinking = alive.clone();
    let (server, net) = serve(config(), move |request: Request| {
        let one = thinking.one();
        ready(request.stream(async move |mut stream| {
            let _one = one;
            stream.write_str("let me think").await?;
            pending().await
        }))
    });
    let mut client = net.get("/").await;
    assert_eq!(client.follow().await, "data: let me think\n\n");
    for _ in 0..3 {
        pass(SECOND * 15).await;
        assert_eq!(client.read().await, ":\n", "a heartbeat");
    }
    assert_eq!(server.stats().heartbeats, 3);
    drop(client);
    pass(SECOND / 20).await;
    let stats = server.stats();
    assert_eq!(
        (alive.count(), stats.client_closed, stats.connections),
        (0, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_detached_future_continues_after_its_client_disconnects() {
    let (told, mut work) = tokio::sync::mpsc::unbounded_channel();
    let (server, net) = serve(config(), move |request: Request| {
        let told = told.clone();
        ready(request.stream_detached(async move |mut stream| {
            stream.write_str("I begin").await?;
            stream.closed().await;
            let error = io::Error::from(stream.write_str("more").await.unwrap_err());
            pass(SECOND * 60).await;
            told.send(error.kind()).unwrap();
            Ok(())
        }))
    });
    let mut client = net.get("/").await;
    assert_eq!(client.follow().await, "data: I begin\n\n");
    pass(SECOND * 15).await;
    assert_eq!(client.read().await, ":\n");
    drop(client);
    pass(SECOND / 20).await;
    assert_eq!(server.stats().connections, 0);
    assert_eq!(work.recv().await, Some(io::ErrorKind::BrokenPipe));
}

#[tokio::test(start_paused = true)]
async fn the_hook_gets_the_reason_for_the_end_of_a_stream() {
    let ends = Ends::default();
    let told = ends.clone();
    let (server, net) = serve(config(), move |request: Request| {
        let answer = match request.path() {
            "/done" => request.stream(async |_| Ok(())),
            "/closed" => request.stream(async |stream| stream.close().await),
            "/error" => request.stream(async |mut stream| {
                stream.write_str("hey").await?;
                Err(io::ErrorKind::TimedOut.into()) // its own, of another connection
            }),
            "/panic" => request.stream(async |mut stream| {
                stream.write_str("hey").await?;
                panic!("the future fails")
            }),
            "/detached" => request.stream_detached(async |_| panic!("the task fails")),
            _ => request.stream(async |mut stream| {
                loop {
                    stream.write_str("more").await?;
                }
            }),
        };
        ready(told.watch(answer))
    });
    for (path, said, reason) in [
        ("/done", "", Disconnect::Finished),
        ("/closed", "event: close\ndata: \n\n", Disconnect::Finished),
        ("/error", "data: hey\n\n", Disconnect::HandlerFailed),
        ("/panic", "data: hey\n\n", Disconnect::HandlerPanicked),
        ("/detached", "", Disconnect::HandlerPanicked),
    ] {
        let answer = net.get(path).await.read_to_end().await;
        assert_eq!(after_retry(&answer).as_deref(), Some(said), "{path}");
        settle().await;
        assert_eq!(ends.take(), [reason], "{path}");
    }
    // One takes nothing, and one leaves.
    let _slow = net.ask(400, "GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await;
    pass(SECOND * 19).await;
    assert_eq!(ends.take(), []);
    pass(SECOND * 2).await;
    assert_eq!(ends.take(), [Disconnect::WriteTimeout]);
    drop(net.ask(400, "GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await);
    pass(SECOND).await;
    assert_eq!(ends.take(), [Disconnect::ClientClosed]);
    let Snapshot {
        finished,
        handler_failures,
        handler_panics,
        connections,
        ..
    } = server.stats();
    assert_eq!((finished, handler_failures, handler_panics), (2, 1, 2));
    assert_eq!(connections, 0);
}

/// A client that reads 200 bytes every 15 s stays within the write timeout.
#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_its_complete_stream() {
    let (_server, net) = serve(config(), |request: Request| {
        ready(request.stream(async |mut stream| {
            for n in 0..20 {
                stream.set_id(n)?;
                stream.write_str(&"x".repeat(1000)).await?;
            }
            stream.close().await
        }))
    });
    let mut client = net.ask(400, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut got = Vec::new();
    let mut piece = [0; 200];
    loop {
        pass(SECOND * 15).await;
        match client.pipe.read(&mut piece).await.unwrap() {
            0 => break,
            len => got.extend_from_slice(&piece[..len]),
        }
    }
    let got = String::from_utf8(got).unwrap();
    assert_eq!(got.matches("data: xxx").count(), 20);
    assert!(got.ends_with("event: close\ndata: \n\n"));
}

#[tokio::test(start_paused = true)]
async fn a_handler_gets_what_inner_and_outer_listeners_have_attached() {
    let upgrader = Upgrader::new().allow_origin("https://b").unwrap();
    let (_server, net) = serve(config().upgrader(upgrader), |request: Request| {
        let attached: (Option<&u8>, Option<&u16>, Option<&u32>) = (
            request.extension(),
            request.extension(),
            request.extension(),
        );
        let text = format!("{attached:?}");
        ready(request.respond(Response::new(200).with_body("text/plain", text)))
    });
    // The inner connection is one for `https`, so a page of `http` is of another origin.
    for (origin, is_own) in [("https://a", true), ("http://a", false)] {
        let (mut client, theirs) = duplex(WIDE);
        let inner = Transport::new(theirs).https();
        let inner = inner.with_extension(1_u8).with_extension(2_u16);
        let wrap = async |inner| Ok(Transport::new(inner).with_extension(3_u16));
        net.accept(inner.wrap(wrap).await.unwrap());
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.ends_with("\r\n\r\n(Some(1), Some(3), None)"),
            "{answer}"
        );
        let allowed = format!("\r\nAccess-Control-Allow-Origin: {origin}\r\n");
        assert_eq!(answer.contains(&allowed), is_own, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_is_completed_after_it_has_closed_its_stream() {
    let alive = Alive::default();
    let (working, ends) = (alive.clone(), Ends::default());
    let watched = ends.clone();
    let (_server, net) = serve(config(), move |request: Request| {
        let one = working.one();
        ready(watched.watch(request.stream(async move |stream| {
            stream.close().await?;
            pass(SECOND).await;
            drop(one);
            Ok(())
        })))
    });
    let mut client = net.get("/").await;
    let text = client.read_to_end().await;
    assert!(text.ends_with("event: close\ndata: \n\n"), "{text}");
    assert_eq!(alive.count(), 1);
    drop(client);
    pass(SECOND * 2).await;
    assert_eq!(
        (alive.count(), ends.take()),
        (0, vec![Disconnect::Finished])
    );
}

/// The write timeout does not count while there was nothing to write.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_slow_after_a_silence_stays_connected() {
    let config = config().heartbeat(SECOND * 100).write_timeout(SECOND * 5);
    let (_server, net) = serve(config, |request: Request| {
        ready(request.stream(async |mut stream| {
            pass(SECOND).await;
            stream
                .write_str(&"x".repeat(400 - "data: \n\n".len()))
                .await?;
            pass(SECOND * 30).await;
            stream.write_str("late").await?;
            stream.close().await
        }))
    });
    let mut slow = net.get_slow("/", 400).await;
    pass(SECOND * 33).await;
    let text = slow.read_to_end().await;
    assert!(
        text.ends_with("data: late\n\nevent: close\ndata: \n\n"),
        "{text}"
    );
}

/// Such as a TLS session with an invalid record.
#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_read_is_over() {
    let (alive, handler) = thinker(SECOND * 3600);
    let (server, net) = serve(config(), handler);
    let (mut client, theirs) = duplex(WIDE);
    net.accept(Transport::new(Broken::new(theirs, || {
        Err(io::ErrorKind::InvalidData.into())
    })));
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(request).await.unwrap();
    pass(SECOND).await;
    let stats = server.stats();
    assert_eq!((alive.count(), stats.connections), (0, 0));
    assert_eq!(stats.client_closed, 1);
}

/// A connection that buffers writes until it is flushed.
#[tokio::test(start_paused = true)]
async fn everything_that_is_written_is_flushed() {
    let topic = Topic::new(Retention::default());
    let followed = topic.clone();
    let upgrader = Upgrader::new().allow_methods(["GET", "POST"]).unwrap();
    let (_server, net) = serve(config().upgrader(upgrader), move |mut request: Request| {
        let topic = followed.clone();
        async move {
            match request.path() {
                "/follow" => request.follow(&topic),
                "/stream" => request.stream(async |mut stream| {
                    stream.write_str("d").await?;
                    pending().await
                }),
                _ => match request.body(9).await {
                    Ok(body) => request.respond(Response::new(200).with_body("text/plain", body)),
                    Err(rejection) => request.reject(rejection),
                },
            }
        }
    });
    let connect = || {
        let (ours, theirs) = duplex(WIDE);
        net.accept(Transport::new(BufStream::new(theirs)));
        ours
    };
    let wait = async |client: &mut DuplexStream, end: &str| {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let reading = timeout(SECOND, client.read_buf(&mut text));
            assert_ne!(reading.await.expect(end).unwrap(), 0);
        }
    };
    for path in ["/follow", "/stream"] {
        let mut client = connect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        settle().await;
        common::publish(&topic, 0..1);
        wait(&mut client, "data: d\n\n").await;
    }
    let mut client = connect();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    wait(&mut client, " 100 Continue\r\n\r\n").await;
    client.write_all(b"42").await.unwrap();
    wait(&mut client, "\r\n\r\n42").await;
}

/// A listener that panics for each `None`.
struct Panicking(tokio::sync::mpsc::UnboundedReceiver<Option<Transport>>);

impl Listener for Panicking {
    type Handshake = std::future::Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        match self.0.recv().await {
            Some(Some(transport)) => Ok((ready(Ok(transport)), Peer::Local)),
            Some(None) => panic!("the listener fails"),
            None => pending().await,
        }
    }
}

/// A listener that panics in every second call, before there is a future.
struct PanickingCall<L>(L, bool);

impl<L: Listener> Listener for PanickingCall<L> {
    type Handshake = L::Handshake;

    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Handshake, Peer)>> + Send {
        self.1 = !self.1;
        assert!(!self.1, "the listener fails");
        self.0.accept()
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_before_it_returns_a_future_is_called_again() {
    let (listener, clients) = sse_net::testing::pipes();
    let server = Server::new(config()).listen(PanickingCall(listener, false));
    let server = server.serve(sse_net::Routes::new().page("/", "42"));
    for _ in 0..2 {
        let mut client = clients.connect().unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        let reading = client.read_to_string(&mut answer);
        timeout(SECOND * 10, reading).await.unwrap().unwrap();
        assert!(answer.ends_with("\r\n\r\n42"), "{answer}");
    }
    assert!(server.is_live() && server.stats().accept_panics >= 2);
}

/// A connection whose second read calls a function.
struct Broken<C> {
    connection: C,
    has_read: bool,
    read: fn() -> io::Result<()>,
}

impl<C> Broken<C> {
    fn new(connection: C, read: fn() -> io::Result<()>) -> Self {
        Self {
            connection,
            has_read: false,
            read,
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Broken<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.has_read {
            return Poll::Ready((self.read)());
        }
        let read = Pin::new(&mut self.connection).poll_read(cx, buffer);
        self.has_read = read.is_ready();
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Broken<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_listener_or_transport_costs_one_connection() {
    let (connect, accept) = tokio::sync::mpsc::unbounded_channel();
    let ends = Ends::default();
    let told = ends.clone();
    let server = Server::new(config())
        .listen(Panicking(accept))
        .serve(move |request: Request| {
            let told = told.clone();
            async move {
                match request.path() {
                    "/slow" => pending().await,
                    "/" => request.respond(Response::new(200).with_body("text/plain", "42")),
                    _ => told.watch(request.stream(async |_| pending().await)),
                }
            }
        });
    let ask = |path: &str, is_broken: bool| {
        let (mut ours, theirs) = duplex(WIDE);
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        connect.send(None).unwrap();
        connect
            .send(Some(if is_broken {
                Transport::new(Broken::new(theirs, || panic!("the transport fails")))
            } else {
                Transport::new(theirs)
            }))
            .unwrap();
        async move {
            ours.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            ours.read_to_string(&mut answer).await.unwrap();
            answer
        }
    };
    assert_eq!(ask("/slow", true).await, "");
    ask("/stream", true).await;
    assert_eq!(ends.take(), [Disconnect::Panicked]);
    let answer = ask("/", false).await;
    assert!(answer.ends_with("\r\n\r\n42"), "{answer}");
    settle().await;
    let stats = server.stats();
    assert_eq!((stats.accept_panics, stats.panics), (3, 2));
    assert_eq!(stats.connections, 0);
}
