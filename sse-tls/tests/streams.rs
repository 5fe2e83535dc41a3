//! Streams over TLS, and how they end.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::ready;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{World, ask, begin, config, follow, publish, published, read, read_to_end};
use sse_core::{Event, Rejection, Retention};
use sse_net::{Disconnect, Request, Topic, TopicConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};

/// Application data.
const DATA: u8 = 23;

#[tokio::test(start_paused = true)]
async fn events_that_are_published_together_share_a_record() {
    let world = World::new();
    let topic = Topic::new(Retention::events(10_000));
    let (_server, net) = world.serve(follow(&topic));
    let mut session = net.get("/", &world.client()).await;
    begin(&mut session).await;
    // The last is more than a slice of the log, and a record holds 16 KiB.
    for (events, records) in [(1, 1), (100, 1), (2000, 4)] {
        session.get_ref().0.wire.records();
        publish(&topic, 1000..1000 + events);
        let text = read(&mut session).await;
        assert!(text == published(1000..1000 + events));
        let sent = session.get_ref().0.wire.records();
        assert!(sent.iter().all(|(kind, _)| *kind == DATA), "{sent:?}");
        assert_eq!(sent.len(), records, "{events} events in {sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_gets_heartbeats() {
    let world = World::new();
    let topic = Topic::new(Retention::default());
    let (_server, net) = world.serve(follow(&topic));
    let mut session = net.get("/", &world.client()).await;
    begin(&mut session).await;
    sleep(Duration::from_secs(100)).await;
    let text = read(&mut session).await;
    assert!(matches!(text.len(), 12..=14), "{text:?}");
    assert_eq!(text.replace(":\n", ""), "");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_ends_regularly_ends_with_close_notify() {
    let world = World::new();
    let topic = Topic::new(Retention::default());
    let finished = Topic::new(Retention::default());
    let followed = (topic.clone(), finished.clone());
    let handler = move |request: Request| {
        ready(match request.path() {
            "/finished" => request.follow(&followed.1),
            "/closed" => request.stream(async |mut stream| {
                stream.write_str("d").await?;
                stream.close().await
            }),
            "/ended" => request.stream(async |mut stream| {
                stream.write_str("d").await?;
                stream.end().await
            }),
            "/nothing" => request.reject(Rejection::NOT_FOUND),
            _ => request.follow(&followed.0),
        })
    };
    let old = config().max_age(Duration::from_secs(5));
    let (_server, net) = common::serve(old, world.tls.clone(), handler);
    let client = world.client();
    let mut ends = Vec::new();
    for path in ["/finished", "/closed", "/ended", "/nothing", "/too-old"] {
        let mut session = net.get(path, &client).await;
        ends.push(tokio::spawn(async move {
            let (text, end) = read_to_end(&mut session).await;
            (path, text.len(), end.map_err(|error| error.kind()))
        }));
    }
    common::settle().await;
    finished.finish(Some(&Event::new().data("bye"))).unwrap();
    for end in ends {
        let (path, len, end) = end.await.unwrap();
        assert_eq!((end, len > 0), (Ok(()), true), "{path}");
    }

    let (server, net) = world.serve(follow(&topic));
    let mut session = net.get("/", &client).await;
    begin(&mut session).await;
    let drained = tokio::spawn(server.drain(Duration::from_secs(1)));
    let (rest, end) = read_to_end(&mut session).await;
    assert!(rest.starts_with("retry: "), "{rest}");
    assert!(end.is_ok());
    drained.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_cut_ends_without_close_notify() {
    let world = World::new();
    let topic = Topic::new(Retention::default());
    let ends = Arc::new(Mutex::new(Vec::new()));
    let (sink, followed) = (Arc::clone(&ends), topic.clone());
    let handler = move |request: Request| {
        let sink = Arc::clone(&sink);
        let answer = request.follow(&followed);
        ready(answer.on_end(move |end| sink.lock().unwrap().push(end)))
    };
    let (_server, net) = world.serve(handler);
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(world.client());
    let mut session = connector.connect(name, net.connect(4096)).await.unwrap();
    ask(&mut session, "/").await;
    begin(&mut session).await;
    let start = Instant::now();
    topic
        .publish(&Event::new().data("x".repeat(200_000)))
        .unwrap();
    while ends.lock().unwrap().is_empty() {
        sleep(Duration::from_millis(100)).await;
    }
    let time = start.elapsed().as_secs_f64();
    assert!(
        (19.5..21.0).contains(&time),
        "the write timeout is 20 s: {time}"
    );
    assert_eq!(*ends.lock().unwrap(), [Disconnect::WriteTimeout]);
    let (_, end) = read_to_end(&mut session).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test(start_paused = true)]
async fn a_slow_client_that_makes_progress_stays_connected() {
    let world = World::new();
    let topic = Topic::new(Retention::default());
    let (_server, net) = world.serve(follow(&topic));
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(world.client());
    let mut session = connector.connect(name, net.connect(1024)).await.unwrap();
    ask(&mut session, "/").await;
    begin(&mut session).await;
    let data = "x".repeat(100_000);
    topic.publish(&Event::new().id(1).data(&*data)).unwrap();
    let expected = format!("id: 1\ndata: {data}\n\n");
    let mut text = vec![0; expected.len()];
    // A kilobyte a second: each record takes 16 s, and the whole takes more than a minute.
    let start = Instant::now();
    let mut read = 0;
    while read < text.len() {
        sleep(Duration::from_millis(900)).await;
        let most = text.len().min(read + 1024);
        read += session.read(&mut text[read..most]).await.unwrap();
    }
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    assert!(start.elapsed() > Duration::from_secs(80));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lags_gets_a_gap_event() {
    let world = World::new();
    let topic = Topic::new(
        TopicConfig::from(Retention::events(10).backlog(Duration::ZERO, 0))
            .slow_clients(sse_net::SlowClients::SkipAhead),
    );
    let (_server, net) = world.serve(follow(&topic));
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(world.client());
    let mut session = connector.connect(name, net.connect(1024)).await.unwrap();
    ask(&mut session, "/").await;
    begin(&mut session).await;
    let data = "x".repeat(5000);
    for id in 0..100 {
        topic.publish(&Event::new().id(id).data(&*data)).unwrap();
        common::settle().await;
    }
    let text = read(&mut session).await;
    let mut ids = Vec::new();
    for event in sse_core::Events::new(text.as_bytes()) {
        let event = event.unwrap();
        match event.event() {
            "gap" => ids.push(None),
            _ => {
                assert_eq!(event.data(), data, "an event is incomplete");
                ids.push(event.last_event_id().parse::<u32>().ok());
            }
        }
    }
    let gap = ids.iter().position(Option::is_none).expect("a gap");
    let before = Vec::from_iter((0..).take(gap).map(Some));
    let after = Vec::from_iter((90..100).map(Some));
    assert_eq!((&ids[..gap], &ids[gap + 1..]), (&*before, &*after));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_disconnects_is_removed() {
    let world = World::new();
    let topic = Topic::new(Retention::default());
    let (server, net) = world.serve(follow(&topic));
    let mut session = net.get("/", &world.client()).await;
    begin(&mut session).await;
    assert_eq!(server.stats().connections, 1);
    drop(session);
    common::settle().await;
    assert_eq!(server.stats().connections, 0);
}

/// No read shows that it has disconnected, and its next heartbeat is seconds away.
#[tokio::test(start_paused = true)]
async fn a_half_closed_client_that_disconnects_is_removed_soon() {
    let world = World::new();
    let topic = Topic::new(Retention::default());
    let (server, net) = world.serve(follow(&topic));
    let mut session = net.get("/", &world.client()).await;
    begin(&mut session).await;
    session.shutdown().await.unwrap();
    sleep(Duration::from_secs(1)).await;
    publish(&topic, 1..3);
    let text = read(&mut session).await;
    assert_eq!(text.replace(":\n", ""), published(1..3));
    drop(session);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(server.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn close_notify_waits_until_the_client_reads() {
    const ROOM: usize = 4096;
    let world = World::new();
    let topic = Topic::new(Retention::default());
    let (server, net) = world.serve(follow(&topic));
    let name = "localhost".try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(world.client());
    let mut session = connector.connect(name, net.connect(ROOM)).await.unwrap();
    ask(&mut session, "/").await;
    begin(&mut session).await;
    // With the overhead of a record, this fills the pipe exactly.
    let frame = "id: 1\ndata: \n\n".len();
    let data = "x".repeat(ROOM - 22 - frame);
    topic.publish(&Event::new().id(1).data(&*data)).unwrap();
    common::settle().await;
    topic.finish(None).unwrap();
    common::settle().await;
    let (text, end) = read_to_end(&mut session).await;
    assert_eq!(text, format!("id: 1\ndata: {data}\n\n"));
    assert!(end.is_ok(), "{end:?}");
    common::settle().await;
    assert_eq!(server.stats().connections, 0);
}
