//! Bodies that follow a topic.

use std::collections::HashSet;
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use http_body::Body as _;
use sse_core::{Event, EventId, Retention, Upgrader};
use sse_net::{Body, Config, LastEventId, Responder, SlowClients, Start, Topic, TopicConfig};
use tokio::task::coop;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;

use crate::common::{Client, config, http as server, pass, publish, published, settle};
use crate::{SECOND, follow, get, next, poll, responder, skip_retry};

#[tokio::test(start_paused = true)]
async fn events_share_a_frame_and_bodies_share_a_long_event() {
    let topic = Topic::new(Retention::events(100));
    let mut bodies = [follow(&topic), follow(&topic), follow(&topic)];
    for body in &mut bodies {
        assert!(poll(body).is_pending());
    }
    publish(&topic, 0..3);
    let long = Event::new().id(3).data("x".repeat(1 << 20));
    topic.publish(&long).unwrap();
    let mut addresses = HashSet::new();
    for body in &mut bodies {
        let mut next = || match poll(body) {
            Poll::Ready(Some(bytes)) => bytes,
            other => panic!("{other:?}"),
        };
        assert_eq!(next(), published(0..3).as_bytes());
        addresses.insert(next().as_ptr().addr());
    }
    assert_eq!(addresses.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_without_budget_gets_its_heartbeat() {
    let mut body = follow(&Topic::new(Retention::default()));
    let start = Instant::now();
    let heartbeat = poll_fn(|cx| {
        // Use up the budget that the task has before it must yield.
        while coop::has_budget_remaining() {
            if let Poll::Ready(progress) = coop::poll_proceed(cx) {
                progress.made_progress();
            }
        }
        Pin::new(&mut body).poll_frame(cx)
    });
    assert!(timeout(SECOND * 20, heartbeat).await.is_ok());
    assert!(start.elapsed() <= SECOND * 15 + SECOND / 10);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_has_sent_nothing_gets_heartbeats() {
    // Nor does it send the reconnection time of an upgrader.
    let upgrader = Upgrader::new().retry(SECOND);
    let responder = Responder::new(config().upgrader(upgrader)).without_retry();
    let topic = Topic::new(Retention::default());
    for response in [
        responder.follow(&get("/"), &topic),
        responder.stream(&get("/"), async |stream| {
            let _stream = stream;
            pending().await
        }),
    ] {
        let (mut body, start) = (response.into_body(), Instant::now());
        for _ in 0..2 {
            assert_eq!(next(&mut body).await.unwrap().unwrap(), ":\n");
        }
        assert!(start.elapsed() <= SECOND * 30 + SECOND / 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_behind_does_not_linger() {
    let topic = Topic::new(TopicConfig::default().linger(SECOND));
    (0..100).for_each(|_| _ = topic.publish(&Event::new().data("x".repeat(10 << 10))));
    let mut body = responder()
        .follow_from(&get("/"), &topic, Start::Earliest)
        .into_body();
    skip_retry(&mut body);
    let start = Instant::now();
    let mut read = 0;
    while read < 1000 << 10 {
        read += next(&mut body).await.unwrap().unwrap().len();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_converts_into_a_response() {
    let topic = Topic::new(Retention::events(3).backlog(Duration::ZERO, 0));
    publish(&topic, 0..5);
    let gap = "event: gap\ndata: {\"asked\":\"x\",\"from\":\"2\"}\n\n".to_owned();
    for (id, start, preface, expected) in [
        (None, Start::Live, String::new(), None),
        (None, Start::Last(1), String::new(), Some(published(4..5))),
        (Some("3"), Start::Live, String::new(), Some(published(4..5))),
        (Some("x"), Start::Live, gap, Some(published(2..5))),
    ] {
        let id = LastEventId(id.map(|id| EventId::new(id).unwrap()));
        let response = topic.subscribe_after(id, start).into_response();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(
            response.headers()["cache-control"],
            "no-cache, no-transform"
        );
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        let mut body = response.into_body();
        assert_eq!(skip_retry(&mut body), preface);
        match expected {
            Some(events) => assert_eq!(next(&mut body).await.unwrap().unwrap(), events),
            None => assert!(poll(&mut body).is_pending()),
        }
    }
    topic.finish(None).unwrap();
    let response = topic.subscribe(Start::Live).into_response();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn streams_of_events_become_bodies_and_subscriptions_become_streams() {
    let responder = responder();
    let ids = || tokio_stream::iter(0..3u32).chain(tokio_stream::iter(3..5));
    let events = ids().map(|id| Event::new().id(id).data("d"));
    let mut body = responder.events(&get("/"), events).into_body();
    skip_retry(&mut body);
    assert_eq!(
        next(&mut body).await.unwrap().unwrap(),
        published(0..5),
        "in one frame"
    );
    assert!(next(&mut body).await.is_none());

    let results = ids().map(|id| match id {
        4 => Err("no more"),
        _ => Ok(Event::new().id(id).data("d")),
    });
    let mut body = responder.events(&get("/"), results).into_body();
    skip_retry(&mut body);
    assert_eq!(next(&mut body).await.unwrap().unwrap(), published(0..4));
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "no more");

    let topic = Topic::new(Retention::events(3).backlog(Duration::ZERO, 0));
    publish(&topic, 0..2);
    let mut events = topic.subscribe(Start::Earliest).events();
    let mut seen = Vec::new();
    let mut see = |item: Result<sse_core::MessageEvent<'_>, sse_core::Lagged>| {
        seen.push(item.map_or("gap".to_owned(), |event| event.last_event_id().to_owned()));
    };
    see(events.next().await.unwrap());
    publish(&topic, 2..9);
    topic.publish(&Event::new().comment("a comment")).unwrap();
    topic.finish(None).unwrap();
    while let Some(item) = events.next().await {
        see(item);
    }
    assert_eq!(seen, ["0", "1", "gap", "7", "8"]);
    let late = topic
        .subscribe_after(EventId::from(7), Start::Live)
        .events();
    let late = late.map(|event| event.unwrap().last_event_id().to_owned());
    assert_eq!(late.collect::<Vec<_>>().await, ["8"]);
    let lost = topic
        .subscribe_after(EventId::from(1), Start::Live)
        .events();
    assert_eq!(
        lost.map(|event| event.is_ok()).collect::<Vec<_>>().await,
        [false, true, true]
    );
}

#[tokio::test(start_paused = true)]
async fn events_and_their_bytes_are_counted_for_each_body() {
    let (responder, topic) = (responder(), Topic::new(Retention::default()));
    let mut bodies = [(); 2].map(|()| responder.follow(&get("/"), &topic).into_body());
    publish(&topic, 0..3);
    for body in &mut bodies {
        skip_retry(body);
        assert_eq!(next(body).await.unwrap().unwrap(), published(0..3));
    }
    let stats = responder.stats();
    let bytes = 2 * published(0..3).len() as u64;
    assert_eq!((stats.events, stats.bytes), (6, bytes));
}

/// The decoder's limits are for input of others.
#[tokio::test(start_paused = true)]
async fn the_longest_event_of_a_topic_is_decoded() {
    let config = TopicConfig::default().max_event(32 << 20);
    let topic = Topic::new(config.retention(Retention::events(1).bytes(32 << 20)));
    let mut events = topic.subscribe(Start::Live).events();
    let data = "x".repeat(17 << 20);
    topic.publish(&Event::new().data(&data)).unwrap();
    let event = timeout(SECOND, events.next()).await.unwrap();
    assert_eq!(event.unwrap().unwrap().data().len(), data.len());
}

#[tokio::test(start_paused = true)]
async fn resumptions_and_gaps_are_counted() {
    let responder = responder();
    let retention = Retention::events(2).backlog(Duration::ZERO, 0);
    let topic = Topic::new(TopicConfig::from(retention).slow_clients(SlowClients::SkipAhead));
    publish(&topic, 0..2);
    let mut joined = responder.follow(&get("/"), &topic).into_body();
    skip_retry(&mut joined);
    for id in ["0", "unknown"] {
        let mut request = get("/");
        let headers = request.headers_mut();
        headers.insert("last-event-id", id.parse().unwrap());
        drop(responder.follow(&request, &topic));
    }
    publish(&topic, 2..6);
    let gap = next(&mut joined).await.unwrap().unwrap();
    assert!(gap.starts_with("event: gap\n"), "{gap}");
    let stats = responder.stats();
    assert_eq!([stats.joined, stats.resumed, stats.unknown_ids], [1; 3]);
    assert_eq!(stats.gaps, 1);
}

/// Its timer has to wake the task that polls it now.
#[tokio::test(start_paused = true)]
async fn a_body_that_another_task_polls_gets_heartbeats() {
    let topic = Topic::new(Retention::default());
    let mut body = follow(&topic);
    assert!(poll(&mut body).is_pending());
    let began = Instant::now();
    let heartbeat = timeout(SECOND * 20, next(&mut body)).await;
    assert_eq!(heartbeat.unwrap().unwrap().unwrap(), ":\n");
    assert!(
        began.elapsed() < SECOND * 16,
        "only the timeout woke the task"
    );
}

#[tokio::test(start_paused = true)]
async fn heartbeats_have_a_minimum_interval() {
    let responder = Responder::new(Config::default().heartbeat(Duration::ZERO));
    let topic = Topic::new(Retention::default());
    let mut body = responder.follow(&get("/"), &topic).into_body();
    skip_retry(&mut body);
    let start = Instant::now();
    next(&mut body).await.unwrap().unwrap();
    assert!(start.elapsed() >= SECOND / 5);
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_dropped_bodies_leave_nothing_behind() {
    let (responder, topic) = (responder(), Topic::new(Retention::events(10)));
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    let ended = Arc::new(Mutex::new(0));
    for round in 1..=2 {
        let mut bodies = Vec::new();
        for _ in 0..5_000 {
            let ended = Arc::clone(&ended);
            let body = responder.follow(&get("/"), &topic).into_body();
            let mut body = body.on_end(move |_| *ended.lock().unwrap() += 1);
            skip_retry(&mut body);
            assert!(poll(&mut body).is_pending());
            bodies.push(body);
        }
        publish(&topic, 0..1);
        assert_eq!(topic.subscriptions(), 5_000);
        for body in &mut bodies {
            assert_eq!(poll(body), Poll::Ready(Some(published(0..1).into())));
        }
        drop(bodies);
        let stats = responder.stats();
        assert_eq!((stats.connections, stats.client_closed), (0, 5_000 * round));
        assert_eq!(*ended.lock().unwrap(), 5_000 * round);
        assert_eq!(topic.subscriptions(), 0);
    }
    settle().await;
    assert_eq!(tasks.num_alive_tasks(), before);
}

#[tokio::test(start_paused = true)]
async fn clients_that_vanish_leave_nothing_behind() {
    let topic = Topic::new(TopicConfig::default());
    for is_http2 in [false, true] {
        let responder = responder();
        let (shared, mine) = (responder.clone(), topic.clone());
        let net = server::serve(is_http2, move |request| shared.follow(&request, &mine));
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..100 {
            clients.push(net.get("/").await);
        }
        for client in &mut clients {
            client.follow().await;
        }
        assert_eq!(responder.stats().connections, 100);
        // In the middle of an event, while other clients continue.
        topic
            .publish(&Event::new().data("x".repeat(100 << 10)))
            .unwrap();
        settle().await;
        clients.truncate(10);
        pass(SECOND / 20).await;
        let stats = responder.stats();
        assert_eq!((stats.connections, stats.client_closed), (10, 90));
        assert_eq!(topic.subscriptions(), 10);
        for client in &mut clients {
            assert!(client.read().await.len() > 100 << 10);
        }
        drop(clients);
        pass(SECOND / 20).await;
        assert_eq!(
            (responder.stats().connections, topic.subscriptions()),
            (0, 0)
        );
    }
}

#[test]
fn a_body_is_send_and_small() {
    fn is_send(_: impl Send + Unpin + 'static) {}
    is_send(responder().follow(&get("/"), &Topic::new(Retention::default())));
    assert!(size_of::<Body>() <= 40, "it is moved about a lot");
}
