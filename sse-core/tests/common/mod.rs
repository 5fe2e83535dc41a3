//! Helpers that several tests share.
#![allow(dead_code, reason = "each test uses a part")]

use std::fmt::{self, Display};
use std::time::Duration;

use proptest::prelude::*;
use serde::{Serialize, Serializer, ser};
use sse_core::{DecodeError, Decoded, Decoder, MessageEvent};

#[cfg(feature = "http")]
pub(crate) mod peer;

/// Inputs up to this length are split in three as well.
const SHORT: usize = 40;

/// Splits `input`: into bytes, in two at every offset, and in three if it is short.
///
/// Some parts are empty.
pub(crate) fn cuts(input: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let len = input.len();
    let in_three = move |first| match len {
        ..=SHORT => first..=len,
        _ => len..=len,
    };
    let pieces = move |(first, second)| {
        let (rest, third) = input.split_at(second);
        let (first, second) = rest.split_at(first);
        vec![first, second, third]
    };
    let at = (0..=len).flat_map(move |first| in_three(first).map(move |second| (first, second)));
    std::iter::once(input.chunks(1).collect()).chain(at.map(pieces))
}

pub(crate) fn show(pieces: &[&[u8]]) -> String {
    let pieces = pieces.iter().map(|piece| piece.escape_ascii().to_string());
    Vec::from_iter(pieces).join(" | ")
}

pub(crate) fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("whole characters of text")
}

/// An owned item of a decoder.
pub(crate) type Item = Decoded<'static>;

pub(crate) fn event(event_type: &str, data: &str, last_event_id: &str) -> Item {
    let [event_type, data, id] = [event_type, data, last_event_id].map(str::to_owned);
    Item::Event(MessageEvent::new(event_type, data, id).expect("fields of an event"))
}

/// Makes an event of the default type, in a stream without IDs.
pub(crate) fn message(data: &str) -> Item {
    event("message", data, "")
}

/// Makes an event of the default type, in a stream with this last event ID.
pub(crate) fn numbered(data: &str, last_event_id: &str) -> Item {
    event("message", data, last_event_id)
}

pub(crate) fn retry(millis: u64) -> Item {
    Item::Retry(Duration::from_millis(millis))
}

pub(crate) fn comment(text: &str) -> Item {
    Item::Comment(text.to_owned().into())
}

/// Decodes the parts, up to the end or an exceeded limit.
pub(crate) fn decode<'i>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'i [u8]>,
) -> (Vec<Item>, Result<(), DecodeError>) {
    let mut items = Vec::new();
    for piece in pieces {
        let mut chunk = decoder.chunk(piece);
        loop {
            match chunk.next() {
                Ok(Some(decoded)) => items.push(decoded.into_owned()),
                Ok(None) => break,
                Err(error) => return (items, Err(error)),
            }
        }
    }
    (items, Ok(()))
}

/// Checks that `input`, however it is split, decodes to `items` and then to `end`.
#[track_caller]
pub(crate) fn decodes_to(
    decoder: &Decoder,
    input: impl AsRef<[u8]>,
    items: &[Item],
    end: Result<(), DecodeError>,
) {
    let expected = (items.to_vec(), end);
    for pieces in cuts(input.as_ref()) {
        let decoded = decode(&mut decoder.clone(), pieces.iter().copied());
        assert_eq!(decoded, expected, "{}", show(&pieces));
    }
}

/// Decodes one more part, which must not exceed a limit.
#[track_caller]
pub(crate) fn feed(decoder: &mut Decoder, piece: &[u8]) -> Vec<Item> {
    let (items, end) = decode(decoder, [piece]);
    assert_eq!(end, Ok(()));
    items
}

/// A value that writes some text with line breaks, and then fails.
pub(crate) struct FailsHalfway;

impl Display for FailsHalfway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("half\n\n")?;
        Err(fmt::Error)
    }
}

impl Serialize for FailsHalfway {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use ser::{Error, SerializeSeq};
        let mut list = serializer.serialize_seq(None)?;
        list.serialize_element("half")?;
        Err(S::Error::custom("it does not want to"))
    }
}

/// Text with short lines and lines of many kilobytes.
pub(crate) fn text_in_lines() -> impl Strategy<Value = String> {
    let filler = prop::sample::select(vec!["x", " ", "\t", "\0", "é", "data: ", "日本\u{85}"]);
    let count = prop_oneof![4 => 0..3_usize, 3 => 20..80_usize, 1 => 200..5000_usize];
    let end = prop::sample::select(vec!["\n", "\r", "\r\n", "\n\r", "\r\r\n", ""]);
    let line = (filler, count, end).prop_map(|(filler, count, end)| filler.repeat(count) + end);
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

/// Input in which almost every byte has a meaning.
pub(crate) fn hostile_input() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: &[u8] =
        b"data|data:|data: |event|event: |id|id: |retry|retry: |:|: | |\t|+|x|T+1.000000000|\0|\
        7|42|18446744073709551616|\n|\r|\r\n|\n\n|\n\n|\xef\xbb\xbf|\xef|\xbb|\xbf|\
        \xf0\x9f|\x98\x80|\xc3|\xff|\xe2\x80\xa8";
    let parts = Vec::from_iter(PARTS.split(|byte| *byte == b'|'));
    prop::collection::vec(prop::sample::select(parts), 0..60).prop_map(|parts| parts.concat())
}
