//! The hub of `demo`, tested over real connections.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Shutdown;

use common::{Server, events, response_to_end};
use serde_json::{Value, json};
use sse_core::MessageEvent;

const DEMO: &str = env!("CARGO_BIN_EXE_demo");

const ALL: &str = "/hub/events?topics=feed,values,inbox&visitor=ann";

#[test]
fn each_request_gets_its_response() {
    let demo = Server::start(DEMO, &[]);
    let script = "Content-Type: text/javascript; charset=utf-8\r\n";
    let topics =
        "`topics` has to list some of feed, values and inbox, separated by commas\n".to_owned();
    let name = "the name of a visitor has 1 to 40 lowercase letters, digits and hyphens\n";
    let long = format!("GET /hub/events?topics=inbox&visitor={}", "a".repeat(41));
    for (request, status, header, body) in [
        (
            "GET /hub",
            "200 OK",
            "Content-Type: text/html; charset=utf-8\r\n",
            include_str!("../demo/hub.html"),
        ),
        (
            "GET /hub/shared-events.js",
            "200 OK",
            script,
            include_str!("../demo/shared-events.js"),
        ),
        (
            "GET /hub/charts.js",
            "200 OK",
            script,
            include_str!("../demo/charts.js"),
        ),
        (
            "HEAD /hub/events?topics=values",
            "200 OK",
            "Content-Type: text/event-stream\r\n",
            "",
        ),
        ("GET /hub/events", "400 Bad Request", "", &topics),
        ("GET /hub/events?topics=", "400 Bad Request", "", &topics),
        (
            "GET /hub/events?topics=feed,news",
            "400 Bad Request",
            "",
            &topics,
        ),
        ("GET /hub/events?topics=inbox", "400 Bad Request", "", name),
        (
            "GET /hub/events?topics=feed,inbox&visitor=Ann",
            "400 Bad Request",
            "",
            name,
        ),
        (&long, "400 Bad Request", "", name),
        (
            "GET /hub/inbox",
            "405 Method Not Allowed",
            "Allow: POST, OPTIONS\r\n",
            "the method is not allowed; use one that Allow lists\n",
        ),
        (
            "POST /hub",
            "405 Method Not Allowed",
            "Allow: GET, HEAD, OPTIONS\r\n",
            "the method is not allowed; use one that Allow lists\n",
        ),
    ] {
        demo.check(request, status, header, body);
    }
}

#[test]
fn a_message_is_delivered_or_refused() {
    let demo = Server::start(DEMO, &[]);
    let message = |to: &str| json!({"to": to, "from": "bob", "text": "hey"}).to_string();
    let long = json!({"to": "ann", "from": "bob", "text": "a".repeat(5000)}).to_string();
    let json = "Content-Type: application/json\r\n";
    let foreign = &format!("{json}Origin: https://example.org\r\n");
    for (headers, body, status) in [
        (json, &message("ann"), "204 No Content"),
        (json, &message(""), "400 Bad Request"),
        (json, &message("ann/bob"), "400 Bad Request"),
        (json, &"{}".to_owned(), "400 Bad Request"),
        (json, &long, "413 Content Too Large"),
        (
            "Content-Type: text/plain\r\n",
            &message("ann"),
            "415 Unsupported Media Type",
        ),
        (foreign, &message("ann"), "403 Forbidden"),
    ] {
        let head = post(&demo, headers, body);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{body}: {head}"
        );
    }
}

#[test]
fn topics_are_switched_on_the_stream_of_a_token() {
    let demo = Server::start(DEMO, &["--every", "0.05"]);
    let token = "0123456789abcdef0123456789abcdef";
    let path = format!("/hub/events?topics=feed&visitor=ann&token={token}");
    let switch = |path: &str, body: &Value| {
        let json = "Content-Type: application/json\r\n";
        let head = post_to(&demo, path, json, &body.to_string());
        head.split("\r\n").next().unwrap().to_owned()
    };
    let add = json!({"add": ["inbox"]});
    assert_eq!(switch(&path, &add), "HTTP/1.1 404 Not Found");
    let mut stream = events(demo.get(&path, ""));
    let opening = stream.next().unwrap();
    assert_eq!(
        (opening.event(), opening.data()),
        ("topics", "{\"topics\":[\"feed\"]}")
    );
    say(&demo, "ann", "before");
    for (path, body, expected) in [
        (&*path, add.clone(), "204 No Content"),
        (&path, add.clone(), "204 No Content"),
        (&path, json!({"remove": ["feed"]}), "204 No Content"),
        (&path, json!({"add": ["news"]}), "400 Bad Request"),
        (&path, json!({"replace": ["feed"]}), "400 Bad Request"),
        (&path.replace("=ann", "=bob"), add.clone(), "404 Not Found"),
        (&path.replace(token, "0"), add.clone(), "400 Bad Request"),
        ("/hub/events?visitor=ann", add, "400 Bad Request"),
    ] {
        assert_eq!(
            switch(path, &body),
            format!("HTTP/1.1 {expected}"),
            "{path} {body}"
        );
    }
    say(&demo, "ann", "after");
    let mut received = Vec::new();
    while received
        .last()
        .is_none_or(|last: &String| !last.contains("after"))
    {
        let event = stream.next().unwrap();
        match event.event() {
            "message" | "heartbeat" => {}
            "topics" => received.push(event.data().to_owned()),
            other => received.push(format!("{other} {}", event.data())),
        }
    }
    assert_eq!(
        received,
        [
            "{\"topics\":[\"feed\",\"inbox/ann\"],\"from\":{\"inbox/ann\":null}}",
            "mail {\"to\":\"ann\",\"from\":\"test\",\"text\":\"before\"}",
            "{\"topics\":[\"feed\",\"inbox/ann\"]}",
            "{\"topics\":[\"inbox/ann\"]}",
            "mail {\"to\":\"ann\",\"from\":\"test\",\"text\":\"after\"}",
        ]
    );
}

#[test]
fn one_stream_has_all_topics_in_the_order_of_their_ids() {
    let demo = Server::start(DEMO, &["--every", "0.05"]);
    let stream = events(demo.get(ALL, ""));
    say(&demo, "bob", "for bob");
    say(&demo, "ann", "for ann");
    let (mut ids, mut types, mut mails) = (Vec::new(), BTreeSet::new(), Vec::new());
    for event in stream {
        ids.push(parse_id(event.last_event_id()));
        types.insert(event.event().to_owned());
        if event.event() == "mail" {
            let data: Value = serde_json::from_str(event.data()).unwrap();
            assert_eq!(data["from"], "test");
            mails.push(data["text"].as_str().unwrap().to_owned());
        }
        if types.len() == 3 && ids.len() > 50 {
            break;
        }
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert_eq!(Vec::from_iter(types), ["mail", "message", "value"]);
    assert_eq!(mails, ["for ann"]);

    // Fewer topics, and only what is new.
    let (millis, sequence) = ids[10];
    let header = format!("Last-Event-ID: {millis}-{sequence}\r\n");
    let stream = events(demo.get("/hub/events?topics=feed,inbox&visitor=ann", &header));
    for event in stream.take(20) {
        assert_ne!(event.event(), "value");
        assert!(parse_id(event.last_event_id()) > ids[10]);
    }
}

#[test]
fn after_a_restart_each_topic_has_a_gap() {
    let demo = Server::start(DEMO, &[]);
    let addr = demo.addr.to_string();
    let seen = events(demo.get(ALL, "")).next().unwrap();
    drop(demo);

    let demo = Server::start_at(&addr, DEMO, &[]);
    let header = format!("Last-Event-ID: {}\r\n", seen.last_event_id());
    let gaps = events(demo.get(ALL, &header)).take(3).map(|gap| {
        assert_eq!((gap.event(), gap.last_event_id()), ("gap", ""));
        let data: Value = serde_json::from_str(gap.data()).unwrap();
        assert_eq!(data["asked"], seen.last_event_id());
        data["topic"].as_str().unwrap().to_owned()
    });
    let topics = BTreeSet::from_iter(gaps);
    assert_eq!(Vec::from_iter(topics), ["feed", "inbox/ann", "values"]);
}

#[test]
fn with_a_journal_a_new_client_gets_the_newest_values_of_before_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    let args = ["--every", "0.05", "--journal", dir.path().to_str().unwrap()];
    let demo = Server::start(DEMO, &args);
    let addr = demo.addr.to_string();
    // The 17th value is of the second round of the rivers.
    let before = Vec::from_iter(events(demo.get(VALUES, "")).take(17));
    let last = parse_id(before[16].last_event_id());
    drop(demo);

    let demo = Server::start_at(&addr, DEMO, &args);
    // The rounds of the rivers begin anew, so two of them have every river.
    let restored = Vec::from_iter(events(demo.get(VALUES, "")).take(24));
    assert_eq!(table(&restored).len(), 12);
    let is_known = |event: &&MessageEvent<'static>| parse_id(event.last_event_id()) <= last;
    let known = Vec::from_iter(restored.iter().filter(is_known).cloned());
    assert!(!known.is_empty(), "{restored:?}");
    let newest = table(&before);
    for (river, level) in table(&known) {
        assert_eq!(newest[&river], level, "{river}");
    }
}

#[test]
fn the_rivers_are_measured_while_the_values_have_clients() {
    let mut demo = Server::start(DEMO, &[]);
    for _ in 0..2 {
        // A client of another topic does not count.
        let feed = events(demo.get("/hub/events?topics=feed", "")).next();
        assert_eq!(feed.unwrap().event(), "message");
        let mut stream = events(demo.get(VALUES, ""));
        assert_eq!(stream.next().unwrap().event(), "value");
        assert_eq!(demo.line(), "the values have a client: measuring begins\n");
        drop(stream);
        assert_eq!(demo.line(), "the values have no client: measuring ends\n");
    }
}

const VALUES: &str = "/hub/events?topics=values";

/// Sends a message, and returns the head of the response.
fn post(demo: &Server, headers: &str, body: &str) -> String {
    post_to(demo, "/hub/inbox", headers, body)
}

fn post_to(demo: &Server, path: &str, headers: &str, body: &str) -> String {
    let conn = demo.send(&format!(
        "POST {path} HTTP/1.1\r\nHost: demo\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    conn.shutdown(Shutdown::Write).unwrap();
    response_to_end(conn).0
}

fn say(demo: &Server, to: &str, text: &str) {
    let body = json!({"to": to, "from": "test", "text": text}).to_string();
    let head = post(demo, "Content-Type: application/json\r\n", &body);
    assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"), "{head}");
}

/// Returns the newest level of each river.
fn table(values: &[MessageEvent<'static>]) -> BTreeMap<String, String> {
    let entries = values.iter().map(|event| {
        let data: Value = serde_json::from_str(event.data()).unwrap();
        let river = data["river"].as_str().unwrap().to_owned();
        (river, data["level"].to_string())
    });
    entries.collect()
}

/// Parses an ID made by the hub into its two numbers.
fn parse_id(id: &str) -> (u64, u64) {
    let (millis, sequence) = id.split_once('-').expect(id);
    (millis.parse().expect(id), sequence.parse().expect(id))
}
