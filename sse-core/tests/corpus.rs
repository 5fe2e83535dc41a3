//! The corpus of streams, which other implementations read too.

#![cfg(feature = "json")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use sse_core::{Decoded, Decoder};

mod common;
use common::{comment, decodes_to, event, retry};

#[test]
fn each_stream_of_the_corpus_decodes_to_its_items() {
    let corpus = include_str!("corpus/streams.jsonl");
    assert!(corpus.lines().count() > 100);
    for line in corpus.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let input = match &case["hex"] {
            Value::String(hex) => unhex(hex),
            _ => case["input"].as_str().unwrap().as_bytes().to_vec(),
        };
        let items = case["items"].as_array().unwrap().iter().map(item);
        decodes_to(&Decoder::new(), &input, &Vec::from_iter(items), Ok(()));
    }
}

fn item(item: &Value) -> Decoded<'static> {
    let text = |name: &str| item[name].as_str();
    match (item["retry"].as_u64(), text("comment")) {
        (Some(millis), _) => retry(millis),
        (_, Some(text)) => comment(text),
        _ => event(
            text("event").unwrap(),
            text("data").unwrap(),
            text("id").unwrap(),
        ),
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
