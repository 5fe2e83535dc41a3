//! `low_level`, tested over real connections.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

mod common;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use common::{Server, TIMEOUT, events, response, response_to_end};

const LOW_LEVEL: &str = env!("CARGO_BIN_EXE_low_level");

#[test]
fn a_stream_resumes_after_the_last_event_id() {
    let server = Server::start(LOW_LEVEL, &[]);
    for (header, id) in [
        ("", "1"),
        ("Last-Event-ID: \r\n", "1"),
        ("Last-Event-ID: 1\r\n", "2"),
        ("last-event-id: 41\r\n", "42"),
        ("Last-Event-ID: abc\r\n", "1"),
        ("Last-Event-ID: -1\r\n", "1"),
        (
            "Last-Event-ID: 18446744073709551614\r\n",
            "18446744073709551615",
        ),
        ("Last-Event-ID: 18446744073709551615\r\n", "1"),
    ] {
        let event = events(server.get("/sse", header)).next().unwrap();
        assert_eq!(
            (event.event(), event.last_event_id(), event.data()),
            ("message", id, "hey there"),
            "{header}"
        );
    }
    let (head, body) = response_to_end(server.get("/", ""));
    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    assert_eq!(body, "there is nothing at this path\n");
}

#[test]
fn stalled_vanished_and_deaf_clients_do_not_affect_others() {
    let server = Server::start(LOW_LEVEL, &[]);
    let mut stalled = Vec::new();
    let mut never_reading = Vec::new();
    for _ in 0..20 {
        stalled.push(server.send("GET /sse HTTP/1.1\r\nHos"));
        never_reading.push(server.get("/sse", ""));
        drop(server.get("/sse", ""));
        drop(server.send("GET /"));
        drop(server.send("\x16\x03\x01 is no HTTP"));
    }
    assert_eq!(events(server.get("/sse", "")).take(2).count(), 2);
    for mut conn in stalled {
        conn.write_all(b"t: demo\r\n\r\n").unwrap();
        assert_eq!(events(conn).take(1).count(), 1);
    }
    for conn in never_reading {
        assert_eq!(events(conn).take(1).count(), 1);
    }
}

#[test]
fn a_full_server_responds_with_503_until_a_connection_closes() {
    let server = Server::start(LOW_LEVEL, &[]);
    let mut streams: Vec<_> = (0..256).map(|_| events(server.get("/sse", ""))).collect();
    let (head, body) = response_to_end(server.get("/sse", ""));
    assert!(
        head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{head}"
    );
    assert_eq!(body, "the server is at capacity; retry later\n");

    // The thread notices with the next event or the one after, and releases its permit.
    streams.pop();
    let start = Instant::now();
    while !response(server.get("/sse", "")).0.contains("200 OK") {
        assert!(start.elapsed() < TIMEOUT);
        std::thread::sleep(Duration::from_millis(50));
    }
    for events in &mut streams {
        assert_eq!(events.next().unwrap().last_event_id(), "1");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_the_program_and_every_stream_after_a_whole_event() {
    for signal in ["INT", "TERM"] {
        let mut server = Server::start(LOW_LEVEL, &[]);
        let _stalled = server.send("GET / HTTP/1.1\r\n");
        let streams = [(); 5].map(|()| response(server.get("/sse", "")).1);
        server.signal(signal);
        for mut stream in streams {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.ends_with("data: hey there\n\n"), "{text:?}");
            assert!(
                !text.contains("event: close"),
                "clients reconnect after a restart"
            );
        }
        assert_eq!(server.wait(), (Some(0), "stopped\n".to_owned()), "{signal}");
    }
}
