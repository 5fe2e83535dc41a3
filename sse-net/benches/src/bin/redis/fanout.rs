//! Two nodes with 1,000 clients each.

use std::io;

use sse_net_benches::bars::Row;
use sse_net_benches::feed::Options;
use sse_net_benches::load::Load;
use sse_net_benches::measure::{Delivered, Step, ramp};
use sse_net_benches::nchan::Nchan;
use sse_net_benches::process::{Server, pin};
use sse_net_benches::redis_server::RedisServer;

use crate::other;

const SUBSCRIBERS: usize = 1_000;

/// Compares the CPU time of two nodes with that of two hubs without an engine, at a rate that
/// leaves their core idle at times and at those at which several events are written at once.
pub(crate) fn cpu() -> io::Result<Vec<Row>> {
    pin("1")?;
    let mut rows = Vec::new();
    for rate in [20, 100, 300] {
        let (mut ours, mut alone) = (Delivered::default(), Delivered::default());
        for _ in 0..3 {
            let redis = RedisServer::start("1")?;
            let follower = format!("fanout --redis {} --follower", redis.url());
            let publisher = format!("fanout --redis {} --rate {rate}", redis.url());
            ours.add(&delivered([&follower, &publisher])?);
            let hub = format!("fanout --topics 1 --rate {rate}");
            alone.add(&delivered([&hub, &hub])?);
        }
        let ratio = ours.micros() / alone.micros();
        let measured = format!(
            "{ratio:.2} × ({:.2} of {:.2} µs), {:.2} and {:.2} of the core, p99 {:.1?} of {:.1?}",
            ours.micros(),
            alone.micros(),
            ours.share(),
            alone.share(),
            ours.report.p99(),
            alone.report.p99(),
        );
        let what = format!("2 × {SUBSCRIBERS} × {rate}/s, beside hubs without an engine");
        rows.push(Row::new(&what, &measured, "≤ 1.1 ×", ratio <= 1.1));
    }
    Ok(rows)
}

fn delivered(commands: [&String; 2]) -> io::Result<Delivered> {
    let [one, two] = commands.map(|command| Server::start_on("0", command));
    let (one, two) = (one?, two?);
    let mut load = Load::new(one.address())?;
    load.busy_poll();
    Delivered::of(&[&one, &two], load, SUBSCRIBERS)
}

/// Compares two nodes with two nginx with nchan over Redis: the CPU time at a low rate, and the
/// deliveries at saturation.
///
/// nchan writes each event alone. So does a node at a low rate; at a high one it writes those of
/// some milliseconds at once, so the second ratio is greater by far.
pub(crate) fn nchan() -> io::Result<Vec<Row>> {
    if !Nchan::is_installed() {
        eprintln!("nchan is left out, without nginx and libnginx-mod-nchan");
        return Ok(Vec::new());
    }
    pin("1")?;
    let [ours, nchan] = [each(10, false)?, each(10, true)?];
    let ratio = nchan.micros() / ours.micros();
    let measured = format!(
        "{ratio:.1} × ({:.1} of {:.1} µs)",
        nchan.micros(),
        ours.micros()
    );
    let what = format!("2 × {SUBSCRIBERS} × 10/s, CPU time of nchan");
    let slow = Row::new(&what, &measured, "≥ 1 ×", ratio >= 1.0);
    let ours = {
        let redis = RedisServer::start("1")?;
        let command = format!("fanout --redis {}", redis.url());
        let follower = Server::start_on("0", &format!("{command} --follower"))?;
        let publisher = Server::start_on("0", &format!("{command} --ramp {RAMP}"))?;
        best(ramp(&[&follower, &publisher], SUBSCRIBERS)?)?
    };
    let nchan = {
        let redis = RedisServer::start("1")?;
        let follower = start_nchan(&redis, "--follower")?;
        let publisher = start_nchan(&redis, &format!("--ramp {RAMP}"))?;
        best(ramp(&[&follower.server, &publisher.server], SUBSCRIBERS)?)?
    };
    let ratio = ours.rate / nchan.rate;
    let measured = format!(
        "{ratio:.1} × ({:.2} of {:.2} M/s), by CPU time of the nodes {:.1} ×",
        ours.rate / 1e6,
        nchan.rate / 1e6,
        ours.rate_of_core / nchan.rate_of_core,
    );
    let what = format!("2 × {SUBSCRIBERS} clients, deliveries at saturation, beside nchan");
    let fast = Row::new(&what, &measured, "≥ 4 ×", ratio >= 4.0);
    Ok(vec![slow, fast])
}

/// Measures two nodes, or two nginx with nchan, at a rate at which each event is written alone.
fn each(rate: u32, is_nchan: bool) -> io::Result<Delivered> {
    let redis = RedisServer::start("1")?;
    if !is_nchan {
        let command = format!("fanout --redis {}", redis.url());
        let follower = format!("{command} --follower");
        return delivered([&follower, &format!("{command} --rate {rate}")]);
    }
    let follower = start_nchan(&redis, "--follower")?;
    let publisher = start_nchan(&redis, &format!("--rate {rate}"))?;
    let mut load = Load::new(follower.server.address())?;
    load.busy_poll();
    Delivered::of(&[&follower.server, &publisher.server], load, SUBSCRIBERS)
}

fn start_nchan(redis: &RedisServer, options: &str) -> io::Result<Nchan> {
    let options = format!("--redis {} {options}", redis.url());
    let options = options.split_whitespace().map(str::to_owned).collect();
    let options = Options::parse(options).map_err(|error| other(error.to_string()))?;
    Nchan::start("0", &options)
}

/// From 10 events a second, half as many more every second.
const RAMP: &str = "10:1.5:1:4";

/// Returns the second with the most deliveries.
fn best(steps: Vec<Step>) -> io::Result<Step> {
    let timely = steps.into_iter().filter(Step::is_timely);
    let best = timely.max_by(|one, other| one.rate.total_cmp(&other.rate));
    best.ok_or(io::ErrorKind::TimedOut.into())
}
