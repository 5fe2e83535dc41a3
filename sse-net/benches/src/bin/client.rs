//! Compares the clients with a bare loop of `read(2)` and the decoder, over one socket.
//!
//! A thread on core 1 sends 100-byte events as fast as they are read. The CPU time is that of the
//! reading thread, on core 0.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use sse_core::{Decoded, Decoder, Event, EventId};
use sse_net::{Client, Connect, EventSource};
use tokio::runtime::{Builder, Runtime};

fn main() -> Result<(), Box<dyn Error>> {
    pin(0)?;
    let server = serve()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    println!("| bar | measured | target | |\n| --- | --- | --- | --- |");

    // In turn, so that other load on the machine affects all.
    let (mut bare, mut blocking, mut client) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(cpu_of(|| read_bare(server, EVENTS))?);
        blocking.push(cpu_of(|| read_blocking(server, EVENTS))?);
        client.push(cpu_of(|| runtime.block_on(read_async(server, EVENTS)))?);
    }
    let [bare, blocking, client] = [bare, blocking, client].map(median);
    let each = |time: Duration| time.as_secs_f64() * 1e9 / EVENTS as f64;
    for (name, time) in [("client", client), ("blocking client", blocking)] {
        let more = each(time) - each(bare);
        println!(
            "| {name}, CPU time of an event | {:.0} ns, bare loop {:.0} ns | ≤ 40 ns more | {} |",
            each(time),
            each(bare),
            verdict(more <= 40.0),
        );
    }

    let (mut bare, mut client) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        bare.push(time_of(|| read_bare(server, 1))?);
        client.push(time_of(|| first_event(&runtime, server))?);
    }
    let [bare, client] = [bare, client].map(median);
    let ratio = client.as_secs_f64() / bare.as_secs_f64();
    println!(
        "| from connect to the first event | {ratio:.2} × ({client:.0?} of {bare:.0?}) | ≤ 1.3 × \
         | {} |",
        verdict(ratio <= 1.3),
    );
    Ok(())
}

const ROUNDS: usize = 9;
const EVENTS: usize = 500_000;
const CONNECTIONS: usize = 301;

/// Starts a server that sends each client events until it leaves.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut events = Vec::new();
    let data = "x".repeat(80);
    for n in 0..5_000 {
        let id = EventId::new(format!("1700000000000-{n}")).map_err(io::Error::other)?;
        Event::new().id(id).data(&data).encode(&mut events);
    }
    thread::spawn(move || {
        let _ = pin(1);
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let _ = socket.set_nodelay(true);
            let mut head = [0; 1024];
            if socket.read(&mut head).is_ok_and(|len| len > 0) {
                let _ = socket.write_all(HEAD);
                while socket.write_all(&events).is_ok() {}
            }
        }
    });
    Ok(address)
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

/// Reads events with `read(2)` and the decoder alone.
fn read_bare(server: SocketAddr, count: usize) -> io::Result<()> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n")?;
    let mut buffer = vec![0; 16 << 10];
    let mut decoder = Decoder::new();
    let (mut events, mut skip) = (0, HEAD.len());
    while events < count {
        let len = socket.read(&mut buffer)?;
        let bytes = &buffer[skip.min(len)..len];
        skip = skip.saturating_sub(len);
        let mut chunk = decoder.chunk(bytes);
        while let Some(item) = chunk.next().map_err(io::Error::other)? {
            events += usize::from(matches!(item, Decoded::Event(_)));
        }
    }
    Ok(())
}

fn source(server: SocketAddr) -> io::Result<EventSource> {
    EventSource::get(format!("http://{server}/")).map_err(io::Error::other)
}

fn read_blocking(server: SocketAddr, count: usize) -> io::Result<()> {
    let mut client = source(server)?.connect_blocking();
    for _ in 0..count {
        client.next().map_err(io::Error::other)?;
    }
    Ok(())
}

async fn read_async(server: SocketAddr, count: usize) -> io::Result<()> {
    let mut client = source(server)?.connect();
    next(&mut client, count).await
}

async fn next(client: &mut Client, count: usize) -> io::Result<()> {
    for _ in 0..count {
        client.next().await.map_err(io::Error::other)?;
    }
    Ok(())
}

fn first_event(runtime: &Runtime, server: SocketAddr) -> io::Result<()> {
    runtime.block_on(read_async(server, 1))
}

/// Returns the CPU time of this thread.
fn cpu_of(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let now = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
    };
    let before = now();
    work()?;
    Ok(now() - before)
}

fn time_of(work: impl FnOnce() -> io::Result<()>) -> io::Result<Duration> {
    let before = Instant::now();
    work()?;
    Ok(before.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

const fn verdict(is_met: bool) -> &'static str {
    if is_met { "ok" } else { "**missed**" }
}
