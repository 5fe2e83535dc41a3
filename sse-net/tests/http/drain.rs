//! Draining a responder.

use std::time::Duration;

use http_body::Body as _;
use sse_core::Retention;
use sse_net::Topic;
use tokio::time::Instant;

use crate::common::settle;
use crate::{SECOND, get, next, responder, skip_retry};

#[tokio::test(start_paused = true)]
async fn a_drain_sends_accepted_events_before_the_retry() {
    let responder = responder();
    let (response, mut stream) = responder.upgrade(&get("/")).unwrap();
    let mut body = response.into_body();
    skip_retry(&mut body);
    stream.write_str("accepted").await.unwrap();
    responder.drain(Duration::ZERO).await;
    let last = next(&mut body).await.unwrap().unwrap();
    assert!(last.starts_with("data: accepted\n\nretry: "), "{last}");
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_bodies_that_are_not_polled() {
    let (responder, topic) = (responder(), Topic::new(Retention::default()));
    let stuck = responder.follow(&get("/"), &topic);
    let start = Instant::now();
    responder.drain(SECOND).await;
    assert_eq!(start.elapsed().as_secs(), 2);
    let mut late = responder.follow(&get("/"), &topic).into_body();
    skip_retry(&mut late);
    let last = next(&mut late).await.unwrap().unwrap();
    assert!(last.starts_with("retry: ") && late.is_end_stream());
    let mut body = stuck.into_body();
    skip_retry(&mut body);
    let last = next(&mut body).await.unwrap().unwrap();
    assert!(last.starts_with("retry: "));
    assert!(body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_arrives_during_a_drain_is_sent_away_at_once() {
    let (responder, topic) = (responder(), Topic::new(Retention::default()));
    let stuck = responder.follow(&get("/"), &topic);
    let draining = responder.clone();
    let draining = tokio::spawn(async move { draining.drain(1000 * SECOND).await });
    settle().await;
    let start = Instant::now();
    let mut late = responder.follow(&get("/"), &topic).into_body();
    skip_retry(&mut late);
    let last = next(&mut late).await.unwrap().unwrap();
    assert!(last.starts_with("retry: ") && late.is_end_stream());
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(stuck);
    draining.await.unwrap();
}
