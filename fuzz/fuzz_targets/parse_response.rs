//! Parses any bytes as a response, with the same result however they are split. The body equals
//! that of a naive parser of the framing, and no byte after it is read.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use sse_core::{
    BodyError, BodyLimits, BodyReader, Framing, ResponseHead, ResponseHeadError, ResponseHeadReader,
};

fuzz_target!(|bytes: &[u8]| {
    let narrow = ResponseHeadReader::new().max_head(64).max_headers(2);
    for reader in [ResponseHeadReader::new(), narrow] {
        let whole = read_head(reader.clone(), bytes, usize::MAX);
        for size in SIZES {
            let pieces = read_head(reader.clone(), bytes, size);
            assert_eq!(pieces, whole, "in pieces of {size}");
        }
        if let Ok((head, taken)) = whole {
            check_head(&head);
            for method in ["GET", "HEAD", "CONNECT"] {
                check_body(&head, method, &bytes[taken..]);
            }
        }
    }
    // Bytes that are not a response can still be a body.
    for framing in [Framing::Chunked, Framing::Length(9), Framing::UntilClose] {
        check_framed(framing, bytes);
    }
    check_round_trip(bytes);
});

const SIZES: [usize; 5] = [1, 2, 3, 7, 31];

/// Parses the head. Returns it and its length, including interim responses.
fn read_head(
    mut reader: ResponseHeadReader,
    bytes: &[u8],
    size: usize,
) -> Result<(ResponseHead, usize), ResponseHeadError> {
    let mut taken = 0;
    for piece in bytes.chunks(size) {
        let mut rest = piece;
        let head = reader.read(&mut rest)?;
        taken += piece.len() - rest.len();
        if let Some(head) = head {
            return Ok((head, taken));
        }
        assert!(rest.is_empty(), "\"not yet\" takes everything");
    }
    Err(reader.end())
}

fn check_head(head: &ResponseHead) {
    assert!(
        matches!(head.status(), 101 | 200..=999),
        "{}",
        head.status()
    );
    assert!(matches!(head.minor_version(), 0 | 1));
    for name in ["content-length", "content-type", "retry-after", "a"] {
        assert_eq!(head.header(name), head.header_values(name).next());
        for value in head.header_values(name) {
            assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
            assert_eq!(value.trim_matches([' ', '\t']), value);
        }
    }
    let media_type = head.media_type().unwrap_or_else(|| "a/b".to_owned());
    assert!(
        media_type
            .split_once('/')
            .is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
    );
    assert_eq!(media_type.to_ascii_lowercase(), media_type);
    let _ = (
        head.content_coding(),
        head.retry_after(SystemTime::UNIX_EPOCH),
    );
}

fn check_body(head: &ResponseHead, method: &str, bytes: &[u8]) {
    let Ok(body) = head.body(method, BodyLimits::new()) else {
        return;
    };
    let has_none = matches!(head.status(), 204 | 304) || method == "HEAD";
    if head.status() != 101 && has_none && !(method == "CONNECT" && head.status() == 204) {
        assert_eq!(body.framing(), Framing::None);
    }
    check_framed(body.framing(), bytes);
}

fn check_framed(framing: Framing, bytes: &[u8]) {
    let limits = BodyLimits::new();
    let whole = read_body(framing, limits, bytes, usize::MAX);
    let narrow = limits
        .max_length(20)
        .max_chunk_line(9)
        .max_extensions(12)
        .max_trailers_size(16)
        .max_trailers(1);
    let limited = read_body(framing, narrow, bytes, usize::MAX);
    for size in SIZES {
        assert_eq!(read_body(framing, limits, bytes, size), whole);
        // How much is read before a limit depends on the pieces; the error does not.
        assert_eq!(read_body(framing, narrow, bytes, size).error, limited.error);
    }
    assert!(limited.body.len() <= 20 && whole.body.starts_with(&limited.body));

    let expected = match framing {
        Framing::None => Some((Vec::new(), 0)),
        Framing::Length(length) => usize::try_from(length)
            .ok()
            .and_then(|length| Some((bytes.get(..length)?.to_vec(), length))),
        Framing::Chunked => unchunk(bytes),
        _ => Some((bytes.to_vec(), bytes.len())),
    };
    match expected {
        Some((body, taken)) => {
            assert_eq!((whole.body, whole.taken, whole.error), (body, taken, None));
        }
        None => assert!(whole.error.is_some(), "{framing:?}"),
    }
}

#[derive(Debug, PartialEq)]
struct Read {
    body: Vec<u8>,
    taken: usize,
    error: Option<BodyError>,
}

fn read_body(framing: Framing, limits: BodyLimits, bytes: &[u8], size: usize) -> Read {
    let mut read = Read {
        body: Vec::new(),
        taken: 0,
        error: None,
    };
    let mut reader = match BodyReader::new(framing, limits) {
        Ok(reader) => reader,
        Err(error) => {
            read.error = Some(error);
            return read;
        }
    };
    for piece in bytes.chunks(size) {
        let mut rest = piece;
        loop {
            match reader.read(&mut rest) {
                Ok(Some(part)) => {
                    assert!(!part.is_empty());
                    read.body.extend_from_slice(part);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.end(), Err(error.clone()));
                    read.error = Some(error);
                    // The position of the error within a piece does not matter.
                    read.taken = 0;
                    return read;
                }
            }
        }
        read.taken += piece.len() - rest.len();
        assert!(rest.is_empty() || reader.is_complete());
    }
    assert_eq!(reader.received(), read.body.len() as u64);
    read.error = reader.end().err();
    read
}

/// Parses a chunked body naively, within the default limits. Returns the body and its length
/// including the framing.
fn unchunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (mut body, mut rest) = (Vec::new(), bytes);
    let mut extensions = 0;
    loop {
        let (line, after) = split_line(rest)?;
        if line.len() > BodyLimits::DEFAULT_MAX_CHUNK_LINE {
            return None;
        }
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit());
        let digits = digits.count();
        let size = str::from_utf8(&line[..digits]).ok()?;
        let size = u64::from_str_radix(size, 16).ok()?;
        let extension = line[digits..].trim_ascii_start();
        let is_extension = |byte: &u8| *byte == b'\t' || !byte.is_ascii_control();
        if !line[digits..].iter().all(is_extension) || !matches!(extension, [] | [b';', ..]) {
            return None;
        }
        extensions += line.len() - digits;
        if extensions > body.len() + BodyLimits::DEFAULT_MAX_EXTENSIONS {
            return None;
        }
        rest = after;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).ok()?;
        body.extend_from_slice(rest.get(..size)?);
        rest = rest[size..].strip_prefix(b"\r\n")?;
    }
    let trailers = rest;
    loop {
        let (line, after) = split_line(rest)?;
        rest = after;
        if line.is_empty() {
            let len = trailers.len() - rest.len();
            let count = httparse_count(&trailers[..len])?;
            let is_within = len - 2 <= BodyLimits::DEFAULT_MAX_TRAILERS_SIZE
                && count <= BodyLimits::DEFAULT_MAX_TRAILERS;
            return is_within.then(|| (body, bytes.len() - rest.len()));
        }
    }
}

/// Returns the line before CR LF, if it contains no other LF.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((bytes[..end].strip_suffix(b"\r")?, &bytes[end + 1..]))
}

/// Returns the number of headers, if they are well-formed.
fn httparse_count(lines: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; BodyLimits::DEFAULT_MAX_TRAILERS + 1];
    match httparse::parse_headers(lines, &mut headers) {
        Ok(httparse::Status::Complete((len, headers))) => {
            (len == lines.len()).then_some(headers.len())
        }
        _ => None,
    }
}

/// A body written in chunks of any size is read back.
fn check_round_trip(body: &[u8]) {
    let size = usize::from(*body.first().unwrap_or(&0)) + 1;
    let mut wire = Vec::new();
    for chunk in body.chunks(size) {
        wire.extend_from_slice(format!("{:x};a\r\n", chunk.len()).as_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\nA: b\r\n\r\nnext");
    let read = read_body(Framing::Chunked, BodyLimits::new(), &wire, 7);
    let expected = Read {
        body: body.to_vec(),
        taken: wire.len() - "next".len(),
        error: None,
    };
    assert_eq!(read, expected);
}
