//! What clients cost that stop reading in the middle of a large event. The only test of its
//! program, since it measures the memory of the process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use sse_core::{Event, Retention};
use sse_net::{Config, Routes, Server, Tcp, Topic};
use tokio::time::sleep;

const CLIENTS: usize = 200;
const EVENT: usize = 10 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_stall_within_one_event_share_it() {
    let topic = Topic::new(Retention::default());
    let listener = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config::default().write_timeout(Duration::from_secs(3600));
    let server = Server::new(config)
        .listen(listener)
        .serve(Routes::new().topic("/", &topic));
    let mut sockets =
        tokio::task::spawn_blocking(move || Vec::from_iter((0..CLIENTS).map(|_| connect(address))))
            .await
            .unwrap();
    let data = "x".repeat(EVENT);
    let (before, written) = (resident(), server.stats().bytes);

    topic.publish(&Event::new().id(1).data(&*data)).unwrap();
    let mut last = 0;
    // Until the server has written what the sockets take.
    while let bytes = server.stats().bytes
        && (bytes == written || bytes > last)
    {
        last = bytes;
        sleep(Duration::from_millis(500)).await;
    }
    assert!(last < (CLIENTS * EVENT) as u64 / 2, "they have not stalled");
    let grown = resident().saturating_sub(before) >> 20;
    println!("{grown} MiB for a log of 10 MiB and {CLIENTS} clients");
    assert!(grown < 60, "{grown} MiB");

    // The others are stuck, and this one goes on.
    let mut socket = sockets.swap_remove(CLIENTS / 2);
    let read = tokio::task::spawn_blocking(move || {
        let mut event = vec![0; "id: 1\ndata: \n\n".len() + EVENT];
        socket.read_exact(&mut event).unwrap();
        event
    });
    let event = String::from_utf8(read.await.unwrap()).unwrap();
    assert!(event == format!("id: 1\ndata: {data}\n\n"), "it is torn");
}

/// Connects, and reads the response head and the first block.
fn connect(address: SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\n\n") {
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    socket
}

/// How many bytes of memory this process has.
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
