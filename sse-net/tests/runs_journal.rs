//! Runs with a journal: what a later process finds of them, also after it was killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::future::{pending, ready};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use sse_core::{Event, Rejection, Retention};
use sse_net::{
    Config, Hub, HubConfig, Journal, PublishError, Request, RunNotFound, Runs, RunsConfig, Server,
    Start, Subscription, SyncPolicy, Tcp,
};
use tempfile::TempDir;
use tokio::time::{pause, sleep, timeout};

#[path = "common/raw_stream.rs"]
mod raw_stream;

const TIMEOUT: Duration = Duration::from_secs(30);

type Work = Result<(), PublishError>;

/// Opens the hub with little retention, so that only the settings of runs keep what they need.
fn open(dir: &Path, config: RunsConfig) -> (Hub, Runs) {
    let hub = HubConfig::from(Retention::events(2).backlog(Duration::ZERO, 0)).runs(&config);
    let hub = Hub::open(hub, &Journal::new(dir)).unwrap();
    (hub.clone(), Runs::new(hub, config))
}

/// Copies the segments, as a process that is killed leaves them.
fn copy(dir: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// Reads to the end, without the IDs.
async fn data(mut subscription: Subscription) -> String {
    let mut bytes = Vec::new();
    let read = async { while subscription.read(&mut bytes).await.unwrap() > 0 {} };
    timeout(TIMEOUT, read).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("id:") && !line.is_empty());
    lines.collect::<Vec<_>>().join("|")
}

const INTERRUPTED: &str = "event: error|data: {\"reason\":\"interrupted\",\"message\":\"the run \
                           ended with a restart of the server\"}";

#[tokio::test]
async fn a_restart_ends_only_the_runs_that_were_going_on() {
    let dir = TempDir::new().unwrap();
    let (hub, runs) = open(dir.path(), RunsConfig::default());
    for key in ["goes on", "completes", "finishes", "is empty"] {
        let run = runs.start(key, async move |run| {
            for token in ["a", "b", "c"] {
                if key != "is empty" {
                    run.publish(&Event::new().data(token))?;
                }
            }
            match key {
                "goes on" => pending().await,
                "finishes" => run.finish(Some(&Event::new().data("[DONE]"))).map(drop),
                _ => Work::Ok(()),
            }
        });
        if key != "goes on" {
            data(run.unwrap().subscribe(Start::Earliest)).await;
        }
    }
    hub.sync().await.unwrap();
    // Twice: the second process finds what the first one added.
    let mut dir = copy(dir.path());
    for interrupted in [1, 0] {
        let (hub, runs) = open(dir.path(), RunsConfig::default());
        for (key, expected) in [
            (
                "goes on",
                &*format!("data: a|data: b|data: c|{INTERRUPTED}"),
            ),
            ("completes", "data: a|data: b|data: c"),
            ("finishes", "data: a|data: b|data: c|data: [DONE]"),
            ("is empty", ""),
        ] {
            let run = runs.get(key).unwrap();
            assert!(run.is_finished(), "{key}");
            assert_eq!(
                data(run.subscribe(Start::Earliest)).await,
                expected,
                "{key}"
            );
        }
        let counts = runs.stats();
        assert_eq!((counts.interrupted, counts.kept), (interrupted, 4));
        assert_eq!((counts.running, counts.completed), (0, 0));
        hub.sync().await.unwrap();
        dir = copy(dir.path());
    }
}

#[tokio::test]
async fn restored_runs_expire_although_nobody_asks_for_them() {
    let dir = TempDir::new().unwrap();
    let (hub, runs) = open(dir.path(), RunsConfig::default());
    let run = runs.start("key", async |run| {
        run.publish(&Event::new().data("a"))?;
        Work::Ok(())
    });
    data(run.unwrap().subscribe(Start::Earliest)).await;
    hub.sync().await.unwrap();
    let copy = copy(dir.path());
    let (hub, _runs) = open(copy.path(), RunsConfig::default());
    assert_eq!(hub.topics(), 1);
    pause();
    sleep(Duration::from_secs(601)).await;
    assert_eq!(hub.topics(), 0, "its memory is free");
}

#[tokio::test]
async fn a_restart_brings_no_expired_run_back() {
    let dir = TempDir::new().unwrap();
    let config = || RunsConfig::default().keep(Duration::ZERO);
    let (hub, runs) = open(dir.path(), config());
    for (key, token) in [("expires", "old"), ("again", "old"), ("again", "new")] {
        let run = runs.start(key, async move |run| {
            run.publish(&Event::new().data(token))?;
            if token == "new" {
                pending::<()>().await;
            }
            Work::Ok(())
        });
        run.unwrap();
        while token == "old" && runs.get(key).is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    }
    // The last run has published, and the topic of the first one has been dropped.
    let run = runs.get("again").unwrap();
    let mut new = run.subscribe(Start::Earliest);
    timeout(TIMEOUT, new.read_bytes()).await.unwrap().unwrap();
    while hub.topics() > 1 {
        sleep(Duration::from_millis(1)).await;
    }
    hub.sync().await.unwrap();
    let copy = copy(dir.path());
    let (_hub, runs) = open(copy.path(), RunsConfig::default());
    assert_eq!(runs.get("expires").unwrap_err(), RunNotFound::Unknown);
    let run = runs.get("again").unwrap();
    let expected = format!("data: new|{INTERRUPTED}");
    assert_eq!(data(run.subscribe(Start::Earliest)).await, expected);
}

/// Each process starts a run, and is killed. The next one ends the run, unless it had finished.
#[test]
fn tokens_that_a_client_has_seen_survive_a_kill() {
    const ROUNDS: usize = 100;
    let dir = TempDir::new().unwrap();
    let (mut before, mut tokens, mut ends) = (None::<Client>, 0, [0; 2]);
    for round in 0..=ROUNDS {
        let mut process = Process::start(dir.path(), round);
        if let Some(mut client) = before.take() {
            client.follow(process.port);
            let (end, seen) = client.seen.split_last().unwrap();
            let numbers: Vec<usize> = seen.iter().map(|data| data.parse().unwrap()).collect();
            assert!(
                numbers.iter().copied().eq(1..=numbers.len()),
                "once and in order: {:?}",
                client.seen
            );
            let is_done = end == "[DONE]";
            assert!(is_done || end.contains("interrupted"), "{end}");
            ends[usize::from(is_done)] += 1;
            tokens += numbers.len();
        }
        let mut client = Client {
            path: format!("/{round}"),
            ..Client::default()
        };
        let port = process.port;
        let following = thread::spawn(move || {
            client.follow(port);
            client
        });
        thread::sleep(Duration::from_micros(fastrand::u64(2_000..60_000)));
        process.kill();
        let client = following.join().unwrap();
        before = (!client.seen.is_empty()).then_some(client);
    }
    println!("{tokens} tokens; interrupted and finished: {ends:?}");
    assert!(tokens > ROUNDS && ends[0] > 0, "too few for a test");
}

const DIR: &str = "SSE_RUNS_DIR";
const ROUND: &str = "SSE_RUNS_ROUND";

/// The process that is killed.
#[test]
#[ignore = "run by the other test, in its own process"]
fn process() {
    let (Some(dir), Ok(round)) = (std::env::var_os(DIR), std::env::var(ROUND)) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let config = RunsConfig::default();
    let journal = Journal::new(dir)
        .sync(SyncPolicy::Never)
        .segment_bytes(20_000);
    let few = Retention::events(2).backlog(Duration::ZERO, 0);
    let hub = Hub::open(HubConfig::from(few).runs(&config), &journal).unwrap();
    let runs = Runs::new(hub, config);
    // Some finish before the kill.
    let count = if round.ends_with(['1', '4', '7']) {
        20
    } else {
        usize::MAX
    };
    let work = async move |run: sse_net::Run| {
        for number in 1..=count {
            run.publish(&Event::new().data(number.to_string()))?;
            sleep(Duration::from_micros(200)).await;
        }
        run.finish(Some(&Event::new().data("[DONE]")))
    };
    runs.start(&round, work).unwrap();
    let listener = Tcp::default().bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let handler = move |request: Request| {
        let found = runs.get(&request.path()[1..]);
        ready(match found {
            Ok(run) => request.follow(&run),
            Err(gone) => request.reject(Rejection::from(gone)),
        })
    };
    let _server = Server::new(Config::default())
        .listen(listener)
        .serve(handler);
    println!("port {port}");
    thread::sleep(Duration::from_secs(60));
}

struct Process {
    child: Child,
    port: u16,
}

impl Process {
    fn start(dir: &Path, round: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .env(ROUND, round.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut ports = lines.map(Result::unwrap).filter_map(|line| {
            let port = line.strip_prefix("port ")?;
            Some(port.parse().unwrap())
        });
        let port = ports.next().expect("the process has ended");
        Self { child, port }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[derive(Default)]
struct Client {
    path: String,
    last_id: String,
    seen: Vec<String>,
}

impl Client {
    /// Reads until the stream ends.
    fn follow(&mut self, port: u16) {
        let Some(events) = raw_stream::follow(port, &self.path, &self.last_id) else {
            return;
        };
        for event in events {
            let Ok(event) = event else { return };
            assert_ne!(event.event(), "gap", "{}", event.data());
            self.last_id = event.last_event_id().to_owned();
            self.seen.push(event.data().to_owned());
        }
    }
}
