//! The responses of the async server are those of the blocking server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::{self, Read, Write};
use std::time::SystemTime;

use common::{Net, WIDE, config, serve, strip_opening};
use sse_core::{Rejection, Response, Retention, Upgrader};
use sse_net::{Routes, Topic};

const PAGE: &str = "<h1>Hey</h1>";

fn page() -> Response {
    Response::new(200).with_body("text/html; charset=utf-8", PAGE)
}

/// Returns the response of the blocking server.
fn blocking(upgrader: &Upgrader, request: &str) -> String {
    struct Conn<'a>(&'a [u8], Vec<u8>);

    impl Read for Conn<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Conn<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let mut conn = Conn(request.as_bytes(), Vec::new());
    let upgrader = upgrader.clone().clock(SystemTime::now);
    if let Ok(request) = upgrader.read(&mut conn) {
        let _ = match request.path() {
            _ if !matches!(request.method(), "GET" | "HEAD") => {
                request.reject(Rejection::METHOD_NOT_ALLOWED)
            }
            "/sse" => request.accept().map(drop),
            "/" => request.respond(page()),
            _ => request.reject(Rejection::NOT_FOUND),
        };
    }
    undated(&String::from_utf8(conn.1).unwrap())
}

/// Returns a response without its date (RFC 9110, 6.6.1), and checks the form of the date
/// (RFC 9110, 5.6.7).
#[track_caller]
fn undated(answer: &str) -> String {
    let (status, rest) = answer.split_once("\r\nDate: ").expect("a date");
    let (date, rest) = rest.split_once("\r\n").unwrap();
    let form: String = date
        .chars()
        .map(|c| match c {
            '0'..='9' => '0',
            'a'..='z' => 'a',
            c => c,
        })
        .collect();
    assert_eq!(
        form.replace(char::is_uppercase, "A"),
        "Aaa, 00 Aaa 0000 00:00:00 AAA"
    );
    format!("{status}\r\n{rest}")
}

async fn ask(net: &Net, request: &str) -> String {
    let mut client = net.ask(WIDE, request).await;
    let answer = undated(&client.read().await);
    // Only the async server sends a reconnection time by itself.
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if strip_opening(body).is_some() => format!("{head}\r\n\r\n"),
        _ => answer,
    }
}

#[tokio::test(start_paused = true)]
async fn every_response_is_that_of_the_blocking_server() {
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
            .unwrap()
            .allow_methods(["GET", "BREW"])
            .unwrap(),
    ] {
        let config = config().upgrader(upgrader.clone());
        let routes = Routes::new().topic("/sse", &topic).page("/", PAGE);
        let (_server, net) = serve(config, routes);
        let mut statuses = std::collections::BTreeSet::new();
        for method in ["GET", "HEAD", "OPTIONS", "POST", "BREW", "get"] {
            for path in [
                "/sse",
                "/",
                "/nowhere",
                "/sse?a=b",
                "http://a/sse",
                "*",
                "sse",
            ] {
                for version in ["HTTP/1.1", "HTTP/1.0", "HTTP/3.0"] {
                    for headers in [
                        "",
                        "Accept: text/event-stream\r\n",
                        "Accept: text/html\r\n",
                        "Accept: */*, text/event-stream;q=0\r\n",
                        "Origin: https://b\r\n",
                        "Origin: https://evil\r\n",
                        "Origin: https://b\r\nAccess-Control-Request-Method: GET\r\n",
                        "Content-Length: 5\r\n",
                        "Transfer-Encoding: chunked\r\n",
                        "Origin: https://b\r\nTransfer-Encoding: gzip\r\n",
                        "Origin: http://a\r\nHost: evil\r\n",
                        "Broken\r\n",
                    ] {
                        let request =
                            format!("{method} {path} {version}\r\nHost: a\r\n{headers}\r\n");
                        let expected = blocking(&upgrader, &request);
                        assert_eq!(ask(&net, &request).await, expected, "{request}");
                        statuses.insert(expected[..12].to_owned());
                    }
                }
            }
        }
        assert!(statuses.len() >= 7, "{statuses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_may_arrive_in_two_parts() {
    let topic = Topic::new(Retention::default());
    let (_server, net) = serve(
        config(),
        Routes::new().topic("/sse", &topic).page("/", PAGE),
    );
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    let expected = blocking(&Upgrader::new(), request);
    for at in 1..request.len() {
        let mut client = net.connect(WIDE);
        client.send(&request[..at]).await;
        assert_eq!(client.read().await, "", "{at}");
        client.send(&request[at..]).await;
        assert_eq!(undated(&client.read().await), expected, "{at}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_gets_no_response() {
    let (server, net) = serve(config(), Routes::new());
    drop(net.connect(WIDE));
    let mut half_closed = net.connect(WIDE);
    tokio::io::AsyncWriteExt::shutdown(&mut half_closed.pipe)
        .await
        .unwrap();
    assert_eq!(half_closed.read_to_end().await, "");
    common::settle().await;
    assert_eq!(server.stats().connections, 0);
}

/// A typing error in a route is seen at the start, not as a 404 later.
#[test]
fn a_route_with_a_path_that_no_request_has_panics() {
    for path in ["", "sse", "/sse?a=b", "/a b", "/ä", "/a#b"] {
        let routes = std::panic::catch_unwind(|| Routes::new().page(path, PAGE));
        assert!(routes.is_err(), "{path:?}");
    }
    let _ = Routes::new().page("/%C3%A4/", PAGE);
}
