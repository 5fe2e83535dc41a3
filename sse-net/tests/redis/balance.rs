//! curl behind nginx, which balances over two nodes.

use std::process::Command;
use std::time::Duration;

use sse_core::LogId;
use tempfile::TempDir;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::followers::{Record, check, finish};
use crate::http_proxy::HttpProxy;
use crate::node::Node;
use crate::process::Process;
use crate::server::Redis;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs redis-server, nginx and curl"]
async fn curl_misses_nothing_when_it_changes_the_node_at_each_reconnect() {
    let redis = Redis::start(&[]);
    let publisher = Node::connect(&redis.url()).await;
    let from = publisher.publish("first", "first").await;
    let nodes = [(); 2].map(|()| Process::start(&redis.url(), false));
    let dir = TempDir::new().unwrap();
    let [one, two] = nodes.each_ref().map(|node| node.port);
    let upstream = format!("upstream nodes {{ server 127.0.0.1:{one}; server 127.0.0.1:{two}; }}");
    let nginx = HttpProxy::nginx(
        dir.path(),
        &upstream,
        "location / { proxy_pass http://nodes; proxy_http_version 1.1; proxy_buffering off;
         proxy_set_header Connection ''; add_header Node $upstream_addr; }",
    );
    let url = format!("http://127.0.0.1:{}/a,b", nginx.port);
    let client = spawn_blocking(move || {
        let (mut records, mut seen, mut last) = (Vec::new(), Vec::new(), from.to_string());
        for _ in 0..12 {
            let response = curl(&url, &last);
            seen.push(node_of(&response));
            records.push(Record::Response);
            read(&response, &mut records, &mut last);
            if records.iter().filter(|record| is_end(record)).count() == 2 {
                break;
            }
        }
        (records, seen)
    });
    for number in 0..200 {
        let topic = ["a", "b"][number % 2];
        publisher.publish(topic, &number.to_string()).await;
        sleep(Duration::from_millis(8)).await;
    }
    let topics = ["a", "b"];
    let stored = finish(&publisher, &redis, &topics, from).await;
    let (records, seen) = client.await.unwrap();
    check(&records, &topics.map(str::to_owned), &stored);
    assert!(
        seen.len() > 4 && seen.windows(2).all(|pair| pair[0] != pair[1]),
        "{seen:?}"
    );
    assert!(
        !records
            .iter()
            .any(|record| matches!(record, Record::Gap(_)))
    );
}

/// Follows for a short time, and returns the response with its head.
fn curl(url: &str, last: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--no-buffer", "--include", "--max-time", "0.4"])
        .args(["--header", &format!("Last-Event-ID: {last}"), url])
        .output()
        .expect("curl is installed");
    String::from_utf8(output.stdout).unwrap()
}

fn node_of(response: &str) -> String {
    let mut lines = response.lines();
    let node = lines.find_map(|line| line.strip_prefix("Node: "));
    node.expect("nginx names the node").to_owned()
}

/// Reads the whole events of a response, as a browser does.
fn read(response: &str, records: &mut Vec<Record>, last: &mut String) {
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let Some((whole, _cut)) = body.rsplit_once("\n\n") else {
        return;
    };
    for event in whole.split("\n\n") {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        if let Some(id) = field("id: ") {
            id.clone_into(last);
        }
        match (field("event: "), field("data: ")) {
            (Some(_), Some(data)) => records.push(Record::Gap(data.to_owned())),
            (None, Some(data)) => {
                let id = LogId::parse(last).unwrap();
                records.push(Record::Event(id, data.to_owned()));
            }
            (_, None) => {}
        }
    }
}

fn is_end(record: &Record) -> bool {
    matches!(record, Record::Event(_, data) if data.starts_with("end"))
}
