//! Topics that linger, in real time: eviction depends on a clock that a test cannot pause. The
//! time limits distinguish "never" from "soon".

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{Kind, WIDE, config, published, serve_topic};
use sse_core::Event;
use sse_net::{Start, Topic, TopicConfig};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// A batch of many chunks is sent at once; only later events linger.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_not_slowed_down_by_the_linger() {
    const LINGER: Duration = Duration::from_secs(1);
    let topic = Topic::new(TopicConfig::default().linger(LINGER));
    let (_server, net, _) = serve_topic(config(), &topic, Start::Live);
    let mut client = net.get("/").await;
    client.wait().await;
    let mut subscription = topic.subscribe(Start::Live);
    let data = "x".repeat(100);
    let batch: Vec<_> = (0..8000)
        .map(|id| Event::new().id(id).data(&data))
        .collect();
    topic.publish_all(&batch).unwrap();
    topic.finish(None).unwrap();

    let began = Instant::now();
    let mut copied = Vec::new();
    let len = subscription.copy_to(&mut copied).await.unwrap();
    let mut sent = vec![0; usize::try_from(len).unwrap()];
    client.pipe.read_exact(&mut sent).await.unwrap();
    assert!(began.elapsed() < 5 * LINGER, "{:?}", began.elapsed());
    assert_eq!(sent, copied);
    assert_eq!(copied.split(|byte| *byte == b'\n').count(), 3 * 8000 + 1);
}

/// The timer is also set by a turn after one that was cut short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lingering_event_is_sent_though_the_shard_is_busy() {
    const CLIENTS: usize = 500;
    let topic = Topic::new(TopicConfig::default().linger(Duration::from_millis(10)));
    let (_server, net, _) = Kind::Server.serve_topic(config(), &topic, Start::Live);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = net.ask(WIDE, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.wait().await;
        clients.push(client);
    }
    // A shard that misses its timer is woken by its tick, after 125 ms on average.
    let mut delays = Vec::new();
    for round in 0..15 {
        common::publish(&topic, 2 * round..2 * round + 1);
        tokio::time::sleep(Duration::from_millis(3)).await;
        let began = Instant::now();
        common::publish(&topic, 2 * round + 1..2 * round + 2);
        let expected = published(2 * round..2 * round + 2);
        for client in &mut clients {
            let mut bytes = vec![0; expected.len()];
            let read = client.pipe.read_exact(&mut bytes);
            timeout(Duration::from_secs(5), read)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        }
        delays.push(began.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    delays.sort();
    assert!(delays[7] < Duration::from_millis(80), "{delays:?}");
}
