//! Responses, their headers, and the checks of requests.

use std::future::ready;

use http::Request;
use http_body::Body as _;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sse_core::{EventId, Rejection, Response, Retention, Upgrader};
use sse_net::{AtCapacity, Responder, Topic, last_event_id};

use crate::common::{Net, config, http as servers, strip_opening};
use crate::{common, get, next, responder, skip_retry};

/// Over HTTP/2 it would be sent, and clients would fail at it.
#[tokio::test(start_paused = true)]
async fn a_response_whose_status_allows_no_body_has_none() {
    for status in [204, 205, 304] {
        for method in ["GET", "HEAD"] {
            let request = Request::builder().method(method).header("host", "a");
            let response = Response::new(status).with_body("text/plain", "hey");
            let response = responder().respond(&request.body(()).unwrap(), response);
            assert!(
                !response.headers().contains_key("content-length"),
                "{status}"
            );
            let mut body = response.into_body();
            assert!(
                body.is_end_stream() && next(&mut body).await.is_none(),
                "{status}"
            );
        }
    }
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
        let theirs = servers::serve(false, move |request| match request.uri().path() {
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

    let net = servers::serve(false, move |request| responder.follow(&request, &topic));
    let answer = ask(&net, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(!answer.contains("Content-Length"), "{answer}");
}

/// hyper leaves out the body over HTTP/1 only, and clients of HTTP/2 fail at one.
#[tokio::test(start_paused = true)]
async fn over_http2_a_head_response_has_no_body() {
    let responder = responder();
    let rejected = move |request: Request<Incoming>| {
        let response = responder.reject(&request, Rejection::NOT_FOUND);
        ready(Ok::<_, std::convert::Infallible>(response))
    };
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let server = server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::spawn(server.serve_connection(TokioIo::new(theirs), service_fn(rejected)));
    let client = client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = client.handshake(TokioIo::new(ours)).await.unwrap();
    tokio::spawn(connection);
    for method in ["HEAD", "GET"] {
        let request = Request::builder().method(method).uri("http://a/");
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap());
        let response = response.await.unwrap();
        assert_eq!(response.headers()["content-length"], "30");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), if method == "HEAD" { 0 } else { 30 });
    }
}

/// A handler that starts work has to refuse a form of another site before.
#[tokio::test(start_paused = true)]
async fn a_handler_can_check_a_request_before_it_acts() {
    let upgrader = Upgrader::new().allow_host("a").unwrap();
    let upgrader = upgrader.allow_origin("https://b").unwrap();
    let responder = Responder::new(config().upgrader(upgrader));
    for (method, name, value, status) in [
        ("POST", "accept", "application/json", None),
        ("POST", "origin", "https://b", None),
        ("POST", "origin", "https://evil", Some(403)),
        ("DELETE", "origin", "null", Some(403)),
        ("GET", "origin", "https://evil", None),
        ("GET", "x-host", "evil", Some(421)),
        ("GET", "host", "a", Some(400)),
        ("OPTIONS", "origin", "https://b", Some(204)),
    ] {
        let mut request = get("/");
        *request.method_mut() = method.parse().unwrap();
        let headers = request.headers_mut();
        match name {
            "x-host" => drop(headers.insert("host", value.parse().unwrap())),
            _ => drop(headers.append(name, value.parse().unwrap())),
        }
        let (parts, ()) = request.into_parts();
        let refused = responder.check(&parts).err();
        let refused = refused.map(|response| response.status().as_u16());
        assert_eq!(refused, status, "{method} {name}: {value}");
    }
    assert_eq!(responder.stats().connections, 0);
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

/// Some proxies send one with every request (RFC 9112, 7.1: the last chunk alone is no content).
#[tokio::test(start_paused = true)]
async fn an_empty_chunked_body_is_accepted_inside_hyper() {
    let topic = Topic::new(Retention::default());
    let responder = responder();
    let net = servers::serve(false, move |request| responder.follow(&request, &topic));
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
            responder.respond(&ask("GET", None), Response::new(200)),
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
        // The client of a POST does not reconnect.
        let mut post = get("/");
        *post.method_mut() = http::Method::POST;
        assert_eq!(responder.follow(&post, &topic).status(), 503);
        drop(first);
        let third = responder.follow(&get("/"), &topic);
        assert!(third.body().size_hint().exact().is_none(), "a stream again");
        let stats = responder.stats();
        assert_eq!((stats.connections, stats.refused), (2, 2));
        drop((second, third));
    }
}
