//! Upgrades a connection with errors that sends any bytes in any pieces. The output is a valid
//! response or stream, up to where the connection accepted it.

#![no_main]

use std::io::ErrorKind;
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{Decoder, FieldError, HeadReader, Rejection, Response, UpgradeError, Upgrader};
use sse_fuzz::{Answer, Conn, Item, Steps, decode, event, now};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    reads: Steps,
    writes: Steps,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let mut conn = Conn::new(input.bytes, input.reads.clone(), Steps::CALM);
    let outcome = serve(&mut conn);
    check_outcome(&outcome, &conn.output, is_head(input.bytes));

    let mut troubled = Conn::new(input.bytes, input.reads, input.writes);
    match serve(&mut troubled) {
        Ok(()) => assert_eq!(troubled.output, conn.output),
        Err(_) => assert!(conn.output.starts_with(&troubled.output)),
    }
});

const RETRY: Duration = Duration::from_millis(1500);
const DATA: &str = "hey\nthere";

/// An action of a server on a connection.
fn serve(conn: &mut Conn<'_>) -> Result<(), UpgradeError> {
    let upgrader = upgrader().expect("the settings are legal");
    let request = upgrader.read_with(conn, |_| Ok(()))?;
    let mut stream = match request.path() {
        "/sse" => request.accept()?,
        "/page" => {
            return request.respond(Response::new(200).with_body("text/html", "<h1>Hey</h1>"));
        }
        _ => return request.reject(Rejection::NOT_FOUND),
    };
    let _ = stream.write_str(DATA);
    while stream.flush().is_err() {}
    Ok(())
}

fn upgrader() -> Result<Upgrader, FieldError> {
    let upgrader = Upgrader::new()
        .allow_host("a.example")?
        .allow_origin("https://a.example")?
        .allow_credentials();
    let upgrader = upgrader.retry(RETRY).clock(now);
    Ok(upgrader.max_head(512).max_headers(8))
}

/// Returns whether the request is a valid `HEAD` request, whose response has no body.
fn is_head(mut bytes: &[u8]) -> bool {
    let mut reader = HeadReader::new().max_head(512).max_headers(8);
    let head = reader.read(&mut bytes).ok().flatten();
    let head = head.or_else(|| reader.refused().cloned());
    head.is_some_and(|head| head.method() == "HEAD")
}

fn check_outcome(outcome: &Result<(), UpgradeError>, output: &[u8], is_head: bool) {
    if let Err(UpgradeError::Io(error)) = outcome {
        assert!(matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
        ));
        return assert_eq!(output, b"");
    }
    let answer = Answer::parse(output);
    match outcome {
        Err(UpgradeError::Rejected(rejection)) => assert_eq!(answer.status, rejection.status()),
        Err(_) => assert!(matches!(answer.status, 200 | 204 | 403)),
        Ok(()) => assert!(matches!(answer.status, 200 | 404)),
    }
    match answer.content_length() {
        // A connection cut within the head has no valid request.
        Some(length) if is_head && matches!(answer.status, 400 | 408) => {
            assert!(answer.body.is_empty() || answer.body.len() == length);
        }
        Some(_) if is_head => assert_eq!(answer.body, b""),
        Some(length) => assert_eq!(answer.body.len(), length),
        None if outcome.is_ok() => check_stream(&answer),
        None => assert_eq!(answer.body, b""),
    }
}

fn check_stream(answer: &Answer<'_>) {
    assert!(answer.is_stream());
    let (items, ended) = decode(&mut Decoder::new(), [answer.body]);
    assert_eq!(
        (items, ended),
        (vec![Item::Retry(RETRY), event("", DATA.into(), "")], Ok(()))
    );
}
