//! Hubs of two nodes over real Redis servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod basics;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod finished;
mod followers;
mod keyed;
mod keyed_followers;
mod node;
mod proxy;
mod runs;
mod server;
mod switched;
