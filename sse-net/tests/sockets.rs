//! Behaviour of real sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::ready;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::{after_retry, config};
use sse_core::{Event, Retention};
use sse_net::{Disconnect, Request, Routes, Server, ServerHandle, Start, Tcp, Topic};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The connection of a client, used from a blocking thread.
trait Socket: Read + Write + Send + 'static {
    fn end_half(&self);
}

impl Socket for TcpStream {
    fn end_half(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

#[cfg(unix)]
impl Socket for UnixStream {
    fn end_half(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }
}

type Connect = Box<dyn Fn() -> Box<dyn Socket> + Send>;

struct World {
    server: ServerHandle,
    topic: Topic,
    ends: mpsc::UnboundedReceiver<Disconnect>,
    connects: Vec<Connect>,
}

impl World {
    /// A server on every kind of socket, and functions that connect to it.
    fn new() -> Self {
        let topic = Topic::new(Retention::default());
        let tcp = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        let server = Server::new(config().heartbeat(Duration::from_secs(3600))).listen(tcp);
        let connect: Connect = Box::new(move || Box::new(TcpStream::connect(address).unwrap()));
        let connects = vec![connect];
        #[cfg(unix)]
        let (server, connects) = {
            let mut connects = connects;
            let path = std::env::temp_dir().join(format!(
                "sse-net-sockets-{}-{:?}",
                std::process::id(),
                std::thread::current().id()
            ));
            let listener = sse_net::bind_unix(&path).unwrap();
            connects.push(Box::new(move || {
                Box::new(UnixStream::connect(&path).unwrap())
            }));
            (server.listen(listener), connects)
        };
        let (tell, ends) = mpsc::unbounded_channel();
        let followed = topic.clone();
        let server = server.serve(move |request: Request| {
            let tell = tell.clone();
            let answer = match request.path() {
                "/own" => request.stream(async |mut stream| {
                    stream.closed().await;
                    Err(std::io::ErrorKind::BrokenPipe.into())
                }),
                _ => request.follow_from(&followed, Start::Live),
            };
            ready(answer.on_end(move |reason| {
                let _ = tell.send(reason);
            }))
        });
        Self {
            server,
            topic,
            ends,
            connects,
        }
    }

    async fn end(&mut self) -> Disconnect {
        let end = timeout(Duration::from_secs(5), self.ends.recv());
        end.await.expect("the disconnect is found").unwrap()
    }
}

/// Runs blocking work while the server continues.
async fn block<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

fn ask(socket: Box<dyn Socket>) -> Box<dyn Socket> {
    ask_for("/", socket)
}

fn ask_for(path: &str, mut socket: Box<dyn Socket>) -> Box<dyn Socket> {
    write!(socket, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut text = Vec::new();
    while !text.ends_with(b"\n\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    assert_eq!(after_retry(str::from_utf8(&text).unwrap()).unwrap(), "");
    socket
}

fn expect(socket: &mut dyn Socket, expected: &str) {
    let mut text = vec![0; expected.len()];
    socket.read_exact(&mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[tokio::test]
async fn a_client_that_disconnects_is_found_at_once() {
    let mut world = World::new();
    for connect in std::mem::take(&mut world.connects) {
        block(move || drop(ask(connect()))).await;
        assert_eq!(world.end().await, Disconnect::ClientClosed);
    }
    assert_eq!(world.topic.subscriptions(), 0);
}

#[tokio::test]
async fn a_per_client_stream_finds_a_disconnect_at_once() {
    let mut world = World::new();
    for connect in std::mem::take(&mut world.connects) {
        block(move || drop(ask_for("/own", connect()))).await;
        assert_eq!(world.end().await, Disconnect::ClientClosed);
    }
}

#[tokio::test]
async fn the_bytes_on_the_wire_are_exact() {
    let mut world = World::new();
    for connect in std::mem::take(&mut world.connects) {
        let said = block(move || {
            let mut socket = connect();
            socket
                .write_all(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            let mut said = String::new();
            socket.read_to_string(&mut said).unwrap();
            said
        });
        let said = said.await;
        let date = said.split("\r\n").nth(1).unwrap();
        assert!(
            date.starts_with("Date: ") && date.ends_with(" GMT"),
            "{date}"
        );
        assert_eq!(
            said.replace(&format!("{date}\r\n"), ""),
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n\
             Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\n\r\n"
        );
        assert_eq!(world.end().await, Disconnect::Finished);
    }
}

#[tokio::test]
async fn a_half_closed_client_keeps_its_stream() {
    let mut world = World::new();
    for connect in std::mem::take(&mut world.connects) {
        let topic = world.topic.clone();
        block(move || {
            let mut socket = ask(connect());
            socket.end_half();
            expect(&mut *socket, ":\n");
            topic
                .publish(&Event::new().id(1).data("still there"))
                .unwrap();
            let mut text = String::new();
            while !text.ends_with("\n\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                text.push(char::from(byte[0]));
            }
            assert_eq!(
                text.trim_start_matches(":\n"),
                "id: 1\ndata: still there\n\n"
            );
        })
        .await;
        // It ended its half long ago: that it has left is seen by what can't be delivered.
        let topic = world.topic.clone();
        let publishing = async {
            loop {
                topic
                    .publish(&Event::new().data("is anybody there?"))
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            end = world.end() => assert_eq!(end, Disconnect::ClientClosed),
            () = publishing => {}
        }
    }
}

#[tokio::test]
async fn megabytes_arrive_complete_and_in_order() {
    let mut world = World::new();
    for connect in std::mem::take(&mut world.connects) {
        let topic = world.topic.clone();
        block(move || {
            let mut socket = ask(connect());
            let text = "x".repeat(100_000);
            for id in 0..80 {
                topic.publish(&Event::new().id(id).data(&*text)).unwrap();
            }
            for id in 0..80 {
                expect(&mut *socket, &format!("id: {id}\ndata: {text}\n\n"));
            }
        })
        .await;
        assert_eq!(world.end().await, Disconnect::ClientClosed);
    }
}

#[tokio::test]
async fn a_drain_ends_every_connection() {
    let world = World::new();
    let mut sockets = Vec::new();
    for connect in world.connects {
        sockets.push(block(move || ask(connect())).await);
    }
    world.server.drain(Duration::from_millis(10)).await;
    for mut socket in sockets {
        let mut rest = String::new();
        socket.read_to_string(&mut rest).unwrap();
        assert!(rest.starts_with("retry: "), "{rest}");
    }
}

#[tokio::test]
async fn after_a_drain_the_address_is_free() {
    let listener = Tcp::default().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::new(config()).listen(listener).serve(Routes::new());
    tokio::task::yield_now().await;
    server.drain(Duration::from_secs(5)).await;
    Tcp::default().bind(address).unwrap();
}
