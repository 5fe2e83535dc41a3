//! Holes: events of which a node is not notified.

use std::time::Duration;

use sse_core::{Decoded, LogId};
use sse_net::testing::RawClient;
use sse_net::{Event, Start};
use tokio::io::DuplexStream;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_reported_also_if_the_link_breaks_meanwhile() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut client = node.client();
    client.get("/news").await.unwrap();
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    // An event without a notification, which the mark then passes.
    redis.store("news", "events:elsewhere", "data: two\n\n");
    let other = node.hub.topic("other").unwrap();
    let mut others = other.subscribe(Start::Live);
    other.publish(&Event::new().data("hey")).unwrap();
    let passed = timeout(Duration::from_secs(20), others.read_bytes()).await;
    assert!(passed.unwrap().unwrap().is_some());
    // The node asks for last IDs with this command, and nothing else.
    proxy.cut_at(b"HMGET");
    redis.store("news", "events:news", "data: three\n\n");
    let end = end_of(&mut client, "").await;
    assert!(proxy.has_cut());
    let mut client = node.client();
    client.resume("/news", &end).await.unwrap();
    let gap = client.event().await.unwrap();
    assert_eq!(gap.event(), "gap", "{gap:?} after {end}");
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 1);
}

/// The client's ID is known in the new epoch, so only the gap tells it what it has missed.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_reported_also_if_an_epoch_begins_meanwhile() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut client = node.client();
    client.get("/news,other").await.unwrap();
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    redis.store("news", "events:elsewhere", "data: two\n\n");
    // The client passes it.
    node.publish("other", "hey").await;
    assert_eq!(client.event().await.unwrap().data(), "hey");
    proxy.switch(0);
    proxy.cut_at(b"HMGET");
    redis.store("news", "events:news", "data: three\n\n");
    while !proxy.has_cut() {
        yield_now().await;
    }
    redis.call::<()>(&["DEL", "sse:{hub}:hub"]);
    proxy.switch(redis.port);
    let end = end_of(&mut client, "three").await;
    let mut client = node.client();
    client.resume("/news,other", &end).await.unwrap();
    assert_eq!(client.event().await.unwrap().event(), "gap");
}

/// The server has lost their last events. Topics with subscribers are then read twice.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn streams_end_also_if_the_link_breaks_while_topics_are_read_anew() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut clients = Vec::new();
    // More than are read at a time.
    for name in (0..40).map(|number| format!("topic{number}")) {
        let mut client = node.client();
        client.get(&format!("/{name}")).await.unwrap();
        node.publish(&name, "one").await;
        assert_eq!(client.event().await.unwrap().data(), "one");
        clients.push(client);
    }
    proxy.switch(0);
    proxy.cut();
    redis.call::<()>(&["FLUSHALL"]);
    let (second, third) = (proxy.clone(), proxy.clone());
    proxy.pause_after(b"XRANGE", move || {
        second.pause_after(b"XRANGE", move || third.cut_at(b"XRANGE"));
    });
    proxy.switch(redis.port);
    for mut client in clients {
        while let Some(next) = client.next().await.expect("the stream ends") {
            assert!(!matches!(next, Decoded::Event(_)), "{next:?}");
        }
    }
    assert!(proxy.has_cut());
}

/// A node reads from another server what the first one has, and returns before it has read all.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn topics_are_read_again_if_the_first_server_returns_while_they_are_read_anew() {
    let [first, other] = [Redis::start(&[]), Redis::start(&[])];
    let proxy = Proxy::to(first.port).await;
    let node = Node::connect(&proxy.url()).await;
    // More than are read at a time.
    let names: Vec<_> = (0..40).map(|number| format!("topic{number}")).collect();
    let mut last = LogId::default();
    for name in &names {
        last = node.publish(name, "one").await;
    }
    for name in &names {
        node.publish(name, "two").await;
    }
    let late = node.hub.topic("late").unwrap();
    for name in &names {
        // As if its events were older.
        first.call::<()>(&["ZADD", "sse:{hub}:changed", "1000", name]);
    }
    proxy.switch(0);
    proxy.cut();
    let (returned, has_returned) = std::sync::mpsc::channel();
    let (pausing, port) = (proxy.clone(), first.port);
    proxy.pause_after(b"XRANGE", move || {
        let returning = pausing.clone();
        pausing.pause_after(b"XRANGE", move || {
            returning.switch(port);
            returning.cut();
            returned.send(()).unwrap();
        });
    });
    proxy.switch(other.port);
    while has_returned.try_recv().is_err() {
        yield_now().await;
    }
    late.publish(&Event::new().data("hey"))
        .unwrap()
        .stored()
        .await
        .unwrap();
    let mut client = node.client();
    let path = format!("/{},late", names.join(","));
    client.resume(&path, &last.to_string()).await.unwrap();
    let mut got = Vec::new();
    for _ in 0..=names.len() {
        got.push(client.event().await.unwrap().data().to_owned());
    }
    let mut expected = vec!["two"; names.len()];
    expected.push("hey");
    assert_eq!(got, expected);
}

/// Returns the last event ID at the end of a stream without further events than `last`.
async fn end_of(client: &mut RawClient<DuplexStream>, last: &str) -> String {
    let reading = async {
        loop {
            match client.next().await {
                Ok(Some(Decoded::Event(event))) => {
                    assert_eq!(event.data(), last, "it came after a hole");
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    };
    let ended = timeout(Duration::from_secs(20), reading).await;
    ended.expect("the stream ends");
    client.last_event_id().to_owned()
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_topic_is_read_also_if_the_link_breaks_while_it_is_read_first() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    node.publish("news", "one").await;
    proxy.cut_at(b"XRANGE");
    let mut client = node.client();
    client.get("/late").await.unwrap();
    let late = node.hub.topic("late").unwrap();
    late.publish(&Event::new().data("hey")).unwrap();
    assert_eq!(client.event().await.unwrap().data(), "hey");
    assert!(proxy.has_cut());
}

/// Another program names an ID that no event has, before an event that the node has not heard of.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_notification_without_an_event_stops_nothing() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let node = Node::connect(&redis.url()).await;
    let mut client = node.client();
    client.get("/news").await.unwrap();
    let first = node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    let second = loop {
        let id = redis.store("news", "events:elsewhere", "data: two\n\n");
        if id.millis() > first.millis() {
            break id;
        }
    };
    // Between the two.
    let forged = LogId::new(first.millis(), second.sequence() + (1 << 16));
    let message = format!("{first} {forged}");
    redis.call::<()>(&["PUBLISH", "sse:{hub}:events:news", &message]);
    redis.store("news", "events:news", "data: three\n\n");
    while client.event().await.unwrap().data() != "three" {}
    assert!(node.is_ready());
    assert_eq!(node.hub.engine_snapshot().unwrap().connects, 1);
}
