//! The decoder beside a literal implementation of the standard.

use proptest::prelude::*;
use sse_core::Decoder;

mod common;
use common::{Item, comment, decode, event, hostile_input, retry, text_in_lines};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_input_decodes_as_the_standard_says(
        input in hostile_input(),
        sizes in prop::collection::vec(0..9_usize, 1..20),
    ) {
        prop_assert_eq!(decode_in(&sizes, &input), read_by_the_standard(&input));
    }
}

proptest! {
    /// Lines that are found a block at a time, at any alignment.
    #[test]
    fn any_long_input_decodes_as_the_standard_says(
        text in text_in_lines(),
        field in prop::sample::select(vec!["data: ", "data:", ":", "id", ""]),
        skipped in 0..64_usize,
        sizes in prop::collection::vec(0..5000_usize, 1..6),
    ) {
        let padding = "x".repeat(skipped);
        let padded = [&padding, field, &text, "\r\rdata", &text, "\n\n"].concat();
        let input = &padded.as_bytes()[skipped..];
        prop_assert_eq!(decode_in(&sizes, input), read_by_the_standard(input));
    }
}

proptest! {
    /// Events that are lent from the input if all of one is there.
    #[test]
    fn any_large_event_decodes_as_the_standard_says(
        parts in prop::collection::vec((large_event(), hostile_input()), 1..6),
        is_hostile in any::<bool>(),
        sizes in prop::collection::vec(0..8000_usize, 0..6),
    ) {
        let parts = parts.into_iter().map(|(mut event, between)| {
            if is_hostile {
                event.extend(between);
            }
            event
        });
        let input = parts.collect::<Vec<_>>().concat();
        prop_assert_eq!(decode_in(&sizes, &input), read_by_the_standard(&input));
    }
}

/// An event of about 2 KiB, the length from which events are lent, and perhaps with something
/// unusual in it.
fn large_event() -> impl Strategy<Value = Vec<u8>> {
    let beginning = prop::sample::select(vec![
        "",
        "",
        "id: 7\n",
        "id: \n",
        "id: 7\r\n",
        "id: 7\0\n",
        "id:7\n",
        "\u{feff}id: 7\n",
        "\n",
    ]);
    let event_type = prop::sample::select(vec!["", "", "event: tick\n", "event: \n", "retry: 1\n"]);
    let end = prop::sample::select(vec![
        "\n\n",
        "\n\n",
        "\n\n",
        "\r\n\r\n",
        "\n\r\n",
        "\r\r",
        "\ndata: x\n\n",
        "\n",
        "\n: x\n\n",
    ]);
    let unusual = prop::sample::select(vec![
        &b""[..],
        b"",
        b"",
        b"\xff",
        b"\xc3",
        "é".as_bytes(),
        b"\0",
        b"\r",
        b"\n",
        b"\t",
    ]);
    let lengths = prop_oneof![0..50_usize, 1990..2060_usize, 2060..5000_usize];
    (
        beginning,
        event_type,
        lengths.clone(),
        unusual,
        lengths,
        end,
    )
        .prop_map(|(beginning, event_type, before, unusual, after, end)| {
            let head = [beginning, event_type, "data: ", &"x".repeat(before)].concat();
            [
                head.as_bytes(),
                unusual,
                "x".repeat(after).as_bytes(),
                end.as_bytes(),
            ]
            .concat()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Input of many times the length that is decoded at once.
    #[test]
    fn any_long_hostile_input_decodes_as_the_standard_says(
        parts in prop::collection::vec(hostile_input(), 0..100),
        common in "(id: [0-9]{1,9}\n)?(event: [a-z]{1,9}\n)?data: [ -~\u{e9}]{0,99}\n\n",
        count in 0..200_usize,
        sizes in prop::collection::vec(0..20_000_usize, 1..6),
    ) {
        let hostile = parts.concat();
        let common = common.repeat(count);
        let input = [&hostile, common.as_bytes(), &hostile].concat();
        prop_assert_eq!(decode_in(&sizes, &input), read_by_the_standard(&input));
    }
}

/// Decodes `input` in parts of these sizes and a last one.
fn decode_in(sizes: &[usize], input: &[u8]) -> Vec<Item> {
    let mut pieces = Vec::new();
    let mut rest = input;
    for size in sizes {
        let (piece, after) = rest.split_at(rest.len().min(*size));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    let (items, end) = decode(&mut Decoder::new(), pieces);
    assert_eq!(end, Ok(()));
    items
}

/// WHATWG HTML, 9.2.5 and 9.2.6, implemented literally, over the whole input at once.
fn read_by_the_standard(input: &[u8]) -> Vec<Item> {
    let text = String::from_utf8_lossy(input)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut lines = Vec::from_iter(text.split('\n'));
    lines.pop(); // It has not ended.

    let mut items = Vec::new();
    let (mut data, mut event_type) = (String::new(), String::new());
    let (mut id_buffer, mut last_event_id) = (String::new(), String::new());
    for line in lines {
        if line.is_empty() {
            last_event_id.clone_from(&id_buffer);
            if !data.is_empty() {
                let event_type = if event_type.is_empty() {
                    "message"
                } else {
                    &event_type
                };
                items.push(event(
                    event_type,
                    data.strip_suffix('\n').unwrap_or(&data),
                    &last_event_id,
                ));
            }
            data.clear();
            event_type.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => items.push(comment(value)),
            "event" => value.clone_into(&mut event_type),
            "data" => data.extend([value, "\n"]),
            "id" if !value.contains('\0') => value.clone_into(&mut id_buffer),
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                items.push(retry(value.parse().unwrap_or(u64::MAX)));
            }
            _ => {}
        }
    }
    items
}
