//! Holes: events of which a node is not notified.

use std::time::Duration;

use sse_core::{Decoded, LogId};
use sse_net::{Event, Start};
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
    let end = loop {
        match client.next().await {
            Ok(Some(Decoded::Event(event))) => panic!("{} came after a hole", event.data()),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break client.last_event_id().to_owned(),
        }
    };
    assert!(proxy.has_cut());
    let mut client = node.client();
    client.resume("/news", &end).await.unwrap();
    let gap = client.event().await.unwrap();
    assert_eq!(gap.event(), "gap", "{gap:?} after {end}");
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 1);
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
