//! The memory of a node that reads long streams.

use std::time::Duration;

use sse_net::{Engine, Event, Hub, Retention, Start};
use tokio::runtime::Builder;

use crate::basics::wait_until;
use crate::proxy::Proxy;
use crate::server::Redis;

/// The streams have 60 MB each, because Redis does not trim by bytes.
#[test]
#[ignore = "needs redis-server"]
fn a_long_stream_costs_a_node_little_more_than_it_retains() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let frame = format!("data: {}\n\n", "x".repeat(200_000));
    let store = |topic: &str| {
        for _ in 0..300 {
            redis.store(topic, &format!("events:{topic}"), &frame);
        }
    };
    store("old");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let retention = Retention::events(100_000).bytes(1 << 20);
    let retention = retention.backlog(Duration::ZERO, 0);
    let used = allocation_counter::measure(|| {
        runtime.block_on(async {
            let proxy = Proxy::to(redis.port).await;
            let engine = Engine::redis(&proxy.url()).unwrap();
            let hub = Hub::connect(retention, engine).await.unwrap();
            let snapshot = || hub.engine_snapshot().unwrap();
            // One is read first, and one after the node was away.
            let topics = ["old", "new"].map(|name| hub.topic(name).unwrap());
            hub.ready(&topics, None).await;
            assert!((5..50).contains(&snapshot().received), "{:?}", snapshot());
            let before = snapshot().received;
            proxy.switch(0);
            proxy.cut();
            wait_until(|| !snapshot().is_ready).await;
            store("new");
            proxy.switch(redis.port);
            wait_until(|| snapshot().is_ready).await;
            assert_eq!(snapshot().received, before + 300);
        });
    });
    assert!(used.bytes_max < 24_000_000, "{used:?}");
}

/// Short events, beside whose bytes a stream stores more than a log does.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_node_that_reads_a_topic_first_retains_as_much_of_it_as_others() {
    let redis = Redis::start(&[]);
    let retention = Retention::events(100_000).bytes(10_000);
    let retention = retention.backlog(Duration::ZERO, 0);
    let connect = || Hub::connect(retention, Engine::redis(&redis.url()).unwrap());
    let (early, late) = (connect().await.unwrap(), connect().await.unwrap());
    let topic = early.topic("news").unwrap();
    early.ready([&topic], None).await;
    let events = (0..1000).map(|number| Event::new().data(number.to_string()));
    let published = topic.publish_all(&Vec::from_iter(events)).unwrap();
    published.stored().await.unwrap();
    wait_until(|| early.engine_snapshot().unwrap().received == 1000).await;
    let mut read = Vec::new();
    for hub in [early, late] {
        let topic = hub.topic("news").unwrap();
        hub.ready([&topic], None).await;
        let mut events = topic.subscribe(Start::Earliest);
        let bytes = events.read_bytes().await.unwrap().unwrap();
        let text = str::from_utf8(&bytes).unwrap();
        let first = text.lines().find(|line| line.starts_with("data: "));
        read.push(first.unwrap().to_owned());
    }
    assert_eq!(read[0], read[1]);
}
