//! Following a topic: start, resumption, heartbeats, slow clients and disconnects.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod delivery;
mod resuming;
mod slow_clients;

use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
