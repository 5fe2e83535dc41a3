//! The async client over pipes, with a paused clock.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::ready;
use std::io;
use std::time::Duration;

use sse_core::client::{Closed, Opened};
use sse_core::{EventType, Retention};
use sse_net::{Client, ClientError, Connect, EventSource, Item, Request, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use common::{WIDE, config, publish, serve};

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// The servers' ends of the connections that a client opens.
struct Peers(mpsc::UnboundedReceiver<(String, DuplexStream)>);

impl Peers {
    /// Accepts a connection and reads the request.
    async fn accept(&mut self) -> (String, DuplexStream) {
        let (_, mut pipe) = self.0.recv().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(pipe.read_buf(&mut request).await.unwrap(), 0);
        }
        (String::from_utf8(request).unwrap(), pipe)
    }

    async fn accept_and_send(&mut self, text: &str) -> (String, DuplexStream) {
        let (request, mut pipe) = self.accept().await;
        pipe.write_all(text.as_bytes()).await.unwrap();
        (request, pipe)
    }
}

fn connect(source: EventSource, room: usize) -> (Client, Peers) {
    let (send, receive) = mpsc::unbounded_channel();
    let client = source.connect_with(move |url: sse_net::Url| {
        let (ours, theirs) = duplex(room);
        let sent = send.send((url.to_string(), theirs));
        ready(sent.map(|()| ours).map_err(io::Error::other))
    });
    (client, Peers(receive))
}

fn feed() -> EventSource {
    EventSource::get("http://a/b").unwrap()
}

async fn data(client: &mut Client) -> String {
    client.next().await.unwrap().unwrap().data().to_owned()
}

async fn closed(client: &mut Client) -> (String, Duration) {
    loop {
        let item = client.next_item().await.unwrap().unwrap();
        if let Item::Closed(Closed {
            reason, retry_in, ..
        }) = item
        {
            return (reason.to_string(), retry_in);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_follows_a_topic_of_this_library() {
    let topic = Topic::new(Retention::events(100));
    let followed = topic.clone();
    let (server, net) = serve(config(), move |request: Request| {
        ready(request.follow(&followed))
    });
    let mut client = feed().connect_with(move |_| ready(Ok(net.connect(WIDE).pipe)));
    let Some(Item::Opened(Opened {
        head, attempt: 1, ..
    })) = client.next_item().await.unwrap()
    else {
        panic!("not opened");
    };
    assert_eq!(head.status(), 200);
    publish(&topic, 1..4);
    for id in ["1", "2", "3"] {
        let event = client.next().await.unwrap().unwrap();
        assert_eq!((event.last_event_id(), event.data()), (id, "d"));
    }
    assert_eq!(client.last_event_id(), "3");
    drop(client);
    server.drain(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_is_resumed() {
    let (mut client, mut peers) = connect(feed(), WIDE);
    let serving = async {
        let (request, pipe) = peers
            .accept_and_send(&format!("{HEAD}id: 7\ndata: a\n\nid: 8"))
            .await;
        assert!(!request.contains("Last-Event-ID"));
        drop(pipe);
        peers
            .accept_and_send(&format!("{HEAD}id: 8\ndata: b\n\n"))
            .await
    };
    let following = async { (data(&mut client).await, data(&mut client).await) };
    let ((request, _pipe), got) = tokio::join!(serving, following);
    assert!(request.contains("\r\nLast-Event-ID: 7\r\n"), "{request}");
    assert_eq!(got, ("a".to_owned(), "b".to_owned()));
}

/// A proxy keeps the connection for another request.
#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_last_chunk_or_event_though_the_connection_stays_open() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
        Transfer-Encoding: chunked\r\n\r\n";
    let (mut client, mut peers) = connect(feed(), WIDE);
    let following = async {
        assert_eq!(data(&mut client).await, "a");
        assert_eq!(closed(&mut client).await.0, "the server ended the stream");
        data(&mut client).await
    };
    let serving = async {
        let text = [CHUNKED, "9\r\ndata: a\n\n\r\n0\r\n\r\n"].concat();
        let first = peers.accept_and_send(&text).await;
        let second = peers.accept_and_send(&[HEAD, "data: b\n\n"].concat()).await;
        (first, second)
    };
    let (last, _open) = timeout(Duration::from_secs(30), async {
        tokio::join!(following, serving)
    })
    .await
    .unwrap();
    assert_eq!(last, "b");

    let done = EventSource::post("http://a/b")
        .unwrap()
        .ends_at_data("[DONE]");
    let (mut client, mut peers) = connect(done, WIDE);
    let text = [HEAD, "data: a\n\ndata: [DONE]\n\n"].concat();
    let following = async {
        assert_eq!(data(&mut client).await, "a");
        client.next().await.unwrap().is_none()
    };
    let (is_over, _open) = timeout(Duration::from_secs(30), async {
        tokio::join!(following, peers.accept_and_send(&text))
    })
    .await
    .unwrap();
    assert!(is_over);
}

#[tokio::test(start_paused = true)]
async fn silence_and_missing_progress_are_noticed_at_their_deadlines() {
    for (source, expected) in [
        (
            feed().silence(Duration::from_secs(5)),
            "nothing was received within 5s; raise silence if that is too short",
        ),
        (
            feed().progress(Duration::from_secs(5)),
            "no event was received within 5s; raise progress if that is too short",
        ),
    ] {
        let (mut client, mut peers) = connect(source, WIDE);
        let serving = async {
            let (_, mut pipe) = peers.accept_and_send(HEAD).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            pipe.write_all(b"data: a\n\n").await.unwrap();
            (Instant::now(), pipe)
        };
        let following = async {
            let data = data(&mut client).await;
            let (reason, _) = closed(&mut client).await;
            (data, reason, Instant::now())
        };
        let ((sent, _pipe), (data, reason, noticed)) = tokio::join!(serving, following);
        assert_eq!((&*data, &*reason), ("a", expected));
        let late = noticed - sent - Duration::from_secs(5);
        assert!(late < Duration::from_millis(10), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_loses_nothing() {
    let (mut client, mut peers) = connect(feed(), WIDE);
    let serving = async {
        let (_, mut pipe) = peers.accept().await;
        let wire = format!("{HEAD}data: a\n\ndata: b\n\ndata: c\n\n");
        for byte in wire.bytes() {
            pipe.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        pipe
    };
    let following = async {
        let mut got = String::new();
        while got.len() < 3 {
            if let Ok(event) = timeout(Duration::from_millis(2), client.next()).await {
                got += event.unwrap().unwrap().data();
            }
        }
        got
    };
    let (_pipe, got) = tokio::join!(serving, following);
    assert_eq!(got, "abc");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_client_closes_its_connection() {
    let (mut client, mut peers) = connect(feed(), WIDE);
    let wire = format!("{HEAD}data: a\n\n");
    let serving = peers.accept_and_send(&wire);
    let ((_, mut pipe), _) = tokio::join!(serving, data(&mut client));
    drop(client);
    assert_eq!(pipe.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_the_request_is_read() {
    let source = EventSource::post("http://a/")
        .unwrap()
        .body(vec![b'x'; 1 << 20]);
    let (mut client, mut peers) = connect(source, 1000);
    let serving = async {
        let (_, mut pipe) = peers.0.recv().await.unwrap();
        pipe.write_all(b"HTTP/1.1 413 X\r\nContent-Length: 4\r\n\r\nlong")
            .await
            .unwrap();
        drop(pipe);
    };
    let ((), error) = tokio::join!(serving, async { client.next().await.unwrap_err() });
    assert_eq!(error.to_string(), "the server responded with 413: long");
    assert!(
        client.next().await.unwrap().is_none(),
        "an error is returned once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hook_changes_each_attempt() {
    let (client, mut peers) = connect(feed(), WIDE);
    let mut count = 0;
    let mut client = client.before_attempt(move |source| {
        count += 1;
        async move {
            match count {
                2 => Err("no token".into()),
                _ => source
                    .url(format!("http://a/{count}"))
                    .and_then(|source| source.header("Authorization", format!("token {count}")))
                    .map_err(Box::<dyn std::error::Error + Send + Sync>::from),
            }
        }
    });
    let serving = async {
        let (first, _) = peers.accept_and_send(HEAD).await;
        (first, peers.accept_and_send(HEAD).await)
    };
    let following = async {
        let first = closed(&mut client).await.0;
        let second = closed(&mut client).await.0;
        client.next_item().await.unwrap().unwrap();
        (first, second)
    };
    let ((first, (second, _pipe)), reasons) = tokio::join!(serving, following);
    assert_eq!(reasons.0, "the server ended the stream");
    assert_eq!(reasons.1, "the hook before the attempt failed: no token");
    assert!(first.starts_with("GET /1 ") && first.contains("Authorization: token 1"));
    assert!(second.starts_with("GET /3 ") && second.contains("Authorization: token 3"));
}

/// By then the next attempt is due.
#[tokio::test(start_paused = true)]
async fn an_application_may_take_long_for_a_failed_attempt() {
    let refuse = |_| {
        ready(io::Result::<DuplexStream>::Err(
            io::ErrorKind::ConnectionRefused.into(),
        ))
    };
    let fail = |_| ready(Err::<EventSource, _>("no token"));
    for mut client in [
        feed().connect_with(refuse),
        feed().connect_with(refuse).before_attempt(fail),
    ] {
        for _ in 0..3 {
            let (_, retry_in) = closed(&mut client).await;
            tokio::time::sleep(2 * retry_in).await;
        }
    }
    let at_once = feed()
        .reconnection_time(Duration::ZERO)
        .min_delay(Duration::ZERO);
    let mut client = at_once.max_retries(3).connect_with(refuse);
    assert!(matches!(client.next().await, Err(ClientError::Connect(_))));
}

#[tokio::test(start_paused = true)]
async fn a_redirect_opens_another_connection() {
    let (mut client, mut peers) = connect(feed(), WIDE);
    let serving = async {
        peers
            .accept_and_send("HTTP/1.1 307 X\r\nLocation: http://c/\r\n\r\n")
            .await;
        let (url, mut pipe) = peers.0.recv().await.unwrap();
        pipe.write_all(format!("{HEAD}data: a\n\n").as_bytes())
            .await
            .unwrap();
        (url, pipe)
    };
    let ((url, _pipe), data) = tokio::join!(serving, data(&mut client));
    assert_eq!((&*url, &*data), ("http://c/", "a"));
}

#[tokio::test(start_paused = true)]
async fn a_reconnection_can_be_asked_for() {
    let (mut client, mut peers) = connect(feed(), WIDE);
    let wires = [
        format!("{HEAD}id: 1\ndata: a\n\n"),
        format!("{HEAD}data: b\n\n"),
    ];
    let serving = peers.accept_and_send(&wires[0]);
    let ((_, _pipe), _) = tokio::join!(serving, data(&mut client));
    let before = Instant::now();
    client.reconnect();
    let serving = peers.accept_and_send(&wires[1]);
    let ((request, _pipe), data) = tokio::join!(serving, data(&mut client));
    assert!(request.contains("Last-Event-ID: 1\r\n"));
    assert_eq!((&*data, before.elapsed()), ("b", Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn https_needs_another_connector() {
    let mut client = EventSource::get("https://a/").unwrap().connect();
    let error = client.next().await.unwrap_err();
    assert!(matches!(error, ClientError::Connect(_)));
    assert_eq!(
        error.to_string(),
        "no connection could be opened: an https URL needs a connector for TLS, such as that of \
         the crate sse-tls"
    );
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_an_event_and_an_item() {
    let wire = format!("{HEAD}event: gap\ndata: {{}}\n\n");
    let (mut client, mut peers) = connect(feed(), WIDE);
    let (_peer, _) = tokio::join!(peers.accept_and_send(&wire), async {
        client.next_item().await.unwrap().unwrap();
        let gap = client.next_item().await.unwrap().unwrap();
        assert!(matches!(gap, Item::Gap(event) if event.data() == "{}"));
    });
    let (mut client, mut peers) = connect(feed(), WIDE);
    let (_peer, _) = tokio::join!(peers.accept_and_send(&wire), async {
        assert_eq!(client.next().await.unwrap().unwrap().event(), "gap");
    });
}

/// A fast server does not keep other tasks of the runtime from running.
#[tokio::test(flavor = "current_thread")]
async fn a_flood_leaves_others_their_turn() {
    struct Flood(usize);
    impl tokio::io::AsyncRead for Flood {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            match self.0 {
                0 => buffer.put_slice(HEAD.as_bytes()),
                // A line that never ends.
                _ => buffer.put_slice(b"datadatadata"),
            }
            self.0 += 1;
            std::task::Poll::Ready(Ok(()))
        }
    }
    let mut client = feed().connect_with(|_| {
        let pipe = tokio::io::join(Flood(0), tokio::io::sink());
        ready(Ok(pipe))
    });
    let following = tokio::spawn(async move { client.next().await.map(|_| ()) });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!following.is_finished());
    following.abort();
}

#[cfg(feature = "futures-core")]
#[tokio::test(start_paused = true)]
async fn a_client_is_a_stream() {
    use tokio_stream::StreamExt as _;
    let source = feed().ends_at_data("end");
    let (client, mut peers) = connect(source, WIDE);
    let wire = format!("{HEAD}: x\ndata: a\n\ndata: b\n\ndata: end\n\n");
    let following = async {
        let mut got = String::new();
        let mut events = std::pin::pin!(client.map(Result::unwrap));
        while let Some(event) = events.next().await {
            got += event.data();
        }
        got
    };
    let (_peer, got) = tokio::join!(peers.accept_and_send(&wire), following);
    assert_eq!(got, "ab");
}

/// Connects with a request whose body of 100,000 bytes does not fit into the pipe.
fn connect_with_long_request() -> (Client, Peers) {
    let source = EventSource::post("http://a/b").unwrap();
    connect(source.body("x".repeat(100_000)), 1000)
}

/// A server may respond before it has read the whole request.
#[tokio::test(start_paused = true)]
async fn a_request_is_sent_to_its_end_though_the_stream_has_begun() {
    let (mut client, mut peers) = connect_with_long_request();
    let serving = async {
        let (_, mut pipe) = peers.0.recv().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(pipe.read_u8().await.unwrap());
        }
        pipe.write_all(HEAD.as_bytes()).await.unwrap();
        let mut received = vec![0; 100_000];
        pipe.read_exact(&mut received).await.unwrap();
        pipe.write_all(b"data: all of it\n\n").await.unwrap();
        pipe
    };
    let both = async { tokio::join!(serving, data(&mut client)) };
    let both = timeout(Duration::from_secs(60), both).await;
    assert_eq!(both.expect("all of it is sent").1, "all of it");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_only_a_part_of_a_request_may_end_the_stream() {
    let (mut client, mut peers) = connect_with_long_request();
    let serving = async {
        let (_, mut pipe) = peers.0.recv().await.unwrap();
        let text = format!("{HEAD}data: a\n\n");
        pipe.write_all(text.as_bytes()).await.unwrap();
    };
    let ((), got) = tokio::join!(serving, data(&mut client));
    assert_eq!(got, "a");
    assert!(client.next().await.unwrap().is_none());
}

/// A peer from which something can always be read.
struct Flood {
    next: &'static str,
    then: &'static str,
}

impl tokio::io::AsyncRead for Flood {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        buffer.put_slice(self.next.as_bytes());
        self.next = self.then;
        std::task::Poll::Ready(Ok(()))
    }
}

/// A server may send faster than the client reads.
#[tokio::test]
async fn deadlines_pass_though_there_is_always_something_to_read() {
    let millis = Duration::from_millis;
    for then in [":\n", "x\n", "x", "data: x\n\n"] {
        let source = EventSource::post("http://a/b").unwrap();
        let source = match then {
            "data: x\n\n" => source.total(millis(50)),
            _ => source.progress(millis(50)),
        };
        let mut client = source.connect_with(move |_| {
            let flood = Flood { next: HEAD, then };
            ready(Ok(tokio::io::join(flood, tokio::io::sink())))
        });
        let following = async {
            loop {
                if let Err(error) = client.next().await {
                    return error;
                }
            }
        };
        let error = timeout(Duration::from_secs(60), following).await;
        let error = error.expect("the deadline passes");
        assert!(
            matches!(error, ClientError::TimedOut { .. }),
            "{then:?}: {error}"
        );
    }
}

/// What came meanwhile waits in the connection.
#[tokio::test(start_paused = true)]
async fn no_deadline_counts_the_time_that_the_application_takes_for_an_item() {
    let secs = Duration::from_secs;
    let source = || EventSource::post("http://a/b").unwrap();
    for source in [source().silence(secs(5)), source().progress(secs(5))] {
        let (mut client, mut peers) = connect(source, WIDE);
        let serving = async {
            let (_, mut pipe) = peers.accept_and_send(HEAD).await;
            for text in ["data: a\n\n", "data: b\n\n", "data: c\n\n"] {
                tokio::time::sleep(secs(2)).await;
                pipe.write_all(text.as_bytes()).await.unwrap();
            }
        };
        let following = async {
            assert!(matches!(
                client.next_item().await,
                Ok(Some(Item::Opened(_)))
            ));
            for expected in ["a", "b", "c"] {
                tokio::time::sleep(secs(60)).await;
                assert_eq!(data(&mut client).await, expected);
            }
        };
        tokio::join!(serving, following);
    }
}

/// An idle client needs less than 2.6 KB beside its connection, 640 bytes of them for the list of
/// line ends of its decoder.
#[test]
fn an_idle_client_is_small() {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    struct Idle(bool);
    impl tokio::io::AsyncRead for Idle {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Pending;
            }
            buffer.put_slice(HEAD.as_bytes());
            buffer.put_slice(b"retry: 1000\nid: 1700000000000-517\ndata: hey\n\n");
            Poll::Ready(Ok(()))
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let mut kept = None;
    let _warm = fastrand::u64(..);
    let used = allocation_counter::measure(|| {
        let source = EventSource::get("http://127.0.0.1:31337/sse").unwrap();
        let source = source
            .header("Authorization", "Bearer 0123456789abcdef")
            .unwrap();
        let source = source.gap_type(EventType::from_static("gap"));
        let mut client = Box::new(
            source.connect_with(|_| ready(Ok(tokio::io::join(Idle(false), tokio::io::sink())))),
        );
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..9 {
            let _ = std::pin::pin!(client.next()).poll(&mut cx).map(|event| {
                assert_eq!(event.unwrap().unwrap().data(), "hey");
            });
        }
        kept = Some(client);
    });
    let bytes = used.bytes_current;
    assert!(
        bytes <= 2048,
        "{bytes} bytes, of which {} the client",
        size_of::<Client>()
    );
}
