//! Compares `fanout` with bare loops, hyper and axum, and prints a table of measurements.
//!
//! The servers run on core 0 and the load on core 1. Arguments select measurements by name:
//! `compare cpu memory`. `compare peers` measures other servers of event streams instead, and
//! writes a table and pictures to `figures`.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread::{self, sleep};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use sse_net_benches::ask::{measure, request};
use sse_net_benches::bars::{self, Bar, Row};
use sse_net_benches::load::{Kind, Load};
use sse_net_benches::measure::{Delivered, Step, idle_memory, late_joiner, ramp};
use sse_net_benches::peers;
use sse_net_benches::probe::Probes;
use sse_net_benches::process::{Server, pin};
use sse_net_benches::publishers::Publishers;
use sse_net_benches::tokens::COUNT;

fn main() -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    pin("1")?;
    if names == ["peers"] {
        return peers::run();
    }
    bars::print(BARS, &names);
    Ok(())
}

const BARS: &[Bar] = &[
    ("cpu", cpu),
    ("saturation", saturation),
    ("linger", linger),
    ("memory", memory),
    ("upgrade", upgrade),
    ("flood", flood),
    ("late", late),
    ("hostile", hostile),
    ("churn", churn),
    ("body", body),
    ("ask", ask),
    ("tokens", tokens),
    ("threads", threads),
    ("threads", threads_at_saturation),
    ("busy", busy),
    ("busy", busy_at_flood),
    ("stalled", stalled),
    ("own", own_topics),
    ("publishers", two_publishers),
];

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// How often two servers are measured in turn.
const PAIRS: usize = 5;

/// The same for CPU time, of which one measurement differs from the next by a tenth.
const PAIRS_OF_CPU: usize = 15;

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// Measures the CPU time per delivered event, compared with a bare loop.
fn cpu() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (subscribers, rate) in [(100, 300), (10_000, 3)] {
        // Alternately, so that other load on the machine affects both.
        let (mut ours, mut bare) = (Delivered::default(), Delivered::default());
        for _ in 0..PAIRS_OF_CPU {
            let one = Delivered::measure(&format!("fanout --rate {rate}"), subscribers)?;
            let other = Delivered::measure(&format!("bare --rate {rate}"), subscribers)?;
            ours.add(&one);
            bare.add(&other);
        }
        let ratio = ours.micros() / bare.micros();
        let measured = format!(
            "{ratio:.2} × ({:.2} of {:.2} µs), p99 {:.1?} of {:.1?}",
            ours.micros(),
            bare.micros(),
            ours.report.p99(),
            bare.report.p99(),
        );
        let what = format!("{subscribers} × {rate}/s");
        rows.push(Row::new(&what, &measured, "≤ 1.10 ×", ratio <= 1.1));
        let measured = format!(
            "{:.2} µs (bare {:.2})",
            ours.user_micros(),
            bare.user_micros()
        );
        let is_met = ours.user_micros() <= 0.6;
        rows.push(Row::new(
            &format!("{what}, user"),
            &measured,
            "≤ 0.6 µs",
            is_met,
        ));
    }
    Ok(rows)
}

/// Measures the deliveries per second at which the p99 latency exceeds a second.
fn saturation() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (subscribers, rate) in [(1_000, 400), (10_000, 30)] {
        let ours = format!("fanout --ramp {}:1.4:1:4", rate * 5);
        let bare = format!("bare --coalesce --ramp {}:1.4:1:4", rate * 5);
        let hyper = format!("hyper --ramp {rate}:1.4:1:4");
        for (what, theirs, pairs, least) in [
            ("bare --coalesce", bare, PAIRS, 0.85),
            ("hyper", hyper, 1, 8.0),
        ] {
            let (mut rates, mut rates_of_core) = (Vec::new(), Vec::new());
            for _ in 0..pairs {
                let one = saturate(&ours, subscribers)?;
                let other = saturate(&theirs, subscribers)?;
                rates.push(one.rate / other.rate);
                rates_of_core.push(one.rate_of_core / other.rate_of_core);
            }
            let ratio = median(rates);
            let measured = format!(
                "{ratio:.2} ×, by CPU time of the server {:.2} ×",
                median(rates_of_core),
            );
            let what = format!("{subscribers} beside {what}");
            let target = format!("≥ {least} ×");
            rows.push(Row::new(&what, &measured, &target, ratio >= least));
        }
    }
    Ok(rows)
}

/// Returns the second with the most deliveries.
fn saturate(command: &str, subscribers: usize) -> io::Result<Step> {
    eprintln!("{command}");
    let steps = ramp(&[&Server::start_on("0", command)?], subscribers)?;
    let timely = steps.into_iter().filter(Step::is_timely);
    let best = timely.max_by(|one, other| one.rate.total_cmp(&other.rate));
    best.ok_or(io::ErrorKind::TimedOut.into())
}

/// Measures the CPU time with a linger of 10 ms, compared with a loop without one.
fn linger() -> io::Result<Vec<Row>> {
    let ours = match Delivered::measure("fanout --rate 1000 --linger 10", 100) {
        Ok(ours) => ours,
        Err(_) => return Ok(vec![Row::new("", "no linger", "≤ 0.25 ×", false)]),
    };
    let tick = Delivered::measure("bare --rate 1000 --tick 10", 100)?;
    let bare = Delivered::measure("bare --rate 1000", 100)?;
    let ratio = ours.share() / bare.share();
    let p99 = ours.report.p99();
    let measured = format!(
        "{ratio:.3} × (bare with a tick {:.3})",
        tick.share() / bare.share()
    );
    Ok(vec![
        Row::new("100 × 1000/s", &measured, "≤ 0.25 ×", ratio <= 0.25),
        Row::new(
            "p99",
            &format!("{p99:.1?}"),
            "< 20 ms",
            p99 < Duration::from_millis(20),
        ),
    ])
}

/// Measures the memory of an idle subscriber.
fn memory() -> io::Result<Vec<Row>> {
    let each = idle_memory(&Server::start("fanout")?)?;
    let measured = format!("{each} bytes");
    Ok(vec![Row::new(
        "idle subscriber",
        &measured,
        "≤ 512 bytes",
        each <= 512,
    )])
}

/// Measures connect, request head, upgrade and close.
fn upgrade() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (what, is_reset) in [("closed", false), ("reset", true)] {
        let (mut ours, mut bare, mut hyper) = (0.0, 0.0, 0.0);
        for _ in 0..3 {
            ours += upgrades("fanout", is_reset)? / 3.0;
            bare += upgrades("bare --upgrade", is_reset)? / 3.0;
            hyper += upgrades("hyper", is_reset)? / 3.0;
        }
        let ratio = ours / bare;
        let measured = format!(
            "{ratio:.2} × ({ours:.1} of {bare:.1} µs; hyper {:.2} ×)",
            hyper / bare
        );
        let what = format!("connection that its client {what}");
        rows.push(Row::new(&what, &measured, "≤ 1.25 ×", ratio <= 1.25));
    }
    Ok(rows)
}

/// Returns the CPU time of one connection in microseconds.
fn upgrades(command: &str, is_reset: bool) -> io::Result<f64> {
    const ROUNDS: usize = 300;
    const AT_ONCE: usize = 32;
    let server = Server::start(command)?;
    let before = server.cpu()?;
    for _ in 0..ROUNDS {
        let mut sockets = Vec::new();
        for _ in 0..AT_ONCE {
            let mut socket = TcpStream::connect(server.address())?;
            socket.write_all(
                b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n",
            )?;
            if is_reset {
                set_socket_linger(&socket, Some(Duration::ZERO))?;
            }
            sockets.push(socket);
        }
        for mut socket in sockets {
            let mut response = [0; 2048];
            if socket.read(&mut response)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
    sleep(Duration::from_millis(300));
    let cpu = server.cpu()?.since(before).total();
    Ok(cpu.as_secs_f64() * 1e6 / (ROUNDS * AT_ONCE) as f64)
}

/// Measures the throughput to one subscriber.
fn flood() -> io::Result<Vec<Row>> {
    let (mut ours, mut bare) = (0.0, 0.0);
    for _ in 0..2 {
        ours += flooded("fanout --flood")?;
        bare += flooded("bare --flood")?;
    }
    let ratio = ours / bare;
    let measured = format!("{ratio:.2} × ({:.0} of {:.0} MB/s)", ours / 2e6, bare / 2e6);
    Ok(vec![Row::new(
        "one subscriber",
        &measured,
        "≥ 0.9 ×",
        ratio >= 0.9,
    )])
}

/// Returns the bytes per second.
fn flooded(command: &str) -> io::Result<f64> {
    let server = Server::start(command)?;
    let mut load = Load::new(server.address())?;
    load.connect(1, Kind::Drain)?;
    load.run(Duration::from_millis(500))?;
    let report = load.run(seconds(3))?.complete()?;
    Ok(report.bytes as f64 / report.time.as_secs_f64())
}

/// Measures the replay of 10,000 events to a new client.
fn late() -> io::Result<Vec<Row>> {
    let ours = late_joiner(&Server::start("fanout --preload 10000")?)?;
    let bare = late_joiner(&Server::start("bare --preload 10000")?)?;
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    let measured = format!("{ratio:.2} × ({ours:.2?} of {bare:.2?})");
    Ok(vec![Row::new(
        "10,000 stored events",
        &measured,
        "≤ 1.5 ×",
        ratio <= 1.5,
    )])
}

/// Measures healthy clients among clients that never read or send their heads slowly.
fn hostile() -> io::Result<Vec<Row>> {
    let command = "fanout --rate 25 --size 8192";
    let server = Server::start(command)?;
    let files = server.files()?;
    let mut load = Load::new(server.address())?;
    load.connect(1_000, Kind::Reader)?;
    load.run(seconds(1))?;
    let alone = load.run(seconds(5))?.complete()?;
    let memory = server.memory()?;

    load.connect(1_000, Kind::Stuck)?;
    load.connect(1_000, Kind::SlowHead)?;
    load.run(seconds(1))?; // The load itself is late while it connects.
    let among = load.run(seconds(40))?;
    let grown = server.memory()?.saturating_sub(memory) >> 20;
    let left = server.files()?.saturating_sub(files + 1_000);
    let ratio = among.p99().as_secs_f64() / alone.p99().as_secs_f64();
    let measured = format!("{ratio:.2} × ({:.1?} of {:.1?})", among.p99(), alone.p99());
    let healthy = load.count(Kind::Reader);
    Ok(vec![
        Row::new("p99 of the healthy", &measured, "< 2 ×", ratio < 2.0),
        Row::new(
            "healthy that stayed",
            &healthy.to_string(),
            "1000",
            healthy == 1_000 && among.holes == 0,
        ),
        Row::new("others left after 40 s", &left.to_string(), "0", left == 0),
        Row::new(
            "memory grown",
            &format!("{grown} MiB"),
            "bounded",
            grown < 64,
        ),
    ])
}

/// Measures 10,000 clients that connect and disconnect ten times.
fn churn() -> io::Result<Vec<Row>> {
    const SUBSCRIBERS: usize = 10_000;
    let server = Server::start("fanout --rate 1")?;
    let files = server.files()?;
    let mut memory = Vec::new();
    for _ in 0..10 {
        let mut load = Load::new(server.address())?;
        load.connect(SUBSCRIBERS, Kind::Reader)?;
        load.run(Duration::from_millis(500))?.complete()?;
        drop(load);
        sleep(Duration::from_millis(500));
        memory.push(server.memory()?);
    }
    sleep(seconds(1));
    let left = server.files()?.saturating_sub(files);
    let grown = memory[9] as f64 / memory[1] as f64;
    let stats = server.stop()?;
    let is_zero = stats.contains("connections: 0,");
    Ok(vec![
        Row::new("files left", &left.to_string(), "0", left == 0),
        Row::new(
            "memory, 10th round of 2nd",
            &format!("{grown:.2} ×"),
            "≤ 1.1 ×",
            grown <= 1.1,
        ),
        Row::new(
            "connections",
            if is_zero { "0" } else { &stats },
            "0",
            is_zero,
        ),
    ])
}

/// Compares topics as bodies of hyper's responses with axum's `Sse`.
fn body() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (subscribers, rate) in [(100, 300), (10_000, 3)] {
        let (mut ours, mut axum) = (Delivered::default(), Delivered::default());
        for _ in 0..3 {
            for (sum, program) in [(&mut ours, "body"), (&mut axum, "axum")] {
                let command = format!("{program} --rate {rate}");
                sum.add(&Delivered::measure(&command, subscribers)?);
            }
        }
        let ratio = ours.micros() / axum.micros();
        let measured = format!(
            "{ratio:.2} × ({:.2} of {:.2} µs), p99 {:.1?} of {:.1?}",
            ours.micros(),
            axum.micros(),
            ours.report.p99(),
            axum.report.p99(),
        );
        let what = format!("{subscribers} × {rate}/s beside axum");
        rows.push(Row::new(&what, &measured, "≤ 0.85 ×", ratio <= 0.85));
    }
    let (ours, axum) = (
        idle_memory(&Server::start("body --rate 1")?)?,
        idle_memory(&Server::start("axum --rate 1")?)?,
    );
    let ratio = ours as f64 / axum as f64;
    let measured = format!("{ratio:.2} × ({ours} of {axum} bytes)");
    let what = "subscriber beside axum";
    rows.push(Row::new(what, &measured, "≤ 0.7 ×", ratio <= 0.7));
    Ok(rows)
}

/// Compares requests with a JSON body of 1 KiB, up to the first event, with requests without one
/// and with axum's.
fn ask() -> io::Result<Vec<Row>> {
    const COUNT: usize = 2_000;
    let (get, post) = (request("GET", "/first"), request("POST", "/ask"));
    let mut rounds = Vec::new();
    for _ in 0..PAIRS {
        let mut times = [0.0; 4];
        for (program, times) in ["ask", "ask_axum"].iter().zip(times.chunks_mut(2)) {
            let server = Server::start(program)?;
            for (time, request) in times.iter_mut().zip([&get, &post]) {
                *time = measure(&server, request, COUNT, 1)?.as_secs_f64() * 1e6 / COUNT as f64;
            }
        }
        rounds.push(times);
    }
    let row = |what, [ours, theirs]: [usize; 2], limit| {
        let pairs = rounds.iter().map(|times| [times[ours], times[theirs]]);
        row_of_pairs(what, pairs.collect(), limit)
    };
    let [get, post, axum_get, axum_post] = [0, 1, 2, 3];
    Ok(vec![
        row("POST with 1 KiB beside GET", [post, get], 1.5),
        row("POST with 1 KiB beside axum", [post, axum_post], 0.8),
        row("GET beside axum", [get, axum_get], 0.8),
    ])
}

/// Shows the median ratio of microseconds that were measured in turn, and the medians of both.
fn row_of_pairs(what: &str, pairs: Vec<[f64; 2]>, limit: f64) -> Row {
    let ratio = median(pairs.iter().map(|[ours, theirs]| ours / theirs).collect());
    let [ours, theirs] = [0, 1].map(|at| median(pairs.iter().map(|pair| pair[at]).collect()));
    let measured = format!("{ratio:.2} × ({ours:.2} of {theirs:.2} µs)");
    Row::new(what, &measured, &format!("≤ {limit} ×"), ratio <= limit)
}

/// Compares a stream of 5,000 tokens to one client with axum's `Sse`, and with one through a run.
fn tokens() -> io::Result<Vec<Row>> {
    [
        (
            "CPU per token, one by one, beside axum",
            [("ask", "/tokens"), ("ask_axum", "/tokens")],
            0.8,
        ),
        (
            "CPU per token, ready at once, beside axum",
            [("ask", "/burst"), ("ask_axum", "/burst")],
            0.8,
        ),
        (
            "CPU per token, through a run, beside without",
            [("ask", "/run"), ("ask", "/tokens")],
            1.2,
        ),
    ]
    .into_iter()
    .map(|(what, endpoints, limit)| {
        let pairs = (0..PAIRS).map(|_| micros_per_token(endpoints));
        Ok(row_of_pairs(what, pairs.collect::<io::Result<_>>()?, limit))
    })
    .collect()
}

fn micros_per_token(endpoints: [(&str, &str); 2]) -> io::Result<[f64; 2]> {
    const STREAMS: usize = 40;
    let mut times = [0.0; 2];
    for (time, (program, path)) in times.iter_mut().zip(endpoints) {
        let server = Server::start(program)?;
        let taken = measure(&server, &request("GET", path), STREAMS, COUNT)?;
        *time = taken.as_secs_f64() * 1e6 / (STREAMS * COUNT) as f64;
    }
    Ok(times)
}

const TWO: &str = "--threads 2";

/// Compares two worker threads and a publisher thread with a single thread.
fn threads() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (subscribers, rate) in [(100, 300), (10_000, 3)] {
        let (mut two, mut one) = (Delivered::default(), Delivered::default());
        for _ in 0..3 {
            for (sum, threads) in [(&mut two, TWO), (&mut one, "")] {
                let command = format!("fanout --rate {rate} {threads}");
                sum.add(&Delivered::measure_on_both_cores(&command, subscribers)?);
            }
        }
        let ratio = two.micros() / one.micros();
        let measured = format!(
            "{ratio:.2} × ({:.2} of {:.2} µs), p99 {:.1?} of {:.1?}",
            two.micros(),
            one.micros(),
            two.report.p99(),
            one.report.p99(),
        );
        let what = format!("{subscribers} × {rate}/s");
        rows.push(Row::new(&what, &measured, "≤ 1.15 ×", ratio <= 1.15));
    }
    Ok(rows)
}

/// Measures the same until the p99 latency exceeds a second.
///
/// Both servers run on core 0: with two cores, the workers would take CPU time from the load, and
/// the latency would rise because of the load.
fn threads_at_saturation() -> io::Result<Vec<Row>> {
    let (mut ratios, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..PAIRS {
        let [two, one] = [TWO, ""]
            .map(|threads| saturate(&format!("fanout --ramp 2000:1.4:1:4 {threads}"), 1_000));
        let pair = [two?.rate_of_core, one?.rate_of_core];
        ratios.push(pair[0] / pair[1]);
        for (rates, rate) in rates.iter_mut().zip(pair) {
            rates.push(rate / 1e6);
        }
    }
    let (ratio, [two, one]) = (median(ratios), rates.map(median));
    let measured = format!("{ratio:.2} × ({two:.1} of {one:.1} M)");
    let what = "1000 on one core, deliveries per second of CPU time at saturation";
    Ok(vec![Row::new(what, &measured, "≥ 0.9 ×", ratio >= 0.9)])
}

/// Measures new clients and another topic beside 2,000 clients of one topic.
fn busy() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for rate in [200, 1_000] {
        let what = format!("2000 × {rate}/s");
        let probes = match probe(&format!("fanout {TWO} --rate {rate}")) {
            Ok(probes) => probes,
            Err(error) => {
                rows.push(Row::failed(&what, &error));
                continue;
            }
        };
        for (whose, times) in [
            ("admission", &probes.admission),
            ("another topic", &probes.second),
        ] {
            let (p50, p99) = (times.quantile(0.5), times.quantile(0.99));
            rows.push(Row::new(
                &format!("{what}, {whose}"),
                &format!("p50 {p50:.1?}, p99 {p99:.1?}"),
                "p99 ≤ 100 ms",
                p99 <= Duration::from_millis(100),
            ));
        }
    }
    Ok(rows)
}

/// Measures the same during a flood, compared with a bare poll loop.
fn busy_at_flood() -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let ours = probe(&format!("fanout {TWO} --flood"))?;
    let bare = probe("bare --coalesce --flood")?;
    for (what, ours, bare) in [
        ("admission", &ours.admission, &bare.admission),
        ("another topic", &ours.second, &bare.second),
    ] {
        let (p50, p99) = (ours.quantile(0.5), ours.quantile(0.99));
        let ratio = p99.as_secs_f64() / bare.quantile(0.99).as_secs_f64();
        rows.push(Row::new(
            &format!("2000 at full flood, {what}, beside bare --coalesce"),
            &format!(
                "p99 {ratio:.2} × ({p99:.1?} of {:.1?}), p50 {p50:.1?} of {:.1?}",
                bare.quantile(0.99),
                bare.quantile(0.5)
            ),
            "≤ 2 ×",
            ratio <= 2.0,
        ));
    }
    Ok(rows)
}

fn probe(command: &str) -> io::Result<Probes> {
    let time = seconds(8);
    let server = Server::start(&format!("{command} --second 100"))?;
    let mut load = Load::new(server.address())?;
    load.connect(2_000, Kind::Drain)?;
    load.run(seconds(1))?;
    let address = server.address();
    let probing = thread::spawn(move || Probes::measure(address, time));
    while !probing.is_finished() {
        load.run(Duration::from_millis(100))?.complete()?;
    }
    probing.join().map_err(|_| io::ErrorKind::Other)?
}

/// Measures the memory of clients that stall within a large event.
fn stalled() -> io::Result<Vec<Row>> {
    const EVENT: u64 = 10 << 20;
    // One event every ten seconds: the first before the clients connect, the second after.
    let server = Server::start(&format!("fanout {TWO} --rate 0.1 --size {EVENT}"))?;
    let mut load = Load::new(server.address())?;
    load.connect(1_000, Kind::Stuck)?;
    load.run(seconds(5))?;
    let before = server.memory()?;
    load.run(seconds(10))?;
    let grown = server.memory()?.saturating_sub(before + EVENT) >> 20;
    Ok(vec![Row::new(
        "1000 within 10 MiB, beyond the log",
        &format!("{grown} MiB"),
        "≤ 30 MiB",
        grown <= 30,
    )])
}

/// Compares clients of a global topic and of one of their own each with clients of one topic.
fn own_topics() -> io::Result<Vec<Row>> {
    const COMMANDS: [&str; 2] = ["fanout --rate 3 --own 10001", "fanout --rate 3"];
    let mut cpu = [const { Vec::new() }; 2];
    for _ in 0..3 {
        for (all, command) in cpu.iter_mut().zip(COMMANDS) {
            all.push(Delivered::measure(command, 10_000)?.micros());
        }
    }
    let [own, one] = cpu.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    });
    let ratio = own / one;
    let more = idle_memory(&Server::start("fanout --own 10001")?)?
        .saturating_sub(idle_memory(&Server::start("fanout")?)?);
    Ok(vec![
        Row::new(
            "CPU per event, beside one topic",
            &format!("{ratio:.2} × ({own:.2} of {one:.2} µs)"),
            "≤ 1.15 ×",
            ratio <= 1.15,
        ),
        Row::new(
            "memory of a client, beside one topic",
            &format!("{more} bytes more"),
            "≤ 200 bytes",
            more <= 200,
        ),
    ])
}

/// Compares two threads that publish into different topics of a hub with two hubs, and with one
/// thread.
fn two_publishers() -> io::Result<Vec<Row>> {
    let Publishers { hub, hubs, one } = Publishers::measure()?;
    let rows = [("two hubs", hubs, 0.4), ("one thread", one, 1.0)];
    let rows = rows.map(|(what, other, least)| {
        let ratio = hub / other;
        Row::new(
            &format!("two threads in one hub, beside {what}"),
            &format!("{ratio:.2} × ({:.2} of {:.2} M/s)", hub / 1e6, other / 1e6),
            &format!("≥ {least} ×"),
            ratio >= least,
        )
    });
    Ok(rows.into())
}
