//! What is sent again, what is not, and how settings reach the server.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sse_net::{
    Engine, EngineError, EngineNotice, Event, Hub, HubConfig, PublishError, Published, Retention,
    Topic,
};

use crate::basics::wait_until;
use crate::common::config;
use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::Redis;

fn once(topic: &Topic) -> Result<Published, PublishError> {
    topic.publish_once("key", &Event::new().data("hey"))
}

fn ordinary(topic: &Topic) -> Result<Published, PublishError> {
    topic.publish(&Event::new().data("hey"))
}

/// The server stores the event, and the connection breaks before the reply.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn an_event_is_sent_again_only_if_it_has_a_key() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    type Publish = fn(&Topic) -> Result<Published, PublishError>;
    let cases: [(&str, Publish, bool); 2] = [("a", once, true), ("b", ordinary, false)];
    for (name, publish, is_repeated) in cases {
        let topic = node.hub.topic(name).unwrap();
        node.publish(name, "before").await;
        let cutting = proxy.clone();
        proxy.pause_after(b"data: hey\n\n\r\n", move || {
            cutting.mute(); // The reply may be there already.
            cutting.cut();
        });
        let stored = publish(&topic).unwrap().stored().await;
        match stored {
            Ok(_) => assert!(is_repeated),
            Err(error) => {
                assert!(!is_repeated && error.may_be_stored(), "{error}");
                let source = error.source().unwrap().downcast_ref();
                assert_eq!(source, Some(&EngineError::Unconfirmed));
            }
        }
        node.publish(name, "after").await;
        let stream = format!("sse:{{hub}}:topic:{name}");
        assert_eq!(redis.call::<usize>(&["XLEN", &stream]), 3, "{name}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_refuses_events_is_asked_every_tenth_of_a_second() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    node.publish("news", "one").await;
    redis.call::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let news = node.hub.topic("news").unwrap();
    let begun = Instant::now();
    let published = ordinary(&news).unwrap();
    let refused = || {
        let count = redis.info("errorstats", "errorstat_NOREPLICAS");
        let count = count.strip_prefix("count=").map(str::parse);
        count.map_or(0, Result::unwrap)
    };
    wait_until(|| refused() > 0).await;
    let first = refused();
    wait_until(|| refused() >= first + 3).await;
    let most = begun.elapsed().as_millis() / 100 + 1;
    assert!(
        u128::from(refused() as u64) <= most + 10,
        "{} in {most}",
        refused()
    );
    redis.call::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    published.stored().await.unwrap();
}

/// Redis refuses some, and the function computes with all of them.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn every_time_can_be_set() {
    let redis = Redis::start(&[]);
    let long = Duration::from_secs(1 << 54);
    for (key, topic, age) in [
        (Duration::MAX, Duration::MAX, long),
        (Duration::ZERO, Duration::ZERO, Duration::ZERO),
    ] {
        redis.call::<()>(&["FLUSHALL"]);
        let engine = Engine::redis(&redis.url()).unwrap();
        let engine = engine.key_expiry(key).topic_expiry(topic);
        let retention = Retention::events(10).age(age);
        let hub = Hub::connect(retention, engine).await.unwrap();
        let news = hub.topic("news").unwrap();
        for _ in 0..40 {
            ordinary(&news).unwrap().stored().await.unwrap();
        }
        once(&news).unwrap().stored().await.unwrap();
    }
}

/// It is too long for a notification, so nodes read it from the stream.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_long_event_reaches_clients_of_a_topic_that_retains_none() {
    let redis = Redis::start(&[]);
    let retention = Retention::events(0).backlog(Duration::ZERO, 0);
    let node = Node::with(&redis.url(), HubConfig::from(retention), config()).await;
    let mut client = node.follow("/news").await;
    let long = "x".repeat(100_000);
    for _ in 0..3 {
        node.publish("news", &long).await;
        assert_eq!(client.event().await.unwrap().data(), long);
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_dropped_hub_ends_also_while_the_engine_is_away() {
    let mut redis = Redis::start(&[]);
    let notices = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&notices);
    let engine = Engine::redis(&redis.url()).unwrap();
    let engine = engine.on_notice(move |notice| noted.lock().unwrap().push(notice.clone()));
    let hub = Hub::connect(HubConfig::default(), engine).await.unwrap();
    let snapshot = || hub.engine_snapshot().unwrap();
    wait_until(|| snapshot().is_ready).await;
    redis.kill();
    wait_until(|| !snapshot().is_ready).await;
    ordinary(&hub.topic("news").unwrap()).unwrap();
    drop(hub);
    // The callback is dropped with the last task.
    wait_until(|| Arc::strong_count(&notices) == 1).await;
    let closed = EngineNotice::NotStored("news".to_owned(), 1, EngineError::Closed);
    assert!(notices.lock().unwrap().contains(&closed));
}

/// As many as are read and subscribed to in several steps.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn all_of_many_topics_and_events_are_read_and_followed() {
    let redis = Arc::new(Redis::start(&[]));
    redis.load_functions();
    let mut first = None;
    for number in 0..200 {
        let id = redis.store("long", "events:long", &format!("data: {number}\n\n"));
        first.get_or_insert(id);
    }
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut client = node.resume("/long", &first.unwrap().to_string()).await;
    for number in 1..200 {
        assert_eq!(client.event().await.unwrap().data(), number.to_string());
    }
    let topics: Vec<_> = (0..1200).map(|number| format!("topic{number}")).collect();
    let topics = topics.iter().map(|name| node.hub.topic(name).unwrap());
    let topics: Vec<_> = topics.collect();
    node.hub.ready(&topics, None).await;
    proxy.cut();
    wait_until(|| node.is_ready() && node.hub.engine_snapshot().unwrap().connects == 2).await;
    for topic in &topics {
        let name = topic.name().unwrap();
        redis.store(name, &format!("events:{name}"), "data: hey\n\n");
    }
    let received = || node.hub.engine_snapshot().unwrap().received;
    wait_until(|| received() == 200 + 1200).await;
    let snapshot = node.hub.engine_snapshot().unwrap();
    assert_eq!((snapshot.gaps, snapshot.filled), (0, 0));
}

/// Its memory and its subscriptions do not grow with the topics that it has ever used.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_node_drops_topics_and_leaves_their_channels() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    // More than are named in a command. They have no events, and nobody holds them.
    for part in 0..6 {
        let topics = (0..100).map(|number| format!("topic{part}/{number}"));
        let topics = topics.map(|name| node.hub.topic(name).unwrap());
        let topics: Vec<_> = topics.collect();
        node.hub.ready(&topics, None).await;
    }
    // Each topic that is created looks at two others.
    for number in 0..1000 {
        let topic = node.hub.topic(format!("other{number}")).unwrap();
        node.hub.ready([&topic], None).await;
    }
    assert!(node.hub.topics() < 10, "{} topics", node.hub.topics());
    let followed = || -> usize {
        let names: Vec<String> = redis.call(&["PUBSUB", "CHANNELS", "sse:{hub}:events:*"]);
        names.len()
    };
    wait_until(|| followed() < 10).await;
}

/// It looks for holes every 5 s, and is woken by nothing else.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn an_idle_node_costs_some_commands_every_five_seconds() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    node.publish("news", "one").await;
    let begun = Instant::now();
    let calls = |name: &str| -> u64 {
        let stats = redis.info("commandstats", &format!("cmdstat_{name}"));
        let calls = stats
            .split(',')
            .find_map(|part| part.strip_prefix("calls="));
        calls.map_or(0, |calls| calls.parse().unwrap())
    };
    let compared = calls("zrangebyscore");
    let before = calls("fcall");
    wait_until(|| calls("zrangebyscore") > compared).await;
    // The node has ticked before that, and its clock begins anew with each.
    assert!(node.hub.engine_snapshot().unwrap().tick_age < begun.elapsed());
    let most = 10 + begun.elapsed().as_secs();
    assert!(
        calls("fcall") - before <= most,
        "{} in {most} s",
        calls("fcall") - before
    );
}
