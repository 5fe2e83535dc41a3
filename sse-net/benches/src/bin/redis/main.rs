//! Starts a Redis server, measures hubs of several nodes over it, and prints a table.
//!
//! Arguments select measurements by name: `redis latency stored`. Needs `redis-server` and
//! `redis-benchmark`, and for `nchan` nginx with that module.

use std::error::Error;
use std::io;

use sse_net_benches::bars::{self, Bar};

mod fanout;
mod latency;
mod memory;
mod reconnect;
mod stored;

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    bars::print(BARS, &names);
    Ok(())
}

const BARS: &[Bar] = &[
    ("latency", latency::latency),
    ("cpu", fanout::cpu),
    ("stored", stored::stored),
    ("memory", memory::memory),
    ("reconnect", reconnect::reconnect),
    ("nchan", fanout::nchan),
];

/// Both cores.
const ANY: &str = "0,1";

fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}
