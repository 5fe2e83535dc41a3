//! Streams as the bodies of responses of hyper, axum and others.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashSet;
use std::future::{pending, poll_fn, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::{
    Client, Net, config, http as server, is_jittered, pass, publish, published, settle,
    strip_opening,
};
use http::{Request, StatusCode};
use http_body::Body as _;
use hyper::body::Bytes;
use sse_core::{Event, EventId, Rejection, Retention, Upgrader};
use sse_net::{
    AtCapacity, Body, Config, LastEventId, NoRequest, Responder, Start, Topic, TopicConfig,
    last_event_id,
};
use tokio::task::coop;
use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt;

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

#[tokio::test(start_paused = true)]
async fn a_responder_answers_as_a_server_does() {
    let topic = Topic::new(Retention::default());
    for upgrader in [
        Upgrader::new(),
        Upgrader::new().allow_any_origin(),
        Upgrader::new()
            .allow_host("a")
            .unwrap()
            .allow_origin("https://b")
            .unwrap()
            .allow_credentials()
            .header("X-C", "d")
            .unwrap(),
    ] {
        // Inside an HTTP server, the application judges methods.
        let upgrader = upgrader.allow_methods(["GET", "HEAD", "POST", "BREW", "get"]);
        let config = config().upgrader(upgrader.unwrap());
        let followed = topic.clone();
        let (_server, ours) = common::serve(config.clone(), move |request: sse_net::Request| {
            ready(match request.path() {
                "/sse" => request.follow(&followed),
                _ => request.reject(Rejection::NOT_FOUND),
            })
        });
        let (responder, mine) = (Responder::new(config), topic.clone());
        let theirs = server::serve(false, move |request| match request.uri().path() {
            "/sse" => responder.follow(&request, &mine),
            // A server looks for the route after the checks.
            _ => match responder.upgrade(&request) {
                Err(response) if response.status().is_client_error() => response,
                _ if request.method() == "OPTIONS" => responder.follow(&request, &mine),
                _ => responder.reject(&request, Rejection::NOT_FOUND),
            },
        });
        for method in ["GET", "HEAD", "OPTIONS", "POST", "BREW", "get"] {
            for headers in [
                "Host: a\r\n",
                "Host: a\r\nAccept: text/event-stream\r\n",
                "Host: a\r\nAccept: text/html\r\n",
                "Host: a\r\nAccept: */*, text/event-stream;q=0\r\n",
                "Host: a\r\nOrigin: https://b\r\n",
                "Host: a\r\nOrigin: https://evil\r\n",
                "Host: a\r\nOrigin: https://b\r\nAccess-Control-Request-Method: GET\r\n",
                "Host: evil\r\n",
                "Host: a\r\nHost: a\r\n",
                "Host: /\r\n",
                "",
            ] {
                for target in ["/sse", "/sse?lastEventId=%0A", "http://a/sse", "/sse?x"] {
                    let request = format!("{method} {target} HTTP/1.1\r\n{headers}\r\n");
                    let mut expected = facts(&ask(&ours, &request).await);
                    if method == "HEAD" {
                        expected.2.clear(); // A server does not know the method of a malformed head.
                    }
                    assert_eq!(facts(&ask(&theirs, &request).await), expected, "{request}");
                }
            }
        }
    }
}

async fn ask(net: &Net, request: &str) -> String {
    let mut client = net.ask(common::WIDE, request).await;
    client.read().await
}

/// Returns status, headers without those of the framing, and body without a jittered `retry`.
fn facts(answer: &str) -> (String, Vec<String>, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n").map(str::to_lowercase);
    let status = lines.next().unwrap()[..12].to_owned(); // Phrases differ.
    let framing = [
        "connection:",
        "content-length:",
        "date:",
        "transfer-encoding:",
    ];
    let is_ours = |line: &String| !framing.iter().any(|name| line.starts_with(name));
    let mut headers = Vec::from_iter(lines.filter(is_ours));
    headers.sort_unstable();
    let body = strip_opening(body).map_or(body, |_| "stream");
    (status, headers, body.to_owned())
}

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
async fn a_head_request_gets_the_head_only() {
    let topic = Topic::new(Retention::default());
    let mut request = get("/");
    *request.method_mut() = http::Method::HEAD;
    let responder = responder();
    let mut response = responder.follow(&request, &topic);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.body().size_hint().exact(), None, "as for GET");
    assert!(next(response.body_mut()).await.is_none());
    assert_eq!(responder.stats().connections, 0);

    let net = server::serve(false, move |request| responder.follow(&request, &topic));
    let answer = ask(&net, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!answer.contains("Content-Length"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn over_http2_the_host_is_the_authority() {
    let responder =
        Responder::new(config().upgrader(Upgrader::new().allow_host("a.example").unwrap()));
    let topic = Topic::new(Retention::default());
    for (uri, host, status) in [
        ("https://a.example/", None, 200),
        ("https://b.example/", None, 421),
        ("https://a.example/", Some("b.example"), 200),
        ("/", Some("a.example"), 200),
        ("/", None, 421),
    ] {
        let mut request = Request::builder().uri(uri).version(http::Version::HTTP_2);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let response = responder.follow(&request.body(()).unwrap(), &topic);
        assert_eq!(response.status(), status, "{uri} {host:?}");
    }
}

#[test]
fn the_last_event_id_is_read_from_header_or_query() {
    for (uri, header, expected) in [
        ("/", None, None),
        ("/", Some("7"), Some("7")),
        ("/", Some(""), None),
        ("/?lastEventId=8", None, Some("8")),
        ("/?last_event_id=9", Some(""), Some("9")),
        ("/?lastEventId=8", Some("7"), Some("7")),
        ("/?lastEventId=%00", None, None),
        ("https://a.example/?lastEventId=8", None, Some("8")),
        ("*", Some("7"), None),
    ] {
        // The request need not be well-formed otherwise.
        let mut request = Request::builder().uri(uri);
        if let Some(id) = header {
            request = request.header("Last-Event-ID", id);
        }
        let id = last_event_id(&request.body(()).unwrap());
        let expected = expected.map(|id| EventId::new(id).unwrap());
        assert_eq!(id, expected, "{uri} {header:?}");
    }
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
async fn an_upgrade_returns_response_and_stream() {
    let (response, mut stream) = responder().upgrade(&get("/")).unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    skip_retry(&mut body);
    assert!(poll(&mut body).is_pending());
    stream.set_id(54).unwrap();
    stream.write_json(&["hey", "there"]).await.unwrap();
    stream.send(&Event::new().data("two\nlines")).await.unwrap();
    assert_eq!(
        next(&mut body).await.unwrap().unwrap(),
        "id: 54\ndata: [\"hey\",\"there\"]\n\ndata: two\ndata: lines\n\n"
    );
    stream.close().await.unwrap();
    let end = next(&mut body).await.unwrap().unwrap();
    assert_eq!(end, "event: close\ndata: \n\n");
    assert!(next(&mut body).await.is_none() && body.is_end_stream());

    let mut post = get("/");
    *post.method_mut() = http::Method::POST;
    let headers = post.headers_mut();
    headers.insert("origin", "https://evil".parse().unwrap());
    let response = responder().upgrade(&post).unwrap_err();
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert_eq!(
        next(&mut response.into_body()).await.unwrap().unwrap(),
        "pages of this origin may not send such requests\n"
    );
}

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
async fn a_stream_is_written_only_as_fast_as_its_body_is_read() {
    let (response, mut stream) = responder().upgrade(&get("/")).unwrap();
    let mut body = response.into_body();
    skip_retry(&mut body);
    let mut accepted = 0;
    while timeout(SECOND, stream.write_str(&"x".repeat(1000)))
        .await
        .is_ok()
    {
        accepted += 1;
    }
    assert!((16..=18).contains(&accepted), "{accepted}");
    // The event of a cancelled call was accepted, and is neither torn nor doubled.
    let mut read = next(&mut body).await.unwrap().unwrap();
    stream.write_str("last").await.unwrap();
    read += &next(&mut body).await.unwrap().unwrap();
    let expected = format!("data: {}\n\n", "x".repeat(1000)).repeat(accepted + 1);
    assert_eq!(read, expected + "data: last\n\n");

    let start = Instant::now();
    let error = loop {
        if let Err(error) = stream.write_str(&"x".repeat(1000)).await {
            break io::Error::from(error);
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(start.elapsed() >= SECOND * 20);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_body_is_dropped_is_closed() {
    let start = Instant::now();
    let responder = responder();
    let (response, mut stream) = responder.upgrade(&get("/")).unwrap();
    tokio::spawn(async move {
        pass(SECOND).await;
        drop(response);
    });
    stream.closed().await;
    let error = io::Error::from(stream.write_str("more").await.unwrap_err());
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (io::ErrorKind::BrokenPipe, "the client is gone")
    );

    let (response, mut stream) = responder.upgrade(&get("/")).unwrap();
    tokio::spawn(async move {
        pass(SECOND).await;
        drop(response);
    });
    let error = loop {
        if let Err(error) = stream.write_str("more").await {
            break io::Error::from(error);
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(start.elapsed() < SECOND * 3);
    let stats = responder.stats();
    assert_eq!((stats.connections, stats.gone), (0, 2));
}

/// Counts how often it is dropped.
struct Model(Arc<Mutex<u32>>);

impl Drop for Model {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
    }
}

#[tokio::test(start_paused = true)]
async fn the_future_of_a_stream_is_dropped_with_its_client() {
    let (responder, stopped) = (responder(), Arc::new(Mutex::new(0)));
    let (shared, stops) = (responder.clone(), Arc::clone(&stopped));
    for is_http2 in [false, true] {
        let (shared, stops) = (shared.clone(), Arc::clone(&stops));
        let net = server::serve(is_http2, move |request| {
            let model = Model(Arc::clone(&stops));
            shared.stream(&request, async move |mut stream| {
                let _model = model;
                stream.write_str("let me think").await?;
                pending().await
            })
        });
        let mut client = net.get("/").await;
        assert_eq!(client.follow().await, "data: let me think\n\n");
        pass(SECOND * 15).await;
        assert_eq!(
            client.read().await,
            ":\n",
            "a heartbeat while the future waits"
        );
        let before = *stopped.lock().unwrap();
        drop(client);
        pass(SECOND / 20).await;
        assert_eq!(*stopped.lock().unwrap(), before + 1);
    }
    let stats = responder.stats();
    assert_eq!((stats.connections, stats.gone), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_future_that_fails_aborts_the_response() {
    let responder = responder();
    let response = responder.stream(&get("/"), async |mut stream| {
        stream.write_str("hey").await?;
        Err(io::Error::other("the model failed"))
    });
    let mut body = response.into_body();
    skip_retry(&mut body);
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "data: hey\n\n");
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the model failed");
    assert!(next(&mut body).await.is_none() && body.is_end_stream());
    assert_eq!(responder.stats().handler_failures, 1);

    let response = responder.stream(&get("/"), async |_| panic!("the model failed"));
    let mut body = response.into_body();
    skip_retry(&mut body);
    let error = next(&mut body).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the handler has panicked");
    let stats = responder.stats();
    assert_eq!((stats.handler_panics, stats.connections), (1, 0));
}

/// Some proxies send one with every request (RFC 9112, 7.1: the last chunk alone is no content).
#[tokio::test(start_paused = true)]
async fn an_empty_chunked_body_is_accepted_inside_hyper() {
    let topic = Topic::new(Retention::default());
    let responder = responder();
    let net = server::serve(false, move |request| responder.follow(&request, &topic));
    let request = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let answer = ask(&net, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// Fetch, "CORS check": without the header the page cannot see even the status.
#[tokio::test(start_paused = true)]
async fn every_response_has_cors_headers() {
    let responder =
        Responder::new(config().upgrader(Upgrader::new().allow_origin("https://b").unwrap()));
    let topic = Topic::new(Retention::default());
    topic.finish(None).unwrap();
    let ask = |method: &str, extra: Option<(&str, &str)>| {
        let mut request = get("/");
        *request.method_mut() = method.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("origin", "https://b".parse().unwrap());
        if let Some((name, value)) = extra {
            let name: http::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        request
    };
    let follow = |request: &Request<()>| responder.follow(request, &topic);
    for (response, status) in [
        (follow(&ask("GET", None)), 204),
        (follow(&ask("HEAD", None)), 204),
        (follow(&ask("OPTIONS", None)), 204),
        (follow(&ask("GET", Some(("host", "a")))), 400),
        (follow(&ask("POST", None)), 204),
        (follow(&ask("GET", Some(("accept", "text/html")))), 406),
        (responder.stream(&ask("GET", None), async |_| Ok(())), 200),
        (
            responder.reject(&ask("GET", None), Rejection::UNAUTHORIZED),
            401,
        ),
        (
            responder.reject(&ask("GET", None), Rejection::TOO_MANY_REQUESTS),
            429,
        ),
        (
            responder.respond(&ask("GET", None), sse_core::Response::new(200)),
            200,
        ),
    ] {
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers()["access-control-allow-origin"],
            "https://b",
            "{status}"
        );
        assert_eq!(response.headers()["vary"], "Origin", "{status}");
    }
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
async fn the_number_of_streams_is_limited() {
    let topic = Topic::new(Retention::default());
    for (at_capacity, status) in [(AtCapacity::Refuse, 503), (AtCapacity::RetryLater, 200)] {
        let responder = Responder::new(config().max_connections(2).at_capacity(at_capacity));
        let first = responder.follow(&get("/"), &topic);
        let second = responder.upgrade(&get("/")).unwrap();
        let mut refused = responder.follow(&get("/"), &topic);
        assert_eq!(refused.status(), status);
        assert!(
            refused.body().size_hint().exact().is_some(),
            "a whole response"
        );
        if status == 200 {
            assert_eq!(skip_retry(refused.body_mut()), "");
        }
        drop(first);
        let third = responder.follow(&get("/"), &topic);
        assert!(third.body().size_hint().exact().is_none(), "a stream again");
        let stats = responder.stats();
        assert_eq!((stats.connections, stats.refused), (2, 1));
        drop((second, third));
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_per_client_streams_after_its_window() {
    let responder = responder();
    let mut ends = Vec::new();
    for seconds in [3, 60] {
        let response = responder.stream(&get("/"), async move |mut stream| {
            pass(SECOND * seconds).await;
            stream.write_str("done").await?;
            stream.close().await
        });
        ends.push(tokio::spawn(async move {
            let mut body = response.into_body();
            let mut all = String::new();
            while let Some(frame) = next(&mut body).await {
                all += &frame.unwrap();
            }
            (all.split_once("\n\n").unwrap().1.to_owned(), Instant::now())
        }));
    }
    settle().await;
    let start = Instant::now();
    responder.drain(SECOND * 10).await;
    assert!(start.elapsed() <= SECOND * 10 + SECOND / 10);
    let mut ends = ends.into_iter();
    let (text, end) = ends.next().unwrap().await.unwrap();
    assert_eq!(text, "data: done\n\nevent: close\ndata: \n\n");
    assert!(end - start < SECOND * 4);
    let (text, _) = ends.next().unwrap().await.unwrap();
    assert!(
        is_jittered(text.strip_prefix("retry: ").unwrap().trim_end()),
        "{text}"
    );
    let stats = responder.stats();
    assert_eq!(
        (stats.finished, stats.drained, stats.connections),
        (1, 1, 0)
    );
}

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
        assert_eq!((stats.connections, stats.gone), (0, 5_000 * round));
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
        assert_eq!((stats.connections, stats.gone), (10, 90));
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
