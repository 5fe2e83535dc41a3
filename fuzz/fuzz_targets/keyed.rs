//! Runs any program of events and removals of keys, clock jumps, holds and reads. The keyed log
//! returns the same as a list of all events ever appended, and a client that joins at any ID has
//! the same map as that list.

#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../../sse-core/tests/common/keyed_pair.rs"]
mod keyed_pair;
use keyed_pair::{KeyedPair, Limits};

#[derive(Arbitrary, Debug)]
struct Input {
    keys: u8,
    bytes: u16,
    removals: u8,
    program: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    /// Publishes an event of this key with data of this length.
    Publish(u8, u16),
    Remove(u8),
    /// Advances the clock.
    Tick(u8),
    Evict,
    /// Moves the mark to some events before the end.
    Hold(Option<u8>),
    Read(u8, u8),
}

/// Longer programs find nothing new and take long to check.
const MAX_OPERATIONS: usize = 48;

fuzz_target!(|input: Input| {
    let mut pair = KeyedPair::new(Limits {
        keys: usize::from(input.keys) + 1,
        bytes: usize::from(input.bytes) * 4,
        removals: Duration::from_millis(input.removals.into()),
    });
    let mut now = Duration::ZERO;
    for (number, operation) in input.program.iter().take(MAX_OPERATIONS).enumerate() {
        match operation {
            Operation::Publish(key, len) => {
                let value = format!("{number} {}", "x".repeat((*len).into()));
                pair.publish(&format!("k{}", key % 8), &value, now);
            }
            Operation::Remove(key) => pair.remove(&format!("k{}", key % 8), now),
            Operation::Tick(millis) => now += Duration::from_millis((*millis).into()),
            Operation::Evict => pair.evict(now),
            Operation::Hold(back) => pair.hold(back.map(u64::from)),
            Operation::Read(client, slices) => pair.read((*client).into(), (*slices).into()),
        }
        pair.check();
    }
});
