//! Holes: events of which a node is not notified.

use std::time::Duration;

use sse_core::{Decoded, LogId};
use sse_net::{Event, Start};
use tokio::time::timeout;

use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

/// Stores an event of a topic, and notifies the nodes of it by a channel. Returns its ID.
fn store(redis: &Redis, topic: &str, channel: &str, data: &str) -> LogId {
    let key = |name: &str| format!("sse:{{hub}}:{name}");
    let keys = ["meta", "epochs", "tips", "changed"].map(key);
    let [meta, epochs, tips, changed] = keys.each_ref().map(String::as_str);
    let (stream, channel) = (key(&format!("topic:{topic}")), key(channel));
    let frame = format!("data: {data}\n\n");
    let id: String = redis.call(&[
        "FCALL",
        "sse_publish",
        "5",
        meta,
        epochs,
        tips,
        changed,
        &stream,
        "7",
        &channel,
        topic,
        "1000",
        "0",
        "0",
        "0",
        "events",
        &frame,
    ]);
    LogId::parse(&id).unwrap()
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_reported_also_if_the_link_breaks_meanwhile() {
    let redis = Redis::start(&[]);
    let library = include_str!("../../src/engine/publish.lua");
    redis.call::<()>(&["FUNCTION", "LOAD", library]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut client = node.client();
    client.get("/news").await.unwrap();
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    // An event without a notification, which the mark then passes.
    store(&redis, "news", "events:elsewhere", "two");
    let other = node.hub.topic("other").unwrap();
    let mut others = other.subscribe(Start::Live);
    other.publish(&Event::new().data("hey")).unwrap();
    let passed = timeout(Duration::from_secs(20), others.read_bytes()).await;
    assert!(passed.unwrap().unwrap().is_some());
    // The node asks for last IDs with this command, and nothing else.
    proxy.cut_at(b"HMGET");
    store(&redis, "news", "events:news", "three");
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

/// Another program names an ID that no event has, before an event that the node has not heard of.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_notification_without_an_event_stops_nothing() {
    let redis = Redis::start(&[]);
    let library = include_str!("../../src/engine/publish.lua");
    redis.call::<()>(&["FUNCTION", "LOAD", library]);
    let node = Node::connect(&redis.url()).await;
    let mut client = node.client();
    client.get("/news").await.unwrap();
    let first = node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    let second = loop {
        let id = store(&redis, "news", "events:elsewhere", "two");
        if id.millis() > first.millis() {
            break id;
        }
    };
    // Between the two.
    let forged = LogId::new(first.millis(), second.sequence() + (1 << 16));
    let message = format!("{first} {forged}");
    redis.call::<()>(&["PUBLISH", "sse:{hub}:events:news", &message]);
    store(&redis, "news", "events:news", "three");
    while client.event().await.unwrap().data() != "three" {}
    assert!(node.is_ready());
    assert_eq!(node.hub.engine_snapshot().unwrap().connects, 1);
}
