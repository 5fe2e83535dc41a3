//! The program and a client whose connections break, with a server that is killed and restarted.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::{Value, json};
use sse_net::{BlockingClient, Connect, EventId, EventSource, Item};

#[test]
fn a_client_that_was_cut_receives_the_rest() {
    let server = Server::start("127.0.0.1:0", None);
    let session = Session::begin(&server);
    let mut call = session
        .call(7, "count", &json!({ "to": 20 }))
        .connect_blocking();
    let (seen, last_event_id) = numbers_up_to(&mut call, 3);
    drop(call);

    let mut rest = session.resume(7, last_event_id).connect_blocking();
    let (numbers, answer) = finish(&mut rest);
    assert_eq!([seen, numbers].concat(), Vec::from_iter(1..=20));
    assert_eq!(
        answer["result"]["content"][0]["text"],
        "done after 20 steps"
    );
}

#[test]
fn a_call_whose_response_the_server_ends_is_continued() {
    let server = Server::start("127.0.0.1:0", None);
    let session = Session::begin(&server);
    let call = session.call(7, "test_reconnection", &json!({}));
    let mut call = call.resumable().connect_blocking();
    let mut responses = Vec::new();
    let mut answer = Value::Null;
    while let Some(item) = call.next_item().unwrap() {
        match item {
            Item::Opened(opened) => responses.push(opened.head.status()),
            Item::Event(event) if !event.data().is_empty() => {
                answer = serde_json::from_str(event.data()).unwrap();
            }
            _ => {}
        }
    }
    assert_eq!(responses, [200, 200]);
    let text = "the result of a call whose response was ended";
    assert_eq!(answer["result"]["content"][0]["text"], text);
}

#[test]
fn streams_of_one_session_do_not_mix() {
    let server = Server::start("127.0.0.1:0", None);
    let session = Session::begin(&server);
    thread::scope(|scope| {
        for id in 1..=8 {
            let session = &session;
            scope.spawn(move || {
                for _ in 0..3 {
                    let call = session.call(id, "count", &json!({ "to": id }));
                    let (numbers, answer) = finish(&mut call.connect_blocking());
                    assert_eq!(numbers, Vec::from_iter(1..=id));
                    assert_eq!(answer["id"], id);
                }
            });
        }
    });
}

#[test]
fn a_restart_in_the_middle_of_a_stream_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start("127.0.0.1:0", Some(dir.path()));
    let session = Session::begin(&server);
    let call = session.call(7, "count", &json!({ "to": 1000 })).resumable();
    let mut call = call.connect_blocking();
    let (first, after_first) = numbers_up_to(&mut call, 1);
    let (seen, _) = numbers_up_to(&mut call, 10);

    server.kill();
    let server = Server::start(&server.address, Some(dir.path()));
    let (numbers, answer) = finish(&mut call);
    let all = [first, seen, numbers].concat();
    assert_eq!(
        all,
        Vec::from_iter(1..=all.len() as u64),
        "each once, in order"
    );
    let message = "the server was restarted during the request; send it again";
    let error = json!({ "code": -32603, "message": message });
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": 7, "error": error }));

    // A client that had received less receives as much.
    let mut late = session.resume(7, after_first).connect_blocking();
    let (numbers, again) = finish(&mut late);
    assert_eq!((&numbers[..], again), (&all[1..], answer));

    // The session goes on.
    let mut call = session
        .call(8, "count", &json!({ "to": 2 }))
        .connect_blocking();
    assert_eq!(finish(&mut call).0, [1, 2]);
    drop(server);
}

#[test]
#[cfg(unix)]
fn a_signal_ends_the_program_and_its_streams() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start("127.0.0.1:0", None);
        let session = Session::begin(&server);
        let mut call = session
            .call(7, "count", &json!({ "to": 1000 }))
            .connect_blocking();
        numbers_up_to(&mut call, 1);
        let pid = server.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
        let status = server.child.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}: {status}");
    }
}

/// The program, which is killed when it is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(listen: &str, journal: Option<&Path>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mcp"));
        command.args(["--listen", listen]);
        if let Some(dir) = journal {
            command.arg("--journal").arg(dir);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.split('/').nth(2).unwrap().to_owned();
        Self { child, address }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session of MCP.
struct Session {
    url: String,
    id: String,
}

impl Session {
    fn begin(server: &Server) -> Self {
        let url = format!("http://{}/mcp", server.address);
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" },
        });
        let hello = request(1, "initialize", &hello);
        let mut client = post(&url, &hello).connect_blocking();
        let Some(Item::Opened(opened)) = client.next_item().unwrap() else {
            panic!("the response opens the stream");
        };
        let id = opened.head.header("mcp-session-id").unwrap().to_owned();
        while client.next().unwrap().is_some() {}
        let session = Self { url, id };
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        // The response, 202, has no stream.
        let accepted = session.with_id(post(&session.url, &ready));
        accepted.connect_blocking().next().unwrap_err();
        session
    }

    fn call(&self, id: u64, tool: &str, arguments: &Value) -> EventSource {
        let params =
            json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": id } });
        let call = post(&self.url, &request(id, "tools/call", &params));
        self.with_id(call)
            .ends_when(move |event| is_answer(event.data(), id))
    }

    /// Follows the stream of a request after an event.
    fn resume(&self, id: u64, last_event_id: EventId<'static>) -> EventSource {
        let source = EventSource::get(&*self.url)
            .unwrap()
            .last_event_id(last_event_id);
        self.with_id(source)
            .ends_when(move |event| is_answer(event.data(), id))
    }

    fn with_id(&self, source: EventSource) -> EventSource {
        source.header("mcp-session-id", &self.id).unwrap()
    }
}

fn post(url: &str, message: &Value) -> EventSource {
    let source = EventSource::post(url).unwrap().json(message).unwrap();
    source
        .header("accept", "application/json, text/event-stream")
        .unwrap()
}

fn request(id: u64, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn is_answer(data: &str, id: u64) -> bool {
    let message: Value = serde_json::from_str(data).unwrap_or_default();
    message["id"] == id && message.get("method").is_none()
}

/// Reads progress notifications up to a number, and returns them with the last event ID.
fn numbers_up_to(client: &mut BlockingClient, last: u64) -> (Vec<u64>, EventId<'static>) {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let event = client.next().unwrap().unwrap();
        numbers.extend(number(event.data()));
    }
    let id = EventId::new(client.last_event_id().to_owned()).unwrap();
    (numbers, id)
}

/// Reads the remaining progress notifications, and the answer.
fn finish(client: &mut BlockingClient) -> (Vec<u64>, Value) {
    let (mut numbers, mut answer) = (Vec::new(), Value::Null);
    while let Some(event) = client.next().unwrap() {
        match number(event.data()) {
            Some(number) => numbers.push(number),
            None => answer = serde_json::from_str(event.data()).unwrap_or_default(),
        }
    }
    (numbers, answer)
}

/// Returns the number of a progress notification.
fn number(data: &str) -> Option<u64> {
    let message: Value = serde_json::from_str(data).ok()?;
    let progress = message["params"]["progress"].as_f64()?;
    Some(progress as u64)
}
