//! Dropped bodies release all of their memory.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http::Request;
use http_body::Body as _;
use sse_core::{Event, Retention};
use sse_net::{Config, Responder, Topic};
use tokio::runtime::Builder;

#[test]
fn no_memory_remains_of_ten_thousand_bodies() {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let topic = Topic::new(Retention::events(10));
    let responder = Responder::new(Config::default());
    let come_and_go = || {
        runtime.block_on(async {
            let request = Request::builder().header("host", "a").body(()).unwrap();
            let cx = &mut Context::from_waker(Waker::noop());
            let follow = |_| responder.follow(&request, &topic).into_body();
            let mut bodies: Vec<_> = (0..10_000).map(follow).collect();
            for body in &mut bodies {
                while Pin::new(&mut *body).poll_frame(cx).is_ready() {}
            }
            topic.publish(&Event::new().data("hey")).unwrap();
            let delivered = bodies.iter_mut().map(|body| Pin::new(body).poll_frame(cx));
            assert_eq!(delivered.filter(Poll::is_ready).count(), 10_000);
            drop(bodies);
            tokio::task::yield_now().await; // The task that wakes the bodies runs.
        });
    };
    // The log and the lists reach their final sizes. A list that kept an entry of each body would
    // grow in the next round: beyond 2^17 entries.
    for _ in 0..13 {
        come_and_go();
    }
    let left = allocation_counter::measure(come_and_go);
    assert!(left.bytes_max > 1_000_000, "{left:?}");
    assert!(left.bytes_current.abs() < 10_000, "{left:?}");
}
