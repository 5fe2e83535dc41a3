//! Measures the encoder, the decoder, request heads and replays beside their floors and peers,
//! and prints a Markdown table.
//!
//! ```text
//! cargo run --release --manifest-path sse-core/benches/Cargo.toml            # all cases
//! cargo run --release --manifest-path sse-core/benches/Cargo.toml -- decode  # some of them
//! ```

use std::env;

use turns::Report;

mod decode;
mod encode;
mod head;
mod replay;
mod turns;

fn main() {
    let mut report = Report::new(env::args().nth(1).unwrap_or_default());
    decode::measure(&mut report);
    encode::measure(&mut report);
    head::measure(&mut report);
    replay::measure(&mut report);
}
