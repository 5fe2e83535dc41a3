//! Compares a topic with a journal with one without, and prints a table.
//! `journal DIR` sets the directory of the files.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sse_core::{Event, Retention};
use sse_net::{Journal, Start, SyncPolicy, Topic};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).map(PathBuf::from);
    let dir = dir
        .unwrap_or_else(std::env::temp_dir)
        .join("sse-net-journal-bench");
    let _ = fs::remove_dir_all(&dir);
    println!("| bar | measured | target | |\n| --- | --- | --- | --- |");
    for (name, followers, batch, pause) in [
        ("published one by one at full speed", 0, 1, 0),
        ("the same, with a follower", 1, 1, 0),
        ("published in batchs of 64", 0, 64, 0),
        ("one by one every 100 µs", 0, 1, 100),
        ("the same, with a follower", 1, 1, 100),
    ] {
        let (mut ratios, mut cpu_ratios) = (Vec::new(), Vec::new());
        let (mut without, mut with) = (Duration::MAX, Duration::MAX);
        for round in 0..ROUNDS {
            let journal = Journal::new(dir.join(round.to_string()));
            let journal = journal.sync(SyncPolicy::Interval(Duration::from_secs(1)));
            // The order alternates, because the first may find the machine in another state.
            let mut times = [[Duration::ZERO; 2]; 2];
            for at in [round % 2, 1 - round % 2] {
                let topic = match at {
                    0 => Topic::new(retention()),
                    _ => Topic::open(retention(), &journal)?,
                };
                times[at] = publish(&topic, followers, batch, Duration::from_micros(pause));
                if at == 1 {
                    assert!(
                        topic.flush()
                            && topic.journal_state().is_some_and(|state| state.is_keeping)
                    );
                }
            }
            fs::remove_dir_all(dir.join(round.to_string()))?;
            ratios.push(times[1][0].as_secs_f64() / times[0][0].as_secs_f64());
            cpu_ratios.push(times[1][1].as_secs_f64() / times[0][1].as_secs_f64());
            without = without.min(times[0][0]);
            with = with.min(times[1][0]);
        }
        let (ratio, cpu) = (median(ratios), median(cpu_ratios));
        row(
            name,
            &format!(
                "{ratio:.2} ×, CPU time {cpu:.2} × (at best {with:.0?} and {without:.0?} an event)"
            ),
            ratio,
            1.1,
        );
    }
    latency(&dir)?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}

const ROUNDS: usize = 15;

/// Large enough that no event is evicted before it is written.
fn retention() -> Retention {
    Retention::events(100_000).bytes(1 << 30)
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn row(name: &str, measured: &str, value: f64, target: f64) {
    let verdict = if value <= target { "ok" } else { "**missed**" };
    println!("| journal: {name} | {measured} | ≤ {target} × | {verdict} |");
}

/// Returns the CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Measures the time and the CPU time of publishing an event.
fn publish(topic: &Topic, followers: usize, batch: usize, pause: Duration) -> [Duration; 2] {
    let count = if pause.is_zero() { 300_000 } else { 500 };
    let data = "x".repeat(70);
    let events: Vec<_> = (0..batch).map(|_| Event::new().data(&data)).collect();
    thread::scope(|scope| {
        for _ in 0..followers {
            let mut subscription = topic.subscribe(Start::Live);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async {
                    let mut bytes = Vec::new();
                    while !matches!(subscription.read(&mut bytes).await, Ok(0)) {
                        bytes.clear();
                    }
                });
            });
        }
        let cpu = cpu_time();
        let mut spent = Duration::ZERO;
        if pause.is_zero() {
            let start = Instant::now();
            for _ in 0..count / batch {
                topic.publish_all(&events).unwrap();
            }
            spent = start.elapsed();
        } else {
            for _ in 0..count {
                thread::sleep(pause);
                let start = Instant::now();
                topic.publish_all(&events).unwrap();
                spent += start.elapsed();
            }
        }
        let cpu = cpu_time() - cpu;
        topic.finish(None).unwrap();
        [spent, cpu].map(|time| time / u32::try_from(count).unwrap_or(u32::MAX))
    })
}

/// Measures the time from publishing an event to reading it in another thread.
fn latency(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut medians = Vec::new();
    for policy in [
        None,
        Some(SyncPolicy::default()),
        Some(SyncPolicy::EveryEvent),
    ] {
        let topic = match policy {
            None => Topic::new(retention()),
            Some(policy) => {
                Topic::open(retention(), &Journal::new(dir.join("latency")).sync(policy))?
            }
        };
        let mut subscription = topic.subscribe(Start::Live);
        let (read, times) = std::sync::mpsc::channel();
        let reader = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let mut bytes = Vec::new();
                while !matches!(subscription.read(&mut bytes).await, Ok(0)) {
                    read.send(Instant::now()).expect("the main thread waits");
                }
            });
        });
        let mut latencies = Vec::new();
        for _ in 0..500 {
            thread::sleep(Duration::from_micros(200));
            let start = Instant::now();
            topic.publish(&Event::new().data("hey")).unwrap();
            latencies.push(times.recv()? - start);
        }
        topic.finish(None).unwrap();
        reader.join().expect("the reader does not panic");
        latencies.sort();
        medians.push(latencies[latencies.len() / 2]);
    }
    let [without, with, synced] = medians[..] else {
        unreachable!("there are three");
    };
    println!(
        "| journal: from publishing to reading | {with:.0?}, every event synced {synced:.0?}, without {without:.0?} | | |"
    );
    Ok(())
}
