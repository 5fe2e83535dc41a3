//! The limits of a decoder: memory and time under a hostile stream.

use std::error::Error;
use std::io;

use proptest::prelude::*;
use sse_core::{DecodeError, Decoder, Events};

mod common;
use common::{Item, comment, decode, decodes_to, event, feed, hostile_input, message, numbered};

#[test]
fn a_line_may_be_as_long_as_the_limit() {
    const TOO_LONG: DecodeError = DecodeError::LineTooLong { limit: 8 };
    let decoder = Decoder::new().max_line(8);
    accepts(&decoder, "data: ab\n\n", &[message("ab")]);
    accepts(&decoder, "data: ab\r\n\r\n", &[message("ab")]);
    accepts(&decoder, "\u{feff}data: ab\n\n", &[message("ab")]);
    accepts(&decoder, "12345678", &[]);
    fails(&decoder, "123456789", &[], TOO_LONG);
    fails(
        &decoder,
        "data: a\n\ndata: abc\n\n",
        &[message("a")],
        TOO_LONG,
    );
    fails(&decoder, ": 1234567\n", &[], TOO_LONG);
    fails(&decoder, "event: ab\n", &[], TOO_LONG);
    fails(&decoder, "retry: 10\n", &[], TOO_LONG);
    fails(&decoder, "unknown: \n", &[], TOO_LONG);
    fails(&decoder, b"\xef\xbb1234567\n", &[], TOO_LONG);
}

#[test]
fn a_line_limit_of_zero_allows_blank_lines() {
    let decoder = Decoder::new().max_line(0);
    accepts(&decoder, "\n\r\n\r\n\n", &[]);
    fails(
        &decoder,
        "\n:\n",
        &[],
        DecodeError::LineTooLong { limit: 0 },
    );
}

/// Each data line counts with its line end, including the last.
#[test]
fn an_event_may_be_as_large_as_the_limit() {
    const TOO_LONG: DecodeError = DecodeError::EventTooLong { limit: 4 };
    let decoder = Decoder::new().max_event(4);
    let abc = || message("abc");
    accepts(&decoder, "data: abc\n\n", &[abc()]);
    accepts(&decoder, "data: a\ndata: b\n\n", &[message("a\nb")]);
    accepts(&decoder, "data\ndata\ndata\ndata\n\n", &[message("\n\n\n")]);
    fails(&decoder, "data: abcd\n\n", &[], TOO_LONG);
    fails(&decoder, "data: a\ndata: bc\n\n", &[], TOO_LONG);
    fails(&decoder, "data: ab\ndata: b\n\n", &[], TOO_LONG);
    fails(&decoder, "data\ndata\ndata\ndata\ndata\n\n", &[], TOO_LONG);
    fails(&decoder, "data: abc\n\ndata: abcd\n\n", &[abc()], TOO_LONG);
}

/// Events that are lent from the input have the same limits.
#[test]
fn a_large_event_may_be_as_large_as_the_limits() {
    let data = "x".repeat(2100);
    let input = format!("id: 7\ndata: {data}\n\n");
    for (max_line, max_event, error) in [
        (2106, 2101, None),
        (2105, 2101, Some(DecodeError::LineTooLong { limit: 2105 })),
        (2106, 2100, Some(DecodeError::EventTooLong { limit: 2100 })),
        (9000, 9000, None),
    ] {
        let decoder = Decoder::new().max_line(max_line).max_event(max_event);
        match error {
            None => accepts(&decoder, &input, &[numbered(&data, "7")]),
            Some(error) => fails(&decoder, &input, &[], error),
        }
    }
}

#[test]
fn the_event_limit_counts_only_data() {
    let decoder = Decoder::new().max_event(4);
    accepts(&decoder, ": a long comment\n", &[comment("a long comment")]);
    let expected = [event("long type", "abc", "long id")];
    accepts(
        &decoder,
        "event: long type\nid: long id\ndata: abc\n\n",
        &expected,
    );

    let decoder = Decoder::new().max_event(0);
    accepts(&decoder, "id: 7\nevent: tick\n\n", &[]);
    fails(
        &decoder,
        "data\n",
        &[],
        DecodeError::EventTooLong { limit: 0 },
    );
}

#[test]
fn the_line_limit_is_reported_if_both_are_exceeded() {
    let decoder = Decoder::new().max_line(12).max_event(4);
    let error = DecodeError::LineTooLong { limit: 12 };
    fails(&decoder, "data: abcdefg\n\n", &[], error);
    fails(&decoder, "data: abcdefg", &[], error);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_error_does_not_depend_on_how_the_input_is_split(
        max_line in 0..30_usize,
        max_event in 0..30_usize,
        input in hostile_input(),
        size in 1..40_usize,
    ) {
        let decoder = || Decoder::new().max_line(max_line).max_event(max_event);
        let whole = decode(&mut decoder(), [&input[..]]);
        prop_assert_eq!(decode(&mut decoder(), input.chunks(size)), whole);
    }
}

#[test]
fn endless_empty_data_lines_are_bounded() {
    let mut decoder = Decoder::new().max_event(1000);
    let mut lines = 0;
    let error = loop {
        match decoder.chunk(b"data\n").next() {
            Ok(decoded) => assert_eq!(decoded, None),
            Err(error) => break error,
        }
        lines += 1;
    };
    assert_eq!(
        (lines, error),
        (1000, DecodeError::EventTooLong { limit: 1000 })
    );
}

#[test]
fn limits_are_on_by_default() {
    let endless = |line: &[u8], decoder: &mut Decoder| -> DecodeError {
        let part = line.repeat((1 << 20) / line.len());
        (0..=17)
            .find_map(|_| decoder.chunk(&part).next().err())
            .expect("17 MiB are more than 16")
    };
    let limit = 16 << 20;
    assert_eq!(Decoder::DEFAULT_MAX_LINE, limit);
    assert_eq!(Decoder::DEFAULT_MAX_EVENT, limit);
    assert_eq!(
        endless(b"x", &mut Decoder::default()),
        DecodeError::LineTooLong { limit }
    );
    let line = [&b"data: "[..], &[b'x'; 1000], b"\n"].concat();
    assert_eq!(
        endless(&line, &mut Decoder::default()),
        DecodeError::EventTooLong { limit }
    );
}

/// Heartbeats must never reach a limit.
#[test]
fn an_endless_number_of_comments_is_allowed() {
    let mut decoder = Decoder::new().max_line(8).max_event(8);
    for _ in 0..10_000 {
        assert_eq!(
            feed(&mut decoder, b": still\n:\n\n"),
            [comment("still"), comment("")]
        );
    }
    assert_eq!(feed(&mut decoder, b"data: a\n\n"), &[message("a")]);
}

#[test]
fn an_error_is_returned_until_the_decoder_is_restarted() {
    let mut decoder = Decoder::new().max_line(8);
    let error = DecodeError::LineTooLong { limit: 8 };
    for input in [&b"too long a line\n"[..], b"data: a\n\n", b""] {
        let mut chunk = decoder.chunk(input);
        assert_eq!(chunk.next(), Err(error));
        assert_eq!(chunk.next(), Err(error));
    }
    decoder.restart();
    assert_eq!(feed(&mut decoder, b"data: a\n\n"), &[message("a")]);
}

#[test]
fn an_error_names_the_setting_to_change() {
    sentence(
        DecodeError::LineTooLong { limit: 8 },
        "a line exceeds 8 bytes; raise the decoder's max_line if that is legitimate",
    );
    sentence(
        DecodeError::EventTooLong { limit: 16 << 20 },
        "an event's data exceeds 16777216 bytes; raise the decoder's max_event if that is legitimate",
    );
}

#[test]
fn events_end_after_an_exceeded_limit() {
    let reader = &b"data: a\n\ndata: too long\n\ndata: b\n\n"[..];
    let mut events = Events::with_decoder(reader, Decoder::new().max_line(8));
    assert_eq!(events.next().unwrap().unwrap().data(), "a");
    let error = events.next().unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    let inner = error.get_ref().unwrap().downcast_ref();
    assert_eq!(inner, Some(&DecodeError::LineTooLong { limit: 8 }));
    assert!(events.next().is_none());
    assert!(events.next().is_none());
}

/// A decoder that searches the whole line again with every part would read half a terabyte.
#[test]
fn time_is_linear_in_the_length_of_a_line() {
    let mut decoder = Decoder::new();
    assert_eq!(feed(&mut decoder, b"data: "), []);
    for _ in 0..(4 << 20) / 16 {
        assert_eq!(decoder.chunk(b"0123456789abcdef").next(), Ok(None));
    }
    let events = feed(&mut decoder, b"\n\n");
    assert_eq!(
        events,
        [message(&"0123456789abcdef".repeat((4 << 20) / 16))]
    );
}

/// The same for a decoder that copies the earlier data with every line.
#[test]
fn time_is_linear_in_the_number_of_lines() {
    let mut decoder = Decoder::new();
    for _ in 0..(4 << 20) / 16 {
        assert_eq!(decoder.chunk(b"data: 123456789\n").next(), Ok(None));
    }
    let events = feed(&mut decoder, b"\n");
    assert_eq!(
        events,
        [message(["123456789"; (4 << 20) / 16].join("\n").as_str())]
    );
}

#[track_caller]
fn accepts(decoder: &Decoder, input: impl AsRef<[u8]>, items: &[Item]) {
    decodes_to(decoder, input, items, Ok(()));
}

/// Checks that `input`, however it is split, decodes to `items` and then fails.
#[track_caller]
fn fails(decoder: &Decoder, input: impl AsRef<[u8]>, items: &[Item], error: DecodeError) {
    decodes_to(decoder, input, items, Err(error));
}

#[track_caller]
fn sentence(error: DecodeError, expected: &str) {
    assert_eq!(error.to_string(), expected);
    assert!(error.source().is_none());
    let error = io::Error::from(error);
    assert_eq!(
        (error.kind(), &*error.to_string()),
        (io::ErrorKind::InvalidData, expected)
    );
}
