//! Holes: events of which a node is not notified.

use std::time::Duration;

use sse_core::Decoded;
use sse_net::{Event, Start};
use tokio::time::timeout;

use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

/// Stores an event of a topic, and notifies the nodes of it by a channel.
fn store(redis: &Redis, topic: &str, channel: &str, data: &str) {
    let key = |name: &str| format!("sse:{{hub}}:{name}");
    let keys = ["meta", "epochs", "tips", "changed"].map(key);
    let [meta, epochs, tips, changed] = keys.each_ref().map(String::as_str);
    let (stream, channel) = (key(&format!("topic:{topic}")), key(channel));
    let frame = format!("data: {data}\n\n");
    redis.call::<String>(&[
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
