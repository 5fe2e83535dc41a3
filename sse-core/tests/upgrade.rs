//! The response to each request, byte by byte.

#![cfg(feature = "http")]

use std::time::{Duration, UNIX_EPOCH};

use sse_core::{HeadReader, Headers, Rejection, Response, UpgradeError, Upgrader};

mod common;
use common::peer::{ACCEPTED, HEY, Peer, refusal, response, serve};
use common::text_of;

#[test]
fn an_event_stream_is_accepted() {
    let upgrader = Upgrader::new();
    answers(&upgrader, get(&[]), stream(&[]));
    answers(&upgrader, get(&["Accept: text/event-stream"]), stream(&[]));
    answers(&upgrader, get(&["Content-Length: 0"]), stream(&[]));
    answers(&upgrader, get(&["Origin: https://b.example"]), stream(&[]));
    answers(
        &upgrader,
        get(&["Connection: keep-alive", "Upgrade: h2c"]),
        stream(&[]),
    );
    answers(&upgrader, ask("GET /sse?a=b", &[]), stream(&[]));
    answers(&upgrader, ask("GET http://b.example/sse", &[]), stream(&[]));
}

/// The stream is not chunked for HTTP/1.1 either, so there is nothing to leave out.
#[test]
fn http_1_0_gets_the_same_stream() {
    let upgrader = Upgrader::new();
    answers(&upgrader, "GET /sse HTTP/1.0\r\n\r\n", stream(&[]));
    answers(
        &upgrader,
        "GET /sse HTTP/1.0\nHost: a.example\n\n",
        stream(&[]),
    );
}

#[test]
fn the_reconnection_time_is_sent_first() {
    let upgrader = Upgrader::new().retry(Duration::from_micros(2_999_001));
    let expected = response(&ACCEPTED, "retry: 3000\n\ndata: hey\n\n");
    answers(&upgrader, get(&[]), expected);
    answers(&upgrader, ask("HEAD /sse", &[]), response(&ACCEPTED, ""));
}

#[test]
fn headers_can_be_added_and_replaced() {
    let upgrader = Upgrader::new()
        .header("X-Served-By", "me")
        .and_then(|upgrader| upgrader.header("cache-control", "no-store"))
        .and_then(|upgrader| upgrader.header("X-Accel-Buffering", "yes"))
        .and_then(|upgrader| upgrader.header("x-served-by", "you\tand é"))
        .unwrap();
    let added = [
        "cache-control: no-store",
        "X-Accel-Buffering: yes",
        "x-served-by: you\tand é",
    ];
    answers(
        &upgrader,
        get(&[]),
        response(&[&ACCEPTED[..3], &added].concat(), HEY),
    );
}

#[test]
fn a_head_request_gets_only_the_head() {
    let upgrader = Upgrader::new();
    answers(&upgrader, ask("HEAD /sse", &[]), response(&ACCEPTED, ""));
    answers(&upgrader, ask("HEAD /other", &[]), without_body(NOT_FOUND));
    let unacceptable = ask("HEAD /sse", &["Accept: text/html"]);
    answers(&upgrader, unacceptable, without_body(NOT_ACCEPTABLE));
}

/// RFC 9110, 9.3.2: "the server MUST NOT send content in the response".
#[test]
fn a_refused_head_request_gets_no_body() {
    let upgrader = Upgrader::new().allow_host("b.example").unwrap();
    answers(&upgrader, ask("HEAD /sse", &[]), without_body(MISDIRECTED));
    let with_body = ask("HEAD /sse", &["Content-Length: 5"]);
    answers(&upgrader, with_body, without_body(TOO_LARGE));
}

#[test]
fn options_lists_the_allowed_methods() {
    let upgrader = Upgrader::new();
    answers(&upgrader, ask("OPTIONS /sse", &[]), allowed(&[], &[]));
    answers(&upgrader, ask("OPTIONS *", &[]), allowed(&[], &[]));
    // Without configured origins, the headers of a preflight are ignored.
    answers(
        &upgrader,
        ask("OPTIONS /sse", &PREFLIGHT),
        allowed(&[], &[]),
    );
}

#[test]
fn other_methods_are_refused() {
    let upgrader = Upgrader::new();
    for line in [
        "POST /sse",
        "DELETE /sse",
        "get /sse",
        "PRI /",
        "CONNECT b.example:443",
    ] {
        let expected = refusal(
            "405 Method Not Allowed",
            &["Allow: GET, HEAD, OPTIONS"],
            "the method is not allowed; use one that Allow lists",
        );
        answers(&upgrader, ask(line, &[]), expected);
    }
}

#[test]
fn a_body_is_refused() {
    let upgrader = Upgrader::new();
    for line in ["GET /sse", "OPTIONS /sse"] {
        let request = ask(line, &["Content-Length: 5"]);
        answers(&upgrader, request, refused(TOO_LARGE));
    }
}

/// RFC 9110, 12.5.1: the most specific of the matching ranges decides.
#[test]
fn a_client_that_does_not_accept_event_streams_is_refused() {
    let upgrader = Upgrader::new();
    for headers in [
        &["Accept: text/event-stream"][..],
        &["Accept: TEXT/Event-Stream;charset=utf-8"],
        &["Accept: */*"],
        &["Accept: text/*;q=0.001"],
        &["Accept: text/html,application/xhtml+xml,*/*;q=0.8"],
        &["Accept: text/html", "Accept: text/event-stream"],
        &["Accept: */*;q=0, text/event-stream"],
        &["Accept:"],
        &["Accept: , ,"],
    ] {
        answers(&upgrader, get(headers), stream(&[]));
    }
    for headers in [
        &["Accept: text/html"][..],
        &["Accept: application/json, image/*"],
        &["Accept: text/event-stream;q=0"],
        &["Accept: text/event-stream; q=0.000, */*"],
        &["Accept: */*", "Accept: text/*;Q=0."],
        &["Accept: , text/html ,"],
        &["Accept: text/html;x=\", text/event-stream\""],
    ] {
        answers(&upgrader, get(headers), refused(NOT_ACCEPTABLE));
    }
}

/// In a DNS rebinding attack, the attacker's host name resolves to localhost.
#[test]
fn other_hosts_are_refused() {
    let upgrader = Upgrader::new()
        .allow_host("Example.org")
        .and_then(|upgrader| upgrader.allow_host("localhost:8080"))
        .and_then(|upgrader| upgrader.allow_host("[::1]"))
        .unwrap();
    let host = |host| format!("GET /sse HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for served in [
        "example.org",
        "EXAMPLE.ORG",
        "example.org:8080",
        "example.org:",
        "localhost:8080",
        "LocalHost:8080",
        "[::1]",
        "[::1]:8080",
        "example.org.", // RFC 3986, 3.2.2
        "Example.org.:8080",
        "%65xample.org",        // RFC 3986, 6.2.2.2
        "localhost:08080",      // RFC 3986, 6.2.3
        "[0:0:0:0:0:0:0:1]:80", // RFC 5952
    ] {
        answers(&upgrader, host(served), stream(&[]));
    }
    for other in [
        "",
        ".",
        ":8080",
        "example.org..",
        "evil.example",
        "example.org.evil.example",
        "evil-example.org",
        "sub.example.org",
        "localhost",
        "localhost:80",
        "localhost:80801",
        "127.0.0.1",
        "[::2]",
    ] {
        answers(&upgrader, host(other), refused(MISDIRECTED));
    }
    answers(&upgrader, "GET /sse HTTP/1.0\r\n\r\n", refused(MISDIRECTED));
}

#[test]
fn the_host_of_an_absolute_target_overrides_the_header() {
    let upgrader = Upgrader::new().allow_host("a.example").unwrap();
    answers(&upgrader, ask("GET http://a.example/sse", &[]), stream(&[]));
    answers(
        &upgrader,
        ask("GET http://b.example/sse", &[]),
        refused(MISDIRECTED),
    );
}

#[test]
fn a_malformed_or_too_large_head_gets_a_response() {
    let upgrader = Upgrader::new();
    let no_host = (
        "400 Bad Request",
        "the request has no Host header, which HTTP/1.1 requires",
    );
    answers(&upgrader, "GET /sse HTTP/1.1\r\n\r\n", refused(no_host));
    let version = (
        "505 HTTP Version Not Supported",
        "the HTTP version is neither 1.0 nor 1.1",
    );
    answers(&upgrader, "PRI * HTTP/2.0\r\n\r\n", refused(version));
    let not_http = (
        "400 Bad Request",
        "this does not begin like HTTP; the port speaks plain HTTP/1.1",
    );
    answers(&upgrader, "\x16\x03\x01\x02", refused(not_http));

    let long_line = ("414 URI Too Long", "the request line is too long");
    let too_large = (
        "431 Request Header Fields Too Large",
        "the request head is too large or has too many headers",
    );
    let size = |bytes| Upgrader::new().max_head(bytes);
    let request = get(&["X: y"]);
    answers(&size(18), request.clone(), refused(long_line));
    answers(&size(19), request.clone(), refused(too_large));
    answers(
        &size(request.len() - 1),
        request.clone(),
        refused(too_large),
    );
    answers(&size(request.len()), request.clone(), stream(&[]));
    answers(
        &upgrader.clone().max_headers(1),
        request.clone(),
        refused(too_large),
    );
    answers(&upgrader.max_headers(2), request, stream(&[]));
}

#[test]
fn without_configured_origins_there_are_no_cors_headers() {
    answers(&Upgrader::new(), get(&[OURS]), stream(&[]));
}

#[test]
fn every_origin_may_be_allowed() {
    let upgrader = Upgrader::new().allow_any_origin();
    let star = ["Access-Control-Allow-Origin: *"];
    answers(&upgrader, get(&[]), stream(&star));
    answers(&upgrader, get(&[OURS]), stream(&star));
    answers(&upgrader, get(&["Origin: null"]), stream(&star));
    answers(&upgrader, ask("OPTIONS /sse", &[OURS]), allowed(&star, &[]));
    answers(
        &upgrader,
        ask("OPTIONS /sse", &PREFLIGHT),
        allowed(&star, &PREFLIGHT_ANSWER),
    );

    // "*" is not allowed with credentials, so the header names the origin.
    let upgrader = upgrader.allow_credentials();
    answers(&upgrader, get(&[]), stream(&["Vary: Origin"]));
    answers(&upgrader, get(&[OURS]), stream(&NAMED_WITH_CREDENTIALS));
}

#[test]
fn origins_may_be_listed() {
    let upgrader = Upgrader::new()
        .allow_origin("https://c.example:8443")
        .and_then(|upgrader| upgrader.allow_origin("HTTPS://B.example"))
        .unwrap();
    let named = &NAMED_WITH_CREDENTIALS[..2];
    answers(&upgrader, get(&[]), stream(&["Vary: Origin"]));
    answers(&upgrader, get(&[OURS]), stream(named));
    answers(
        &upgrader,
        ask("OPTIONS /sse", &[]),
        allowed(&["Vary: Origin"], &[]),
    );
    answers(&upgrader, ask("OPTIONS /sse", &[OURS]), allowed(named, &[]));
    answers(
        &upgrader,
        ask("OPTIONS /sse", &PREFLIGHT),
        allowed(named, &PREFLIGHT_ANSWER),
    );
    let upgrader = upgrader.allow_credentials();
    answers(&upgrader, get(&[OURS]), stream(&NAMED_WITH_CREDENTIALS));

    for other in [
        "Origin: null",
        "Origin: http://b.example",
        "Origin: https://b.example:8443",
        "Origin: https://c.example",
        "Origin: https://sub.b.example",
        "Origin: https://b.example.evil.example",
        "Origin: https://b.example/",
        "Origin:",
    ] {
        let expected = refused_with(OTHER_ORIGIN, &["Vary: Origin"]);
        answers(&upgrader, get(&[other]), &expected);
        answers(&upgrader, ask("OPTIONS /sse", &[other]), &expected);
    }
}

#[test]
fn a_clone_has_its_own_settings() {
    let upgrader = Upgrader::new();
    let _other = upgrader.clone().allow_any_origin().max_headers(0);
    answers(&upgrader, get(&[OURS]), stream(&[]));
}

#[test]
fn no_setting_injects_a_header() {
    #[track_caller]
    fn refuses(name: &'static str, value: &'static str, sentence: &str) {
        let error = Upgrader::new().header(name, value).unwrap_err().to_string();
        assert_eq!(error, sentence);
        assert_eq!(
            Response::new(200)
                .header(name, value)
                .unwrap_err()
                .to_string(),
            sentence
        );
        assert_eq!(
            Rejection::FORBIDDEN
                .header(name, value)
                .unwrap_err()
                .to_string(),
            sentence
        );
        assert_eq!(
            Headers::new().with(name, value).unwrap_err().to_string(),
            sentence
        );
    }
    refuses(
        "X",
        "a\r\nY: b",
        "the header value has a carriage return at byte 1; remove it",
    );
    refuses(
        "X",
        "a\rb",
        "the header value has a carriage return at byte 1; remove it",
    );
    refuses(
        "X",
        "é\n",
        "the header value has a line feed at byte 2; remove it",
    );
    refuses("X", "\0", "the header value has a NUL at byte 0; remove it");
    refuses(
        "X",
        "\x7f",
        "the header value has '\\u{7f}' at byte 0; remove it",
    );
    refuses(
        "X\r\nY",
        "a",
        "the header name has a carriage return at byte 1; remove it",
    );
    refuses("X Y", "a", "the header name has ' ' at byte 1; remove it");
    refuses("X:", "a", "the header name has ':' at byte 1; remove it");
    refuses("é", "a", "the header name has 'é' at byte 0; remove it");
    refuses(
        "",
        "a",
        "the header name is empty; use at least one character",
    );
    let framing = "the header name is reserved, because the library sets it; leave it out";
    refuses("content-length", "5", framing);
    refuses("Content-Type", "text/html", framing);
    refuses("Transfer-Encoding", "chunked", framing);
    refuses("CONNECTION", "keep-alive", framing);
    refuses("Upgrade", "websocket", framing);
}

#[test]
fn a_malformed_allowed_host_is_an_error() {
    let sentence = |text| Upgrader::new().allow_host(text).unwrap_err().to_string();
    assert_eq!(
        sentence(""),
        "the host is empty; use at least one character"
    );
    assert_eq!(
        sentence("http://a"),
        "the host has '/' at byte 5; remove it"
    );
    assert_eq!(sentence("a, b"), "the host has ',' at byte 1; remove it");
    assert_eq!(sentence("bücher"), "the host has 'ü' at byte 1; remove it");
    assert_eq!(
        sentence("a\r\nb"),
        "the host has a carriage return at byte 1; remove it"
    );
    for text in ["a:b", "::1", "[::1", "[::1]b", "a:1:2", "a%"] {
        assert_eq!(
            sentence(text),
            "the host is malformed; write it like example.org:8080"
        );
    }
}

/// A malformed origin would never match.
#[test]
fn a_malformed_allowed_origin_is_an_error() {
    let sentence = |text| Upgrader::new().allow_origin(text).unwrap_err().to_string();
    assert_eq!(
        sentence(""),
        "the origin is empty; use at least one character"
    );
    assert_eq!(
        sentence("https://a/"),
        "the origin has '/' at byte 9; remove it"
    );
    assert_eq!(
        sentence("https://a, https://b"),
        "the origin has ',' at byte 9; remove it"
    );
    assert_eq!(
        sentence("https://me@a"),
        "the origin has '@' at byte 10; remove it"
    );
    assert_eq!(
        sentence("https://a\nb"),
        "the origin has a line feed at byte 9; remove it"
    );
    for text in [
        "a.example",
        "a:8080",
        "*",
        "https://",
        "://a",
        "https:a",
        "https://a:b",
    ] {
        let expected = "the origin is malformed; write it like https://example.org";
        assert_eq!(sentence(text), expected, "{text:?}");
    }
}

#[test]
fn a_malformed_scheme_of_an_origin_is_an_error() {
    for text in ["ht tp://a", "ht\ntp://a", ", https://a", "é://a"] {
        assert!(Upgrader::new().allow_origin(text).is_err(), "{text:?}");
    }
}

/// Sandboxed pages and local files have the origin `null`.
#[test]
fn the_opaque_origin_may_be_listed() {
    let upgrader = Upgrader::new().allow_origin("null").unwrap();
    let named = ["Vary: Origin", "Access-Control-Allow-Origin: null"];
    answers(&upgrader, get(&["Origin: null"]), stream(&named));
    let refused = refused_with(OTHER_ORIGIN, &["Vary: Origin"]);
    answers(&upgrader, get(&[OURS]), refused);
}

/// RFC 9110, 9.3.1: the content of a GET has no meaning. RFC 9112, 9.6: the connection is closed,
/// so the end of the content does not matter.
#[test]
fn an_empty_chunked_body_is_accepted() {
    let upgrader = Upgrader::new();
    for headers in [
        &["Transfer-Encoding: chunked"][..],
        &["Transfer-Encoding: Chunked"],
        &["transfer-encoding: , chunked ,"], // RFC 9110, 5.6.1
        &["Transfer-Encoding:", "Transfer-Encoding: chunked"], // RFC 9110, 5.3
    ] {
        answers(&upgrader, get(headers) + "0\r\n\r\n", stream(&[]));
        answers(&upgrader, get(headers), stream(&[]));
        let options = ask("OPTIONS /sse", headers) + "0\r\n\r\n";
        answers(&upgrader, options, allowed(&[], &[]));
    }
}

/// RFC 9112, 6.1 and 6.3.
#[test]
fn other_transfer_codings_are_refused() {
    let upgrader = Upgrader::new();
    let list = "Transfer-Encoding is not a list of codings";
    let end = "Transfer-Encoding does not end with chunked, or lists it twice";
    let unknown = "the request has a transfer coding other than chunked; send it without one";
    for (headers, status, reason) in [
        (&["Transfer-Encoding: gzip, chunked"][..], 501, unknown),
        (
            &["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
            501,
            unknown,
        ),
        (&["Transfer-Encoding: x;a=b, chunked"], 501, unknown),
        (&["Transfer-Encoding: xchunked, chunked"], 501, unknown),
        (&["Transfer-Encoding: gzip"], 400, end),
        (&["Transfer-Encoding: identity"], 400, end),
        (&["Transfer-Encoding: xchunked"], 400, end),
        (&["Transfer-Encoding:"], 400, end),
        (&["Transfer-Encoding: chunked, gzip"], 400, end),
        (&["Transfer-Encoding: chunked, chunked"], 400, end),
        (
            &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
            400,
            end,
        ),
        (&["Transfer-Encoding: chunked;a=b"], 400, list), // RFC 9112, 7.1
        (&["Transfer-Encoding: chunk ed"], 400, list),
        (&["Transfer-Encoding: ;a, chunked"], 400, list),
        (&["Transfer-Encoding: \"chunked\""], 400, list),
        (
            &["Transfer-Encoding: \u{b}chunked"],
            400,
            "a header value has a control character",
        ),
    ] {
        let phrase = match status {
            400 => "400 Bad Request",
            _ => "501 Not Implemented",
        };
        let request = get(headers) + "0\r\n\r\n";
        answers(&upgrader, request, refused((phrase, reason)));
    }
}

/// Fetch, "CORS check": without the header the page cannot see even the status.
#[test]
fn every_response_has_cors_headers() {
    let named = &NAMED_WITH_CREDENTIALS[..2];
    let star = &["Access-Control-Allow-Origin: *"][..];
    let listed = Upgrader::new().allow_origin("https://b.example").unwrap();
    let any = Upgrader::new().allow_any_origin();
    let bad = (
        "400 Bad Request",
        "the last event ID in the query has a control character",
    );
    let no_host = (
        "400 Bad Request",
        "the request has no Host header, which HTTP/1.1 requires",
    );
    let many = (
        "431 Request Header Fields Too Large",
        "the request head is too large or has too many headers",
    );
    let unknown = (
        "501 Not Implemented",
        "the request has a transfer coding other than chunked; send it without one",
    );
    for (upgrader, cors) in [(listed, named), (any, star)] {
        let expected = |refusal| refused_with(refusal, cors);
        answers(&upgrader, ask("GET /other", &[OURS]), expected(NOT_FOUND));
        let unacceptable = get(&["Accept: text/html", OURS]);
        answers(&upgrader, unacceptable, expected(NOT_ACCEPTABLE));
        let too_large = get(&["Content-Length: 5", OURS]);
        answers(&upgrader, too_large, expected(TOO_LARGE));
        answers(
            &upgrader,
            ask("GET /sse?lastEventId=%0A", &[OURS]),
            expected(bad),
        );
        let hostless = format!("GET /sse HTTP/1.1\r\n{OURS}\r\n\r\n");
        answers(&upgrader, hostless, expected(no_host));
        let coded = get(&["Transfer-Encoding: gzip, chunked", OURS]);
        answers(&upgrader, coded, expected(unknown));
        let narrow = upgrader.clone().max_headers(2);
        answers(&narrow, get(&[OURS, "X: y"]), expected(many));
        let narrow = upgrader.clone().max_head(80);
        answers(
            &narrow,
            get(&[OURS, &format!("X: {}", "y".repeat(80))]),
            expected(many),
        );
        let hosts = upgrader.allow_host("b.example").unwrap();
        answers(&hosts, get(&[OURS]), expected(MISDIRECTED));
    }
}

/// The part of a header that was read may name a different origin.
#[test]
fn an_origin_that_is_cut_off_is_ignored() {
    let upgrader = Upgrader::new()
        .allow_origin("https://b")
        .unwrap()
        .max_head(58);
    let request = get(&["Origin: https://b.evil"]);
    let reason = "the request head is too large or has too many headers";
    let too_large = ("431 Request Header Fields Too Large", reason);
    answers(
        &upgrader,
        request,
        refused_with(too_large, &["Vary: Origin"]),
    );
}

/// Headers of the application take precedence.
#[test]
fn vary_and_cors_headers_of_the_program_are_kept() {
    let page =
        |name: &'static str, value: &'static str| Response::new(204).header(name, value).unwrap();
    let upgrader = Upgrader::new().allow_origin("https://b.example").unwrap();
    let headers = |response: Response| {
        let reply = upgrader.reply(response, None, None);
        reply
            .headers()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(headers(page("vary", "Accept")), ["vary: Accept, Origin"]);
    assert_eq!(headers(page("Vary", "X, origin")), ["Vary: X, origin"]);
    assert_eq!(headers(page("Vary", "*")), ["Vary: *"]);
    let own = "Access-Control-Allow-Origin: https://c";
    assert_eq!(
        headers(page("Access-Control-Allow-Origin", "https://c")),
        [own]
    );
}

#[test]
fn the_servers_own_origin_is_always_allowed() {
    let upgrader = Upgrader::new().allow_origin("https://b.example").unwrap();
    let expected = |origin: &str| {
        let origin = format!("Access-Control-Allow-Origin: {origin}");
        stream(&["Vary: Origin", &origin])
    };
    for origin in ["http://a.example", "https://a.example"] {
        let header = format!("Origin: {origin}");
        answers(&upgrader, get(&[&header]), expected(origin));
    }
    let upgrader = upgrader.https();
    let own = "https://a.example";
    answers(
        &upgrader,
        get(&["Origin: https://a.example"]),
        expected(own),
    );
    let refused = refused_with(OTHER_ORIGIN, &["Vary: Origin"]);
    answers(&upgrader, get(&["Origin: http://a.example"]), &refused);
    answers(
        &upgrader,
        get(&["Origin: https://a.example:8443"]),
        &refused,
    );
}

/// RFC 9110, 6.6.1: an origin server with a clock sends `Date` with every response.
#[test]
fn every_response_has_a_date() {
    let clock = || UNIX_EPOCH + Duration::from_secs(784_111_777);
    let upgrader = Upgrader::new().clock(clock).max_headers(2);
    for request in [
        get(&[]),
        ask("HEAD /sse", &[]),
        ask("GET /other", &[]),
        ask("OPTIONS /sse", &[]),
        ask("POST /sse", &[]),
        get(&["X: y", "X: y"]),
        "not HTTP\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02".to_owned(),
    ] {
        let mut peer = Peer::sends(&request);
        let _ = serve(&upgrader, &mut peer);
        let response = peer.output();
        let second = response.split("\r\n").nth(1);
        assert_eq!(
            second,
            Some("Date: Sun, 06 Nov 1994 08:49:37 GMT"),
            "{request}"
        );
    }
}

/// A caller may do its own input and output.
#[test]
fn the_decisions_are_functions_without_io() {
    let head = |line: &str| {
        let text = format!("{line} HTTP/1.0\r\n\r\n");
        HeadReader::new()
            .read(&mut text.as_bytes())
            .unwrap()
            .unwrap()
    };
    let upgrader = Upgrader::new();
    let get = head("GET /");
    assert_eq!(upgrader.check(&get), Ok(()));
    assert_eq!(upgrader.answer_options(&get), None);
    let reply = upgrader.reply(upgrader.accept(&get).unwrap(), Some(&get), None);
    assert_eq!(text_of(&reply.encode()), response(&ACCEPTED, ""));

    let accepting = upgrader
        .clone()
        .retry(Duration::from_millis(1500))
        .accept(&get)
        .unwrap();
    assert_eq!(
        Vec::from_iter(accepting.headers()),
        [
            ("Content-Type", "text/event-stream"),
            ("Cache-Control", "no-cache, no-transform"),
            ("X-Accel-Buffering", "no"),
        ]
    );
    assert_eq!(accepting.body(), &b"retry: 1500\n\n"[..]);

    let post = head("POST /");
    assert_eq!(upgrader.check(&post), Err(Rejection::METHOD_NOT_ALLOWED));
    assert_eq!(upgrader.answer_options(&post), None);

    let options = head("OPTIONS *");
    assert_eq!(upgrader.check(&options), Ok(()));
    assert_eq!(upgrader.answer_options(&options).unwrap().status(), 204);

    let mut reader = upgrader.max_head(10).head_reader();
    let refused = reader
        .read(&mut &b"GET / HTTP/1.0\r\n\r\n"[..])
        .unwrap_err();
    assert_eq!(refused, Rejection::URI_TOO_LONG);
}

const OURS: &str = "Origin: https://b.example";

const NAMED_WITH_CREDENTIALS: [&str; 3] = [
    "Vary: Origin",
    "Access-Control-Allow-Origin: https://b.example",
    "Access-Control-Allow-Credentials: true",
];

/// Fetch, "CORS protocol": a request with custom headers is preceded by a preflight.
const PREFLIGHT: [&str; 3] = [
    OURS,
    "Access-Control-Request-Method: GET",
    "Access-Control-Request-Headers: authorization, last-event-id",
];

const PREFLIGHT_ANSWER: [&str; 3] = [
    "Access-Control-Allow-Methods: GET, HEAD",
    "Access-Control-Max-Age: 7200",
    "Access-Control-Allow-Headers: authorization, last-event-id",
];

const OTHER_ORIGIN: Refusal = (
    "403 Forbidden",
    "pages of this origin may not read the stream",
);
const NOT_FOUND: Refusal = ("404 Not Found", "there is nothing at this path");
const NOT_ACCEPTABLE: Refusal = (
    "406 Not Acceptable",
    "Accept excludes event streams, and there is nothing else here",
);
const TOO_LARGE: Refusal = (
    "413 Content Too Large",
    "the request has a body; send it without one",
);
const MISDIRECTED: Refusal = (
    "421 Misdirected Request",
    "the server does not serve the host that the request names",
);

/// A status and a reason.
type Refusal = (&'static str, &'static str);

/// Checks that the response is exactly `expected`, however the request is split, and that the
/// error of a refused request has the same response.
#[track_caller]
fn answers(upgrader: &Upgrader, request: impl AsRef<str>, expected: impl AsRef<str>) {
    let (request, expected) = (request.as_ref(), expected.as_ref());
    for at_once in [usize::MAX, 7, 1] {
        let mut peer = Peer::sends(request).at_once(at_once);
        let served = serve(upgrader, &mut peer);
        assert_eq!(peer.output(), expected);
        if let Err(UpgradeError::Rejected(rejection)) = served {
            let mut reader = upgrader.head_reader();
            let read = reader.read(&mut request.as_bytes());
            let head = read.as_ref().ok().and_then(Option::as_ref);
            let reply = upgrader.reply(rejection, head.or(reader.refused()), None);
            assert_eq!(text_of(&reply.encode()), expected);
        }
    }
}

fn get(headers: &[&str]) -> String {
    ask("GET /sse", headers)
}

fn ask(line: &str, headers: &[&str]) -> String {
    let line = format!("{line} HTTP/1.1");
    response(&[&[&*line, "Host: a.example"], headers].concat(), "")
}

/// Returns the stream, with these headers added.
fn stream(extra: &[&str]) -> String {
    response(&[&ACCEPTED, extra].concat(), HEY)
}

/// Returns the response to `OPTIONS`, with headers of a preflight and of CORS.
fn allowed(cors: &[&str], preflight: &[&str]) -> String {
    let status = ["HTTP/1.1 204 No Content", "Connection: close"];
    let allow = ["Allow: GET, HEAD, OPTIONS"];
    response(&[&status[..], &allow, preflight, cors].concat(), "")
}

fn refused(refusal: Refusal) -> String {
    refused_with(refusal, &[])
}

/// Returns a refusal, with these CORS headers.
fn refused_with((status, reason): Refusal, cors: &[&str]) -> String {
    let whole = refusal(status, &[], reason);
    let (head, body) = whole.split_once("\r\n\r\n").expect("a head");
    response(&[&[head], cors].concat(), body)
}

/// Returns a refusal without its body, as the response to `HEAD`.
fn without_body((status, reason): Refusal) -> String {
    let whole = refusal(status, &[], reason);
    whole[..whole.len() - reason.len() - 1].to_owned()
}
