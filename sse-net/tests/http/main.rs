//! Streams as the bodies of responses of hyper, axum and others.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod answers;
mod drain;
mod following;
mod per_client;
mod requests;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{config, strip_opening};
use http::Request;
use http_body::Body as _;
use hyper::body::Bytes;
use sse_net::{Body, Responder, Topic};

const SECOND: Duration = Duration::from_secs(1);

fn responder() -> Responder {
    Responder::new(config())
}

fn get(uri: &str) -> Request<()> {
    Request::builder()
        .uri(uri)
        .header("host", "a")
        .body(())
        .unwrap()
}

/// Polls a body once for a frame.
fn poll(body: &mut Body) -> Poll<Option<Bytes>> {
    let cx = &mut Context::from_waker(Waker::noop());
    let frame = Pin::new(body).poll_frame(cx);
    frame.map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
}

async fn next(body: &mut Body) -> Option<io::Result<String>> {
    let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
    Some(frame.map(|frame| String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()))
}

/// Reads the opening block of a stream, and returns what precedes it.
#[track_caller]
fn skip_retry(body: &mut Body) -> String {
    let Poll::Ready(Some(bytes)) = poll(body) else {
        panic!("a whole response")
    };
    strip_opening(str::from_utf8(&bytes).unwrap()).unwrap()
}

fn follow(topic: &Topic) -> Body {
    let mut body = responder().follow(&get("/"), topic).into_body();
    skip_retry(&mut body);
    body
}
