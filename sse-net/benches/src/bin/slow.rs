//! Shows after what time a client is cut that reads 8 kB/s without a pause, and by which
//! deadline, for several settings of the listener and of the client.
//!
//! All cases run at once. `slow SECONDS TIMEOUT...` says for how long, and which user timeouts
//! are tried; by default, 120 seconds, and 30 and 60.

use std::error::Error;
use std::future::ready;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::net::{AddressFamily, SocketType, connect, socket};
use sse_core::{Event, Retention};
use sse_net::{Config, Disconnect, Request, Server, ServerHandle, Start, Tcp, Topic};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let numbers = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    let (seconds, timeouts) = match &*numbers {
        [] => (120, &[30, 60][..]),
        [seconds, timeouts @ ..] => (*seconds, timeouts),
    };
    let topic = Topic::new(Retention::events(usize::MAX).bytes(1 << 30));
    let data = "x".repeat(1_000);
    for _ in 0..PAST / data.len() {
        let _ = topic.publish(&Event::new().data(&data));
    }
    let mut cases = Vec::new();
    for max_unsent in [256, 128, 64, 32, 16] {
        for &user_timeout in timeouts {
            for buffer in [None, Some(3 << 20), Some(4 << 20)] {
                for is_fast_first in [false, true] {
                    cases.push(Case::start(
                        &topic,
                        max_unsent << 10,
                        user_timeout,
                        buffer,
                        is_fast_first,
                    )?);
                }
            }
        }
    }
    let mut clients = Vec::new();
    for case in &cases {
        for deadline in &case.deadlines {
            clients.push(Client::connect(deadline.address, case)?);
        }
    }
    spawn(move || read_all(clients));
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..10 {
            let _ = topic.publish(&Event::new().data(&data));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "| max_unsent | user timeout | client's buffer | first | with a write timeout of 20 s | without |\n\
         | --- | --- | --- | --- | --- | --- |"
    );
    for case in &cases {
        println!("{}", case.row());
    }
    Ok(())
}

/// How much is there to be read at once.
const PAST: usize = 64 << 20;

/// How much a client reads as fast as it can, where it does, and how fast it reads after that.
const FAST: usize = 32 << 20;
const RATE: usize = 8_000;
const PAUSE: Duration = Duration::from_millis(100);

struct Case {
    max_unsent: u32,
    user_timeout: u64,
    buffer: Option<usize>,
    is_fast_first: bool,
    deadlines: Vec<Deadline>,
}

/// A server with a write timeout, and when and why it ended its stream.
struct Deadline {
    address: SocketAddr,
    end: Arc<Mutex<Option<(Duration, Disconnect)>>>,
    _server: ServerHandle,
}

impl Case {
    fn start(
        topic: &Topic,
        max_unsent: u32,
        user_timeout: u64,
        buffer: Option<usize>,
        is_fast_first: bool,
    ) -> io::Result<Self> {
        let tcp = Tcp {
            max_unsent: Some(max_unsent),
            user_timeout: Some(Duration::from_secs(user_timeout)),
            ..Tcp::default()
        };
        let deadlines = [20, 3600]
            .map(|seconds| Deadline::start(topic, &tcp, Duration::from_secs(seconds)))
            .into_iter()
            .collect::<io::Result<_>>()?;
        Ok(Self {
            max_unsent,
            user_timeout,
            buffer,
            is_fast_first,
            deadlines,
        })
    }

    fn row(&self) -> String {
        let [with, without] = [0, 1].map(|at| {
            let end = self.deadlines[at].end.lock();
            match *end.unwrap_or_else(std::sync::PoisonError::into_inner) {
                Some((time, reason)) => format!("{reason:?} after {:.0} s", time.as_secs_f64()),
                None => "stays".to_owned(),
            }
        });
        format!(
            "| {} KiB | {} s | {} | {} | {with} | {without} |",
            self.max_unsent >> 10,
            self.user_timeout,
            match self.buffer {
                Some(bytes) => format!("{} MiB", bytes >> 20),
                None => "default".to_owned(),
            },
            if self.is_fast_first { "fast" } else { "slow" },
        )
    }
}

impl Deadline {
    fn start(topic: &Topic, tcp: &Tcp, write_timeout: Duration) -> io::Result<Self> {
        let listener = tcp.bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let config = Config {
            write_timeout,
            shards: Some(1),
            ..Config::default()
        };
        let end = Arc::new(Mutex::new(None));
        let (topic, told) = (topic.clone(), Arc::clone(&end));
        let server = Server::new(config)
            .listen(listener)
            .serve(move |request: Request| {
                let (told, start) = (Arc::clone(&told), Instant::now());
                let answer = request.follow_from(&topic, Start::Earliest);
                ready(answer.on_end(move |reason| {
                    if let Ok(mut end) = told.lock() {
                        *end = Some((start.elapsed(), reason));
                    }
                }))
            });
        Ok(Self {
            address,
            end,
            _server: server,
        })
    }
}

struct Client {
    socket: TcpStream,
    /// How much it reads as fast as it can.
    fast: usize,
}

impl Client {
    fn connect(server: SocketAddr, case: &Case) -> io::Result<Self> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        if let Some(bytes) = case.buffer {
            set_socket_recv_buffer_size(&socket, bytes)?;
        }
        connect(&socket, &server)?;
        let mut socket = TcpStream::from(socket);
        socket.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            fast: if case.is_fast_first { FAST } else { 0 },
        })
    }

    /// Reads what there is for a pause.
    fn read(&mut self, buffer: &mut [u8]) {
        while self.fast > 0
            && let Ok(len @ 1..) = self.socket.read(buffer)
        {
            self.fast = self.fast.saturating_sub(len);
        }
        if self.fast == 0 {
            let len = RATE / 1_000 * PAUSE.as_millis() as usize;
            let _ = self.socket.read(&mut buffer[..len]);
        }
    }
}

fn read_all(mut clients: Vec<Client>) {
    let mut buffer = vec![0; 256 << 10];
    loop {
        for client in &mut clients {
            client.read(&mut buffer);
        }
        sleep(PAUSE);
    }
}
