//! A topic with a journal, in a process that is killed repeatedly.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use sse_core::{Event, Events, Retention};
use sse_net::{Config, Journal, Routes, Server, Start, SyncPolicy, Tcp, Topic};
use tempfile::TempDir;

#[test]
fn events_that_a_client_has_seen_survive_a_kill() {
    const ROUNDS: usize = 100;
    let dir = TempDir::new().unwrap();
    let (mut follower, mut late_follower) = (Client::default(), Client::default());
    let mut synced = 0;
    for round in 0..ROUNDS {
        let policy = ["never", "interval", "every event"][round % 3];
        let mut publisher = Publisher::start(dir.path(), policy);
        let port = publisher.port;
        let following = thread::spawn(move || {
            follower.follow(port);
            follower
        });
        thread::sleep(Duration::from_micros(fastrand::u64(0..20_000)));
        synced = synced.max(publisher.kill());
        follower = following.join().unwrap();
        // This client follows only every fifth round.
        if round % 5 == 0 {
            let mut publisher = Publisher::start(dir.path(), "nothing");
            late_follower.follow(publisher.port);
            publisher.kill();
        }
    }
    let mut publisher = Publisher::start(dir.path(), "nothing");
    late_follower.follow(publisher.port);
    follower.follow(publisher.port);
    publisher.kill();

    let last = follower.seen.len() as u64;
    println!("{last} events, synced up to {synced}");
    assert!(last > ROUNDS as u64, "too few events for a test");
    for client in [follower, late_follower] {
        assert!(client.gaps.is_empty(), "{:?}", client.gaps);
        assert!(client.seen.into_iter().eq(1..=last), "once and in order");
    }
    assert!((1..=last).contains(&synced));
}

/// The process that is killed: serves a topic and publishes the numbers from 1.
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
        .bytes(64 << 20)
        .on_notice(|notice| println!("notice {notice}"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let numbers = Topic::open(Retention::events(usize::MAX), &journal).unwrap();
    let first = newest(&runtime, &numbers) + 1;

    let listener = Tcp::default().bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Server::new(Config::default())
        .listen(listener)
        .serve(Routes::new().topic_from("/", &numbers, Start::Earliest));
    println!("port {port}");
    if policy == "nothing" {
        numbers.finish(None).unwrap();
    }
    for number in first.. {
        let text = number.to_string();
        let event = Event::new().data(&text);
        // The topic may have been finished before the process was killed.
        let _ = numbers.publish(&match number % 3 {
            0 => event.id(number),
            _ => event,
        });
        match &*policy {
            "nothing" => thread::sleep(Duration::from_secs(60)),
            "every event" => println!("synced {number}"),
            _ if number % 16 == 0 => thread::sleep(Duration::from_micros(500)),
            _ => {}
        }
    }
    drop(server);
}

/// Returns the newest number of the topic.
fn newest(runtime: &tokio::runtime::Runtime, numbers: &Topic) -> u64 {
    let mut bytes = Vec::new();
    let mut subscription = numbers.subscribe(Start::Last(1));
    if subscription.lag() > 0 {
        runtime.block_on(subscription.read(&mut bytes)).unwrap();
    }
    Events::new(&bytes[..])
        .next()
        .map_or(0, |event| event.unwrap().data().parse().unwrap())
}

const DIR: &str = "SSE_JOURNAL_DIR";
const POLICY: &str = "SSE_JOURNAL_POLICY";

struct Publisher {
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
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
        let port = loop {
            line.clear();
            assert_ne!(
                output.read_line(&mut line).unwrap(),
                0,
                "the publisher has ended"
            );
            if let Some(port) = line.trim().strip_prefix("port ") {
                break port.parse().unwrap();
            }
            let is_damage = line.contains("are damaged");
            assert!(!is_damage, "{line}");
        };
        Self {
            process,
            output,
            port,
        }
    }

    /// Kills the process. Returns the last number that it had synced.
    fn kill(&mut self) -> u64 {
        self.process.kill().unwrap();
        let mut output = String::new();
        let _ = self.output.read_to_string(&mut output);
        self.process.wait().unwrap();
        assert!(!output.contains("notice"), "{output}");
        // The last line may be incomplete.
        let (complete, _) = output.rsplit_once('\n').unwrap_or_default();
        let mut synced = complete
            .lines()
            .filter_map(|line| line.strip_prefix("synced "));
        synced
            .next_back()
            .map_or(0, |number| number.parse().unwrap())
    }
}

#[derive(Default)]
struct Client {
    last_id: String,
    seen: Vec<u64>,
    gaps: Vec<String>,
}

impl Client {
    /// Reads until the stream ends.
    fn follow(&mut self, port: u16) {
        let Ok(mut conn) = TcpStream::connect(("127.0.0.1", port)) else {
            return;
        };
        let id = match &*self.last_id {
            "" => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        };
        let _ = conn.write_all(format!("GET / HTTP/1.1\r\nHost: a\r\n{id}\r\n").as_bytes());
        let mut conn = BufReader::new(conn);
        let mut line = String::from("head");
        while !line.trim().is_empty() {
            line.clear();
            match conn.read_line(&mut line) {
                Ok(1..) => {}
                _ => return,
            }
        }
        for event in Events::new(conn) {
            let Ok(event) = event else { return };
            if event.event() == "gap" {
                self.gaps.push(event.data().to_owned());
                continue;
            }
            self.last_id = event.last_event_id().to_owned();
            self.seen.push(event.data().parse().unwrap());
        }
    }
}
