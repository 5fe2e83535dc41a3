//! The format of event streams, decoded by `Decoder` and `Events` from input that is split in
//! every way.

use std::io::BufReader;
use std::time::Duration;

use sse_core::{Decoded, Decoder, Events};

mod common;
use common::{
    Item, comment, cuts, decode, decodes_to, event, feed, message, numbered, retry, show,
};

#[test]
fn a_blank_line_dispatches_the_event_before_it() {
    decodes("", []);
    decodes("\n", []);
    decodes("data: a\n\n", [message("a")]);
    decodes("data: a\n\ndata: b\n\n", [message("a"), message("b")]);
    decodes(
        "\n\n\ndata: a\n\n\n\ndata: b\n\n",
        [message("a"), message("b")],
    );
    decodes("data: a\ndata: b\n\n", [message("a\nb")]);
    decodes("data: a\n \n\n", [message("a")]); // a line with a space is not blank
}

#[test]
fn an_unfinished_event_is_dropped() {
    decodes("data: a", []);
    decodes("data: a\n", []);
    decodes("data: a\r", []);
    decodes("data: a\r\n", []);
    decodes("data: a\n\ndata: b\n", [message("a")]);
    decodes("data: a\n\nevent: tick\ndata: b", [message("a")]);
}

#[test]
fn data_without_a_value_is_empty_data() {
    decodes("data\n\n", [message("")]);
    decodes("data:\n\n", [message("")]);
    decodes("data: \n\n", [message("")]);
    decodes("data\ndata\n\n", [message("\n")]);
    decodes("data\ndata:\ndata: \n\n", [message("\n\n")]);
    decodes("data: a\ndata\n\n", [message("a\n")]);
    decodes("data\ndata: a\n\n", [message("\na")]);
    decodes("data\n\ndata\n\n", [message(""), message("")]);
}

#[test]
fn only_data_makes_an_event() {
    decodes("event: tick\n\n", []);
    decodes("id: 7\n\n", []);
    decodes("id: 7\nevent: tick\n\n", []);
    decodes("nonsense\n\n", []);
    decodes(":\n\n", [comment("")]);
    decodes("retry: 10\n\n", [retry(10)]);
}

#[test]
fn one_space_after_the_colon_is_dropped() {
    decodes("data:a\n\n", [message("a")]);
    decodes("data: a\n\n", [message("a")]);
    decodes("data:  a\n\n", [message(" a")]);
    decodes("data:\ta\n\n", [message("\ta")]);
    decodes("data: \ta\n\n", [message("\ta")]);
    decodes("data:\u{a0}a\n\n", [message("\u{a0}a")]);
    decodes("data: a \n\n", [message("a ")]);
    decodes("data: a:b\n\n", [message("a:b")]);
    decodes("data::\n\n", [message(":")]);
    decodes("data: data: a\n\n", [message("data: a")]);
    decodes("event:  a \ndata: x\n\n", [event(" a ", "x", "")]);
    decodes("id:  7 \ndata: x\n\n", [numbered("x", " 7 ")]);
}

#[test]
fn cr_lf_and_crlf_each_end_one_line() {
    for end in ["\n", "\r", "\r\n"] {
        let input = format!("data: a{end}: hi{end}data: b{end}{end}data{end}{end}");
        decodes(input, [comment("hi"), message("a\nb"), message("")]);
    }
    decodes("data: a\r\ndata: b\rdata: c\n\r\n", [message("a\nb\nc")]);
    decodes("data: a\r\n\r\ndata: b\r\r", [message("a"), message("b")]);
    decodes("data: a\r\n\ndata: b\n\n", [message("a"), message("b")]);
    decodes("data: a\r\n\rdata: b\n\n", [message("a"), message("b")]);
}

#[test]
fn lf_cr_is_two_line_ends() {
    decodes("data: a\n\r", [message("a")]);
    decodes("data: a\n\rdata: b\n\r\n", [message("a"), message("b")]);
    decodes("data: a\r\r\ndata: b\n\n", [message("a"), message("b")]);
    decodes("data: a\n\r\ndata: b\n\n", [message("a"), message("b")]);
}

#[test]
fn nothing_else_ends_a_line() {
    let text = "a\u{2028}b\u{2029}c\u{85}d\x0be\x0cf\x1cg\x1dh\x1ei\0j";
    decodes(format!("data: {text}\n\n"), [message(text)]);
    decodes(format!(":{text}\n"), [comment(text)]);
}

/// A terminal or a pipe may deliver the LF of the last CRLF much later.
#[test]
fn a_cr_ends_the_line_without_waiting_for_an_lf() {
    let mut decoder = Decoder::new();
    assert_eq!(feed(&mut decoder, b"data: a\r\r"), [message("a")]);
    assert_eq!(feed(&mut decoder, b""), []);
    assert_eq!(feed(&mut decoder, b"\ndata: b\r"), []);
    assert_eq!(feed(&mut decoder, b"\ndata: c\r"), []);
    assert_eq!(feed(&mut decoder, b"\n\r"), [message("b\nc")]);
}

#[test]
fn a_byte_order_mark_is_dropped_once_and_only_at_the_start() {
    decodes("\u{feff}data: a\n\n", [message("a")]);
    decodes("\u{feff}", []);
    decodes("\u{feff}\n", []);
    decodes("\u{feff}\r\ndata: a\r\n\r\n", [message("a")]);
    decodes("\u{feff}: hi\n", [comment("hi")]);
    decodes("\u{feff}\u{feff}data: a\n\n", []);
    decodes("\u{feff}\u{feff}data: a\ndata: b\n\n", [message("b")]);
    decodes("\u{feff}\u{feff}: no comment\n", []);
    decodes("\n\u{feff}data: a\n\n", []);
    decodes("data: a\n\n\u{feff}data: b\n\n", [message("a")]);
    decodes("data: \u{feff}a\n\n", [message("\u{feff}a")]);
    decodes("data:\u{feff} a\n\n", [message("\u{feff} a")]);
}

#[test]
fn a_part_of_a_byte_order_mark_is_part_of_the_line() {
    decodes(b"\xef", []);
    decodes(b"\xef\xbb", []);
    decodes(b"\xefdata: a\ndata: b\n\n", [message("b")]);
    decodes(b"\xef\xbbdata: a\ndata: b\n\n", [message("b")]);
    decodes(b"\xef\xbb\ndata: b\n\n", [message("b")]);
    decodes(b"\xef\r\ndata: b\n\n", [message("b")]);
    decodes(b"\xef\xbb\xef\xbb\xbfdata: a\ndata: b\n\n", [message("b")]);
    decodes(b"\xbb\xbfdata: a\ndata: b\n\n", [message("b")]);
    decodes(b"\xfe\xffdata: a\ndata: b\n\n", [message("b")]);
}

#[test]
fn field_names_are_taken_literally() {
    decodes("Data: a\n\n", []);
    decodes("DATA: a\n\n", []);
    decodes("data : a\n\n", []);
    decodes(" data: a\n\n", []);
    decodes("dat: a\n\n", []);
    decodes("database: a\n\n", []);
    decodes("datadata: a\n\n", []);
    decodes("data\0: a\n\n", []);
    decodes(b"d\xffata: a\n\n", []);
    decodes(
        "Event: tick\nevents: tick\nevent : tick\ndata: a\n\n",
        [message("a")],
    );
    decodes("ID: 7\nids: 7\nId: 7\ni: 7\ndata: a\n\n", [message("a")]);
    decodes("Retry: 10\nretry : 10\nretries: 10\n", []);
    decodes(
        "foo\nfoo:\nfoo: bar\ndata: a\njust text\n\n",
        [message("a")],
    );
}

#[test]
fn fields_may_have_any_order_and_the_last_value_counts() {
    let expected = || event("tick", "a", "7");
    decodes("id: 7\nevent: tick\ndata: a\n\n", [expected()]);
    decodes("data: a\nevent: tick\nid: 7\n\n", [expected()]);
    decodes(
        "event: x\nid: 6\ndata: a\nid: 7\nevent: tick\n\n",
        [expected()],
    );
    decodes("data: a\nid: 7\ndata: b\n\n", [numbered("a\nb", "7")]);
}

#[test]
fn each_blank_line_resets_the_event_type() {
    decodes(
        "event: tick\ndata: a\n\ndata: b\n\n",
        [event("tick", "a", ""), message("b")],
    );
    decodes("event: tick\n\ndata: a\n\n", [message("a")]);
    decodes(
        "event: tick\n: hi\ndata: a\n\n",
        [comment("hi"), event("tick", "a", "")],
    );
    decodes("event\ndata: a\n\n", [message("a")]);
    decodes("event: tick\nevent:\ndata: a\n\n", [message("a")]);
    decodes("event: message\ndata: a\n\n", [message("a")]);
    decodes("event: a\0b\ndata: a\n\n", [event("a\0b", "a", "")]);
}

#[test]
fn an_id_applies_until_the_next_one() {
    decodes(
        "id: 7\ndata: a\n\ndata: b\n\nid: 8\ndata: c\n\n",
        [numbered("a", "7"), numbered("b", "7"), numbered("c", "8")],
    );
    decodes(
        "id: 7\ndata: a\n\nid\ndata: b\n\n",
        [numbered("a", "7"), message("b")],
    );
    decodes(
        "id: 7\ndata: a\n\nid:\ndata: b\n\n",
        [numbered("a", "7"), message("b")],
    );
    decodes("id: 7\n\ndata: a\n\n", [numbered("a", "7")]);
    decodes("id: 日本\ndata: a\n\n", [numbered("a", "日本")]);
}

#[test]
fn an_id_with_nul_is_ignored() {
    decodes("id: \0\ndata: a\n\n", [message("a")]);
    decodes("id: 7\n\nid: 8\0\ndata: a\n\n", [numbered("a", "7")]);
    decodes("id: 7\nid: \08\ndata: a\n\n", [numbered("a", "7")]);
    decodes("id: \0\nid: 7\ndata: a\n\n", [numbered("a", "7")]);
}

#[test]
fn a_blank_line_commits_the_id_even_without_an_event() {
    leaves("id: 7\n\n", "7", None);
    leaves("id: 7\nevent: tick\n\n", "7", None);
    leaves("id: 7\n\nid\n\n", "", None);
    leaves("id: 7\n\n\n\ndata: a\n\n", "7", None);
}

#[test]
fn an_unfinished_block_commits_no_id_though_its_retry_applies() {
    leaves("id: 7\n", "", None);
    leaves("id: 7\ndata: a\n", "", None);
    leaves("id: 7\n\nid: 8\ndata: a\nretry: 10\n", "7", Some(10));
    leaves("retry: 10\ndata: a", "", Some(10));
    leaves("retry: 10", "", None);
}

#[test]
fn a_retry_has_only_digits_and_applies_at_once() {
    decodes("retry: 3000\n", [retry(3000)]);
    decodes("retry:3000\n", [retry(3000)]);
    decodes("retry: 0\n", [retry(0)]);
    decodes("retry: 007\n", [retry(7)]);
    decodes("data: a\nretry: 10\n\n", [retry(10), message("a")]);
    decodes("retry: 10\nretry: 20\n", [retry(10), retry(20)]);
    for other in [
        "", " ", ":", ": ", ":  10", ": 10 ", ": +10", ": -10", ": 1e3", ": 1.5", ": 0x10",
        ": ten", ": 1_000", ": ١٠", ":\t10", ": 10\0", ": 10ms",
    ] {
        decodes(format!("retry{other}\ndata: a\n\n"), [message("a")]);
        leaves(format!("retry: 5\nretry{other}\n"), "", Some(5));
    }
}

#[test]
fn a_retry_beyond_64_bits_is_the_maximum() {
    let input = |digits: &str| format!("retry: {digits}\ndata: a\n\n");
    for digits in [
        "18446744073709551615",
        "18446744073709551616",
        "99999999999999999999",
        &"9".repeat(400),
    ] {
        decodes(input(digits), [retry(u64::MAX), message("a")]);
    }
    decodes(
        input(&format!("{}10", "0".repeat(400))),
        [retry(10), message("a")],
    );
}

#[test]
fn comments_are_returned_and_change_nothing() {
    decodes(":\n", [comment("")]);
    decodes(":hi\n", [comment("hi")]);
    decodes(": hi\n", [comment("hi")]);
    decodes(":  hi \n", [comment(" hi ")]);
    decodes("::\n", [comment(":")]);
    decodes(": data: a\n\n", [comment("data: a")]);
    decodes(":\r:\r\n:\n", [comment(""), comment(""), comment("")]);
    decodes(
        "event: tick\ndata: a\n: hi\nid: 7\n:\ndata: b\n\n",
        [comment("hi"), comment(""), event("tick", "a\nb", "7")],
    );
    decodes(": cut o", []);
}

/// The number of U+FFFD follows the Encoding Standard's UTF-8 decoder, which ends an
/// ill-formed sequence before the first byte that cannot continue it.
#[test]
fn invalid_utf_8_becomes_replacement_characters() {
    for (bytes, expected) in [
        (&b"\xff"[..], "?"),
        (b"\xfe\xff", "??"),
        // A lone continuation.
        (b"\x80", "?"),
        (b"\x80\xbf", "??"),
        // Truncated.
        (b"\xc3", "?"),
        (b"\xe2\x82", "?"),
        (b"\xf0\x9f", "?"),
        (b"\xf0\x9f\x98", "?"),
        (b"\xe1\x80\xe2\x80", "??"),
        (b"\xf0\x9f\xf0\x9f\x98\x80", "?😀"),
        // Truncated by ASCII, which stays.
        (b"\xf0\x9f\x98A", "?A"),
        (b"\xe2(\xa1", "?(?"),
        (b"\xe2\x82:", "?:"),
        (b"\xe2\x82 ", "? "),
        // Overlong.
        (b"\xc0\x80", "??"),
        (b"\xc1\xbf", "??"),
        (b"\xe0\x80\x80", "???"),
        (b"\xe0\x9f\xbf", "???"),
        (b"\xf0\x80\x80\x80", "????"),
        // Surrogates, alone and in a pair.
        (b"\xed\xa0\x80", "???"),
        (b"\xed\xa0\xbd\xed\xb8\x80", "??????"),
        // Beyond U+10FFFF.
        (b"\xf4\x90\x80\x80", "????"),
        (b"\xf5\x80\x80\x80", "????"),
        (b"\xf8\x88\x80\x80\x80", "?????"),
        // The last of each length is well-formed.
        (
            b"\x7f\xdf\xbf\xed\x9f\xbf\xf4\x8f\xbf\xbf",
            "\u{7f}\u{7ff}\u{d7ff}\u{10ffff}",
        ),
    ] {
        let expected = expected.replace('?', "\u{fffd}");
        for end in ["\n", "\r", "\r\n"] {
            let end = end.as_bytes();
            let line = |name: &[u8]| [name, bytes, end].concat();
            let lines = [": ", "event: ", "id: ", "data: ", "data: x"]
                .map(str::as_bytes)
                .map(line);
            let data = format!("{expected}\nx{expected}");
            decodes(
                [&lines.concat(), end].concat(),
                [comment(&expected), event(&expected, &data, &expected)],
            );
        }
    }
}

#[test]
fn split_characters_are_joined() {
    let text = "ß € 日本 😀 \u{10ffff}";
    decodes(
        format!("event: {text}\nid: {text}\ndata: {text}\n\n"),
        [event(text, text, text)],
    );
}

/// WHATWG HTML, 9.2.6, the examples at its end.
#[test]
fn the_examples_of_the_standard_decode_as_described() {
    decodes(
        "data: YHOO\ndata: +2\ndata: 10\n\n",
        [message("YHOO\n+2\n10")],
    );
    decodes(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        [
            comment("test stream"),
            numbered("first event", "1"),
            message("second event"),
            message(" third event"),
        ],
    );
    decodes("data\n\ndata\ndata\n\ndata:", [message(""), message("\n")]);
    decodes(
        "data:test\n\ndata: test\n\n",
        [message("test"), message("test")],
    );
}

/// Checks that `input`, however it is split, decodes to `expected`, and that `Events` returns
/// the same events for any buffer size of its reader.
#[track_caller]
fn decodes<const N: usize>(input: impl AsRef<[u8]>, expected: [Item; N]) {
    let input = input.as_ref();
    decodes_to(&Decoder::new(), input, &expected, Ok(()));

    let is_event = |item: &Item| matches!(item, Item::Event(_));
    let expected = Vec::from_iter(expected.into_iter().filter(is_event));
    for capacity in [1, 2, 3, 8192] {
        let mut items: Vec<Item> = Vec::new();
        for decoded in Events::new(BufReader::with_capacity(capacity, input)) {
            items.push(Decoded::Event(decoded.expect("no limit is exceeded")));
        }
        assert_eq!(items, expected, "{} by {capacity}", input.escape_ascii());
    }
}

/// Checks the last event ID and the reconnection time after `input`, however it is split.
#[track_caller]
fn leaves(input: impl AsRef<[u8]>, last_event_id: &str, retry: Option<u64>) {
    let retry = retry.map(Duration::from_millis);
    for pieces in cuts(input.as_ref()) {
        let mut decoder = Decoder::new();
        let (_, end) = decode(&mut decoder, pieces.iter().copied());
        assert_eq!(end, Ok(()));
        assert_eq!(
            (decoder.last_event_id(), decoder.retry()),
            (last_event_id, retry),
            "{}",
            show(&pieces)
        );
    }
}
