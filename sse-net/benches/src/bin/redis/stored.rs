//! Stored publishes a second, over one connection and 16 at a time.

use std::collections::VecDeque;
use std::io;
use std::process::Command;
use std::time::Instant;

use sse_net::{Engine, Event, Hub, Retention, Topic};
use sse_net_benches::bars::Row;
use sse_net_benches::process::pin;
use sse_net_benches::redis_server::{RedisServer, call};
use sse_net_benches::runtime;

use crate::other;

/// Compares a hub with `redis-benchmark`, which calls the same function.
pub(crate) fn stored() -> io::Result<Vec<Row>> {
    pin("1")?;
    let (mut ours, mut bare) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        let redis = RedisServer::start("0")?;
        bare += benchmark(&redis)? / f64::from(ROUNDS);
        let redis = RedisServer::start("0")?;
        ours += runtime(1)?.block_on(publish(&redis))? / f64::from(ROUNDS);
    }
    let ratio = ours / bare;
    let measured = format!("{ratio:.2} × ({:.1} of {:.1} k/s)", ours / 1e3, bare / 1e3);
    let what = "stored publishes, 16 at a time, beside redis-benchmark";
    Ok(vec![Row::new(what, &measured, "≥ 0.8 ×", ratio >= 0.8)])
}

const ROUNDS: u32 = 3;

const COUNT: usize = 100_000;

async fn publish(redis: &RedisServer) -> io::Result<f64> {
    let engine = Engine::redis(&redis.url()).map_err(other)?;
    let hub = Hub::connect(Retention::events(EVENTS), engine);
    let topic = hub.await.map_err(other)?.topic("news").map_err(other)?;
    publish_all(&topic, COUNT / 10).await?;
    let begun = Instant::now();
    publish_all(&topic, COUNT).await?;
    Ok(COUNT as f64 / begun.elapsed().as_secs_f64())
}

async fn publish_all(topic: &Topic, count: usize) -> io::Result<()> {
    let data = "x".repeat(100);
    let mut waiting = VecDeque::new();
    for number in 0..count + AT_ONCE {
        if number >= AT_ONCE
            && let Some(published) = waiting.pop_front()
        {
            let published: sse_net::Published = published;
            published.stored().await.map_err(other)?;
        }
        if number < count {
            let published = topic.publish(&Event::new().data(&data));
            waiting.push_back(published.map_err(other)?);
        }
    }
    Ok(())
}

const AT_ONCE: usize = 16;

const EVENTS: usize = 10_000;

/// Calls the function with the arguments of the hub.
fn benchmark(redis: &RedisServer) -> io::Result<f64> {
    call::<()>(&mut redis.connect()?, &["FUNCTION", "LOAD", LIBRARY])?;
    let frame = format!("data: {}\n\n", "x".repeat(100));
    let output = Command::new("redis-benchmark")
        .args(["-p", &redis.server.address().port().to_string()])
        .args(["-n", &COUNT.to_string(), "-c", "1", "--csv"])
        .args(["-P", &AT_ONCE.to_string(), "FCALL", "sse_publish", "4"])
        .args(["sse:{hub}:hub", "sse:{hub}:epochs", "sse:{hub}:changed"])
        .args(["sse:{hub}:topic:news", "7"])
        .args(["sse:{hub}:events:news", "news", &EVENTS.to_string()])
        .args(["0", "3600000", "604800000", "events", &frame])
        .output()?;
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    // The second line has the name of the test and the calls a second.
    let last = output.lines().last().unwrap_or_default();
    let rate = last.rsplit("\",\"").nth(6);
    let rate = rate.and_then(|rate| rate.trim_matches('"').parse().ok());
    rate.ok_or_else(|| other(format!("redis-benchmark printed {output:?}")))
}

const LIBRARY: &str = include_str!("../../../../src/engine/publish.lua");
