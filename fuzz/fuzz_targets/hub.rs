//! Runs any program of publishing into the topics of a hub, and of clients that follow several of
//! them, stall, leave and come back on another shard. Each receives every event in the order of
//! the IDs, or a gap event.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../sse-net/tests/common/hub_model.rs"]
mod hub_model;

fuzz_target!(|program: &[u8]| hub_model::run(program));
