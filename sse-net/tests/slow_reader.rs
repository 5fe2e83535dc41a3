//! A client on a slow line that reads steadily.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use sse_core::{Event, Retention};
use sse_net::{Config, Routes, Server, Start, Tcp, Topic};

/// Longer than the default write timeout and user timeout.
const TIME: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 40 s"]
async fn a_client_that_reads_8_kilobytes_a_second_stays_connected() {
    let topic = Topic::new(Retention::events(usize::MAX));
    let listener = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(Config::default())
        .listen(listener)
        .serve(Routes::new().topic_from("/", &topic, Start::Earliest));
    // More than the sockets take, and no more than the log retains.
    let data = "x".repeat(1_000);
    for _ in 0..15_000 {
        topic.publish(&Event::new().data(&*data)).unwrap();
    }
    let reading = thread::spawn(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let (start, mut buffer) = (Instant::now(), [0; 800]);
        while start.elapsed() < TIME {
            socket.read_exact(&mut buffer).unwrap();
            thread::sleep(Duration::from_millis(100));
        }
        socket
    });
    while !reading.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stats = server.stats();
        assert_eq!((stats.write_timeouts, stats.client_closed), (0, 0));
    }
    let _socket = reading.join().unwrap();
    assert_eq!(server.stats().connections, 1);
}
