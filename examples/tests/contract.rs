//! `contract`, driven as an outside test suite drives it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use common::{Server, TIMEOUT, response, response_to_end};
use serde_json::{Value, json};

/// The suite's own server: it accepts streams and receives the callbacks of one client.
struct Suite {
    address: SocketAddr,
    streams: Receiver<(String, TcpStream)>,
    messages: Receiver<(u64, Value)>,
    received: u64,
}

impl Suite {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ((send_stream, streams), (send_message, messages)) = (mpsc::channel(), mpsc::channel());
        thread::spawn(move || {
            while let Ok((mut conn, _)) = listener.accept() {
                conn.set_read_timeout(Some(TIMEOUT)).unwrap();
                let (head, mut rest) = response(&conn);
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("Content-Length: "));
                let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
                rest.read_exact(&mut body).unwrap();
                let path = head.split(' ').nth(1).unwrap().to_owned();
                if let Some(number) = path.strip_prefix("/callback/") {
                    let message = serde_json::from_slice(&body).unwrap();
                    let accepted = "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
                    conn.write_all(accepted.as_bytes()).unwrap();
                    let _ = send_message.send((number.parse().unwrap(), message));
                } else {
                    let request = head + std::str::from_utf8(&body).unwrap();
                    let _ = send_stream.send((request, conn));
                }
            }
        });
        Self {
            address,
            streams,
            messages,
            received: 0,
        }
    }

    fn request(&self) -> (String, TcpStream) {
        self.streams.recv_timeout(TIMEOUT).unwrap()
    }

    /// Accepts a request and opens a stream.
    fn open(&self) -> (String, TcpStream) {
        let (request, mut conn) = self.request();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\n";
        conn.write_all(head.as_bytes()).unwrap();
        (request, conn)
    }

    /// Returns the next message, whose number is one more than that of the last.
    fn message(&mut self) -> Value {
        let (number, message) = self.messages.recv_timeout(TIMEOUT).unwrap();
        self.received += 1;
        assert_eq!(number, self.received);
        message
    }
}

fn call(contract: &Server, method: &str, target: &str, body: &str) -> (String, String) {
    response_to_end(contract.send(&format!(
        "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        contract.addr,
        body.len()
    )))
}

/// Starts a client of a new suite. Returns its location.
fn start(contract: &Server, mut parameters: Value) -> (Suite, String) {
    let suite = Suite::new();
    parameters["streamUrl"] = json!(format!("http://{}/stream", suite.address));
    parameters["callbackUrl"] = json!(format!("http://{}/callback", suite.address));
    let (head, _) = call(contract, "POST", "/", &parameters.to_string());
    assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
    let location = head
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap();
    let target = location.strip_prefix(&format!("http://{}", contract.addr));
    (suite, target.unwrap().to_owned())
}

fn event(event_type: &str, data: &str, id: &str) -> Value {
    json!({"kind": "event", "event": {"type": event_type, "data": data, "id": id}})
}

fn contract() -> Server {
    Server::start(env!("CARGO_BIN_EXE_contract"), &[])
}

#[test]
fn items_are_reported_in_order() {
    let contract = contract();
    let (mut suite, _) = start(&contract, json!({}));
    let (request, mut stream) = suite.open();
    assert!(request.starts_with("GET /stream HTTP/1.1\r\n"), "{request}");
    for header in ["Accept: text/event-stream", "Cache-Control: no-cache"] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
    }
    assert!(!request.contains("Last-Event-ID"));
    let bytes = "\u{feff}:Hello\ndata: one\r\rid: a\nevent: greeting\ndata: €豆腐\r\ndata:\r\n\r\n";
    for byte in bytes.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(
        suite.message(),
        json!({"kind": "comment", "comment": "Hello"})
    );
    assert_eq!(suite.message(), event("message", "one", ""));
    assert_eq!(suite.message(), event("greeting", "€豆腐\n", "a"));
    let many: String = (0..100)
        .map(|number| format!("data: {number}\n\n"))
        .collect();
    stream.write_all(many.as_bytes()).unwrap();
    for number in 0..100 {
        assert_eq!(suite.message(), event("message", &number.to_string(), "a"));
    }
}

/// What the public suite sends in one piece, in two, or a byte at a time, and what it expects.
#[test]
fn streams_of_the_public_suite_are_reported() {
    let contract = contract();
    let (hello, world) = (event("message", "Hello", ""), event("message", "World", ""));
    let greeting = event("greeting", "Hello", "abc");
    let mut cases = vec![
        ("data: Hello\n\ndata: World\n\n", vec![hello.clone(), world]),
        (
            "data: Hello\ndata:World\n\n",
            vec![event("message", "Hello\nWorld", "")],
        ),
        ("data:\n\n", vec![event("message", "", "")]),
        (
            "event: greeting\nid: abc\ndata: Hello\n\n",
            vec![greeting.clone()],
        ),
        (
            "data: Hello\nid: abc\nevent: greeting\n\n",
            vec![greeting.clone()],
        ),
        (
            "event: greeting\ncolor: blue\nid:abc\ndata:Hello\n\n",
            vec![greeting.clone()],
        ),
        ("id: a\0bc\ndata: Hello\n\n", vec![hello.clone()]),
        (
            "id: abc\ndata: first\n\ndata: second\n\nid: \ndata: third\n\n",
            vec![
                event("message", "first", "abc"),
                event("message", "second", "abc"),
                event("message", "third", ""),
            ],
        ),
        (
            "event:  greeting\ndata:  Hello\n\n",
            vec![event(" greeting", " Hello", "")],
        ),
        (
            "data\n\ndata\ndata\n\n",
            vec![event("message", "", ""), event("message", "\n", "")],
        ),
        ("data: €豆腐\n\n", vec![event("message", "€豆腐", "")]),
        ("\u{feff}data: Hello\n\n", vec![hello.clone()]),
        (
            "\u{feff}event: greeting\nid: abc\ndata: Hello\n\n",
            vec![greeting],
        ),
        (
            "\u{feff}data: \u{feff}Hello\n\ndata: \u{feff}Second\n\n",
            vec![
                event("message", "\u{feff}Hello", ""),
                event("message", "\u{feff}Second", ""),
            ],
        ),
        (
            "\u{feff}:comment\ndata: Hello\n\n",
            vec![comment("comment"), hello.clone()],
        ),
        (
            ":Hello\n:World\ndata: Hello\n\n:Hello\n",
            vec![comment("Hello"), comment("World"), hello, comment("Hello")],
        ),
    ];
    let lines = "data: 1||data: 2a|data: 2b||data:|data: 3b|data:|data: 3d|||data: 4|||||data: 5||";
    let lines = ["\n", "\r\n", "\r"].map(|end| lines.replace('|', end));
    for lines in &lines {
        let data = ["1", "2a\n2b", "\n3b\n\n3d", "4", "5"];
        cases.push((lines, data.map(|data| event("message", data, "")).to_vec()));
    }
    for (input, expected) in &cases {
        for size in [1, 2, 17, input.len()] {
            let (mut suite, _) = start(&contract, json!({}));
            let (_, mut stream) = suite.open();
            stream.set_nodelay(true).unwrap();
            for piece in input.as_bytes().chunks(size) {
                stream.write_all(piece).unwrap();
            }
            // A CR that ends the input may be the first half of a CRLF, but ends its line already.
            for expected in expected {
                assert_eq!(suite.message(), *expected, "{input:?} in pieces of {size}");
            }
        }
    }
}

#[test]
fn data_of_any_size_is_reported() {
    let contract = contract();
    let (mut suite, _) = start(&contract, json!({}));
    let (_, mut stream) = suite.open();
    for size in [
        1, 128, 1023, 1024, 1025, 4094, 4096, 4098, 8189, 8192, 8195, 12288, 16384, 32768, 65536,
        262_144, 1_048_576,
    ] {
        let data = "x".repeat(size);
        stream
            .write_all(format!("data: {data}\n\n").as_bytes())
            .unwrap();
        let message = suite.message();
        assert!(message == event("message", &data, ""), "{size} bytes");
    }
}

/// However a stream breaks, the client asks for what follows the last event that was whole.
#[test]
fn a_broken_stream_is_resumed_after_its_last_event() {
    let contract = contract();
    for (sent, id) in [
        ("id: abc\ndata: Hello\n\n", Some("abc")),
        ("id: abc\ndata: Hello\n\ndata: World\n\n", Some("abc")),
        ("id: abc\ndata: Hello\n\nid: \ndata: World\n\n", None),
        (
            "id: abc\ndata: Hello\n\nid: def\ndata: Goodbye",
            Some("abc"),
        ),
        ("data: Hello\n\n", None),
    ] {
        for framing in ["", "Transfer-Encoding: chunked\r\n"] {
            let (mut suite, _) = start(&contract, json!({"initialDelayMs": 0}));
            let (request, mut stream) = suite.request();
            assert!(!request.contains("Last-Event-ID"));
            let wire = match framing {
                "" => sent.to_owned(),
                _ => format!("{:x}\r\n{sent}\r\n", sent.len()),
            };
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n";
            stream
                .write_all(format!("{head}{framing}\r\n{wire}").as_bytes())
                .unwrap();
            for _ in 0..sent.matches("\n\n").count() {
                assert_eq!(suite.message()["kind"], "event");
            }
            drop(stream);
            let (request, mut stream) = suite.open();
            let header = id.map(|id| format!("\r\nLast-Event-ID: {id}\r\n"));
            match &header {
                Some(header) => assert!(request.contains(header), "{request}"),
                None => assert!(!request.contains("Last-Event-ID"), "{request}"),
            }
            stream.write_all(b"id: new\ndata: again\n\n").unwrap();
            let mut message = suite.message();
            if message["kind"] == "error" {
                message = suite.message(); // The suite allows one.
            }
            assert_eq!(message, event("message", "again", "new"));
        }
    }
}

fn comment(text: &str) -> Value {
    json!({"kind": "comment", "comment": text})
}

#[test]
fn a_request_is_as_the_suite_wants_it_and_sent_again() {
    let contract = contract();
    let parameters = json!({
        "method": "REPORT",
        "body": "{\"hello\": \"world\"}",
        "headers": {"content-type": "application/json; charset=utf-8", "x-a": "b"},
        "lastEventId": "abc",
        "initialDelayMs": 0,
    });
    let (mut suite, _) = start(&contract, parameters);
    for id in ["abc", "7"] {
        let (request, mut stream) = suite.open();
        assert!(request.starts_with("REPORT /stream "), "{request}");
        for header in [
            "content-type: application/json; charset=utf-8",
            "x-a: b",
            &format!("Last-Event-ID: {id}"),
        ] {
            assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
        }
        assert!(
            request.ends_with("\r\n\r\n{\"hello\": \"world\"}"),
            "{request}"
        );
        stream
            .write_all(b"id: 7\ndata: x\n\nid: 8\ndata: torn")
            .unwrap();
        assert_eq!(suite.message(), event("message", "x", "7"));
    }
}

#[test]
fn redirects_are_followed_and_errors_reported() {
    let contract = contract();
    for status in [301, 307] {
        let (mut suite, _) = start(&contract, json!({}));
        let (_, mut conn) = suite.request();
        let location = format!("http://{}/elsewhere", suite.address);
        let moved =
            format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        conn.write_all(moved.as_bytes()).unwrap();
        let (request, mut stream) = suite.open();
        assert!(request.starts_with("GET /elsewhere "));
        stream.write_all(b"data: x\n\n").unwrap();
        assert_eq!(suite.message(), event("message", "x", ""));
        for headers in ["", "Location: \r\n"] {
            let (mut suite, _) = start(&contract, json!({}));
            let (_, mut conn) = suite.request();
            conn.write_all(format!("HTTP/1.1 {status} X\r\n{headers}\r\n").as_bytes())
                .unwrap();
            let message = suite.message();
            assert_eq!(message["kind"], "error");
            let error = "the response is a redirect without a Location";
            assert_eq!(message["error"], error);
        }
    }
}

#[test]
fn a_client_is_restarted_and_stopped() {
    let contract = contract();
    let (mut suite, location) = start(&contract, json!({"initialDelayMs": 0}));
    let (_, mut first) = suite.open();
    first.write_all(b"data: Hello\n\n").unwrap();
    assert_eq!(suite.message(), event("message", "Hello", ""));
    let restart = r#"{"command": "restart"}"#;
    assert!(
        call(&contract, "POST", &location, restart)
            .0
            .starts_with("HTTP/1.1 202 ")
    );
    let (_, mut second) = suite.open();
    second.write_all(b"data: Thanks\n\n").unwrap();
    // No message about the restart comes before it.
    assert_eq!(suite.message(), event("message", "Thanks", ""));

    for (method, target, body, status) in [
        ("POST", &*location, r#"{"command": "dance"}"#, 400),
        ("POST", "/clients/99", restart, 404),
        ("DELETE", "/clients/99", "", 404),
        ("POST", "/", "{}", 400),
        ("DELETE", &location, "", 204),
        ("DELETE", &location, "", 404),
    ] {
        let (head, _) = call(&contract, method, target, body);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{method} {target}: {head}"
        );
    }
    assert_eq!(
        second.read(&mut [0]).unwrap(),
        0,
        "the connection is closed"
    );
}

#[test]
fn a_silent_stream_is_an_error_and_reopened() {
    let contract = contract();
    let (mut suite, _) = start(
        &contract,
        json!({"initialDelayMs": 0, "readTimeoutMs": 500}),
    );
    let (_, mut stream) = suite.open();
    stream.write_all(b"data: Hello\n\n").unwrap();
    assert_eq!(suite.message(), event("message", "Hello", ""));
    assert_eq!(suite.message()["kind"], "error");
    suite.open();
}

#[test]
fn after_204_nothing_is_requested() {
    let contract = contract();
    let (suite, _) = start(&contract, json!({"initialDelayMs": 0}));
    let (_, mut conn) = suite.request();
    conn.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert!(suite.streams.recv_timeout(Duration::from_secs(1)).is_err());
}

#[test]
fn the_capabilities_are_listed_and_the_program_ends() {
    let mut contract = contract();
    let (_, body) = call(&contract, "GET", "/", "");
    let capabilities: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(capabilities["capabilities"].as_array().unwrap().len(), 10);
    assert!(
        call(&contract, "DELETE", "/", "")
            .0
            .starts_with("HTTP/1.1 204 ")
    );
    assert_eq!(contract.wait().0, Some(0));
}
