//! The framing of bodies, and the bytes inside it. Each row names its source.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;

use sse_core::{BodyError, BodyLimits, BodyReader, Framing, Head};

const CL: &str = "Content-Length";
const TE: &str = "Transfer-Encoding";

type Headers<'a> = &'a [(&'a str, &'a str)];

fn bytes<'a>(headers: Headers<'a>) -> impl Iterator<Item = (&'a str, &'a [u8])> {
    headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
}

fn unknown(coding: &str) -> BodyError {
    BodyError::UnknownCoding(coding.to_owned())
}

#[test]
fn a_response_is_framed_by_rfc_9112_section_6_3() {
    use BodyError::{BadCoding, BadLength, CodingInHttp10, DifferentLengths};
    use Framing::{Chunked, Length, None, UntilClose};

    #[rustfmt::skip]
    let rows: &[(&str, Headers<'_>, Result<Framing, BodyError>)] = &[
        // 6.3, rule 8: neither header.
        ("rule 8", &[], Ok(UntilClose)),
        // 6.3, rules 5 and 6, and RFC 9110, 8.6: 1*DIGIT.
        ("rule 6", &[(CL, "0")], Ok(Length(0))),
        ("rule 6", &[("content-LENGTH", "500")], Ok(Length(500))),
        ("rule 6", &[(CL, "007")], Ok(Length(7))),
        ("rule 6", &[(CL, "18446744073709551615")], Ok(Length(u64::MAX))),
        ("overflow", &[(CL, "18446744073709551616")], Err(BadLength)),
        ("rule 5", &[(CL, "")], Err(BadLength)),
        ("rule 5", &[(CL, "+9")], Err(BadLength)),
        ("rule 5", &[(CL, "-9")], Err(BadLength)),
        ("rule 5", &[(CL, "9 7")], Err(BadLength)),
        ("rule 5", &[(CL, "0x9")], Err(BadLength)),
        ("rule 5", &[(CL, "9.0")], Err(BadLength)),
        ("rule 5", &[(CL, "9,")], Err(BadLength)),
        ("rule 5", &[(CL, "\u{661}")], Err(BadLength)),
        // 6.3, rule 5: "all values in the list are valid and the same".
        ("repeated", &[(CL, "9"), (CL, "9")], Ok(Length(9))),
        ("repeated", &[(CL, "9 , 09\t,9")], Ok(Length(9))),
        ("repeated", &[(CL, "9"), (CL, "17")], Err(DifferentLengths)),
        ("repeated", &[(CL, "9, 17")], Err(DifferentLengths)),
        ("repeated", &[(CL, "9"), (CL, "nine")], Err(BadLength)),
        // 6.3, rule 4, and RFC 9110, 5.3: lines of one name are one list.
        ("rule 4", &[(TE, "chunked")], Ok(Chunked)),
        ("rule 4", &[(TE, "CHUNKED")], Ok(Chunked)),
        ("rule 4", &[(TE, "identity"), (TE, "chunked")], Ok(Chunked)),
        ("rule 4", &[(TE, "identity, chunked")], Ok(Chunked)),
        ("rule 4", &[(TE, "identity")], Ok(UntilClose)),
        // RFC 9110, 5.6.1.2: empty elements are ignored.
        ("empty", &[(TE, " ,, chunked ,")], Ok(Chunked)),
        ("empty", &[(TE, ""), (TE, "chunked")], Ok(Chunked)),
        ("empty", &[(TE, "")], Err(BadCoding)),
        ("empty", &[(TE, ","), (CL, "9")], Err(BadCoding)),
        // RFC 9112, 7: codings are whole tokens.
        ("token", &[(TE, "xchunked")], Ok(UntilClose)),
        ("token", &[(TE, "not-chunked, x;y=\", chunked\"")], Ok(UntilClose)),
        ("token", &[(TE, "x;y=\",\", chunked")], Ok(Chunked)),
        ("token", &[(TE, "\"chunked\"")], Err(BadCoding)),
        ("token", &[(TE, "identity chunked")], Err(BadCoding)),
        ("token", &[(TE, "\x0bchunked")], Err(BadCoding)),
        // 6.1: chunked appears once, and last; 7.1: parameters of it are an error.
        ("6.1", &[(TE, "chunked, chunked")], Err(BadCoding)),
        ("6.1", &[(TE, "chunked"), (TE, "chunked")], Err(BadCoding)),
        ("6.1", &[(TE, "chunked, identity")], Err(BadCoding)),
        ("7.1", &[(TE, "chunked;a=b")], Err(BadCoding)),
        // Codings that no TE header has asked for (RFC 9110, 10.1.4).
        ("coding", &[(TE, "gzip, chunked")], Err(unknown("gzip"))),
        ("coding", &[(TE, "GZip")], Err(unknown("gzip"))),
        ("coding", &[(TE, "deflate;q=1"), (TE, "chunked")], Err(unknown("deflate"))),
        // 6.3, rule 3: Transfer-Encoding overrides Content-Length.
        ("rule 3", &[(TE, "chunked"), (CL, "9")], Ok(Chunked)),
        ("rule 3", &[(CL, "9"), (CL, "17"), (TE, "chunked")], Ok(Chunked)),
        ("rule 3", &[(CL, "9"), (TE, "identity")], Ok(UntilClose)),
    ];
    for (source, headers, expected) in rows {
        let found = Framing::of_response("GET", 200, 1, bytes(headers));
        assert_eq!(found, *expected, "{source}: {headers:?}");
        // 6.3, rule 1: the headers do not matter.
        for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 304), ("GET", 103)] {
            let found = Framing::of_response(method, status, 1, bytes(headers));
            assert_eq!(found, Ok(None), "{method} {status}: {headers:?}");
        }
        // 6.3, rule 2, and RFC 9110, 15.2.2: another protocol follows.
        for (method, status) in [("CONNECT", 200), ("GET", 101)] {
            let found = Framing::of_response(method, status, 1, bytes(headers));
            assert_eq!(found, Ok(UntilClose), "{method} {status}: {headers:?}");
        }
    }
    // 6.1: the framing of such a message is faulty.
    for headers in [&[(TE, "chunked")][..], &[(CL, "9"), (TE, "identity")]] {
        let found = Framing::of_response("GET", 200, 0, bytes(headers));
        assert_eq!(found, Err(CodingInHttp10));
    }
    let found = Framing::of_response("GET", 200, 0, bytes(&[(CL, "9")]));
    assert_eq!(found, Ok(Length(9)));
}

#[test]
fn a_request_is_framed_by_rfc_9112_section_6_3() {
    use Framing::{Chunked, Length, None};

    #[rustfmt::skip]
    let rows: &[(&str, Headers<'_>, Result<Framing, u16>)] = &[
        ("rule 7", &[], Ok(None)),
        ("rule 6", &[(CL, "0")], Ok(Length(0))),
        ("rule 6", &[(CL, "007")], Ok(Length(7))),
        ("rule 6", &[(CL, "18446744073709551615")], Ok(Length(u64::MAX))),
        ("beyond 64 bits", &[(CL, "18446744073709551616")], Ok(Length(u64::MAX))),
        // 6.3, rule 5: a repeated length may also be refused.
        ("rule 5", &[(CL, "9"), (CL, "9")], Err(400)),
        ("rule 5", &[(CL, "9"), (CL, "17")], Err(400)),
        ("rule 5", &[(CL, "nine")], Err(400)),
        ("rule 4", &[(TE, "Chunked")], Ok(Chunked)),
        ("rule 4", &[(TE, "identity")], Err(400)),
        // 6.1: "a transfer coding it does not understand SHOULD respond with 501".
        ("6.1", &[(TE, "gzip, chunked")], Err(501)),
        ("6.1", &[(TE, "chunked, chunked")], Err(400)),
        ("6.1", &[(TE, "chunked, gzip")], Err(400)),
        ("6.1", &[(TE, "")], Err(400)),
        ("6.1", &[(TE, "chunked"), (CL, "9")], Err(400)),
    ];
    for (source, headers, expected) in rows {
        let headers = [&[("Host", "a")], *headers].concat();
        let head = Head::from_parts("POST", "/", Some(1), bytes(&headers));
        let found = head.map(|head| head.framing());
        let found = found.map_err(|rejection| rejection.status());
        assert_eq!(found, *expected, "{source}: {headers:?}");
    }
    let chunked_1_0 = Head::from_parts("POST", "/", Some(0), bytes(&[(TE, "chunked")]));
    assert_eq!(chunked_1_0.unwrap_err().status(), 400);
}

/// Reads `input` in pieces of this size. Returns the body, whether it is complete, the bytes
/// after it, and the error.
fn read(
    framing: Framing,
    limits: BodyLimits,
    input: &str,
    size: usize,
) -> (String, bool, String, Option<BodyError>) {
    let mut reader = BodyReader::new(framing, limits).unwrap();
    let (mut body, mut rest) = (Vec::new(), Vec::new());
    for mut piece in input.as_bytes().chunks(size) {
        loop {
            match reader.read(&mut piece) {
                Ok(Some(part)) => {
                    assert!(!part.is_empty());
                    body.extend_from_slice(part);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.read(&mut &b"0"[..]), Err(error.clone()));
                    assert_eq!(reader.end(), Err(error.clone()));
                    let body = String::from_utf8(body).unwrap();
                    return (body, false, String::new(), Some(error));
                }
            }
        }
        assert!(piece.is_empty() || reader.is_complete());
        rest.extend_from_slice(piece);
    }
    assert_eq!(reader.received(), body.len() as u64);
    let [body, rest] = [body, rest].map(|bytes| String::from_utf8(bytes).unwrap());
    (body, reader.is_complete(), rest, reader.end().err())
}

#[test]
fn a_body_ends_by_its_framing() {
    use Framing::{Chunked, Length, None, UntilClose};
    let incomplete = |received, announced| {
        Some(BodyError::Incomplete {
            received,
            announced,
        })
    };
    #[rustfmt::skip]
    let rows = [
        (None, "next", "", true, "next", Option::None),
        (Length(0), "next", "", true, "next", Option::None),
        (Length(5), "hello", "hello", true, "", Option::None),
        (Length(5), "hellonext", "hello", true, "next", Option::None),
        // RFC 9112, 8.
        (Length(500), "data: seventeen\n\n", "data: seventeen\n\n", false, "", incomplete(17, Some(500))),
        (Length(u64::MAX), "hello", "hello", false, "", incomplete(5, Some(u64::MAX))),
        (UntilClose, "", "", false, "", Option::None),
        (UntilClose, "hello", "hello", false, "", Option::None),
        // RFC 9112, 7.1.
        (Chunked, "0\r\n\r\nnext", "", true, "next", Option::None),
        (Chunked, "000\r\n\r\n", "", true, "", Option::None),
        (Chunked, "5\r\nhello\r\n0\r\n\r\nnext", "hello", true, "next", Option::None),
        (Chunked, "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n", "hello", true, "", Option::None),
        (Chunked, "0000a\r\n0\r\n\r\n1234\n\r\n0\r\n\r\n", "0\r\n\r\n1234\n", true, "", Option::None),
        (Chunked, "A\r\n0123456789\r\n0\r\n\r\n", "0123456789", true, "", Option::None),
        (Chunked, "", "", false, "", incomplete(0, Option::None)),
        (Chunked, "5", "", false, "", incomplete(0, Option::None)),
        (Chunked, "5\r\nhel", "hel", false, "", incomplete(3, Option::None)),
        (Chunked, "5\r\nhello", "hello", false, "", incomplete(5, Option::None)),
        (Chunked, "5\r\nhello\r\n0\r\n", "hello", false, "", incomplete(5, Option::None)),
        (Chunked, "5\r\nhello\r\n0\r\nA: b\r\n", "hello", false, "", incomplete(5, Option::None)),
        (Chunked, "ffffffffffffffff\r\nhello", "hello", false, "", incomplete(5, Option::None)),
        // RFC 9112, 7.1.1: extensions, and whitespace before them.
        (Chunked, "5;a=b\r\nhello\r\n0 ; c=\"d;\te\"\r\n\r\n", "hello", true, "", Option::None),
        (Chunked, "5 \t\r\nhello\r\n0;\r\n\r\n", "hello", true, "", Option::None),
        (Chunked, "5;\u{e9}\r\nhello\r\n0\r\n\r\n", "hello", true, "", Option::None),
        // RFC 9112, 7.1.2: trailers.
        (Chunked, "0\r\nA: b\r\nC:\r\n\r\nnext", "", true, "next", Option::None),
    ];
    for (framing, input, body, is_complete, rest, error) in rows {
        for size in [1, 2, 3, 5, 7, 1000] {
            let found = read(framing, BodyLimits::new(), input, size);
            let expected = (body.to_owned(), is_complete, rest.to_owned(), error.clone());
            assert_eq!(found, expected, "{framing:?}, {input:?}");
        }
    }
}

#[test]
fn chunks_that_are_malformed_or_beyond_a_limit_are_errors() {
    use BodyError::{
        BadChunkEnd, BadChunkLine, BadChunkSize, BadTrailer, ChunkLineTooLong, ExtensionsTooLarge,
        TooLarge, TooManyTrailers, TrailersTooLarge,
    };
    let limits = BodyLimits::new()
        .max_length(10)
        .max_chunk_line(8)
        .max_extensions(12)
        .max_trailers_size(24)
        .max_trailers(2);
    for (input, body, error) in [
        // RFC 9112, 7.1: chunk-size = 1*HEXDIG.
        ("\r\n", "", BadChunkSize),
        (";a\r\n", "", BadChunkSize),
        ("five\r\n", "", BadChunkSize),
        ("+5\r\n", "", BadChunkSize),
        (" 5\r\n", "", BadChunkSize),
        ("0x5\r\n", "", BadChunkSize),
        ("5g\r\n", "", BadChunkSize),
        ("5 5\r\n", "", BadChunkSize),
        ("-1\r\n", "", BadChunkSize),
        // Only CR LF ends these lines, because peers disagree about a lone LF.
        ("5\nhello", "", BadChunkLine),
        ("5\rhello", "", BadChunkLine),
        ("5;a\nhello", "", BadChunkLine),
        ("5;a\0\r\n", "", BadChunkLine),
        ("5\0\r\n", "", BadChunkLine),
        // The data has exactly the announced length.
        ("5\r\nhello!", "hello", BadChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", "hello", BadChunkEnd),
        ("5\r\nhello\r0\r\n\r\n", "hello", BadChunkEnd),
        ("4\r\nhello\r\n0\r\n\r\n", "hell", BadChunkEnd),
        ("0\r\nA\r\n\r\n", "", BadTrailer),
        ("0\r\n: b\r\n\r\n", "", BadTrailer),
        ("0\r\nA : b\r\n\r\n", "", BadTrailer),
        ("0\r\nA: b\n\r\n", "", BadTrailer),
        ("0\r\nA: b\r\n c\r\n", "", BadTrailer),
        ("0\r\nA: \0\r\n\r\n", "", BadTrailer),
        ("0\r\n\n", "", BadTrailer),
        // Limits.
        ("b\r\n", "", TooLarge { limit: 10 }),
        ("6\r\nhello!\r\n5\r\n", "hello!", TooLarge { limit: 10 }),
        (
            "a\r\n0123456789\r\nfffffff7\r\n",
            "0123456789",
            TooLarge { limit: 10 },
        ),
        ("000000000", "", ChunkLineTooLong { limit: 8 }),
        ("0;345678x", "", ChunkLineTooLong { limit: 8 }),
        // Two extensions of seven bytes each exceed a body of one byte by 13.
        (
            "1;bcdefg\r\nh\r\n1;bcdefg",
            "h",
            ExtensionsTooLarge { limit: 12 },
        ),
        (
            "0\r\nA: 4567890123456789012\r\nB",
            "",
            TrailersTooLarge { limit: 24 },
        ),
        ("0\r\nA:\r\nB:\r\nC:\r\n", "", TooManyTrailers { limit: 2 }),
    ] {
        for size in [1, 2, 3, 1000] {
            let found = read(Framing::Chunked, limits, input, size);
            let error = Some(error.clone());
            assert_eq!((found.0, found.3), (body.to_owned(), error), "{input:?}");
        }
    }
    let overflow = read(
        Framing::Chunked,
        BodyLimits::new(),
        "10000000000000000\r\n",
        100,
    );
    assert_eq!(overflow.3, Some(BadChunkSize));
    let until_close = read(Framing::UntilClose, limits, "0123456789a", 100);
    assert_eq!(until_close.3, Some(TooLarge { limit: 10 }));
    // The error comes before a "100 Continue" is sent.
    let length = BodyReader::new(Framing::Length(11), limits);
    assert_eq!(length.unwrap_err(), TooLarge { limit: 10 });
    assert!(BodyReader::new(Framing::Length(10), limits).is_ok());
}

/// A long stream with an extension in each chunk does not reach the limit.
#[test]
fn extensions_may_exceed_the_body_by_the_limit() {
    let limits = BodyLimits::new().max_extensions(10);
    let chunk = "a;234567890\r\n0123456789\r\n";
    let (body, _, _, error) = read(Framing::Chunked, limits, &chunk.repeat(10_000), 1000);
    assert_eq!(body.len(), 100_000);
    assert!(matches!(error, Some(BodyError::Incomplete { .. })));
}

#[test]
fn trailers_are_not_part_of_the_body() {
    let mut reader = BodyReader::new(Framing::Chunked, BodyLimits::new()).unwrap();
    let mut input = &b"0\r\nDigest: x \r\nX-Empty:\r\nX-Bytes:\t\xff\r\n\r\n"[..];
    assert_eq!(reader.read(&mut input), Ok(None));
    assert!(reader.is_complete());
    let trailers = Vec::from_iter(reader.trailers());
    let expected = [
        ("Digest", &b"x"[..]),
        ("X-Empty", b""),
        ("X-Bytes", b"\xff"),
    ];
    assert_eq!(trailers, expected);
}

#[test]
fn errors_are_sentences() {
    for (error, sentence) in [
        (
            BodyError::BadLength,
            "Content-Length is not a decimal number below 2^64",
        ),
        (
            BodyError::DifferentLengths,
            "Content-Length has different values; send one",
        ),
        (
            BodyError::BadCoding,
            "Transfer-Encoding is not a list of codings that has chunked at most once and last",
        ),
        (
            unknown("gzip"),
            "the transfer coding \"gzip\" is not supported; send the body without it",
        ),
        (
            BodyError::CodingInHttp10,
            "an HTTP/1.0 message has Transfer-Encoding, which exists since HTTP/1.1",
        ),
        (
            BodyError::TooLarge { limit: 9 },
            "the body exceeds 9 bytes; raise max_length if that is legitimate",
        ),
        (
            BodyError::BadChunkSize,
            "a chunk size is not a hexadecimal number below 2^64",
        ),
        (
            BodyError::BadChunkLine,
            "the line of a chunk size has a control character or does not end in CR LF",
        ),
        (
            BodyError::ChunkLineTooLong { limit: 9 },
            "the line of a chunk size exceeds 9 bytes; raise max_chunk_line if that is legitimate",
        ),
        (
            BodyError::ExtensionsTooLarge { limit: 9 },
            "the chunk extensions exceed the body by 9 bytes; raise max_extensions if that is \
             legitimate",
        ),
        (
            BodyError::BadChunkEnd,
            "the data of a chunk is not followed by CR LF",
        ),
        (
            BodyError::BadTrailer,
            "a trailer is not a header field that ends in CR LF",
        ),
        (
            BodyError::TrailersTooLarge { limit: 9 },
            "the trailers exceed 9 bytes; raise max_trailers_size if that is legitimate",
        ),
        (
            BodyError::TooManyTrailers { limit: 9 },
            "there are more than 9 trailers; raise max_trailers if that is legitimate",
        ),
        (
            BodyError::Incomplete {
                received: 17,
                announced: Some(500),
            },
            "the body is incomplete: the connection ended after 17 of 500 bytes",
        ),
        (
            BodyError::Incomplete {
                received: 17,
                announced: None,
            },
            "the body is incomplete: the connection ended after 17 bytes, before the last chunk",
        ),
    ] {
        assert_eq!(error.to_string(), sentence);
        let kind = match error {
            BodyError::Incomplete { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        assert_eq!(io::Error::from(error).kind(), kind);
    }
    let too_many = BodyError::TooManyTrailers { limit: 9 };
    assert_eq!(
        (too_many.status(), BodyError::TooLarge { limit: 9 }.status()),
        (431, 413)
    );
}
