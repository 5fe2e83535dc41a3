//! Writes, lingering and counters.

use std::time::Duration;

use sse_core::{Event, Retention};
use sse_net::{Start, Topic, TopicConfig};
use tokio::time::Instant;

use crate::SECOND;
use crate::common::{
    Kind, WIDE, after_retry, config, over_all_servers, pass, publish, published, serve_topic,
    settle,
};

over_all_servers! {
    events_share_a_write,
    the_first_event_is_sent_at_once_and_later_ones_linger,
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

async fn the_first_event_is_sent_at_once_and_later_ones_linger(kind: Kind) {
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

#[tokio::test(start_paused = true)]
async fn the_furthest_lag_is_measured() {
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
