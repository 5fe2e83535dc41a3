//! Records an event stream from any HTTP/1.1 server to a file, with times.
//!
//! ```text
//! $ cargo run --bin record -- http://127.0.0.1:31337/sse session.sse
//! 42 events in 41.0 s
//! $ cargo run --bin replay -- session.sse --speed 10
//! ```
//!
//! When the connection ends, `record` reconnects like a browser: with the last event ID, after
//! the reconnection time or `Retry-After`. A comment in the file marks the place. Ctrl-C ends the
//! program. Even after a crash, every whole event in the file can be replayed, and `--continue`
//! appends to the file.

mod file;
mod options;
mod recording;

use std::fs;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cli::{Ending, Progress, Signals};
use options::{Options, USAGE};
use recording::Recording;
use tokio::runtime::Builder;
use tokio::time::Instant;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(cant_start)?;
        let recorded = runtime.block_on(record(&options));
        // A thread that resolves a name must not delay the exit.
        runtime.shutdown_background();
        recorded
    })
}

async fn record(options: &Options) -> Result<(), Ending> {
    let mut signals = Signals::new().map_err(cant_start)?;
    let mut recording = Recording::open(options)?;
    let (events, began) = (Arc::clone(&recording.events), Instant::now());
    let line = move || {
        let events = events.load(Ordering::Relaxed);
        format!("{events} events in {:.1} s", began.elapsed().as_secs_f64())
    };
    let progress = Progress::new(line.clone());
    let ended = tokio::select! {
        ended = recording.follow() => ended,
        () = signals.next() => Ok(()),
    };
    drop(progress);
    let ended = ended.and_then(|()| recording.sync());
    match &ended {
        Err(_) if recording.is_empty() => drop(fs::remove_file(&options.file)),
        _ => cli::print(line()),
    }
    ended
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn cant_start(error: io::Error) -> Ending {
    Ending::Failure(format!("can't start: {error}"))
}
