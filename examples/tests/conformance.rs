//! The corpus, run against our own programs by the runner for others.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

mod common;

use std::process::Command;

use common::Server;

fn run(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
    let output = command.args(args).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), stdout)
}

#[test]
fn our_decoder_passes_all_streams() {
    let decode = env!("CARGO_BIN_EXE_decode");
    let (status, stdout) = run(&["streams", decode, "--comments"]);
    assert_eq!(status, Some(0), "{stdout}");
    let (status, stdout) = run(&["--events", "streams", decode]);
    assert_eq!(status, Some(0), "{stdout}");
    let (status, stdout) = run(&["streams", decode]); // without comments
    assert_eq!(status, Some(1));
    assert!(stdout.starts_with("line "), "{stdout}");
}

#[test]
fn our_server_passes_all_requests() {
    let server = Server::start(env!("CARGO_BIN_EXE_cookbook"), &["from_broadcast"]);
    let (status, stdout) = run(&["requests", &server.addr.to_string()]);
    assert_eq!(status, Some(0), "{stdout}");
}
