//! Topics and subscriptions, without a server.

use std::fmt::{self, Write};
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sse_core::{Event, EventId, EventType, Lagged, LogId, Retention};
use tokio::time::{Instant, sleep_until};

use super::*;
use crate::config::{SlowClients, TopicConfig};

fn poll(subscription: &mut Subscription) -> Poll<Result<String, Lagged>> {
    let mut out = Vec::new();
    subscription
        .poll_read(&mut Context::from_waker(Waker::noop()), &mut out)
        .map_ok(|_| String::from_utf8(out).unwrap())
}

fn publish(topic: &Topic, ids: Range<u32>) {
    for id in ids {
        topic.publish(&Event::new().id(id)).unwrap();
    }
}

#[test]
fn a_subscription_begins_at_its_start() {
    let topic = Topic::new(Retention::events(3));
    publish(&topic, 0..4);
    for (start, expected) in [
        (Start::Live, Poll::Pending),
        (Start::Last(0), Poll::Pending),
        (Start::Last(1), Poll::Ready(Ok("id: 3\n\n".to_owned()))),
        (
            Start::Last(9),
            Poll::Ready(Ok("id: 1\n\nid: 2\n\nid: 3\n\n".to_owned())),
        ),
        (
            Start::Earliest,
            Poll::Ready(Ok("id: 1\n\nid: 2\n\nid: 3\n\n".to_owned())),
        ),
    ] {
        assert_eq!(poll(&mut topic.subscribe(start)), expected, "{start:?}");
    }
    assert_eq!(topic.subscriptions(), 0, "dropping unsubscribes");
}

#[test]
fn an_event_has_a_maximum_size() {
    for (max, len, is_large) in [
        (1000, 900, false),
        (1000, 1000, true),
        (100_000, 99_000, false),
        (100_000, 100_000, true),
        (0, 0, true),
    ] {
        let topic = Topic::new(TopicConfig::default().max_event(max));
        let event = Event::new().data("x".repeat(len));
        let published = topic.publish(&event);
        match published {
            Ok(_) => assert!(!is_large, "{len} of {max}"),
            Err(error) => {
                assert!(is_large, "{len} of {max}");
                let PublishError::TooLarge { len, .. } = error else {
                    panic!()
                };
                assert_eq!(
                    error.to_string(),
                    format!(
                        "the event has {len} bytes and the topic accepts {max}; raise \
                         `max_event` or split the event"
                    )
                );
            }
        }
        let last = topic.finish(Some(&event));
        assert_eq!((last.is_err(), topic.is_finished()), (is_large, !is_large));
    }
    let batch = [
        Event::new().data("small"),
        Event::new().data("x".repeat(17 << 20)),
    ];
    let topic = Topic::new(TopicConfig::default());
    assert!(topic.publish_all(&batch).is_err());
    let all = poll(&mut topic.subscribe(Start::Earliest));
    assert!(all.is_pending(), "nothing of the batch was published");
}

#[test]
fn a_batch_may_mix_large_and_small_events() {
    let topic = Topic::new(Retention::default());
    let mut subscription = topic.subscribe(Start::Live);
    let large = "x".repeat(100_000);
    let batch = [&large, "a", "b", &large, "c"].map(|data| Event::new().data(data));
    let published = topic.publish_all(&batch).unwrap();
    let Poll::Ready(Ok(text)) = poll(&mut subscription) else {
        panic!()
    };
    let ids: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted_by_key(|id| LogId::parse(id)), "{ids:?}");
    assert_eq!(published.id().unwrap().to_string(), ids[4]);
    let data: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    assert_eq!(data, [&large, "a", "b", &large, "c"]);
}

#[test]
fn a_waker_that_panics_does_not_stop_the_others() {
    struct PanickingWaker;
    impl std::task::Wake for PanickingWaker {
        fn wake(self: Arc<Self>) {
            panic!("a waker");
        }
    }
    struct Count(Mutex<u32>);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let topic = Topic::new(Retention::default());
    let count = Arc::new(Count(Mutex::new(0)));
    let wakers = [
        Waker::from(Arc::new(PanickingWaker)),
        Waker::from(Arc::clone(&count)),
    ];
    let mut subscriptions = Vec::new();
    for waker in &wakers {
        let mut subscription = topic.subscribe(Start::Live);
        let read = subscription.poll_read(&mut Context::from_waker(waker), &mut Vec::new());
        assert!(read.is_pending());
        subscriptions.push(subscription);
    }
    publish(&topic, 0..1);
    assert_eq!(*count.0.lock().unwrap(), 1);
}

#[test]
fn a_lag_is_reported_once() {
    let topic = Topic::new(Retention::events(2).backlog(Duration::ZERO, 0));
    let mut subscription = topic.subscribe(Start::Live);
    publish(&topic, 0..3);
    assert!(matches!(
        poll(&mut subscription),
        Poll::Ready(Err(Lagged { .. }))
    ));
    assert_eq!(
        poll(&mut subscription),
        Poll::Ready(Ok("id: 1\n\nid: 2\n\n".to_owned()))
    );
    assert!(poll(&mut subscription).is_pending());
}

#[tokio::test]
async fn publishing_wakes_a_waiting_reader_and_finishing_ends_it() {
    let topic = Topic::new(Retention::default());
    let mut subscription = topic.subscribe(Start::Live);
    let reader = tokio::spawn(async move {
        let mut out = Vec::new();
        while subscription.read(&mut out).await.unwrap() > 0 {}
        out
    });
    tokio::task::yield_now().await;
    let publisher = topic.clone();
    std::thread::spawn(move || {
        publish(&publisher, 0..2);
        publisher.finish(None).unwrap();
    });
    assert_eq!(reader.await.unwrap(), b"id: 0\n\nid: 1\n\n");
    assert_eq!(topic.subscriptions(), 0);
}

#[test]
#[cfg(target_pointer_width = "64")]
fn an_idle_topic_is_small() {
    assert!(size_of::<Shared>() <= 440, "{}", size_of::<Shared>());
}

#[test]
fn a_finished_topic_accepts_no_events() {
    let topic = Topic::new(Retention::events(10));
    let mut subscription = topic.subscribe(Start::Live);
    let last = EventType::from_static("last");
    assert!(topic.publish(&Event::new().id(1)).is_ok());
    let end = topic.finish(Some(&Event::new().id(2).event(&last).data("")));
    let again = topic.finish(Some(&Event::new().id(3)));
    assert_eq!(end, again);
    let late = topic.publish(&Event::new().id(4)).unwrap_err();
    assert_eq!(late, PublishError::Finished);
    assert_eq!(topic.publish_all(&[]), Err(late));
    assert_eq!(
        late.to_string(),
        "the topic has been finished; it accepts no events"
    );
    assert!(topic.is_finished());
    assert_eq!(
        poll(&mut subscription),
        Poll::Ready(Ok("id: 1\n\nid: 2\nevent: last\ndata: \n\n".to_owned()))
    );
    for _ in 0..2 {
        assert_eq!(poll(&mut subscription), Poll::Ready(Ok(String::new())));
    }
    for (asked, is_over) in [(None, true), (Some(2), true), (Some(1), false)] {
        let asked = asked.map(EventId::from);
        let located = topic.locate(asked.as_ref(), Start::Live);
        assert_eq!(located.is_over, is_over, "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_event_is_read_at_once_and_later_ones_linger() {
    let topic = Topic::new(TopicConfig::default().linger(Duration::from_millis(10)));
    let mut subscription = topic.subscribe(Start::Live);
    let start = Instant::now();
    let publisher = topic.clone();
    tokio::spawn(async move {
        for (id, millis) in [(0, 100), (1, 101), (2, 105), (3, 200)] {
            sleep_until(start + Duration::from_millis(millis)).await;
            publish(&publisher, id..id + 1);
        }
    });
    for (millis, expected) in [(100, "0"), (110, "1 2"), (200, "3")] {
        let mut bytes = Vec::new();
        subscription.read(&mut bytes).await.unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let ids: Vec<_> = text
            .split("\n\n")
            .map(|id| id.trim_start_matches("id: "))
            .collect();
        assert_eq!(ids.join(" ").trim_end(), expected);
        assert_eq!(start.elapsed().as_millis(), millis, "{expected}");
    }
}

#[test]
fn many_subscribers_are_woken_from_a_task_or_without_a_runtime() {
    let alone = Topic::new(Retention::events(10));
    let subscribe = || alone.subscribe(Start::Live);
    many_subscribers_are_woken(&alone, &subscribe);

    let hub = Hub::new(TopicConfig::from(Retention::events(10)));
    let topics = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let subscribe = || Subscription::to(&topics, None, Start::Live).unwrap();
    many_subscribers_are_woken(&topics[0], &subscribe);
}

fn many_subscribers_are_woken(topic: &Topic, subscribe: &dyn Fn() -> Subscription) {
    struct Count(Mutex<u32>);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let guard = runtime.enter();
    let mut subscriptions: Vec<_> = (0..1000).map(|_| subscribe()).collect();
    drop(guard);
    let count = Arc::new(Count(Mutex::new(0)));
    let woken = || mem::take(&mut *count.0.lock().unwrap());
    let waker = Waker::from(Arc::clone(&count));
    let mut wait = || {
        for subscription in &mut subscriptions {
            let cx = &mut Context::from_waker(&waker);
            while subscription.poll_read(cx, &mut Vec::new()).is_ready() {}
        }
    };
    let publish = || topic.publish(&Event::new()).unwrap();
    wait();
    publish();
    assert_eq!(woken(), 0, "the publisher is not held up");
    runtime.block_on(tokio::task::yield_now());
    assert_eq!(woken(), 1000);

    wait();
    publish();
    drop(runtime);
    assert_eq!(woken(), 1000, "the task was dropped");
    wait();
    publish();
    assert_eq!(woken(), 1000, "there is no runtime any more");
}

#[test]
fn a_waker_may_use_the_topic() {
    struct TopicWaker(Topic, Mutex<Option<Subscription>>);
    impl std::task::Wake for TopicWaker {
        fn wake(self: Arc<Self>) {
            assert!(!self.0.is_finished());
            drop(self.1.lock().unwrap().take());
        }
    }
    let topic = Topic::new(Retention::events(10));
    let other = topic.subscribe(Start::Live);
    let waker = Waker::from(Arc::new(TopicWaker(topic.clone(), Mutex::new(Some(other)))));
    let mut subscription = topic.subscribe(Start::Live);
    let cx = &mut Context::from_waker(&waker);
    assert!(subscription.poll_read(cx, &mut Vec::new()).is_pending());
    publish(&topic, 0..1);
    assert_eq!(topic.subscriptions(), 1);
}

/// Such as a log that is followed by clients.
#[test]
fn a_formatter_may_use_the_topic_that_it_shows() {
    struct Publisher(Topic);

    impl Write for Publisher {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let published = self.0.publish(&Event::new().data(text));
            published.map(drop).map_err(|_| fmt::Error)
        }
    }

    let hub = Hub::new(TopicConfig::default());
    let topic = hub.topic("a").unwrap();
    let mut publisher = Publisher(topic.clone());
    write!(publisher, "{topic:?} {hub:?}").unwrap();
    assert!(topic.shared().lock().log.len() > 2);
}

#[tokio::test]
async fn copy_to_treats_a_slow_writer_as_a_slow_client() {
    for (slow_clients, expected) in [
        (SlowClients::Disconnect, None),
        (
            SlowClients::SkipAhead,
            Some("event: gap\ndata: {\"asked\":null,\"from\":\"2\"}\n\nid: 2\n\nid: 3\n\n"),
        ),
    ] {
        let topic = Topic::new(
            TopicConfig::default()
                .retention(Retention::events(2).backlog(Duration::ZERO, 0))
                .slow_clients(slow_clients),
        );
        let mut subscription = topic.subscribe(Start::Live);
        publish(&topic, 0..4);
        topic.finish(None).unwrap();
        let mut file = Vec::new();
        let copied = subscription.copy_to(&mut file).await;
        match expected {
            Some(expected) => {
                assert_eq!(file, expected.as_bytes());
                assert_eq!(copied.unwrap(), expected.len() as u64);
            }
            None => assert_eq!(
                copied.unwrap_err().to_string(),
                "the reader lagged: events were evicted before it had read them; continue with \
                     the oldest retained event"
            ),
        }
    }
}
