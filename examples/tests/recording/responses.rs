//! Responses that are recorded, and those that are errors.

use std::path::Path;

use sse_core::testing::Comparison;

use crate::{Dir, HEAD, RECORD, run, serve, text};

#[test]
fn a_response_that_is_not_a_stream_is_an_error_and_leaves_no_file() {
    for (answer, sentence) in [
        (
            "HTTP/1.1 404 Not Found\r\n\r\n",
            "the server responded with 404\n",
        ),
        ("HTTP/1.1 500 Oh\r\n\r\n", "the server responded with 500\n"),
        (
            "HTTP/1.1 307 Elsewhere\r\nLocation: ftp://b/sse\r\n\r\n",
            "the response redirects to \"ftp://b/sse\", which is not an http or https URL without a user name\n",
        ),
        ("", "the connection ended before a response\n"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>",
            "the response is text/html, not text/event-stream; check the URL\n",
        ),
        (
            &format!("{HEAD}Content-Encoding: gzip\r\n\r\n\x1f"),
            "the response has the content coding \"gzip\"; turn it off in the server or in the \
             proxy before it\n",
        ),
        (
            "SSH-2.0-x\r\n",
            "the response does not begin with \"HTTP/1.\"; the server speaks another \
             protocol\n",
        ),
    ] {
        let (url, server) = serve(vec![answer.to_owned()]);
        let dir = Dir::new();
        let output = run(RECORD, &[&url, &dir.file("a")]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(text(&output.stderr), sentence);
        assert!(!Path::new(&dir.file("a")).exists());
        server.join().unwrap();
    }
}

/// Each case is a response, the resulting file, and the error.
#[test]
fn with_once_an_incomplete_stream_is_a_failure() {
    let head = |headers: &str| format!("{HEAD}{headers}\r\n\r\n");
    let chunked = head("Transfer-Encoding: chunked");
    let events = "id: 1\ndata: a\n\n";
    for (answer, recorded, sentence) in [
        (
            head("Content-Length: 500") + "data: seventeen\n\n",
            "data: seventeen\n\n",
            "the body is incomplete: the connection ended after 17 of 500 bytes",
        ),
        (
            format!("{chunked}f\r\n{events}\r\n"),
            events,
            "the body is incomplete: the connection ended after 15 bytes, before the last chunk",
        ),
        (
            format!("{chunked}f\r\n{events}\r\n0\r\nDigest: x\r\n"),
            events,
            "the body is incomplete: the connection ended after 15 bytes, before the last chunk",
        ),
        (
            format!("{chunked}f\r\n{events}\r\nfive\r\nhello\r\n"),
            events,
            "a chunk size is not a hexadecimal number below 2^64",
        ),
        (
            format!("{chunked}f\r\n{events}x\r\n0\r\n\r\n"),
            events,
            "the data of a chunk is not followed by CR LF",
        ),
        (
            format!("{chunked}f;{}", "x".repeat(5000)),
            "",
            "the line of a chunk size exceeds 1024 bytes; raise max_chunk_line if that is \
             legitimate",
        ),
        (
            format!("{chunked}f\r\n{events}\r\n0\r\n{}", "A: b\r\n".repeat(5000)),
            events,
            "there are more than 64 trailers; raise max_trailers if that is legitimate",
        ),
        (
            format!("{HEAD}\r\n{events}data: torn\n"),
            events,
            "the stream ended in the middle of an event, which is not recorded",
        ),
        (
            format!("{HEAD}\r\n{events}data: {}", "x".repeat((16 << 20) + 1)),
            events,
            "a line exceeds 16777216 bytes; raise the decoder's max_line if that is \
             legitimate",
        ),
        (
            format!("{HEAD}A: {}", "x".repeat(100_000)),
            "",
            "the response head exceeds 65536 bytes; raise max_head if that is legitimate",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000),
            "",
            "the response head exceeds 65536 bytes; raise max_head if that is legitimate",
        ),
        (
            format!("{HEAD}{}\r\n{events}", "A: b\r\n".repeat(1000)),
            "",
            "the response head has more than 128 header lines; raise max_headers if that is legitimate",
        ),
        (
            head("Content-Length: 15\r\nContent-Length: 9") + events,
            "",
            "Content-Length has different values; send one",
        ),
        (
            head("Transfer-Encoding: gzip, chunked") + events,
            "",
            "the transfer coding \"gzip\" is not supported; \
             send the body without it",
        ),
    ] {
        let (url, server) = serve(vec![answer]);
        let dir = Dir::new();
        let output = run(RECORD, &["--once", &url, &dir.file("a")]);
        assert_eq!(text(&output.stderr), format!("{sentence}\n"));
        assert_eq!(output.status.code(), Some(1), "{sentence}");
        match recorded {
            "" => assert!(!Path::new(&dir.file("a")).exists(), "{sentence}"),
            recorded => Comparison::new().assert_same(recorded.as_bytes(), &dir.read("a")[..]),
        }
        // `record` may close the connection before the whole response is sent.
        drop(server.join());
    }
}

/// Unusual but valid response heads, by RFC 9110, RFC 9112 and Fetch.
#[test]
fn every_response_that_browsers_accept_is_recorded() {
    let chunked = "9\r\ndata: a\n\n\r\n0\r\nDigest: x\r\n\r\n";
    let plain = "data: a\n\n";
    for (headers, body) in [
        (
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            chunked,
        ),
        (
            "Transfer-Encoding:\r\n chunked\r\nContent-Length: 9\r\n",
            chunked,
        ),
        ("Transfer-Encoding: xchunked\r\n", plain),
        (
            "Content-Length: 9\r\nContent-Length: 9\r\n",
            "data: a\n\nnot this",
        ),
        ("Content-Type: nonsense\r\n", plain),
        ("Content-Type: TEXT/event-stream; charset=utf-8\r\n", plain),
        ("Content-Encoding: none\r\n", plain),
        ("Content-Encoding: identity, utf-8\r\n", plain),
    ] {
        let (url, server) = serve(vec![format!("{HEAD}{headers}\r\n{body}")]);
        let dir = Dir::new();
        let output = run(RECORD, &["--once", &url, &dir.file("a")]);
        assert!(output.status.success(), "{headers}: {output:?}");
        Comparison::new().assert_same(plain.as_bytes(), &dir.read("a")[..]);
        server.join().unwrap();
    }
}
