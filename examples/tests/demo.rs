//! The demo as its clients meet it: a process behind a socket.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sse_core::Events;

const PAGE: &str = include_str!("../demo.html");

/// Beyond this, something that has to happen has not.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn each_request_has_its_answer() {
    let demo = Demo::start(&[]);
    let html = "Content-Type: text/html; charset=utf-8\r\n";
    let stream = "Content-Type: text/event-stream\r\n";
    for (request, status, header, body) in [
        ("GET /", "200 OK", html, PAGE),
        ("GET /?from=here", "200 OK", html, PAGE),
        ("HEAD /", "200 OK", html, ""),
        ("HEAD /sse", "200 OK", stream, ""),
        ("HEAD /nothing", "404 Not Found", "", ""),
        (
            "GET /nothing",
            "404 Not Found",
            "",
            "there is nothing at this path\n",
        ),
        (
            "GET /sse/",
            "404 Not Found",
            "",
            "there is nothing at this path\n",
        ),
        (
            "OPTIONS /",
            "204 No Content",
            "Allow: GET, HEAD, OPTIONS\r\n",
            "",
        ),
        (
            "POST /sse",
            "405 Method Not Allowed",
            "Allow: GET, HEAD, OPTIONS\r\n",
            "the method is not allowed; use GET\n",
        ),
    ] {
        let mut conn = demo.send(&format!("{request} HTTP/1.1\r\nHost: demo\r\n\r\n"));
        // A peer that is refused is read from until it ends.
        conn.shutdown(std::net::Shutdown::Write).unwrap();
        let (head, mut rest) = answer(&mut conn);
        let mut found = String::new();
        rest.read_to_string(&mut found).unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{request}: {head}"
        );
        assert!(head.contains(header), "{request}: {head}");
        assert_eq!(found, body, "{request}");
    }
}

#[test]
fn a_stream_is_messages_with_ids_and_json_and_then_close() {
    let demo = Demo::start(&["--count", "2"]);
    let mut conn = demo.send(&get("/sse", ""));
    let (head, mut rest) = answer(&mut conn);
    assert!(
        head.contains("Content-Type: text/event-stream\r\n"),
        "{head}"
    );
    let mut stream = String::new();
    rest.read_to_string(&mut stream).unwrap();

    let blocks: Vec<_> = stream.split_terminator("\n\n").collect();
    let [retry, first, second, close] = blocks[..] else {
        panic!("{stream}");
    };
    assert_eq!(retry, "retry: 1000");
    assert_eq!(close, "event: close\ndata: ");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    for (id, block) in [(1, first), (2, second)] {
        let json = block
            .strip_prefix(&format!("id: {id}\ndata: "))
            .expect(block);
        let data: serde_json::Value = serde_json::from_str(json).unwrap();
        assert!(data["text"].is_string(), "{json}");
        assert!(now.abs_diff(data["ts"].as_u64().unwrap()) < 60, "{json}");
        assert_eq!(data.as_object().unwrap().len(), 2, "{json}");
    }
}

#[test]
fn a_stream_goes_on_after_the_last_event_id() {
    let demo = Demo::start(&["--count", "1"]);
    for (target, header, id, text) in [
        ("/sse", "", "1", "welcome"),
        ("/sse", "Last-Event-ID: \r\n", "1", "welcome"),
        (
            "/sse",
            "Last-Event-ID: 1\r\n",
            "2",
            "welcome back after event 1",
        ),
        (
            "/sse",
            "last-event-id: 41\r\n",
            "42",
            "welcome back after event 41",
        ),
        ("/sse?lastEventId=6", "", "7", "welcome back after event 6"),
        (
            "/sse",
            "Last-Event-ID: abc\r\n",
            "1",
            "\"abc\" is no ID of ours, so we begin anew",
        ),
        (
            "/sse",
            "Last-Event-ID: -1\r\n",
            "1",
            "\"-1\" is no ID of ours, so we begin anew",
        ),
        (
            "/sse",
            "Last-Event-ID: 18446744073709551614\r\n",
            "18446744073709551615",
            "welcome back after event 18446744073709551614",
        ),
        (
            "/sse",
            "Last-Event-ID: 18446744073709551615\r\n",
            "1",
            "\"18446744073709551615\" is no ID of ours, so we begin anew",
        ),
    ] {
        let mut conn = demo.send(&get(target, header));
        let (_, stream) = answer(&mut conn);
        let events: Vec<_> = Events::new(stream).map(Result::unwrap).collect();
        let [event, close] = &events[..] else {
            panic!("{header}: {events:?}");
        };
        assert_eq!(
            (event.event_type(), event.last_event_id()),
            ("message", id),
            "{header}"
        );
        let data: serde_json::Value = serde_json::from_str(event.data()).unwrap();
        assert_eq!(data["text"], text, "{header}");
        assert_eq!(
            (close.event_type(), close.last_event_id()),
            ("close", id),
            "{header}"
        );
    }
}

#[test]
fn who_stalls_vanishes_or_never_reads_harms_nobody() {
    let demo = Demo::start(&[]);
    let mut stalled = Vec::new();
    let mut never_reading = Vec::new();
    for _ in 0..20 {
        stalled.push(demo.send("GET / HTTP/1.1\r\nHos"));
        never_reading.push(demo.send(&get("/sse", "")));
        drop(demo.send(&get("/sse", "")));
        drop(demo.send("GET /"));
        drop(demo.send("\x16\x03\x01 is no HTTP"));
    }
    let mut conn = demo.send(&get("/sse", ""));
    let mut events = Events::new(answer(&mut conn).1);
    assert_eq!(events.next().unwrap().unwrap().last_event_id(), "1");
    assert_eq!(events.next().unwrap().unwrap().last_event_id(), "2");
    for mut conn in stalled {
        conn.write_all(b"t: demo\r\n\r\n").unwrap();
        assert!(answer(&mut conn).0.starts_with("HTTP/1.1 200 "));
    }
    for mut conn in never_reading {
        assert!(answer(&mut conn).0.starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn a_full_server_says_so_until_there_is_room() {
    let demo = Demo::start(&["--max-connections", "2"]);
    let mut streaming = demo.send(&get("/sse", ""));
    let mut stalled = demo.send("GET / HTTP/1.1\r\n");
    let (head, mut body) = {
        let mut conn = demo.connect();
        let (head, mut rest) = answer(&mut conn);
        let mut body = String::new();
        rest.read_to_string(&mut body).unwrap();
        (head, body)
    };
    assert!(
        head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{head}"
    );
    assert_eq!(body, "there is no room now; come back later\n");

    stalled.write_all(b"Host: demo\r\n\r\n").unwrap();
    body.clear();
    answer(&mut stalled).1.read_to_string(&mut body).unwrap();
    assert_eq!(body, PAGE);
    // Its place is free a moment after its connection has ended.
    let start = Instant::now();
    while !answer(&mut demo.send(&get("/", ""))).0.contains("200 OK") {
        assert!(start.elapsed() < PATIENCE);
    }
    let mut events = Events::new(answer(&mut streaming).1);
    assert_eq!(events.next().unwrap().unwrap().last_event_id(), "1");
}

#[cfg(unix)]
#[test]
fn it_ends_cleanly_while_streams_are_open() {
    for signal in ["INT", "TERM"] {
        let mut demo = Demo::start(&[]);
        let _stalled = demo.send("GET / HTTP/1.1\r\n");
        let mut conns: Vec<_> = (0..5).map(|_| demo.send(&get("/sse", ""))).collect();
        let mut streams: Vec<_> = conns.iter_mut().map(|conn| answer(conn).1).collect();
        for stream in &mut streams {
            assert_eq!(
                Events::new(stream).next().unwrap().unwrap().last_event_id(),
                "1"
            );
        }

        let start = Instant::now();
        let pid = demo.child.id().to_string();
        let kill = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(kill.unwrap().success());
        for stream in &mut streams {
            let mut rest = String::new();
            stream.read_to_string(&mut rest).unwrap();
            assert!(rest.is_empty() || rest.ends_with("\n\n"), "{rest:?}");
            assert!(!rest.contains("event: close"), "it may be started again");
        }
        assert_eq!(demo.child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(start.elapsed() < Duration::from_secs(5), "{signal}");
        let mut rest = String::new();
        demo.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "goodbye\n");
    }
}

#[test]
fn a_port_in_use_is_a_sentence() {
    let demo = Demo::start(&[]);
    let addr = demo.addr.to_string();
    let output = run(&["--listen", &addr]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!("{addr} is in use; end what listens there, or --listen elsewhere\n")
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_wrong_command_line_is_a_sentence() {
    for (args, sentence) in [
        (&["--port", "80"][..], "there is no option \"--port\""),
        (&["80"], "there is no option \"80\""),
        (&["--listen"], "--listen takes an address"),
        (&["--count"], "--count takes a number"),
        (&["--count", "-1"], "--count takes a number, not \"-1\""),
        (
            &["--max-connections", ""],
            "--max-connections takes a number, not \"\"",
        ),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            format!("{sentence}; see --help\n")
        );
    }
    let output = run(&["--help"]);
    assert!(output.status.success());
    assert!(output.stdout.starts_with(b"Usage: demo [OPTIONS]\n"));
}

struct Demo {
    child: Child,
    stdout: BufReader<ChildStdout>,
    addr: SocketAddr,
}

impl Demo {
    fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.args(["--listen", "127.0.0.1:0"]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let addr = line.strip_prefix("open http://").and_then(|rest| {
            let (addr, _) = rest.split_once('/')?;
            addr.parse().ok()
        });
        let addr = addr.expect(&line);
        Self {
            child,
            stdout,
            addr,
        }
    }

    fn connect(&self) -> TcpStream {
        let conn = TcpStream::connect(self.addr).unwrap();
        conn.set_read_timeout(Some(PATIENCE)).unwrap();
        conn
    }

    fn send(&self, bytes: &str) -> TcpStream {
        let mut conn = self.connect();
        conn.write_all(bytes.as_bytes()).unwrap();
        conn
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
    command.args(args).output().unwrap()
}

fn get(target: &str, header: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: demo\r\n{header}\r\n")
}

/// The head of the answer, and a reader of what follows.
fn answer(conn: &mut TcpStream) -> (String, BufReader<&mut TcpStream>) {
    let mut reader = BufReader::new(conn);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    (head, reader)
}
