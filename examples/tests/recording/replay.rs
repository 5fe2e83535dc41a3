//! Playing recordings.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sse_core::testing::Comparison;

use crate::common::{Server, events, response_to_end};
use crate::{Dir, RECORD, REPLAY, recording, run, seen, start, text};

#[test]
#[cfg(target_os = "linux")]
fn a_replay_reports_that_its_output_is_full() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut command = Command::new(REPLAY);
    command.args([&dir.file("a"), "--max"]).stdout(full);
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "standard output can't be written: No space left on device (os error 28)\n"
    );
}

#[test]
#[cfg(unix)]
fn clients_that_wait_for_the_file_do_not_keep_others_waiting() {
    let dir = Dir::new();
    let file = dir.file("a");
    fs::write(&file, recording()).unwrap();
    let server = Server::start(REPLAY, &[&file]);
    // A file that takes long to search: opening a pipe waits for its writer.
    fs::remove_file(&file).unwrap();
    dir.pipe("a");
    let threads = std::thread::available_parallelism().unwrap().get();
    let resume = |n| server.get("/sse", &format!("Last-Event-ID: unknown-{n}\r\n"));
    let _waiting = Vec::from_iter((0..2 * threads).map(resume));
    let (head, page) = response_to_end(server.get("/", ""));
    assert!(head.starts_with("HTTP/1.1 200 ") && page.contains("EventSource"));
}

#[test]
fn a_replay_to_standard_output_equals_the_recording() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let file = dir.file("a");
    for args in [&["--max"][..], &["--speed", "1000"]] {
        let output = run(REPLAY, &[&[&*file], args].concat());
        assert!(output.status.success(), "{output:?}");
        Comparison::new().assert_same(&recording()[..], &output.stdout[..]);
    }
    let output = run(REPLAY, &[&file, "--max", "--from", "4"]);
    assert_eq!(seen(&output.stdout), ["4", "5"]);
    let output = run(REPLAY, &[&file, "--from", "nothing"]);
    assert_eq!(
        text(&output.stderr),
        format!("can't play {file:?}: the recording has no event with the ID \"nothing\"\n")
    );

    // A looped replay ends when its output is closed.
    let mut replay = start(REPLAY, &[&file, "--max", "--loop", "--from", "3"]);
    let lines = BufReader::new(replay.stdout.take().unwrap()).lines();
    let ids = lines
        .map(Result::unwrap)
        .filter(|line| line.starts_with("id: "));
    let ids = Vec::from_iter(ids.take(7));
    assert_eq!(ids.concat(), "id: 3id: 4id: 5id: 3id: 4id: 5id: 3");
    assert!(replay.wait().unwrap().success());
}

#[test]
fn input_that_can_be_read_only_once_is_played_as_it_arrives() {
    let dir = Dir::new();
    let mut replay = start_piped(&["-"]);
    let mut input = replay.stdin.take().unwrap();
    let mut output = BufReader::new(replay.stdout.take().unwrap());
    for id in 1..=3 {
        // Each event is written only after the one before has been played.
        let event = format!("id: {id}\ndata: hey\n\n");
        input.write_all(event.as_bytes()).unwrap();
        let mut found = String::new();
        while !found.ends_with("\n\n") {
            assert_ne!(output.read_line(&mut found).unwrap(), 0, "{found}");
        }
        assert_eq!(found, event);
    }
    drop(input);
    assert!(replay.wait().unwrap().success());

    #[cfg(unix)]
    {
        let pipe = dir.pipe("pipe");
        let replay = start(REPLAY, &[&pipe, "--max", "--from", "4"]);
        fs::write(&pipe, recording()).unwrap();
        let output = replay.wait_with_output().unwrap();
        assert_eq!(seen(&output.stdout), ["4", "5"], "{output:?}");
    }

    for option in [&["--loop"][..], &["--listen", "127.0.0.1:0"]] {
        let replay = start_piped(&[&["-"], option].concat());
        let output = replay.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output.stderr),
            "\"-\" can be read only once, and --loop and --listen read it again; \
             save it to a file\n"
        );
    }
}

#[test]
fn a_replay_prints_each_event_at_its_time() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let began = Instant::now();
    let mut replay = start(REPLAY, &[&dir.file("a"), "--speed", "20"]);
    let mut lines = BufReader::new(replay.stdout.take().unwrap()).lines();
    for id in 1..=5 {
        let line = lines.find(|line| line.as_ref().unwrap().starts_with("id: "));
        assert_eq!(line.unwrap().unwrap(), format!("id: {id}"));
        assert!(began.elapsed() >= Duration::from_millis(50 * id));
    }
    assert!(replay.wait().unwrap().success());
}

#[test]
fn a_browser_resumes_a_replay_after_its_last_event_id() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let replay = Server::start(REPLAY, &[&dir.file("a"), "--max"]);
    for (header, expected) in [
        ("", &["1", "2", "3", "4", "5", "end-of-5"][..]),
        ("Last-Event-ID: 3\r\n", &["4", "5", "end-of-5"]),
        (
            "Last-Event-ID: of another\r\n",
            &["1", "2", "3", "4", "5", "end-of-5"],
        ),
    ] {
        let ids = events(replay.get("/sse", header)).map(|event| event.last_event_id().to_owned());
        assert_eq!(Vec::from_iter(ids), expected, "{header}");
    }
    // A browser does not reconnect after 204.
    let (head, _) = response_to_end(replay.get("/sse", "Last-Event-ID: 5\r\n"));
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let (head, page) = response_to_end(replay.get("/", ""));
    assert!(
        head.starts_with("HTTP/1.1 200 ") && page.contains(r#"of ["message"]"#),
        "{page}"
    );

    let looped = Server::start(REPLAY, &[&dir.file("a"), "--max", "--loop", "--from", "4"]);
    let ids = |header| {
        let events = events(looped.get("/sse", header));
        let ids = events.map(|event| event.last_event_id().to_owned());
        ids.take(5).collect::<Vec<_>>().concat()
    };
    assert_eq!(ids(""), "45454");
    assert_eq!(ids("Last-Event-ID: 2\r\n"), "34545");
    assert_eq!(ids("Last-Event-ID: 5\r\n"), "45454");
}

/// Recordings without IDs, and with repeated ones.
#[test]
fn a_client_that_reconnects_after_the_end_gets_204() {
    let dir = Dir::new();
    for (recording, end) in [
        ("", "end-of-0"),
        ("data: a\n\ndata: b\n\n", "end-of-2"),
        ("id: 1\ndata: a\n\ndata: b\n\n", "end-of-2"),
        ("id: 1\ndata: a\n\nid: 1\ndata: b\n\n", "end-of-2"),
        // A recording of a replay.
        (
            "data: a\n\nid: end-of-1\nevent: close\ndata: \n\n",
            "end-of-2",
        ),
    ] {
        fs::write(dir.file("a"), recording).unwrap();
        let replay = Server::start(REPLAY, &[&dir.file("a")]);
        let (_, played) = response_to_end(replay.get("/sse", ""));
        let last = format!("id: {end}\nevent: close\ndata: \n\n");
        assert!(played.ends_with(&last), "{played}");
        let (head, _) = response_to_end(replay.get("/sse", &format!("Last-Event-ID: {end}\r\n")));
        assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    }

    // `record` reconnects like a browser, and ends on 204.
    let replay = Server::start(REPLAY, &[&dir.file("a")]);
    let url = format!("http://{}/sse", replay.addr);
    let output = run(RECORD, &[&url, &dir.file("b")]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(seen(&dir.read("b")), ["", "end-of-1", "end-of-2"]);
}

#[test]
fn a_port_alone_listens_on_all_addresses() {
    let dir = Dir::new();
    fs::write(dir.file("a"), recording()).unwrap();
    let free = TcpListener::bind("0.0.0.0:0").unwrap();
    let listen = format!(":{}", free.local_addr().unwrap().port());
    drop(free);
    let mut replay = start(REPLAY, &[&dir.file("a"), "--listen", &listen]);
    let mut line = String::new();
    let stdout = replay.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert_eq!(
        line,
        format!("open http://localhost{listen}/ (Ctrl-C ends it)\n")
    );
    assert!(TcpStream::connect(format!("127.0.0.1{listen}")).is_ok());
    replay.kill().unwrap();
    replay.wait().unwrap();
}

#[test]
fn ids_that_are_left_out_are_reported() {
    let dir = Dir::new();
    let event = format!("id: {}\ndata: a\n\n", "x".repeat(1025));
    fs::write(dir.file("a"), event).unwrap();
    let output = run(REPLAY, &[&dir.file("a"), "--max"]);
    assert_eq!(text(&output.stdout), "data: a\n\n");
    let report = "1 ID left out: too long, or with a control character or an outer blank\n";
    assert!(text(&output.stderr).ends_with(report), "{output:?}");
}

#[test]
fn a_file_without_events_is_reported() {
    let dir = Dir::new();
    for text_of_file in ["", "hey\nthere\n", ": a comment\n"] {
        fs::write(dir.file("a"), text_of_file).unwrap();
        let file = dir.file("a");
        let expected = format!("{file:?} has no event; is it an event stream?\n");
        let output = run(REPLAY, &[&file]);
        assert_eq!(text(&output.stderr), expected);
        assert!(output.status.success());

        let mut replay = start(REPLAY, &[&file, "--listen", "127.0.0.1:0"]);
        let mut reported = String::new();
        let mut errors = BufReader::new(replay.stderr.take().unwrap());
        errors.read_line(&mut reported).unwrap();
        assert_eq!(reported, expected);
        replay.kill().unwrap();
        replay.wait().unwrap();
    }
}

#[test]
fn event_types_cannot_end_the_script_of_the_page() {
    let dir = Dir::new();
    fs::write(dir.file("a"), "event: </script>\"\ndata: a\n\n").unwrap();
    let replay = Server::start(REPLAY, &[&dir.file("a")]);
    let (_, page) = response_to_end(replay.get("/", ""));
    assert!(page.contains(r#"of ["\u003c/script>\""]"#), "{page}");
}

/// Starts `replay` with a pipe as standard input.
fn start_piped(args: &[&str]) -> Child {
    let mut command = Command::new(REPLAY);
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}
