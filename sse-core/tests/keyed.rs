//! The newest event of each key: what readers get, and what it costs.

use std::hint::black_box;
use std::time::Duration;

use allocation_counter::measure;
use proptest::prelude::*;
use sse_core::{Encoded, Event, Evicted, KeyedFull, KeyedLog, KeyedRetention, LogId};

#[path = "common/keyed_pair.rs"]
mod keyed_pair;
use keyed_pair::{KeyedPair, Limits};

#[test]
fn a_reader_gets_the_newest_event_of_each_key() {
    for (program, after, expected) in [
        ("", 0, ""),
        ("a", 0, "a1"),
        ("a a a", 0, "a3"),
        ("a b a", 0, "b2 a3"),
        ("a b a", 2, "a3"),
        ("a b a", 3, ""),
        ("a b a c b", 1, "a3 c4 b5"),
        ("a b -a", 0, "b2 -a3"),
        ("a b -a", 2, "-a3"),
        ("a b -a a", 0, "b2 a4"),
        ("-a", 0, "-a1"),
    ] {
        let mut log = log(KeyedRetention::default(), program);
        assert_eq!(
            read(&mut log, after, u64::MAX),
            expected,
            "{program} after {after}"
        );
    }
}

#[test]
fn an_event_supersedes_once_it_is_visible() {
    let mut log = log(KeyedRetention::default(), "a b");
    log.hold(Some(LogId::new(2, 0)));
    append(&mut log, 3, "a");
    append(&mut log, 4, "-b");
    append(&mut log, 5, "a");
    assert_eq!(read(&mut log, 0, 2), "a1 b2");
    assert_eq!(
        read(&mut log, 0, 5),
        "a1 b2 a3 -b4 a5",
        "a journal gets what is held back"
    );
    for (visible, expected) in [(3, "b2 a3"), (4, "a3 -b4"), (5, "-b4 a5")] {
        log.hold(Some(LogId::new(visible, 0)));
        while log.settle().is_some() {}
        assert_eq!(read(&mut log, 0, visible), expected);
    }
}

#[test]
fn what_has_become_visible_is_settled_by_later_events() {
    let mut log = log(KeyedRetention::default(), "a");
    log.hold(Some(LogId::new(1, 0)));
    for id in 2..=9 {
        append(&mut log, id, "a");
    }
    log.hold(None);
    for id in 10..=20 {
        append(&mut log, id, "b");
    }
    assert_eq!(read(&mut log, 0, u64::MAX), "a9 b20");
}

#[test]
fn bytes_up_to_an_id_are_those_that_readers_get() {
    let mut log = KeyedLog::new(KeyedRetention::default(), LogId::default());
    for id in 1..=2000 {
        let key = format!("k{}", id * id % 97 % 60);
        let data = "x".repeat(usize::try_from(id * 31 % 300).unwrap());
        drop(log.append_as(LogId::new(id, 0), &key, &Event::new().data(data), at(id)));
    }
    for until in (0..=2000).step_by(50).map(|id| LogId::new(id, 0)) {
        let (mut len, mut after) = (0, LogId::default());
        while let Some(slice) = log.slice_between(after, until) {
            (len, after) = (len + slice.len(), slice.last_id());
        }
        assert_eq!(log.bytes_until(until), len, "up to {until}");
    }
}

#[test]
fn removals_are_dropped_after_a_time() {
    let retention = KeyedRetention::default().removals(at(10));
    let mut log = log(retention, "a b -a c -c");
    for (now, expected, evicted) in [
        (13, "b2 -a3 -c5", 0),
        (14, "b2 -c5", 3),
        (16, "b2 -c5", 3), // The newest event is retained.
    ] {
        drop(log.evict(at(now)));
        assert_eq!(read(&mut log, 0, u64::MAX), expected, "at {now}");
        assert_eq!(log.evicted(), LogId::new(evicted, 0));
    }
    append(&mut log, 6, "d");
    drop(log.evict(at(16)));
    assert_eq!(read(&mut log, 0, u64::MAX), "b2 d6");
    assert_eq!(log.evicted(), LogId::new(5, 0));
}

/// A storage restores the log of an earlier run, which had dropped later removals.
#[test]
fn what_counts_as_dropped_stays_dropped() {
    let retention = KeyedRetention::default().removals(Duration::from_millis(10));
    let mut log = KeyedLog::new(retention, LogId::new(9, 0));
    for (id, is_removal) in [(3, true), (5, false)] {
        let key = sse_core::EventKey {
            key: id.to_string().into(),
            is_removal,
        };
        drop(log.restore(LogId::new(id, 0), &key, b"data: x\n\n", at(9)));
    }
    drop(log.evict(at(100)));
    assert_eq!((log.len(), log.evicted()), (1, LogId::new(9, 0)));
}

/// A log that is written anew, with earlier IDs: readers at its old end find what is appended.
#[test]
fn a_log_begins_anew() {
    let mut log = log(KeyedRetention::default(), "a b -b a");
    let end = log.end();
    drop(log.begin_anew(LogId::new(2, 0)));
    assert!(log.is_empty() && log.get("a").is_none());
    assert_eq!(
        (log.evicted(), log.newest_id()),
        (LogId::new(2, 0), LogId::new(2, 0))
    );
    assert!(log.evicted_end() > end, "a reader there has lagged");
    for (id, key) in [(1, "b"), (3, "-c"), (4, "a")] {
        append(&mut log, id, key);
    }
    assert_eq!(log.end(), log.evicted_end(), "nothing is visible");
    log.hold(Some(LogId::new(3, 0)));
    while log.settle().is_some() {}
    assert_eq!(read(&mut log, 0, 3), "b1 -c3");
    let slice = log.slice(end..log.end()).unwrap();
    assert_eq!(
        (slice.first_id(), slice.last_id()),
        (LogId::new(1, 0), LogId::new(3, 0))
    );
    assert_eq!((log.len(), read(&mut log, 1, 4)), (2, "-c3 a4".to_owned()));
}

#[test]
fn limits_are_kept() {
    let size = event_len(1) + 1;
    for (keys, bytes, program, key, expected) in [
        (2, 1000, "a b", "a", Ok("a b")),
        (2, 1000, "a b", "c", Err(KeyedFull::Keys { max: 2 })),
        // The oldest removal makes room.
        (2, 1000, "a b -a", "c", Ok("b")),
        (2, 1000, "a b -a -b", "c", Ok("-b")),
        (9, 3 * size + 50, "a b", "c", Ok("a b")),
        (9, 2 * size + 50, "a b", "b", Ok("a b")),
        (
            9,
            2 * size + 20,
            "a b",
            "c",
            Err(KeyedFull::Bytes { max: 2 * size + 20 }),
        ),
    ] {
        let retention = KeyedRetention::default().keys(keys).bytes(bytes);
        let mut log = log(retention, program);
        let len = Encoded::new(&Event::new().data(key)).max_len();
        let room = log.make_room(key, len).map(drop);
        let left = read(&mut log, 0, u64::MAX);
        let left = left.replace(|char: char| char.is_numeric(), "");
        assert_eq!(room.map(|()| &*left), expected, "{program}, then {key}");
    }
    let too_long = KeyedLog::new(KeyedRetention::default().bytes(9), LogId::default())
        .make_room("a", 10)
        .unwrap_err();
    for (error, sentence) in [
        (
            too_long,
            "with the event, the newest events of all keys exceed 9 bytes; remove keys or raise \
             `KeyedRetention::bytes`",
        ),
        (
            KeyedFull::Keys { max: 2 },
            "the event has a new key and there are 2 keys, the most allowed; remove keys or raise \
             `KeyedRetention::keys`",
        ),
    ] {
        assert_eq!(error.to_string(), sentence);
    }
}

/// A call drops 512 removals at most, and the next one continues.
#[test]
fn a_long_event_needs_the_room_of_many_removals() {
    let program: String = (0..600).map(|key| format!("{key} -{key} ")).collect();
    let bytes = log(KeyedRetention::default(), &program).bytes();
    let mut log = log(KeyedRetention::default().bytes(bytes), &program);
    let len = bytes * 9 / 10;
    let full = log.make_room("long", len).unwrap_err();
    assert_eq!(full, KeyedFull::Bytes { max: bytes });
    drop(log.make_room("long", len).unwrap());
}

/// Otherwise clients that come back would begin anew for an event that nobody gets.
#[test]
fn a_refused_event_drops_no_removal() {
    let program = "a b -b c -c";
    let bytes = log(KeyedRetention::default(), program).bytes();
    for (keys, key, len, full) in [
        (9, "d", bytes - 10, KeyedFull::Bytes { max: bytes }),
        (1, "d", 10, KeyedFull::Keys { max: 1 }),
    ] {
        let mut log = log(KeyedRetention::default().keys(keys).bytes(bytes), program);
        assert_eq!(log.make_room(key, len).map(drop), Err(full));
        assert_eq!(read(&mut log, 0, u64::MAX), "a1 -b3 -c5");
        assert_eq!(log.evicted(), LogId::default());
    }
}

/// The newest event is dropped if it is a removal, and readers have its end as their position.
#[test]
fn a_reader_misses_nothing_after_room_was_made() {
    let removals: String = (0..100).map(|key| format!(" k{key} -k{key}")).collect();
    let program = format!("a{removals}");
    let [bytes, left] =
        [&*program, "a"].map(|program| log(KeyedRetention::default(), program).bytes());
    let mut log = log(KeyedRetention::default().bytes(bytes), &program);
    let (end, last) = (log.end(), log.newest_id().millis());
    drop(log.make_room("b", bytes - left - 1).unwrap());
    drop(log.evict(at(last)));
    append(&mut log, last + 1, "b");
    let next = log.slice(end..log.end()).map(|slice| slice.first_id());
    assert_eq!(next, Some(LogId::new(last + 1, 0)));
}

/// Memory is bounded by the keys: at most twice their newest events and 100 bytes for each.
#[test]
fn memory_does_not_grow_with_time() {
    const KEYS: usize = 10_000;
    for (len, keys, rounds, begins) in [
        (20, KEYS, 5, 1),
        (100, KEYS, 5, 1),
        (100, KEYS, 5, 3),
        (100, 100, 500, 1),
        (1000, KEYS, 2, 1),
        (20_000, 20, 9, 1),
    ] {
        let mut newest = 0;
        let memory = measure(|| {
            let mut log = KeyedLog::new(KeyedRetention::default().bytes(1 << 30), LogId::default());
            let data = "x".repeat(len);
            let mut random = 1_u64;
            let steps = (keys * rounds) as u64;
            for step in 0..steps * begins {
                let id = step + 1;
                if step > 0 && step % steps == 0 {
                    drop(log.begin_anew(LogId::new(step, 0)));
                    log.hold(None);
                }
                // Every key once, and then keys at random.
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                let key = if step % steps < keys as u64 {
                    step % steps + 1
                } else {
                    (random >> 33) % keys as u64 + 1
                };
                let event = Event::new().data(&*data);
                let key = format!("{key:06}");
                let _ = if id % 2 == 0 {
                    log.append_as(LogId::new(id, 0), &key, &event, at(id))
                } else {
                    log.append_encoded_as(LogId::new(id, 0), &key, Encoded::new(&event), at(id))
                };
            }
            newest = log.bytes();
            assert_eq!(log.len(), keys);
            std::mem::forget(black_box(log));
        });
        let used = usize::try_from(memory.bytes_current).unwrap();
        let per_key = (used.saturating_sub(2 * newest)) / keys;
        println!(
            "{keys} keys of {len}, begun {begins} times: {newest} bytes take {used}, {per_key} more per key"
        );
        assert!(
            used <= 2 * newest + 100 * keys + (80 << 10),
            "{used} for {newest}"
        );
    }
}

/// The longest copy under a caller's lock.
#[test]
fn a_call_copies_little() {
    let mut log = KeyedLog::new(KeyedRetention::default(), LogId::default());
    let data = "x".repeat(1000);
    let mut longest = 0;
    for id in 1..20_000_u64 {
        let key = if id % 3 == 0 {
            id % 7
        } else {
            id.wrapping_mul(7919) % 500
        };
        let event = Event::new().data(&*data);
        let mut evicted = Evicted::default();
        let cost = measure(|| {
            evicted = log.append_as(LogId::new(id, 0), &key.to_string(), &event, at(id));
        });
        longest = longest.max(cost.bytes_total);
        let cost = measure(|| drop(log.slice_between(LogId::new(id / 2, 0), LogId::new(id, 0))));
        assert!(cost.bytes_total < 80 << 10, "{}", cost.bytes_total);
    }
    // The newest chunk is closed and the next one begins with as much room.
    assert!(longest < 256 << 10, "{longest}");
}

/// An operation of a program.
#[derive(Debug, Clone)]
enum Operation {
    Publish(u8, usize),
    Remove(u8),
    Tick(u64),
    Evict,
    Hold(Option<u64>),
    Read(usize, usize),
}

fn operations() -> impl Strategy<Value = Operation> {
    let len = prop_oneof![4 => 0..50_usize, 2 => 500..3000_usize, 1 => 8000..9000_usize];
    prop_oneof![
        8 => (0..8_u8, len).prop_map(|(key, len)| Operation::Publish(key, len)),
        3 => (0..8_u8).prop_map(Operation::Remove),
        2 => (0..20_u64).prop_map(Operation::Tick),
        1 => Just(Operation::Evict),
        1 => prop::option::weighted(0.8, 0..9_u64).prop_map(Operation::Hold),
        3 => (0..4_usize, 1..3_usize).prop_map(|(client, slices)| Operation::Read(client, slices)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Whatever happens, a client that joins at any ID and reads to the end has the same map as
    /// the model.
    #[test]
    fn a_client_that_joins_at_any_id_has_the_same_map(
        keys in 1..9_usize,
        bytes in prop_oneof![3 => Just(1 << 20), 1 => 200..20_000_usize],
        removals in 0..50_u64,
        program in prop::collection::vec(operations(), 1..60),
    ) {
        let removals = at(removals);
        let mut pair = KeyedPair::new(Limits { keys, bytes, removals });
        let mut now = at(0);
        for (number, operation) in program.into_iter().enumerate() {
            match operation {
                Operation::Publish(key, len) => {
                    let value = format!("{number} {}", "x".repeat(len));
                    pair.publish(&format!("k{key}"), &value, now);
                }
                Operation::Remove(key) => pair.remove(&format!("k{key}"), now),
                Operation::Tick(millis) => now += at(millis),
                Operation::Evict => pair.evict(now),
                Operation::Hold(back) => pair.hold(back),
                Operation::Read(client, slices) => pair.read(client, slices),
            }
            pair.check();
        }
    }
}

/// Runs a program of keys to publish, and of keys with a hyphen to remove.
fn log(retention: KeyedRetention, program: &str) -> KeyedLog {
    let mut log = KeyedLog::new(retention, LogId::default());
    for (id, step) in (1..).zip(program.split_whitespace()) {
        append(&mut log, id, step);
    }
    log
}

fn append(log: &mut KeyedLog, id: u64, step: &str) {
    let event = Event::new().data(step);
    let evicted = match step.strip_prefix('-') {
        Some(key) => log.remove_as(LogId::new(id, 0), key, &event, at(id)),
        None => log.append_as(LogId::new(id, 0), step, &event, at(id)),
    };
    drop(evicted);
}

/// Returns the data and the ID of each event that is read.
fn read(log: &mut KeyedLog, after: u64, until: u64) -> String {
    let mut read = Vec::new();
    let mut after = LogId::new(after, 0);
    while let Some(slice) = log.slice_between(after, LogId::new(until, 0)) {
        for (id, event) in slice.events() {
            let text = std::str::from_utf8(event).expect("it is text");
            let data = text.split_once("data: ").expect("it has data").1.trim_end();
            read.push(format!("{data}{}", id.millis()));
        }
        after = slice.last_id();
    }
    read.join(" ")
}

/// Returns the length of an event with this ID and data of one byte.
fn event_len(id: u64) -> usize {
    format!("id: {id}-0\ndata: x\n\n").len()
}

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
