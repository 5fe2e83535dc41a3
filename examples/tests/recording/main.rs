//! `record`, `replay`, and the demo with `--record` and `--journal`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

#[path = "../common/mod.rs"]
mod common;

mod command_line;
mod demo;
mod files;
mod reconnect;
mod replay;
mod responses;
mod tls;

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use common::{TIMEOUT, response};
use sse_core::testing::decoded;
use sse_core::{Decoded, Event, Recorded, Recorder, Replayer};
use tempfile::TempDir;

const RECORD: &str = env!("CARGO_BIN_EXE_record");

const REPLAY: &str = env!("CARGO_BIN_EXE_replay");

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";

/// The response that ends a stream for good.
const OVER: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// Returns a recording of five events in five seconds.
fn recording() -> Vec<u8> {
    let mut recorder = Recorder::new(Vec::new());
    for id in 1..=5 {
        let event = Event::new().id(id).data("two\nlines");
        recorder.send(Duration::from_secs(id), &event).unwrap();
    }
    recorder.into_parts().0
}

/// Sends each response to one connection, after its request. Joining returns the requests.
fn serve(answers: Vec<String>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serving = thread::spawn(move || {
        let serve = |text: String| {
            let mut conn: TcpStream = listener.accept().unwrap().0;
            conn.set_read_timeout(Some(TIMEOUT)).unwrap();
            let (request, _) = response(&conn);
            conn.write_all(text.as_bytes()).unwrap();
            request
        };
        answers.into_iter().map(serve).collect()
    });
    (url, serving)
}

fn start(program: &str, args: &[&str]) -> Child {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn run(program: &str, args: &[&str]) -> Output {
    start(program, args).wait_with_output().unwrap()
}

fn signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let kill = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(kill.unwrap().success());
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Returns the IDs of the events of a stream.
fn seen(stream: &[u8]) -> Vec<String> {
    let items = decoded(stream).into_iter();
    let ids = items.filter_map(|item| match item {
        Decoded::Event(event) => Some(event.last_event_id().to_owned()),
        _ => None,
    });
    ids.collect()
}

fn ids(items: &[Recorded<'_>]) -> Vec<String> {
    let ids = items.iter().filter_map(|item| match item.decoded() {
        Decoded::Event(event) => Some(event.last_event_id().to_owned()),
        _ => None,
    });
    ids.collect()
}

/// A temporary directory with recordings.
struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Makes a named pipe.
    #[cfg(unix)]
    fn pipe(&self, name: &str) -> String {
        let pipe = self.file(name);
        let made = Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        pipe
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.file(name)).unwrap()
    }

    fn items(&self, name: &str) -> Vec<Recorded<'static>> {
        let recording = self.read(name);
        Replayer::new(&recording[..]).map(Result::unwrap).collect()
    }

    /// Waits until the file contains `count` events.
    fn wait_for(&self, name: &str, count: usize) {
        let began = Instant::now();
        while fs::read(self.file(name)).map_or(0, |file| seen(&file).len()) < count {
            assert!(began.elapsed() < TIMEOUT, "{count} events have not come");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
