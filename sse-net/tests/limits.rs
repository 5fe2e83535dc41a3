//! Limits and deadlines of a server, and its refusals.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io;
use std::time::Duration;

use common::{WIDE, after_retry, config, pass, publish, published, serve_topic};
use sse_core::{Retention, Upgrader};
use sse_net::{AtCapacity, Start, Topic};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

const SECOND: Duration = Duration::from_secs(1);

#[track_caller]
fn assert_status(answer: &str, status: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{status}: {answer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_request_head_is_answered_with_408() {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = serve_topic(config(), &topic, Start::Live);
    let silent = net.connect(WIDE);
    let mut halting = net.connect(WIDE);
    halting.send("GET / HTTP/1.1\r\n").await;
    let mut blank = net.connect(WIDE);
    blank.send("\r\n").await;
    let start = Instant::now();
    for mut client in [silent, halting, blank] {
        assert_status(&client.wait().await, "408");
    }
    assert!((SECOND * 10..SECOND * 11).contains(&start.elapsed()));

    let mut slow = net.connect(WIDE);
    let start = Instant::now();
    let answer = loop {
        // One byte a second, without end.
        let _ = timeout(SECOND, slow.send("G")).await;
        if let Ok(answer) = timeout(SECOND, slow.wait()).await {
            break answer;
        }
    };
    assert_status(&answer, "408");
    assert!(start.elapsed() < SECOND * 12);
    drop(slow);
    pass(SECOND * 5).await;
    assert_eq!(server.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn a_large_request_head_is_refused() {
    let topic = Topic::new(Retention::default());
    let (_server, net, _) = serve_topic(config(), &topic, Start::Live);
    let small = config().upgrader(Upgrader::new().max_head(64).max_headers(2));
    let (_server, small, _) = serve_topic(small, &topic, Start::Live);
    let many = |count: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "A: b\r\n".repeat(count)
        )
    };
    let large = |size: usize| {
        format!(
            "GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n",
            "b".repeat(size)
        )
    };
    for (net, head, status) in [
        (&net, many(99), "200"),
        (&net, many(100), "431"),
        (&net, large(16_000), "200"),
        (&net, large(17_000), "431"),
        (
            &net,
            format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(17_000)),
            "414",
        ),
        (&small, many(1), "200"),
        (&small, many(2), "431"),
        (&small, large(64), "431"),
    ] {
        let mut client = net.ask(WIDE, &head).await;
        assert_status(&client.read().await, status);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_while_it_sends_gets_its_response() {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = serve_topic(config(), &topic, Start::Live);
    let mut client = net.connect(1000);
    client.send("BREW / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for _ in 0..10 {
        client.send(&"tea ".repeat(100)).await;
    }
    assert_status(&client.read_to_end().await, "405");
    pass(SECOND * 3).await;
    assert_eq!(server.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn a_server_at_capacity_refuses_as_configured() {
    for at_capacity in [AtCapacity::Refuse, AtCapacity::RetryLater] {
        let topic = Topic::new(Retention::default());
        let upgrader = Upgrader::new().allow_methods(["GET", "POST"]).unwrap();
        let config = config().max_connections(1).at_capacity(at_capacity);
        let (server, net, _) = serve_topic(config.upgrader(upgrader), &topic, Start::Live);
        let mut first = net.get("/").await;
        first.follow().await;
        // A page, a probe and a client that does not reconnect must not take an empty stream for
        // their response.
        for (method, accept, is_stream) in [
            ("GET", "Accept: text/event-stream\r\n", true),
            ("GET", "Accept: text/event-stream, */*\r\n", true),
            ("GET", "Accept: text/html, */*;q=0.8\r\n", false),
            ("GET", "Accept: text/event-stream;q=0, */*\r\n", false),
            ("GET", "", false),
            ("POST", "Accept: text/event-stream\r\n", false),
        ] {
            let head = format!("{method} / HTTP/1.1\r\nHost: a\r\n{accept}\r\n");
            let answer = net.ask(WIDE, &head).await.read_to_end().await;
            if is_stream && at_capacity == AtCapacity::RetryLater {
                assert_eq!(after_retry(&answer).unwrap(), "");
            } else {
                assert_status(&answer, "503");
            }
        }
        let stats = server.stats();
        assert_eq!((stats.refused, stats.connections), (6, 1));
        publish(&topic, 0..1);
        assert_eq!(first.read().await, published(0..1));
        drop(first);
        pass(SECOND).await;
        assert_eq!(net.get("/").await.follow().await, "", "room again");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_being_refused_are_limited() {
    let topic = Topic::new(Retention::default());
    for max in [0, 2] {
        let config = config().max_connections(1).max_refusals(max);
        let (server, net, _) = serve_topic(config, &topic, Start::Live);
        let _first = net.get("/").await;
        let silent = Vec::from_iter((0..max).map(|_| net.connect(WIDE)));
        assert_eq!(net.get("/").await.read_to_end().await, "", "{max}");
        for mut client in silent {
            assert_status(&client.wait().await, "408");
        }
        // Those have closed their connections, which makes room again.
        pass(SECOND * 3).await;
        let answer = net.get("/").await.read_to_end().await;
        assert_eq!(answer.is_empty(), max == 0, "{answer}");
        let stats = server.stats();
        assert_eq!((stats.connections, stats.refused), (1, max as u64 + 2));
    }
}

#[tokio::test(start_paused = true)]
async fn connections_from_one_address_are_limited() {
    let topic = Topic::new(Retention::default());
    let config = config().max_connections_per_address(1);
    let (server, net, _) = serve_topic(config, &topic, Start::Live);
    let mut clients = Vec::new();
    for (ip, status) in [(1, "200"), (1, "503"), (2, "200")] {
        let mut client = net.connect_from([10, 0, 0, ip]);
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_status(&client.read().await, status);
        clients.push(client);
    }
    assert_eq!(server.stats().refused, 1);
    // Peers of Unix sockets have no address, so they are not counted by address.
    for _ in 0..3 {
        clients.push(net.get("/").await);
        assert_status(&clients.last_mut().unwrap().read().await, "200");
    }
    clients.clear();
    pass(SECOND * 3).await;
    let mut again = net.connect_from([10, 0, 0, 1]);
    again.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_status(&again.read().await, "200");
}

#[tokio::test(start_paused = true)]
async fn accepting_continues_after_errors_of_a_listener() {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = serve_topic(config(), &topic, Start::Live);
    let mut early = net.get("/").await;
    early.follow().await;
    for _ in 0..12 {
        net.fail(io::ErrorKind::Other);
    }
    let start = Instant::now();
    let mut late = net.get("/").await;
    publish(&topic, 0..1);
    assert_eq!(early.read().await, published(0..1), "streams continue");
    assert!(late.wait().await.starts_with("HTTP/1.1 200 "));
    assert_eq!(server.stats().accept_errors, 12);
    // 5, 10, 20 ... 640 ms, then a second each.
    let waited = start.elapsed();
    assert!((SECOND * 5..SECOND * 6).contains(&waited), "{waited:?}");

    net.fail(io::ErrorKind::Other);
    let start = Instant::now();
    net.get("/").await.wait().await;
    assert!(start.elapsed() < SECOND / 10, "a success resets the pause");
}

/// A client can cause such an error: it resets its connection before the server accepts it.
#[tokio::test(start_paused = true)]
async fn connections_that_break_before_they_are_accepted_delay_no_other() {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = serve_topic(config(), &topic, Start::Live);
    for _ in 0..100 {
        net.fail(io::ErrorKind::ConnectionAborted);
    }
    let start = Instant::now();
    assert_status(&net.get("/").await.wait().await, "200");
    assert!(start.elapsed() < SECOND / 100);
    assert_eq!(server.stats().accept_errors, 100);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_gets_its_page_and_a_stalled_one_is_disconnected() {
    let page = "x".repeat(1000);
    let (server, net) = common::serve(config(), sse_net::Routes::new().page("/", page.clone()));
    let mut slow = net.ask(400, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut got = Vec::new();
    for _ in 0..6 {
        pass(SECOND * 15).await;
        let mut piece = [0; 100];
        let len = AsyncReadExt::read(&mut slow.pipe, &mut piece).await;
        got.extend_from_slice(&piece[..len.unwrap()]);
    }
    AsyncReadExt::read_to_end(&mut slow.pipe, &mut got)
        .await
        .unwrap();
    assert!(got.ends_with(page.as_bytes()), "{} bytes", got.len());
    drop(slow);

    let _stalled = net.ask(400, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    pass(SECOND * 19).await;
    assert_eq!(server.stats().connections, 1);
    pass(SECOND * 2).await;
    assert_eq!(server.stats().connections, 0);
}
