//! Keyed topics over two nodes.

use std::error::Error;
use std::time::Duration;

use sse_core::{KeyedFull, KeyedRetention};
use sse_net::{
    EngineError, Event, HubConfig, KeyedTopicError, PublishError, Published, Retention, Topic,
    TopicConfig,
};
use tokio::time::sleep;

use crate::basics::wait_until;
use crate::common::config;
use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

/// Returns a node with this limit, and its keyed topic `prices`.
async fn node(url: &str, keyed: KeyedRetention) -> (Node, Topic) {
    let topics = TopicConfig::from(Retention::events(1).backlog(Duration::ZERO, 0));
    let node = Node::with(url, HubConfig::from(topics.keyed(keyed)), config()).await;
    let prices = node.hub.keyed_topic("prices").unwrap();
    node.hub.ready([&prices], None).await;
    (node, prices)
}

/// Publishes the newest event of a key, and returns its ID once it is stored.
async fn put(topic: &Topic, key: &str, data: &str) -> String {
    let published = topic.publish_for(key, &Event::new().data(data)).unwrap();
    published.stored().await.unwrap().to_string()
}

async fn error_of(published: Result<Published, PublishError>) -> EngineError {
    let error = published.unwrap().stored().await.unwrap_err();
    assert!(!error.may_be_stored());
    error
        .source()
        .unwrap()
        .downcast_ref::<EngineError>()
        .unwrap()
        .clone()
}

/// Waits until a topic has these keys.
async fn has_keys(topic: &Topic, keys: &[&str]) {
    for _ in 0..1000 {
        if topic
            .keys()
            .iter()
            .map(|key| &**key)
            .eq(keys.iter().copied())
        {
            return;
        }
        sleep(Duration::from_millis(5)).await;
    }
    panic!("the keys are {:?}, and not {keys:?}", topic.keys());
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn every_node_has_the_newest_event_of_each_key() {
    let redis = Redis::start(&[]);
    let (a, prices_a) = node(&redis.url(), KeyedRetention::default()).await;
    let (b, prices_b) = node(&redis.url(), KeyedRetention::default()).await;
    let mut live = b.follow("/prices").await;
    let long = "x".repeat(100_000);
    let first = put(&prices_a, "EUR", "EUR 1").await;
    put(&prices_b, "the long one", &long).await;
    let seen = put(&prices_a, "USD", "USD 1").await;
    put(&prices_b, "EUR", "EUR 2").await;
    for data in ["EUR 1", &long, "USD 1", "EUR 2"] {
        assert_eq!(live.event().await.unwrap().data(), data);
    }
    for topic in [&prices_a, &prices_b] {
        has_keys(topic, &["the long one", "USD", "EUR"]).await;
        assert_eq!(topic.get("EUR").unwrap().data(), "EUR 2");
    }
    let removed = prices_a.remove("USD").unwrap().unwrap();
    let removed = removed.stored().await.unwrap().to_string();
    let nothing = prices_b.remove("USD").unwrap().unwrap();
    assert_eq!(nothing.stored().await.unwrap().to_string(), removed);
    let removal = live.event().await.unwrap();
    assert_eq!(
        (removal.data(), removal.last_event_id()),
        ("USD", &*removed)
    );

    // A node that comes later, and clients that join or come back.
    let (c, prices_c) = node(&redis.url(), KeyedRetention::default()).await;
    has_keys(&prices_c, &["the long one", "EUR"]).await;
    assert!(prices_c.get("USD").is_none());
    assert_eq!(prices_c.get("the long one").unwrap().data(), long);
    for node in [&a, &b, &c] {
        let mut client = node.follow("/prices").await;
        for data in [&*long, "EUR 2", "USD"] {
            assert_eq!(client.event().await.unwrap().data(), data);
        }
        let mut client = node.resume("/prices", &seen).await;
        for data in ["EUR 2", "USD"] {
            assert_eq!(client.event().await.unwrap().data(), data);
        }
        let mut client = node.resume("/prices", &first).await;
        assert_eq!(client.event().await.unwrap().data(), long);
        let snapshot = node.hub.engine_snapshot().unwrap();
        assert_eq!((snapshot.gaps, snapshot.skipped), (0, 0));
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn limits_are_checked_by_the_engine_and_removals_make_room() {
    let redis = Redis::start(&[]);
    let retention = KeyedRetention::default().keys(2).bytes(10_000);
    let (a, prices_a) = node(&redis.url(), retention).await;
    let (_b, prices_b) = node(&redis.url(), retention).await;
    put(&prices_a, "first", "1").await;
    let seen = put(&prices_b, "second", "1").await;
    let third = prices_a.publish_for("third", &Event::new().data("1"));
    let full = EngineError::Full(KeyedFull::Keys { max: 2 });
    assert_eq!(error_of(third).await, full);
    let long = Event::new().data("x".repeat(9_950));
    let full = EngineError::Full(KeyedFull::Bytes { max: 10_000 });
    assert_eq!(error_of(prices_b.publish_for("second", &long)).await, full);
    put(&prices_a, "second", &"x".repeat(9_700)).await;
    put(&prices_b, "second", "2").await;

    // The removal is dropped for the next key: a client that has missed it begins anew.
    let removed = prices_a.remove("first").unwrap().unwrap();
    let removed = removed.stored().await.unwrap().to_string();
    put(&prices_b, "third", "3").await;
    assert_eq!(redis.call::<usize>(&["HLEN", "sse:{hub}:state:prices"]), 2);
    let known: String = redis.call(&["HGET", "sse:{hub}:keyed", "prices"]);
    assert!(known.starts_with(&format!("{removed} ")), "{known}");
    let (c, prices_c) = node(&redis.url(), retention).await;
    has_keys(&prices_c, &["second", "third"]).await;
    let mut client = c.resume("/prices", &seen).await;
    let gap = client.event().await.unwrap();
    assert!(gap.event() == "gap" && gap.data().contains(r#""clear":true"#));
    for data in ["2", "3"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
    let mut client = a.resume("/prices", &removed).await;
    assert_eq!(client.event().await.unwrap().data(), "3");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_topic_is_keyed_on_all_nodes_or_on_none() {
    let redis = Redis::start(&[]);
    let (a, prices) = node(&redis.url(), KeyedRetention::default()).await;
    put(&prices, "EUR", "1").await;
    a.publish("news", "one").await;
    let b = Node::connect(&redis.url()).await;
    let published = b.hub.topic("prices").unwrap().publish(&Event::new());
    assert_eq!(error_of(published).await, EngineError::Keyed);
    let news = b.hub.keyed_topic("news").unwrap();
    let published = news.publish_for("key", &Event::new());
    assert_eq!(error_of(published).await, EngineError::NotKeyed);
    let refused = a
        .hub
        .topic("news")
        .unwrap()
        .publish_for("key", &Event::new());
    assert_eq!(refused, Err(PublishError::NotKeyed));
    assert_eq!(prices.publish(&Event::new()), Err(PublishError::Keyed));
    assert_eq!(
        a.hub.keyed_topic("news").unwrap_err(),
        KeyedTopicError::NotKeyed
    );
    let end = prices.finish(None).unwrap();
    end.stored().await.unwrap();
    put(&a.hub.keyed_topic("more").unwrap(), "key", "1").await;
    let late = prices.publish_for("EUR", &Event::new());
    assert!(late.is_err() || error_of(late).await == EngineError::Finished);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_node_that_was_away_reads_the_newest_events_again() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let (away, prices_away) = node(&proxy.url(), KeyedRetention::default()).await;
    let (_b, prices) = node(&redis.url(), KeyedRetention::default()).await;
    let mut client = away.follow("/prices").await;
    for key in ["a", "b", "c"] {
        put(&prices, key, "old").await;
        assert_eq!(client.event().await.unwrap().data(), "old");
    }
    proxy.switch(0);
    proxy.cut();
    // More than the stream keeps.
    for number in 0..300 {
        put(&prices, "b", &number.to_string()).await;
    }
    prices.remove("a").unwrap().unwrap().stored().await.unwrap();
    proxy.switch(redis.port);
    assert_eq!(client.event().await.unwrap().data(), "299");
    assert_eq!(client.event().await.unwrap().data(), "a");
    has_keys(&prices_away, &["c", "b"]).await;
    put(&prices_away, "d", "new").await;
    assert_eq!(client.event().await.unwrap().data(), "new");

    // Everything is lost: the client begins anew.
    redis.call::<()>(&["FLUSHALL"]);
    put(&prices, "e", "newer").await;
    while client.next().await.is_ok_and(|next| next.is_some()) {}
    let last = client.last_event_id().to_owned();
    let mut client = away.resume("/prices", &last).await;
    assert!(
        client
            .event()
            .await
            .unwrap()
            .data()
            .contains(r#""clear":true"#)
    );
    assert_eq!(client.event().await.unwrap().data(), "newer");
    has_keys(&prices_away, &["e"]).await;
}

/// Another program deletes the notification of a value, and the node has passed it.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_in_a_keyed_topic_clears_the_clients_also_after_the_server_has_lost_its_end() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let proxy = Proxy::to(redis.port).await;
    let (node, prices) = node(&proxy.url(), KeyedRetention::default()).await;
    let mut client = node.follow("/prices,other").await;
    put(&prices, "EUR", "1").await;
    assert_eq!(client.event().await.unwrap().data(), "1");
    let value = ["value", "USD", "9", "9999", "0", "data: 2\n\n"];
    redis
        .try_publish("prices", "events:elsewhere", &value)
        .unwrap();
    let passed = node.publish("other", "hey").await;
    assert_eq!(client.event().await.unwrap().data(), "hey");
    put(&prices, "GBP", "3").await;
    // It may be sent what is newest before it is told to clear it.
    while client.next().await.is_ok_and(|next| next.is_some()) {}
    for is_lost in [false, true] {
        if is_lost {
            proxy.switch(0);
            proxy.cut();
            redis.call::<()>(&["HSET", "sse:{hub}:hub", "last", &passed.to_string()]);
            proxy.switch(redis.port);
            let snapshot = || node.hub.engine_snapshot().unwrap();
            wait_until(|| snapshot().connects == 2 && snapshot().is_ready).await;
        }
        let mut client = node.resume("/prices,other", &passed.to_string()).await;
        let gap = client.event().await.unwrap();
        assert!(gap.data().contains(r#""clear":true"#), "{gap:?}, {is_lost}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_keyed_topic_is_finished_on_nodes_that_read_it_later() {
    let redis = Redis::start(&[]);
    let (_a, prices) = node(&redis.url(), KeyedRetention::default()).await;
    put(&prices, "EUR", "1").await;
    prices.finish(None).unwrap().stored().await.unwrap();
    let (b, later) = node(&redis.url(), KeyedRetention::default()).await;
    assert!(later.is_finished());
    let mut client = b.follow("/prices").await;
    assert_eq!(client.event().await.unwrap().data(), "1");
    assert_eq!(client.event().await.unwrap().event(), "close");
}

/// Removals are dropped at the next event, if they are older than the setting.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_removal_is_retained_for_its_time() {
    let redis = Redis::start(&[]);
    for (age, count) in [(Duration::from_secs(3600), 2), (Duration::ZERO, 1)] {
        redis.call::<()>(&["FLUSHALL"]);
        let retention = KeyedRetention::default().removals(age);
        let (node, prices) = node(&redis.url(), retention).await;
        put(&prices, "EUR", "1").await;
        prices
            .remove("EUR")
            .unwrap()
            .unwrap()
            .stored()
            .await
            .unwrap();
        let removed: u64 = redis.call(&["ZSCORE", "sse:{hub}:removals:prices", "EUR"]);
        while redis.millis() <= removed {}
        put(&prices, "USD", "2").await;
        let keys: usize = redis.call(&["HLEN", "sse:{hub}:state:prices"]);
        assert_eq!(keys, count, "{age:?}");
        has_keys(&prices, &["USD"]).await;
        let mut client = node.follow("/prices").await;
        let first = if count == 2 { "EUR" } else { "2" };
        assert_eq!(client.event().await.unwrap().data(), first);
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_node_reads_the_keys_again_if_nothing_is_left_in_the_stream() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let (away, prices_away) = node(&proxy.url(), KeyedRetention::default()).await;
    let (_b, prices) = node(&redis.url(), KeyedRetention::default()).await;
    put(&prices, "EUR", "1").await;
    has_keys(&prices_away, &["EUR"]).await;
    proxy.switch(0);
    proxy.cut();
    put(&prices, "USD", "2").await;
    redis.call::<()>(&["XTRIM", "sse:{hub}:topic:prices", "MAXLEN", "0"]);
    proxy.switch(redis.port);
    has_keys(&prices_away, &["EUR", "USD"]).await;
    assert_eq!(away.hub.engine_snapshot().unwrap().gaps, 0);
}
