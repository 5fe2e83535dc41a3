//! Compares a topic with a journal with one without, and prints a table.
//! `journal DIR` sets the directory of the files.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sse_core::{Event, Retention};
use sse_net::{Config, Hub, Journal, Routes, Server, Start, SyncPolicy, Tcp, Topic};

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
                    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
                    runtime.block_on(topic.sync())?;
                }
            }
            let _ = fs::remove_dir_all(dir.join(round.to_string())); // as at the end
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
            1.15,
        );
    }
    latency(&dir)?;
    size(&dir)?;
    let _ = fs::remove_dir_all(&dir); // The last journal may still be closing.
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
    let count = if pause.is_zero() { 300_000 } else { 1_500 };
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
        // Waking a writer that rests takes as long as many events.
        topic.publish_all(&events).unwrap();
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

/// Measures the time from publishing an event to reading it from a socket, at 5,000 events a
/// second. One without a journal and one with interval sync alternate.
fn latency(dir: &Path) -> Result<(), Box<dyn Error>> {
    let mut all = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..9 {
        let policy = [
            None,
            Some(SyncPolicy::default()),
            Some(SyncPolicy::EveryEvent),
        ][round % 3];
        let folder = dir.join(format!("latency-{round}"));
        let topic = match policy {
            None => Topic::new(retention()),
            Some(policy) => Topic::open(retention(), &Journal::new(folder).sync(policy))?,
        };
        all[round % 3].append(&mut latencies(&topic)?);
    }
    let percentile = |times: &[Duration], part: usize| times[times.len() * part / 1000];
    all.iter_mut().for_each(|times| times.sort());
    let [without, with, synced] =
        all.map(|times| (percentile(&times, 500), percentile(&times, 990)));
    let more = with.1.saturating_sub(without.1);
    let verdict = if more <= Duration::from_millis(1) {
        "ok"
    } else {
        "**missed**"
    };
    println!(
        "| journal: from publishing to the socket, median and p99 | {:.0?} and {:.0?}, every event \
         synced {:.0?} and {:.0?}, without {:.0?} and {:.0?} | p99 ≤ 1 ms more | {verdict} |",
        with.0, with.1, synced.0, synced.1, without.0, without.1
    );
    Ok(())
}

/// Publishes 10,000 events, each with the time in its data, and reads them from a socket.
fn latencies(topic: &Topic) -> Result<Vec<Duration>, Box<dyn Error>> {
    const COUNT: u32 = 10_000;
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let _guard = runtime.enter();
    let listener = Tcp::default().bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    let routes = Routes::new().topic("/", topic);
    let server = Server::new(Config::default())
        .listen(listener)
        .serve(routes);
    let mut conn = TcpStream::connect(("127.0.0.1", port))?;
    conn.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
    let reader = thread::spawn(move || {
        let mut times = Vec::new();
        for line in BufReader::new(conn).lines() {
            let Ok(line) = line else { break };
            if let Some(sent) = line.strip_prefix("data: ") {
                let sent = Duration::from_nanos(sent.parse().expect("a number"));
                times.push(start.elapsed().saturating_sub(sent));
            }
            if times.len() == COUNT as usize {
                break;
            }
        }
        times
    });
    while topic.subscriptions() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let begin = Instant::now();
    for number in 0..COUNT {
        let due = begin + Duration::from_micros(200) * number;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = u64::try_from(start.elapsed().as_nanos())?;
        topic.publish(&Event::new().data(now.to_string()))?;
    }
    let times = reader.join().expect("it has not panicked");
    drop(server);
    Ok(times)
}

/// Measures the size of a journal with 999 busy topics and a quiet one.
fn size(dir: &Path) -> Result<(), Box<dyn Error>> {
    const SEGMENT: u64 = 1 << 20;
    let journal = Journal::new(dir.join("size"))
        .segment_bytes(SEGMENT)
        .sync(SyncPolicy::Never);
    let retention = Retention::events(20).backlog(Duration::ZERO, 0);
    let hub = Hub::open(retention, &journal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let data = "x".repeat(200);
    let topics = (0..1000).map(|number| hub.topic(format!("topic {number}")));
    let topics = topics.collect::<Result<Vec<_>, _>>()?;
    topics[0].publish(&Event::new().data(&data))?;
    let mut most = 0;
    for round in 0..300 {
        for topic in &topics[1..] {
            topic.publish(&Event::new().data(&data))?;
        }
        if round % 10 == 0 {
            runtime.block_on(hub.sync())?;
        }
        most = most.max(hub.journal_state().map_or(0, |state| state.bytes));
    }
    // As they are on the wire; the journal's comments take some 60 bytes more.
    let kept = 999 * 20 * (data.len() as u64 + 40);
    let bar = 2 * kept + 2 * SEGMENT;
    let verdict = if most <= bar { "ok" } else { "**missed**" };
    println!(
        "| journal: size with 999 busy topics and a quiet one | {most} bytes at most, {kept} kept | \
         ≤ {bar} bytes | {verdict} |"
    );
    Ok(())
}
