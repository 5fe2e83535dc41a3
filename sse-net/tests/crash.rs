//! A topic with a journal, in a process that is killed repeatedly.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use sse_core::{Event, Events, Retention};
use sse_net::{Config, Hub, HubConfig, Journal, Routes, Server, Start, SyncPolicy, Tcp, Topic};
use tempfile::TempDir;

#[path = "common/raw_stream.rs"]
mod raw_stream;

/// Two topics that retain everything, and one that fills segments with events that are evicted.
const TOPICS: [&str; 3] = ["a", "b", "busy"];

#[test]
fn events_that_a_client_has_seen_survive_a_kill() {
    const ROUNDS: usize = 100;
    let dir = TempDir::new().unwrap();
    let mut followers = TOPICS.map(Client::new);
    let mut late_follower = Client::new("a");
    let (mut stored, mut most_segments) = (0, 0);
    for round in 0..ROUNDS {
        let policy = ["never", "interval", "every event"][round % 3];
        let mut publisher = Publisher::start(dir.path(), policy);
        let port = publisher.port;
        let following = followers.map(|mut follower| {
            thread::spawn(move || {
                follower.follow(port);
                follower
            })
        });
        thread::sleep(Duration::from_micros(fastrand::u64(0..30_000)));
        stored = stored.max(publisher.kill());
        followers = following.map(|follower| follower.join().unwrap());
        most_segments = most_segments.max(segments(dir.path()));
        // This client follows only every fifth round.
        if round % 5 == 0 {
            let mut publisher = Publisher::start(dir.path(), "nothing");
            late_follower.follow_until(publisher.port, publisher.newest[0]);
            wait_for_compaction(dir.path());
            publisher.kill();
        }
    }
    let mut publisher = Publisher::start(dir.path(), "nothing");
    late_follower.follow_until(publisher.port, publisher.newest[0]);
    for (follower, newest) in followers.iter_mut().zip(publisher.newest) {
        follower.follow_until(publisher.port, newest);
    }
    publisher.kill();

    let last = followers[0].seen.len() as u64;
    println!("{last} events, stored up to {stored}, up to {most_segments} segments");
    assert!(last > ROUNDS as u64, "too few events for a test");
    let [a, b, busy] = followers;
    assert!(busy.seen.is_sorted_by(|one, next| one < next), "in order");
    for client in [a, b, late_follower] {
        assert!(client.gaps.is_empty(), "{:?}", client.gaps);
        let last = client.seen.len() as u64;
        assert!(client.seen.into_iter().eq(1..=last), "once and in order");
    }
    assert!((1..=last).contains(&stored));
    // Each of the processes begins one, and fills some.
    let begun = newest_segment(dir.path());
    assert!(
        most_segments * 5 < begun * 4,
        "compacted: {most_segments} of {begun}"
    );
}

/// Returns the number of segments that have been begun, which is in the name of the newest.
fn newest_segment(dir: &Path) -> usize {
    let names = dir
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let number = |name: &str| {
        name.strip_prefix("segment-")?
            .strip_suffix(".sse")?
            .parse()
            .ok()
    };
    names
        .filter_map(|name| number(name.to_str()?))
        .max()
        .unwrap()
}

/// Waits for the compaction that a journal may begin when it is opened, while it writes the new
/// segment and deletes those that it replaces.
fn wait_for_compaction(dir: &Path) {
    let mut before = 0;
    while dir.join("compacting.tmp").exists() || segments(dir) != before {
        before = segments(dir);
        thread::sleep(Duration::from_millis(10));
    }
}

fn segments(dir: &Path) -> usize {
    let paths = dir.read_dir().unwrap().map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "sse"))
        .count()
}

/// The process that is killed: serves a hub, and publishes the numbers from 1 into each topic.
#[test]
#[ignore = "run by the other test, in its own process"]
fn publisher() {
    let (Some(dir), Ok(policy)) = (std::env::var_os(DIR), std::env::var(POLICY)) else {
        return;
    };
    let journal = Journal::new(dir)
        .sync(match &*policy {
            "never" => SyncPolicy::Never,
            "every event" => SyncPolicy::EveryEvent,
            _ => SyncPolicy::Interval(Duration::from_millis(5)),
        })
        .segment_bytes(20_000)
        .on_notice(|notice| println!("notice {notice}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let few = Retention::events(20).backlog(Duration::ZERO, 0);
    let config = HubConfig::from(Retention::events(usize::MAX)).topics("busy", few);
    let hub = Hub::open(config, &journal).unwrap();
    let topics = TOPICS.map(|name| hub.topic(name).unwrap());
    let mut numbers = [0, 1, 2].map(|index| newest(&runtime, &topics[index]));
    let state = hub.keyed_topic("state").unwrap();
    let mut last = check_state(&state);

    let listener = Tcp::default().bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut routes = Routes::new();
    for topic in &topics {
        let path = format!("/{}", topic.name().unwrap());
        routes = routes.topic_from(&path, topic, Start::Earliest);
    }
    let server = Server::new(Config::default())
        .listen(listener)
        .serve(routes);
    let [a, b, busy] = numbers;
    println!("port {port} {a} {b} {busy}");
    if policy == "nothing" {
        thread::sleep(Duration::from_secs(60));
    }
    loop {
        for (topic, number) in topics.iter().zip(&mut numbers) {
            *number += 1;
            let padding = if topic.name() == Some("busy") { 400 } else { 0 };
            let data = format!("{number}{}", " ".repeat(padding));
            let published = topic.publish(&Event::new().data(data)).unwrap();
            if policy == "every event" {
                runtime.block_on(published.stored()).unwrap();
            }
        }
        last += 1;
        let key = (last % KEYS).to_string();
        let event = Event::new().data(last.to_string());
        state.publish_for(key, &event).unwrap();
        if policy == "every event" {
            println!("stored {}", numbers[0]);
        } else if numbers[0] % 16 == 0 {
            thread::sleep(Duration::from_micros(500));
        }
        if numbers[0] == u64::MAX {
            break;
        }
    }
    drop(server);
}

/// Checks that a keyed topic, to whose keys numbers are published in turn, has the last number of
/// each key. Returns the last of all.
fn check_state(state: &Topic) -> u64 {
    let number = |key: &str| state.get(key).unwrap().data().parse::<u64>().unwrap();
    let numbers: Vec<_> = state.keys().iter().map(|key| number(key)).collect();
    let last = numbers.iter().copied().max().unwrap_or_default();
    let first = last.saturating_sub(KEYS) + 1;
    assert!(
        numbers.into_iter().eq(first..=last),
        "not {first} to {last}"
    );
    last
}

/// Returns the newest number of the topic.
fn newest(runtime: &tokio::runtime::Runtime, numbers: &Topic) -> u64 {
    let mut bytes = Vec::new();
    let mut subscription = numbers.subscribe(Start::Last(1));
    if subscription.lag() > 0 {
        runtime.block_on(subscription.read(&mut bytes)).unwrap();
    }
    let event = Events::new(&bytes[..]).next();
    event.map_or(0, |event| event.unwrap().data().trim().parse().unwrap())
}

/// The keys of the keyed topic.
const KEYS: u64 = 50;

const DIR: &str = "SSE_JOURNAL_DIR";
const POLICY: &str = "SSE_JOURNAL_POLICY";

struct Publisher {
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
    /// The newest number of each topic at its start.
    newest: [u64; 3],
}

impl Publisher {
    fn start(dir: &Path, policy: &str) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "publisher", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(POLICY, policy)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let (port, newest) = loop {
            line.clear();
            assert_ne!(
                output.read_line(&mut line).unwrap(),
                0,
                "the publisher has ended"
            );
            if let Some(figures) = line.trim().strip_prefix("port ") {
                let figures: Vec<u64> = figures.split(' ').map(|n| n.parse().unwrap()).collect();
                let [port, newest @ ..]: [u64; 4] = figures[..].try_into().unwrap();
                break (u16::try_from(port).unwrap(), newest);
            }
            let is_loss = line.contains(" damaged") || line.contains(" lost");
            assert!(!is_loss, "{line}");
        };
        Self {
            process,
            output,
            port,
            newest,
        }
    }

    /// Kills the process. Returns the last number that it had stored.
    fn kill(&mut self) -> u64 {
        self.process.kill().unwrap();
        let mut output = String::new();
        let _ = self.output.read_to_string(&mut output);
        self.process.wait().unwrap();
        assert!(!output.contains("notice"), "{output}");
        // The last line may be incomplete.
        let (complete, _) = output.rsplit_once('\n').unwrap_or_default();
        let mut stored = complete
            .lines()
            .filter_map(|line| line.strip_prefix("stored "));
        stored
            .next_back()
            .map_or(0, |number| number.parse().unwrap())
    }
}

struct Client {
    topic: &'static str,
    last_id: String,
    seen: Vec<u64>,
    gaps: Vec<String>,
}

impl Client {
    fn new(topic: &'static str) -> Self {
        Self {
            topic,
            last_id: String::new(),
            seen: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Reads until the stream ends.
    fn follow(&mut self, port: u16) {
        self.follow_until(port, u64::MAX);
    }

    /// Reads until the stream ends, or has come to this number.
    fn follow_until(&mut self, port: u16, last: u64) {
        if self.seen.last().copied().unwrap_or_default() >= last {
            return;
        }
        let path = format!("/{}", self.topic);
        let Some(events) = raw_stream::follow(port, &path, &self.last_id) else {
            return;
        };
        for event in events {
            let Ok(event) = event else { return };
            if event.event() == "gap" {
                self.gaps.push(event.data().to_owned());
                continue;
            }
            self.last_id = event.last_event_id().to_owned();
            let number = event.data().trim().parse().unwrap();
            self.seen.push(number);
            if number >= last {
                return;
            }
        }
    }
}
