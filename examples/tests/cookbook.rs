//! Each recipe of `cookbook`, run as its first lines say, over loopback.

#![allow(
    clippy::unwrap_used,
    reason = "a test that can't go on has failed, in a helper too"
)]

mod common;
#[path = "../../sse-net/tests/common/http_proxy.rs"]
mod http_proxy;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;
use std::{env, fs};

use common::{Server, TIMEOUT, events, response, response_to_end};
use http_proxy::HttpProxy;
use serde_json::{Value, json};
use sse_core::MessageEvent;
use sse_net::{BlockingClient, Connect, EventSource};

/// The program, or another one that was built from copies of the recipes.
fn cookbook() -> String {
    let program = env::var("SSE_COOKBOOK");
    program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_cookbook").to_owned())
}

/// The recipes that have a test here; `testing` has its own in its module.
const TESTED: &[&str] = &[
    "state",
    "plain_axum",
    "cors",
    "model",
    "model_client",
    "follower",
    "inbox",
    "page",
    "sign_on",
    "table",
    "metrics",
    "ci_log",
    "testing",
    "from_axum",
    "from_broadcast",
];

#[test]
fn every_recipe_is_listed_and_tested() {
    let output = run(&[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, list) = text.split_once("The recipes:\n\n").unwrap();
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    assert_eq!(Vec::from_iter(names), TESTED);
    for name in TESTED {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/cookbook");
        assert!(Path::new(&format!("{folder}/{name}.rs")).exists(), "{name}");
    }
}

#[test]
fn an_unknown_recipe_and_a_missing_operand_are_reported() {
    for (args, sentence) in [
        (&["soup"][..], "there is no recipe \"soup\"; see --help\n"),
        (&["ci_log"], "ci_log takes the path of a log; see --help\n"),
        (
            &["state", "soup"],
            "state does not take \"soup\"; see --help\n",
        ),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), sentence);
    }
}

#[test]
fn a_method_that_a_path_does_not_take_gets_those_that_it_takes() {
    let session = "Cookie: session=a-session-of-this-recipe\r\n";
    for (recipe, header, requests) in [
        (
            "cors",
            session,
            &[("GET /say", "POST"), ("POST /sse", "GET, HEAD")][..],
        ),
        (
            "inbox",
            "",
            &[
                ("GET /login", "POST"),
                ("GET /inbox/ann", "POST"),
                ("POST /inbox", "GET, HEAD"),
            ],
        ),
        ("page", "", &[("POST /", "GET, HEAD")]),
        ("table", "", &[("PUT /rows", "GET, HEAD")]),
    ] {
        let server = start(&[recipe]);
        for (line, methods) in requests {
            let (head, _) = request(&server, line, header, "");
            assert!(head.starts_with("HTTP/1.1 405 "), "{line}: {head}");
            let allow = format!("\r\nAllow: {methods}, OPTIONS\r\n");
            assert!(head.contains(&allow), "{line}: {head}");
        }
        let (head, _) = request(&server, "GET /nothing", header, "");
        assert!(head.starts_with("HTTP/1.1 404 "), "{recipe}: {head}");
    }
}

#[test]
fn state() {
    let server = start(&["state"]);
    let mut blue = events(server.get("/rooms/blue", ""));
    let mut red = events(server.get("/rooms/red", ""));
    for (room, text) in [("blue", "hey"), ("red", "there")] {
        let (head, _) = post(&server, &format!("/rooms/{room}"), "", text);
        assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    }
    assert_eq!(blue.next().unwrap().data(), "hey, message 1");
    assert_eq!(red.next().unwrap().data(), "there, message 2");
}

#[test]
fn plain_axum() {
    let mut server = start(&["plain_axum"]);
    let mut client = follow(&server, "/sse");
    let first = next(&mut client);
    assert!(first.data().starts_with("tick "), "{}", first.data());
    let began = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
    assert!(began.elapsed() < TIMEOUT, "the shutdown hangs");
}

#[test]
fn cors() {
    let server = start(&["cors"]);
    let origin = "Origin: https://app.example.org\r\n";
    let preflight = format!(
        "{origin}Access-Control-Request-Method: POST\r\n\
         Access-Control-Request-Headers: content-type\r\n"
    );
    let (head, _) = request(&server, "OPTIONS /say", &preflight, "");
    for line in [
        "HTTP/1.1 204 ",
        "\r\nAccess-Control-Allow-Origin: https://app.example.org\r\n",
        "\r\nAccess-Control-Allow-Credentials: true\r\n",
        "\r\nAccess-Control-Allow-Headers: content-type\r\n",
    ] {
        assert!(head.contains(line), "{head}");
    }
    assert!(head.contains("POST"), "{head}");

    // The page sees the status, and not a network error.
    let (head, _) = request(&server, "GET /sse", origin, "");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(
        head.contains("\r\nAccess-Control-Allow-Origin: https://app"),
        "{head}"
    );

    let cookie = format!("{origin}Cookie: session=a-session-of-this-recipe\r\n");
    let mut feed = events(server.get("/sse", &cookie));
    let is_json = format!("{cookie}Content-Type: application/json\r\n");
    let (head, _) = post(&server, "/say", &is_json, r#"{"text":"hey"}"#);
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert_eq!(feed.next().unwrap().data(), "hey");
    let foreign = "Origin: https://example.net\r\nContent-Type: application/json\r\n";
    let (head, _) = post(&server, "/say", foreign, r#"{"text":"hey"}"#);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
}

#[test]
fn model() {
    let server = start(&["model"]);
    let ask = |prompt: &str| {
        let body = json!({ "prompt": prompt }).to_string();
        let is_json = "Accept: application/json\r\nContent-Type: application/json\r\n";
        post(&server, "/v1/chat/completions", is_json, &body)
    };
    let token = |text: &str| {
        format!(r#"data: {{"choices":[{{"delta":{{"content":"{text}"}},"index":0}}]}}"#) + "\n\n"
    };
    let whole = token("hey ") + &token("there") + "data: [DONE]\n\n";
    assert_eq!(ask("hey there").1, whole);
    let (head, body) = ask("please fail");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (_, error) = body.split_once("data: {\"error\":").expect(&body);
    assert!(body.starts_with(&token("please ")), "{body}");
    assert!(
        error.contains("overloaded") && !body.contains("[DONE]"),
        "{body}"
    );
    let (head, body) = ask("");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(body.contains("\"message\":\"the prompt is empty"), "{body}");
}

#[test]
fn model_client() {
    let server = start(&["model"]);
    let output = run(&["model_client", &url(&server, "/v1/chat/completions")]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let (texts, error) = stdout.split_once("an error: ").expect(&stdout);
    assert_eq!(texts, "ours: hey there\nreqwest: hey there\n");
    assert!(
        error.starts_with("the server reported an error after 1 event: "),
        "{error}"
    );
}

#[test]
fn follower() {
    let demo = Server::start(
        env!("CARGO_BIN_EXE_demo"),
        &["--count", "3", "--every", "0.05"],
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("last-event-id");
    let args = ["follower", &url(&demo, "/sse"), file.to_str().unwrap()];
    fs::write(&file, "").unwrap();
    let mut before = fs::File::open(&file).unwrap();
    let stdout = String::from_utf8(run(&args).stdout).unwrap();
    let mut text = String::new();
    before.read_to_string(&mut text).unwrap();
    assert_eq!(text, "", "the file is replaced, and never half written");
    let lines: Vec<_> = stdout.lines().collect();
    let [.., close, end] = &lines[..] else {
        panic!("{stdout}");
    };
    assert_eq!((*close, *end), ("close: ", "the server has ended the feed"));
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("message: {"))
            .count(),
        3
    );
    // A second run has seen all of it.
    let stdout = String::from_utf8(run(&args).stdout).unwrap();
    assert_eq!(stdout, "the server has ended the feed\n");
    // A file that cannot be read is not taken for the first start.
    let folder = dir.path().to_str().unwrap();
    let output = run(&["follower", &url(&demo, "/sse"), folder]);
    assert_eq!(output.status.code(), Some(1));
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert!(
        sentence.starts_with(&format!("{folder} can't be read: ")),
        "{sentence}"
    );
}

#[test]
fn inbox() {
    let server = start(&["inbox"]);
    let (head, _) = request(&server, "GET /inbox", "", "");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    let (head, _) = post(&server, "/login", "", "user=ann");
    let (_, cookie) = head.split_once("\r\nSet-Cookie: ").expect(&head);
    let (cookie, _) = cookie.split_once(';').unwrap();
    let mut inbox = events(server.get("/inbox", &format!("Cookie: {cookie}\r\n")));
    for (to, text) in [("bob", "not for ann"), ("ann", "hey")] {
        let (head, _) = post(&server, &format!("/inbox/{to}"), "", text);
        assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    }
    assert_eq!(inbox.next().unwrap().data(), "hey");
}

#[test]
fn page() {
    let server = start(&["page"]);
    let (_, page) = request(&server, "GET /", "", "");
    assert!(page.contains("from \"/shared-events.js\""), "{page}");
    for path in ["/", "/shared-events.js"] {
        let (head, body) = request(&server, &format!("HEAD {path}"), "", "");
        assert!(
            head.starts_with("HTTP/1.1 200 ") && body.is_empty(),
            "{head}"
        );
    }
    let (_, script) = request(&server, "GET /shared-events.js", "", "");
    assert!(script.contains("export class SharedEvents"), "{script}");

    let target = "/events?token=0123456789abcdef0123456789&topics=news";
    let mut stream = events(server.get(target, ""));
    assert!(stream.any(|event| event.data().starts_with("tick ")));
    let is_json = "Content-Type: application/json\r\n";
    let switch = r#"{"add":["weather"],"remove":["news"]}"#;
    let (head, _) = post(&server, target, is_json, switch);
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let is_added = |event: &MessageEvent<'_>| event.data().contains("weather");
    assert!(stream.any(|event| event.event() == "topics" && is_added(&event)));
    let (head, _) = post(
        &server,
        target,
        is_json,
        r#"{"add":["inbox/ann"],"remove":[]}"#,
    );
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[test]
fn sign_on() {
    let server = start(&["sign_on"]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let short = server.get("/sse", &bearer("three-seconds"));
    let long = server.get("/sse", &bearer("an-hour"));
    let (head, _) = request(&server, "GET /sse", &bearer("forged"), "");
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");

    assert!(events(short).count() > 0); // it ends by itself, a quarter of a second early at most
    let refused = || request(&server, "GET /sse", &bearer("three-seconds"), "").0;
    let began = Instant::now();
    while !refused().starts_with("HTTP/1.1 401 ") {
        assert!(
            began.elapsed() < TIMEOUT,
            "an expired session is not refused"
        );
    }
    let (head, long) = response(long);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let (head, _) = request(&server, "DELETE /sessions", "", "");
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert!(sse_core::Events::new(long).count() > 0);
}

#[test]
fn table() {
    let server = start(&["table"]);
    for (key, stock) in [("apples", 1), ("pears", 2), ("apples", 3)] {
        let body = json!({ "stock": stock }).to_string();
        let (head, _) = request(&server, &format!("PUT /rows/{key}"), "", &body);
        assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    }
    let mut rows = events(server.get("/rows", ""));
    let mut next = || {
        let event = rows.next().unwrap();
        let data = serde_json::from_str::<Value>(event.data()).unwrap_or(event.data().into());
        (event.event().to_owned(), data)
    };
    let row = |key: &str, stock: u32| {
        let value = json!({ "stock": stock });
        ("row".to_owned(), json!({ "key": key, "value": value }))
    };
    assert_eq!([next(), next()], [row("pears", 2), row("apples", 3)]);
    assert_eq!(next(), ("ready".to_owned(), "".into()));
    let (head, _) = request(&server, "DELETE /rows/pears", "", "");
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert_eq!(next(), ("remove".to_owned(), "pears".into()));
    let (head, _) = request(&server, "GET /rows/pears", "", "");
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let (_, body) = request(&server, "GET /rows/apples", "", "");
    assert_eq!(body, r#"{"key":"apples","value":{"stock":3}}"#);
    let (head, body) = request(&server, "HEAD /rows/apples", "", "");
    assert!(
        head.starts_with("HTTP/1.1 200 ") && body.is_empty(),
        "{head}"
    );
}

#[test]
fn metrics() {
    let server = start(&["metrics"]);
    let mut feed = events(server.get("/sse", ""));
    feed.next().unwrap();
    let (head, text) = request(&server, "GET /metrics", "", "");
    assert!(
        head.contains("\r\nContent-Type: text/plain; version=0.0.4"),
        "{head}"
    );
    assert!(text.contains("\nsse_connections 2\n"), "{text}");
    let (head, _) = request(&server, "GET /healthz", "", "");
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let (_, ready) = request(&server, "GET /readyz", "", "");
    assert_eq!(ready, "the server is ready\n");
}

#[test]
fn ci_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut log = fs::File::create(path("job")).unwrap();
    log.write_all(b"step 1\nste").unwrap();
    let server = start(&["ci_log", path("job").to_str().unwrap()]);
    let mut lines = events(server.get("/log", ""));
    let first = lines.next().unwrap();
    assert_eq!((first.data(), first.last_event_id()), ("step 1", "7"));
    log.write_all(b"p 2\nstep 3").unwrap();
    assert_eq!(lines.next().unwrap().data(), "step 2");
    fs::write(path("job.exit"), "1\n").unwrap();
    assert_eq!(lines.next().unwrap().data(), "step 3");
    let exit = lines.next().unwrap();
    assert_eq!((exit.event(), exit.data()), ("exit", "1"));
    assert!(lines.next().is_none());

    let mut resumed = events(server.get("/log", "Last-Event-ID: 7\r\n"));
    assert_eq!(resumed.next().unwrap().data(), "step 2");
    let (head, _) = request(&server, "GET /log", "Last-Event-ID: done\r\n", "");
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
}

#[test]
fn testing() {
    let server = start(&["testing"]);
    let first = events(server.get("/ticks", "")).next().unwrap();
    assert!(first.data().starts_with("tick "), "{}", first.data());
}

#[test]
fn from_axum() {
    let mut server = start(&["from_axum"]);
    for path in ["/before", "/events", "/topic"] {
        let mut client = follow(&server, path);
        let tick = next(&mut client);
        assert_eq!(tick.event(), "tick", "{path}");
        tick.data().parse::<u64>().unwrap();
    }
    server.signal("TERM");
    assert_eq!(server.wait().0, Some(0));
}

#[test]
fn from_broadcast() {
    let mut server = start(&["from_broadcast"]);
    let tick = events(server.get("/sse", "")).next().unwrap();
    assert!(tick.data().starts_with("tick "), "{}", tick.data());
    assert!(server.line().starts_with("tick "));
}

#[test]
#[ignore = "needs nginx"]
fn nginx_passes_on_events_at_once() {
    let upstream = start(&["from_broadcast"]);
    let block = include_str!("../cookbook/nginx.conf");
    let block = block.replace("127.0.0.1:31337", &upstream.addr.to_string());
    let dir = tempfile::tempdir().unwrap();
    let nginx = HttpProxy::nginx(dir.path(), "", &block);
    let conn = TcpStream::connect(("127.0.0.1", nginx.port)).unwrap();
    assert_events_at_once(conn);
}

/// Also beside `encode`, which the comment in the file speaks of.
#[test]
#[ignore = "needs caddy"]
fn caddy_passes_on_events_at_once() {
    let upstream = start(&["from_broadcast"]);
    let dir = tempfile::tempdir().unwrap();
    let caddy = HttpProxy::start(|port| {
        let site = format!("http://localhost:{port} {{\nbind 127.0.0.1\nencode gzip");
        let block = include_str!("../cookbook/Caddyfile")
            .replace("127.0.0.1:31337", &upstream.addr.to_string())
            .replace("example.org {", &site);
        let file = dir.path().join("Caddyfile");
        fs::write(&file, format!("{{\nadmin off\n}}\n{block}")).unwrap();
        let mut caddy = Command::new("caddy");
        caddy.args(["run", "--adapter", "caddyfile", "--config"]);
        caddy.arg(file).env("HOME", dir.path());
        caddy
    });
    let conn = TcpStream::connect(("127.0.0.1", caddy.port)).unwrap();
    assert_events_at_once(conn);
}

/// Reads events from a proxy, and asserts that it does not hold them back.
fn assert_events_at_once(mut conn: TcpStream) {
    conn.set_read_timeout(Some(TIMEOUT)).unwrap();
    conn.write_all(b"GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
        .unwrap();
    // Events of five a second would fill a buffer of 4 KiB in half a minute.
    let mut bytes = [0; 4096];
    let mut text = String::new();
    while text.matches("data: tick ").count() < 3 {
        let count = conn.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "{text}");
        assert!(count < 1024, "events are held back: {text}");
        text += &String::from_utf8_lossy(&bytes[..count]);
    }
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
}

fn start(recipe: &[&str]) -> Server {
    Server::start(&cookbook(), recipe)
}

fn run(args: &[&str]) -> Output {
    Command::new(cookbook()).args(args).output().unwrap()
}

fn url(server: &Server, target: &str) -> String {
    format!("http://{}{target}", server.addr)
}

fn follow(server: &Server, target: &str) -> BlockingClient {
    EventSource::get(url(server, target))
        .unwrap()
        .connect_blocking()
}

fn next(client: &mut BlockingClient) -> MessageEvent<'static> {
    client.next().unwrap().unwrap().into_owned()
}

fn post(server: &Server, target: &str, headers: &str, body: &str) -> (String, String) {
    request(server, &format!("POST {target}"), headers, body)
}

/// Sends a request, and returns the head and the body of the response.
fn request(server: &Server, request: &str, headers: &str, body: &str) -> (String, String) {
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    response_to_end(server.send(&format!(
        "{request} HTTP/1.1\r\nHost: {}\r\n{headers}{length}\r\n{body}",
        server.addr
    )))
}
