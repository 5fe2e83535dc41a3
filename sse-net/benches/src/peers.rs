//! Measures other servers of event streams beside ours.

use std::error::Error;
use std::fmt::Write;
use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, io};

use crate::feed::Options;
use crate::figures::{self, Line};
use crate::load::{Kind, Load};
use crate::measure::{Step, idle_memory, late_joiner, ramp};
use crate::nchan::Nchan;
use crate::process::Server;

/// Measures all servers that are installed, and writes a table and pictures.
///
/// # Errors
///
/// A file cannot be written. A failed measurement is reported on standard error.
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
        let of_core = measured.ramps[1].iter().filter(|step| step.is_timely());
        let of_core = of_core.map(|step| step.rate_of_core).reduce(f64::max);
        let [one, two] = measured.cpu.map(micros);
        write!(table, "| {} | {one} | {two} ", peer.name)?;
        for ramp in 0..SUBSCRIBERS.len() {
            write!(table, "| {} ", millions(measured.saturation(ramp)))?;
        }
        let memory = cell(measured.memory.map(|bytes| format!("{bytes} bytes")));
        let late = cell(
            measured
                .late
                .map(|time| format!("{:.2} ms", time.as_secs_f64() * 1e3)),
        );
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
                .skip(3) // The rate does not rise yet.
                .map(|step| (step.rate, step.p99.as_secs_f64() * 1e3))
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
    Peer::new("one send(2) per event", "bare")
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

    /// Returns the packages that are missing.
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

/// The measurements of a server; `None` where they failed or the server has no such feature.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// CPU microseconds per delivered event, 100 subscribers at 300 events a second, with one
    /// thread and with two.
    pub cpu: [Option<f64>; 2],
    /// Bytes of memory per idle subscriber, of 10,000.
    pub memory: Option<u64>,
    /// The time until a late client has 10,000 stored events.
    pub late: Option<Duration>,
    /// The ramps of [`SUBSCRIBERS`].
    pub ramps: [Vec<Step>; 3],
}

/// The numbers of subscribers of the ramps.
pub const SUBSCRIBERS: [usize; 3] = [100, 1_000, 10_000];

impl Measured {
    /// Measures a server. Failures are reported on standard error.
    #[must_use]
    pub fn of(peer: &Peer) -> Self {
        let mut measured = Self::default();
        measured.cpu[0] = reported(peer, "CPU", cpu(peer, "0", 1));
        if peer.has_threads {
            measured.cpu[1] = reported(peer, "CPU with two threads", cpu(peer, "0,1", 2));
        }
        measured.memory = reported(
            peer,
            "memory",
            peer.start("0", "").and_then(|server| idle_memory(&server)),
        );
        if peer.has_log {
            measured.late = reported(
                peer,
                "late joiner",
                peer.start("0", "--preload 10000")
                    .and_then(|server| late_joiner(&server)),
            );
        }
        for (steps, subscribers) in measured.ramps.iter_mut().zip(SUBSCRIBERS) {
            *steps = saturation(peer, subscribers);
        }
        measured
    }

    /// Returns the largest number of deliveries per second of each ramp, until p99 exceeded a
    /// second.
    #[must_use]
    pub fn saturation(&self, ramp: usize) -> Option<f64> {
        let steps = self.ramps[ramp].iter().filter(|step| step.is_timely());
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
    let report = load.run(Duration::from_secs(4))?.complete()?;
    let time = server.cpu()?.since(before).total();
    Ok(time.as_secs_f64() * 1e6 / report.deliveries())
}

/// Raises the rate by half every second, from 20,000 deliveries a second.
fn saturation(peer: &Peer, subscribers: usize) -> Vec<Step> {
    let rate = 20_000 / subscribers;
    let server = peer.start("0", &format!("--ramp {rate}:1.5:1:3"));
    let steps = server.and_then(|server| ramp(&[&server], subscribers));
    reported(peer, "saturation", steps).unwrap_or_default()
}
