//! Waiting for the first subscriber of a topic, and for the last one to leave.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use common::{Kind, config, over_all_servers, publish, published, settle};
use sse_core::Retention;
use sse_net::{Start, Topic};
use tokio::sync::watch;
use tokio::time::timeout;

over_all_servers! {
    a_source_runs_while_clients_follow_its_topic,
}

async fn a_source_runs_while_clients_follow_its_topic(kind: Kind) {
    let topic = Topic::new(Retention::events(10));
    let (_server, net, _) = kind.serve_topic(config(), &topic, Start::Live);
    let runs = start_source(&topic);
    let first = net.get("/").await;
    settle().await;
    assert!(*runs.borrow(), "a client follows the topic");
    let mut second = net.get("/").await;
    second.follow().await;
    drop(first);
    settle().await;
    assert!(*runs.borrow(), "another client follows the topic");
    publish(&topic, 1..2);
    assert_eq!(second.read().await, published(1..2));
    drop(second);
    settle().await;
    assert!(!*runs.borrow(), "no client follows the topic");
    let _third = net.get("/").await;
    settle().await;
    assert!(*runs.borrow(), "a client follows the topic again");
}

#[tokio::test]
async fn each_future_resolves_at_once_if_its_condition_holds() {
    let topic = Topic::new(Retention::default());
    topic.unwatched().await;
    let subscription = topic.subscribe(Start::Live);
    topic.watched().await;
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(pin!(topic.unwatched()).poll(cx).is_pending());
    drop(subscription);
    topic.unwatched().await;
    assert!(pin!(topic.watched()).poll(cx).is_pending());
}

#[test]
fn only_the_first_and_the_last_subscriber_wake_a_watcher() {
    let topic = Topic::new(Retention::default());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let cx = &mut Context::from_waker(&waker);
    let mut watched = Box::pin(topic.watched());
    assert!(watched.as_mut().poll(cx).is_pending());
    let mut subscriptions = vec![topic.subscribe(Start::Live)];
    assert_eq!(wakes.count(), 1);
    assert!(watched.as_mut().poll(cx).is_ready());
    drop(watched);

    let mut unwatched = pin!(topic.unwatched());
    assert!(unwatched.as_mut().poll(cx).is_pending());
    subscriptions.extend((0..3).map(|_| topic.subscribe(Start::Live)));
    while subscriptions.len() > 1 {
        subscriptions.pop();
    }
    publish(&topic, 1..2);
    assert_eq!(wakes.count(), 1);
    subscriptions.clear();
    assert_eq!(wakes.count(), 2);
    assert!(unwatched.as_mut().poll(cx).is_ready());
}

#[test]
fn a_cancelled_watcher_leaves_no_waker() {
    let topic = Topic::new(Retention::default());
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    for _ in 0..10 {
        let cx = &mut Context::from_waker(&waker);
        assert!(pin!(topic.watched()).poll(cx).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&wakes), 1);
    drop(topic.subscribe(Start::Live));
    assert_eq!(wakes.count(), 0);
}

/// The last subscriber of each round stays until the source runs, and the source stops after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_threads() {
    const ROUNDS: usize = 500;
    let topic = Topic::new(Retention::default());
    let mut runs = start_source(&topic);
    for round in 0..ROUNDS {
        let visitors = [1, 2].map(|visits| {
            let topic = topic.clone();
            thread::spawn(move || {
                for _ in 0..visits * (round % 7) {
                    drop(topic.subscribe(Start::Live));
                }
                topic.subscribe(Start::Live)
            })
        });
        let staying = visitors.map(|visitor| visitor.join().unwrap());
        wait_for(&mut runs, true).await;
        let leaving = staying.map(|subscription| thread::spawn(move || drop(subscription)));
        wait_for(&mut runs, false).await;
        for thread in leaving {
            thread.join().unwrap();
        }
    }
    assert_eq!(topic.subscriptions(), 0);
}

async fn wait_for(runs: &mut watch::Receiver<bool>, expected: bool) {
    let waiting = runs.wait_for(|runs| *runs == expected);
    let in_time = timeout(Duration::from_secs(20), waiting).await;
    assert!(in_time.is_ok(), "the source does not become {expected}");
}

/// Starts a source for `topic`, and returns whether it runs.
fn start_source(topic: &Topic) -> watch::Receiver<bool> {
    let (sender, runs) = watch::channel(false);
    let topic = topic.clone();
    tokio::spawn(async move {
        loop {
            topic.watched().await;
            sender.send_replace(true);
            topic.unwatched().await;
            sender.send_replace(false);
        }
    });
    runs
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
