//! Reads any bytes as the body of a request, with the same result however they are split: a whole
//! body, as a naive parser finds it, or an error.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{Framing, Head, Rejection, RequestBody};
use sse_fuzz::Steps;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// The length of the body; chunked if there is none.
    length: Option<u8>,
    expects: bool,
    limit: u8,
    steps: Steps,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let length = input.length.map(|length| length.to_string());
    let framing = match &length {
        Some(length) => ("content-length", length.as_bytes()),
        None => ("transfer-encoding", &b"chunked"[..]),
    };
    let expectation = ("expect", &b"100-continue"[..]);
    let headers = [("host", &b"a"[..]), framing, expectation];
    let headers = &headers[..headers.len() - usize::from(!input.expects)];
    let head = Head::from_parts("POST", "/", Some(1), headers.iter().copied());
    let head = head.expect("the head is valid");
    let limit = u64::from(input.limit);

    let whole = read(&head, limit, [input.bytes].into_iter());
    let bytes = read(&head, limit, input.bytes.chunks(1));
    let pieces = read(&head, limit, input.steps.pieces(input.bytes));
    assert_eq!(bytes, whole);
    assert_eq!(pieces, whole);

    match whole {
        Ok((body, taken)) => {
            assert!(body.len() as u64 <= limit);
            let expected = match head.framing() {
                Framing::Length(length) => {
                    let length = usize::try_from(length).expect("a small number");
                    Some((input.bytes[..length].to_vec(), length))
                }
                _ => dechunk(input.bytes),
            };
            assert_eq!(Some((body, taken)), expected);
        }
        Err(status) => assert!(matches!(status, 400 | 413 | 431)),
    }
});

/// Returns the body and the number of bytes taken, or the status of the refusal.
fn read<'a>(
    head: &Head,
    limit: u64,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, usize), u16> {
    let read = || -> Result<_, Rejection> {
        let mut body = RequestBody::new(head, limit)?;
        let is_empty = head.framing() == Framing::Length(0);
        assert_eq!(
            body.interim().is_some(),
            head.expects_continue() && !is_empty
        );
        let mut taken = 0;
        for piece in pieces {
            let mut rest = piece;
            let is_complete = body.read(&mut rest)?;
            assert_eq!(body.interim(), None);
            taken += piece.len() - rest.len();
            if is_complete {
                break;
            }
            assert!(rest.is_empty(), "\"not yet\" takes everything");
        }
        Ok((body.into_bytes()?, taken))
    };
    read().map_err(|rejection| rejection.status())
}

/// Takes a body of chunks apart, without limits. `None` if it is malformed.
fn dechunk(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let line = next_line(bytes, &mut at)?;
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit());
        let digits = str::from_utf8(&line[..digits.unwrap_or(line.len())]).ok()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if next_line(bytes, &mut at)? != b"" {
            return None;
        }
    }
    while next_line(bytes, &mut at)? != b"" {}
    Some((body, at))
}

/// Returns the line at `at`, without its CR LF.
fn next_line<'a>(bytes: &'a [u8], at: &mut usize) -> Option<&'a [u8]> {
    let rest = bytes.get(*at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    *at += end + 2;
    Some(&rest[..end])
}
