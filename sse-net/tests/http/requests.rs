//! What a responder takes of a request, and what it can be told to ignore.

use std::future::pending;

use sse_core::{Rejection, Response, Retention};
use sse_net::{NoRequest, Start, Topic};

use super::common::{publish, published};
use super::{SECOND, get, next, poll, responder, skip_retry};

/// An extractor leaves the parts of a request, or nothing.
#[tokio::test(start_paused = true)]
async fn parts_and_no_request_get_streams() {
    let topic = Topic::new(Retention::events(3));
    publish(&topic, 0..5);
    let (mut parts, ()) = get("/").into_parts();
    parts.method = http::Method::POST;
    parts.headers.insert("content-length", "5".parse().unwrap());
    parts.headers.insert("last-event-id", "3".parse().unwrap());
    let responder = responder();
    let mut body = responder.follow(&parts, &topic).into_body();
    skip_retry(&mut body);
    assert_eq!(next(&mut body).await.unwrap().unwrap(), published(4..5));

    let last = Start::Last(1);
    let response = responder.follow_from(&NoRequest, &topic, last);
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    skip_retry(&mut body);
    assert_eq!(next(&mut body).await.unwrap().unwrap(), published(4..5));
    let rejected = responder.reject(&NoRequest, Rejection::UNAUTHORIZED);
    assert_eq!(rejected.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_clone_of_a_responder_may_ignore_accept_and_leave_out_retry() {
    let topic = Topic::new(Retention::events(3));
    let mut request = get("/");
    let json = "application/json".parse().unwrap();
    request.headers_mut().insert("accept", json);
    let responder = responder();
    assert_eq!(responder.follow(&request, &topic).status(), 406);
    let any = responder.ignore_accept();
    skip_retry(&mut any.follow(&request, &topic).into_body());

    let plain = any.without_retry();
    let mut follower = plain.follow(&request, &topic).into_body();
    assert!(poll(&mut follower).is_pending());
    let mut stream = plain
        .stream(&request, async |mut stream| {
            stream.write_str("hey").await?;
            pending().await
        })
        .into_body();
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "data: hey\n\n");
    assert_eq!(
        responder.stats().connections,
        2,
        "clones share the counters"
    );
    tokio::spawn(async move { responder.drain(SECOND).await });
    for mut body in [follower, stream] {
        while let Some(frame) = next(&mut body).await {
            assert_eq!(frame.unwrap(), ":\n", "a heartbeat at most");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_choose_by_accept() {
    let responder = responder();
    for (accept, expected) in [
        (None, true),
        (Some("text/event-stream"), true),
        (Some("application/json"), false),
    ] {
        let mut request = get("/");
        if let Some(accept) = accept {
            let accept = accept.parse().unwrap();
            request.headers_mut().insert("accept", accept);
        }
        assert_eq!(responder.accepts_event_stream(&request), expected);
    }
    let mut malformed = get("/");
    let nothing = "".parse().unwrap();
    malformed.headers_mut().insert("content-length", nothing);
    assert!(responder.accepts_event_stream(&malformed));
    let refused = responder.follow(&malformed, &Topic::new(Retention::default()));
    assert_eq!(refused.status(), 400);

    let json = Response::new(200).with_body("application/json", "{}");
    let response = responder.respond(&get("/"), json.vary_by_accept());
    assert_eq!(response.headers()["vary"], "Accept");
}

/// RFC 9112, 3.2: only a request of HTTP/1.1 has to have a host.
#[tokio::test(start_paused = true)]
async fn the_version_decides_whether_a_host_is_needed() {
    for (version, status) in [(http::Version::HTTP_10, 200), (http::Version::HTTP_11, 400)] {
        let request = http::Request::builder().uri("/").version(version);
        let request = request.body(()).unwrap();
        let response = responder().follow(&request, &Topic::new(Retention::default()));
        assert_eq!(response.status(), status, "{version:?}");
    }
}
