//! Measures the speed of recording a topic, compared with a bare `write(2)` loop.
//!
//! Both write the same 64 MiB of 100-byte events to a file in the given directory, by default
//! the temporary directory. Neither syncs.

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sse_core::{Event, Recorder, Retention};
use sse_net::{Start, Topic};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let path = directory.join(format!("recording-{}", std::process::id()));
    let topic = topic();
    let mut wire = Vec::new();
    let mut events = topic.subscribe(Start::Earliest);
    while events.read(&mut wire).await? > 0 {}

    // Alternately, so that other load on the machine affects both.
    let (mut ours, mut bare) = (Duration::MAX, Duration::MAX);
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let (theirs, own) = (write(&path, &wire)?, record(&path, &topic).await?);
        ratios.push(theirs.as_secs_f64() / own.as_secs_f64());
        bare = bare.min(theirs);
        ours = ours.min(own);
    }
    fs::remove_file(&path)?;
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ROUNDS / 2];
    let (least, most) = (ratios[ROUNDS / 4], ratios[ROUNDS - 1 - ROUNDS / 4]);
    let speed = |time: Duration| wire.len() as f64 / time.as_secs_f64() / 1e6;
    println!("| bar | measured | target | |\n| --- | --- | --- | --- |");
    println!(
        "| recording a topic | {ratio:.2} × (half of the rounds {least:.2} to {most:.2}; at best \
         {:.0} of {:.0} MB/s) | ≥ 0.95 × | {} |",
        speed(ours),
        speed(bare),
        if ratio >= 0.95 { "ok" } else { "**missed**" },
    );
    Ok(())
}

/// Returns a finished topic that retains all events.
fn topic() -> Topic {
    let topic = Topic::new(Retention::events(usize::MAX).bytes(usize::MAX));
    let data = "the quick brown fox ".repeat(5);
    let burst = vec![Event::new().data(&data); 1000];
    for _ in 0..BURSTS {
        topic.publish_all(&burst).unwrap();
    }
    topic.finish(None).unwrap();
    topic
}

fn write(path: &Path, wire: &[u8]) -> Result<Duration, Box<dyn Error>> {
    let mut file = File::create(path)?;
    let began = Instant::now();
    for piece in wire.chunks(64 << 10) {
        file.write_all(piece)?;
    }
    Ok(began.elapsed())
}

async fn record(path: &Path, topic: &Topic) -> Result<Duration, Box<dyn Error>> {
    let recorder = Recorder::new(File::create(path)?);
    let kept = topic.subscribe(Start::Earliest);
    let began = Instant::now();
    let recorder = kept.record(recorder, began.into()).await?;
    let time = began.elapsed();
    drop(recorder); // Closing the file takes time that is not the recorder's.
    Ok(time)
}

const ROUNDS: usize = 15;

/// The number of batches of 1,000 events: 64 MiB together.
const BURSTS: usize = 500;
