//! Models of a source that runs while its topic has subscribers.

use std::pin::pin;
use std::task::{Context, Waker};

use loom::future::block_on;
use loom::thread;
use sse_core::Retention;

use crate::topic::{Start, Topic};

pub(super) fn subscribe() {
    let topic = Topic::new(Retention::events(10));
    // A cancelled wait leaves no waker behind.
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(pin!(topic.watched()).poll(cx).is_pending());
    let subscriber = thread::spawn({
        let topic = topic.clone();
        move || topic.subscribe(Start::Live)
    });
    block_on(topic.watched());
    drop(subscriber.join().unwrap());
    block_on(topic.unwatched());
}

pub(super) fn unsubscribe() {
    let topic = Topic::new(Retention::events(10));
    let subscribers = [(), ()].map(|()| {
        let subscription = topic.subscribe(Start::Live);
        thread::spawn(move || drop(subscription))
    });
    block_on(topic.unwatched());
    assert_eq!(topic.subscriptions(), 0);
    for subscriber in subscribers {
        subscriber.join().unwrap();
    }
}

/// The source may see both subscribers as one, but not miss the second.
pub(super) fn replace() {
    let topic = Topic::new(Retention::events(10));
    let subscriber = thread::spawn({
        let topic = topic.clone();
        move || {
            drop(topic.subscribe(Start::Live));
            topic.subscribe(Start::Live)
        }
    });
    block_on(topic.watched());
    let second = subscriber.join().unwrap();
    block_on(topic.watched());
    drop(second);
    block_on(topic.unwatched());
}
