//! Request heads: valid ones and refused ones, split in every way.

#![cfg(feature = "http")]

use std::iter;

use sse_core::{Head, HeadReader, Rejection};

mod common;
use common::{cuts, show};

#[test]
fn a_head_is_read_and_the_bytes_after_it_are_left() {
    let mut input = &b"GET /sse HTTP/1.1\r\nHost: a.example\r\n\r\nGET /"[..];
    let mut reader = HeadReader::new();
    assert!(reader.is_empty());
    let head = reader.read(&mut input).unwrap().unwrap();
    assert_eq!(input, b"GET /");
    assert_eq!((head.method(), head.target()), ("GET", "/sse"));
    assert_eq!((head.minor_version(), head.host()), (Some(1), "a.example"));
    assert!(!head.has_body());
}

#[test]
fn an_incomplete_head_takes_all_of_the_input() {
    let mut reader = HeadReader::new();
    for mut piece in [
        &b"GET / HTTP/1.1\r\nHo"[..],
        b"",
        b"st: a.example\r\n",
        b"\r",
    ] {
        assert!(reader.read(&mut piece).unwrap().is_none());
        assert_eq!(piece, b"");
        assert!(!reader.is_empty());
    }
    assert!(reader.read(&mut &b"\n"[..]).unwrap().is_some());
}

#[test]
fn a_reader_is_ready_for_another_head() {
    let requests = b"GET /a HTTP/1.0\r\nX: y\r\n\r\nGET /b HTTP/1.0\r\n\r\n\nGET /c HTTP/1.0\n\n";
    for size in 1..=requests.len() {
        let mut reader = HeadReader::new();
        let mut paths = Vec::new();
        for mut piece in requests.chunks(size) {
            while let Some(head) = reader.read(&mut piece).unwrap() {
                paths.push(head.path().to_owned());
            }
        }
        assert_eq!(paths, ["/a", "/b", "/c"], "in pieces of {size}");
    }
}

/// Reading after an error is a mistake of the caller, but must not panic.
#[test]
fn a_reader_continues_after_a_refusal() {
    for refused in [
        "not HTTP at all\r\n\r\n",
        "\0",
        "GET / HTTP/1.1\n\n",
        "GET /too/long HTTP/1.1",
    ] {
        let mut reader = HeadReader::new().max_head(20);
        for mut piece in refused.as_bytes().chunks(7) {
            let _ = reader.read(&mut piece);
        }
        let _ = reader.read(&mut &b"GET / HTTP/1.0\r\n\r\n"[..]);
        let _ = reader.read(&mut &b"X: y\r\n\r\n"[..]);
    }
}

#[test]
fn lines_may_end_with_lf_alone() {
    for request in [
        "GET / HTTP/1.1\nHost: a.example\nX: y\n\n",
        "GET / HTTP/1.1\nHost: a.example\r\nX: y\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\nX: y\r\n\n",
    ] {
        let head = accepts(request);
        assert_eq!(
            (head.host(), head.header("x")),
            ("a.example", Some(&b"y"[..]))
        );
    }
}

#[test]
fn blank_lines_before_the_request_line_are_skipped() {
    for blank in ["\r\n", "\n", "\r\n\n\r\n\r\n"] {
        let head = accepts(format!("{blank}GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"));
        assert_eq!((head.method(), head.path()), ("GET", "/"));
    }
}

#[test]
fn headers_are_found_in_any_case_and_in_order() {
    let head = accepts(
        "GET / HTTP/1.1\r\nHost: a.example\r\nX-a:1\r\nX-B:  2 \t\r\nx-A: \r\nX-C: caf\u{e9}\t!\r\n\r\n",
    );
    let headers = Vec::from_iter(head.headers());
    assert_eq!(
        headers,
        [
            ("Host", &b"a.example"[..]),
            ("X-a", b"1"),
            ("X-B", b"2"),
            ("x-A", b""),
            ("X-C", b"caf\xc3\xa9\t!"),
        ]
    );
    assert_eq!(head.header("X-A"), Some(&b"1"[..]));
    assert_eq!(Vec::from_iter(head.header_values("x-a")), [&b"1"[..], b""]);
    assert_eq!(head.header("X"), None);
}

#[test]
fn a_head_shows_no_secrets_in_debug_output() {
    for (target, shown) in [
        ("/sse", "/sse"),
        ("/sse?token=secret", "/sse?…"),
        ("http://b.example/sse?token=secret", "/sse?…"),
    ] {
        let head = accepts(format!(
            "GET {target} HTTP/1.1\r\nHost: a.example\r\nCookie: secret\r\n\r\n"
        ));
        assert_eq!(
            format!("{head:?}"),
            format!(r#"Head {{ method: "GET", target: {shown}, minor_version: Some(1), .. }}"#)
        );
    }
}

/// RFC 9112, 3.2: a target consists of the characters of a URI, which are ASCII.
#[test]
fn a_target_outside_ascii_is_refused() {
    let reason = "the request target has a character outside ASCII; send it percent-encoded";
    for target in ["/\u{e9}", "/?a=\u{65e5}", "http://a.example/\u{1f600}"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        refuses(request, 400, reason);
        let host = [("host", &b"a.example"[..])];
        let refused = Head::from_parts("GET", target, Some(1), host).unwrap_err();
        assert_eq!((refused.status(), refused.reason()), (400, reason));
    }
}

#[test]
fn a_head_from_parts_follows_the_same_rules() {
    type Parts<'a> = (&'a str, &'a str, Option<u8>, &'a [(&'a str, &'a [u8])]);
    let host = &[("host", &b"a.example"[..])][..];
    let target = "the request target is neither a path nor an absolute http URL";
    let spelling = "the method is not a token, or the target has a space or a control character";
    let header = "a header name is not a token, or a header value has a control character";
    let table: &[(Parts<'_>, Result<&str, &str>)] = &[
        (("GET", "/", Some(1), host), Ok("a.example")),
        (("GET", "https://b.example/?x", None, host), Ok("b.example")),
        (("GET", "/", None, &[]), Ok("")),
        (("GET", "/", Some(0), &[]), Ok("")),
        (
            ("GET", "/", Some(1), &[]),
            Err("the request has no Host header, which HTTP/1.1 requires"),
        ),
        (
            ("GET", "/", None, &[("host", b"a"), ("HOST", b"a")]),
            Err("the request has two Host headers; send one"),
        ),
        (
            ("GET", "/", None, &[("content-length", b"+1")]),
            Err("Content-Length is not a number, or there are two; send one"),
        ),
        (
            ("GET", "/?lastEventId=%0A", Some(1), host),
            Err("the last event ID in the query has a control character"),
        ),
        (("GET", "", Some(1), host), Err(target)),
        (("GET", "ftp://a/", Some(1), host), Err(target)),
        (("GET", "/#x", Some(1), host), Err(target)),
        (("GET", "/ HTTP/1.1\r\nX: y", Some(1), host), Err(spelling)),
        (("", "/", Some(1), host), Err(spelling)),
        (("GET /", "/", Some(1), host), Err(spelling)),
        (("GET", "/", Some(1), &[("x", b"y\r\nz: 1")]), Err(header)),
        (("GET", "/", Some(1), &[("x", b"\0")]), Err(header)),
        (("GET", "/", Some(1), &[("x y", b"")]), Err(header)),
        (("GET", "/", Some(1), &[("", b"")]), Err(header)),
    ];
    for &((method, target, version, headers), expected) in table {
        let head = Head::from_parts(method, target, version, headers.iter().copied());
        let got = head.as_ref().map(Head::host).map_err(Rejection::reason);
        assert_eq!(got, expected, "{method} {target} {headers:?}");
    }
}

/// RFC 9112, 3.2: origin form, absolute form, authority form, asterisk form.
#[test]
fn every_form_of_target_is_read() {
    target("GET /", "/", None, "a.example");
    target("GET /a/b", "/a/b", None, "a.example");
    target("GET /a?b=c&d", "/a", Some("b=c&d"), "a.example");
    target("GET /?", "/", Some(""), "a.example");
    target("GET /a?b?c", "/a", Some("b?c"), "a.example");
    target("GET //b.example/", "//b.example/", None, "a.example");
    target("GET /%2e%2E/%00", "/%2e%2E/%00", None, "a.example");
    target(
        "GET /a?u=http://b.example/c",
        "/a",
        Some("u=http://b.example/c"),
        "a.example",
    );
    target("GET http://b.example/c?d", "/c", Some("d"), "b.example");
    target("GET HTTP://b.example:81", "/", None, "b.example:81");
    target("GET https://[::1]:81?d", "/", Some("d"), "[::1]:81");
    target("OPTIONS *", "*", None, "a.example");
    target("OPTIONS /a", "/a", None, "a.example");
    target("CONNECT b.example:443", "b.example:443", None, "a.example");
    target("get /", "/", None, "a.example"); // an unknown method, but a valid one
}

#[test]
fn malformed_targets_are_refused() {
    let target = |line: &str| {
        let request = format!("{line} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        refuses(
            request,
            400,
            "the request target is neither a path nor an absolute http URL",
        );
    };
    target("GET a");
    target("GET a.example:80");
    target("GET *");
    target("GET ?a");
    target("GET /a#b");
    target("GET http://b.example/#c");
    target("GET http://");
    target("GET http:///a");
    target("GET http:/a");
    target("GET http://user@b.example/");
    target("GET http://b.example\\@c.example/");
    target("GET ftp://b.example/");
    target("GET ://b.example/");
    target("CONNECT /");
    target("CONNECT http://b.example/");
}

/// RFC 9112, 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
/// HTTP/1.1 request message that lacks a Host header field and to any request message that
/// contains more than one Host header field line or a Host header field with an invalid
/// field value."
#[test]
fn a_request_has_exactly_one_valid_host() {
    let host = |headers| {
        accepts(format!("GET / HTTP/1.1\r\n{headers}\r\n"))
            .host()
            .to_owned()
    };
    assert_eq!(host("Host: a.example\r\n"), "a.example");
    assert_eq!(host("HOST:A.Example:8080\r\n"), "A.Example:8080");
    assert_eq!(host("Host: [2001:db8::1]:80\r\n"), "[2001:db8::1]:80");
    assert_eq!(host("Host: 127.0.0.1\r\n"), "127.0.0.1");
    assert_eq!(host("Host:\r\n"), "");

    let refuses_host = |headers, reason| {
        refuses(format!("GET / HTTP/1.1\r\n{headers}\r\n"), 400, reason);
        refuses(
            format!("GET http://a.example/ HTTP/1.1\r\n{headers}\r\n"),
            400,
            reason,
        );
    };
    refuses_host(
        "",
        "the request has no Host header, which HTTP/1.1 requires",
    );
    refuses_host(
        "X-Host: a.example\r\n",
        "the request has no Host header, which HTTP/1.1 requires",
    );
    for headers in [
        "Host: a.example\r\nHost: b.example\r\n",
        "Host: a.example\r\nX: y\r\nhost: a.example\r\n",
        "Host:\r\nHost:\r\n",
    ] {
        refuses_host(headers, "the request has two Host headers; send one");
    }
    for headers in [
        "Host: a example\r\n",
        "Host: a.example/\r\n",
        "Host: http://a.example\r\n",
        "Host: user@a.example\r\n",
        "Host: a.example?\r\n",
        "Host: a\\b\r\n",
        "Host: \u{e9}\r\n",
        "Host: <a>\r\n",
    ] {
        refuses_host(headers, "Host is not a valid host with an optional port");
    }
}

/// RFC 3986, 3.2: only IPv6 addresses have brackets, and a port is a number.
#[test]
fn a_malformed_host_is_refused() {
    for host in [
        "a:b", "a:1:2", "::1", "[::1", "::1]", "[::1]x", "a[b]", "[", "%zz", "a%",
    ] {
        refuses(
            format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"),
            400,
            "Host is not a valid host with an optional port",
        );
    }
}

#[test]
fn http_1_0_needs_no_host_and_may_not_have_two() {
    let head = accepts("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((head.minor_version(), head.host()), (Some(0), ""));
    assert_eq!(
        accepts("GET / HTTP/1.0\r\nHost: a.example\r\n\r\n").host(),
        "a.example"
    );
    refuses(
        "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
        400,
        "the request has two Host headers; send one",
    );
}

#[test]
fn http_1_is_accepted_and_other_versions_are_refused() {
    let other = "the HTTP version is neither 1.0 nor 1.1";
    // RFC 9110, 2.5: a later HTTP/1 is processed as 1.1.
    for version in ["1.2", "1.3", "1.9"] {
        let head = accepts(format!("\r\nGET /a HTTP/{version}\r\nHost: a\r\n\r\n"));
        assert_eq!(
            (head.minor_version(), head.path(), head.host()),
            (Some(1), "/a", "a")
        );
        let hostless = format!("GET / HTTP/{version}\n\n");
        refuses(
            hostless,
            400,
            "the request has no Host header, which HTTP/1.1 requires",
        );
    }
    refuses("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, other);
    refuses("GET / HTTP/3.0\n\n", 505, other);
    refuses("GET / HTTP/0.9\r\n\r\n", 505, other);
    refuses("\r\nGET / HTTP/2.0\r\n\r\n", 505, other);
    refuses("PRI * HTTP/2.0\r\n\r\n", 505, other); // the preface of HTTP/2

    let malformed = "the request line or a line end is malformed";
    refuses("GET /\r\n\r\n", 400, malformed); // HTTP/0.9
    refuses("GET / \r\n\r\n", 400, malformed);
    refuses("GET / HTTP/1\r\n\r\n", 400, malformed);
    refuses("GET / HTTP/11\r\n\r\n", 400, malformed);
    refuses("GET / HTTP/1.10\r\n\r\n", 400, malformed);
    refuses("GET / HTTP/1.x\r\n\r\n", 400, malformed);
    refuses("GET / http/1.1\r\n\r\n", 400, malformed);
    refuses("GET / HTTPS/1.1\r\n\r\n", 400, malformed);
}

#[test]
fn a_malformed_request_line_is_refused() {
    let malformed = |line: &str| {
        let request = format!("{line}\r\nHost: a.example\r\n\r\n");
        refuses(request, 400, "the request line or a line end is malformed");
    };
    malformed("GET");
    malformed("GET  / HTTP/1.1");
    malformed("GET\t/ HTTP/1.1");
    malformed("GET /\tHTTP/1.1");
    malformed("GET / HTTP/1.1 ");
    malformed("GET /\0 HTTP/1.1");
    malformed("GET /\x7f HTTP/1.1");
    malformed("GET /\r HTTP/1.1");
    malformed("G(T / HTTP/1.1");
    malformed("G\u{e9}T / HTTP/1.1");
    malformed("\rGET / HTTP/1.1");
    malformed("GET / HTTP/1.1\r");
    malformed("SSH-2.0-OpenSSH_9.2");
}

/// The version is 1.1, and only the target is malformed.
#[test]
fn a_space_in_the_target_is_not_taken_for_another_version() {
    for line in ["GET /a b HTTP/1.1", "GET /  HTTP/1.1", "GET / b HTTP/1.0"] {
        refuses(
            format!("{line}\r\nHost: a.example\r\n\r\n"),
            400,
            "the request line or a line end is malformed",
        );
    }
}

#[test]
fn malformed_headers_are_refused() {
    let header = |header: &[u8], reason| {
        let request = [
            &b"GET / HTTP/1.1\r\nHost: a.example\r\n"[..],
            header,
            b"\r\n\r\n",
        ]
        .concat();
        refuses(request, 400, reason);
    };
    let name = "a header name is malformed: it has a space, is folded, or is not a token";
    header(b"X : y", name);
    header(b"X\t: y", name);
    header(b" X: y", name);
    header(b"X: y\r\n folded", name);
    header(b"X: y\r\n\tfolded", name);
    header(b"X:\r\n folded", name);
    header(b"X", name);
    header(b": y", name);
    header(b"X Y: z", name);
    header(b"X(: y", name);
    header(b"X\0: y", name);
    header(b"\xe9: y", name);
    let value = "a header value has a control character";
    header(b"X: y\0", value);
    header(b"X: y\x0bz", value);
    header(b"X: y\x7f", value);
    header(b"X: y\rZ: z", value);
    header(b"X: y\r", value);
    header(b"X: \x1b[31m", value);
    header(b"\r\r\nX: y", "the request line or a line end is malformed");
    refuses(
        "GET / HTTP/1.1\r\n Host: a.example\r\n\r\n",
        400,
        "a header name is malformed: it has a space, is folded, or is not a token",
    );
}

/// RFC 9112, 6: the headers that frame the body must not contradict each other.
#[test]
fn ambiguous_framing_is_refused() {
    let has_body = |headers: &str| {
        accepts(format!(
            "GET / HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n"
        ))
        .has_body()
    };
    assert!(!has_body(""));
    assert!(!has_body("Content-Length: 0\r\n"));
    assert!(!has_body("content-length: 000\r\n"));
    assert!(has_body("Content-Length: 5\r\n"));
    assert!(has_body("Content-Length: 0005\r\n"));
    assert!(has_body("Content-Length: 99999999999999999999999\r\n"));
    assert!(has_body("Transfer-Encoding: chunked\r\n"));
    assert!(has_body("transfer-encoding: , chunked\r\n"));

    let framing = |headers: &str, reason| {
        refuses(
            format!("GET / HTTP/1.1\r\nHost: a.example\r\n{headers}\r\n"),
            400,
            reason,
        );
    };
    let length = "Content-Length is not a number, or there are two; send one";
    framing("Content-Length:\r\n", length);
    framing("Content-Length: +5\r\n", length);
    framing("Content-Length: -0\r\n", length);
    framing("Content-Length: 0x5\r\n", length);
    framing("Content-Length: 5 5\r\n", length);
    framing("Content-Length: 5, 5\r\n", length);
    framing("Content-Length: 5\r\nContent-Length: 5\r\n", length);
    framing("Content-Length: 0\r\nX: y\r\ncontent-length: 0\r\n", length);
    let both = "the request has both Content-Length and Transfer-Encoding; send one of them";
    framing("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", both);
    framing(
        "transfer-encoding: identity\r\nX: y\r\ncontent-length: 5\r\n",
        both,
    );
    refuses(
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        "the request has Transfer-Encoding, which HTTP/1.0 does not have",
    );
}

/// A peer with another protocol is refused at its first byte, not at a deadline.
#[test]
fn another_protocol_is_refused_at_once() {
    let reason = "this does not begin like HTTP; the port speaks plain HTTP/1.1";
    refuses(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, reason); // TLS
    refuses(b"\0", 400, reason);
    refuses(b"\xef\xbb\xbfGET / HTTP/1.1", 400, reason);
    refuses(b" GET", 400, reason);
    refuses(b"{\"jsonrpc\": \"2.0\"}", 400, reason);
    refuses(b"\r\n\x16\x03\x01", 400, reason);
}

/// The random bytes of a TLS ClientHello may contain an LF.
#[test]
fn another_protocol_is_refused_at_once_even_with_line_ends() {
    let reason = "this does not begin like HTTP; the port speaks plain HTTP/1.1";
    refuses(b"\x16\x03\x01\x02\x00\x01\x00\n\xfc\x03\x03", 400, reason);
    refuses(b"\x16\x03\x01\n\n", 400, reason);
    refuses(" GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", 400, reason);
}

#[test]
fn a_head_may_be_as_large_as_the_limit() {
    let request = "GET /sse HTTP/1.1\r\nHost: a.example\r\n\r\n";
    reads(|| HeadReader::new().max_head(request.len()), request).unwrap();
    let too_large = reads(|| HeadReader::new().max_head(request.len() - 1), request);
    assert_eq!(too_large.unwrap_err(), Rejection::HEADERS_TOO_LARGE);

    // Blank lines before the request line count.
    let later = format!("\r\n\n{request}");
    reads(|| HeadReader::new().max_head(later.len()), &later).unwrap();
    let too_large = reads(|| HeadReader::new().max_head(later.len() - 1), &later);
    assert_eq!(too_large.unwrap_err(), Rejection::HEADERS_TOO_LARGE);
}

/// The peer learns from the status which part is too large.
#[test]
fn a_long_request_line_is_414_and_long_headers_are_431() {
    let request = "GET /sse HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let line = request.find('\n').unwrap() + 1;
    for limit in 0..request.len() {
        let expected = if limit < line {
            Rejection::URI_TOO_LONG
        } else {
            Rejection::HEADERS_TOO_LARGE
        };
        let refused = reads(|| HeadReader::new().max_head(limit), request).unwrap_err();
        assert_eq!(refused, expected, "with {limit} bytes allowed");
    }
    assert_eq!(Rejection::URI_TOO_LONG.status(), 414);
    assert_eq!(Rejection::HEADERS_TOO_LARGE.status(), 431);
}

#[test]
fn sixteen_kibibytes_are_allowed_by_default() {
    assert_eq!(HeadReader::DEFAULT_MAX_HEAD, 16 << 10);
    let head = |size: usize| {
        let (start, end) = ("GET / HTTP/1.1\r\nHost: a.example\r\nX: ", "\r\n\r\n");
        format!("{start}{}{end}", "y".repeat(size - start.len() - end.len()))
    };
    for size in [1, 1000, usize::MAX] {
        let read = |head: &str| read_in(HeadReader::new(), head.as_bytes().chunks(size));
        assert!(read(&head(16 << 10)).is_ok());
        assert_eq!(
            read(&head((16 << 10) + 1)).unwrap_err(),
            Rejection::HEADERS_TOO_LARGE
        );
        assert_eq!(
            read(&"G".repeat((16 << 10) + 1)).unwrap_err(),
            Rejection::URI_TOO_LONG
        );
        assert_eq!(
            read(&"\r\n".repeat((8 << 10) + 1)).unwrap_err(),
            Rejection::URI_TOO_LONG
        );
    }
}

#[test]
fn a_hundred_headers_are_allowed_by_default() {
    assert_eq!(HeadReader::DEFAULT_MAX_HEADERS, 100);
    let head = |count| format!("GET / HTTP/1.0\r\n{}\r\n", "X: y\r\n".repeat(count));
    let hundred = read_in(HeadReader::new(), iter::once(head(100).as_bytes()));
    assert_eq!(hundred.unwrap().unwrap().headers().count(), 100);
    let more = read_in(HeadReader::new(), iter::once(head(101).as_bytes()));
    assert_eq!(more.unwrap_err(), Rejection::HEADERS_TOO_LARGE);

    for limit in 0..3 {
        let reader = || HeadReader::new().max_headers(limit);
        reads(reader, head(limit)).unwrap();
        assert_eq!(
            reads(reader, head(limit + 1)).unwrap_err(),
            Rejection::HEADERS_TOO_LARGE
        );
    }
    reads(|| HeadReader::new().max_headers(101), head(101)).unwrap();
}

/// A reader that searches all bytes again with each piece would read half a terabyte.
#[test]
fn time_is_linear_in_the_head() {
    let mut reader = HeadReader::new().max_head(8 << 20);
    let start = &b"GET / HTTP/1.0\r\nX: "[..];
    let middle = iter::repeat_n(&b"0123456789abcdef"[..], (4 << 20) / 16);
    for mut piece in iter::once(start).chain(middle) {
        assert!(reader.read(&mut piece).unwrap().is_none());
    }
    let head = reader.read(&mut &b"\r\n\r\n"[..]).unwrap().unwrap();
    assert_eq!(head.header("x").unwrap().len(), 4 << 20);
}

#[test]
fn the_last_event_id_is_read_from_the_header() {
    last_event_id("/", "", None);
    last_event_id("/", "Last-Event-ID: 7\r\n", Some("7"));
    last_event_id("/", "LAST-event-id:  7 \r\n", Some("7"));
    last_event_id("/", "Last-Event-ID: a b\tc\r\n", Some("a b\tc"));
    last_event_id("/", "Last-Event-ID: 日本\r\n", Some("日本"));
    last_event_id("/", "Last-Event-ID: %37\r\n", Some("%37"));
    last_event_id("/", "Last-Event-ID:\r\n", None);
    last_event_id("/", "Last-Event-ID: 7\r\nLast-Event-ID: 8\r\n", Some("7"));
    last_event_id("/?lastEventId=8", "Last-Event-ID: 7\r\n", Some("7"));

    let head = accepts(b"GET / HTTP/1.0\r\nLast-Event-ID: caf\xe9\r\n\r\n");
    assert_eq!(head.last_event_id().unwrap().as_str(), "caf\u{fffd}");
}

/// Polyfills cannot set the header.
#[test]
fn without_the_header_the_last_event_id_is_read_from_the_query() {
    last_event_id("/?lastEventId=7", "", Some("7"));
    last_event_id("/?last_event_id=7", "", Some("7"));
    last_event_id("/?lastEventID=7", "", Some("7")); // Mercure, "Reconciliation"
    last_event_id("/?lastEventID=&lastEventId=7", "", Some("7"));
    last_event_id("/?lastEventId=+7%09", "", Some("7")); // trimmed like a header
    last_event_id("/?lastEventId=+", "", None);
    last_event_id("/?lastEventId=7", "Last-Event-ID: \r\n", Some("7"));
    last_event_id("http://b.example?lastEventId=7", "", Some("7"));
    last_event_id("/a?b=c&lastEventId=7&d", "", Some("7"));
    last_event_id("/?lastEventId=a+b%20c%2Bd", "", Some("a b c+d"));
    last_event_id("/?lastEventId=%E6%97%A5%e6%9c%ac", "", Some("日本"));
    last_event_id("/?lastEventId=%FF%e6%97", "", Some("\u{fffd}\u{fffd}"));
    last_event_id("/?lastEventId=100%&x", "", Some("100%"));
    last_event_id("/?lastEventId=%zz%4", "", Some("%zz%4"));
    last_event_id("/?lastEventId=a=b", "", Some("a=b"));
    last_event_id("/?last%45ventId=7", "", Some("7"));
    last_event_id("/?lastEventId=", "", None);
    last_event_id("/?lastEventId", "", None);
    last_event_id("/?lasteventid=7", "", None);
    last_event_id("/?xlastEventId=7", "", None);
    last_event_id("/lastEventId=7", "", None);
}

#[test]
fn a_last_event_id_with_a_control_character_is_refused() {
    for query in ["%0A", "7%0Aid: 8", "%0d", "7%00", "a%01b", "%7f", "a%09b"] {
        let query = query.replace(' ', "+");
        for name in ["lastEventId", "last_event_id", "lastEventID"] {
            refuses(
                format!("GET /?{name}={query} HTTP/1.1\r\nHost: a.example\r\n\r\n"),
                400,
                "the last event ID in the query has a control character",
            );
        }
    }
}

/// Checks the parts of a request's target.
#[track_caller]
fn target(line: &str, path: &str, query: Option<&str>, host: &str) {
    let head = accepts(format!("{line} HTTP/1.1\r\nHost: a.example\r\n\r\n"));
    assert_eq!(format!("{} {}", head.method(), head.target()), line);
    assert_eq!(
        (head.path(), head.query(), head.host()),
        (path, query, host)
    );
}

#[track_caller]
fn last_event_id(target: &str, header: &str, expected: Option<&str>) {
    let head = accepts(format!(
        "GET {target} HTTP/1.1\r\nHost: a.example\r\n{header}\r\n"
    ));
    assert_eq!(head.last_event_id().as_ref().map(AsRef::as_ref), expected);
}

/// Checks that this is a head, however it is split, and returns it.
#[track_caller]
fn accepts(request: impl AsRef<[u8]>) -> Head {
    match reads(HeadReader::new, &request) {
        Ok(Some(head)) => {
            let version = head.minor_version();
            let parts = Head::from_parts(head.method(), head.target(), version, head.headers());
            assert_eq!(facts(&parts.map(Some)), facts(&Ok(Some(head.clone()))));
            head
        }
        other => panic!("{}: {other:?}", request.as_ref().escape_ascii()),
    }
}

/// Checks that this is refused with this status and reason, however it is split.
#[track_caller]
fn refuses(request: impl AsRef<[u8]>, status: u16, reason: &str) {
    match reads(HeadReader::new, &request) {
        Err(rejection) => assert_eq!((rejection.status(), rejection.reason()), (status, reason)),
        other => panic!("{}: {other:?}", request.as_ref().escape_ascii()),
    }
}

/// Reads `request`, with the same result however it is split.
#[track_caller]
fn reads(
    reader: impl Fn() -> HeadReader,
    request: impl AsRef<[u8]>,
) -> Result<Option<Head>, Rejection> {
    let request = request.as_ref();
    let whole = read_in(reader(), iter::once(request));
    for pieces in cuts(request) {
        let read = read_in(reader(), pieces.iter().copied());
        assert_eq!(facts(&read), facts(&whole), "{}", show(&pieces));
    }
    whole
}

/// Reads the pieces until there is a head or a rejection.
fn read_in<'i>(
    mut reader: HeadReader,
    pieces: impl Iterator<Item = &'i [u8]>,
) -> Result<Option<Head>, Rejection> {
    for mut piece in pieces {
        if let Some(head) = reader.read(&mut piece)? {
            assert_eq!(piece, b"", "no bytes follow the head");
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// Returns everything that the getters of a head return.
fn facts(read: &Result<Option<Head>, Rejection>) -> Result<Option<Vec<String>>, Rejection> {
    let read = read.as_ref().map_err(Rejection::clone)?;
    Ok(read.as_ref().map(|head| {
        let own = [
            format!(
                "{} {} 1.{:?}",
                head.method(),
                head.target(),
                head.minor_version()
            ),
            format!("{} {:?} {}", head.path(), head.query(), head.host()),
            format!("{:?} {}", head.last_event_id(), head.has_body()),
        ];
        let header = |(name, value): (&str, &[u8])| format!("{name}: {}", value.escape_ascii());
        own.into_iter().chain(head.headers().map(header)).collect()
    }))
}

#[test]
fn values_are_looked_up_and_decoded() {
    let head = accepts(
        "GET /?a=b%20c+d&a=e&%66=%ff&empty&x=&y HTTP/1.1\r\nHost: a.example\r\n\
         Cookie: user=7; theme = dark ;USER=8;broken;q=\"a=b\"\r\ncookie: late=1; user=9\r\n\
         X: caf\u{e9}\r\nY: y\r\n\r\n",
    );
    for (name, value) in [
        ("a", Some("b c d")),
        ("f", Some("\u{fffd}")),
        ("empty", Some("")),
        ("x", Some("")),
        ("y", Some("")),
        ("A", None),
        ("", None),
    ] {
        assert_eq!(head.query_value(name).as_deref(), value, "{name}");
    }
    for (name, value) in [
        ("user", Some("7")),
        ("USER", Some("8")),
        ("theme", Some("dark")),
        ("q", Some("\"a=b\"")),
        ("late", Some("1")),
        ("broken", None),
        ("", None),
    ] {
        assert_eq!(head.cookie(name), value, "{name}");
    }
    assert_eq!(head.header_text("x"), Some("caf\u{e9}"));
    assert_eq!(head.header_text("Y"), Some("y"));
    let latin_1 = Head::from_parts("GET", "/", None, [("x", &b"caf\xe9"[..])]).unwrap();
    assert_eq!(latin_1.header_text("x"), None);
    assert_eq!(latin_1.query_value("a"), None);
}

#[test]
fn a_content_type_is_json_or_not() {
    for (headers, is_json) in [
        (&[][..], false),
        (&[("content-type", "application/json")], true),
        (
            &[("content-type", "Application/JSON ; charset=utf-8")],
            true,
        ),
        (&[("content-type", "application/ld+json")], true),
        (
            &[
                ("content-type", "application/json"),
                ("content-encoding", "identity"),
            ],
            true,
        ),
        (
            &[
                ("content-type", "application/json"),
                ("content-encoding", "gzip"),
            ],
            false,
        ),
        (
            &[
                ("content-type", "application/json"),
                ("content-type", "text/plain"),
            ],
            false,
        ),
        (&[("content-type", "text/plain")], false),
        (&[("content-type", "text/json")], false),
        (&[("content-type", "application/jsonp")], false),
        (&[("content-type", "application/x json")], false),
        (&[("content-type", "application/json, text/plain")], false),
        (&[("content-type", "")], false),
    ] {
        let bytes = headers
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()));
        let head = Head::from_parts("POST", "/", None, bytes).unwrap();
        assert_eq!(head.is_json(), is_json, "{headers:?}");
    }
}
