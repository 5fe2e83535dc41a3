//! A program that follows a feed for ever, across restarts of the server and of itself.
//!
//! `cargo run --bin cookbook -- follower http://127.0.0.1:31337/sse last-event-id` follows the
//! demo. Stop the demo and start it again, then this program: nothing is printed twice, and
//! missed events are reported.

use std::fs;
use std::io::{self, ErrorKind};
use std::time::Duration;

use sse_net::{Connect, EventId, EventSource, Item};

use crate::BoxError;

/// Follows `url`. The file at `path` has the ID of the last event that has been printed.
pub(crate) async fn run(url: &str, path: &str) -> Result<(), BoxError> {
    let mut source = EventSource::get(url)?
        // The server's heartbeats come every 15 seconds, so this is a dead connection.
        .silence(Duration::from_secs(45))
        .max_delay(Duration::from_secs(30));
    match fs::read_to_string(path) {
        Ok(id) => source = source.last_event_id(EventId::new(id)?),
        Err(error) if error.kind() == ErrorKind::NotFound => {} // the first start
        Err(error) => return Err(format!("{path} can't be read: {error}").into()),
    }
    let mut feed = source.connect();
    // `feed.next()` yields the events alone.
    while let Some(item) = feed.next_item().await? {
        match item {
            Item::Event(event) => {
                cli::print(format_args!("{}: {}", event.event(), event.data()));
                // After the work: a crash between them repeats an event instead of losing it.
                save(path, event.last_event_id())
                    .map_err(|error| format!("{path} can't be written: {error}"))?;
            }
            Item::Gap(_) => cli::print("events are missing; read the whole state again"),
            Item::Closed(closed) => cli::print_error(format_args!(
                "{}; reconnecting in {:.1?}",
                closed.reason, closed.retry_in
            )),
            _ => {}
        }
    }
    cli::print("the server has ended the feed"); // with 204
    Ok(())
}

/// Replaces the file as a whole: a program that is killed leaves the ID before or this one.
fn save(path: &str, id: &str) -> io::Result<()> {
    let new = format!("{path}.new");
    fs::write(&new, id)?;
    fs::rename(new, path)
}
