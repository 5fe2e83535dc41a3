//! Compares `fanout --tls` with a bare loop of rustls, and prints a table of measurements.
//!
//! The servers run on core 0 and the load on core 1. Arguments select measurements by name:
//! `compare cpu memory`.

use std::error::Error;
use std::process::{Command, id};
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs};

use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use sse_net_benches::process::{Cpu, Server};
use sse_tls_benches::load::{Load, configure, shake_hands};

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = env::args().skip(1).collect();
    let pinned = Command::new("taskset")
        .args(["-cp", "1", &id().to_string()])
        .output()?;
    if !pinned.status.success() {
        return Err("taskset failed".into());
    }
    let bench = Bench::new()?;
    println!("| bar | measured | target | |\n| --- | --- | --- | --- |");
    for (name, bar) in BARS {
        if names.is_empty() || names.iter().any(|given| given == name) {
            println!("{}", bar(&bench)?);
        }
    }
    Ok(())
}

type Bar = fn(&Bench) -> Result<String, Box<dyn Error>>;

const BARS: &[(&str, Bar)] = &[("cpu", cpu), ("memory", memory), ("handshakes", handshakes)];

fn row(what: &str, measured: &str, target: &str, is_met: bool) -> String {
    let verdict = if is_met { "ok" } else { "**missed**" };
    format!("| {what} | {measured} | {target} | {verdict} |")
}

/// The certificate of servers and clients, with an ECDSA key.
struct Bench {
    options: String,
    config: Arc<ClientConfig>,
}

impl Bench {
    fn new() -> Result<Self, Box<dyn Error>> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(["localhost".to_owned()])?.self_signed(&key)?;
        let dir = env::current_exe()?.with_file_name("tls");
        fs::create_dir_all(&dir)?;
        let (at, key_at) = (dir.join("certificate.pem"), dir.join("key.pem"));
        fs::write(&at, certificate.pem())?;
        fs::write(&key_at, key.serialize_pem())?;
        Ok(Self {
            options: format!("--tls --cert {} --key {}", at.display(), key_at.display()),
            config: configure(certificate.der().clone())?,
        })
    }

    fn start(&self, command: &str) -> Result<Server, Box<dyn Error>> {
        Ok(Server::start(&format!("{command} {}", self.options))?)
    }

    fn load(&self, server: &Server, clients: usize) -> Result<Load, Box<dyn Error>> {
        let mut load = Load::new(server.address(), &self.config)?;
        for _ in 0..clients {
            load.connect()?;
        }
        Ok(load)
    }
}

/// Measures the CPU time per delivered event.
fn cpu(bench: &Bench) -> Result<String, Box<dyn Error>> {
    let (mut ours, mut bare) = (Delivered::default(), Delivered::default());
    // Alternately, so that other load on the machine affects both.
    for _ in 0..3 {
        ours.add(bench, "fanout")?;
        bare.add(bench, "bare")?;
    }
    let plain = bench.plain()?;
    let ratio = ours.micros() / bare.micros();
    let measured = format!(
        "{ratio:.2} × ({:.2} of {:.2} µs; user {:.2} of {:.2} µs; plain TCP {plain:.2} µs)",
        ours.micros(),
        bare.micros(),
        ours.user_micros(),
        bare.user_micros(),
    );
    Ok(row(
        "event to one of 1,000",
        &measured,
        "≤ 1.15 ×",
        ratio <= 1.15,
    ))
}

const SUBSCRIBERS: usize = 1000;
const RATE: u32 = 30;

#[derive(Default)]
struct Delivered {
    cpu: Cpu,
    events: u64,
}

impl Delivered {
    fn add(&mut self, bench: &Bench, command: &str) -> Result<(), Box<dyn Error>> {
        let server = bench.start(&format!("{command} --rate {RATE}"))?;
        let mut load = bench.load(&server, SUBSCRIBERS)?;
        load.run(Duration::from_secs(1))?;
        let before = server.cpu()?;
        let report = load.run(Duration::from_secs(4))?;
        let cpu = server.cpu()?.since(before);
        if report.holes > 0 {
            return Err(format!("{command}: {} events out of order", report.holes).into());
        }
        self.cpu.user += cpu.user;
        self.cpu.system += cpu.system;
        self.events += report.events;
        Ok(())
    }

    fn micros(&self) -> f64 {
        self.cpu.total().as_secs_f64() * 1e6 / self.events as f64
    }

    fn user_micros(&self) -> f64 {
        self.cpu.user.as_secs_f64() * 1e6 / self.events as f64
    }
}

impl Bench {
    /// Measures the same over plain TCP.
    fn plain(&self) -> Result<f64, Box<dyn Error>> {
        use sse_net_benches::load::{Kind, Load};
        let server = Server::start(&format!("fanout --rate {RATE}"))?;
        let mut load = Load::new(server.address())?;
        load.connect(SUBSCRIBERS, Kind::Reader)?;
        load.run(Duration::from_secs(1))?;
        let before = server.cpu()?;
        let report = load.run(Duration::from_secs(4))?;
        let cpu = server.cpu()?.since(before).total();
        Ok(cpu.as_secs_f64() * 1e6 / report.deliveries())
    }
}

/// Measures the memory of an idle subscriber.
fn memory(bench: &Bench) -> Result<String, Box<dyn Error>> {
    let (ours, bare) = (idle(bench, "fanout")?, idle(bench, "bare")?);
    let measured = format!("{ours} bytes (bare {bare})");
    Ok(row(
        "idle subscriber",
        &measured,
        "≤ bare + 1 KiB",
        ours <= bare + 1024,
    ))
}

fn idle(bench: &Bench, command: &str) -> Result<u64, Box<dyn Error>> {
    const SUBSCRIBERS: usize = 4000;
    let server = bench.start(command)?;
    // Excludes memory that is allocated once, and memory that handshakes reuse.
    drop(bench.load(&server, 100)?);
    let before = server.memory()?;
    let mut load = bench.load(&server, SUBSCRIBERS)?;
    load.run(Duration::from_secs(2))?;
    Ok(server.memory()?.saturating_sub(before) / SUBSCRIBERS as u64)
}

/// Measures connect, full handshake, request, response and close.
fn handshakes(bench: &Bench) -> Result<String, Box<dyn Error>> {
    let (mut ours, mut bare) = (0.0, 0.0);
    for _ in 0..5 {
        ours += handshake(bench, "fanout")? / 5.0;
        bare += handshake(bench, "bare")? / 5.0;
    }
    let ratio = bare / ours;
    let measured = format!(
        "{ratio:.2} × ({:.0} of {:.0} a second of CPU time)",
        1e6 / ours,
        1e6 / bare
    );
    Ok(row("full handshakes", &measured, "≥ 0.95 ×", ratio >= 0.95))
}

/// Returns the CPU time of one connection in microseconds.
fn handshake(bench: &Bench, command: &str) -> Result<f64, Box<dyn Error>> {
    const ROUNDS: usize = 4000;
    let server = bench.start(command)?;
    let before = server.cpu()?;
    for _ in 0..ROUNDS {
        drop(shake_hands(server.address(), &bench.config)?);
    }
    std::thread::sleep(Duration::from_millis(300));
    let cpu = server.cpu()?.since(before).total();
    Ok(cpu.as_secs_f64() * 1e6 / ROUNDS as f64)
}
