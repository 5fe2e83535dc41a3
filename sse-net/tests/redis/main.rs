//! Hubs of two nodes over real Redis servers.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod balance;
mod basics;
#[path = "../common/mod.rs"]
mod common;
mod epochs;
mod faults;
mod finished;
mod followers;
mod functions;
mod holes;
#[path = "../common/http_proxy.rs"]
mod http_proxy;
mod keyed;
mod keyed_followers;
mod keyed_functions;
mod memory;
mod node;
mod notices;
mod permissions;
mod process;
mod proxy;
mod races;
mod replies;
mod run_functions;
mod runs;
mod sending;
mod sentinel;
mod server;
mod subscriptions;
mod switched;
mod tls;
mod unreadable;
