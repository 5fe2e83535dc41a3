//! Keyed topics over servers: the state, what follows, and clients that are slow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::sync::Arc;

use sse_core::{Decoded, Decoder, Event, EventType};
use sse_net::{Hub, Request, Start, Topic, TopicConfig};
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/keyed_model.rs"]
mod keyed_model;
mod model;
#[path = "../common/pipes.rs"]
mod pipes;
use common::{Kind, config, over_all_servers, serve, settle};

over_all_servers! {
    a_client_gets_the_state_a_marker_and_what_follows,
    a_client_that_comes_back_gets_what_has_changed,
    a_slow_client_gets_every_key_in_each_pass,
}

fn hub() -> Hub {
    let config = TopicConfig::default();
    Hub::new(config.marker_type(EventType::from_static("ready")))
}

fn publish(topic: &Topic, data: &str) {
    let (key, _) = data.split_at(1);
    topic.publish_for(key, &Event::new().data(data)).unwrap();
}

/// Returns the data of the events, those with a type in brackets, and the last ID.
fn events(wire: &str) -> (String, String) {
    let (mut all, mut last) = (Vec::new(), String::new());
    for event in sse_core::Events::new(wire.as_bytes()) {
        let event = event.unwrap();
        all.push(match event.event() {
            "message" => event.data().to_owned(),
            other => format!("<{other}>"),
        });
        last = event.last_event_id().to_owned();
    }
    (all.join(" "), last)
}

async fn a_client_gets_the_state_a_marker_and_what_follows(kind: Kind) {
    let topic = hub().keyed_topic("state").unwrap();
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut early = net.get("/").await;
    assert_eq!(events(&early.follow().await).0, "<ready>");
    for data in ["a1", "b1", "a2", "c1", "b2"] {
        publish(&topic, data);
    }
    assert_eq!(events(&early.read().await).0, "a2 c1 b2");
    let mut late = net.get("/").await;
    assert_eq!(events(&late.follow().await).0, "a2 c1 b2 <ready>");
    publish(&topic, "c2");
    topic.remove("a").unwrap();
    for client in [&mut early, &mut late] {
        assert_eq!(events(&client.read().await).0, "c2 <remove>");
    }
    topic.finish(None).unwrap();
    assert_eq!(early.read_to_end().await, "");
}

async fn a_client_that_comes_back_gets_what_has_changed(kind: Kind) {
    let topic = hub().keyed_topic("state").unwrap();
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    for data in ["a1", "b1", "c1"] {
        publish(&topic, data);
    }
    let mut first = net.get("/").await;
    let (_, seen) = events(&first.follow().await);
    drop(first);
    for data in ["b2", "d1", "b3"] {
        publish(&topic, data);
    }
    topic.remove("c").unwrap();
    let mut back = net.resume("/", &seen).await;
    assert_eq!(events(&back.follow().await).0, "d1 b3 <remove> <ready>");
    let mut unknown = net.resume("/", "unknown").await;
    let wire = unknown.follow().await;
    assert_eq!(events(&wire).0, "<gap> a1 d1 b3 <remove> <ready>");
    assert!(wire.contains("\"clear\":true"), "{wire}");
}

/// The other member of the shard's group is behind when the client joins, and is overtaken.
#[tokio::test(start_paused = true)]
async fn the_marker_stands_behind_the_whole_of_a_long_state() {
    const KEYS: usize = 3000;
    let (topic, joins) = (hub().keyed_topic("state").unwrap(), Arc::new(Notify::new()));
    let (followed, joining) = (topic.clone(), Arc::clone(&joins));
    let (_server, net) = serve(config().shards(1), move |request: Request| {
        let (followed, joining) = (followed.clone(), Arc::clone(&joining));
        async move {
            if request.path() == "/late" {
                joining.notified().await;
            }
            request.follow(&followed)
        }
    });
    let mut early = net.get("/").await;
    early.follow().await;
    let head = "GET /late HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut late = net.ask(32 << 20, head).await;
    settle().await;
    joins.notify_one();
    let data = "x".repeat(4000);
    for key in 0..KEYS {
        let event = Event::new().data(&data);
        topic.publish_for(key.to_string(), &event).unwrap();
    }
    let (state, _) = events(&late.follow().await);
    let before = state
        .split_whitespace()
        .position(|event| event == "<ready>");
    assert_eq!(before, Some(KEYS));
}

/// The keys change in turn, ten times as fast as the client reads. Each value that the client
/// reads was current when its pass began, and each pass has every key.
async fn a_slow_client_gets_every_key_in_each_pass(kind: Kind) {
    const KEYS: usize = 2000;
    const READ: usize = 8 << 10;
    let topic = hub().keyed_topic("state").unwrap();
    let (server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let mut published = 0;
    let mut update = |count: usize| {
        for _ in 0..count {
            let (key, data) = (
                published % KEYS,
                format!("{} {published}", published % KEYS),
            );
            topic
                .publish_for(key.to_string(), &Event::new().data(data))
                .unwrap();
            published += 1;
        }
        published
    };
    update(KEYS);
    let mut client = net.get_slow("/", 4 << 10).await;
    let (mut decoder, mut buffer) = (Decoder::new(), vec![0; READ]);
    let (mut last_read, mut reads, mut longest, mut oldest) = (HashMap::new(), 0, 0, 0);
    for _ in 0..40 {
        let now = update(10 * READ / 48);
        settle().await;
        client.pipe.read_exact(&mut buffer).await.unwrap();
        let mut chunk = decoder.chunk(&buffer);
        while let Some(item) = chunk.next().unwrap() {
            let Decoded::Event(event) = item else {
                continue;
            };
            let Some((key, number)) = event.data().split_once(' ') else {
                continue; // The marker.
            };
            reads += 1;
            let number: usize = number.parse().unwrap();
            oldest = oldest.max(now - number);
            if let Some(before) = last_read.insert(key.to_owned(), reads) {
                longest = longest.max(reads - before);
            }
        }
    }
    assert_eq!(last_read.len(), KEYS);
    assert!(reads > 3 * KEYS, "{reads}");
    // What an HTTP server has buffered, it has read earlier.
    let passes = if kind == Kind::Server { 1 } else { 4 };
    let overdue = last_read.values().map(|at| reads - at).max().unwrap();
    let slack = 2 * READ / 40;
    // A key may be the first of one pass and the last of the next.
    assert!(
        longest <= 2 * passes * KEYS + slack,
        "{longest} reads between two of a key"
    );
    assert!(
        overdue <= 2 * passes * KEYS + slack,
        "{overdue} reads since that of a key"
    );
    assert!(
        oldest <= 11 * (passes * KEYS + slack),
        "a value is {oldest} updates old"
    );
    assert_eq!(server.stats().lagged, 0);
}
