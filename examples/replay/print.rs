//! Playing to standard output.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use cli::{Ending, Progress};
use sse_core::{Decoded, EventId, Replayer};

use crate::options::{Options, STDIN};
use crate::recording::{BUFFER, Recording, counted};

/// Plays input that can be read only once to standard output, as it arrives.
pub(crate) fn print_once(options: &Options) -> Result<(), Ending> {
    if options.is_looped || options.listen.is_some() {
        return Err(Ending::Failure(format!(
            "{:?} can be read only once, and --loop and --listen read it again; save it to a file",
            options.file
        )));
    }
    let recording = Recording::new(options);
    let input: Box<dyn BufRead> = match &*options.file {
        STDIN => Box::new(io::stdin().lock()),
        file => Box::new(BufReader::new(recording.or_read_error(File::open(file))?)),
    };
    let replayer = recording.from(Replayer::new(input));
    let progress = |played| counted(played, "event");
    print(&recording, replayer, progress, true)
}

/// Plays to standard output. `is_live` flushes after each event.
pub(crate) fn print<R: BufRead>(
    recording: &Recording,
    mut replayer: Replayer<R>,
    progress: impl Fn(u64) -> String + Send + 'static,
    is_live: bool,
) -> Result<(), Ending> {
    let mut out = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let played = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    // On a terminal, the progress line would mix with the events.
    let progress = (!io::stdout().is_terminal()).then(|| {
        let played = Arc::clone(&played);
        Progress::new(move || {
            let played = progress(played.load(Ordering::Relaxed));
            format!("{played}, {:.1} s", began.elapsed().as_secs_f64())
        })
    });
    let mut wire = Vec::new();
    while let Some(recorded) = recording.or_read_error(replayer.read())? {
        let due = recording.pace.due(recorded.at());
        let wait = due.saturating_sub(began.elapsed());
        if !wait.is_zero() {
            out.flush().map_err(Ending::stdout)?;
            thread::sleep(wait);
        }
        wire.clear();
        recorded.event().encode(&mut wire);
        out.write_all(&wire).map_err(Ending::stdout)?;
        if is_live {
            out.flush().map_err(Ending::stdout)?;
        }
        if let Decoded::Event(_) = recorded.decoded() {
            played.fetch_add(1, Ordering::Relaxed);
        }
    }
    out.flush().map_err(Ending::stdout)?;
    drop(progress);
    recording.report_if_empty(played.load(Ordering::Relaxed));
    let dropped = EventId::dropped();
    if dropped > 0 {
        let ids = counted(dropped, "ID");
        cli::print_error(format_args!(
            "{ids} left out: too long, or with a control character or an outer blank"
        ));
    }
    Ok(())
}
