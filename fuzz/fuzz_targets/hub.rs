//! Runs any program of publishing into the topics of a hub, and of clients that follow several of
//! them, stall, leave and come back on another shard. Each receives every event in the order of
//! the IDs, or a gap event; of a keyed topic it has the publisher's map in the end.

#![no_main]
#![allow(clippy::unwrap_used, reason = "a panic is what the fuzzer looks for")]

use libfuzzer_sys::fuzz_target;

#[path = "../../sse-net/tests/common/hub_model.rs"]
mod hub_model;
#[path = "../../sse-net/tests/common/keyed_model.rs"]
mod keyed_model;
#[path = "../../sse-net/tests/common/pipes.rs"]
mod pipes;

fuzz_target!(|program: &[u8]| match program {
    [kind, program @ ..] if kind % 2 == 1 => keyed_model::run(program),
    _ => hub_model::run(program),
});
