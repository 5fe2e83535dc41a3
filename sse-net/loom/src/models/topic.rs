//! Models of a topic, its publishers and its subscribers.

use std::task::{Context, Waker};

use loom::future::block_on;
use loom::thread;
use sse_core::{Event, Retention};

use crate::topic::{Start, Subscription, Topic};

pub(super) fn publish() {
    let topic = Topic::new(Retention::events(10));
    let mut subscription = topic.subscribe(Start::Live);
    // A cancelled read leaves its waker behind.
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(subscription.poll_bytes(cx).is_pending());
    let publisher = publish_on_thread(&topic, &[1, 2]);
    read(&mut subscription, 2);
    publisher.join().unwrap();
}

pub(super) fn publish_twice() {
    let topic = Topic::new(Retention::events(10));
    let mut subscription = topic.subscribe(Start::Live);
    let publishers = [&[1], &[2]].map(|ids| publish_on_thread(&topic, ids));
    read(&mut subscription, 2);
    for publisher in publishers {
        publisher.join().unwrap();
    }
}

pub(super) fn finish() {
    let topic = Topic::new(Retention::events(10));
    let mut subscription = topic.subscribe(Start::Live);
    let publisher = thread::spawn(move || {
        publish_event(&topic, 1);
        topic.finish(None).unwrap();
    });
    read(&mut subscription, 1);
    assert_eq!(block_on(subscription.read_bytes()), Ok(None));
    publisher.join().unwrap();
}

pub(super) fn unsubscribe() {
    let topic = Topic::new(Retention::events(10));
    let mut leaving = topic.subscribe(Start::Live);
    let mut staying = topic.subscribe(Start::Live);
    let publisher = publish_on_thread(&topic, &[1, 2]);
    let reader = thread::spawn(move || read(&mut leaving, 1));
    read(&mut staying, 2);
    publisher.join().unwrap();
    reader.join().unwrap();
    assert_eq!(topic.subscriptions(), 1);
}

fn publish_on_thread(topic: &Topic, ids: &'static [u8]) -> thread::JoinHandle<()> {
    let topic = topic.clone();
    thread::spawn(move || ids.iter().for_each(|id| publish_event(&topic, *id)))
}

fn publish_event(topic: &Topic, id: u8) {
    topic.publish(&Event::new().id(id)).unwrap();
}

/// Reads `count` events.
fn read(subscription: &mut Subscription, count: usize) {
    let mut left = count * "id: 1\n\n".len();
    while left > 0 {
        let bytes = block_on(subscription.read_bytes()).unwrap();
        left = left.saturating_sub(bytes.expect("the topic is not finished").len());
    }
}
