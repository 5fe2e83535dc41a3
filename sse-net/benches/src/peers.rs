//! Measures other servers of event streams beside ours.

use std::error::Error;
use std::fmt::Write;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::feed::Options;
use crate::figures::{self, Line};
use crate::load::{Kind, Load, Report};
use crate::nchan::Nchan;
use crate::process::Server;

/// Measures all servers that are installed, and writes a table and pictures.
///
/// # Errors
///
/// A file cannot be written. What cannot be measured is reported on standard error.
pub fn run() -> Result<(), Box<dyn Error>> {
    let mut all = Vec::new();
    for peer in PEERS {
        match peer.missing() {
            Some(missing) => eprintln!("{} is left out, without {missing}", peer.name),
            None => {
                eprintln!("{}", peer.name);
                all.push((peer, Measured::of(peer)));
            }
        }
    }
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/figures"));
    fs::create_dir_all(dir)?;
    let table = table(&all)?;
    print!("{table}");
    fs::write(dir.join("peers.md"), table)?;
    draw(dir, &all)
}

type Results<'a> = [(&'a Peer, Measured)];

fn table(all: &Results<'_>) -> Result<String, std::fmt::Error> {
    let mut table = String::from(
        "| server | CPU per event | with two threads | deliveries to 100 | to 1,000 | to 10,000 \
         | per CPU second, 1,000 | idle subscriber | 10,000 stored events |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let cell = |value: Option<String>| value.unwrap_or_else(|| "–".to_owned());
    for (peer, measured) in all {
        let micros = |value: Option<f64>| cell(value.map(|value| format!("{value:.2} µs")));
        let millions =
            |value: Option<f64>| cell(value.map(|value| format!("{:.2} M/s", value / 1e6)));
        let of_core = measured.ramps[1].iter().filter(|step| step.p99 <= 1.0);
        let of_core = of_core.map(|step| step.rate_of_core).reduce(f64::max);
        let [one, two] = measured.cpu.map(micros);
        write!(table, "| {} | {one} | {two} ", peer.name)?;
        for ramp in 0..SUBSCRIBERS.len() {
            write!(table, "| {} ", millions(measured.saturation(ramp)))?;
        }
        let memory = cell(measured.memory.map(|bytes| format!("{bytes} bytes")));
        let late = cell(measured.late.map(|millis| format!("{millis:.2} ms")));
        writeln!(table, "| {} | {memory} | {late} |", millions(of_core))?;
    }
    Ok(table)
}

fn draw(dir: &Path, all: &Results<'_>) -> Result<(), Box<dyn Error>> {
    let throughput: Vec<_> = all
        .iter()
        .map(|(peer, measured)| Line {
            name: peer.name,
            points: SUBSCRIBERS
                .iter()
                .enumerate()
                .filter_map(|(ramp, count)| Some((*count as f64, measured.saturation(ramp)?)))
                .collect(),
        })
        .collect();
    let title = "Deliveries per second until p99 exceeds a second, one thread";
    let axes = ["subscribers", "deliveries per second"];
    figures::lines(&dir.join("throughput.svg"), title, axes, &throughput)?;

    let latency: Vec<_> = all
        .iter()
        .map(|(peer, measured)| Line {
            name: peer.name,
            points: measured.ramps[1]
                .iter()
                .map(|step| (step.rate, step.p99 * 1e3))
                .collect(),
        })
        .collect();
    let title = "p99 latency, 1,000 subscribers, one thread";
    let axes = ["deliveries per second", "milliseconds"];
    figures::lines(&dir.join("latency.svg"), title, axes, &latency)?;

    let memory: Vec<_> = all
        .iter()
        .filter_map(|(peer, measured)| Some((peer.name, measured.memory? as f64)))
        .collect();
    let title = "Memory of an idle subscriber, of 10,000";
    figures::bars(&dir.join("memory.svg"), title, "bytes", &memory)
}

/// A server that is measured.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub name: &'static str,
    /// The program and its options; nginx with nchan has none.
    command: Option<&'static str>,
    /// Whether it can use several threads.
    has_threads: bool,
    /// Whether it stores events for clients that join late.
    has_log: bool,
}

/// The servers. Ours comes first, then the bare loops.
pub const PEERS: &[Peer] = &[
    Peer::new("sse-net", "fanout").with_log(),
    Peer::new("a `send(2)` for each event", "bare")
        .with_log()
        .with_one_thread(),
    Peer::new("a loop that coalesces", "bare --coalesce")
        .with_log()
        .with_one_thread(),
    Peer::new("hyper with shared frames", "hyper"),
    Peer::new("axum's Sse", "axum"),
    Peer::new("actix-web-lab", "actix"),
    Peer {
        name: "nginx with nchan",
        command: None,
        has_threads: true,
        has_log: true,
    },
    Peer::new("Node with better-sse", BETTER_SSE).with_one_thread(),
];

const BETTER_SSE: &str = concat!("node ", env!("CARGO_MANIFEST_DIR"), "/peers/better_sse.mjs");

impl Peer {
    const fn new(name: &'static str, command: &'static str) -> Self {
        Self {
            name,
            command: Some(command),
            has_threads: true,
            has_log: false,
        }
    }

    const fn with_log(mut self) -> Self {
        self.has_log = true;
        self
    }

    const fn with_one_thread(mut self) -> Self {
        self.has_threads = false;
        self
    }

    /// Returns what has to be installed first.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        match self.command {
            None if !Nchan::is_installed() => Some("nginx and libnginx-mod-nchan"),
            Some(BETTER_SSE) if !is_node_installed() => {
                Some("Node, and `npm ci` in sse-net/benches/peers")
            }
            _ => None,
        }
    }

    fn start(&self, cores: &str, options: &str) -> io::Result<Running> {
        match self.command {
            Some(command) => {
                let server = Server::start_on(cores, &format!("{command} {options}"))?;
                Ok(Running::Program(server))
            }
            None => {
                let options = options.split_whitespace().map(str::to_owned).collect();
                let options =
                    Options::parse(options).map_err(|error| io::Error::other(error.to_string()))?;
                Nchan::start(cores, &options).map(Running::Nchan)
            }
        }
    }
}

fn is_node_installed() -> bool {
    let node = Command::new("node")
        .arg("-v")
        .stdout(Stdio::null())
        .status();
    let package = concat!(env!("CARGO_MANIFEST_DIR"), "/peers/node_modules/better-sse");
    node.is_ok() && Path::new(package).exists()
}

enum Running {
    Program(Server),
    Nchan(Nchan),
}

impl Deref for Running {
    type Target = Server;

    fn deref(&self) -> &Server {
        match self {
            Self::Program(server) => server,
            Self::Nchan(nchan) => &nchan.server,
        }
    }
}

/// What was measured of a server. What it cannot do is `None`.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// CPU microseconds per delivered event, 100 subscribers at 300 events a second, with one
    /// thread and with two.
    pub cpu: [Option<f64>; 2],
    /// Bytes of memory per idle subscriber, of 10,000.
    pub memory: Option<u64>,
    /// Milliseconds until a late client has 10,000 stored events.
    pub late: Option<f64>,
    /// The ramps of [`SUBSCRIBERS`].
    pub ramps: [Vec<Step>; 3],
}

/// A second of a ramp.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Deliveries per second.
    pub rate: f64,
    /// Deliveries per second of the server's CPU time.
    pub rate_of_core: f64,
    /// Seconds.
    pub p99: f64,
}

/// The numbers of subscribers of the ramps.
pub const SUBSCRIBERS: [usize; 3] = [100, 1_000, 10_000];

impl Measured {
    /// Measures a server. What fails is reported on standard error and left out.
    #[must_use]
    pub fn of(peer: &Peer) -> Self {
        let mut measured = Self::default();
        measured.cpu[0] = reported(peer, "CPU", cpu(peer, "0", 1));
        if peer.has_threads {
            measured.cpu[1] = reported(peer, "CPU with two threads", cpu(peer, "0,1", 2));
        }
        measured.memory = reported(peer, "memory", memory(peer));
        if peer.has_log {
            measured.late = reported(peer, "late joiner", late(peer));
        }
        for (steps, subscribers) in measured.ramps.iter_mut().zip(SUBSCRIBERS) {
            *steps = reported(peer, "saturation", ramp(peer, subscribers)).unwrap_or_default();
        }
        measured
    }

    /// Returns the largest number of deliveries per second of each ramp, until p99 exceeded a
    /// second.
    #[must_use]
    pub fn saturation(&self, ramp: usize) -> Option<f64> {
        let steps = self.ramps[ramp].iter().filter(|step| step.p99 <= 1.0);
        steps.map(|step| step.rate).reduce(f64::max)
    }
}

fn reported<T>(peer: &Peer, what: &str, result: io::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            eprintln!("{}: {what}: {error}", peer.name);
            None
        }
    }
}

fn cpu(peer: &Peer, cores: &str, threads: usize) -> io::Result<f64> {
    let threads = match threads {
        1 => String::new(),
        count => format!(" --threads {count}"),
    };
    let server = peer.start(cores, &format!("--rate 300{threads}"))?;
    let mut load = Load::new(server.address())?;
    if cores == "0" {
        load.busy_poll();
    }
    load.connect(100, Kind::Reader)?;
    load.run(Duration::from_secs(1))?;
    let before = server.cpu()?;
    let report = complete(load.run(Duration::from_secs(4))?)?;
    let time = server.cpu()?.since(before).total();
    Ok(time.as_secs_f64() * 1e6 / report.deliveries())
}

fn memory(peer: &Peer) -> io::Result<u64> {
    const COUNT: usize = 10_000;
    let server = peer.start("0", "")?;
    let before = server.memory()?;
    let mut load = Load::new(server.address())?;
    load.connect(COUNT, Kind::Drain)?;
    load.run(Duration::from_secs(2))?;
    Ok(server.memory()?.saturating_sub(before) / COUNT as u64)
}

fn late(peer: &Peer) -> io::Result<f64> {
    let server = peer.start("0", "--preload 10000")?;
    let mut times = Vec::new();
    for _ in 0..51 {
        let mut load = Load::new(server.address())?;
        let start = Instant::now();
        load.connect(1, Kind::LateJoiner)?;
        let has_all = |report: &Report| report.deliveries() >= 10_000.0;
        let report = complete(load.run_until(Duration::from_secs(5), has_all)?)?;
        if !has_all(&report) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Raises the rate by half every second, from 20,000 deliveries a second, until p99 exceeds a
/// second.
fn ramp(peer: &Peer, subscribers: usize) -> io::Result<Vec<Step>> {
    let rate = 20_000 / subscribers;
    let server = peer.start("0", &format!("--ramp {rate}:1.5:1:3"))?;
    let mut load = Load::new(server.address())?;
    load.connect(subscribers, Kind::Reader)?;
    load.run(Duration::from_millis(100))?;
    let mut steps = Vec::new();
    for _ in 0..30 {
        let before = server.cpu()?;
        let report = complete(load.run(Duration::from_secs(1))?)?;
        let cpu = server.cpu()?.since(before).total().as_secs_f64();
        if report.deliveries() == 0.0 {
            break;
        }
        steps.push(Step {
            rate: report.rate(),
            rate_of_core: report.deliveries() / cpu,
            p99: report.p99().as_secs_f64(),
        });
        if report.p99() > Duration::from_secs(1) {
            break;
        }
    }
    Ok(steps)
}

fn complete(report: Report) -> io::Result<Report> {
    match (report.holes, report.closed) {
        (0, 0) => Ok(report),
        (holes, closed) => Err(io::Error::other(format!(
            "{holes} events out of order, {closed} connections closed"
        ))),
    }
}
