//! Decodes any bytes as an event stream. The result equals that of a naive decoder after the
//! standard, however the input is split, within the limits.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{DecodeError, Decoder, Events};
use sse_fuzz::{Item, Steps, decode, event, with_line_feeds};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    cuts: Steps,
    limits: Limits,
    bytes: &'a [u8],
}

/// In a seed, this is a line of two characters.
#[derive(Arbitrary, Debug)]
struct Limits {
    line: u8,
    event: u8,
    _line_end: u8,
}

fuzz_target!(|input: Input<'_>| {
    let Input {
        cuts,
        limits,
        bytes,
    } = input;
    let unlimited = (usize::MAX, usize::MAX);
    for (max_line, max_event) in [unlimited, (limits.line.into(), limits.event.into())] {
        let decoder = Decoder::new().max_line(max_line).max_event(max_event);
        let expected = Outcome::by_the_standard(bytes, max_line, max_event);
        assert_eq!(Outcome::of(&decoder, [bytes]), expected);
        assert_eq!(Outcome::of(&decoder, cuts.pieces(bytes)), expected);
        assert_eq!(Outcome::of(&decoder, bytes.chunks(1)), expected);
        assert_eq!(Outcome::of_dropped_cursors(&decoder, bytes), expected);

        let events = Events::with_decoder(bytes, decoder);
        let events = events.map_while(Result::ok).map(Item::Event);
        assert!(events.eq(expected.events()));
    }
    // An event of some length is lent from the input.
    if let Some(at) = bytes.iter().position(|byte| *byte == b'x') {
        let decoder = Decoder::new();
        let bytes = [&bytes[..at], &[b'x'; 2500], &bytes[at..]].concat();
        let expected = Outcome::by_the_standard(&bytes, usize::MAX, usize::MAX);
        assert_eq!(Outcome::of(&decoder, [&*bytes]), expected);
        assert_eq!(Outcome::of(&decoder, cuts.pieces(&bytes)), expected);
    }
});

#[derive(Debug, PartialEq)]
struct Outcome {
    items: Vec<Item>,
    ended: Result<(), DecodeError>,
    last_event_id: String,
    retry: Option<Duration>,
}

impl Outcome {
    fn of<'a>(decoder: &Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut decoder = decoder.clone();
        let (items, ended) = decode(&mut decoder, pieces);
        if ended.is_err() {
            assert_eq!(decode(&mut decoder, [&b"\n"[..]]), (vec![], ended));
        }
        Self {
            items,
            ended,
            last_event_id: decoder.last_event_id().into(),
            retry: decoder.retry(),
        }
    }

    /// Takes one item from each cursor; the next cursor returns the item after it.
    fn of_dropped_cursors(decoder: &Decoder, bytes: &[u8]) -> Self {
        let mut decoder = decoder.clone();
        let (mut items, mut rest) = (Vec::new(), bytes);
        let ended = loop {
            match decoder.chunk(std::mem::take(&mut rest)).next() {
                Ok(Some(decoded)) => items.push(decoded.into_owned()),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        Self {
            items,
            ended,
            last_event_id: decoder.last_event_id().into(),
            retry: decoder.retry(),
        }
    }

    /// Decodes the whole stream at once (WHATWG HTML, section 9.2.6).
    fn by_the_standard(bytes: &[u8], max_line: usize, max_event: usize) -> Self {
        let mut outcome = Self {
            items: Vec::new(),
            ended: Ok(()),
            last_event_id: String::new(),
            retry: None,
        };
        let (mut id, mut event_type) = (String::new(), String::new());
        let (mut data, mut data_size) = (String::new(), 0);

        for line in Line::all(bytes) {
            if line.text.len() > max_line {
                outcome.ended = Err(DecodeError::LineTooLong { limit: max_line });
                break;
            }
            let (name, value) = line.text.split_once(':').unwrap_or((&line.text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                _ if !line.is_ended => {}
                "" if line.text.is_empty() => {
                    outcome.last_event_id.clone_from(&id);
                    if let Some(data) = data.strip_suffix('\n') {
                        outcome.items.push(event(&event_type, data.into(), &id));
                    }
                    event_type.clear();
                    data.clear();
                    data_size = 0;
                }
                "" => outcome.items.push(Item::Comment(value.to_owned().into())),
                "data" => {
                    data_size += value.len() + 1;
                    if data_size > max_event {
                        outcome.ended = Err(DecodeError::EventTooLong { limit: max_event });
                        break;
                    }
                    data += value;
                    data += "\n";
                }
                "event" => event_type = value.into(),
                "id" if value.contains('\0') => {}
                "id" => id = value.into(),
                "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                    let millis = value.parse().unwrap_or(u64::MAX);
                    outcome.retry = Some(Duration::from_millis(millis));
                    outcome.items.extend(outcome.retry.map(Item::Retry));
                }
                _ => {}
            }
        }
        outcome
    }

    fn events(&self) -> impl Iterator<Item = Item> {
        let is_event = |item: &&Item| matches!(item, Item::Event(_));
        self.items.iter().filter(is_event).cloned()
    }
}

struct Line {
    text: String,
    /// Whether a line end follows.
    is_ended: bool,
}

impl Line {
    fn all(bytes: &[u8]) -> Vec<Self> {
        let text = decode_utf8(bytes);
        let text = with_line_feeds(text.strip_prefix('\u{feff}').unwrap_or(&text));
        let last = text.split('\n').count() - 1;
        let lines = text.split('\n').enumerate();
        lines
            .map(|(at, text)| Self {
                text: text.into(),
                is_ended: at < last,
            })
            .collect()
    }
}

/// Returns the text with U+FFFD for each ill-formed sequence, up to a character that the bytes end
/// in.
fn decode_utf8(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes.len();
    for chunk in bytes.utf8_chunks() {
        text += chunk.valid();
        rest -= chunk.valid().len() + chunk.invalid().len();
        match std::str::from_utf8(chunk.invalid()) {
            Ok(_) => {}
            Err(error) if rest == 0 && error.error_len().is_none() => {}
            Err(_) => text.push('\u{fffd}'),
        }
    }
    text
}
