//! Clients that lag, and write deadlines.

use std::time::Duration;

use sse_core::{Event, Retention};
use sse_net::{Disconnect, SlowClients, Start, Topic, TopicConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::SECOND;
use crate::common::{
    Kind, config, over_all_servers, pass, publish, published, serve_topic, settle,
};

over_all_servers! {
    a_slow_client_catches_up_in_few_writes,
    a_client_that_lags_is_disconnected,
    a_client_that_skips_ahead_gets_a_gap_event_and_whole_events,
}

async fn a_slow_client_catches_up_in_few_writes(kind: Kind) {
    let topic = Topic::new(Retention::events(100));
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut client = net.get_slow("/", 1000).await;
    publish(&topic, 0..1);
    topic
        .publish(&Event::new().id(1).data("x".repeat(2000)))
        .unwrap();
    settle().await;
    publish(&topic, 2..9);
    let expected = format!(
        "{}id: 1\ndata: {}\n\n{}",
        published(0..1),
        "x".repeat(2000),
        published(2..9)
    );
    client.writes();
    assert_eq!(client.read().await, expected);
    let writes = client.writes();
    assert!(writes <= 4, "{writes} writes");
}

async fn a_client_that_lags_is_disconnected(kind: Kind) {
    let topic = Topic::new(Retention::events(2).backlog(Duration::ZERO, 0));
    let (server, net, ends) = kind.serve_topic(config(), &topic, Start::Live);
    let mut slow = net.get_slow("/", 400).await;
    let mut healthy = net.get("/").await;
    healthy.follow().await;
    let mut all = String::new();
    for id in 0..100 {
        all += &publish_large(&topic, id);
        let read = healthy.read().await;
        assert!(
            all.ends_with(&read) && !read.is_empty(),
            "no client waits for a slow one"
        );
    }
    let got = slow.read_to_end().await;
    assert!(all.starts_with(&got));
    assert_eq!(ends.take(), [Disconnect::Lagged]);
    let stats = server.stats();
    assert_eq!((stats.lagged, stats.connections), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_client_gets_no_event_after_a_missed_one() {
    let topic = Topic::new(Retention::events(2).backlog(Duration::ZERO, 0));
    let (_server, net, ends) = serve_topic(config(), &topic, Start::Live);
    let mut slow = net.get_slow("/", 400).await;
    let first = publish_large(&topic, 0);
    settle().await;
    let mut got = vec![0; 600];
    AsyncReadExt::read_exact(&mut slow.pipe, &mut got)
        .await
        .unwrap();
    publish(&topic, 1..9);
    settle().await;
    // In one turn it takes the rest, has to be disconnected, and there are new events.
    AsyncReadExt::read_buf(&mut slow.pipe, &mut got)
        .await
        .unwrap();
    publish(&topic, 9..10);
    AsyncReadExt::read_to_end(&mut slow.pipe, &mut got)
        .await
        .unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), first);
    assert_eq!(ends.take(), [Disconnect::Lagged]);
}

/// Publishes an event so large that an HTTP server buffers only a few.
fn publish_large(topic: &Topic, id: u32) -> String {
    let data = "x".repeat(1000);
    topic.publish(&Event::new().id(id).data(&data)).unwrap();
    format!("id: {id}\ndata: {data}\n\n")
}

async fn a_client_that_skips_ahead_gets_a_gap_event_and_whole_events(kind: Kind) {
    for room in 300..340 {
        let topic = Topic::new(
            TopicConfig::default()
                .retention(Retention::events(2).backlog(Duration::ZERO, 0))
                .slow_clients(SlowClients::SkipAhead),
        );
        let (server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
        let mut slow = net.get_slow("/", room).await;
        let mut all = String::new();
        for id in 0..98 {
            all += &publish_large(&topic, id);
            settle().await;
        }
        let retained = publish_large(&topic, 98) + &publish_large(&topic, 99);
        settle().await;
        let got = slow.read().await;
        let (before, after) = got
            .split_once("event: gap\ndata: {\"asked\":null,\"from\":\"98\"}\n\n")
            .unwrap_or_else(|| panic!("{room}: {got}"));
        assert!(all.starts_with(before) && before.ends_with("\n\n"));
        assert_eq!(after, retained, "{room}");
        assert_eq!(server.stats().gaps, 1);
        publish(&topic, 100..101);
        assert_eq!(slow.read().await, published(100..101));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_disconnected_at_the_write_deadline() {
    let topic = Topic::new(Retention::default());
    let (server, net, ends) = serve_topic(config(), &topic, Start::Live);
    let mut slow = net.get_slow("/", 400).await;
    topic
        .publish(&Event::new().data("x".repeat(10_000)))
        .unwrap();
    for _ in 0..10 {
        pass(SECOND * 15).await;
        let mut piece = [0; 100];
        AsyncReadExt::read_exact(&mut slow.pipe, &mut piece)
            .await
            .unwrap();
    }
    assert_eq!(ends.take(), []);
    let start = Instant::now();
    while server.stats().connections > 0 {
        pass(SECOND / 4).await;
    }
    let waited = start.elapsed();
    assert!((SECOND * 19..SECOND * 22).contains(&waited), "{waited:?}");
    assert_eq!(ends.take(), [Disconnect::WriteTimeout]);
    assert_eq!(server.stats().write_timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_sends_is_disconnected_at_the_write_deadline() {
    let topic = Topic::new(Retention::default());
    let (server, net, ends) = serve_topic(config(), &topic, Start::Live);
    let room = published(0..4).len();
    let mut slow = net.get_slow("/", room).await;
    for id in 0..6 {
        publish(&topic, id..id + 1); // The fourth fills the pipe, between two events.
        settle().await;
    }
    for _ in 0..5 {
        pass(SECOND * 5).await;
        let _ = slow.pipe.write_all(b"blah").await;
    }
    assert_eq!(ends.take(), [Disconnect::WriteTimeout]);
    assert_eq!(server.stats().connections, 0);
}

#[tokio::test(start_paused = true)]
async fn a_short_write_timeout_disconnects_no_client_early() {
    let topic = Topic::new(Retention::default());
    let config = config().write_timeout(SECOND / 10);
    let (_server, net, ends) = serve_topic(config, &topic, Start::Live);
    let mut slow = net.get_slow("/", 400).await;
    for id in 0..20 {
        let event = publish_large(&topic, id);
        pass(SECOND / 20).await;
        assert_eq!(slow.read().await, event);
    }
    publish_large(&topic, 20);
    pass(SECOND).await;
    assert_eq!(ends.take(), [Disconnect::WriteTimeout]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_while_the_server_is_blocked_stays_connected() {
    let topic = Topic::new(Retention::default());
    let (_server, net, ends) = serve_topic(config(), &topic, Start::Live);
    let mut slow = net.get_slow("/", 400).await;
    let event = publish_large(&topic, 0);
    settle().await;
    let mut got = vec![0; 100];
    AsyncReadExt::read_exact(&mut slow.pipe, &mut got)
        .await
        .unwrap();
    // Nothing else runs meanwhile.
    tokio::time::advance(SECOND * 30).await;
    settle().await;
    assert_eq!(ends.take(), []);
    assert_eq!(String::from_utf8(got).unwrap() + &slow.read().await, event);
}

#[tokio::test(start_paused = true)]
async fn deadlines_may_be_the_longest_duration() {
    let topic = Topic::new(Retention::default());
    let config = config()
        .head_timeout(Duration::MAX)
        .heartbeat(Duration::MAX)
        .write_timeout(Duration::MAX)
        .max_age(Duration::MAX)
        .retry(Duration::MAX);
    let (server, net, ends) = serve_topic(config, &topic, Start::Live);
    let mut client = net.ask(400, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.read().await;
    pass(SECOND).await;
    let event = publish_large(&topic, 0);
    pass(SECOND * 1000).await;
    assert_eq!(client.read().await, event);
    let draining = tokio::spawn(server.drain(Duration::MAX));
    pass(SECOND * 1000).await;
    publish(&topic, 1..2);
    assert_eq!(client.read().await, published(1..2));
    drop(client);
    draining.await.unwrap();
    assert_eq!(ends.take(), [Disconnect::ClientClosed]);
}
