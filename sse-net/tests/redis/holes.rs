//! Holes: events of which a node is not notified.

use std::io::ErrorKind;
use std::time::Duration;

use sse_core::{Decoded, LogId};
use sse_net::testing::RawClient;
use sse_net::{Event, Start};
use tokio::io::DuplexStream;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::basics::wait_until;
use crate::node::{Node, behind_proxy};
use crate::proxy::Proxy;
use crate::server::Redis;

/// The command that reads topics anew. Its bare name is also in the functions, which are loaded.
const READING: &[u8] = b"\r\nXREVRANGE\r\n";

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_reported_also_if_the_link_breaks_meanwhile() {
    let (redis, proxy, node) = behind_proxy().await;
    let mut client = node.follow("/news").await;
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
    let end = end_of(&mut client, "").await;
    assert!(proxy.has_cut());
    let mut client = node.resume("/news", &end).await;
    let gap = client.event().await.unwrap();
    assert_eq!(gap.event(), "gap", "{gap:?} after {end}");
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 1);
}

/// The client's ID is known in the new epoch, so only the gap tells it what it has missed.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_reported_also_if_an_epoch_begins_meanwhile() {
    let (redis, proxy, node) = behind_proxy().await;
    let mut client = node.follow("/news,other").await;
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    redis.store("news", "events:elsewhere", "data: two\n\n");
    // The client passes it.
    node.publish("other", "hey").await;
    assert_eq!(client.event().await.unwrap().data(), "hey");
    proxy.switch(0);
    proxy.cut_at(b"HMGET");
    redis.store("news", "events:news", "data: three\n\n");
    while !proxy.has_cut() {
        yield_now().await;
    }
    redis.call::<()>(&["DEL", "sse:{hub}:hub"]);
    proxy.switch(redis.port);
    let end = end_of(&mut client, "three").await;
    let mut client = node.resume("/news,other", &end).await;
    assert_eq!(client.event().await.unwrap().event(), "gap");
}

/// The server has lost their last events. Topics with subscribers are then read twice.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn streams_end_also_if_the_link_breaks_while_topics_are_read_anew() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut clients = Vec::new();
    // More than are read at a time.
    for name in (0..40).map(|number| format!("topic{number}")) {
        let mut client = node.follow(&format!("/{name}")).await;
        node.publish(&name, "one").await;
        assert_eq!(client.event().await.unwrap().data(), "one");
        clients.push(client);
    }
    proxy.switch(0);
    proxy.cut();
    redis.call::<()>(&["FLUSHALL"]);
    let (second, third) = (proxy.clone(), proxy.clone());
    proxy.pause_after(READING, move || {
        second.pause_after(READING, move || third.cut_at(READING));
    });
    proxy.switch(redis.port);
    for mut client in clients {
        while let Some(next) = client.next().await.expect("the stream ends") {
            assert!(!matches!(next, Decoded::Event(_)), "{next:?}");
        }
    }
    assert!(proxy.has_cut());
}

/// A node reads from another server what the first one has, and returns before it has read all.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn topics_are_read_again_if_the_first_server_returns_while_they_are_read_anew() {
    let [first, other] = [Redis::start(&[]), Redis::start(&[])];
    let proxy = Proxy::to(first.port).await;
    let node = Node::connect(&proxy.url()).await;
    // More than are read at a time.
    let names: Vec<_> = (0..40).map(|number| format!("topic{number}")).collect();
    let mut last = LogId::default();
    for name in &names {
        last = node.publish(name, "one").await;
    }
    for name in &names {
        node.publish(name, "two").await;
    }
    let late = node.hub.topic("late").unwrap();
    for name in &names {
        // As if its events were older.
        first.call::<()>(&["ZADD", "sse:{hub}:changed", "1000", name]);
    }
    proxy.switch(0);
    proxy.cut();
    let (returned, has_returned) = std::sync::mpsc::channel();
    let (pausing, port) = (proxy.clone(), first.port);
    proxy.pause_after(READING, move || {
        let returning = pausing.clone();
        pausing.pause_after(READING, move || {
            returning.switch(port);
            returning.cut();
            returned.send(()).unwrap();
        });
    });
    proxy.switch(other.port);
    while has_returned.try_recv().is_err() {
        yield_now().await;
    }
    late.publish(&Event::new().data("hey"))
        .unwrap()
        .stored()
        .await
        .unwrap();
    let mut client = node.client();
    let path = format!("/{},late", names.join(","));
    client.resume(&path, &last.to_string()).await.unwrap();
    let mut got = Vec::new();
    for _ in 0..=names.len() {
        got.push(client.event().await.unwrap().data().to_owned());
    }
    let mut expected = vec!["two"; names.len()];
    expected.push("hey");
    assert_eq!(got, expected);
}

/// Returns the last event ID at the end of a stream without further events than `last`.
pub(crate) async fn end_of(client: &mut RawClient<DuplexStream>, last: &str) -> String {
    let reading = async {
        loop {
            match client.next().await {
                Ok(Some(Decoded::Event(event))) => {
                    assert_eq!(event.data(), last, "it came after a hole");
                }
                Ok(Some(_)) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => {}
                Ok(None) | Err(_) => break,
            }
        }
    };
    let ended = timeout(Duration::from_secs(20), reading).await;
    ended.expect("the stream ends");
    client.last_event_id().to_owned()
}

/// Lets the server lose the events after `last`, and waits until the node is connected again.
async fn lose_end(redis: &Redis, proxy: &Proxy, node: &Node, last: LogId) {
    proxy.switch(0);
    proxy.cut();
    redis.call::<()>(&["HSET", "sse:{hub}:hub", "last", &last.to_string()]);
    proxy.switch(redis.port);
    wait_until(|| node.hub.engine_snapshot().unwrap().connects == 2 && node.is_ready()).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_topic_is_read_also_if_the_link_breaks_while_it_is_read_first() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    node.publish("news", "one").await;
    proxy.cut_at(READING);
    let mut client = node.follow("/late").await;
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
    let mut client = node.follow("/news").await;
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

/// Nothing follows that would show it, neither in its topic nor in another.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_found_in_an_idle_hub() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let node = Node::connect(&redis.url()).await;
    let mut client = node.follow("/news").await;
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    redis.store("news", "events:elsewhere", "data: two\n\n");
    let end = end_of(&mut client, "").await;
    let mut client = node.resume("/news", &end).await;
    assert_eq!(client.event().await.unwrap().event(), "gap");
    assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 1);
}

/// A gap with the last ID of the hub would not be one for this client.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_reported_to_a_client_at_the_last_id() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let node = Node::connect(&redis.url()).await;
    let mut client = node.follow("/news,other").await;
    let first = node.publish("news", "one").await;
    let one = client.event().await.unwrap();
    assert_eq!(
        (one.data(), one.last_event_id()),
        ("one", &*first.to_string())
    );
    redis.store("news", "events:elsewhere", "data: two\n\n");
    let last = node.publish("other", "hey").await;
    let hey = client.event().await.unwrap();
    assert_eq!(
        (hey.data(), hey.last_event_id()),
        ("hey", &*last.to_string())
    );
    let end = end_of(&mut client, "").await;
    assert_eq!(end, last.to_string());
    let mut client = node.resume("/news,other", &end).await;
    assert_eq!(client.event().await.unwrap().event(), "gap");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_notification_that_comes_after_later_ones_is_a_hole() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let node = Node::connect(&redis.url()).await;
    let mut client = node.follow("/news,other").await;
    let first = node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    let second = redis.store("news", "events:elsewhere", "data: two\n\n");
    node.publish("other", "hey").await;
    assert_eq!(client.event().await.unwrap().data(), "hey");
    let late = format!("{first} {second}\ndata: two\n\n");
    redis.call::<()>(&["PUBLISH", "sse:{hub}:events:news", &late]);
    let end = end_of(&mut client, "").await;
    let mut client = node.resume("/news,other", &end).await;
    assert_eq!(client.event().await.unwrap().event(), "gap");
}

/// The client has passed it with an ID that the server still knows when it has lost later ones.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_reported_also_after_the_server_has_lost_its_end() {
    let (redis, proxy, node) = behind_proxy().await;
    let news = node.hub.topic("news").unwrap();
    node.publish("news", "one").await;
    redis.store("news", "events:elsewhere", "data: two\n\n");
    let passed = node.publish("other", "hey").await;
    let last = node.publish("other", "hey").await;
    redis.store("news", "events:news", "data: three\n\n");
    wait_until(|| node.hub.engine_snapshot().unwrap().gaps == 1).await;
    node.publish("other", "lost").await;
    lose_end(&redis, &proxy, &node, last).await;
    assert!(node.hub.engine_snapshot().unwrap().lost > 0);
    for passed in [passed, last] {
        let mut client = node.resume("/news,other", &passed.to_string()).await;
        assert_eq!(client.event().await.unwrap().event(), "gap", "{passed}");
    }
    drop(news);
}

/// The node reads the topic first after others have evicted its events.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_a_stream_has_evicted_is_a_gap() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    for (topic, len) in [("some", "1"), ("all", "0")] {
        let first = node.publish(topic, "one").await;
        node.publish(topic, "two").await;
        let last = node.publish(topic, "three").await;
        let stream = format!("sse:{{hub}}:topic:{topic}");
        redis.call::<()>(&["XTRIM", &stream, "MAXLEN", len]);
        let other = Node::connect(&redis.url()).await;
        let path = format!("/{topic}");
        let mut client = other.resume(&path, &first.to_string()).await;
        assert_eq!(client.event().await.unwrap().event(), "gap");
        if topic == "some" {
            assert_eq!(client.event().await.unwrap().data(), "three");
        }
        // A client that has everything is told nothing.
        let mut client = other.resume(&path, &last.to_string()).await;
        other.publish(topic, "four").await;
        assert_eq!(client.event().await.unwrap().data(), "four");
    }
}

/// The server has lost its last events, and goes on in the same epoch.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn past_epochs_stay_known_after_the_server_has_lost_its_end() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let first = node.publish("news", "one").await;
    redis.call::<()>(&["HSET", "sse:{hub}:hub", "primary", "another"]);
    let second = node.publish("news", "two").await;
    assert_ne!(first.epoch(), second.epoch());
    node.publish("news", "three").await;
    let mut client = node.resume("/news", &first.to_string()).await;
    for data in ["two", "three"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
    lose_end(&redis, &proxy, &node, second).await;
    assert_eq!(node.hub.engine_snapshot().unwrap().lost, 1);
    let mut client = node.resume("/news", &first.to_string()).await;
    assert_eq!(client.event().await.unwrap().data(), "two");
}

/// The server answers commands, and its notifications do not arrive any more.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_subscription_that_is_silent_is_replaced() {
    let (redis, proxy, node) = behind_proxy().await;
    let mut client = node.client().limit(Duration::from_secs(20));
    client.get("/news").await.unwrap();
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    proxy.mute();
    redis.store("news", "events:news", "data: two\n\n");
    assert_eq!(client.event().await.unwrap().data(), "two");
    assert_eq!(node.hub.engine_snapshot().unwrap().connects, 2);
}

/// The node was away meanwhile.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_is_evicted_before_a_node_returns_is_a_gap() {
    let (redis, proxy, node) = behind_proxy().await;
    for (topic, len) in [("some", "1"), ("all", "0")] {
        let path = format!("/{topic}");
        let mut client = node.follow(&path).await;
        node.publish(topic, "one").await;
        assert_eq!(client.event().await.unwrap().data(), "one");
        proxy.switch(0);
        proxy.cut();
        let channel = format!("events:{topic}");
        for data in ["two", "three"] {
            redis.store(topic, &channel, &format!("data: {data}\n\n"));
        }
        let stream = format!("sse:{{hub}}:topic:{topic}");
        redis.call::<()>(&["XTRIM", &stream, "MAXLEN", len]);
        proxy.switch(redis.port);
        let end = end_of(&mut client, "").await;
        let mut client = node.resume(&path, &end).await;
        assert_eq!(client.event().await.unwrap().event(), "gap");
        if topic == "some" {
            assert_eq!(client.event().await.unwrap().data(), "three");
        }
    }
}

/// Its topic has none of the former run's events then, also on a node that has them.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_run_that_is_started_again_begins_anew_on_a_node_that_follows_it() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let node = Node::connect(&redis.url()).await;
    let publish = |kind: &[&str]| redis.try_publish("run", "events:run", kind).unwrap();
    let mut client = node.follow("/run").await;
    let mut tokens = Vec::new();
    for data in ["one", "two"] {
        let token = publish(&["start", "7", "60000", "0", "60000"]);
        let frame = format!("data: {data}\n\n");
        publish(&[&format!("events {token}"), &frame]);
        if data == "one" {
            assert_eq!(client.event().await.unwrap().data(), data);
            publish(&[&format!("end {token}")]);
            while let Ok(Some(_)) = client.next().await {}
        }
        tokens.push(token);
    }
    let mut client = node.resume("/run", &tokens[1]).await;
    assert_eq!(client.event().await.unwrap().data(), "two");
    let mut client = node.resume("/run", &tokens[0]).await;
    assert_eq!(client.event().await.unwrap().event(), "gap");
    assert_eq!(client.event().await.unwrap().data(), "two");
}

/// A comparison looks at all topics that have changed since the one before.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_hole_is_found_in_a_topic_that_was_not_the_last_to_change() {
    let (redis, _proxy, node) = behind_proxy().await;
    let mut client = node.follow("/news").await;
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    let second = redis.store("news", "events:elsewhere", "data: two\n\n");
    let later = LogId::new(second.millis() + 60_000, second.sequence());
    redis.call::<()>(&["HSET", "sse:{hub}:hub", "last", &later.to_string()]);
    node.publish("other", "hey").await;
    let end = end_of(&mut client, "").await;
    let mut client = node.resume("/news", &end).await;
    assert_eq!(client.event().await.unwrap().event(), "gap");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_topic_ends_whose_end_was_not_notified() {
    let (redis, _proxy, node) = behind_proxy().await;
    let news = node.hub.topic("news").unwrap();
    let mut client = node.follow("/news").await;
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    let end = ["end", "data: two\n\n"];
    redis.try_publish("news", "events:elsewhere", &end).unwrap();
    let end = end_of(&mut client, "").await;
    let mut client = node.resume("/news", &end).await;
    for event in ["gap", "close"] {
        assert_eq!(client.event().await.unwrap().event(), event);
    }
    assert!(news.is_finished());
}

/// Of a topic of which nothing is left. The client would pass what it has missed otherwise.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_is_evicted_before_a_node_returns_is_told_before_later_events() {
    let (redis, proxy, node) = behind_proxy().await;
    let news = node.hub.topic("news").unwrap();
    let mut client = node.follow("/news,other").await;
    node.publish("news", "one").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    proxy.switch(0);
    proxy.cut();
    redis.store("news", "events:news", "data: two\n\n");
    redis.try_publish("news", "events:news", &["end"]).unwrap();
    redis.call::<()>(&["XTRIM", "sse:{hub}:topic:news", "MAXLEN", "0"]);
    redis.store("other", "events:other", "data: hey\n\n");
    proxy.switch(redis.port);
    let end = end_of(&mut client, "").await;
    let mut client = node.resume("/news,other", &end).await;
    assert_eq!(client.event().await.unwrap().event(), "gap");
    assert_eq!(client.event().await.unwrap().data(), "hey");
    assert!(news.is_finished());
}

/// The first event of a topic names the floor as the ID before it. It rises when another topic
/// expires, and when the key of the hub is lost.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn the_first_event_of_a_topic_is_no_hole() {
    for is_lost in [false, true] {
        let (redis, proxy, node) = behind_proxy().await;
        let mut client = node.follow("/news,away,other").await;
        let other = node.publish("other", "hey").await;
        assert_eq!(client.event().await.unwrap().data(), "hey");
        if is_lost {
            redis.call::<()>(&["DEL", "sse:{hub}:hub"]);
        } else {
            redis.call::<()>(&["HSET", "sse:{hub}:hub", "floor", &other.to_string()]);
        }
        for data in ["one", "two"] {
            node.publish("news", data).await;
            assert_eq!(client.event().await.unwrap().data(), data);
        }
        proxy.switch(0);
        proxy.cut();
        redis.store("away", "events:away", "data: three\n\n");
        proxy.switch(redis.port);
        assert_eq!(client.event().await.unwrap().data(), "three");
        assert_eq!(node.hub.engine_snapshot().unwrap().gaps, 0);
    }
}
