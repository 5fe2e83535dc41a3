//! What is written is read back unchanged, whatever the text: nothing is lost or injected.

#![cfg(feature = "json")]

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;
use sse_core::{Decoded, Decoder, Event, EventId, EventType, Stream};

mod common;
use common::{Item, decode};

/// An event that resets the ID also resets it when forwarded.
#[test]
fn a_reset_of_the_id_is_forwarded() {
    let input = b"id: 1\ndata: a\n\nid\ndata: b\n\n";
    assert_eq!(read(&rewrite(input), 8), read(input, 8));
}

/// A browser would return the ID and receive a 400, or return a different one.
#[test]
fn an_id_that_a_client_cannot_return_is_not_forwarded() {
    let dropped = EventId::dropped();
    let too_long = "x".repeat(EventId::MAX_LEN + 1);
    for id in [" 7", "7 ", "\t", "a\u{1}b", "7\x7f", &too_long] {
        let input = format!("id: 6\ndata: a\n\nid: {id}\ndata: b\n\nid: 8\ndata: c\n\n");
        let expected = "id: 6\nevent: message\ndata: a\n\nevent: message\ndata: b\n\n\
                        id: 8\nevent: message\ndata: c\n\n";
        let wire = rewrite(input.as_bytes());
        assert_eq!(str::from_utf8(&wire).unwrap(), expected);
    }
    assert!(EventId::dropped() >= dropped + 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_events_are_read_as_written(
        events in prop::collection::vec(parts(), 0..6),
        size in 1..12_usize,
    ) {
        let mut wire = Vec::new();
        for parts in &events {
            parts.event().encode(&mut wire);
        }
        prop_assert_eq!(read(&wire, usize::MAX), expected_items(&events));
        prop_assert_eq!(read(&wire, size), expected_items(&events));
    }

    #[test]
    fn any_input_that_is_forwarded_is_read_the_same(input in hostile_bytes()) {
        let wire = rewrite(&input);
        let forwarded = forwarded(read(&input, 7));
        prop_assert_eq!(read(&wire, 7), &forwarded[..]);
        if forwarded == read(&input, 7) {
            prop_assert_eq!(rewrite(&wire), wire);
        }
    }

    #[test]
    fn any_json_is_read_as_written(value in json()) {
        let mut stream = Stream::new(Vec::new());
        stream.write_json(&value).unwrap();
        let (wire, _) = stream.into_parts();

        let mut other = Vec::new();
        Event::new().json_data(&value).unwrap().encode(&mut other);
        prop_assert_eq!(&other, &wire);

        let [Item::Event(event)] = &read(&wire, 7)[..] else {
            return Err(TestCaseError::fail("one event in, one event out"));
        };
        prop_assert_eq!(serde_json::from_str::<Value>(event.data()).unwrap(), value);
    }

    #[test]
    fn text_is_accepted_exactly_if_it_is_valid(text in hostile_text()) {
        let has_break = text.contains(['\r', '\n']);
        prop_assert_eq!(EventType::new(&*text).is_err(), has_break);
        let is_id = text == text.trim_matches([' ', '\t']) && !text.contains(is_control);
        prop_assert_eq!(EventId::new(&*text).is_ok(), is_id);
    }
}

fn is_control(character: char) -> bool {
    character.is_ascii_control()
}

/// Returns these items as forwarded: without the IDs that clients cannot return.
fn forwarded(items: Vec<Item>) -> Vec<Item> {
    let mut last_event_id = String::new();
    let items = items.into_iter().map(|item| match item {
        Item::Event(event) => {
            if EventId::new(event.last_event_id()).is_ok() {
                event.last_event_id().clone_into(&mut last_event_id);
            }
            common::event(event.event(), event.data(), &last_event_id)
        }
        item => item,
    });
    items.collect()
}

/// The fields of an event.
#[derive(Debug, Clone)]
struct Parts {
    comment: Option<String>,
    id: Option<String>,
    event_type: Option<String>,
    retry: Option<Duration>,
    data: Option<String>,
}

impl Parts {
    fn event(&self) -> Event<'_> {
        let mut event = Event::new();
        if let Some(text) = &self.comment {
            event = event.comment(text);
        }
        if let Some(id) = &self.id {
            event = event.id(EventId::new(id).expect("an ID"));
        }
        if let Some(event_type) = &self.event_type {
            event = event.event(EventType::new(event_type).expect("one line"));
        }
        if let Some(retry) = self.retry {
            event = event.retry(retry);
        }
        if let Some(text) = &self.data {
            event = event.data(text);
        }
        event
    }
}

/// Returns the items that a decoder returns for these events.
fn expected_items(events: &[Parts]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut last_event_id = String::new();
    for parts in events {
        if let Some(text) = &parts.comment {
            items.extend(with_lf(text).split('\n').map(|line| common::comment(line)));
        }
        if let Some(retry) = parts.retry {
            let millis = retry.as_nanos().div_ceil(1_000_000);
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            items.push(Item::Retry(Duration::from_millis(millis)));
        }
        if let Some(id) = &parts.id {
            last_event_id.clone_from(id);
        }
        if let Some(text) = &parts.data {
            let event_type = parts.event_type.as_deref().unwrap_or_default();
            items.push(common::event(event_type, &with_lf(text), &last_event_id));
        }
    }
    items
}

/// Replaces each CR and CRLF by LF.
fn with_lf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

fn read(wire: &[u8], size: usize) -> Vec<Item> {
    let (items, end) = decode(&mut Decoder::new(), wire.chunks(size));
    assert_eq!(end, Ok(()));
    items
}

/// Decodes `input` and encodes the result.
fn rewrite(input: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::new();
    let mut chunk = decoder.chunk(input);
    let mut wire = Vec::new();
    while let Some(decoded) = chunk.next().expect("no limit is near") {
        match decoded {
            Decoded::Event(event) => Event::from(event).encode(&mut wire),
            Decoded::Retry(retry) => Event::new().retry(retry).encode(&mut wire),
            Decoded::Comment(text) => Event::new().comment(text).encode(&mut wire),
            other => panic!("{other:?} is new; the tests should know it"),
        }
    }
    wire
}

fn parts() -> impl Strategy<Value = Parts> {
    let line = || hostile_text().prop_map(|text| text.replace(['\r', '\n', '\0'], "·"));
    let id = hostile_text().prop_map(|text| {
        let text = text.replace(is_control, "·");
        text.trim_matches(' ').to_owned()
    });
    let retry = prop_oneof![
        (0..10_000_u64).prop_map(Duration::from_millis),
        any::<Duration>(),
    ];
    (
        prop::option::of(hostile_text()),
        prop::option::of(id),
        prop::option::of(line()),
        prop::option::of(retry),
        prop::option::weighted(0.8, hostile_text()),
    )
        .prop_map(|(comment, id, event_type, retry, data)| Parts {
            comment,
            id,
            event_type,
            retry,
            data,
        })
}

/// Text that contains fields, line ends and events.
fn hostile_text() -> impl Strategy<Value = String> {
    const PARTS: &str = "\n|\r|\r\n|\n\r|\n\n| |:|\0|\t|data|data: |id: 7|event: |retry: 10|: |x|é|😀|\
        \u{feff}|\u{2028}|\u{85}|\u{fffd}";
    let parts = Vec::from_iter(PARTS.split('|'));
    let part = prop_oneof![
        prop::sample::select(parts).prop_map(str::to_owned),
        ".{0,3}"
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
}

fn hostile_bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        3 => hostile_text().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        hostile_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(hostile_text(), inner, 0..4)
                .prop_map(|map: BTreeMap<_, _>| Value::Object(map.into_iter().collect())),
        ]
    })
}
