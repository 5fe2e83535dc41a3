//! Headers that a handler sets for one answer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::ready;

use common::{WIDE, config, serve};
use sse_core::{Headers, Rejection, Response, Retention, Upgrader};
use sse_net::{Request, Topic};

#[tokio::test(start_paused = true)]
async fn every_kind_of_answer_has_the_headers() {
    let topic = Topic::new(Retention::default());
    let finished = Topic::new(Retention::default());
    finished.finish(None).unwrap();
    let config = config().upgrader(Upgrader::new().allow_any_origin());
    let (_server, net) = serve(config, move |request: Request| {
        let path = request.path().to_owned();
        let request = request.with_headers(headers());
        ready(match &*path {
            "/follow" => request.follow(&topic),
            "/finished" => request.follow(&finished),
            "/stream" => request.stream(async |stream| stream.close().await),
            "/respond" => {
                let page = Response::new(200).header("x-name", "replaced").unwrap();
                request.respond(page.with_body("text/html", "<h1>"))
            }
            _ => request.reject(Rejection::NOT_FOUND),
        })
    });
    for (line, status) in [
        ("GET /follow", "200 OK"),
        ("HEAD /follow", "200 OK"),
        ("GET /finished", "204 No Content"),
        ("GET /stream", "200 OK"),
        ("GET /respond", "200 OK"),
        ("GET /other", "404 Not Found"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut client = net.ask(WIDE, &request).await;
        let response = client.wait().await;
        let (head, _) = response.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}"
        );
        let count = |line: &str| head.split("\r\n").filter(|other| *other == line).count();
        for line in [
            "Set-Cookie: a=1; Path=/",
            "Set-Cookie: b=2",
            "X-Name: one",
            "Cache-Control: no-store",
            "Access-Control-Allow-Origin: *",
        ] {
            assert_eq!(count(line), 1, "{line}: {head}");
        }
        let head = head.to_ascii_lowercase();
        assert_eq!(head.matches("\r\ncache-control:").count(), 1, "{head}");
        assert_eq!(head.matches("\r\nx-name:").count(), 1, "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_of_one_answer_do_not_affect_another() {
    let topic = Topic::new(Retention::default());
    let (_server, net) = serve(config(), move |request: Request| {
        ready(match request.path() {
            "/with" => request.with_headers(headers()).follow(&topic),
            _ => request.follow(&topic),
        })
    });
    for (path, expected) in [("/with", true), ("/without", false)] {
        let response = net.get(path).await.wait().await;
        assert_eq!(response.contains("X-Name: one"), expected, "{response}");
    }
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn a_responder_sets_headers_of_its_responses() {
    use http::HeaderValue;
    use http::header::SET_COOKIE;

    for is_http2 in [false, true] {
        let responder = sse_net::Responder::new(config()).with_headers(headers());
        let topic = Topic::new(Retention::default());
        let net = common::http::serve(is_http2, move |request| {
            let mut response = match request.uri().path() {
                "/follow" => responder.follow(&request, &topic),
                _ => responder.reject(&request, Rejection::NOT_FOUND),
            };
            let cookie = HeaderValue::from_static("c=3");
            response.headers_mut().append(SET_COOKIE, cookie);
            response
        });
        for path in ["/follow", "/other"] {
            let response = net.get(path).await.wait().await;
            let response = response.to_ascii_lowercase();
            for line in [
                "set-cookie: a=1; path=/",
                "set-cookie: b=2",
                "set-cookie: c=3",
                "x-name: one",
                "cache-control: no-store",
            ] {
                assert!(response.contains(&format!("\r\n{line}\r\n")), "{response}");
            }
        }
    }
}

fn headers() -> Headers {
    Headers::new()
        .with("Set-Cookie", "a=1; Path=/")
        .and_then(|headers| headers.with("Set-Cookie", "b=2"))
        .and_then(|headers| headers.with("x-name", "zero"))
        .and_then(|headers| headers.with("X-Name", "one"))
        .and_then(|headers| headers.with("Cache-Control", "no-store"))
        .unwrap()
}
