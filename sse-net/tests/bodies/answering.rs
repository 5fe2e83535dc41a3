//! Answers to requests with a body, and clients that leave.

use std::future::{pending, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sse_core::{Event, Headers, Response, Retention};
use sse_net::{Disconnect, Request, Server, Start, Tcp, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, watch};

use crate::common::{Ends, WIDE, pass, publish, published, serve, settle};
use crate::posts::LIMIT;
use crate::{SECOND, posting};

/// A connection whose client receives little at a time, and a head for it.
///
/// Most of a response is still on its way when the server has written all of it. A socket that is
/// closed then, while its peer sends, is reset, and the peer receives no more.
async fn connect_narrow(address: SocketAddr, head: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut client = socket.connect(address).await.unwrap();
    client.set_nodelay(true).unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    client
}

/// The response reaches a client that sends on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_reaches_a_client_that_is_still_sending() {
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let config = posting().body_timeout(SECOND / 4);
    let (sent, mut sent_so_far) = watch::channel(0);
    let (sent, sent_at_server) = (Arc::new(sent), sent_so_far.clone());
    let _server = Server::new(config)
        .listen(tcp)
        .serve(move |mut request: Request| {
            let mut sent = sent_at_server.clone();
            async move {
                let error = match request.path() {
                    "/json" => request.json::<u8>().await.unwrap_err(),
                    "/long" => request.body(u64::MAX).await.unwrap_err(),
                    _ => request.body(LIMIT).await.unwrap_err(),
                };
                // More than the server reads before it is asked, so some of it is unread.
                sent.wait_for(|pieces| *pieces >= 40).await.unwrap();
                let long = Headers::new().with("X-Long", "x".repeat(10_000));
                request.with_headers(long.unwrap()).reject(error)
            }
        });
    for (request, sends, status) in [
        ("/ HTTP/1.1\r\nContent-Length: 1000\r\n", false, "408"),
        (
            "/long HTTP/1.1\r\nContent-Length: 999999999\r\n",
            true,
            "408",
        ),
        ("/ HTTP/1.1\r\n", true, "411"),
        ("/ HTTP/1.1\r\nContent-Length: 9999999\r\n", true, "413"),
        ("/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", true, "400"),
        ("/json HTTP/1.1\r\nContent-Length: 9999999\r\n", true, "415"),
        (
            "/ HTTP/1.1\r\nExpect: x\r\nContent-Length: 9999999\r\n",
            true,
            "417",
        ),
    ] {
        sent.send_replace(0);
        let client = connect_narrow(address, &format!("POST {request}Host: a\r\n\r\n")).await;
        let (mut reader, writer) = client.into_split();
        let sent = Arc::clone(&sent);
        let sending = tokio::spawn(async move {
            while sends && can_send(&writer, &[b'x'; 1000]) {
                sent.send_modify(|pieces| *pieces += 1);
                tokio::time::sleep(SECOND / 1000).await;
            }
            sent.send_replace(usize::MAX);
            pending::<()>().await; // The client keeps its half open.
        });
        // The client sends on before it reads, so a socket that the server has closed is reset.
        reader.readable().await.unwrap();
        let before: usize = *sent_so_far.borrow();
        let more = before.saturating_add(5);
        sent_so_far
            .wait_for(|pieces| *pieces >= more)
            .await
            .unwrap();
        let mut answer = String::new();
        let read = reader.read_to_string(&mut answer).await;
        assert_eq!(answer.get(9..12), Some(status), "{request}");
        assert!(
            read.is_ok() && answer.ends_with('\n'),
            "{request}: {read:?}"
        );
        sending.abort();
        let _ = sending.await;
    }
}

/// Sends as much of the bytes as the socket takes. Returns `false` if the connection is broken.
fn can_send(writer: &OwnedWriteHalf, bytes: &[u8]) -> bool {
    match writer.try_write(bytes) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_stream_reaches_a_client_that_is_still_sending() {
    let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
    let address = tcp.local_addr().unwrap();
    let topic = Topic::new(Retention::default());
    let long = "x".repeat(10_000);
    topic.publish(&Event::new().data(&long)).unwrap();
    topic.finish(Some(&Event::new().data("end"))).unwrap();
    let has_ended = Arc::new(Notify::new());
    let ended = Arc::clone(&has_ended);
    let _server = Server::new(posting())
        .listen(tcp)
        .serve(move |request: Request| {
            let (ended, long) = (Arc::clone(&ended), long.clone());
            let answer = match request.path() {
                "/topic" => request.follow_from(&topic, Start::Earliest),
                _ => request.stream(async move |mut stream| {
                    stream.write_str(&long).await?;
                    stream.write_str("end").await?;
                    Ok(())
                }),
            };
            ready(answer.on_end(move |_| ended.notify_one()))
        });
    for path in ["/stream", "/topic"] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
        let mut client = connect_narrow(address, &head).await;
        has_ended.notified().await;
        for _ in 0..50 {
            tokio::time::sleep(SECOND / 1000).await;
            let _ = client.write_all(b"x").await;
        }
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer).await;
        let is_whole = answer.ends_with("data: end\n\n");
        assert!(is_whole, "{path}: {} bytes", answer.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_unwanted_body_is_read_within_a_budget() {
    let topic = Topic::new(Retention::default());
    let ends = Ends::default();
    let (told, followed) = (ends.clone(), topic.clone());
    let (_server, net) = serve(posting(), move |request: Request| {
        let answer = match request.path() {
            "/follow" => request.follow_from(&followed, Start::Live),
            "/stream" => request.stream(async |stream| {
                pass(SECOND).await;
                stream.close().await
            }),
            _ => request.respond(Response::new(200).with_body("text/plain", "42")),
        };
        ready(told.watch(answer))
    });
    let head = |path: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
    };

    let mut client = net.ask(WIDE, &head("/", 200_000)).await;
    client.send(&"x".repeat(200_000)).await;
    assert!(client.read_to_end().await.ends_with("\r\n\r\n42"));
    drop(client);
    settle().await;

    let small = "x".repeat(40_000);
    let mut client = net
        .ask(WIDE, &(head("/follow", small.len()) + &small))
        .await;
    client.follow().await;
    publish(&topic, 1..2);
    assert_eq!(client.read().await, published(1..2));
    drop(client);
    let mut client = net
        .ask(WIDE, &(head("/stream", small.len()) + &small))
        .await;
    let answer = client.read_to_end().await;
    assert!(answer.ends_with("event: close\ndata: \n\n"), "{answer}");
    pass(SECOND).await;
    assert_eq!(
        ends.take(),
        [
            Disconnect::Finished,
            Disconnect::ClientClosed,
            Disconnect::Finished
        ]
    );

    let large = "x".repeat(100_000);
    for path in ["/follow", "/stream"] {
        let request = head(path, large.len()) + &large;
        let _ = net.ask(WIDE, &request).await.read_to_end().await;
        settle().await;
        assert_eq!(ends.take(), [Disconnect::UnexpectedInput], "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_before_in_and_after_its_body() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    struct Alive;
    impl Drop for Alive {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    let (server, net) = serve(posting(), async |mut request: Request| {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        let _alive = Alive;
        if request.path() == "/late" {
            pass(SECOND * 3600).await;
        }
        match request.body(LIMIT).await {
            Ok(_) => pending().await,
            Err(rejection) => request.reject(rejection),
        }
    });
    for (path, body) in [
        ("/late", ""),
        ("/late", "he"),
        ("/", "he"),
        ("/", "hello"),
        ("/late", "hello"),
    ] {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
        let mut client = net.ask(WIDE, &head).await;
        settle().await;
        client.send(body).await;
        settle().await;
        assert_eq!(ALIVE.load(Ordering::Relaxed), 1, "{path}, {body:?}");
        drop(client);
        pass(SECOND).await;
        assert_eq!(ALIVE.load(Ordering::Relaxed), 0, "{path}, {body:?}");
        assert_eq!(server.stats().connections, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_follows_a_body_and_ends_with_its_client() {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    let (_server, net) = serve(posting(), move |mut request: Request| {
        let count = Arc::clone(&count);
        async move {
            let body = request.body(LIMIT).await.unwrap();
            request
                .stream(async move |mut stream| {
                    stream.write_str(str::from_utf8(&body).unwrap()).await?;
                    pending::<io::Result<()>>().await
                })
                .on_end(move |reason| {
                    assert_eq!(reason, Disconnect::ClientClosed);
                    count.fetch_add(1, Ordering::Relaxed);
                })
        }
    });
    for (before, after) in [("hello", ""), ("", "hello"), ("he", "llo")] {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        let mut client = net.ask(WIDE, &format!("{head}{before}")).await;
        settle().await;
        client.send(after).await;
        assert_eq!(client.follow().await, "data: hello\n\n");
        drop(client);
        pass(SECOND).await;
    }
    assert_eq!(ended.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_handler_chooses_by_accept_and_may_ignore_it() {
    let topic = Topic::new(Retention::default());
    let (_server, net) = serve(posting(), move |request: Request| {
        let answer = match (request.path(), request.accepts_event_stream()) {
            ("/choice", false) => {
                request.respond(Response::new(200).with_body("application/json", "{}"))
            }
            ("/any", _) => request
                .ignore_accept()
                .stream(async |stream| stream.close().await),
            ("/plain", _) => request
                .without_retry()
                .stream(async |stream| stream.close().await),
            ("/topic", _) => request.without_retry().follow(&topic),
            _ => request.stream(async |stream| stream.close().await),
        };
        ready(answer)
    });
    let end = "event: close\ndata: \n\n";
    for (path, accept, status, has_retry, ending) in [
        ("/choice", "application/json", "200", false, "{}"),
        ("/choice", "text/event-stream", "200", true, end),
        ("/any", "application/json", "200", true, end),
        ("/other", "application/json", "406", false, "else here\n"),
        ("/plain", "*/*", "200", false, end),
        ("/topic", "*/*", "200", false, ""),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n");
        let answer = net.ask(WIDE, &request).await.read().await;
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
        assert!(answer.contains("\r\nVary: Accept\r\n"), "{answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body.starts_with("retry: "), has_retry, "{body}");
        assert!(body.ends_with(ending), "{body}");
        assert!(has_retry || body.len() < 70, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drained_stream_without_retry_has_none_at_its_end_either() {
    let topic = Topic::new(Retention::default());
    let (server, net) = serve(posting(), move |request: Request| {
        let answer = match request.path() {
            "/topic" => request.without_retry().follow(&topic),
            "/stream" => request.without_retry().stream(async |_| pending().await),
            _ => request.follow(&topic),
        };
        ready(answer)
    });
    let mut clients = Vec::new();
    for path in ["/topic", "/stream", "/other"] {
        clients.push(net.get(path).await);
    }
    settle().await;
    server.drain(SECOND).await;
    for (mut client, retries) in clients.into_iter().zip([0, 0, 2]) {
        let answer = client.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert_eq!(answer.matches("retry: ").count(), retries, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_before_its_stream_counts_as_input() {
    let topic = Topic::new(Retention::default());
    let (server, net) = serve(posting().max_input(1000), move |request: Request| {
        let topic = topic.clone();
        async move {
            pass(SECOND).await;
            match request.path() {
                "/follow" => request.follow(&topic),
                _ => request.stream(async |_| pending().await),
            }
        }
    });
    let mut ended = 0;
    for path in ["/follow", "/stream"] {
        for (early, later) in [(0, 900), (900, 0), (400, 500)] {
            let body = "x".repeat(early);
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{body}");
            let mut client = net.ask(WIDE, &head).await;
            settle().await;
            client.send(&"x".repeat(later)).await;
            pass(SECOND * 2).await;
            assert_eq!(server.stats().unexpected_input, ended, "{path}");
            client.send(&"x".repeat(200)).await;
            pass(SECOND).await;
            ended += 1;
            assert_eq!(
                server.stats().unexpected_input,
                ended,
                "{path} {early} {later}"
            );
        }
    }
}

/// Only a client that may be sending a body has to be waited for.
#[tokio::test(start_paused = true)]
async fn a_connection_is_over_with_its_stream_when_the_body_has_been_read() {
    let (server, net) = serve(posting(), async |mut request: Request| {
        let _ = request.body(LIMIT).await;
        request.stream(async |stream| stream.close().await)
    });
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let mut client = net.ask(WIDE, head).await;
    settle().await;
    client.send("hello").await;
    client.read_to_end().await;
    settle().await;
    assert_eq!(server.stats().connections, 0);
}
