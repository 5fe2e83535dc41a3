//! Parses any bytes as a request head, with the same result however they are split. A `Head`
//! keeps its documented guarantees, and no request can inject bytes into a response.

#![no_main]

use std::fmt::Debug;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sse_core::{
    Decoded, Decoder, FieldError, Head, HeadReader, Rejection, Reply, Response, Upgrader,
};
use sse_fuzz::{Answer, now};

fuzz_target!(|bytes: &[u8]| {
    let narrow = HeadReader::new().max_head(64).max_headers(2);
    for reader in [HeadReader::new(), narrow] {
        let whole = read(reader.clone(), bytes.chunks(usize::MAX));
        for size in [1, 2, 3, 7, 31] {
            let pieces = read(reader.clone(), bytes.chunks(size));
            assert_eq!(facts(&pieces), facts(&whole), "in pieces of {size}");
        }
        match whole {
            Ok(Some((head, _))) => {
                check_head(&head);
                check_judgements(&head);
            }
            Ok(None) => {}
            Err(rejection) => {
                let mut reader = reader;
                let _ = reader.read(&mut &*bytes);
                check_refusal(&rejection, reader.refused());
            }
        }
    }
});

/// Parses the head. Returns it and its length in bytes.
fn read<'a>(
    mut reader: HeadReader,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<(Head, usize)>, Rejection> {
    let mut taken = 0;
    for piece in pieces {
        let mut rest = piece;
        let head = reader.read(&mut rest)?;
        taken += piece.len() - rest.len();
        if let Some(head) = head {
            return Ok(Some((head, taken)));
        }
        assert!(rest.is_empty(), "\"not yet\" takes everything");
    }
    Ok(None)
}

/// The parts of a head that two parsers must agree on.
fn facts(
    read: &Result<Option<(Head, usize)>, Rejection>,
) -> Result<Option<impl PartialEq + Debug>, u16> {
    match read {
        Ok(read) => Ok(read.as_ref().map(|(head, taken)| {
            let line = (head.method(), head.target(), head.minor_version());
            let headers: Vec<_> = head.headers().collect();
            (line, headers, head.has_body(), *taken)
        })),
        Err(rejection) => Err(rejection.status()),
    }
}

fn check_head(head: &Head) {
    let count = |name| head.header_values(name).count();
    let is_line = |text: &[u8]| !text.iter().any(|byte| b"\r\n\0".contains(byte));

    assert!(matches!(head.minor_version(), Some(0 | 1)));
    assert!(is_token(head.method()));
    assert!(is_target(head.method(), head.target()), "{}", head.target());
    assert!(head.target().contains(head.path()) || head.path() == "/");
    assert!(head.target().ends_with(head.query().unwrap_or_default()));

    for (name, value) in head.headers() {
        assert!(is_token(name) && is_line(value), "{name}: {value:?}");
        assert!(head.header_values(name).any(|other| other == value));
    }
    assert!(count("host") == 1 || count("host") == 0 && head.minor_version() == Some(0));
    assert!(!head.host().contains(['/', '?', '#', '@', ' ', '\\']));

    assert!(count("content-length") + count("transfer-encoding").min(1) <= 1);
    let length = head.header("content-length").unwrap_or_default();
    let is_long = length.iter().any(|digit| *digit != b'0');
    assert_eq!(head.is_chunked(), count("transfer-encoding") > 0);
    assert_eq!(head.has_body(), is_long || head.is_chunked());
    assert!(head.target().is_ascii());

    let again = Head::from_parts(
        head.method(),
        head.target(),
        head.minor_version(),
        head.headers(),
    );
    let again = again.map(|again| Some((again, 0)));
    let once = Ok(Some((head.clone(), 0)));
    assert_eq!(facts(&again), facts(&once));

    let last_event_id = head.last_event_id();
    match head.header("last-event-id").unwrap_or_default() {
        b"" => assert!(last_event_id.is_none_or(|id| is_line(id.as_ref().as_bytes()))),
        sent => assert!(last_event_id.is_some_and(|id| id == *String::from_utf8_lossy(sent))),
    }
}

/// Returns whether a target has origin, absolute, authority or asterisk form (RFC 9112, 3.2).
fn is_target(method: &str, target: &str) -> bool {
    let target = target.to_ascii_lowercase();
    match method {
        "CONNECT" => !target.contains('/'),
        "OPTIONS" if target == "*" => true,
        _ => ["/", "http://", "https://"]
            .iter()
            .any(|start| target.starts_with(start)),
    }
}

/// Returns whether this is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_delimiter = |c| "\"(),/:;<=>?@[\\]{}".contains(c);
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_graphic() && !is_delimiter(c))
}

fn check_judgements(head: &Head) {
    for upgrader in upgraders() {
        let check = |response: Response| {
            check_answer(
                &upgrader.reply(response, Some(head), Some(now())),
                head.method(),
            );
        };
        if let Err(rejection) = upgrader.check(head) {
            check(rejection.into());
        }
        if let Some(answer) = upgrader.answer_options(head) {
            check(answer);
        }
        match upgrader.accept(head) {
            Ok(accepting) => {
                let reply = upgrader.reply(accepting, Some(head), Some(now()));
                check_accepting(&reply.encode(), head);
            }
            Err(rejection) => check(rejection.into()),
        }
    }
}

/// A refused head cannot inject bytes into a response either.
fn check_refusal(rejection: &Rejection, head: Option<&Head>) {
    for upgrader in upgraders() {
        let reply = upgrader.reply(rejection.clone(), head, Some(now()));
        check_answer(&reply, head.map_or("", Head::method));
    }
}

fn upgraders() -> [Upgrader; 3] {
    let picky = || -> Result<_, FieldError> {
        Upgrader::new()
            .retry(Duration::from_millis(1500))
            .allow_host("a.example")?
            .allow_origin("https://a.example")?
            .allow_origin("null")?
            .header("Cache-Control", "no-store")
    };
    [
        Upgrader::new(),
        Upgrader::new().allow_any_origin().allow_credentials(),
        picky().expect("the settings are legal"),
    ]
}

fn check_answer(reply: &Reply, method: &str) {
    let wire = reply.encode();
    let answer = Answer::parse(&wire);
    assert_eq!(answer.status, reply.status());
    match answer.content_length() {
        Some(_) if method == "HEAD" => assert!(answer.body.is_empty()),
        Some(length) => assert_eq!(answer.body.len(), length),
        None => assert!(answer.status == 204 && answer.body.is_empty()),
    }
}

fn check_accepting(wire: &[u8], head: &Head) {
    let answer = Answer::parse(wire);
    assert!(answer.status == 200 && answer.is_stream());
    match Decoder::new().chunk(answer.body).next() {
        Ok(Some(Decoded::Retry(retry))) => assert_eq!(retry, Duration::from_millis(1500)),
        nothing => assert_eq!(nothing, Ok(None)),
    }
    assert!(answer.body.is_empty() || head.method() != "HEAD");
}
