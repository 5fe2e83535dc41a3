//! The backlog of a topic: a client that keeps up gets every event, however short the replay
//! window, and can resume from its position.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ops::Range;
use std::time::Duration;

use common::{Kind, config, is_jittered, over_all_servers, pass, publish, published};
use sse_core::{Event, Retention};
use sse_net::{Start, Topic};

over_all_servers! {
    bursts_beyond_the_replay_window_reach_every_client,
    a_new_client_gets_the_replay_window_and_a_resumed_one_the_backlog,
    the_first_block_has_an_id_that_resumes,
    the_first_block_has_the_publishers_last_id,
}

async fn bursts_beyond_the_replay_window_reach_every_client(kind: Kind) {
    for (retention, burst) in [
        (Retention::events(1), 2),
        (Retention::events(10), 11),
        (Retention::default(), 1_001),
    ] {
        for publish in [publish, publish_all] {
            let topic = Topic::new(retention);
            let (server, net, ends) = kind.serve_topic(config(), &topic, Start::Live);
            let mut clients = Vec::new();
            for _ in 0..3 {
                let mut client = net.get("/").await;
                client.follow().await;
                clients.push(client);
            }
            for ids in [0..burst, burst..2 * burst, 2 * burst..3 * burst] {
                publish(&topic, ids.clone());
                for client in &mut clients {
                    assert_eq!(client.read().await, published(ids.clone()), "{retention:?}");
                }
                pass(Duration::from_secs(1)).await;
            }
            assert_eq!(ends.take(), [], "{retention:?}");
            assert_eq!(server.stats().gaps, 0);
        }
    }
}

fn publish_all(topic: &Topic, ids: Range<u32>) {
    let events = Vec::from_iter(ids.map(|id| Event::new().id(id).data("d")));
    topic.publish_all(&events).unwrap();
}

async fn a_new_client_gets_the_replay_window_and_a_resumed_one_the_backlog(kind: Kind) {
    let topic = Topic::new(Retention::events(2));
    publish(&topic, 0..10);
    let (server, net, _) = kind.serve_topic(config(), &topic, Start::Earliest);
    assert_eq!(net.get("/").await.follow().await, published(8..10));
    assert_eq!(net.resume("/", "3").await.follow().await, published(4..10));
    let stats = server.stats();
    assert_eq!((stats.resumed, stats.gaps, stats.unknown_ids), (1, 0, 0));
}

async fn the_first_block_has_an_id_that_resumes(kind: Kind) {
    for past in [0, 3] {
        for start in [Start::Live, Start::Last(1), Start::Earliest] {
            let topic = Topic::new(Retention::default());
            let publish = |count| {
                for _ in 0..count {
                    topic.publish(&Event::new().data("d")).unwrap();
                }
            };
            publish(past);
            let (server, net, _) = kind.serve_topic(config(), &topic, start);
            let mut client = net.get("/").await;
            let (id, mut events) = first_block(&client.read().await);
            let id = id.unwrap_or_else(|| panic!("no ID: {past}, {start:?}"));
            publish(2);
            events += &client.read().await;
            drop(client);

            let mut back = net.resume("/", &id).await;
            let (again, missed) = first_block(&back.read().await);
            assert_eq!((again, missed), (Some(id), events), "{past}, {start:?}");
            let stats = server.stats();
            assert_eq!((stats.resumed, stats.gaps, stats.unknown_ids), (1, 0, 0));
        }
    }
}

async fn the_first_block_has_the_publishers_last_id(kind: Kind) {
    for (past, start, id) in [
        (3, Start::Live, Some("2")),
        (3, Start::Last(1), Some("1")),
        (3, Start::Earliest, None),
    ] {
        let topic = Topic::new(Retention::default());
        publish(&topic, 0..past);
        let (_server, net, _) = kind.serve_topic(config(), &topic, start);
        let (found, _) = first_block(&net.get("/").await.read().await);
        assert_eq!(found.as_deref(), id, "{past}, {start:?}");
    }
}

/// Splits a response into the ID of its first block, which also has `retry`, and the rest.
#[track_caller]
fn first_block(response: &str) -> (Option<String>, String) {
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let (block, rest) = body.split_once("\n\n").unwrap();
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let id = field("id: ");
    assert!(field("retry: ").is_some_and(is_jittered), "{block:?}");
    assert_eq!(block.lines().count(), 1 + id.iter().count(), "{block:?}");
    (id.map(str::to_owned), rest.to_owned())
}
