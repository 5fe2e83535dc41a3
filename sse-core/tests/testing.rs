//! Test support: comparisons of streams, and the faulty writer.

#![cfg(feature = "recording")]

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::time::Duration;

use sse_core::testing::{Comparison, Difference, Faulty, decoded};

#[test]
fn the_first_difference_is_described_in_a_sentence() {
    let long = |end: &str| format!("data: {}{end}\n\n", "x".repeat(100));
    for (expected, got, sentence) in [
        ("", "", None),
        ("data: a\n\n", ":T+1.000000000\ndata:a\r\n\r\n", None),
        ("data: a\n\ndata: torn", "data: a\n\n", None),
        (
            "id: 1\nid: 2\ndata: a\n\n",
            "id: 2\nevent\ndata: a\n\n",
            None,
        ),
        (
            "data: a\n\ndata: b\n\n",
            "data: a\n\ndata: c\n\n",
            Some(r#"item 1 differs in its data: expected "b", got "c""#),
        ),
        (
            "event: a\ndata: b\n\n",
            "event: b\ndata: a\n\n",
            Some(r#"item 0 differs in its type: expected "a", got "b""#),
        ),
        (
            "id: 1\ndata: a\n\n",
            "data: a\n\n",
            Some(r#"item 0 differs in its last event ID: expected "1", got """#),
        ),
        (
            "retry: 10\n\n",
            "retry: 20\n\n",
            Some("item 0 differs in its reconnection time: expected 10ms, got 20ms"),
        ),
        (
            ": a\n",
            ": b\n",
            Some(r#"item 0 differs in its text: expected "a", got "b""#),
        ),
        (
            ": a\nevent: e\ndata: a\n\n",
            ": a\n",
            Some(
                r#"item 1 differs in its kind: expected an event of type "e" with the data "a", got the end"#,
            ),
        ),
        (
            "retry: 5\n\n",
            ": a\n",
            Some(
                r#"item 0 differs in its kind: expected a reconnection time of 5ms, got a comment "a""#,
            ),
        ),
        (
            &long("é"),
            &long("è and so on"),
            Some(
                "item 0 differs in its data: expected …\"xxxxxxxxxxxxxxxxxxxxé\", \
                 got …\"xxxxxxxxxxxxxxxxxxxxè and so on\"",
            ),
        ),
    ] {
        let difference = between(&Comparison::new(), expected, got);
        let sentence_of = difference.map(|difference| difference.to_string());
        assert_eq!(sentence_of.as_deref(), sentence);
    }
}

#[test]
fn times_and_comments_are_compared_if_asked_for() {
    let recorded = |time: &str| format!(":T+{time}\ndata: a\n\n: beat\n");
    let (one, other) = (recorded("1.000000000"), recorded("1.250000000"));
    let exact = Comparison::new().times_within(Duration::ZERO);
    let difference = between(&exact, &one, &other).expect("other times");
    assert_eq!((difference.index(), difference.field()), (0, "time"));
    assert_eq!((difference.expected(), difference.got()), ("1s", "1.25s"));
    let close = Comparison::new().times_within(Duration::from_millis(250));
    assert_eq!(between(&close, &one, &other), None);
    assert_eq!(between(&close, &other, &one), None);

    assert!(between(&Comparison::new(), &one, "data: a\n\n").is_some());
    let without_comments = Comparison::new().without_comments();
    assert_eq!(between(&without_comments, &one, ":\ndata: a\n\n"), None);
}

#[test]
#[should_panic(
    expected = r#"the streams differ: item 0 differs in its data: expected "a", got "b""#
)]
fn assert_same_panics_with_the_difference() {
    Comparison::new().assert_same(&b"data: a\n\n"[..], &b"data: b\n\n"[..]);
}

#[test]
fn a_faulty_writer_fails_and_stalls_as_set_up() {
    let mut writer = Faulty::new()
        .at_once(3)
        .fails_at(4, ErrorKind::TimedOut)
        .fails_to_flush(ErrorKind::Other);
    let mut write = |bytes| writer.write(bytes).map_err(|error| error.kind());
    assert_eq!(write(b"abcdef"), Ok(3));
    assert_eq!(write(b"def"), Ok(1));
    assert_eq!(write(b""), Ok(0));
    assert_eq!(write(b"ef"), Err(ErrorKind::TimedOut));
    assert_eq!(write(b"ef"), Ok(2));
    assert_eq!(writer.flush().unwrap_err().kind(), ErrorKind::Other);
    writer.flush().unwrap();
    assert_eq!(writer.written(), b"abcdef");

    let mut writer = Faulty::new().stalls_at(1);
    assert_eq!(writer.write(b"ab").unwrap(), 1);
    for _ in 0..2 {
        assert_eq!(
            writer.write(b"b").unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    }
    writer.recover();
    assert_eq!(writer.write(b"b").unwrap(), 1);
    assert_eq!(writer.into_written(), b"ab");
    assert_eq!(
        Faulty::new()
            .breaks_at(0, ErrorKind::WriteZero)
            .write(b"a")
            .unwrap(),
        0
    );
}

#[test]
fn the_last_setting_of_a_faulty_writer_counts() {
    let mut writer = Faulty::new().stalls_at(0).fails_at(1, ErrorKind::TimedOut);
    assert_eq!(writer.write(b"ab").unwrap(), 1);
    assert_eq!(writer.write(b"b").unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(writer.write(b"b").unwrap(), 1);
}

#[test]
fn nothing_after_the_first_difference_is_read() {
    let endless = b"data: b\n\n".chain(BufReader::new(io::repeat(b'x')));
    let difference = Comparison::new().first_difference(&b"data: a\n\n"[..], endless);
    assert_eq!(difference.unwrap().unwrap().field(), "data");
}

#[test]
#[should_panic(expected = "the stream cannot be decoded: a line exceeds 16777216 bytes")]
fn decoded_panics_on_a_stream_beyond_the_limits() {
    let _ = decoded(&vec![b'x'; (16 << 20) + 1]);
}

fn between(comparison: &Comparison, expected: &str, got: &str) -> Option<Difference> {
    comparison
        .first_difference(expected.as_bytes(), got.as_bytes())
        .expect("both can be decoded")
}
