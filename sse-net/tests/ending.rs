//! The ends of streams: a finished topic, the maximum age, a drain.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::{pending, ready};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::{
    Ends, Kind, WIDE, after_retry, config, is_jittered, over_all_servers, pass, publish, published,
    serve, settle,
};
use sse_core::{Event, EventType, Rejection, Response, Retention};
use sse_net::testing::RawClient;
use sse_net::{
    Disconnect, Hub, HubConfig, Request, Routes, Server, Snapshot, Start, Topic, TopicConfig,
};
use tokio::join;
use tokio::time::{Instant, sleep_until, timeout};

const SECOND: Duration = Duration::from_secs(1);

over_all_servers! {
    a_finished_topic_ends_its_streams_and_answers_204,
    a_slow_client_gets_all_events_of_a_finished_topic,
    a_stream_ends_at_its_maximum_age,
    a_drain_ends_streams_spread_over_its_window,
    what_is_published_before_a_drain_is_delivered,
    what_is_published_before_the_maximum_age_is_delivered,
    a_drain_without_clients_ends_at_once,
}

async fn a_finished_topic_ends_its_streams_and_answers_204(kind: Kind) {
    let topic = Topic::new(Retention::events(10));
    let (server, net, ends) = kind.serve_topic(config(), &topic, Start::Live);
    let mut clients = [net.get("/").await, net.get("/").await];
    for client in &mut clients {
        client.follow().await;
    }
    publish(&topic, 0..1);
    let last = EventType::from_static("last");
    topic
        .finish(Some(&Event::new().id(1).event(last).data("")))
        .unwrap();
    publish(&topic, 2..3);
    let end = "id: 1\nevent: last\ndata: \n\n";
    for client in &mut clients {
        assert_eq!(client.read_to_end().await, published(0..1) + end);
    }
    assert_eq!(ends.take(), [Disconnect::Finished; 2]);
    assert_eq!(server.stats().finished, 2);
    for mut client in [net.resume("/", "1").await, net.get("/").await] {
        let answer = client.read_to_end().await;
        assert!(
            answer.starts_with("HTTP/1.1 204 No Content\r\n"),
            "{answer}"
        );
        // A cache in between would end the streams of others, too.
        let headers = answer.to_ascii_lowercase();
        assert!(
            headers.contains("\r\ncache-control: no-store\r\n"),
            "{answer}"
        );
        assert_eq!(answer.split_once("\r\n\r\n").unwrap().1, "");
    }
    // RFC 9110, 9.3.2: HEAD is answered as GET is.
    let mut head = net.ask(WIDE, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let answer = head.read().await;
    assert!(
        answer.starts_with("HTTP/1.1 204 No Content\r\n"),
        "{answer}"
    );
    drop(head);

    let late = net.resume("/", "0").await.read_to_end().await;
    assert!(late.ends_with(&format!("\n\n{end}")), "{late}");
    settle().await;
    assert_eq!((server.stats().connections, topic.subscriptions()), (0, 0));
}

async fn a_slow_client_gets_all_events_of_a_finished_topic(kind: Kind) {
    let topic = Topic::new(Retention::events(100));
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut slow = net.get_slow("/", 400).await;
    publish(&topic, 0..50);
    settle().await;
    topic.finish(None).unwrap();
    assert_eq!(slow.read_to_end().await, published(0..50));
}

async fn a_stream_ends_at_its_maximum_age(kind: Kind) {
    let topic = Topic::new(Retention::default());
    let config = config().max_age(SECOND * 100);
    let (server, net, ends) = kind.serve_topic(config, &topic, Start::Live);
    let start = Instant::now();
    let mut ages = Vec::new();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut client = net.get("/").await;
        clients.spawn(async move {
            client.follow().await;
            let text = client.read_to_end().await.replace(":\n", "");
            let retry = text.strip_prefix("retry: ").unwrap();
            assert!(is_jittered(retry.trim_end()), "{text}");
            Instant::now()
        });
    }
    while let Some(end) = clients.join_next().await {
        ages.push((end.unwrap() - start).as_secs());
    }
    assert!(ages.iter().all(|age| (89..=101).contains(age)), "{ages:?}");
    assert!(ages.iter().max() > ages.iter().min(), "{ages:?}");
    settle().await;
    assert_eq!(ends.take(), [Disconnect::MaxAge; 20]);
    assert_eq!(
        (server.stats().max_age, server.stats().connections),
        (20, 0)
    );
}

async fn a_drain_ends_streams_spread_over_its_window(kind: Kind) {
    let topic = Topic::new(Retention::default());
    let (server, net, ends) = kind.serve_topic(config(), &topic, Start::Live);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = net.get("/").await;
        client.follow().await;
        clients.push(client);
    }
    let start = Instant::now();
    let draining = tokio::spawn(server.drain(SECOND * 10));
    let mut times = Vec::new();
    let mut reading = tokio::task::JoinSet::new();
    for mut client in clients {
        reading.spawn(async move { (client.read_to_end().await, Instant::now()) });
    }
    pass(SECOND / 2).await;
    publish(&topic, 0..1);
    while let Some(read) = reading.join_next().await {
        let (text, end) = read.unwrap();
        times.push((end - start).as_millis());
        let text = text.replace(&published(0..1), "");
        let retry = text.strip_prefix("retry: ").unwrap();
        assert!(is_jittered(retry.trim_end()), "{text}");
    }
    times.sort_unstable();
    times.dedup();
    assert!(times.len() > 5, "{times:?}");
    assert!(times.iter().all(|&time| time <= 10_300), "{times:?}");
    draining.await.unwrap();
    assert!(start.elapsed() <= SECOND * 11);
    assert_eq!(ends.take(), [Disconnect::Drained; 20]);
    match kind {
        Kind::Server => assert_eq!(
            net.connect(WIDE).read_to_end().await,
            "",
            "it accepts no clients"
        ),
        #[cfg(feature = "http")]
        _ => {
            let text = net.get("/").await.read_to_end().await;
            assert_eq!(text.matches("retry: ").count(), 2, "sent away: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_though_clients_stall() {
    let topic = Topic::new(Retention::default());
    let mine = topic.clone();
    let held = Arc::new(());
    let holder = Arc::clone(&held);
    let (server, net) = serve(config(), move |request: Request| {
        let topic = mine.clone();
        let held = Arc::clone(&holder);
        async move {
            match request.path() {
                "/follow" => request.follow(&topic),
                "/think" => pending().await,
                "/stream" => request.stream(async move |_stream| {
                    pending::<()>().await;
                    drop(held);
                    Ok(())
                }),
                "/flood" => request.stream(async |mut stream| {
                    loop {
                        stream.write_str("more").await?;
                    }
                }),
                _ => request.reject(Rejection::NOT_FOUND),
            }
        }
    });
    let mut clients = vec![net.connect(WIDE), net.connect(4)];
    clients[1].send("GET ").await;
    for path in ["/follow", "/think", "/stream", "/flood", "/"] {
        for room in [4, WIDE] {
            let mut client = net.connect(room);
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            let sending = client.send(&head);
            timeout(SECOND / 10, sending).await.unwrap();
            clients.push(client);
        }
    }
    topic
        .publish(&Event::new().data("x".repeat(100_000)))
        .unwrap();
    let start = Instant::now();
    timeout(SECOND * 60, server.drain(SECOND * 3))
        .await
        .expect("a drain has a hard end");
    let took = start.elapsed();
    assert!(took <= SECOND * 3 + SECOND * 3 / 2, "{took:?}");
    assert_eq!(Arc::strong_count(&held), 1, "all work has ended");
    for client in &mut clients {
        timeout(SECOND, client.read_to_end()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_per_client_streams_at_the_end_of_its_window() {
    let ends = Ends::default();
    let watched = ends.clone();
    let (server, net) = serve(config(), move |request: Request| {
        let answer = match request.path() {
            "/wait" => request.stream(async |mut stream| {
                stream.set_id(7)?; // of an event that is never sent
                stream.closed().await;
                Ok(())
            }),
            "/write" => request.stream(async |mut stream| {
                loop {
                    stream.write_str("token").await?;
                    pass(SECOND).await;
                }
            }),
            _ => request.stream(async |stream| {
                pass(SECOND * 5).await;
                stream.close().await
            }),
        };
        ready(watched.watch(answer))
    });
    let start = Instant::now();
    let mut clients = Vec::new();
    for path in ["/wait", "/write", "/done"] {
        clients.push(net.get(path).await);
    }
    settle().await;
    let draining = tokio::spawn(server.drain(SECOND * 9 + SECOND / 2));
    let mut texts = Vec::new();
    for client in &mut clients {
        let text = client.read_to_end().await;
        texts.push(after_retry(&text).unwrap());
    }
    let is_retry = |text: &str| is_jittered(text.strip_prefix("retry: ").unwrap().trim_end());
    assert!(is_retry(&texts[0]), "{texts:?}");
    let tokens = "data: token\n\n".repeat(10);
    assert!(
        is_retry(texts[1].strip_prefix(&tokens).unwrap()),
        "{texts:?}"
    );
    assert_eq!(texts[2], "event: close\ndata: \n\n");
    draining.await.unwrap();
    assert!(start.elapsed() < SECOND * 11);
    let (finished, drained) = (Disconnect::Finished, Disconnect::Drained);
    assert_eq!(ends.take(), [finished, drained, drained]);
}

/// Such as an event that announces it.
async fn what_is_published_before_a_drain_is_delivered(kind: Kind) {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    publish(&topic, 0..1);
    let (text, ()) = join!(client.read_to_end(), server.drain(Duration::ZERO));
    let retry = text.strip_prefix(&published(0..1));
    assert!(retry.unwrap().starts_with("retry: "), "{text}");
}

/// Also if events linger.
async fn what_is_published_before_the_maximum_age_is_delivered(kind: Kind) {
    for linger in [Duration::ZERO, SECOND] {
        let topic = Topic::new(TopicConfig::default().linger(linger));
        let started = Instant::now();
        let (server, net, _) = kind.serve_topic(config().max_age(SECOND * 10), &topic, Start::Live);
        let mut client = net.get("/").await;
        client.follow().await;
        let count =
            publish_until_maximum_age(started, || server.stats(), |n| publish(&topic, n..n + 1))
                .await;
        let text = client.read_to_end().await;
        let retry = text.strip_prefix(&published(0..count));
        assert!(retry.unwrap().starts_with("retry: "), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_published_in_several_topics_before_the_maximum_age_is_delivered() {
    for linger in [Duration::ZERO, SECOND] {
        let hub = Hub::new(HubConfig::from(TopicConfig::default().linger(linger)));
        let topics = ["a", "b"].map(|name| hub.topic(name).unwrap());
        let followed = topics.clone();
        let started = Instant::now();
        let (server, net) = serve(config().max_age(SECOND * 10), move |request: Request| {
            ready(request.follow_all(&followed))
        });
        let mut client = net.get("/").await;
        client.follow().await;
        let publish = |n: u32| {
            let event = Event::new().data(n.to_string());
            topics[n as usize % 2].publish(&event).unwrap();
        };
        let count = publish_until_maximum_age(started, || server.stats(), publish).await;
        let text = client.read_to_end().await;
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let expected: Vec<_> = (0..count).map(|n| n.to_string()).collect();
        assert_eq!(data.collect::<Vec<_>>(), expected, "{text}");
    }
}

/// Publishes at each tick of 250 ms, at which a server ends streams, just before it does. Returns
/// the number of events before the first stream ended.
async fn publish_until_maximum_age(
    started: Instant,
    stats: impl Fn() -> Snapshot,
    publish: impl Fn(u32),
) -> u32 {
    for count in 0.. {
        sleep_until(started + SECOND / 4 * (count + 1)).await;
        if stats().max_age > 0 {
            return count;
        }
        publish(count);
        settle().await;
    }
    unreachable!()
}

async fn a_drain_without_clients_ends_at_once(kind: Kind) {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let start = Instant::now();
    drop(net);
    server.drain(SECOND * 60).await;
    assert!(start.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_connections_without_a_request() {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = Kind::Server.serve_topic(config(), &topic, Start::Live);
    let (mut idle, mut slow) = (net.connect(WIDE), net.connect(WIDE));
    slow.send("GET / HTTP/1.1\r\n").await;
    settle().await;
    let start = Instant::now();
    let draining = tokio::spawn(server.drain(SECOND * 60));
    assert_eq!(idle.read_to_end().await, "");
    assert!((SECOND..SECOND * 2).contains(&start.elapsed()));
    // Its request had begun.
    slow.send("Host: a\r\n\r\n").await;
    let text = slow.read_to_end().await;
    assert_eq!(text.matches("retry: ").count(), 2, "sent away: {text}");
    draining.await.unwrap();
    assert!(start.elapsed() < SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_arrives_during_a_drain_is_sent_away() {
    let topic = Topic::new(Retention::default());
    let mine = topic.clone();
    let (server, net) = serve(config(), move |request: Request| {
        let topic = mine.clone();
        async move {
            pass(SECOND).await;
            request.follow(&topic)
        }
    });
    let mut client = net.get("/").await;
    settle().await;
    let draining = tokio::spawn(server.drain(SECOND * 10));
    let start = Instant::now();
    let text = client.read_to_end().await;
    assert_eq!(text.matches("retry: ").count(), 2, "{text}");
    assert!(start.elapsed() < SECOND * 2);
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_hook_is_called_even_if_the_answer_is_never_sent() {
    let ends = Ends::default();
    let watched = ends.clone();
    let topic = Topic::new(Retention::default());
    let (_server, net) = serve(config(), move |request: Request| {
        let answer = match request.path() {
            "/page" => request.reject(Rejection::NOT_FOUND),
            "/done" => request.stream(async |stream| stream.close().await),
            "/fail" => request.stream(async |_| Err(std::io::ErrorKind::Other.into())),
            "/panic" => request
                .follow(&topic)
                .on_end(|_| panic!("a hook panics; the shard continues")),
            _ => request.follow(&topic),
        };
        ready(watched.watch(answer))
    });
    for (path, reason) in [
        ("/page", Disconnect::Finished),
        ("/done", Disconnect::Finished),
        ("/fail", Disconnect::HandlerFailed),
        ("/follow", Disconnect::ClientClosed),
    ] {
        let mut client = net.get(path).await;
        client.read().await;
        drop(client);
        pass(SECOND * 5).await;
        assert_eq!(ends.take(), [reason], "{path}");
    }
    let mut other = net.get("/follow").await;
    other.follow().await;
    drop(net.get("/panic").await);
    pass(SECOND).await;
    assert_eq!(
        ends.take(),
        [Disconnect::ClientClosed],
        "though another hook panicked"
    );
    pass(SECOND * 20).await;
    assert_eq!(other.read().await, ":\n");
}

/// So a drain returns after the last hook.
#[tokio::test(start_paused = true)]
async fn a_hook_is_called_while_its_connection_still_counts() {
    let topic = Topic::new(Retention::events(10));
    let running = Arc::new(OnceLock::<sse_net::ServerHandle>::new());
    let counts = Arc::new(Mutex::new(Vec::new()));
    let (handle, counted) = (Arc::clone(&running), Arc::clone(&counts));
    let (server, net) = serve(config(), move |request: Request| {
        let (handle, counted) = (Arc::clone(&handle), Arc::clone(&counted));
        let answer = match request.path() {
            "/follow" => request.follow(&topic),
            "/stream" => request.stream(async |stream| stream.close().await),
            _ => request.reject(Rejection::NOT_FOUND),
        };
        ready(answer.on_end(move |_| {
            let connections = handle.get().map(|server| server.stats().connections);
            counted.lock().unwrap().push(connections);
        }))
    });
    assert!(running.set(server).is_ok());
    for path in ["/follow", "/stream", "/"] {
        let mut client = net.get(path).await;
        client.read().await;
        drop(client);
        settle().await;
    }
    assert_eq!(*counts.lock().unwrap(), [Some(1); 3]);
    assert_eq!(
        running.get().map(|server| server.stats().connections),
        Some(0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_the_accepted_events_of_a_slow_client_before_the_retry() {
    let (server, net) = serve(config(), |request: Request| {
        ready(request.stream(async |mut stream| {
            stream.write_str(&"x".repeat(1000)).await?;
            settle().await; // The client takes nothing, so what follows waits in the pipe.
            for number in 0..9 {
                stream.write_str(&format!("{number:0>1000}")).await?;
            }
            pending().await
        }))
    });
    let mut slow = net.ask(400, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    pass(SECOND).await;
    let draining = tokio::spawn(server.drain(Duration::ZERO));
    settle().await;
    let text = slow.read_to_end().await;
    draining.await.unwrap();
    assert_eq!(text.matches("data: 0000").count(), 9, "{text}");
    let (_, last) = text.rsplit_once("8\n\nretry: ").unwrap();
    assert!(is_jittered(last.trim_end()), "{last}");
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_the_drain_of_its_server() {
    let (server, net) = serve(config(), async |request: Request| {
        pass(SECOND).await;
        let state = format!("{}, live: {}", request.readiness(), request.is_live());
        request.respond(Response::new(200).with_body("text/plain", state))
    });
    let mut client = net.get("/").await;
    settle().await;
    let draining = tokio::spawn(server.drain(SECOND * 5));
    let text = client.read_to_end().await;
    let expected = "the server drains; connect to another, live: true";
    assert!(text.ends_with(expected), "{text}");
    draining.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_whose_handle_is_dropped_stops_accepting_and_its_streams_continue() {
    let topic = Topic::new(Retention::default());
    let (listener, clients) = sse_net::testing::pipes();
    let server = Server::new(config()).listen(listener);
    let server = server.serve(Routes::new().topic("/", &topic));
    let mut client = RawClient::new(clients.connect().unwrap());
    client.get("/").await.unwrap();
    drop(server);
    settle().await;
    assert!(clients.connect().is_err());
    publish(&topic, 0..1);
    assert_eq!(client.event().await.unwrap().data(), "d");
}
