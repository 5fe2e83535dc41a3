//! Clients of other people's servers: Node's `http`, Python's `http.server`, and nginx.
//!
//! Run with `--ignored`, because they have to be installed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/http_proxy.rs"]
mod http_proxy;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sse_core::Retention;
use sse_net::{
    Client, Config, Connect, Event, EventSource, Item, Routes, Server, Start, Tcp, Topic,
};
use tokio::time::timeout;

use http_proxy::HttpProxy;

/// Three events per connection, each in two writes, after the one that the client knows. The
/// fourth connection gets 204.
const NODE: &str = r#"
let connections = 0;
const server = require('http').createServer((request, response) => {
    if (++connections > 3) { response.writeHead(204).end(); return; }
    response.writeHead(200, {'content-type': 'text/event-stream'});
    let id = Number(request.headers['last-event-id'] ?? 0), end = id + 3;
    const timer = setInterval(() => {
        if (id++ === end) { clearInterval(timer); response.write('id: torn'); response.socket.destroy(); return; }
        response.write(`id: ${id}\nda`); response.write(`ta: ${id}\n\n`);
    }, 5);
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
"#;

/// HTTP/1.0: the body ends with the connection.
const PYTHON: &str = r#"
import http.server
connections = 0
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global connections
        connections += 1
        if connections > 3:
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header('Content-Type', 'text/event-stream')
        self.end_headers()
        start = int(self.headers.get('Last-Event-ID', 0))
        for id in range(start + 1, start + 4):
            self.wfile.write(f'id: {id}\r\ndata: {id}\r\n\r\n'.encode())
            self.wfile.flush()
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program that prints its port.
fn start(program: &str, args: &[&str]) -> (Process, u16) {
    let mut child = Command::new(program)
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    (Process(child), line.trim().parse().unwrap())
}

fn quick(source: EventSource) -> EventSource {
    let millis = Duration::from_millis;
    source
        .reconnection_time(millis(1))
        .min_delay(millis(1))
        .max_delay(millis(20))
}

/// Returns the data of all events until the end.
async fn all(mut client: Client) -> Vec<String> {
    let following = async {
        let mut got = Vec::new();
        while let Some(event) = client.next().await.unwrap() {
            got.push(event.data().to_owned());
        }
        got
    };
    timeout(Duration::from_secs(30), following).await.unwrap()
}

#[tokio::test]
#[ignore = "needs node"]
async fn node() {
    let (_process, port) = start("node", &["-e", NODE]);
    let source = EventSource::get(format!("http://127.0.0.1:{port}/")).unwrap();
    let expected = Vec::from_iter((1..=9).map(|id| id.to_string()));
    assert_eq!(all(quick(source).connect()).await, expected);
}

#[tokio::test]
#[ignore = "needs python3"]
async fn python() {
    let (_process, port) = start("python3", &["-c", PYTHON]);
    let source = EventSource::get(format!("http://127.0.0.1:{port}/")).unwrap();
    let expected = Vec::from_iter((1..=9).map(|id| id.to_string()));
    assert_eq!(all(quick(source).connect()).await, expected);
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn nginx_in_front_of_this_library() {
    let dir = tempfile::tempdir().unwrap();
    for (directives, is_prompt) in [
        ("proxy_http_version 1.1; proxy_buffering off;", true),
        // The response's `X-Accel-Buffering: no` is obeyed by default.
        ("proxy_http_version 1.1;", true),
        (
            "proxy_http_version 1.1; proxy_ignore_headers X-Accel-Buffering;",
            false,
        ),
        ("proxy_http_version 1.0;", true),
    ] {
        let topic = Topic::new(Retention::events(1000));
        let tcp = Tcp::default().bind("127.0.0.1:0").unwrap();
        let upstream = tcp.local_addr().unwrap().port();
        let routes = Routes::new().topic_from("/", &topic, Start::Earliest);
        let config = Config::default()
            .shards(1)
            .max_age(Duration::from_millis(500));
        let _server = Server::new(config).listen(tcp).serve(routes);
        let location =
            format!("location / {{ proxy_pass http://127.0.0.1:{upstream}; {directives} }}");
        let nginx = HttpProxy::nginx(dir.path(), "", &location);
        let port = nginx.port;

        let source = EventSource::get(format!("http://127.0.0.1:{port}/")).unwrap();
        let mut client = quick(source).connect();
        // Each stream ends at the maximum age, and is resumed through the proxy.
        let mut received = 0_u64;
        let mut opened = 0;
        let following = async {
            while opened < 4 || received < 3 {
                match client.next_item().await.unwrap().unwrap() {
                    Item::Opened(_) => {
                        opened += 1;
                        topic
                            .publish(&Event::new().event(TICK).data(opened.to_string()))
                            .unwrap();
                    }
                    Item::Event(event) if event.event() == "tick" => {
                        received += 1;
                        assert_eq!(event.data(), received.to_string());
                    }
                    _ => {}
                }
            }
        };
        timeout(Duration::from_secs(30), following).await.unwrap();
        if is_prompt {
            let sent = Instant::now();
            topic
                .publish(&Event::new().event(TICK).data("now"))
                .unwrap();
            let next = async { while client.next().await.unwrap().unwrap().data() != "now" {} };
            timeout(Duration::from_secs(10), next).await.unwrap();
            assert!(sent.elapsed() < Duration::from_secs(5), "{directives}");
        }
        topic.finish(None).unwrap();
        let rest = async { while client.next().await.unwrap().is_some() {} };
        timeout(Duration::from_secs(30), rest)
            .await
            .expect("204 ends it");
    }
}

const TICK: sse_core::EventType<'static> = sse_core::EventType::from_static("tick");
