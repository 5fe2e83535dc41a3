//! `chat`, tested over real connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::TcpStream;

use common::{Server, events, response_to_end};
use serde_json::Value;
use sse_net::{Connect, EventSource};

fn start() -> Server {
    Server::start(env!("CARGO_BIN_EXE_chat"), &[])
}

fn post(chat: &Server, content_type: &str, body: &str) -> TcpStream {
    chat.send(&format!(
        "POST /runs HTTP/1.1\r\nHost: chat\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// Starts a run, and returns its path.
fn ask(chat: &Server, question: &str) -> String {
    let body = serde_json::json!({ "question": question }).to_string();
    let (head, body) = response_to_end(post(chat, "application/json", &body));
    assert!(head.starts_with("HTTP/1.1 201 "), "{head}");
    let started: Value = serde_json::from_str(&body).unwrap();
    format!("/runs/{}", started["run"].as_str().unwrap())
}

fn delete(chat: &Server, path: &str) -> String {
    let conn = chat.send(&format!("DELETE {path} HTTP/1.1\r\nHost: chat\r\n\r\n"));
    response_to_end(conn).0
}

#[test]
fn each_request_gets_its_response() {
    let chat = start();
    let (head, page) = response_to_end(chat.get("/", ""));
    assert!(head.contains("\r\nContent-Type: text/html; charset=utf-8\r\n"));
    assert_eq!(page, include_str!("../chat.html"));
    let path = ask(&chat, "why?");
    let html = "\r\nContent-Type: text/html; charset=utf-8\r\n";
    chat.check("HEAD /", "200 OK", html, "");
    let stream = "\r\nContent-Type: text/event-stream\r\n";
    chat.check(&format!("HEAD {path}"), "200 OK", stream, "");
    for (conn, status) in [
        (chat.get("/nothing", ""), "404 Not Found"),
        (chat.get("/runs/nothing", ""), "404 Not Found"),
        (
            post(&chat, "text/plain", "{}"),
            "415 Unsupported Media Type",
        ),
        (post(&chat, "application/json", "{}"), "400 Bad Request"),
    ] {
        let (head, _) = response_to_end(conn);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}"
        );
    }
    assert!(delete(&chat, "/runs/nothing").starts_with("HTTP/1.1 404 "));
    for (request, methods) in [
        ("DELETE /", "GET, HEAD"),
        ("GET /runs", "POST"),
        ("POST /runs/nothing", "GET, HEAD, DELETE"),
        ("PUT /runs", "GET, HEAD, POST, DELETE"),
    ] {
        let conn = chat.send(&format!(
            "{request} HTTP/1.1\r\nHost: chat\r\nContent-Length: 0\r\n\r\n"
        ));
        let (head, _) = response_to_end(conn);
        assert!(head.starts_with("HTTP/1.1 405 "), "{request}: {head}");
        let allow = format!("\r\nAllow: {methods}, OPTIONS\r\n");
        assert!(head.contains(&allow), "{request}: {head}");
    }
}

#[test]
fn clients_share_an_answer_resume_and_stop_it() {
    let chat = start();
    let path = ask(&chat, "why?\n\"so\"");
    let mut first = events(chat.get(&path, ""));
    let question = first.next().unwrap();
    assert_eq!(
        (question.event(), question.data()),
        ("question", r#""why?\n\"so\"""#)
    );
    let seen: Vec<_> = first.by_ref().take(3).collect();
    assert_eq!(seen[0].data(), r#""That ""#);

    // A second client gets all, and one that comes back gets the rest.
    let second: Vec<_> = events(chat.get(&path, "")).take(4).collect();
    assert_eq!((&second[0], &second[1..]), (&question, &seen[..]));
    let id = seen[0].last_event_id();
    let mut back = events(chat.get(&path, &format!("Last-Event-ID: {id}\r\n")));
    assert_eq!(back.next().unwrap(), seen[1]);

    assert!(delete(&chat, &path).starts_with("HTTP/1.1 204 "));
    let (rest, rest_of_back) = (Vec::from_iter(first), Vec::from_iter(back));
    let last = rest.last().unwrap();
    assert_eq!((last.event(), last.data()), ("end", "stopped"));
    assert_eq!(rest_of_back.last(), Some(last));
    assert!(delete(&chat, &path).starts_with("HTTP/1.1 404 "));
    let id = last.last_event_id();
    let (head, _) = response_to_end(chat.get(&path, &format!("Last-Event-ID: {id}\r\n")));
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
}

#[test]
fn our_client_follows_an_answer_to_its_end() {
    let chat = start();
    let path = ask(&chat, "why?");
    let source = EventSource::get(format!("http://{}{path}", chat.addr)).unwrap();
    let mut client = source.connect_blocking();
    assert_eq!(client.next().unwrap().unwrap().event(), "question");
    assert_eq!(client.next().unwrap().unwrap().data(), r#""That ""#);
    assert!(delete(&chat, &path).starts_with("HTTP/1.1 204 "));
    let mut last = String::new();
    // It reconnects after the end, and 204 says that it has seen all.
    while let Some(event) = client.next().unwrap() {
        last = format!("{}: {}", event.event(), event.data());
    }
    assert_eq!(last, "end: stopped");
}
