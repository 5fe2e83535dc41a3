//! The feed: one event at an interval, the same for all clients.

use std::f64::consts::TAU;
use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cli::{Ending, Progress};
use serde::Serialize;
use sse_core::{Event, EventType, Recorder};
use sse_net::{Answer, Request, Start, Topic};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The feed, and the number of its clients.
#[derive(Clone)]
pub(crate) struct Feed {
    pub(crate) topic: Topic,
    watching: Arc<AtomicUsize>,
}

impl Feed {
    pub(crate) fn new(topic: Topic) -> Self {
        let watching = Arc::default();
        Self { topic, watching }
    }

    /// Streams the feed alone.
    pub(crate) async fn follow(&self, request: Request) -> Answer {
        let answer = request.follow_from(&self.topic, Start::Last(HISTORY));
        self.count_client(answer).await
    }

    /// Counts the client for as long as its stream lasts.
    pub(crate) async fn count_client(&self, answer: Answer) -> Answer {
        let answer = answer.ready().await;
        if answer.resume().is_none() {
            return answer;
        }
        let watching = Arc::clone(&self.watching);
        watching.fetch_add(1, Ordering::Relaxed);
        answer.on_end(move |_| {
            watching.fetch_sub(1, Ordering::Relaxed);
        })
    }

    /// Publishes `count` events at an interval, then the `close` event.
    pub(crate) async fn publish(&self, every: Duration, count: Option<u64>) -> io::Result<()> {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        for _ in 0..count.unwrap_or(u64::MAX) {
            ticks.tick().await;
            let tick = Event::new().json_data(&Tick {
                text: log_entry(),
                ts: now(),
                watching: self.watching.load(Ordering::Relaxed),
            });
            self.topic
                .publish(&tick.expect("a struct of text and numbers serializes"))?;
        }
        let close = Event::new().event(CLOSE).data("");
        self.topic.finish(Some(&close))?;
        Ok(())
    }

    /// Publishes the event by which pages show a restart, and not a crash.
    pub(crate) fn announce_restart(&self) {
        let restarting = Event::new().event(RESTARTING).data("");
        // A finished feed has no clients.
        let _ = self.topic.publish(&restarting);
    }

    /// Records the feed to a new file until the program ends.
    pub(crate) fn record(&self, path: String) -> Result<(), Ending> {
        let created = File::create_new(&path).and_then(|file| {
            cli::lock_recording(&file)?;
            Ok(file)
        });
        let file = created.map_err(|error| {
            Ending::Failure(match error.kind() {
                io::ErrorKind::AlreadyExists => format!("{path:?} exists; record to another file"),
                _ => format!("can't record to {path:?}: {error}"),
            })
        })?;
        let live = self.topic.subscribe(Start::Live);
        tokio::spawn(async move {
            let recording = live.record(Recorder::new(file), Instant::now());
            if let Err(error) = recording.await {
                cli::print_error(format_args!("recording to {path:?} has stopped: {error}"));
            }
        });
        Ok(())
    }

    /// Shows how many bytes have been recorded and journaled.
    pub(crate) fn show_progress(&self, recording: Option<String>) -> Progress {
        let topic = self.topic.clone();
        Progress::new(move || {
            let recorded = recording.as_ref().map(|path| {
                let len = fs::metadata(path).map_or(0, |file| file.len());
                format!("{len} bytes recorded")
            });
            let journaled = topic.journal_state().map(|journal| {
                if journal.is_storing {
                    format!("{} bytes in the journal", journal.bytes)
                } else {
                    "the journal has failed".to_owned()
                }
            });
            Vec::from_iter(recorded.into_iter().chain(journaled)).join(", ")
        })
    }
}

#[derive(Serialize)]
struct Tick {
    text: String,
    /// Seconds since 1970.
    ts: u64,
    watching: usize,
}

/// Returns an entry of a made-up lighthouse's log. It depends on the time alone, so that the log
/// continues smoothly after a restart.
fn log_entry() -> String {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    let time = elapsed.map_or(0.0, |elapsed| elapsed.as_secs_f64());
    let wave = |period: f64| (time * TAU / period).sin();
    match now() % 4 {
        0 => {
            let trend = if (time * TAU / 240.0).cos() > 0.0 {
                "rising"
            } else {
                "falling"
            };
            format!("Tide {:.2} m, {trend}", 2.4 + 1.6 * wave(240.0))
        }
        1 => {
            let knots = 14.0 + 8.0 * wave(90.0) + 3.0 * wave(17.0);
            let direction =
                DIRECTIONS[usize::from(wave(300.0) > 0.0) * 2 + usize::from(wave(170.0) > 0.0)];
            format!("Wind {direction}, {knots:.0} knots")
        }
        2 => format!("Visibility {:.0} miles", 9.0 + 6.0 * wave(200.0)),
        _ => {
            let ship = SHIPS[usize::try_from(now() / 4).unwrap_or(0) % SHIPS.len()];
            format!("The {ship} passes")
        }
    }
}

const DIRECTIONS: [&str; 4] = ["north", "west", "south-west", "south"];

const SHIPS: [&str; 7] = [
    "Albatross",
    "Cormorant",
    "Fulmar",
    "Gannet",
    "Kittiwake",
    "Petrel",
    "Puffin",
];

fn now() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| elapsed.as_secs())
}

/// The type of the last event; the page closes its EventSource on it.
const CLOSE: EventType = EventType::from_static("close");

/// The type of the last event before the server is stopped; the page says so.
const RESTARTING: EventType = EventType::from_static("restarting");

/// The number of past events that a new client gets.
const HISTORY: usize = 10;
