//! What other nodes store while a node catches up.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sse_core::LogId;
use tokio::task::yield_now;

use crate::basics::wait_until;
use crate::node::behind_proxy;
use crate::server::Redis;

/// The first command of a reading, which follows a tick.
const READING: &[u8] = b"floor";

/// A tick. The node has subscribed before.
const TICK: &[u8] = b"_tick";

/// The node is notified of them, and the mark is before them.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn events_between_the_tick_and_the_first_reading_of_a_topic_are_not_missed() {
    // Others may even evict them meanwhile.
    for retained in ["9", "1", "0"] {
        let (redis, proxy, node) = behind_proxy().await;
        let first = redis.store("news", "events:news", "data: zero\n\n");
        let server = Arc::clone(&redis);
        proxy.pause_after(READING, move || {
            for data in ["one", "two"] {
                server.store("news", "events:news", &format!("data: {data}\n\n"));
            }
            let end = ["end", "data: three\n\n"];
            server.try_publish("news", "events:news", &end).unwrap();
            server.call::<()>(&["XTRIM", "sse:{hub}:topic:news", "MAXLEN", retained]);
        });
        let mut client = node.resume("/news", &first.to_string()).await;
        for data in ["one", "two", "three"] {
            assert_eq!(
                client.event().await.unwrap().data(),
                data,
                "{retained} retained"
            );
        }
        assert_eq!(client.event().await.unwrap().event(), "close");
        assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 0);
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn events_between_the_tick_and_the_reading_of_a_known_topic_are_not_missed() {
    let (redis, proxy, node) = behind_proxy().await;
    let mut client = node.follow("/news").await;
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    proxy.switch(0);
    proxy.cut();
    redis.store("news", "events:news", "data: two\n\n");
    let server = Arc::clone(&redis);
    proxy.pause_after(READING, move || {
        server.store("news", "events:news", "data: three\n\n");
        let end = ["end", "data: four\n\n"];
        server.try_publish("news", "events:news", &end).unwrap();
    });
    proxy.switch(redis.port);
    for data in ["two", "three", "four"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
    assert_eq!(client.event().await.unwrap().event(), "close");
}

/// Long events are read from the stream when the node is notified of them. It reads the second one
/// with the first, and is notified of it later.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_long_event_is_delivered_that_comes_while_another_is_read() {
    let (redis, proxy, node) = behind_proxy().await;
    let mut client = node.follow("/news").await;
    node.publish("news", "zero").await;
    assert_eq!(client.event().await.unwrap().data(), "zero");
    let long = |data: &str| format!("data: {data}{}\n\n", "x".repeat(70_000));
    let (server, second) = (Arc::clone(&redis), long("two"));
    let stored = Arc::new(OnceLock::new());
    let id = Arc::clone(&stored);
    proxy.pause_after(b"XRANGE", move || {
        let second = server.store("news", "events:elsewhere", &second);
        id.set(second).unwrap();
    });
    let first = redis.store("news", "events:news", &long("one"));
    assert!(client.event().await.unwrap().data().starts_with("one"));
    let message = format!("{first} {}", stored.get().unwrap());
    redis.call::<()>(&["PUBLISH", "sse:{hub}:events:news", &message]);
    assert!(client.event().await.unwrap().data().starts_with("two"));
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 0);
}

/// FLUSHALL erases an epoch of which notifications may still wait in the node.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_notification_of_an_epoch_that_does_not_exist_is_dropped() {
    let (redis, proxy, node) = behind_proxy().await;
    let mut client = node.follow("/news").await;
    let first = node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    let other = LogId::new(first.millis() + 1, first.sequence() ^ 1);
    let notify = move |redis: &Redis| {
        let message = format!("{first} {other}\ndata: not stored\n\n");
        redis.call::<()>(&["PUBLISH", "sse:{hub}:events:news", &message]);
    };
    notify(&redis);
    redis.store("news", "events:news", "data: two\n\n");
    assert_eq!(client.event().await.unwrap().data(), "two");
    // Before the tick of a topic that is new to the node.
    let server = Arc::clone(&redis);
    proxy.pause_after(TICK, move || {
        notify(&server);
        server.store("news", "events:news", "data: three\n\n");
    });
    node.client().get("/other").await.unwrap();
    assert_eq!(client.event().await.unwrap().data(), "three");
    let snapshot = node.hub.engine_snapshot().unwrap();
    assert_eq!((snapshot.gaps, snapshot.connects), (0, 1));
}

/// The node has read the topic's keys before it hears of the other epoch.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_keyed_topic_is_read_again_if_an_epoch_begins_while_it_is_read_first() {
    for lose in [&["DEL", "sse:{hub}:hub"][..], &["FLUSHALL"]] {
        let (redis, proxy, node) = behind_proxy().await;
        node.publish("news", "one").await;
        let server = Arc::clone(&redis);
        proxy.pause_after(TICK, move || {
            server.call::<()>(lose);
            let value = ["value", "EUR", "9", "9999", "0", "data: 1\n\n"];
            server
                .try_publish("prices", "events:prices", &value)
                .unwrap();
        });
        let prices = node.hub.keyed_topic("prices").unwrap();
        node.hub.ready([&prices], None).await;
        assert!(prices.get("EUR").is_some(), "{lose:?}");
    }
}

/// Redis sends no notification twice, but a proxy may.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_notification_that_comes_twice_is_skipped() {
    let (redis, _proxy, node) = behind_proxy().await;
    let mut client = node.follow("/news").await;
    let first = node.publish("news", "one").await;
    let second = redis.store("news", "events:news", "data: two\n\n");
    let message = format!("{first} {second}\ndata: two\n\n");
    redis.call::<()>(&["PUBLISH", "sse:{hub}:events:news", &message]);
    redis.store("news", "events:news", "data: three\n\n");
    for data in ["one", "two", "three"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 0);
}

/// The node has asked for the last ID before the event of which the client knows was stored.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_client_waits_for_a_tick_after_its_request() {
    let (redis, proxy, node) = behind_proxy().await;
    let _client = node.follow("/news").await;
    node.publish("news", "one").await;
    let (server, stored) = (Arc::clone(&redis), Arc::new(OnceLock::new()));
    let id = Arc::clone(&stored);
    proxy.pause_after(READING, move || {
        let elsewhere = server.store("elsewhere", "events:elsewhere", "data: hey\n\n");
        server.signal("-STOP");
        id.set(elsewhere).unwrap();
    });
    let mut late = node.client();
    let reading = late.get("/late");
    let resuming = async {
        while stored.get().is_none() {
            yield_now().await;
        }
        let mut client = node.client();
        let id = stored.get().unwrap().to_string();
        let resumed = client.resume("/news", &id);
        let continuing = async {
            // The handler has the request by then, because nothing is on its way but in memory.
            for _ in 0..1000 {
                yield_now().await;
            }
            redis.signal("-CONT");
        };
        let (resumed, ()) = tokio::join!(resumed, continuing);
        resumed.unwrap();
        client
    };
    let (reading, mut client) = tokio::join!(reading, resuming);
    reading.unwrap();
    node.publish("news", "two").await;
    let event = client.event().await.unwrap();
    assert_eq!((event.event(), event.data()), ("message", "two"));
}

/// The node still hears of a topic that its hub has dropped, but keeps no events of it.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_topic_that_is_used_again_is_read_anew() {
    let (redis, proxy, node) = behind_proxy().await;
    let news = node.hub.topic("news").unwrap();
    node.hub.ready([&news], None).await;
    drop(news);
    // Each topic that is created looks at two others.
    for number in 0.. {
        let other = node.hub.topic(format!("other{number}")).unwrap();
        node.hub.ready([&other], None).await;
        if node.hub.topics() <= number {
            break;
        }
    }
    let first = redis.store("news", "events:news", "data: one\n\n");
    let server = Arc::clone(&redis);
    // It is subscribed to already, so it hears of this before it reads.
    proxy.pause_after(b"events:news", move || {
        server.store("news", "events:news", "data: two\n\n");
    });
    let mut client = node.resume("/news", &first.to_string()).await;
    let event = client.event().await.unwrap();
    assert_eq!((event.event(), event.data()), ("message", "two"));
    redis.store("news", "events:news", "data: three\n\n");
    assert_eq!(client.event().await.unwrap().data(), "three");
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 0);
}

/// The tick came, so only the reading shows it.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_stands_still_while_a_topic_is_read_is_left() {
    let (redis, proxy, node) = behind_proxy().await;
    node.publish("news", "one").await;
    let server = Arc::clone(&redis);
    proxy.pause_after(READING, move || server.signal("-STOP"));
    let mut client = node.client().limit(Duration::from_secs(30));
    let reading = client.get("/late");
    let continuing = async {
        wait_until(|| !node.is_ready()).await;
        redis.signal("-CONT");
    };
    let (reading, ()) = tokio::join!(reading, continuing);
    reading.unwrap();
    node.publish("late", "two").await;
    assert_eq!(client.event().await.unwrap().data(), "two");
}

/// Another program may send anything to the channel of a node.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_tick_that_was_not_asked_for_is_skipped() {
    let (redis, proxy, node) = behind_proxy().await;
    let mut client = node.follow("/news").await;
    let first = node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    let server = Arc::clone(&redis);
    proxy.pause_after(TICK, move || {
        let nodes: Vec<String> = server.call(&["PUBSUB", "CHANNELS", "sse:{hub}:node:*"]);
        let epoch: String = server.call(&["HGET", "sse:{hub}:hub", "first"]);
        let later = LogId::new(first.millis() + 60_000, first.sequence());
        server.call::<()>(&["PUBLISH", &nodes[0], &format!("5 {later} {epoch}")]);
    });
    node.client().get("/other").await.unwrap();
    node.publish("news", "two").await;
    let event = client.event().await.unwrap();
    assert_eq!((event.event(), event.data()), ("message", "two"));
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 0);
}

/// Its keys and its last ID are read in one step.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_value_that_is_stored_while_the_keys_are_read_comes_once() {
    let (redis, proxy, node) = behind_proxy().await;
    node.publish("news", "one").await;
    let server = Arc::clone(&redis);
    let put = |redis: &Redis, frame: &str| {
        let value = ["value", "EUR", "9", "9999", "0", frame];
        redis
            .try_publish("prices", "events:prices", &value)
            .unwrap();
    };
    proxy.pause_after(b"sse:{hub}:state:", move || put(&server, "data: 1\n\n"));
    let prices = node.hub.keyed_topic("prices").unwrap();
    node.hub.ready([&prices], None).await;
    let mut client = node.follow("/prices").await;
    put(&redis, "data: 2\n\n");
    let mut received = vec![client.event().await.unwrap().data().to_owned()];
    if received[0] == "1" {
        received.push(client.event().await.unwrap().data().to_owned());
    }
    assert_eq!(received.last().unwrap(), "2", "{received:?}");
    let snapshot = node.hub.engine_snapshot().unwrap();
    assert_eq!((snapshot.gaps, snapshot.skipped), (0, 0));
}
