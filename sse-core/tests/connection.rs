//! Upgrading a connection: from its first byte to its stream, response or failure.

#![cfg(feature = "http")]

use std::error::Error;
use std::io;
use std::time::Duration;

use proptest::prelude::*;
use sse_core::{Rejection, Request, Response, SendError, UpgradeError, Upgrader};

mod common;
use common::peer::{ACCEPTED, Done, HEY, Peer, refusal, response, serve};
use common::text_of;

const REQUEST: &str = "GET /sse HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// The browser's `onopen` waits for all of the head.
#[test]
fn the_head_is_one_write_and_is_flushed_before_any_event() {
    let mut peer = Peer::sends(REQUEST);
    serve(&Upgrader::new().retry(Duration::from_secs(3)), &mut peer).unwrap();
    let head = Done::Wrote(response(&ACCEPTED, "retry: 3000\n\n").into());
    let event = Done::Wrote(HEY.into());
    assert_eq!(peer.done, [head, Done::Flushed, event]);
}

#[test]
fn a_head_that_stalls_at_byte_n_is_rejected() {
    let reason = "the request head took too long to arrive";
    let expected = refusal("408 Request Timeout", &[], reason);
    for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut] {
        for n in 0..REQUEST.len() {
            let mut peer = Peer::sends(&REQUEST[..n]).then_fails(kind);
            assert_rejected(serve(&Upgrader::new(), &mut peer));
            assert_eq!(peer.output(), expected, "{kind} after {n} bytes");
        }
    }
}

#[test]
fn a_head_that_ends_at_byte_n_is_rejected() {
    let reason = "the connection ended within the request head";
    let expected = refusal("400 Bad Request", &[], reason);
    for n in 1..REQUEST.len() {
        let mut peer = Peer::sends(&REQUEST[..n]);
        assert_rejected(serve(&Upgrader::new(), &mut peer));
        assert_eq!(peer.output(), expected, "after {n} bytes");
    }
}

/// Health checks and browsers open connections and never use them.
#[test]
fn an_unused_connection_gets_no_response() {
    let mut peer = Peer::sends("");
    let served = serve(&Upgrader::new(), &mut peer);
    assert_failed(served, io::ErrorKind::UnexpectedEof);
    assert_eq!(peer.done, []);
}

#[test]
fn a_connection_that_fails_gets_no_response() {
    let kind = io::ErrorKind::ConnectionReset;
    for n in 0..REQUEST.len() {
        let mut peer = Peer::sends(&REQUEST[..n]).then_fails(kind);
        assert_failed(serve(&Upgrader::new(), &mut peer), kind);
        assert_eq!(peer.done, []);
    }
}

#[test]
fn an_interrupted_read_is_repeated() {
    for n in 0..REQUEST.len() {
        let (before, after) = REQUEST.split_at(n);
        let mut peer = Peer::sends(before)
            .then_fails(io::ErrorKind::Interrupted)
            .then_sends(after);
        serve(&Upgrader::new(), &mut peer).unwrap();
        assert_eq!(peer.output(), response(&ACCEPTED, HEY));
    }
}

#[test]
fn a_response_head_that_is_not_written_whole_is_an_error() {
    for n in 0..response(&ACCEPTED, "").len() {
        let mut peer = Peer::sends(REQUEST);
        peer.takes = n;
        let served = serve(&Upgrader::new(), &mut peer);
        assert_failed(served, io::ErrorKind::BrokenPipe);
    }
}

/// Otherwise the system resets the connection, and the response is lost.
#[test]
fn a_rejected_peers_remaining_bytes_are_read_after_the_response() {
    let head = "POST /sse HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5000\r\n\r\n";
    let body = "x".repeat(2500);
    let mut peer = Peer::sends(head)
        .then_sends(&body)
        .then_fails(io::ErrorKind::Interrupted)
        .then_sends(&body);
    assert_rejected(serve(&Upgrader::new(), &mut peer));
    assert_eq!(peer.read_before_answer, head.len());
    assert_eq!(peer.read, head.len() + 5000);
    assert!(peer.has_ended);
}

#[test]
fn reading_from_a_rejected_peer_is_bounded() {
    let mut peer = Peer::sends("no HTTP\r\n\r\n");
    peer.is_endless = true;
    assert_rejected(serve(&Upgrader::new(), &mut peer));
    let lingered = (peer.read - peer.read_before_answer) as u64;
    assert_eq!(lingered, Upgrader::MAX_LINGER);
    assert_eq!(Upgrader::MAX_LINGER, 256 << 10);
}

/// Each byte costs at most one read timeout, and their number is bounded.
#[test]
fn reading_single_bytes_from_a_rejected_peer_is_bounded() {
    let mut peer = Peer::sends("no HTTP\r\n\r\n").at_once(1);
    peer.is_endless = true;
    assert_rejected(serve(&Upgrader::new(), &mut peer));
    assert_eq!(peer.read - peer.read_before_answer, 64);
}

/// A peer that sees the end of the stream ends its half, which frees the thread at once.
#[test]
fn after_a_response_the_servers_half_is_closed_before_the_peers_is_read() {
    for request in [
        "GET /other HTTP/1.0\r\n\r\n",
        "OPTIONS /sse HTTP/1.0\r\n\r\n",
        "HEAD /sse HTTP/1.0\r\n\r\n",
        "GET /sse HTTP/1.0\r\nAccept: text/html\r\n\r\n",
        "POST /sse HTTP/1.0\r\nContent-Length: 1\r\n\r\n",
        "no HTTP\r\n\r\n",
    ] {
        let mut peer = Peer::sends(request).then_sends("x");
        let read = Upgrader::new().read_with(&mut peer, |peer| {
            peer.done.push(Done::ShutDown);
            Ok(())
        });
        let _ = read.and_then(|request| match request.path() {
            "/sse" => request.accept().map(drop),
            _ => request.reject(Rejection::NOT_FOUND),
        });
        assert_eq!(peer.done.last(), Some(&Done::ShutDown), "{request}");
        assert_eq!(peer.read, request.len() + 1, "{request}");
        assert!(peer.has_ended, "{request}");
    }
}

#[test]
fn a_rejected_peer_that_disconnects_is_still_reported_as_rejected() {
    let mut peer = Peer::sends("no HTTP\r\n\r\n").then_fails(io::ErrorKind::ConnectionReset);
    assert_rejected(serve(&Upgrader::new(), &mut peer));

    let mut peer = Peer::sends("no HTTP\r\n\r\n");
    peer.takes = 0;
    assert_rejected(serve(&Upgrader::new(), &mut peer));
}

#[test]
fn the_application_reads_the_request_before_any_response() {
    let request = "GET /a?lastEventId=7 HTTP/1.1\r\nHost: a.example\r\nCookie: secret\r\n\r\n";
    let mut peer = Peer::sends(request);
    let request = Upgrader::new().read(&mut peer).unwrap();
    assert_eq!((request.method(), request.path()), ("GET", "/a"));
    assert_eq!(request.query(), Some("lastEventId=7"));
    assert_eq!(request.header("cookie"), Some(&b"secret"[..]));
    assert_eq!(request.last_event_id().unwrap(), "7");
    assert_eq!(request.conn().done, []);
    assert!(!format!("{request:?}").contains("secret"));
    let (head, conn) = request.into_parts();
    assert_eq!((head.host(), &conn.done[..]), ("a.example", &[][..]));
}

#[test]
fn the_application_may_reject_a_request() {
    #[track_caller]
    fn rejects(rejection: Rejection, status: &str, extra: &[&str], reason: &str) {
        let expected = refusal(status, extra, reason);
        decides("GET", |request| request.reject(rejection), &expected);
    }
    rejects(
        Rejection::FORBIDDEN,
        "403 Forbidden",
        &[],
        "the client may not read this",
    );
    rejects(
        Rejection::UNAUTHORIZED,
        "401 Unauthorized",
        &["WWW-Authenticate: Bearer"],
        "the request needs credentials",
    );
    rejects(
        Rejection::UNAVAILABLE.header("Retry-After", "30").unwrap(),
        "503 Service Unavailable",
        &["Retry-After: 30"],
        "the server is at capacity; retry later",
    );
    let sunday = Rejection::FORBIDDEN.because("not on Sundays");
    rejects(sunday, "403 Forbidden", &[], "not on Sundays");
    rejects(
        Rejection::new(410, "it is over"),
        "410 Gone",
        &[],
        "it is over",
    );
}

#[test]
fn the_application_may_respond_without_a_stream() {
    let page = Response::new(200).with_body("text/html; charset=utf-8", "<h1>Hé</h1>");
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\
                Content-Length: 12\r\nContent-Type: text/html; charset=utf-8\r\n\r\n";
    decides("HEAD", |request| request.respond(page.clone()), head);
    decides(
        "GET",
        |request| request.respond(page),
        &format!("{head}<h1>Hé</h1>"),
    );

    let moved = Response::new(308).header("Location", "/sse").unwrap();
    decides(
        "GET",
        |request| request.respond(moved),
        "HTTP/1.1 308 Permanent Redirect\r\nConnection: close\r\n\
         Content-Length: 0\r\nLocation: /sse\r\n\r\n",
    );
    // The only response after which a browser does not reconnect.
    decides(
        "GET",
        |request| request.respond(Response::new(204)),
        "HTTP/1.1 204 No Content\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n",
    );
    let cached = Response::new(204).header("Cache-Control", "max-age=9");
    decides(
        "GET",
        |request| request.respond(cached.unwrap()),
        "HTTP/1.1 204 No Content\r\nConnection: close\r\nCache-Control: max-age=9\r\n\r\n",
    );
}

/// RFC 9110, 6.4.1: a 204 or 304 has no content.
#[test]
fn a_response_without_content_has_no_body() {
    for status in [204, 304] {
        let response = Response::new(status).with_body("text/plain", "lost");
        let wire = Upgrader::new().reply(response, None, None).encode();
        let text = text_of(&wire);
        assert!(
            text.ends_with("\r\n\r\n") && !text.contains("Content-Length"),
            "{text}"
        );
    }
}

#[test]
#[should_panic(expected = "a status code of a response is from 200 to 599")]
fn a_response_has_a_final_status() {
    let _ = Response::new(101);
}

#[test]
fn a_response_that_is_not_written_whole_is_an_error() {
    let mut peer = Peer::sends(REQUEST);
    peer.takes = 20;
    let rejected = Upgrader::new()
        .read(&mut peer)
        .unwrap()
        .reject(Rejection::NOT_FOUND);
    assert_failed(rejected, io::ErrorKind::BrokenPipe);
}

#[test]
fn an_error_describes_the_end_of_the_connection() {
    #[track_caller]
    fn is(error: impl Into<UpgradeError>, sentence: &str, source: Option<&str>) {
        let error = error.into();
        assert_eq!(error.to_string(), sentence);
        assert_eq!(error.source().map(ToString::to_string).as_deref(), source);
    }
    is(
        Rejection::NOT_FOUND,
        "the request was refused with 404 Not Found: there is nothing at this path",
        Some("404 Not Found: there is nothing at this path"),
    );
    is(
        UpgradeError::Answered,
        "the request was HEAD or OPTIONS and has been answered",
        None,
    );
    let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
    let sentence = "the connection failed: timed out";
    is(timed_out(), sentence, Some("timed out"));
    is(SendError::Io(timed_out()), sentence, Some("timed out"));
}

/// `?` works on every call in a handler.
#[test]
fn every_error_of_a_stream_can_be_returned_from_a_handler() {
    fn handle(peer: &mut Peer) -> Result<(), UpgradeError> {
        let mut stream = Upgrader::new().read(peer)?.accept()?;
        stream.set_id(7)?;
        stream.set_event("tick")?;
        stream.write_str("hey")?;
        stream.flush()?;
        stream.close()?;
        Ok(())
    }
    let mut peer = Peer::sends(REQUEST);
    handle(&mut peer).unwrap();
    let body = "id: 7\nevent: tick\ndata: hey\n\nevent: close\ndata: \n\n";
    assert_eq!(peer.output(), response(&ACCEPTED, body));
    for n in 0..peer.output().len() {
        let mut peer = Peer::sends(REQUEST);
        peer.takes = n;
        assert_failed(handle(&mut peer), io::ErrorKind::BrokenPipe);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Any input, split in any way, yields one response of the library or a stream.
    #[test]
    fn no_request_injects_into_its_response(
        request in hostile_request(),
        at_once in 1..50_usize,
    ) {
        let upgrader = Upgrader::new().allow_any_origin().allow_credentials();
        let mut peer = Peer::sends(&request).at_once(at_once);
        let _ = serve(&upgrader, &mut peer);
        let output = peer.output();
        let (head, body) = output.split_once("\r\n\r\n").unwrap();
        let (status, headers) = head.split_once("\r\n").unwrap();
        prop_assert!(status.starts_with("HTTP/1.1 "), "{status:?}");
        for line in headers.split("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            prop_assert!(OUR_HEADERS.contains(&name), "{line:?}");
            prop_assert!(!value.contains(['\r', '\n', '\0']), "{line:?}");
        }
        prop_assert!(body == HEY || body.lines().count() <= 1, "{body:?}");
    }
}

const OUR_HEADERS: [&str; 12] = [
    "Connection",
    "Content-Type",
    "Content-Length",
    "Cache-Control",
    "X-Accel-Buffering",
    "Allow",
    "Vary",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
    "Access-Control-Max-Age",
];

/// Requests that are almost valid.
fn hostile_request() -> impl Strategy<Value = Vec<u8>> {
    let right = vec![
        "GET /sse HTTP/1.1",
        "HEAD /sse HTTP/1.0",
        "OPTIONS * HTTP/1.1",
    ];
    let line = prop_oneof![
        8 => prop::sample::select(right).prop_map(str::to_owned),
        1 => "[A-Z]{1,7} [/?#a-z:%]{0,9} HTTP/[01].[012]",
    ];
    let name = prop::sample::select(vec![
        "Host: ",
        "Origin: ",
        "Accept: */*, ",
        "Last-Event-ID: ",
        "Access-Control-Request-Method: ",
        "Access-Control-Request-Headers: ",
        "Content-Length: 0",
        "X: ",
    ]);
    let value = prop_oneof![
        4 => "[a-z0-9:/.*;=, é]{0,9}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    let end = prop_oneof![
        6 => Just("\r\n"),
        1 => prop::sample::select(vec!["\n", "\r", "\r\n "]),
    ];
    let header = (name, value, end)
        .prop_map(|(name, value, end)| [name.as_bytes(), &value, end.as_bytes()].concat());
    let headers = prop::collection::vec(header, 0..5).prop_map(|headers| headers.concat());
    (line, headers).prop_map(|(line, headers)| {
        [line.as_bytes(), b"\r\nHost: a\r\n", &headers, b"\r\n"].concat()
    })
}

/// Checks that the application's response is written at once and flushed.
#[track_caller]
fn decides(
    method: &str,
    decide: impl FnOnce(Request<&mut Peer>) -> Result<(), UpgradeError>,
    expected: &str,
) {
    let mut peer = Peer::sends(format!("{method} / HTTP/1.0\r\n\r\n"));
    let request = Upgrader::new()
        .read(&mut peer)
        .expect("the request is valid");
    decide(request).expect("the connection takes all");
    assert_eq!(peer.output(), expected);
    assert_eq!(peer.done.len(), 2);
    assert_eq!(peer.done[1], Done::Flushed);
}

#[track_caller]
fn assert_rejected(served: Result<(), UpgradeError>) {
    match served {
        Err(UpgradeError::Rejected(_)) => {}
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_failed(served: Result<(), UpgradeError>, kind: io::ErrorKind) {
    match served {
        Err(UpgradeError::Io(error)) => assert_eq!(error.kind(), kind),
        other => panic!("{other:?}"),
    }
}
