//! The bytes of requests.

use sse_core::client::{EventSource, Machine, Step};

use crate::harness::In::Bytes;
use crate::harness::World;

fn request(source: EventSource) -> String {
    let mut machine = Machine::new(source, 1);
    assert!(matches!(
        machine.step(std::time::Duration::ZERO),
        Step::Connect { .. }
    ));
    machine.connected(std::time::Duration::ZERO);
    String::from_utf8(machine.unsent().to_vec()).unwrap()
}

#[test]
fn a_feed_asks_for_an_event_stream() {
    let source = EventSource::get("http://example.org:8080/b c?d#e").unwrap();
    assert_eq!(
        request(source),
        "GET /b%20c?d HTTP/1.1\r\nHost: example.org:8080\r\nAccept: text/event-stream\r\n\
         Accept-Encoding: identity\r\nCache-Control: no-cache\r\n\r\n"
    );
}

#[test]
fn a_call_has_a_body_and_headers() {
    let source = EventSource::post("http://[::1]/").unwrap();
    let source = source.json(&[1, 2]).unwrap();
    let source = source
        .header("accept", "text/event-stream, application/json")
        .unwrap();
    let source = source
        .header("X-Key", "1")
        .unwrap()
        .header("x-key", "2")
        .unwrap();
    assert_eq!(
        request(source),
        "POST / HTTP/1.1\r\nHost: [::1]\r\nAccept-Encoding: identity\r\n\
         Cache-Control: no-cache\r\nContent-Type: application/json\r\n\
         accept: text/event-stream, application/json\r\nx-key: 2\r\n\
         Content-Length: 5\r\n\r\n[1,2]"
    );
    let empty = request(EventSource::post("http://a/").unwrap());
    assert!(empty.ends_with("Content-Length: 0\r\n\r\n"));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let get = || EventSource::get("http://a/").unwrap();
    for (name, value, error) in [
        (
            "",
            "x",
            "the header name is empty; use at least one character",
        ),
        ("a b", "x", "the header name has ' ' at byte 1; remove it"),
        (
            "a",
            "x\r\nB: y",
            "the header value has a carriage return at byte 1; remove it",
        ),
        (
            "a",
            "x\0",
            "the header value has a NUL at byte 1; remove it",
        ),
        (
            "content-length",
            "1",
            "the header name is reserved, because the library sets it; leave it out",
        ),
        (
            "Last-Event-ID",
            "1",
            "the header name is reserved, because the library sets it; leave it out",
        ),
    ] {
        assert_eq!(get().header(name, value).unwrap_err().to_string(), error);
    }
    for (method, error) in [
        ("", "is empty; use at least one character"),
        ("G T", "has ' ' at byte 1; remove it"),
        ("GET\r\n", "has a carriage return at byte 3; remove it"),
        ("CONNECT", "asks for a tunnel, not a stream; leave it out"),
    ] {
        let refused = EventSource::request(method, "http://a/").unwrap_err();
        assert_eq!(refused.to_string(), format!("the method {error}"));
    }
}

/// "Credentials never follow to another origin."
#[test]
fn the_headers_of_the_application_stay_with_its_origin() {
    let source = EventSource::post("https://a/b").unwrap().body("hey");
    let source = source.header("Authorization", "secret").unwrap();
    let source = source.header("X-Api-Key", "secret").unwrap();
    let source = source.header("Host", "virtual").unwrap();
    let source = source.header("User-Agent", "app").unwrap();
    let source = source.header("Content-Type", "text/plain").unwrap();
    let source = source.header("Content-Encoding", "x-own").unwrap();
    for (location, status, is_same, has_body) in [
        ("/c", 307, true, true),
        ("https://A:443/c", 308, true, true),
        ("/c", 303, true, false),
        ("https://b/c", 307, false, true),
        ("https://a:8443/c", 302, false, false),
    ] {
        let mut world = World::new(source.clone());
        let moved = format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\n\r\n");
        world.feed(Bytes(&moved));
        assert!(matches!(
            world.machine.step(world.now),
            Step::Connect { .. }
        ));
        world.machine.connected(world.now);
        let request = String::from_utf8(world.machine.unsent().to_vec()).unwrap();
        assert_eq!(request.contains("secret"), is_same, "{request}");
        assert_eq!(request.contains("Host: virtual"), is_same, "{request}");
        assert!(request.contains("User-Agent: app"), "{request}");
        for about_body in ["text/plain", "x-own"] {
            assert_eq!(request.contains(about_body), has_body, "{request}");
        }
        assert_eq!(request.ends_with("\r\n\r\nhey"), has_body, "{request}");
    }
    // Once it has left, it does not get them back.
    let mut world = World::new(source);
    world.feed(Bytes("HTTP/1.1 307 X\r\nLocation: https://b/\r\n\r\n"));
    world.feed(Bytes("HTTP/1.1 307 X\r\nLocation: https://a/b\r\n\r\n"));
    world.machine.step(world.now);
    world.machine.connected(world.now);
    assert!(!String::from_utf8_lossy(world.machine.unsent()).contains("secret"));
}

#[test]
fn nothing_secret_is_printed() {
    let source = EventSource::post("http://a/b?key=secret").unwrap();
    let source = source.body("secret").header("Authorization", "secret");
    let source = source.unwrap();
    let printed = format!("{source:?}");
    assert!(printed.contains("http://a/b?…"), "{printed}");
    assert!(!printed.contains("secret"), "{printed}");
    let mut world = World::new(source);
    world.feed(Bytes("HTTP/1.1 307 X\r\nLocation: /?key=secret\r\n\r\n"));
    world.machine.step(world.now);
    world.machine.connected(world.now);
    assert!(!world.machine.unsent().is_empty());
    let as_numbers = format!("{:?}", b"secret");
    let as_numbers = as_numbers.trim_matches(['[', ']']);
    for printed in [
        format!("{:?}", world.machine.url()),
        format!("{:?}", world.machine),
    ] {
        let is_secret = printed.contains("secret") || printed.contains(as_numbers);
        assert!(!is_secret, "{printed}");
    }
}
