//! Requests with a body, over the blocking upgrader.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;

use sse_core::{Rejection, Response, UpgradeError, Upgrader};

mod common;
use common::peer::{ACCEPTED, Done, Peer, refusal, response};

#[path = "common/posts.rs"]
mod posts;
use posts::{Expected, LIMIT, posts};

fn upgrader() -> Upgrader {
    Upgrader::new().allow_methods(["GET", "POST"]).unwrap()
}

/// Responds with the body, after "100 Continue" where it is awaited.
fn echo(upgrader: &Upgrader, peer: &mut Peer) -> Result<(), UpgradeError> {
    let (request, body) = upgrader.read(peer)?.read_body(LIMIT)?;
    request.respond(Response::new(200).with_body("text/plain", body))
}

#[test]
fn a_body_is_read_whole_or_refused() {
    for post in posts() {
        for at_once in [usize::MAX, 100, 7, 1] {
            let mut peer = Peer::sends(&post.bytes).at_once(at_once);
            let served = echo(&upgrader(), &mut peer);
            post.check(peer.output().as_bytes());
            match (served, &post.expected) {
                (Ok(()), Expected::Body(_)) => {}
                (Err(UpgradeError::Rejected(rejection)), Expected::Refused(status)) => {
                    assert_eq!(rejection.status(), *status, "{}", post.name);
                }
                (served, _) => panic!("{}: {served:?}", post.name),
            }
        }
    }
}

#[test]
fn refusals_say_what_to_do() {
    let ask = |headers: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let length = "Content-Length: 5\r\n";
    for (request, status, extra, reason) in [
        (
            ask(""),
            "411 Length Required",
            &[][..],
            "the request has no body; send one with Content-Length or in chunks",
        ),
        (
            ask("Content-Length: 1001\r\n"),
            "413 Content Too Large",
            &[],
            "the body exceeds 1000 bytes; send less",
        ),
        (
            ask(length),
            "400 Bad Request",
            &[],
            "the body is incomplete: the connection ended after 0 of 5 bytes",
        ),
        (
            ask("Transfer-Encoding: chunked\r\n") + "x",
            "400 Bad Request",
            &[],
            "a chunk size is not a hexadecimal number below 2^64",
        ),
        (
            ask("Expect: magic\r\n"),
            "417 Expectation Failed",
            &[],
            "Expect asks for more than 100-continue; send the request without it",
        ),
        (
            ask("Origin: http://evil\r\n"),
            "403 Forbidden",
            &[],
            "pages of this origin may not send such requests",
        ),
        (
            ask("").replace("POST", "DELETE"),
            "405 Method Not Allowed",
            &["Allow: GET, POST, OPTIONS"],
            "the method is not allowed; use one of GET, POST",
        ),
    ] {
        let mut peer = Peer::sends(&request);
        let _ = echo(&upgrader(), &mut peer);
        assert_eq!(peer.output(), refusal(status, extra, reason), "{request}");
    }
}

/// A form needs no preflight, and browsers send it with the visitor's cookies.
#[test]
fn no_page_acts_for_its_visitor_where_every_origin_may_read() {
    let any = upgrader().allow_any_origin();
    let trusting = any.clone().allow_credentials();
    let (own, other) = ("Origin: http://a\r\n", "Origin: http://evil\r\n");
    let cookie = "Cookie: session=1\r\n";
    for (upgrader, headers, is_allowed) in [
        (&any, format!("{other}{cookie}"), false),
        (&any, format!("Origin: null\r\n{cookie}"), false),
        (&any, other.to_owned(), true),
        (&any, format!("{other}Authorization: Bearer key\r\n"), true),
        (&any, format!("{other}Authorization: Token key\r\n"), true),
        (&any, format!("{other}Authorization: Basic YTpi\r\n"), false),
        (
            &any,
            format!("{other}Authorization: negotiate YTpi\r\n"),
            false,
        ),
        (&any, format!("{own}Authorization: Basic YTpi\r\n"), true),
        (&any, "Authorization: Basic YTpi\r\n".to_owned(), true),
        (&any, format!("{own}{cookie}"), true),
        (&any, cookie.to_owned(), true),
        (&trusting, format!("{other}{cookie}"), true),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}");
        let mut peer = Peer::sends(format!("{head}Content-Length: 5\r\n\r\nhello"));
        let _ = echo(upgrader, &mut peer);
        let status = if is_allowed {
            "200 OK"
        } else {
            "403 Forbidden"
        };
        let output = peer.output();
        assert!(
            output.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}{output}"
        );
    }
}

#[test]
fn a_body_that_stalls_at_byte_n_is_refused() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let reason = "the request body took too long to arrive";
    for kind in [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut] {
        for n in 0..5 {
            let mut peer = Peer::sends(head).then_sends(&"hello"[..n]).then_fails(kind);
            let _ = echo(&upgrader(), &mut peer);
            assert_eq!(peer.output(), refusal("408 Request Timeout", &[], reason));
        }
    }
}

#[test]
fn a_body_that_fails_at_byte_n_is_an_error() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    for n in 0..5 {
        let mut peer = Peer::sends(head)
            .then_sends(&"hello"[..n])
            .then_fails(io::ErrorKind::ConnectionReset);
        match echo(&upgrader(), &mut peer) {
            Err(UpgradeError::Io(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(peer.done, []);
    }
}

/// RFC 9110, 10.1.1.
#[test]
fn a_client_that_waits_gets_100_continue_only_if_the_body_is_wanted() {
    let head = |length| {
        format!(
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let go_on = Done::Wrote(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());

    let mut peer = Peer::sends(head(5)).then_sends("hello");
    echo(&upgrader(), &mut peer).unwrap();
    assert_eq!(peer.done[..2], [go_on, Done::Flushed]);
    assert!(peer.output().ends_with("\r\n\r\nhello"));

    for (request, status) in [
        (head(1001), "413"),        // beyond the limit
        (head(5) + "hello", "200"), // sent already
        (head(0), "200"),           // nothing to send
        (head(5).replace("Host: a", "Origin: null\r\nHost: a"), "403"), // not wanted
    ] {
        let mut peer = Peer::sends(request);
        let _ = echo(&upgrader(), &mut peer);
        assert_eq!(peer.output().get(9..12), Some(status));
        assert!(!peer.output().contains("100 Continue"));
    }
    let mut peer = Peer::sends(head(5));
    upgrader()
        .read(&mut peer)
        .and_then(|request| request.reject(Rejection::FORBIDDEN))
        .unwrap();
    assert!(peer.output().starts_with("HTTP/1.1 403 "));
}

/// It sends the body then, and a reset would cost it the response.
#[test]
fn a_client_that_was_told_to_continue_is_read_after_a_refusal() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n";
    let head = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    for body in ["x", "3e9\r\n"] {
        let mut peer = Peer::sends(&head).then_sends(body).then_sends("more");
        let _ = echo(&upgrader(), &mut peer);
        assert!(peer.output().contains("100 Continue"));
        assert_eq!(peer.read, head.len() + body.len() + 4, "{body}");
    }
}

/// Nothing has arrived that would reset the connection, and the next read would wait as long.
#[test]
fn a_client_that_stalls_in_its_body_is_not_read_after_the_refusal() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    let mut peer = Peer::sends(head)
        .then_fails(io::ErrorKind::WouldBlock)
        .then_sends("hello");
    let _ = echo(&upgrader(), &mut peer);
    assert!(peer.output().starts_with("HTTP/1.1 408 "));
    assert_eq!(peer.read, head.len());
}

/// Otherwise a cache sends one form to a client that accepts only the other.
#[test]
fn a_response_that_was_chosen_by_accept_says_so() {
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nAccept: ";
    for (accept, own, expected) in [
        ("application/json", None, "Vary: Accept"),
        ("application/json", Some("Cookie"), "Vary: Cookie, Accept"),
        ("application/json", Some("accept"), "Vary: accept"),
        ("text/event-stream", None, "Vary: Accept"),
    ] {
        let mut peer = Peer::sends(format!("{ask}{accept}\r\n\r\n"));
        let request = upgrader().read(&mut peer).unwrap();
        if request.accepts_event_stream() {
            request.accept().unwrap();
        } else {
            let json = Response::new(200).with_body("application/json", "{}");
            let json = own
                .into_iter()
                .try_fold(json, |json, own| json.header("Vary", own));
            request.respond(json.unwrap()).unwrap();
        }
        let output = peer.output();
        assert!(output.contains(&format!("\r\n{expected}\r\n")), "{output}");
    }
    let mut peer = Peer::sends(format!("{ask}*/*\r\n\r\n"));
    let listed = upgrader().allow_origin("https://b").unwrap();
    let request = listed.read(&mut peer).unwrap();
    assert!(request.accepts_event_stream());
    request.respond(Response::new(204)).unwrap();
    assert!(peer.output().contains("\r\nVary: Accept, Origin\r\n"));
    let mut peer = Peer::sends(format!("{ask}*/*\r\n\r\n"));
    upgrader().read(&mut peer).unwrap().accept().unwrap();
    assert!(!peer.output().contains("Vary"), "nobody has asked");
}

#[test]
fn a_stream_may_follow_a_body() {
    let request =
        "POST /?a=b HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let accepted = [&ACCEPTED[..], &["Vary: Accept"]].concat();
    for (ignores_accept, head) in [
        (true, response(&accepted, "data: hey\n\n")),
        (false, String::new()),
    ] {
        let mut peer = Peer::sends(request);
        let (request, body) = upgrader().read(&mut peer).unwrap().read_body(9).unwrap();
        assert_eq!(body, b"{}");
        assert!(!request.accepts_event_stream());
        let request = if ignores_accept {
            request.ignore_accept()
        } else {
            request
        };
        match request.accept() {
            Ok(mut stream) => stream.write_str("hey").unwrap(),
            Err(error) => assert!(error.to_string().contains("406")),
        }
        assert!(peer.output().starts_with(&head), "{}", peer.output());
    }
}

/// Otherwise the system resets the connection, and the response is lost.
#[test]
fn an_unwanted_body_is_read_after_the_response_within_bounds() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n";
    let mut peer = Peer::sends(head);
    peer.is_endless = true;
    let request = upgrader().read(&mut peer).unwrap();
    request.reject(Rejection::FORBIDDEN).unwrap();
    assert_eq!(peer.read_before_answer, head.len());
    assert_eq!((peer.read - head.len()) as u64, Upgrader::MAX_LINGER);
}

#[test]
fn methods_are_checked_when_they_are_set() {
    for (method, sentence) in [
        ("", "the method is empty; use at least one character"),
        ("PO ST", "the method has ' ' at byte 2; remove it"),
        (
            "POST\r\nX: y",
            "the method has a carriage return at byte 4; remove it",
        ),
        ("GET, POST", "the method has ',' at byte 3; remove it"),
        (
            "CONNECT",
            "the method asks for a tunnel, not a stream; leave it out",
        ),
    ] {
        let error = Upgrader::new().allow_methods([method]).unwrap_err();
        assert_eq!(error.to_string(), sentence);
    }
}

#[test]
fn a_preflight_lists_the_allowed_methods() {
    let upgrader = upgrader().allow_origin("https://b").unwrap();
    let mut peer = Peer::sends(
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\n\
         Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: authorization, content-type, last-event-id\r\n\r\n",
    );
    assert!(matches!(
        echo(&upgrader, &mut peer),
        Err(UpgradeError::Answered)
    ));
    let expected = [
        "HTTP/1.1 204 No Content",
        "Connection: close",
        "Allow: GET, POST, OPTIONS",
        "Access-Control-Allow-Methods: GET, POST",
        "Access-Control-Max-Age: 7200",
        "Access-Control-Allow-Headers: authorization, content-type, last-event-id",
        "Vary: Origin",
        "Access-Control-Allow-Origin: https://b",
    ];
    assert_eq!(peer.output(), response(&expected, ""));
}

/// An origin that may read responses may send requests, too.
#[test]
fn a_page_of_an_allowed_origin_may_send() {
    let listed = upgrader().allow_origin("https://b").unwrap();
    let any = upgrader().allow_any_origin();
    for (upgrader, origin, status) in [
        (&listed, "https://b", "200"),
        (&listed, "https://c", "403"),
        (&any, "https://c", "200"),
        (&any, "null", "200"),
    ] {
        let mut peer = Peer::sends(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n"
        ));
        let _ = echo(upgrader, &mut peer);
        assert_eq!(peer.output().get(9..12), Some(status), "{origin}");
    }
}
