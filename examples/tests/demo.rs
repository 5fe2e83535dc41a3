//! `demo`, tested over real connections.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

mod common;

use std::io::{Read, Write};
use std::process::{Command, Output};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::{Server, TIMEOUT, events, response, response_to_end};
use serde_json::Value;

const PAGE: &str = include_str!("../demo/feed.html");

const METRICS: &str = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

#[test]
fn each_request_gets_its_response() {
    let demo = start(&[]);
    let html = "Content-Type: text/html; charset=utf-8\r\n";
    let stream = "Content-Type: text/event-stream\r\n";
    for (request, status, header, body) in [
        ("GET /", "200 OK", html, PAGE),
        ("GET /?from=here", "200 OK", html, PAGE),
        ("HEAD /", "200 OK", html, ""),
        ("HEAD /sse", "200 OK", stream, ""),
        ("HEAD /metrics", "200 OK", METRICS, ""),
        ("GET /readyz", "200 OK", "", "the server is ready\n"),
        ("HEAD /healthz", "204 No Content", "", ""),
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
            "Allow: GET, HEAD, POST, OPTIONS\r\n",
            "",
        ),
        (
            "POST /sse",
            "405 Method Not Allowed",
            "Allow: GET, HEAD, OPTIONS\r\n",
            "the method is not allowed; use one that Allow lists\n",
        ),
    ] {
        demo.check(request, status, header, body);
    }
}

#[test]
fn all_clients_get_the_same_feed_with_ids_and_json_and_then_close() {
    let demo = start(&["--count", "3", "--every", "0.1"]);
    let streams = [(); 2].map(|()| demo.get("/sse", ""));
    let [first, second] = streams.map(|conn| {
        let (_, stream) = response_to_end(conn);
        let (retry, events) = stream.split_once("\n\n").unwrap();
        // The first block may also have the ID of the position.
        let retry = retry.lines().last().unwrap().strip_prefix("retry: ");
        let retry: u64 = retry.unwrap().parse().unwrap();
        assert!((1000..=1500).contains(&retry), "{retry}");
        events.to_owned()
    });
    assert_eq!(first, second);

    let blocks: Vec<_> = first.split_terminator("\n\n").collect();
    let [ticks @ .., close] = &blocks[..] else {
        panic!("{first}");
    };
    assert_eq!(ticks.len(), 3, "{first}");
    let mut ids = Vec::new();
    for block in ticks {
        let (id, json) = block.split_once("\ndata: ").expect(block);
        ids.push(id.strip_prefix("id: ").expect(block).to_owned());
        let data: Value = serde_json::from_str(json).unwrap();
        let text = data["text"].as_str().unwrap();
        let is_entry = |start| text.starts_with(start);
        let starts = ["Tide ", "Wind ", "Visibility ", "The "];
        assert!(starts.into_iter().any(is_entry), "{json}");
        assert!(now().abs_diff(data["ts"].as_u64().unwrap()) < 60, "{json}");
        assert!(data["watching"].as_u64().unwrap() <= 2, "{json}");
        assert_eq!(data.as_object().unwrap().len(), 3, "{json}");
    }
    let id = close.strip_suffix("\nevent: close\ndata: ").expect(close);
    ids.push(id.strip_prefix("id: ").expect(close).to_owned());
    assert!(ids.is_sorted_by_key(|id| parse_id(id)), "{ids:?}");

    // After the end, a browser that reconnects gets the events that it missed, then 204.
    for (seen, status, missed) in [
        (&ids[1], "200 OK", &ids[2..]),
        (&ids[2], "200 OK", &ids[3..]),
        (&ids[3], "204 No Content", &[]),
    ] {
        let header = format!("Last-Event-ID: {seen}\r\n");
        let (head, body) = response_to_end(demo.get("/sse", &header));
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}"
        );
        let (_, events) = body.split_once("\n\n").unwrap_or_default();
        let found = events.lines().filter_map(|line| line.strip_prefix("id: "));
        assert_eq!(found.collect::<Vec<_>>(), missed, "{seen}");
    }
}

#[test]
fn a_new_client_gets_the_last_ten_events_and_a_returning_one_those_it_missed() {
    let demo = start(&["--every", "0.01", "--count", "40"]);
    let ids = |target: &str, header: &str| {
        let events = events(demo.get(target, header));
        Vec::from_iter(events.map(|event| event.last_event_id().to_owned()))
    };
    let all = ids("/sse", "");
    assert!(all.is_sorted_by_key(|id| parse_id(id)), "{all:?}");

    assert_eq!(ids("/sse", ""), all[all.len() - 10..]);
    let seen = &all[4];
    let header = format!("Last-Event-ID: {seen}\r\n");
    assert_eq!(ids("/sse", &header), all[5..]);
    assert_eq!(ids(&format!("/sse?lastEventId={seen}"), ""), all[5..]);
}

#[test]
fn a_client_that_missed_evicted_events_gets_a_gap_event() {
    // The topic retains 1,000 events, and those younger than a second.
    let demo = start(&["--every", "0.001", "--count", "1500"]);
    let mut stream = events(demo.get("/sse", ""));
    let first = stream.next().unwrap().last_event_id().to_owned();
    assert_eq!(stream.last().unwrap().event(), "close");
    for asked in [&*first, "abc", "1-0", "99999999999999-0"] {
        let conn = demo.get("/sse", &format!("Last-Event-ID: {asked}\r\n"));
        let events: Vec<_> = events(conn).collect();
        let (gap, retained) = events.split_first().unwrap();
        assert_eq!((gap.event(), gap.last_event_id()), ("gap", ""));
        let data: Value = serde_json::from_str(gap.data()).unwrap();
        assert_eq!(data["asked"], asked);
        assert_eq!(data["from"], retained[0].last_event_id());
        let count = retained.len();
        assert!((1000..1500).contains(&count), "{asked}: {count}");
    }
}

#[test]
fn after_a_restart_a_returning_client_gets_a_gap_event() {
    let demo = start(&[]);
    let addr = demo.addr.to_string();
    let first = events(demo.get("/sse", "")).next().unwrap();
    let asked = first.last_event_id().to_owned();
    drop(demo);

    let demo = Server::start_at(&addr, DEMO, &[]);
    let mut events = events(demo.get("/sse", &format!("Last-Event-ID: {asked}\r\n")));
    let gap = events.next().unwrap();
    assert_eq!(gap.event(), "gap");
    let data: Value = serde_json::from_str(gap.data()).unwrap();
    assert_eq!(data["asked"], *asked);
    let next = events.next().unwrap();
    assert_eq!(next.event(), "message");
    assert!(parse_id(next.last_event_id()) > parse_id(&asked));
}

#[test]
fn events_contain_the_number_of_clients() {
    let demo = start(&["--every", "0.05"]);
    let mut watching = events(demo.get("/sse", "")).map(|event| {
        let data: Value = serde_json::from_str(event.data()).unwrap();
        data["watching"].as_u64().unwrap()
    });
    assert!(watching.any(|watching| watching == 1));
    let others = [(); 2].map(|()| demo.get("/sse", ""));
    assert!(watching.any(|watching| watching == 3));
    // Other requests do not count.
    for request in ["GET /", "HEAD /sse", "GET /nothing", "OPTIONS /sse"] {
        let conn = demo.send(&format!("{request} HTTP/1.1\r\nHost: demo\r\n\r\n"));
        response(conn);
    }
    assert!(watching.by_ref().take(5).all(|watching| watching == 3));
    drop(others);
    assert!(watching.any(|watching| watching == 1));
}

#[test]
fn an_idle_stream_gets_heartbeats() {
    let demo = start(&["--every", "3600", "--heartbeat", "0.25"]);
    let mut events = events(demo.get("/sse", ""));
    let first = events.next().unwrap();
    for _ in 0..2 {
        let heartbeat = events.next().unwrap();
        assert_eq!((heartbeat.event(), heartbeat.data()), ("heartbeat", ""));
        // A heartbeat does not change the last event ID.
        assert_eq!(heartbeat.last_event_id(), first.last_event_id());
    }
}

#[test]
fn stalled_vanished_and_deaf_clients_do_not_affect_others() {
    let demo = start(&["--every", "0.1"]);
    let mut stalled = Vec::new();
    let mut never_reading = Vec::new();
    for _ in 0..20 {
        stalled.push(demo.send("GET / HTTP/1.1\r\nHos"));
        never_reading.push(demo.get("/sse", ""));
        drop(demo.get("/sse", ""));
        drop(demo.send("GET /"));
        drop(demo.send("\x16\x03\x01 is no HTTP"));
    }
    assert_eq!(events(demo.get("/sse", "")).take(20).count(), 20);
    for mut conn in stalled {
        conn.write_all(b"t: demo\r\n\r\n").unwrap();
        assert!(response(conn).0.starts_with("HTTP/1.1 200 "));
    }
    for conn in never_reading {
        assert_eq!(events(conn).take(20).count(), 20);
    }
}

#[test]
fn a_full_server_responds_with_503_until_a_connection_closes() {
    let demo = start(&["--max-connections", "2"]);
    let streaming = demo.get("/sse", "");
    let mut stalled = demo.send("GET / HTTP/1.1\r\n");
    let (head, body) = response_to_end(demo.get("/", ""));
    assert!(
        head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{head}"
    );
    assert_eq!(body, "the server is at capacity; retry later\n");

    stalled.write_all(b"Host: demo\r\n\r\n").unwrap();
    assert_eq!(response_to_end(stalled).1, PAGE);
    // The connection counts until its task has ended, a moment later.
    let start = Instant::now();
    while !response(demo.get("/", "")).0.contains("200 OK") {
        assert!(start.elapsed() < TIMEOUT);
    }
    assert_eq!(events(streaming).next().unwrap().event(), "message");
}

#[cfg(unix)]
#[test]
fn a_signal_drains_open_streams() {
    for signal in ["INT", "TERM"] {
        let mut demo = start(&["--every", "3600"]);
        let _stalled = demo.send("GET / HTTP/1.1\r\n");
        let streams = [(); 5].map(|()| {
            let (_, mut stream) = response(demo.get("/sse", ""));
            read_blocks(&mut stream, 2);
            stream
        });
        demo.signal(signal);
        for mut stream in streams {
            let mut rest = String::new();
            stream.read_to_string(&mut rest).unwrap();
            // The page shows a restart, and not a crash.
            let (restarting, retry) = rest.split_once("retry: ").expect(&rest);
            assert!(
                restarting.ends_with("\nevent: restarting\ndata: \n\n"),
                "{rest}"
            );
            let retry: u64 = retry.strip_suffix("\n\n").expect(&rest).parse().unwrap();
            assert!((1000..=1500).contains(&retry), "{retry}");
        }
        assert_eq!(demo.wait(), (Some(0), "stopped\n".to_owned()), "{signal}");
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_the_program_at_once() {
    let mut demo = start(&["--every", "3600"]);
    let _stalled = demo.send("GET / HTTP/1.1\r\n");
    read_blocks(&mut response(demo.get("/sse", "")).1, 2);
    // Both signals are pending before the program can handle the first.
    for signal in ["STOP", "INT", "TERM", "CONT"] {
        demo.signal(signal);
    }
    assert_eq!(demo.wait(), (Some(0), String::new()));
}

#[cfg(unix)]
#[test]
fn a_unix_socket_serves_the_same_feed_and_only_a_stale_socket_is_replaced() {
    use std::os::unix::net::UnixStream;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demo.sock");
    let path = path.to_str().unwrap();
    let first = |demo: &Server| {
        let mut conn = UnixStream::connect(path).unwrap();
        conn.set_read_timeout(Some(TIMEOUT)).unwrap();
        conn.write_all(b"GET /sse HTTP/1.1\r\nHost: demo\r\n\r\n")
            .unwrap();
        let [local, remote] = [
            events(conn).next().unwrap(),
            events(demo.get("/sse", "")).next().unwrap(),
        ];
        assert_eq!(local.last_event_id(), remote.last_event_id());
    };
    let args = ["--every", "3600", "--unix", path];
    let demo = start(&args);
    first(&demo);
    let output = run(&["--listen", "127.0.0.1:0", "--unix", path]);
    assert_eq!(
        failure(&output),
        format!("{path} is in use; end the other program, or choose another address with --unix\n")
    );
    first(&demo);
    drop(demo);
    first(&start(&args));
}

#[test]
fn a_port_in_use_is_reported() {
    let demo = start(&[]);
    let addr = demo.addr.to_string();
    assert_eq!(
        failure(&run(&["--listen", &addr])),
        format!(
            "{addr} is in use; end the other program, or choose another address with --listen\n"
        )
    );
}

#[test]
fn a_wrong_command_line_is_reported() {
    let seconds = "a number of seconds above 0";
    let together = "--cert needs --key and the reverse, and --client-ca needs both";
    for (args, sentence) in [
        (&["--port", "80"][..], "there is no option \"--port\""),
        (&["80"], "there is no option \"80\""),
        (&["--listen"], "--listen takes an address"),
        (&["--unix"], "--unix takes a path"),
        (&["--cert"], "--cert takes a file"),
        (&["--cert", "a"], together),
        (&["--key", "b", "--tls"], together),
        (&["--client-ca", "c", "--tls"], together),
        (&["--count"], "--count takes a number"),
        (&["--count", "-1"], "--count takes a number, not \"-1\""),
        (
            &["--max-connections", ""],
            "--max-connections takes a number, not \"\"",
        ),
        (&["--every"], &format!("--every takes {seconds}")),
        (
            &["--every", "0"],
            &format!("--every takes {seconds}, not \"0\""),
        ),
        (
            &["--every", "1e999"],
            &format!("--every takes {seconds}, not \"1e999\""),
        ),
        (
            &["--heartbeat", "-0.5"],
            &format!("--heartbeat takes {seconds}, not \"-0.5\""),
        ),
        (
            &["--heartbeat", "NaN"],
            &format!("--heartbeat takes {seconds}, not \"NaN\""),
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

fn start(args: &[&str]) -> Server {
    Server::start(DEMO, args)
}

fn run(args: &[&str]) -> Output {
    Command::new(DEMO).args(args).output().unwrap()
}

/// Returns the error that the program printed.
fn failure(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn read_blocks(stream: &mut impl std::io::BufRead, count: usize) {
    let mut block = String::new();
    for _ in 0..count {
        while !block.ends_with("\n\n") {
            assert_ne!(stream.read_line(&mut block).unwrap(), 0, "{block}");
        }
        block.clear();
    }
}

/// Parses an ID made by the log into its two numbers.
fn parse_id(id: &str) -> (u64, u64) {
    let (millis, sequence) = id.split_once('-').expect(id);
    (millis.parse().expect(id), sequence.parse().expect(id))
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}
