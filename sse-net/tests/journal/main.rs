//! Journals: what is stored, restored and reported.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/journal.rs"]
mod harness;

mod damage;
#[cfg(target_os = "linux")]
mod full_disk;
mod limits;
mod restart;

use std::ops::Range;
use std::time::Duration;

use harness::publish;
use sse_core::Retention;
use sse_net::{Journal, Start, Topic};

/// Publishes events and waits until they are written.
fn store(topic: &Topic, numbers: Range<u32>) {
    publish(topic, numbers);
    topic.flush();
}

fn ids(bytes: &[u8]) -> Vec<String> {
    let text = str::from_utf8(bytes).unwrap();
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(str::to_owned).collect()
}

fn without_backlog(events: usize) -> Retention {
    Retention::events(events).backlog(Duration::ZERO, 0)
}
