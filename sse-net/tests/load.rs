//! A server under load, on a runtime with two workers and a publisher on a separate thread.
//!
//! 2,000 clients follow one topic. While events are published to it, the server still has to
//! serve new clients and other topics, and to notice closed tabs. The time limits distinguish
//! "never" from "soon", not fast from slow.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;
use sse_core::Event;
use sse_net::{Config, Routes, Server, ServerHandle, SlowClients, Tcp, Topic, TopicConfig};
use tokio::runtime::{Builder, Runtime};

/// Defines a test for each rate, in events per second.
macro_rules! under_load {
    ($($test:ident: $rate:expr,)*) => {
        $(#[test]
        fn $test() {
            everyone_is_served_at($rate);
        })*
    };
}

under_load! {
    at_200_events_a_second: Some(200),
    at_1000_events_a_second: Some(1_000),
    at_10000_events_a_second: Some(10_000),
    as_fast_as_the_publisher_can: None,
}

fn everyone_is_served_at(rate: Option<u32>) {
    // Each test uses the whole machine.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);

    let mut world = World::start(rate);
    step("a task of the application ticks", || {
        let before = world.ticks.load(Relaxed);
        wait_until(|| world.ticks.load(Relaxed) >= before + 10)
    });
    let newcomer = step("a new client gets its response head", || world.get("/busy"));
    step("an event of another topic comes", || {
        let mut other = world.get("/second")?;
        world
            .second
            .publish(&Event::new().data("elsewhere"))
            .unwrap();
        expect(&mut other, "data: elsewhere\n\n")
    });
    let idle = step("the heartbeat of an idle topic comes", || {
        let mut idle = world.get("/idle")?;
        expect(&mut idle, ":\n")?;
        Ok(idle)
    });
    let server = world.server.take().unwrap();
    step("closed tabs are noticed", || {
        let before = server.stats().client_closed;
        drop((newcomer, idle));
        wait_until(|| server.stats().client_closed >= before + 2)
    });
    step("the drain returns", || {
        let drain = server.drain(Duration::from_secs(1));
        let drain = world.runtime().spawn(drain);
        wait_until(|| drain.is_finished())
    });
    step("the publisher goes on", || {
        let published = world.publisher.count();
        wait_until(|| world.publisher.count() > published)
    });
    let received = world.crowd.stop();
    assert!(received.iter().all(|bytes| *bytes > 0), "{received:?}");
}

/// Runs a step of the test, and prints its duration.
#[track_caller]
fn step<T>(what: &str, act: impl FnOnce() -> io::Result<T>) -> T {
    let start = Instant::now();
    let done = act().unwrap_or_else(|error| panic!("{what}: {error}"));
    println!("{what}: {:?}", start.elapsed());
    done
}

const CLIENTS: usize = 2_000;

/// The time limit of a step.
const SOON: Duration = Duration::from_secs(10);

/// A server with a crowd of clients, and its publisher.
struct World {
    server: Option<ServerHandle>,
    runtime: Option<Runtime>,
    publisher: Publisher,
    crowd: Crowd,
    address: SocketAddr,
    second: Topic,
    ticks: Arc<AtomicU64>,
}

impl World {
    fn start(rate: Option<u32>) -> Self {
        let files = rlimit::increase_nofile_limit(8_192).unwrap();
        assert!(files > 2 * CLIENTS as u64 + 100, "{files} open files");
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        let _context = runtime.enter();

        let listener = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        // No client is disconnected, even if it cannot read everything.
        let [busy, second, idle] = [(); 3]
            .map(|()| Topic::new(TopicConfig::default().slow_clients(SlowClients::SkipAhead)));
        let routes = Routes::new()
            .topic("/busy", &busy)
            .topic("/second", &second)
            .topic("/idle", &idle);
        let config = Config::default().heartbeat(Duration::from_secs(1));
        let server = Server::new(config).listen(listener).serve(routes);

        let ticks = Arc::new(AtomicU64::new(0));
        let ticking = Arc::clone(&ticks);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(10)).await;
                ticking.fetch_add(1, Relaxed);
            }
        });
        Self {
            crowd: Crowd::connect(address),
            publisher: Publisher::start(busy, rate),
            server: Some(server),
            runtime: Some(runtime),
            address,
            second,
            ticks,
        }
    }

    /// Connects a client, and reads its response head.
    fn get(&self, path: &str) -> io::Result<TcpStream> {
        get(self.address, path)
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Without waiting: the publisher has not ended yet, and a worker may wait for it.
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// A thread that publishes until this is dropped.
struct Publisher {
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
}

impl Publisher {
    fn start(topic: Topic, rate: Option<u32>) -> Self {
        let (is_over, count) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let publisher = Self {
            is_over: Arc::clone(&is_over),
            count: Arc::clone(&count),
        };
        thread::spawn(move || {
            let start = Instant::now();
            while !is_over.load(Relaxed) && start.elapsed() < 6 * SOON {
                let event = Event::new().data("a flood of events");
                let published = count.load(Relaxed);
                if rate.is_none_or(|rate| {
                    published as f64 / f64::from(rate) <= start.elapsed().as_secs_f64()
                }) {
                    topic.publish(&event).unwrap();
                    count.store(published + 1, Relaxed);
                } else {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        publisher
    }

    fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

/// Clients that follow the busy topic, on one thread.
struct Crowd {
    is_over: Arc<AtomicBool>,
    reading: Option<JoinHandle<Vec<usize>>>,
}

impl Crowd {
    fn connect(address: SocketAddr) -> Self {
        let sockets = Vec::from_iter((0..CLIENTS).map(|_| {
            let socket = get(address, "/busy").unwrap();
            // Otherwise the system uses megabytes for each.
            SockRef::from(&socket)
                .set_recv_buffer_size(64 << 10)
                .unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        }));
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        Self {
            is_over,
            reading: Some(thread::spawn(move || read_all(&sockets, &stop))),
        }
    }

    /// Closes all clients, and returns the number of bytes that each received.
    fn stop(&mut self) -> Vec<usize> {
        self.is_over.store(true, Relaxed);
        self.reading.take().unwrap().join().unwrap()
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

fn read_all(sockets: &[TcpStream], is_over: &AtomicBool) -> Vec<usize> {
    let mut received = vec![0; sockets.len()];
    let mut buffer = vec![0; 64 << 10];
    while !is_over.load(Relaxed) {
        for (mut socket, received) in sockets.iter().zip(&mut received) {
            *received += socket.read(&mut buffer).unwrap_or(0);
        }
        thread::sleep(Duration::from_millis(5));
    }
    received
}

/// Connects, asks for `path` and reads the response head.
fn get(address: SocketAddr, path: &str) -> io::Result<TcpStream> {
    let mut socket = TcpStream::connect_timeout(&address, SOON)?;
    socket.set_read_timeout(Some(SOON))?;
    write!(socket, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")?;
    expect(&mut socket, "HTTP/1.1 200 OK\r\n")?;
    expect(&mut socket, "\nretry: ")?;
    expect(&mut socket, "\n\n")?;
    Ok(socket)
}

/// Reads until `text` is received.
fn expect(socket: &mut TcpStream, text: &str) -> io::Result<()> {
    let (mut read, mut byte) = (Vec::new(), [0]);
    while !read.ends_with(text.as_bytes()) {
        socket.read_exact(&mut byte)?;
        read.push(byte[0]);
    }
    Ok(())
}

fn wait_until(is_so: impl Fn() -> bool) -> io::Result<()> {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > SOON {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
