//! What is measured of several servers.

use std::io;
use std::time::{Duration, Instant};

use crate::load::{Kind, Load, Report};
use crate::process::Server;

/// A second of a server whose rate rises.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Deliveries per second.
    pub rate: f64,
    /// Deliveries per second of the server's CPU time, because it may share its core.
    pub rate_of_core: f64,
    pub p99: Duration,
}

impl Step {
    /// Whether p99 is at most a second.
    #[must_use]
    pub fn is_timely(&self) -> bool {
        self.p99 <= Duration::from_secs(1)
    }
}

/// Measures a server with `--ramp` each second until p99 exceeds a second, or a client misses
/// events: a server may disconnect those that fall behind.
///
/// # Errors
///
/// A client missed events in the first second.
pub fn ramp(server: &Server, subscribers: usize) -> io::Result<Vec<Step>> {
    let mut load = Load::new(server.address())?;
    load.connect(subscribers, Kind::Reader)?;
    load.run(Duration::from_millis(100))?;
    let mut steps = Vec::new();
    for _ in 0..40 {
        let before = server.cpu()?;
        let report = match load.run(Duration::from_secs(1))?.complete() {
            Ok(report) => report,
            Err(error) if steps.is_empty() => return Err(error),
            Err(error) => {
                eprintln!("{error}");
                break;
            }
        };
        let cpu = server.cpu()?.since(before).total().as_secs_f64();
        eprintln!(
            "{:.2} M/s, p99 {:.1?}, CPU {cpu:.2} s",
            report.rate() / 1e6,
            report.p99(),
        );
        if report.deliveries() == 0.0 {
            break;
        }
        let step = Step {
            rate: report.rate(),
            rate_of_core: report.deliveries() / cpu,
            p99: report.p99(),
        };
        steps.push(step);
        if !step.is_timely() {
            break;
        }
    }
    Ok(steps)
}

/// Returns the bytes of memory that the server needs per idle subscriber, of 10,000.
///
/// # Errors
///
/// A connection fails.
pub fn idle_memory(server: &Server) -> io::Result<u64> {
    const SUBSCRIBERS: usize = 10_000;
    let before = server.memory()?;
    let mut load = Load::new(server.address())?;
    load.connect(SUBSCRIBERS, Kind::Reader)?;
    load.run(Duration::from_secs(2))?;
    Ok(server.memory()?.saturating_sub(before) / SUBSCRIBERS as u64)
}

/// Returns the median time until a late client has the 10,000 events of `--preload 10000`.
///
/// # Errors
///
/// A client missed events.
pub fn late_joiner(server: &Server) -> io::Result<Duration> {
    let has_all = |report: &Report| report.deliveries() >= 10_000.0;
    let mut times = Vec::new();
    for _ in 0..101 {
        let mut load = Load::new(server.address())?;
        let start = Instant::now();
        load.connect(1, Kind::LateJoiner)?;
        let report = load.run_until(Duration::from_secs(5), has_all)?;
        times.push(start.elapsed());
        if !has_all(&report.complete()?) {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    times.sort();
    Ok(times[times.len() / 2])
}
