//! The client's machine: its cases, a day of outages, and random programs against a model.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

mod cases;
mod deadlines;
mod harness;
mod model;
mod outages;
mod requests;
