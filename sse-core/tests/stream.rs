//! The exact bytes that each call of a stream writes.

#![cfg(all(feature = "http", feature = "json"))]

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use serde::Serialize;
use serde_json::value::RawValue;
use sse_core::{Event, EventId, EventType, SendError, Stream};

mod common;
use common::{FailsHalfway, text_in_lines, text_of};

const TICK: EventType = EventType::from_static("tick");

#[test]
fn text_is_written_as_one_data_line_per_line() {
    writes(|s| s.write_str("hey"), "data: hey\n\n");
    writes(|s| s.write_str(""), "data: \n\n");
    writes(|s| s.write_str(" hey "), "data:  hey \n\n");
    writes(|s| s.write_str("a\nb"), "data: a\ndata: b\n\n");
    writes(|s| s.write_str("a\rb"), "data: a\ndata: b\n\n");
    writes(|s| s.write_str("a\r\nb"), "data: a\ndata: b\n\n");
    writes(|s| s.write_str("a\n\rb"), "data: a\ndata: \ndata: b\n\n");
    writes(|s| s.write_str("a\n"), "data: a\ndata: \n\n");
    writes(|s| s.write_str("\r\n"), "data: \ndata: \n\n");
    writes(
        |s| s.write_str("a\n\nid: 7\n\n"),
        "data: a\ndata: \ndata: id: 7\ndata: \ndata: \n\n",
    );
    writes(
        |s| s.write_str("\u{feff}\0\u{2028}"),
        "data: \u{feff}\0\u{2028}\n\n",
    );
    writes(
        |s| s.write_bytes("héy\r日本".as_bytes()),
        "data: héy\ndata: 日本\n\n",
    );
    writes(|s| s.write_bytes(b""), "data: \n\n");
}

proptest! {
    /// Short or long, at any alignment, with line ends anywhere.
    #[test]
    fn any_text_becomes_one_data_line_per_line(
        text in text_in_lines(),
        skipped in 0..64_usize,
    ) {
        let padded = format!("{}{text}", "x".repeat(skipped));
        let text = &padded[skipped..];
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        let spelled = |name| {
            let line = |line| format!("{name}{line}\n");
            lines.split('\n').map(line).collect::<String>()
        };
        let data = format!("{}\n", spelled("data: "));
        writes(|s| s.write_str(text), &data);
        writes(|s| s.write_display(text), &data);
        writes(|s| s.send(&Event::new().data(text)), &data);
        writes(|s| s.send(&Event::new().comment(text).data("x")), &match text {
            "" => ":\ndata: x\n\n".to_owned(),
            _ => format!("{}data: x\n\n", spelled(": ")),
        });
    }
}

#[test]
fn json_is_written_as_data() {
    #[derive(Serialize)]
    struct Quote<'a> {
        text: &'a str,
        ts: u64,
    }
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    writes(
        |s| {
            s.write_json(&Quote {
                text: "a\r\nb",
                ts: 7,
            })
        },
        "data: {\"text\":\"a\\r\\nb\",\"ts\":7}\n\n",
    );
    writes(|s| s.write_json("a\nb"), "data: \"a\\nb\"\n\n");
    writes(|s| s.write_json(&()), "data: null\n\n");
    writes(|s| s.write_json(&[f64::NAN]), "data: [null]\n\n");
    writes(|s| s.write_json(&[0_u8; 0]), "data: []\n\n");
    writes(|s| s.write_json(&raw("[1,\n2]")), "data: [1,\ndata: 2]\n\n");
    writes(|s| s.write_json(&raw("[1,\r2]")), "data: [1,\ndata: 2]\n\n");
    writes(
        |s| s.write_json(&raw("[1,\r\n\n2]")),
        "data: [1,\ndata: \ndata: 2]\n\n",
    );
    writes(
        |s| s.write_json(&[raw("[\n]"), raw("{\r}")]),
        "data: [[\ndata: ],{\ndata: }]\n\n",
    );
}

#[test]
fn integers_and_displayed_values_are_written_as_data() {
    writes(|s| s.write_int(0), "data: 0\n\n");
    writes(|s| s.write_int(-1_i8), "data: -1\n\n");
    writes(|s| s.write_int(u64::MAX), "data: 18446744073709551615\n\n");
    writes(
        |s| s.write_int(i128::MIN),
        "data: -170141183460469231731687303715884105728\n\n",
    );
    writes(
        |s| s.write_int(u128::MAX),
        "data: 340282366920938463463374607431768211455\n\n",
    );
    writes(|s| s.write_float(0.5), "data: 0.5\n\n");
    writes(
        |s| s.write_display(&Ipv4Addr::LOCALHOST),
        "data: 127.0.0.1\n\n",
    );
    writes(|s| s.write_display("a\r\nb"), "data: a\ndata: b\n\n");
    writes(
        |s| s.write_display(&format_args!("{}\r{}\n", 1, 2)),
        "data: 1\ndata: 2\ndata: \n\n",
    );
    writes(|s| s.write_display(""), "data: \n\n");
}

#[test]
fn events_are_written_whole() {
    let id = |text| EventId::new(text).unwrap();
    let full = || {
        Event::new()
            .id(7)
            .event(TICK)
            .retry(Duration::from_secs(1))
            .data("a\nb")
    };
    writes(
        |s| s.send(&full()),
        "id: 7\nevent: tick\nretry: 1000\ndata: a\ndata: b\n\n",
    );
    writes(
        |s| s.send(&full().comment("hi")),
        ": hi\nid: 7\nevent: tick\nretry: 1000\ndata: a\ndata: b\n\n",
    );
    writes(|s| s.send(&Event::new()), "");
    writes(|s| s.send(&Event::new().data("")), "data: \n\n");
    writes(|s| s.send(&Event::new().id(7)), "id: 7\n\n");
    writes(
        |s| s.send(&Event::new().id(id("")).data("x")),
        "id: \ndata: x\n\n",
    );
    writes(
        |s| s.send(&Event::new().retry(Duration::from_micros(1))),
        "retry: 1\n\n",
    );
    writes(|s| s.send(&Event::new().comment("")), ":\n");
    writes(
        |s| s.write_event(7, "tick", "a\nb"),
        "id: 7\nevent: tick\ndata: a\ndata: b\n\n",
    );
    writes(
        |s| s.write_event(id("x"), TICK, ""),
        "id: x\nevent: tick\ndata: \n\n",
    );
    writes(|s| s.write_event("", "", ""), "id: \nevent: \ndata: \n\n");
    writes(
        |s| s.write_event(i64::MIN, String::from("t"), "x"),
        "id: -9223372036854775808\nevent: t\ndata: x\n\n",
    );
}

/// Some clients take a comment with a blank line after it for an event.
#[test]
fn comments_are_written_without_a_blank_line() {
    writes(|s| s.comment(""), ":\n");
    writes(|s| s.comment("hi"), ": hi\n");
    writes(|s| s.comment(" hi"), ":  hi\n");
    writes(|s| s.comment("a\nb\rc\r\nd"), ": a\n: b\n: c\n: d\n");
    writes(
        |s| s.comment("\n\ndata: forged\n\n"),
        ": \n: \n: data: forged\n: \n: \n",
    );
}

#[test]
fn staged_fields_are_sent_with_the_next_event() {
    let retry = Duration::from_millis(1500);
    writes(
        |s| {
            s.set_id(54)?;
            s.set_event("hey-you")?;
            s.set_retry(retry);
            s.write_str("yes")
        },
        "id: 54\nevent: hey-you\nretry: 1500\ndata: yes\n\n",
    );
    // The last value counts, and it may be empty.
    writes(
        |s| {
            s.set_id("first")?;
            s.set_id(EventId::from_static(""))?;
            s.set_event(TICK)?;
            s.set_event("")?;
            s.write_int(1)
        },
        "id: \nevent: \ndata: 1\n\n",
    );
    // An event's own fields take precedence; the others are added.
    writes(
        |s| {
            s.set_id(1)?;
            s.set_event("staged")?;
            s.set_retry(retry);
            s.send(&Event::new().id(2).data("x"))
        },
        "id: 2\nevent: staged\nretry: 1500\ndata: x\n\n",
    );
    writes(
        |s| {
            s.set_id(1)?;
            s.set_event("staged")?;
            s.set_retry(retry);
            s.write_event(2, "own", "x")
        },
        "id: 2\nevent: own\nretry: 1500\ndata: x\n\n",
    );
    writes(
        |s| {
            s.set_retry(retry);
            s.send(&Event::new().retry(Duration::ZERO).data("x"))
        },
        "retry: 0\ndata: x\n\n",
    );
    writes(
        |s| {
            s.set_id(1)?;
            s.send(&Event::new().event(TICK))
        },
        "id: 1\nevent: tick\n\n",
    );
}

#[test]
fn staged_fields_are_sent_once() {
    let mut stream = Stream::new(Vec::new());
    stream.set_id(1).unwrap();
    stream.set_event(TICK).unwrap();
    stream.set_retry(Duration::ZERO);
    stream.comment("no event").unwrap();
    stream.write_str("a").unwrap();
    stream.write_str("b").unwrap();
    assert_eq!(
        text_of(stream.writer()),
        ": no event\nid: 1\nevent: tick\nretry: 0\ndata: a\n\ndata: b\n\n"
    );
}

#[test]
fn a_rejected_event_writes_nothing_and_keeps_staged_fields() {
    rejects(
        |s| s.write_bytes(b"ab\xff"),
        "the data is not UTF-8 from byte 2; encode binary data as text, such as base64",
    );
    rejects(
        |s| s.write_bytes("日本".as_bytes().split_last().unwrap().1),
        "the data is not UTF-8 from byte 3; encode binary data as text, such as base64",
    );
    rejects(
        |s| s.write_json(&FailsHalfway),
        "the data cannot be serialised as JSON: it does not want to",
    );
    rejects(
        |s| s.write_display(&FailsHalfway),
        "the data's Display implementation failed",
    );
    rejects(
        |s| s.write_event("a\nb", TICK, "x"),
        "the event ID has a line feed at byte 1; remove it or send the text as data",
    );
    rejects(
        |s| s.write_event("a\0", TICK, "x"),
        "the event ID has a NUL at byte 1; remove it or send the text as data",
    );
    rejects(
        |s| s.write_event(2, "é\r", "x"),
        "the event type has a carriage return at byte 2; remove it or send the text as data",
    );
    rejects(
        |s| Ok(s.set_id("\r\n")?),
        "the event ID has a carriage return at byte 0; remove it or send the text as data",
    );
    rejects(
        |s| Ok(s.set_event(String::from("a\n"))?),
        "the event type has a line feed at byte 1; remove it or send the text as data",
    );
}

#[test]
fn floats_have_the_fewest_digits_that_parse_as_the_same_value() {
    for (value, expected) in [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-1.5, "-1.5"),
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1.0 / 3.0, "0.3333333333333333"),
        (9_007_199_254_740_993.0, "9007199254740992"),
        (1e-6, "0.000001"),
        (9e-8, "9e-8"),
        (1e20, "100000000000000000000"),
        (123_456_789_012_345_680_000.0, "123456789012345680000"),
        (1e21, "1e21"),
        (-1.5e300, "-1.5e300"),
        (5e-324, "5e-324"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (f64::MAX, "1.7976931348623157e308"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "-Infinity"),
    ] {
        writes(|s| s.write_float(value), &format!("data: {expected}\n\n"));
    }
}

/// ECMAScript, Number::toString: 0.000001 has no exponent, anything smaller has.
#[test]
fn floats_have_an_exponent_where_javascript_writes_one() {
    for (value, expected) in [(9.99e-7, "9.99e-7"), (5e-7, "5e-7"), (-1e-7, "-1e-7")] {
        writes(|s| s.write_float(value), &format!("data: {expected}\n\n"));
    }
}

proptest! {
    #[test]
    fn any_float_parses_as_the_same_value(value in prop::num::f64::ANY) {
        let mut stream = Stream::new(Vec::new());
        stream.write_float(value).unwrap();
        let text = text_of(stream.writer());
        let text = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
        let read: f64 = text.parse().unwrap();
        prop_assert!(read.to_bits() == value.to_bits() || read.is_nan() && value.is_nan());
    }
}

#[test]
fn only_flush_and_close_flush_the_writer() {
    let mut stream = Stream::new(Recorder::default());
    stream.write_str("a").unwrap();
    stream.comment("").unwrap();
    assert_eq!(stream.writer().flushes, 0);
    stream.flush().unwrap();
    assert_eq!(stream.writer().flushes, 1);
    let recorder = stream.close().unwrap();
    assert_eq!(recorder.flushes, 2);
    assert_eq!(
        recorder.writes,
        [&b"data: a\n\n"[..], b":\n", b"event: close\ndata: \n\n"]
    );
}

#[test]
fn close_sends_the_close_event_and_returns_the_writer() {
    let closes = |prepare: fn(&mut Stream<Recorder>), expected: &str| {
        let mut stream = Stream::new(Recorder::default());
        prepare(&mut stream);
        let recorder = stream.close().unwrap();
        assert_eq!(text_of(&recorder.writes.concat()), expected);
        assert_eq!(recorder.flushes, 1);
    };
    closes(|_| {}, "event: close\ndata: \n\n");
    closes(
        |s| s.write_str("a").unwrap(),
        "data: a\n\nevent: close\ndata: \n\n",
    );
    closes(|s| s.set_id(9).unwrap(), "id: 9\nevent: close\ndata: \n\n");
    closes(
        |s| s.set_event("staged").unwrap(),
        "event: close\ndata: \n\n",
    );
    closes(
        |s| s.set_retry(Duration::from_secs(5)),
        "event: close\nretry: 5000\ndata: \n\n",
    );
}

/// Checks that the call writes exactly `expected`, with at most one write.
#[track_caller]
fn writes(call: impl FnOnce(&mut Stream<Recorder>) -> Result<(), SendError>, expected: &str) {
    let mut stream = Stream::new(Recorder::default());
    call(&mut stream).expect("the call is accepted");
    let (recorder, rest) = stream.into_parts();
    assert_eq!(text_of(&recorder.writes.concat()), expected);
    assert_eq!(
        recorder.writes.len(),
        usize::from(!expected.is_empty()),
        "one event, one write"
    );
    assert_eq!(rest, b"");
}

/// Checks that the call fails with this sentence, writes nothing and leaves the staged fields.
#[track_caller]
fn rejects(call: impl FnOnce(&mut Stream<Recorder>) -> Result<(), SendError>, sentence: &str) {
    let mut stream = Stream::new(Recorder::default());
    stream.set_id(1).expect("a number is an ID");
    stream.set_event(TICK).expect("a constant is valid");
    stream.set_retry(Duration::from_millis(5));
    let error = call(&mut stream).expect_err("it is rejected");
    assert_eq!(error.to_string(), sentence);
    assert!(stream.writer().writes.is_empty() && stream.pending().is_empty());
    stream.write_str("next").expect("the call is accepted");
    assert_eq!(
        text_of(&stream.writer().writes.concat()),
        "id: 1\nevent: tick\nretry: 5\ndata: next\n\n"
    );
}

/// Records each write.
#[derive(Debug, Default)]
struct Recorder {
    writes: Vec<Vec<u8>>,
    flushes: usize,
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writes.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushes += 1;
        Ok(())
    }
}
