//! The memory of an idle topic on a node.

use std::io;
use std::thread::sleep;
use std::time::Duration;

use sse_net_benches::bars::Row;
use sse_net_benches::process::Server;
use sse_net_benches::redis_server::RedisServer;

pub(crate) fn memory() -> io::Result<Vec<Row>> {
    let redis = RedisServer::start("1")?;
    let ours = each(&format!("fanout --redis {} --follower", redis.url()))?;
    let alone = each("fanout --topics 1 --follower")?;
    let measured = format!("{ours} bytes (without an engine {alone})");
    let what = "an idle topic on a node";
    Ok(vec![Row::new(what, &measured, "≤ 1024", ours <= 1024)])
}

/// Returns the bytes of each of many topics.
fn each(command: &str) -> io::Result<u64> {
    const TOPICS: u64 = 100_000;
    let few = settled(&format!("{command} --own 1"))?;
    let many = settled(&format!("{command} --own {TOPICS}"))?;
    Ok(many.saturating_sub(few) / TOPICS)
}

/// Returns the memory of a server once it has subscribed to its topics.
fn settled(command: &str) -> io::Result<u64> {
    let server = Server::start(command)?;
    sleep(Duration::from_secs(4));
    server.memory()
}
