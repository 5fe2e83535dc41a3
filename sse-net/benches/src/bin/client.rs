//! Compares the clients with a bare loop of `read(2)` and the decoder, over one socket, and with
//! other clients.
//!
//! A thread on core 1 sends 100-byte events as fast as they are read. The CPU time is that of the
//! reading thread, on core 0. The memory is that of the process, which has an idle server, too.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{process, thread};

use eventsource_client::{Client as _, ClientBuilder, SSE};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use sse_core::{Decoded, Decoder, Event, EventId};
use sse_net::{BodyEvents, Client, Connect, EventSource};
use sse_net_benches::listen;
use sse_net_benches::process::memory;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

fn main() -> Result<(), Box<dyn Error>> {
    pin(0)?;
    let server = serve()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    println!("| bar | measured | target | |\n| --- | --- | --- | --- |");

    let mut times: [Vec<Duration>; 6] = Default::default();
    for _ in 0..ROUNDS {
        // In turn, so that other load on the machine affects all.
        let measured = [
            cpu_of(|| read_bare(server, EVENTS))?,
            cpu_of(|| read_blocking(server, EVENTS))?,
            cpu_of(|| block_on(read_async(server, EVENTS)))?,
            cpu_of(|| block_on(read_with_eventsource_client(server, EVENTS)))?,
            cpu_of(|| block_on(read_body(server, EVENTS)))?,
            cpu_of(|| block_on(read_with_eventsource_stream(server, EVENTS)))?,
        ];
        for (times, time) in times.iter_mut().zip(measured) {
            times.push(time);
        }
    }
    let each = |times| median(times).as_secs_f64() * 1e9 / EVENTS as f64;
    let [
        bare,
        blocking,
        client,
        eventsource_client,
        body,
        eventsource_stream,
    ] = times.map(each);
    for (name, time) in [("client", client), ("blocking client", blocking)] {
        println!(
            "| {name}, CPU time of an event | {time:.0} ns, bare loop {bare:.0} ns \
             | ≤ 40 ns more | {} |",
            verdict(time - bare <= 40.0),
        );
    }
    for (name, time, peer, peers_time, target) in [
        (
            "client",
            client,
            "eventsource-client",
            eventsource_client,
            0.5,
        ),
        (
            "events of reqwest's body",
            body,
            "eventsource-stream",
            eventsource_stream,
            0.8,
        ),
    ] {
        let ratio = time / peers_time;
        println!(
            "| {name}, CPU time of an event beside {peer} | {ratio:.2} × ({time:.0} ns of \
             {peers_time:.0} ns) | ≤ {target} × | {} |",
            verdict(ratio <= target),
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
    let bytes = runtime.block_on(idle_memory())?;
    println!(
        "| memory of each of {IDLE} idle clients | {bytes} bytes | ≤ 2048 | {} |",
        verdict(bytes <= 2048),
    );
    Ok(())
}

const ROUNDS: usize = 7;
const EVENTS: usize = 300_000;
const CONNECTIONS: usize = 301;
const IDLE: usize = 9_900;

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

async fn read_with_eventsource_client(server: SocketAddr, count: usize) -> io::Result<()> {
    let transport = HyperTransport::builder().build_http()?;
    let client = ClientBuilder::for_url(&format!("http://{server}/")).map_err(io::Error::other)?;
    let client = client.build_with_transport(transport);
    let mut stream = client.stream();
    let mut events = 0;
    while events < count {
        match stream.next().await.transpose().map_err(io::Error::other)? {
            Some(item) => events += usize::from(matches!(item, SSE::Event(_))),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
    Ok(())
}

async fn read_body(server: SocketAddr, count: usize) -> io::Result<()> {
    let response = get(server).await?;
    let mut events = BodyEvents::new(http::Response::from(response).into_body());
    for _ in 0..count {
        events.next().await.map_err(io::Error::other)?;
    }
    Ok(())
}

async fn read_with_eventsource_stream(server: SocketAddr, count: usize) -> io::Result<()> {
    let mut events = get(server).await?.bytes_stream().eventsource();
    for _ in 0..count {
        events.next().await.transpose().map_err(io::Error::other)?;
    }
    Ok(())
}

async fn get(server: SocketAddr) -> io::Result<reqwest::Response> {
    reqwest::get(format!("http://{server}/"))
        .await
        .map_err(io::Error::other)
}

/// Returns the memory of one of many clients in this process that have received one event.
async fn idle_memory() -> io::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.maximum;
    setrlimit(Resource::Nofile, Rlimit { current, ..limit })?;
    let listener = listen(None)?.into_std()?;
    listener.set_nonblocking(false)?;
    let server = listener.local_addr()?;
    let mut sockets = Vec::with_capacity(IDLE);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let Ok(mut socket) = socket else { return };
            let mut head = [0; 1024];
            if socket.read(&mut head).is_ok_and(|len| len > 0) {
                let _ = socket.write_all(HEAD);
                let _ = socket.write_all(b"id: 7\ndata: hey\n\n");
                sockets.push(socket);
            }
        }
    });
    let received = Arc::new(Semaphore::new(0));
    let before = memory(process::id())?;
    for _ in 0..IDLE {
        let mut client = source(server)?.connect();
        let one = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok(Some(_)) = client.next().await {
                one.add_permits(1);
            }
        });
        // One after another, so that the listener's backlog suffices.
        received.acquire().await.map_err(io::Error::other)?.forget();
    }
    Ok((memory(process::id())? - before) / IDLE as u64)
}

fn first_event(runtime: &Runtime, server: SocketAddr) -> io::Result<()> {
    runtime.block_on(read_async(server, 1))
}

/// Creates a runtime for the measurement alone, so that no task of an HTTP library outlives it.
fn block_on(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
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
