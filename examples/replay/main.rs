//! Plays a recording, or any event stream in a file, at the pace at which it was recorded.
//!
//! ```text
//! $ cargo run --bin replay -- session.sse --speed 10
//! $ cargo run --bin replay -- session.sse --listen 127.0.0.1:8080
//! open http://127.0.0.1:8080/ (Ctrl-C ends it)
//! ```
//!
//! It plays to standard output, or to every client of `/sse`: from the beginning, or after the
//! client's last event ID. A `close` event ends the stream; a client that reconnects after it
//! gets the status 204.

mod options;
mod print;
mod recording;
mod serve;

use std::process::ExitCode;

use options::{Options, USAGE};
use recording::Recording;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        if options.is_read_once()? {
            return print::print_once(&options);
        }
        let recording = Recording::open(&options)?;
        match &options.listen {
            None => {
                let progress = recording.progress();
                print::print(&recording, recording.replayer()?, progress, false)
            }
            Some(listen) => {
                recording.report_if_empty(recording.events);
                let runtime = Runtime::new().map_err(serve::cant_start)?;
                runtime.block_on(serve::serve(recording, listen))
            }
        }
    })
}
