//! `fanout`, the server of the benchmarks, tested over a Unix socket.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use common::{TIMEOUT, events};
use serde_json::Value;

#[test]
fn a_client_with_keys_begins_with_the_newest_event_of_each() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanout"));
    command.args(["--keys", "3", "--preload", "10", "--unix"]);
    let _fanout = Fanout(command.arg(&socket).spawn().unwrap());
    let began = Instant::now();
    let mut conn = loop {
        match UnixStream::connect(&socket) {
            Ok(conn) => break conn,
            Err(error) => assert!(began.elapsed() < TIMEOUT, "{error}"),
        }
        thread::sleep(Duration::from_millis(10));
    };
    conn.set_read_timeout(Some(TIMEOUT)).unwrap();
    conn.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let numbers = events(conn).map(|event| {
        let data: Value = serde_json::from_str(event.data()).unwrap();
        data["n"].clone()
    });
    assert_eq!(Vec::from_iter(numbers.take(3)), [7, 8, 9]);
}

/// Kills the program when it is dropped: without `--port` it prints no address.
struct Fanout(Child);

impl Drop for Fanout {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
