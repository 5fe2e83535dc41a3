//! Several topics of a hub on one stream.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod following;
#[path = "../common/hub_model.rs"]
mod hub_model;
mod model;
#[path = "../common/pipes.rs"]
mod pipes;
mod runs;
mod switching;
