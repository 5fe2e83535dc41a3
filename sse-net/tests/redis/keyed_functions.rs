//! The function that publishes, called for keyed topics: what it counts, drops and refuses.

use std::collections::HashMap;

use crate::functions::{FRAME, Functions, key};

impl Functions {
    /// Publishes a value or a removal with these limits.
    fn put(&self, kind: &str, name: &str, [keys, bytes, age]: [&str; 3]) {
        self.publish("keyed", &[kind, name, keys, bytes, age, FRAME]);
    }

    fn values(&self) -> HashMap<String, String> {
        self.redis.call(&["HGETALL", &key("state:keyed")])
    }

    fn removals(&self) -> usize {
        self.redis.call(&["ZCARD", &key("removals:keyed")])
    }

    /// Checks the number of bytes that the next event adds to.
    #[track_caller]
    fn check_bytes(&self) {
        let values = self.values();
        let lens = values.iter().map(|(key, value)| key.len() + value.len());
        let counted: String = self.redis.call(&["HGET", &key("keyed"), "keyed"]);
        let (_, counted) = counted.split_once(' ').unwrap();
        assert_eq!(counted, lens.sum::<usize>().to_string(), "{values:?}");
    }
}

const ANY: [&str; 3] = ["99", "9999", "60000"];

#[test]
#[ignore = "needs redis-server"]
fn the_bytes_of_keys_and_events_are_counted() {
    let functions = Functions::start();
    for (kind, name, limits) in [
        ("value", "one", ANY),
        ("value", "other", ANY),
        ("value", "one", ANY),
        ("removal", "one", ANY),
        ("value", "one", ANY),
        ("removal", "one", ANY),
        ("removal", "other", ANY),
        // One removal is superseded, and the other is too old.
        ("value", "one", ["99", "9999", "-1"]),
        // There is no room for the removal.
        ("removal", "one", ANY),
        ("value", "other", ["1", "9999", "60000"]),
        ("removal", "other", ANY),
        ("value", "other", ["1", "9999", "60000"]),
    ] {
        functions.put(kind, name, limits);
        functions.check_bytes();
    }
    assert_eq!(
        functions.values().into_keys().collect::<Vec<_>>(),
        ["other"]
    );
    assert_eq!(functions.removals(), 0);
}

/// By their age, by the number of keys, and by their bytes: each takes some 35, and the new one 52.
#[test]
#[ignore = "needs redis-server"]
fn removals_that_are_too_old_or_in_the_way_are_dropped() {
    for (limits, left) in [
        (["99", "9999", "-1"], 0),
        (["2", "9999", "60000"], 1),
        (["99", "105", "60000"], 1),
    ] {
        let functions = Functions::start();
        for name in ["a", "b", "c"] {
            functions.put("value", name, ANY);
            functions.put("removal", name, ANY);
        }
        assert_eq!(functions.removals(), 3);
        functions.put("value", "new", limits);
        assert_eq!(functions.removals(), left, "{limits:?}");
        assert_eq!(functions.values().len(), left + 1);
    }
}

/// Its keys keep it from expiring.
#[test]
#[ignore = "needs redis-server"]
fn a_keyed_topic_that_is_finished_stays_keyed() {
    let functions = Functions::start();
    functions.put("value", "one", ANY);
    let end = functions.publish("keyed", &["end"]);
    let field: String = functions.redis.call(&["HGET", &key("hub"), "topic:keyed"]);
    assert_eq!(field, format!("{end} keyed end"));
}

/// A limit may have been lowered since.
#[test]
#[ignore = "needs redis-server"]
fn a_key_is_removed_though_its_topic_is_full() {
    let functions = Functions::start();
    for name in ["a", "b", "c"] {
        functions.put("value", name, ANY);
    }
    for (kind, limits) in [("keys", ["1", "9999"]), ("bytes", ["99", "1"])] {
        let words = ["value", "d", limits[0], limits[1], "60000", FRAME];
        assert_eq!(functions.refused("keyed", &words), "FULL", "{kind}");
    }
    functions.put("removal", "a", ["1", "9999", "60000"]);
    functions.put("removal", "b", ["99", "1", "60000"]);
    assert_eq!(functions.removals(), 2);
}

#[test]
#[ignore = "needs redis-server"]
fn a_keyed_topic_that_begins_anew_has_dropped_what_it_had() {
    let functions = Functions::start();
    functions.store("other");
    functions
        .redis
        .call::<()>(&["HSET", &key("hub"), "floor", "1000-7"]);
    functions.publish("keyed", &["value", "key", "9", "9999", "0", FRAME]);
    let dropped: String = functions.redis.call(&["HGET", &key("keyed"), "keyed"]);
    assert!(dropped.starts_with("1000-7 "), "{dropped}");
}

/// Else the value would be dropped with the removals, once they are old.
#[test]
#[ignore = "needs redis-server"]
fn a_key_that_has_a_value_again_is_no_removal() {
    let functions = Functions::start();
    for (kind, removals) in [("value", 0), ("removal", 1), ("value", 0)] {
        functions.publish("keyed", &[kind, "key", "9", "9999", "60000", FRAME]);
        let count: usize = functions.redis.call(&["ZCARD", &key("removals:keyed")]);
        assert_eq!(count, removals);
    }
}
