//! Following a topic: where it begins, how it goes on, and what becomes of the slow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{
    Kind, WIDE, after_retry, config, over_all_servers, pass, publish, published, serve,
    serve_topic, settle,
};
use sse_core::{Event, EventType, Events, Retention};
use sse_net::{Disconnect, Heartbeat, Routes, SlowClients, Start, Topic, TopicConfig, UnknownId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

over_all_servers! {
    a_client_resumes_or_is_told_of_the_gap,
    an_id_of_the_logs_own_that_is_not_kept_is_a_gap,
    events_share_a_write,
    who_was_slow_catches_up_in_few_writes,
    after_quiet_an_event_goes_at_once_and_what_follows_lingers,
    who_falls_behind_is_disconnected,
    who_skips_ahead_is_told_and_gets_whole_events,
    silence_is_broken_by_heartbeats,
    heartbeats_are_spread,
    a_client_that_leaves_is_noticed_at_once,
}

#[tokio::test(start_paused = true)]
async fn a_client_begins_where_the_route_says() {
    let topic = Topic::new(Retention::events(3).backlog(Duration::ZERO, 0));
    publish(&topic, 0..5);
    let routes = Routes::new()
        .topic("/live", &topic)
        .topic_from("/last", &topic, Start::Last(2))
        .topic_from("/kept", &topic, Start::Earliest);
    let (server, net) = serve(config(), routes);
    let mut clients = Vec::new();
    for (path, begin) in [("/live", 5), ("/last", 3), ("/kept", 2)] {
        let mut client = net.get(path).await;
        assert_eq!(client.follow().await, published(begin..5), "{path}");
        clients.push(client);
    }
    publish(&topic, 5..6);
    for client in &mut clients {
        assert_eq!(client.read().await, published(5..6));
    }
    assert_eq!(server.stats().connections, 3);
}

async fn a_client_resumes_or_is_told_of_the_gap(kind: Kind) {
    let gap = |asked: &str, from: &str| {
        format!("event: gap\ndata: {{\"asked\":\"{asked}\",\"from\":{from}}}\n\n")
    };
    for (unknown_id, start, unknown) in [
        (
            UnknownId::ReplayAll,
            Start::Live,
            gap("x", "\"3\"") + &published(3..6),
        ),
        (UnknownId::StartLive, Start::Live, gap("x", "null")),
        (
            UnknownId::StartLive,
            Start::Last(1),
            gap("x", "\"5\"") + &published(5..6),
        ),
    ] {
        let topic = Topic::new(
            TopicConfig::default()
                .retention(Retention::events(3).backlog(Duration::ZERO, 0))
                .unknown_id(unknown_id),
        );
        publish(&topic, 0..6);
        let (server, net, _) = kind.serve_topic(config(), &topic, start);
        for (id, expected) in [
            ("4", published(5..6)),
            ("5", String::new()),
            ("2", published(3..6)),
            ("x", unknown),
        ] {
            let mut client = net.resume("/", id).await;
            assert_eq!(client.follow().await, expected, "{id}");
            let mut polyfill = net.get(&format!("/?lastEventId={id}")).await;
            assert_eq!(polyfill.follow().await, expected, "{id}");
        }
        let stats = server.stats();
        assert_eq!((stats.resumed, stats.gaps, stats.unknown_ids), (6, 0, 2));
    }
}

async fn an_id_of_the_logs_own_that_is_not_kept_is_a_gap(kind: Kind) {
    let topic = Topic::new(
        TopicConfig::default()
            .retention(Retention::events(1).backlog(Duration::ZERO, 0))
            .gap_type(EventType::from_static("missed")),
    );
    let mut subscription = topic.subscribe(Start::Live);
    let mut ids = Vec::new();
    for _ in 0..3 {
        topic.publish(&Event::new().data("d")).unwrap();
        let mut bytes = Vec::new();
        subscription.read(&mut bytes).await.unwrap();
        let event = Events::new(&*bytes).next().unwrap().unwrap();
        ids.push(event.last_event_id().to_owned());
    }
    let (server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut client = net.resume("/", &ids[0]).await;
    assert_eq!(
        client.follow().await,
        format!(
            "event: missed\ndata: {{\"asked\":\"{0}\",\"from\":\"{1}\"}}\n\nid: {1}\ndata: d\n\n",
            ids[0], ids[2]
        )
    );
    assert_eq!(server.stats().gaps, 1);
}

async fn events_share_a_write(kind: Kind) {
    let topic = Topic::new(Retention::events(100));
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Earliest);
    publish(&topic, 0..3);
    let mut client = net.get("/").await;
    assert_eq!(client.follow().await, published(0..3));
    client.writes();

    publish(&topic, 3..6);
    assert_eq!(client.read().await, published(3..6));
    assert_eq!(client.writes(), 1);

    let events: Vec<_> = (6..9).map(|id| Event::new().id(id).data("d")).collect();
    topic.publish_all(&events).unwrap();
    assert_eq!(client.read().await, published(6..9));
    assert_eq!(client.writes(), 1);
}

async fn who_was_slow_catches_up_in_few_writes(kind: Kind) {
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

async fn after_quiet_an_event_goes_at_once_and_what_follows_lingers(kind: Kind) {
    let topic = Topic::new(TopicConfig::default().linger(Duration::from_millis(100)));
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    pass(SECOND).await;
    let start = Instant::now();
    for (publishing, expected) in [(0..1, 0..1), (1..2, 0..0), (2..3, 0..0)] {
        publish(&topic, publishing.clone());
        assert_eq!(client.read().await, published(expected), "{publishing:?}");
    }
    client.writes();
    assert_eq!(client.wait().await, published(1..3));
    let waited = start.elapsed().as_millis();
    assert!((99..=110).contains(&waited), "{waited} ms");
    assert_eq!(client.writes(), 1);
    pass(SECOND).await;
    publish(&topic, 3..4);
    assert_eq!(client.read().await, published(3..4), "quiet again");
}

async fn who_falls_behind_is_disconnected(kind: Kind) {
    let topic = Topic::new(Retention::events(2).backlog(Duration::ZERO, 0));
    let (server, net, ends) = kind.serve_topic(config(), &topic, Start::Live);
    let mut slow = net.get_slow("/", 400).await;
    let mut healthy = net.get("/").await;
    healthy.follow().await;
    let mut all = String::new();
    for id in 0..100 {
        all += &publish_large(&topic, id);
        let read = healthy.read().await;
        assert!(all.ends_with(&read) && !read.is_empty(), "nobody waits");
    }
    let got = slow.read_to_end().await;
    assert!(all.starts_with(&got));
    assert_eq!(ends.take(), [Disconnect::FellBehind]);
    let stats = server.stats();
    assert_eq!((stats.fell_behind, stats.connections), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_is_disconnected_gets_nothing_after_what_it_missed() {
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
    // In one turn it takes the rest, whereupon it has to go, and there is news.
    AsyncReadExt::read_buf(&mut slow.pipe, &mut got)
        .await
        .unwrap();
    publish(&topic, 9..10);
    AsyncReadExt::read_to_end(&mut slow.pipe, &mut got)
        .await
        .unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), first);
    assert_eq!(ends.take(), [Disconnect::FellBehind]);
}

/// An event of which no HTTP server buffers very many.
fn publish_large(topic: &Topic, id: u32) -> String {
    let data = "x".repeat(1000);
    topic.publish(&Event::new().id(id).data(&data)).unwrap();
    format!("id: {id}\ndata: {data}\n\n")
}

async fn who_skips_ahead_is_told_and_gets_whole_events(kind: Kind) {
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
        let kept = publish_large(&topic, 98) + &publish_large(&topic, 99);
        settle().await;
        let got = slow.read().await;
        let (before, after) = got
            .split_once("event: gap\ndata: {\"asked\":null,\"from\":\"98\"}\n\n")
            .unwrap_or_else(|| panic!("{room}: {got}"));
        assert!(all.starts_with(before) && before.ends_with("\n\n"));
        assert_eq!(after, kept, "{room}");
        assert_eq!(server.stats().gaps, 1);
        publish(&topic, 100..101);
        assert_eq!(slow.read().await, published(100..101));
    }
}

async fn silence_is_broken_by_heartbeats(kind: Kind) {
    for (form, beat) in [
        (Heartbeat::Comment, ":\n"),
        (
            Heartbeat::Event(EventType::from_static("beat")),
            "event: beat\ndata: \n\n",
        ),
    ] {
        let topic = Topic::new(Retention::default());
        let config = config().heartbeat_form(form);
        let (server, net, _) = kind.serve_topic(config, &topic, Start::Live);
        let mut client = net.get("/").await;
        client.follow().await;
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(client.wait().await, beat);
            let silence = start.elapsed();
            assert!((SECOND * 13..SECOND * 16).contains(&silence), "{silence:?}");
        }
        for id in 0..10 {
            pass(SECOND * 5).await;
            publish(&topic, id..id + 1);
            assert_eq!(client.read().await, published(id..id + 1), "no heartbeat");
        }
        assert_eq!(server.stats().heartbeats, 3);
    }
}

async fn heartbeats_are_spread(kind: Kind) {
    let topic = Topic::new(Retention::default());
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = net.get("/").await;
        client.follow().await;
        clients.push(client);
    }
    publish(&topic, 0..1);
    for client in &mut clients {
        client.read().await;
    }
    let start = Instant::now();
    let mut times = std::collections::BTreeSet::new();
    let mut beats = tokio::task::JoinSet::new();
    for mut client in clients {
        beats.spawn(async move {
            client.wait().await;
            Instant::now()
        });
    }
    while let Some(time) = beats.join_next().await {
        times.insert((time.unwrap() - start).as_millis() / 250);
    }
    assert!(times.len() >= 4, "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_cut_at_the_write_deadline_and_who_is_slow_is_not() {
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
async fn who_takes_nothing_but_talks_is_cut_all_the_same() {
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
async fn however_short_the_write_timeout_nobody_is_cut_before() {
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
async fn who_takes_something_while_the_server_is_held_up_is_not_cut() {
    let topic = Topic::new(Retention::default());
    let (_server, net, ends) = serve_topic(config(), &topic, Start::Live);
    let mut slow = net.get_slow("/", 400).await;
    let event = publish_large(&topic, 0);
    settle().await;
    let mut got = vec![0; 100];
    AsyncReadExt::read_exact(&mut slow.pipe, &mut got)
        .await
        .unwrap();
    // Nobody but this works meanwhile.
    tokio::time::advance(SECOND * 30).await;
    settle().await;
    assert_eq!(ends.take(), []);
    assert_eq!(String::from_utf8(got).unwrap() + &slow.read().await, event);
}

#[tokio::test(start_paused = true)]
async fn deadlines_may_be_as_long_as_time() {
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
    assert_eq!(ends.take(), [Disconnect::Gone]);
}

async fn a_client_that_leaves_is_noticed_at_once(kind: Kind) {
    let topic = Topic::new(Retention::default());
    let (server, net, ends) = kind.serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    assert_eq!(server.stats().connections, 1);
    drop(client);
    pass(SECOND / 20).await;
    assert_eq!(ends.take(), [Disconnect::Gone]);
    assert_eq!((server.stats().connections, server.stats().gone), (0, 1));
    assert_eq!(topic.subscriptions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_ends_its_half_keeps_its_stream() {
    let topic = Topic::new(Retention::default());
    let (server, net, ends) = serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    client.pipe.shutdown().await.unwrap();
    pass(SECOND).await;
    let beats = client.read().await;
    assert!(
        !beats.is_empty() && beats.replace(":\n", "").is_empty(),
        "{beats}"
    );
    publish(&topic, 0..1);
    assert_eq!(client.read().await, published(0..1));
    pass(SECOND * 60).await;
    assert_eq!(client.read().await.replace(":\n", ""), "");
    assert_eq!((server.stats().connections, ends.take().len()), (1, 0));
    drop(client);
    pass(SECOND / 2).await;
    assert_eq!(ends.take(), [Disconnect::Gone]);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_says_after_its_head_is_nobodys_business() {
    let topic = Topic::new(Retention::default());
    let (_server, net, _) = serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    for _ in 0..100 {
        client.send(&"blah ".repeat(1000)).await;
    }
    publish(&topic, 0..1);
    assert_eq!(client.read().await, published(0..1));
}

#[tokio::test(start_paused = true)]
async fn gauges_return_to_zero() {
    let topics: Vec<_> = (0..10).map(|_| Topic::new(Retention::default())).collect();
    let routes = topics
        .iter()
        .enumerate()
        .fold(Routes::new(), |routes, (at, topic)| {
            routes.topic(&format!("/{at}"), topic)
        });
    let config = config().max_connections_per_address(200);
    let (server, net) = serve(config, routes);
    for round in 1..=10 {
        let mut clients = Vec::new();
        for at in 0..100 {
            let mut client = net.connect_from([127, 0, 0, 1]);
            client
                .send(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", at % 10))
                .await;
            clients.push(client);
        }
        settle().await;
        for topic in &topics {
            publish(topic, 0..1);
            assert_eq!(topic.subscriptions(), 1, "a shard has one for all");
        }
        for client in &mut clients {
            assert_eq!(client.follow().await, published(0..1));
        }
        assert_eq!(server.stats().connections, 100);
        drop(clients);
        pass(SECOND).await;
        let stats = server.stats();
        assert_eq!((stats.connections, stats.furthest_lag), (0, 0));
        assert_eq!(stats.gone, 100 * round);
        assert!(topics.iter().all(|topic| topic.subscriptions() == 0));
    }
}

#[tokio::test(start_paused = true)]
async fn the_furthest_lag_is_told() {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = serve_topic(config(), &topic, Start::Live);
    let mut client = net.ask(WIDE, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut slow = net.get_slow("/", 400).await;
    client.follow().await;
    publish(&topic, 0..1000);
    pass(SECOND).await;
    let (lag, all) = (server.stats().furthest_lag, published(0..1000).len());
    assert!((all - 500..all).contains(&lag), "{lag} of {all}");
    assert!(after_retry(&slow.read().await).is_none());
    pass(SECOND).await;
    assert_eq!(server.stats().furthest_lag, 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_counted_once_for_each_client() {
    let topic = Topic::new(Retention::default());
    let (server, net, _) = serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    let rooms = [published(0..2).len(), published(0..2).len() + 3];
    for room in rooms {
        let mut slow = net.get_slow("/", room).await;
        let before = server.stats().events;
        let events: Vec<_> = (0..5).map(|id| Event::new().id(id).data("d")).collect();
        topic.publish_all(&events).unwrap();
        settle().await;
        publish(&topic, 5..9);
        assert_eq!(slow.read().await, published(0..9));
        assert_eq!(server.stats().events - before, 18);
        drop(slow);
        pass(SECOND).await;
    }
}
