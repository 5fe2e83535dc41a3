//! Response heads as servers and proxies send them. Each row names its source.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::time::{Duration, SystemTime};

use sse_core::{
    BodyError, BodyLimits, Framing, ResponseHead, ResponseHeadError, ResponseHeadReader,
};

/// Reads a head from `input` in pieces of this size. Returns it and the bytes after it.
fn read_in(
    mut reader: ResponseHeadReader,
    input: &[u8],
    size: usize,
) -> Result<(ResponseHead, Vec<u8>), ResponseHeadError> {
    let mut head = None;
    let mut rest = Vec::new();
    for mut piece in input.chunks(size) {
        if head.is_none() {
            head = reader.read(&mut piece)?;
        }
        rest.extend_from_slice(piece);
    }
    head.map_or_else(|| Err(reader.end()), |head| Ok((head, rest)))
}

#[track_caller]
fn read(input: &str) -> Result<(ResponseHead, Vec<u8>), ResponseHeadError> {
    let whole = read_in(ResponseHeadReader::new(), input.as_bytes(), usize::MAX);
    for size in [1, 2, 3, 7] {
        let pieces = read_in(ResponseHeadReader::new(), input.as_bytes(), size);
        assert_eq!(pieces, whole, "{size}");
    }
    whole
}

fn head_with(headers: &str) -> ResponseHead {
    let (head, rest) = read(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).unwrap();
    assert!(rest.is_empty());
    head
}

#[test]
fn a_head_is_read_by_rfc_9112() {
    for (source, input, status, minor_version, headers) in [
        (
            "4",
            "HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest",
            200,
            1,
            &["b"][..],
        ),
        ("4", "HTTP/1.0 404 \r\n\r\nrest", 404, 0, &[]),
        ("4, no reason", "HTTP/1.1 200\r\n\r\nrest", 200, 1, &[]),
        // RFC 9110, 6.2: processed as the highest minor version that is known.
        ("9110, 6.2", "HTTP/1.2 200 OK\r\n\r\nrest", 200, 1, &[]),
        ("9110, 6.2", "\r\nHTTP/1.9 200 OK\r\n\r\nrest", 200, 1, &[]),
        // RFC 9112, 2.2: a lone LF may end a line; blank lines before the first.
        ("2.2", "\n\r\nHTTP/1.1 200 OK\nA: b\n\nrest", 200, 1, &["b"]),
        // RFC 9110, 5.5: whitespace around a value is not part of it.
        (
            "9110, 5.5",
            "HTTP/1.1 200 OK\r\nA:\t b c \t\r\na:\r\n\r\nrest",
            200,
            1,
            &["b c", ""],
        ),
        // RFC 9112, 5.2: folded lines are unfolded.
        (
            "5.2",
            "HTTP/1.1 200 OK\r\nA: b\r\n  c\r\n\td\r\n\r\nrest",
            200,
            1,
            &["b c d"],
        ),
        (
            "5.2",
            "HTTP/1.1 200 OK\r\nA:\r\n b \r\n \r\n\r\nrest",
            200,
            1,
            &["b"],
        ),
        (
            "5.2",
            "HTTP/1.1 200 OK\r\nA: b\n c\nB: d\r\n\r\nrest",
            200,
            1,
            &["b c"],
        ),
        // RFC 9110, 15.2: interim responses.
        (
            "9110, 15.2",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: hint\r\n\r\n\
             HTTP/1.1 200 OK\r\n\r\nrest",
            200,
            1,
            &[],
        ),
        (
            "9110, 15.2.2",
            "HTTP/1.1 101 Switching\r\n\r\nrest",
            101,
            1,
            &[],
        ),
    ] {
        let (head, rest) = read(input).unwrap();
        assert_eq!(head.status(), status, "{source}: {input:?}");
        assert_eq!(head.minor_version(), minor_version, "{source}: {input:?}");
        let values = Vec::from_iter(head.header_values("a"));
        assert_eq!(values, headers, "{source}: {input:?}");
        assert_eq!(head.header("A"), headers.first().copied());
        assert_eq!(rest, b"rest", "{source}: {input:?}");
        assert!(input.ends_with(&format!("{}rest", head.text())));
    }
}

#[test]
fn a_head_that_is_malformed_or_too_large_is_refused() {
    use ResponseHeadError::{Malformed, NotHttp, TooLarge, TooManyHeaders};
    for (input, error) in [
        // Refused at once, without waiting for the end of the line.
        ("SSH-2.0-x", NotHttp),
        ("220 ready\r\n", NotHttp),
        ("HTTP/2 200\r\n\r\n", NotHttp),
        ("HTTQ", NotHttp),
        ("\r\n<html>", NotHttp),
        ("\r\r", NotHttp),
        ("\u{15}\u{3}\u{1}\u{0}\u{2}", NotHttp), // a TLS alert
        ("HTTP/1.1 099 Low\r\n\r\n", Malformed),
        ("HTTP/1.1 20 Short\r\n\r\n", Malformed),
        ("HTTP/1.x 200 OK\r\n\r\n", Malformed),
        ("HTTP/1.1 200 OK\r\n folded\r\n\r\n", Malformed),
        ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", Malformed),
        ("HTTP/1.1 200 OK\r\nA\r\n\r\n", Malformed),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", Malformed),
        ("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n", Malformed),
        (
            &format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(70_000)),
            TooLarge { limit: 65536 },
        ),
        (&"\r\n".repeat(70_000), TooLarge { limit: 65536 }),
        (
            &"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000),
            TooLarge { limit: 65536 },
        ),
        (
            &format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(129)),
            TooManyHeaders { limit: 128 },
        ),
    ] {
        let found = read(input).unwrap_err();
        assert_eq!(found, error, "{:?}", &input[..input.len().min(100)]);
    }
    assert!(
        read(&format!(
            "HTTP/1.1 200 OK\r\n{}\r\n",
            "A: b\r\n".repeat(128)
        ))
        .is_ok()
    );
    let reader = || ResponseHeadReader::new().max_head(25).max_headers(1);
    let smallest = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    assert!(read_in(reader(), smallest, 100).is_ok());
    assert!(read_in(reader().max_head(24), smallest, 100).is_err());
    assert!(read_in(reader().max_headers(0), smallest, 100).is_err());
}

#[test]
fn the_last_valid_media_type_counts() {
    const STREAM: Option<&str> = Some("text/event-stream");
    // Fetch, "extract a MIME type", and MIME Sniffing, 4.4.
    for (headers, media_type) in [
        ("", None),
        ("Content-Type: text/event-stream\r\n", STREAM),
        ("content-type:TEXT/Event-Stream;charset=utf-8\r\n", STREAM),
        (
            "Content-Type: text/event-stream ; charset=\"a,b/c\"\r\n",
            STREAM,
        ),
        ("Content-Type: text/html, text/event-stream\r\n", STREAM),
        (
            "Content-Type: text/html\r\nContent-Type: text/event-stream\r\n",
            STREAM,
        ),
        (
            "Content-Type: text/event-stream\r\nContent-Type: nonsense\r\n",
            STREAM,
        ),
        (
            "Content-Type: text/event-stream\r\nContent-Type: */*\r\n",
            STREAM,
        ),
        (
            "Content-Type: text/event-stream\r\nContent-Type:\r\n",
            STREAM,
        ),
        (
            "Content-Type: text/event-stream\r\nContent-Type: text/html\r\n",
            Some("text/html"),
        ),
        (
            "Content-Type: text/event-stream\r\n ;charset=utf-8\r\n",
            STREAM,
        ),
        (
            "Content-Type: text/event-streams\r\n",
            Some("text/event-streams"),
        ),
        ("Content-Type: text /event-stream\r\n", None),
        ("Content-Type: text/\r\n", None),
        ("Content-Type: /event-stream\r\n", None),
        ("Content-Type: text/event-stream html\r\n", None),
    ] {
        let found = head_with(headers).media_type();
        assert_eq!(found.as_deref(), media_type, "{headers:?}");
    }
}

#[test]
fn only_registered_content_codings_are_reported() {
    // Fetch, "handle content codings", and the registry of RFC 9110, 16.6.1.
    for (headers, coding) in [
        ("", None),
        ("Content-Encoding:\r\n", None),
        ("Content-Encoding: identity\r\n", None),
        ("Content-Encoding: none\r\n", None),
        ("Content-Encoding: utf-8\r\n", None),
        ("Content-Encoding: gzipped\r\n", None),
        ("Content-Encoding: GZip\r\n", Some("gzip")),
        ("Content-Encoding: x-gzip\r\n", Some("x-gzip")),
        ("Content-Encoding: br\r\n", Some("br")),
        ("Content-Encoding: zstd\r\n", Some("zstd")),
        (
            "Content-Encoding: identity\r\nContent-Encoding: deflate\r\n",
            Some("deflate"),
        ),
        ("Content-Encoding: identity, gzip\r\n", Some("gzip")),
    ] {
        let found = head_with(headers).content_coding();
        assert_eq!(found.as_deref(), coding, "{headers:?}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    // RFC 9110, 10.2.3, and the dates of 5.6.7.
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 60);
    let seconds = Duration::from_secs;
    for (value, expected) in [
        ("3", Some(seconds(3))),
        ("0", Some(seconds(0))),
        ("00120", Some(seconds(120))),
        ("99999999999999999999999", Some(seconds(u64::MAX))),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(seconds(60))),
        ("Sunday, 06-Nov-94 08:49:37 GMT", Some(seconds(60))),
        ("Sun Nov  6 08:49:37 1994", Some(seconds(60))),
        ("Sun, 06 Nov 1994 08:48:00 GMT", Some(seconds(0))), // in the past
        ("", None),
        ("-3", None),
        ("+3", None),
        ("3 s", None),
        ("1.5", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 25:49:37 GMT", None),
    ] {
        let found = head_with(&format!("Retry-After: {value}\r\n")).retry_after(now);
        assert_eq!(found, expected, "{value:?}");
    }
    assert_eq!(head_with("").retry_after(now), None);
}

#[test]
fn a_head_returns_a_reader_of_its_body() {
    let head = head_with("Transfer-Encoding: identity\r\nTransfer-Encoding:\r\n chunked\r\n");
    let body = head.body("GET", BodyLimits::new()).unwrap();
    assert_eq!(body.framing(), Framing::Chunked);
    let body = head.body("HEAD", BodyLimits::new()).unwrap();
    assert_eq!(body.framing(), Framing::None);
    let head = head_with("Content-Length: 9\r\nContent-Length: 17\r\n");
    let error = head.body("GET", BodyLimits::new()).unwrap_err();
    assert_eq!(error, BodyError::DifferentLengths);
}

#[test]
fn errors_are_sentences() {
    for (error, sentence) in [
        (
            ResponseHeadError::NotHttp,
            "the response does not begin with \"HTTP/1.\"; the server speaks another protocol",
        ),
        (
            ResponseHeadError::Malformed,
            "the response has a malformed status line or header",
        ),
        (
            ResponseHeadError::TooLarge { limit: 9 },
            "the response head exceeds 9 bytes; raise max_head if that is legitimate",
        ),
        (
            ResponseHeadError::TooManyHeaders { limit: 9 },
            "the response head has more than 9 header lines; raise max_headers if that is legitimate",
        ),
        (
            read("HTTP/1.1 200 OK\r\nConte").unwrap_err(),
            r#"the connection ended within a response head, after "HTTP/1.1 200 OK\r\nConte""#,
        ),
    ] {
        assert_eq!(error.to_string(), sentence);
        let kind = match error {
            ResponseHeadError::Incomplete { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        assert_eq!(io::Error::from(error).kind(), kind);
    }
    // The error shows a limited number of bytes.
    let ResponseHeadError::Incomplete { received } =
        read(&format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(10_000))).unwrap_err()
    else {
        panic!("the head is incomplete");
    };
    assert_eq!(received.len(), 256);
}
