//! Publishing, following and resuming over two nodes.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sse_core::Decoded;
use sse_net::{
    Engine, EngineError, EngineNotice, Event, EventId, Hub, HubConfig, PublishError, Retention,
    Start, Subscription, WhenQueueFull,
};
#[cfg(feature = "http")]
use sse_net::{Responder, Transport, testing::RawClient};
#[cfg(feature = "http")]
use tokio::io::duplex;
use tokio::time::{sleep, timeout};

use crate::common::config;
#[cfg(feature = "http")]
use crate::common::http;
use crate::node::Node;
use crate::proxy::Proxy;
use crate::server::{Redis, wait_for};

#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_one_node_publishes_reaches_the_clients_of_the_other() {
    let redis = Redis::start(&[]);
    let [a, b] = [
        Node::connect(&redis.url()).await,
        Node::connect(&redis.url()).await,
    ];
    let mut client = b.client();
    assert_eq!(client.get("/news,inbox").await.unwrap().status(), 200);
    let mut ids = Vec::new();
    let long = "x".repeat(100_000);
    for (topic, data) in [
        ("news", "one"),
        ("inbox", &long),
        ("other", "not this"),
        ("news", "two"),
    ] {
        ids.push(a.publish(topic, data).await);
    }
    assert!(ids.is_sorted());
    for (data, id) in [("one", ids[0]), (&*long, ids[1]), ("two", ids[3])] {
        let event = client.event().await.unwrap();
        assert_eq!(
            (event.data(), event.last_event_id()),
            (data, &*id.to_string())
        );
    }
    // It resumes on the other node, which has not heard of one of the topics.
    let mut client = a.resume("/news,inbox,other", &ids[0].to_string()).await;
    for data in [&*long, "not this", "two"] {
        assert_eq!(client.event().await.unwrap().data(), data);
    }
    let snapshot = a.hub.engine_snapshot().unwrap();
    assert!(snapshot.is_ready);
    assert_eq!(
        (
            snapshot.stored,
            snapshot.gaps,
            snapshot.lost,
            snapshot.skipped
        ),
        (4, 0, 0, 0)
    );
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_client_resumes_with_an_id_of_which_the_node_has_not_heard() {
    let redis = Redis::start(&[]);
    let [a, b] = [
        Node::connect(&redis.url()).await,
        Node::connect(&redis.url()).await,
    ];
    a.publish("news", "one").await;
    let _client = b.follow("/news").await;
    for number in 0..20 {
        // The other node does not follow this topic, so it has not heard of the ID.
        let seen = a.publish("elsewhere", "hey").await;
        let mut client = b.resume("/news", &seen.to_string()).await;
        let data = number.to_string();
        a.publish("news", &data).await;
        let event = client.event().await.unwrap();
        assert_eq!((event.event(), event.data()), ("message", &*data));
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_client_that_was_away_for_too_long_receives_a_gap_event() {
    let redis = Redis::start(&[]);
    let hub = || HubConfig::from(Retention::events(1).backlog(Duration::ZERO, 0));
    let a = Node::with(&redis.url(), hub(), config()).await;
    let first = a.publish("news", "0").await;
    for number in 1..300 {
        a.publish("news", &number.to_string()).await;
    }
    let length: usize = redis.call(&["XLEN", "sse:{hub}:topic:news"]);
    assert!(length < 200, "the stream is trimmed: {length}");
    // On both nodes: one has received all events, the other reads the retained ones.
    let b = Node::with(&redis.url(), hub(), config()).await;
    for node in [&a, &b] {
        let mut client = node.resume("/news", &first.to_string()).await;
        assert_eq!(client.event().await.unwrap().event(), "gap");
        assert_eq!(client.event().await.unwrap().data(), "299");
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_key_stores_an_event_once() {
    let redis = Redis::start(&[]);
    let [a, b] = [
        Node::connect(&redis.url()).await,
        Node::connect(&redis.url()).await,
    ];
    let mut ids = Vec::new();
    for node in [&a, &b, &a] {
        let topic = node.hub.topic("orders").unwrap();
        let published = topic
            .publish_once("order 7", &Event::new().data("one book"))
            .unwrap();
        ids.push(published.stored().await.unwrap());
        // The server forgets its functions.
        redis.call::<()>(&["FUNCTION", "FLUSH"]);
    }
    assert!(ids[0] == ids[1] && ids[1] == ids[2]);
    assert_eq!(redis.call::<usize>(&["XLEN", "sse:{hub}:topic:orders"]), 1);
    let ttl: i64 = redis.call(&["TTL", "sse:{hub}:once:order 7"]);
    assert!((3500..=3600).contains(&ttl), "{ttl}");
    let error = a
        .hub
        .topic("a")
        .unwrap()
        .publish_once("a\nb", &Event::new());
    assert_eq!(error, Err(PublishError::InvalidKey));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_full_memory_refuses_events_and_nothing_else() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    let mut client = node.follow("/news").await;
    node.publish("news", "one").await;
    redis.call::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let published = node
        .hub
        .topic("news")
        .unwrap()
        .publish(&Event::new().data("two"));
    let error = published.unwrap().stored().await.unwrap_err();
    assert!(!error.may_be_stored());
    let source = error.source().unwrap().downcast_ref();
    assert!(matches!(source, Some(EngineError::Refused(reason)) if reason.starts_with("OOM")));
    // Followers and new topics continue, and nothing is half done.
    let _other = node.follow("/other").await;
    assert_eq!(node.hub.engine_snapshot().unwrap().connects, 1);
    // So does a node that connects anew.
    redis.call::<()>(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_until(|| node.hub.engine_snapshot().unwrap().connects == 2).await;
    wait_until(|| node.is_ready()).await;
    redis.call::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    node.publish("news", "three").await;
    assert_eq!(client.event().await.unwrap().data(), "one");
    assert_eq!(client.event().await.unwrap().data(), "three");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn other_programs_publish_with_the_function_and_their_own_entries_are_skipped() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    let mut client = node.follow("/news").await;
    redis.load_functions();
    let publish = |channel: &str, frame: &str| redis.store("news", channel, frame);
    let ours = "events:news";
    let first = publish(ours, "event: hey\ndata: one\n\n");
    publish(ours, "data: two frames\n\ndata: in one\n\n");
    publish(ours, "id: 9\ndata: an ID\n\n");
    redis.call::<()>(&["PUBLISH", "sse:{hub}:events:news", "hello"]);
    redis.call::<()>(&["XADD", "sse:{hub}:topic:other", "*", "a", "b"]);
    publish(ours, "data: two\n\n");
    let event = client.event().await.unwrap();
    assert_eq!(
        (event.event(), event.last_event_id()),
        ("hey", &*first.to_string())
    );
    assert_eq!(client.event().await.unwrap().data(), "two");
    node.client().get("/other").await.unwrap();
    assert_eq!(node.hub.engine_snapshot().unwrap().skipped, 4);

    // An event that no node is notified of is read at the next one, before anything is missed.
    publish("elsewhere", "data: three\n\n");
    publish(ours, "data: four\n\n");
    assert_eq!(client.event().await.unwrap().data(), "three");
    assert_eq!(client.event().await.unwrap().data(), "four");
    assert_eq!(node.hub.engine_snapshot().unwrap().filled, 1);

    // If another topic moves the mark meanwhile, it is a gap.
    node.client().get("/other").await.unwrap();
    publish("elsewhere", "data: five\n\n");
    node.publish("other", "hey").await;
    let topic = node.hub.topic("other").unwrap();
    let mut other = topic.subscribe(Start::Last(1));
    let read = timeout(Duration::from_secs(5), other.read_bytes())
        .await
        .unwrap();
    assert!(read.unwrap().is_some());
    publish(ours, "data: six\n\n");
    let end = loop {
        match client.next().await {
            Ok(Some(Decoded::Event(event))) => panic!("{} came after a hole", event.data()),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break client.last_event_id().to_owned(),
        }
    };
    let mut client = node.resume("/news", &end).await;
    let event = client.event().await.unwrap();
    assert_eq!(event.event(), "gap", "{event:?} after {end}");
    publish(ours, "data: seven\n\n");
    assert_eq!(client.event().await.unwrap().data(), "seven");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn subscriptions_read_a_topic_that_is_new_to_the_node() {
    let redis = Redis::start(&[]);
    let [a, b] = [
        Node::connect(&redis.url()).await,
        Node::connect(&redis.url()).await,
    ];
    let ids = [
        a.publish("x", "1").await,
        a.publish("y", "2").await,
        a.publish("x", "3").await,
    ];
    let [x, y] = [b.hub.topic("x").unwrap(), b.hub.topic("y").unwrap()];
    let asked = EventId::new(ids[0].to_string()).unwrap();
    b.hub.ready([&x, &y], Some(&asked)).await;
    let mut subscription = Subscription::to([&x, &y], asked, Start::Live).unwrap();
    let mut bytes = Vec::new();
    while bytes.len() < 60 {
        subscription.read(&mut bytes).await.unwrap();
    }
    let expected = format!("id: {}\ndata: 2\n\nid: {}\ndata: 3\n\n", ids[1], ids[2]);
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);

    // Without waiting, it begins at the mark and misses nothing either.
    let z = b.hub.topic("z").unwrap();
    let mut live = z.subscribe(Start::Live);
    a.publish("z", "4").await;
    let bytes = timeout(Duration::from_secs(5), live.read_bytes())
        .await
        .unwrap();
    assert!(bytes.unwrap().unwrap().ends_with(b"data: 4\n\n"));
}

#[cfg(feature = "http")]
#[tokio::test]
#[ignore = "needs redis-server"]
async fn bodies_and_answers_wait_for_the_engine_at_most_for_a_time() {
    let mut redis = Redis::start(&[]);
    let publisher = Node::connect(&redis.url()).await;
    let first = publisher.publish("news", "one").await;
    publisher.publish("news", "two").await;
    let engine = Engine::redis(&redis.url()).unwrap();
    let engine = engine.max_wait(Duration::from_millis(300));
    let hub = Hub::connect(HubConfig::default(), engine).await.unwrap();
    let (followed, responder) = (hub.clone(), Responder::new(config()));
    let net = http::serve(false, move |request| {
        let topic = followed.topic(&request.uri().path()[1..]).unwrap();
        responder.follow(&request, &topic)
    });
    let follow = async |path: &str| {
        let (ours, theirs) = duplex(1 << 20);
        net.accept(Transport::new(theirs));
        let mut client = RawClient::new(ours);
        let head = client.resume(path, &first.to_string()).await.unwrap();
        assert_eq!(head.status(), 200);
        client
    };
    // This node has not read the topic, and not heard of the ID.
    let mut client = follow("/news").await;
    assert_eq!(client.event().await.unwrap().data(), "two");

    redis.kill();
    let mut client = follow("/other").await;
    let end = async {
        while let Ok(Some(decoded)) = client.next().await {
            assert!(!matches!(decoded, Decoded::Event(_)), "{decoded:?}");
        }
    };
    timeout(Duration::from_secs(5), end).await.unwrap();
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn notices_say_why_the_engine_is_away_and_what_is_not_stored() {
    let mut redis = Redis::start(&[]);
    let notices = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&notices);
    let engine = Engine::redis(&redis.url()).unwrap();
    let engine = engine.on_notice(move |notice| {
        noted.lock().unwrap().push(notice.clone());
        panic!("a callback that panics");
    });
    let hub = Hub::connect(HubConfig::default(), engine).await.unwrap();
    let has = async |is_meant: fn(&EngineNotice) -> bool| {
        for _ in 0..1000 {
            if notices.lock().unwrap().iter().any(is_meant) {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("no such notice: {:?}", notices.lock().unwrap());
    };
    has(|notice| matches!(notice, EngineNotice::Connected(_))).await;
    redis.call::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let topic = hub.topic("news").unwrap();
    topic.publish(&Event::new().data("hey")).unwrap(); // Nobody waits for it.
    has(|notice| {
        matches!(notice, EngineNotice::NotStored(topic, 1, EngineError::Refused(_)) if topic == "news")
    })
    .await;
    let end = topic.finish(None).unwrap();
    has(|notice| {
        matches!(notice, EngineNotice::NotFinished(topic, EngineError::Refused(_)) if topic == "news")
    })
    .await;
    assert!(!end.stored().await.unwrap_err().may_be_stored());
    let snapshot = hub.engine_snapshot().unwrap();
    assert_eq!((snapshot.failed, snapshot.away_reason), (2, None));
    redis.kill();
    has(
        |notice| matches!(notice, EngineNotice::Disconnected(reason) if reason.contains("refused")),
    )
    .await;
    let snapshot = hub.engine_snapshot().unwrap();
    assert!(!snapshot.is_ready);
    assert!(snapshot.away_reason.unwrap().contains("refused"));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_an_engine_does_not_support_is_an_error() {
    let redis = Redis::start(&[]);
    let node = Node::connect(&redis.url()).await;
    let topic = node.hub.topic("a").unwrap();
    assert_eq!(topic.publish(&Event::new().id(7)), Err(PublishError::OwnId));
}

pub(crate) async fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not happen within 30 s");
}

/// For instance, a temporary runtime that has only connected the hub.
#[test]
#[ignore = "needs redis-server"]
fn events_fail_after_the_runtime_of_their_hub_has_ended() {
    let redis = Redis::start(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = Engine::redis(&redis.url()).unwrap();
    let hub = runtime.block_on(Hub::connect(HubConfig::default(), engine));
    let hub = hub.unwrap();
    let topic = hub.topic("news").unwrap();
    let publish = || topic.publish(&Event::new().data("hey")).unwrap();
    let snapshot = || hub.engine_snapshot().unwrap();
    wait_for(|| snapshot().is_ready);
    redis.signal("-STOP");
    // Two pipelines are under way at a time, so the third event stays in the queue.
    let sent = [(); 2].map(|()| {
        let sent = publish();
        wait_for(|| snapshot().queued == 0);
        (sent, true)
    });
    let queued = publish();
    drop(runtime);
    let late = publish();
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    other.block_on(async {
        for (published, may_be_stored) in sent.into_iter().chain([(queued, false), (late, false)]) {
            let stored = timeout(Duration::from_secs(20), published.stored()).await;
            let error = stored.expect("it resolves").unwrap_err();
            assert_eq!(error.may_be_stored(), may_be_stored, "{error}");
        }
    });
    let reason = snapshot().away_reason;
    assert_eq!(
        (snapshot().is_ready, reason.as_deref()),
        (false, Some("the runtime of the hub has ended"))
    );
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn an_end_that_is_dropped_from_a_full_queue_is_reported() {
    let redis = Redis::start(&[]);
    let notices = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&notices);
    let engine = Engine::redis(&redis.url())
        .unwrap()
        .queue_bytes(4000)
        .when_full(WhenQueueFull::DropOldest)
        .on_notice(move |notice| noted.lock().unwrap().push(notice.clone()));
    let hub = Hub::connect(HubConfig::default(), engine).await.unwrap();
    let topic = hub.topic("news").unwrap();
    while !hub.engine_snapshot().unwrap().is_ready {
        sleep(Duration::from_millis(5)).await;
    }
    redis.signal("-STOP");
    let event = Event::new().data("x".repeat(1000));
    topic.publish(&event).unwrap();
    while hub.engine_snapshot().unwrap().queued > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    let end = topic.finish(None).unwrap();
    for _ in 0..5 {
        topic.publish(&event).unwrap();
    }
    let error = end.stored().await.unwrap_err();
    assert!(!error.may_be_stored(), "{error}");
    let dropped = EngineNotice::NotFinished("news".to_owned(), EngineError::Dropped);
    assert!(notices.lock().unwrap().contains(&dropped));
}

/// All of its handles are dropped at once, and it is not an interruption.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_dropped_hub_sends_what_is_queued_and_reports_nothing() {
    let redis = Redis::start(&[]);
    for count in 1..=20 {
        let notices = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&notices);
        let engine = Engine::redis(&redis.url())
            .unwrap()
            .on_notice(move |notice| noted.lock().unwrap().push(notice.clone()));
        let hub = Hub::connect(HubConfig::default(), engine).await.unwrap();
        let topic = hub.topic("news").unwrap();
        let event = Event::new().data("hey");
        topic.publish(&event).unwrap().stored().await.unwrap();
        topic.publish(&event).unwrap();
        drop((topic, hub));
        let ended = async {
            while Arc::strong_count(&notices) > 1 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = timeout(Duration::from_secs(20), ended).await;
        ended.expect("the tasks of the hub end");
        let notices = notices.lock().unwrap();
        assert!(
            matches!(notices[..], [EngineNotice::Connected(_)]),
            "{notices:?}"
        );
        let stored: usize = redis.call(&["XLEN", "sse:{hub}:topic:news"]);
        assert_eq!(stored, 2 * count);
    }
}

/// The server refuses the first event of a pipeline, and could store the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server"]
async fn events_that_a_server_refuses_for_a_time_keep_their_order() {
    let redis = Arc::new(Redis::start(&[]));
    let proxy = Proxy::to(redis.port).await;
    let node = Node::connect(&proxy.url()).await;
    let mut client = node.follow("/news").await;
    node.publish("news", "zero").await;
    let needs_replicas = |count| ["CONFIG", "SET", "min-replicas-to-write", count];
    let refused = |redis: &Redis| redis.info("errorstats", "errorstat_NOREPLICAS");
    redis.call::<()>(&needs_replicas("1"));
    let news = node.hub.topic("news").unwrap();
    // In two pipelines.
    let texts: Vec<_> = (1..=40).map(|number| format!("event {number}")).collect();
    let publish = |text: &String| news.publish(&Event::new().data(text)).unwrap();
    let published: Vec<_> = texts.iter().map(publish).collect();
    wait_for(|| !refused(&redis).is_empty());
    let server = Arc::clone(&redis);
    proxy.pause_after(b"data: event 1\n\n\r\n", move || {
        // A new connection, so the server has read what was sent before.
        server.call::<()>(&needs_replicas("0"));
    });
    for published in &published {
        published.stored().await.unwrap();
    }
    assert_eq!(client.event().await.unwrap().data(), "zero");
    for text in &texts {
        assert_eq!(client.event().await.unwrap().data(), text);
    }
}
