//! The load alone: connects clients, and prints their results every second.
//!
//! `--port P --clients N --time SECONDS`. `--stuck N` and `--slow-head N` add clients that
//! never read or send their heads at one byte per second; `--late` requests all retained
//! events, `--drain` does not check what is read, `--churn N` closes and connects all clients
//! `N` times, and `--pid P` prints the server's use of CPU and memory.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use sse_net_benches::feed::{flag, value};
use sse_net_benches::load::{Kind, Load};
use sse_net_benches::process::{Cpu, memory};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let port = value(&mut args, "--port")?.ok_or("--port is needed")?;
    let clients = value(&mut args, "--clients")?.unwrap_or(100);
    let time = value(&mut args, "--time")?.unwrap_or(10);
    let stuck = value(&mut args, "--stuck")?.unwrap_or(0);
    let slow_head = value(&mut args, "--slow-head")?.unwrap_or(0);
    let churn = value(&mut args, "--churn")?.unwrap_or(1);
    let pid: Option<u32> = value(&mut args, "--pid")?;
    let kind = match (flag(&mut args, "--late"), flag(&mut args, "--drain")) {
        (true, _) => Kind::LateJoiner,
        (_, true) => Kind::Drain,
        _ => Kind::Reader,
    };

    for _ in 0..churn {
        let before = pid.map(memory).transpose()?.unwrap_or_default();
        let mut load = Load::new(SocketAddr::from(([127, 0, 0, 1], port)))?;
        load.connect(clients, kind)?;
        load.connect(stuck, Kind::Stuck)?;
        load.connect(slow_head, Kind::SlowHead)?;
        for _ in 0..time {
            let cpu = pid.map(Cpu::of).transpose()?.unwrap_or_default();
            let report = load.run(Duration::from_secs(1))?;
            println!(
                "{:.0} deliveries/s, {:.1} MB/s, p50 {:?}, p99 {:?}, max {:?}, {} holes, {} closed",
                report.rate(),
                report.bytes as f64 / 1e6,
                report.latency.quantile(0.5),
                report.p99(),
                report.latency.max(),
                report.holes,
                report.closed,
            );
            if let Some(pid) = pid {
                let cpu = Cpu::of(pid)?.since(cpu);
                let grown = memory(pid)?.saturating_sub(before);
                println!(
                    "  server: {cpu:?}, {} bytes a client",
                    grown / clients as u64
                );
            }
        }
    }
    Ok(())
}
