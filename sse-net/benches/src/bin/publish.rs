//! Measures the time of `publish` while the topic's log is read, and the longest time that the
//! topic is locked. Prints a table that compares each case with the same without readers.
//!
//! The publisher runs alone on core 1, everything else on core 0. It publishes an event
//! every 100 µs, and calls `is_finished` in between, which only takes the lock. Each case is
//! measured in many short rounds, and the medians count.
//!
//! The longest of these calls contains the time in which the thread that held the lock was
//! preempted. So the two calls that do work under the lock, `publish` and a read of the newest
//! chunk, are also measured by the CPU time of their threads: that of the longest call bounds the
//! time for which it held the lock.

use std::error::Error;
use std::future::ready;
use std::hint::{self, black_box};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, id};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, connect, socket};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use sse_core::{Event, Retention};
use sse_net::{Config, Request, Server, ServerHandle, Start, Tcp, Topic};
use sse_net_benches::histogram::Histogram;

fn main() -> Result<(), Box<dyn Error>> {
    pin(0)?;
    let _ = Command::new("renice")
        .args(["-n", "-20", "-p", &id().to_string()])
        .output()?;
    let topic = Topic::new(Retention::events(usize::MAX).bytes(8 << 30));
    let data = "x".repeat(1_000);
    for _ in 0..HISTORY / data.len() {
        let _ = topic.publish(&Event::new().data(&data));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let _context = runtime.enter();
    let (server, address) = serve(&topic)?;

    println!("| bar | measured | target | |\n| --- | --- | --- | --- |");
    let readers: [(&str, &Readers<'_>); 3] = [
        ("1 GiB of history read in the process", &|is_over| {
            read_in_process(&topic, is_over);
            Ok(())
        }),
        ("1 GiB of history sent to a client", &|is_over| {
            read_as_client(address, is_over)
        }),
        ("500 slow clients", &|is_over| read_slowly(address, is_over)),
    ];
    for (name, read) in readers {
        let alone = Calls::measure(&topic, &|_| Ok(()))?;
        let beside = Calls::measure(&topic, read)?;
        alone.print(name, &beside);
    }
    let [publish, read] = longest_by_cpu_time(&topic);
    for (name, longest) in [("publish", publish), ("a read of the newest chunk", read)] {
        row(
            &format!("longest {name}, by CPU time"),
            &format!("{longest:.1?}"),
            "≤ 100 µs",
            longest <= Duration::from_micros(100),
        );
    }
    drop(server);
    Ok(())
}

const HISTORY: usize = 1 << 30;
const CLIENTS: usize = 500;

/// Reads until the end.
type Readers<'a> = dyn Fn(&AtomicBool) -> io::Result<()> + Sync + 'a;

/// Measures `publish` and the longest call, as medians of many rounds.
struct Calls {
    p50: Duration,
    p999: Duration,
    longest: Duration,
}

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_micros(100);
const GAP: Duration = Duration::from_micros(5);

impl Calls {
    fn measure(topic: &Topic, read: &Readers<'_>) -> io::Result<Self> {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let reading = scope.spawn(|| read(&is_over));
            let publishing = scope.spawn(|| -> io::Result<Self> {
                pin(1)?;
                thread::sleep(Duration::from_secs(1)); // The readers are running then.
                let rounds = Vec::from_iter((0..ROUNDS).map(|_| round(topic)));
                is_over.store(true, Relaxed);
                let median = |of: &dyn Fn(&(Histogram, Duration)) -> Duration| {
                    let mut times = Vec::from_iter(rounds.iter().map(of));
                    times.sort();
                    times[ROUNDS / 2]
                };
                Ok(Self {
                    p50: median(&|(calls, _)| calls.quantile(0.5)),
                    p999: median(&|(calls, _)| calls.quantile(0.999)),
                    longest: median(&|(_, longest)| *longest),
                })
            });
            let calls = publishing.join().map_err(|_| io::ErrorKind::Other)?;
            reading.join().map_err(|_| io::ErrorKind::Other)??;
            calls
        })
    }

    /// Prints the rows of a case, compared with the calls without readers.
    fn print(&self, name: &str, beside: &Self) {
        let ratio = beside.p999.as_secs_f64() / self.p999.as_secs_f64();
        let measured = format!(
            "{ratio:.2} × ({:.1?} of {:.1?}), p50 {:.1?} of {:.1?}",
            beside.p999, self.p999, beside.p50, self.p50
        );
        row(&format!("{name}, p99.9"), &measured, "≤ 2 ×", ratio <= 2.0);
        let longest = format!("{:.1?} (without {:.1?})", beside.longest, self.longest);
        println!("| publish: {name}, longest call, with preemption | {longest} | | |");
    }
}

/// Returns the CPU time of the longest call that publishes, and of the longest that reads up to
/// 64 KiB of the newest chunk: the medians of many rounds.
fn longest_by_cpu_time(topic: &Topic) -> [Duration; 2] {
    let data = "x".repeat(100);
    let event = Event::new().data(&data);
    let mut cx = Context::from_waker(Waker::noop());
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let mut longest = [Duration::ZERO; 2];
        for _ in 0..10_000 {
            let begin = cpu_time();
            let _ = topic.publish(&event);
            longest[0] = longest[0].max(cpu_time() - begin);
            let mut subscription = topic.subscribe(Start::Last(600));
            for _ in 0..3 {
                let begin = cpu_time();
                let _ = black_box(subscription.poll_bytes(&mut cx));
                longest[1] = longest[1].max(cpu_time() - begin);
            }
        }
        rounds.push(longest);
    }
    [0, 1].map(|at| {
        let mut times = Vec::from_iter(rounds.iter().map(|longest| longest[at]));
        times.sort();
        times[ROUNDS / 2]
    })
}

/// Returns the CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn row(what: &str, measured: &str, target: &str, is_met: bool) {
    let verdict = if is_met { "ok" } else { "**missed**" };
    println!("| publish: {what} | {measured} | {target} | {verdict} |");
}

/// The time of `publish`, and the longest call.
fn round(topic: &Topic) -> (Histogram, Duration) {
    let (mut calls, mut longest) = (Histogram::default(), Duration::ZERO);
    let data = "x".repeat(100);
    let event = Event::new().data(&data);
    let start = Instant::now();
    let mut due = Duration::ZERO;
    while start.elapsed() < ROUND {
        let begin = Instant::now();
        if start.elapsed() >= due {
            let _ = topic.publish(&event);
            calls.add(begin.elapsed().as_nanos() as u64);
            due = start.elapsed() + PAUSE;
        } else {
            black_box(topic.is_finished());
        }
        longest = longest.max(begin.elapsed());
        // Leaves the lock to other threads.
        let end = Instant::now() + GAP;
        while Instant::now() < end {
            hint::spin_loop();
        }
    }
    (calls, longest)
}

fn read_in_process(topic: &Topic, is_over: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let mut bytes = Vec::with_capacity(2 * HISTORY);
    while !is_over.load(Relaxed) {
        let mut subscription = topic.subscribe(Start::Earliest);
        bytes.clear();
        while bytes.len() < HISTORY {
            let read = runtime.block_on(subscription.read(&mut bytes));
            read.expect("nothing is evicted");
        }
    }
}

fn read_as_client(server: SocketAddr, is_over: &AtomicBool) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    while !is_over.load(Relaxed) {
        let mut socket = get(server, "/kept", None)?;
        let mut read = 0;
        while read < HISTORY && !is_over.load(Relaxed) {
            read += socket.read(&mut buffer)?;
        }
    }
    Ok(())
}

/// Runs many clients that read at 40 kB/s, slower than events are published.
fn read_slowly(server: SocketAddr, is_over: &AtomicBool) -> io::Result<()> {
    let mut sockets = Vec::new();
    for _ in 0..CLIENTS {
        let socket = get(server, "/live", Some(8 << 10))?;
        socket.set_nonblocking(true)?;
        sockets.push(socket);
    }
    let mut buffer = vec![0; 4_000];
    while !is_over.load(Relaxed) {
        for mut socket in &sockets {
            let _ = socket.read(&mut buffer);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn get(server: SocketAddr, path: &str, buffer: Option<usize>) -> io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    if let Some(bytes) = buffer {
        set_socket_recv_buffer_size(&socket, bytes)?;
    }
    connect(&socket, &server)?;
    let mut socket = TcpStream::from(socket);
    write!(socket, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    Ok(socket)
}

fn serve(topic: &Topic) -> io::Result<(ServerHandle, SocketAddr)> {
    let listener = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let topic = topic.clone();
    let server = Server::new(Config::default())
        .listen(listener)
        .serve(move |request: Request| {
            let start = match request.path() {
                "/kept" => Start::Earliest,
                _ => Start::Live,
            };
            ready(request.follow_from(&topic, start))
        });
    Ok((server, address))
}

/// Pins this thread and its future child threads to a core.
fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
