//! Notices: what an operator hears of, and how often.

use std::sync::{Arc, Mutex};

use sse_net::{Engine, EngineNotice, Event, Hub, HubConfig, WhenQueueFull};

use crate::basics::wait_until;
use crate::proxy::Proxy;
use crate::server::Redis;

type Notices = Arc<Mutex<Vec<EngineNotice>>>;

async fn connect(url: &str, set: impl FnOnce(Engine) -> Engine) -> (Hub, Notices) {
    let notices = Notices::default();
    let noted = Arc::clone(&notices);
    let engine = set(Engine::redis(url).unwrap());
    let engine = engine.on_notice(move |notice| noted.lock().unwrap().push(notice.clone()));
    let hub = Hub::connect(HubConfig::default(), engine).await.unwrap();
    wait_until(|| hub.engine_snapshot().unwrap().is_ready).await;
    (hub, notices)
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn each_interruption_is_reported_once() {
    let redis = Redis::start(&[]);
    let proxy = Proxy::to(redis.port).await;
    let (hub, notices) = connect(&proxy.url(), |engine| engine).await;
    let snapshot = || hub.engine_snapshot().unwrap();
    for connects in 2..4 {
        proxy.switch(0);
        proxy.cut();
        let before = proxy.accepted();
        wait_until(|| proxy.accepted() >= before + 8).await;
        assert!(!snapshot().is_ready && snapshot().away_reason.is_some());
        proxy.switch(redis.port);
        wait_until(|| snapshot().is_ready && snapshot().connects == connects).await;
        assert_eq!(snapshot().away_reason, None);
    }
    // Twice for the same reason.
    for connects in 4..6 {
        redis.call::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        wait_until(|| snapshot().is_ready && snapshot().connects == connects).await;
    }
    let notices = notices.lock().unwrap();
    let is_connected = |notice: &&EngineNotice| matches!(notice, EngineNotice::Connected(_));
    assert_eq!(notices.iter().filter(is_connected).count(), 5);
    for pair in notices.windows(2) {
        assert_ne!(pair[0], pair[1], "{notices:?}");
    }
    assert!(notices.len() <= 5 + 2 * 2 + 2, "{notices:?}");
}

/// Another program has written the topic's key.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_key_that_cannot_be_read_is_reported_once_with_its_topic() {
    let redis = Redis::start(&[]);
    let (hub, notices) = connect(&redis.url(), |engine| engine).await;
    let unreadable = || hub.engine_snapshot().unwrap().unreadable;
    let keys = ["sse:{hub}:topic:news", "sse:{hub}:state:prices"];
    for key in keys {
        redis.call::<()>(&["SET", key, "hey"]);
    }
    let topics = [
        hub.topic("news").unwrap(),
        hub.keyed_topic("prices").unwrap(),
    ];
    wait_until(|| unreadable() == 2).await;
    // It is read again, and refused again.
    wait_until(|| commands(&redis, "xrevrange") > 2 && commands(&redis, "hgetall") > 2).await;
    let reason = "WRONGTYPE Operation against a key holding the wrong kind of value";
    let mut reported = notices.lock().unwrap().clone();
    reported.retain(|notice| matches!(notice, EngineNotice::Unreadable(..)));
    let named = |name: &str| EngineNotice::Unreadable(name.to_owned(), reason.to_owned());
    assert_eq!(reported.len(), 2, "{reported:?}");
    assert!(reported.contains(&named("news")) && reported.contains(&named("prices")));
    for key in keys {
        redis.call::<()>(&["DEL", key]);
    }
    hub.ready(&topics, None).await;
    wait_until(|| unreadable() == 0).await;
    let snapshot = hub.engine_snapshot().unwrap();
    assert_eq!(
        (snapshot.connects, snapshot.gaps, snapshot.is_ready),
        (1, 0, true)
    );
}

/// Returns how often a command has been called, also those that failed.
fn commands(redis: &Redis, name: &str) -> usize {
    let calls = redis.info("commandstats", &format!("cmdstat_{name}"));
    let calls = calls
        .strip_prefix("calls=")
        .and_then(|calls| calls.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn events_that_are_dropped_lost_or_missed_are_counted_and_reported() {
    let redis = Redis::start(&[]);
    redis.load_functions();
    let proxy = Proxy::to(redis.port).await;
    let set = |engine: Engine| {
        let engine = engine.queue_bytes(4000);
        engine.when_full(WhenQueueFull::DropOldest)
    };
    let (hub, notices) = connect(&proxy.url(), set).await;
    let snapshot = || hub.engine_snapshot().unwrap();
    let news = hub.topic("news").unwrap();
    let publish = |data: &str| news.publish(&Event::new().data(data)).unwrap();
    publish("one").stored().await.unwrap();
    let last = publish("two").stored().await.unwrap();
    publish("three").stored().await.unwrap();
    wait_until(|| snapshot().received == 3).await;
    proxy.switch(0);
    proxy.cut();
    wait_until(|| !snapshot().is_ready).await;
    let events = [1, 2].map(|_| Event::new().data("x".repeat(1000)));
    news.publish_all(&events).unwrap();
    let queued = publish(&"y".repeat(2000));
    assert_eq!(snapshot().dropped, 2);
    redis.call::<()>(&["HSET", "sse:{hub}:hub", "last", &last.to_string()]);
    proxy.switch(redis.port);
    wait_until(|| snapshot().is_ready).await;
    let has = |notice: &EngineNotice| notices.lock().unwrap().contains(notice);
    wait_until(|| has(&EngineNotice::Dropped(2)) && has(&EngineNotice::Lost(1))).await;
    assert_eq!(snapshot().lost, 1);
    // A batch is refused as a whole.
    queued.stored().await.unwrap();
    redis.call::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let events = [1, 2, 3].map(|_| Event::new().data("x"));
    news.publish_all(&events)
        .unwrap()
        .stored()
        .await
        .unwrap_err();
    assert_eq!(snapshot().failed, 3);
    redis.call::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    // And what is evicted while the node is away.
    proxy.switch(0);
    proxy.cut();
    wait_until(|| !snapshot().is_ready).await;
    redis.store("news", "events:news", "data: four\n\n");
    redis.call::<()>(&["XTRIM", "sse:{hub}:topic:news", "MAXLEN", "0"]);
    proxy.switch(redis.port);
    wait_until(|| has(&EngineNotice::Gap("news".to_owned()))).await;
    assert_eq!(snapshot().gaps, 1);
}
