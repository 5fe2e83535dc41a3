//! Checks the wake-up protocols of `sse-net` in every interleaving of small programs, with up to
//! three preemptions: a topic, its subscribers and its source, a shard's mailbox and signals, the
//! two ends of a pipe, the waker of a journal. A lost wake-up is a deadlock, which [`loom`]
//! reports.
//!
//! The production files are included as they are. They take their locks from `crate::sync`,
//! which here are loom's. With an argument, only models with that text in their names run.

// The models call only some of the included functions.
#![allow(dead_code, unused_imports, clippy::wrong_self_convention)]

mod models;
mod sync;
mod trace;

#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/shard/mailbox.rs"]
mod mailbox;
#[path = "../../src/stream/pipe.rs"]
mod pipe;
#[path = "../../src/stats/mod.rs"]
mod stats;
#[path = "../../src/topic/mod.rs"]
mod topic;
#[path = "../../src/unwind.rs"]
mod unwind;
#[path = "../../src/journal/writer_waker.rs"]
mod writer_waker;

use std::time::Instant;

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    for (name, model) in models::ALL {
        if !name.contains(&filter) {
            continue;
        }
        println!("{name}");
        let start = Instant::now();
        // The broken protocols that were tried all fail within three; without a bound, the
        // largest model takes minutes.
        let mut checker = loom::model::Builder::new();
        checker.preemption_bound = Some(3);
        checker.check(model);
        println!("  {:.1?}", start.elapsed());
    }
}
