//! Clients of keyed topics, and a naive model of their maps: however they stall, leave and come back, the maps that they keep are
//! those of the publisher in the end. A program is a sequence of bytes, as in the model of hubs.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use sse_core::{Decoded, Decoder, Event, KeyedRetention, LogId};
use sse_net::{Config, Hub, Request, Server, ServerHandle, Topic, TopicConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::pipes::Pipes;

type Map = BTreeMap<String, String>;

/// Two keyed topics, and one that is not.
const TOPICS: [&str; 3] = ["k", "l", "log"];
const CLIENTS: usize = 6;
const KEYS: usize = 12;

struct World {
    topics: [Topic; 3],
    connect: mpsc::UnboundedSender<DuplexStream>,
    server: ServerHandle,
    /// What the publisher has published last of each key.
    published: [Map; 2],
    clients: [Client; CLIENTS],
    count: usize,
}

#[derive(Default)]
struct Client {
    /// The places of its topics.
    topics: Vec<usize>,
    connection: Option<Connection>,
    is_stalled: bool,
    last_id: Option<String>,
    maps: [Map; 2],
}

struct Connection {
    pipe: DuplexStream,
    /// The bytes of the head, until the body begins.
    head: Option<Vec<u8>>,
    decoder: Decoder,
    greatest: LogId,
}

/// Runs a program. Panics if a client has another map in the end.
pub(crate) fn run(program: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs nothing");
    runtime.block_on(async {
        let mut bytes = program.iter().copied();
        let mut world = World::new(bytes.next().unwrap_or_default() % 2 == 0);
        while let Some(operation) = bytes.next() {
            let argument = bytes.next().unwrap_or_default().into();
            world.step(operation, argument).await;
        }
        world.end().await;
    });
}

impl World {
    fn new(drops_removals: bool) -> Self {
        let mut retention = KeyedRetention::default();
        if drops_removals {
            retention = retention.removals(Duration::ZERO);
        }
        let hub = Hub::new(TopicConfig::default().keyed(retention));
        let [k, l] = ["k", "l"].map(|name| hub.keyed_topic(name).unwrap());
        let topics = [k, l, hub.topic("log").unwrap()];
        let followed = topics.clone();
        let (connect, accept) = mpsc::unbounded_channel();
        let server = Server::new(Config::default().shards(2)).listen(Pipes::new(accept));
        let server = server.serve(move |request: Request| {
            let names = request.path()[1..].split(',');
            let place = |name| TOPICS.iter().position(|topic| *topic == name).unwrap();
            let topics: Vec<_> = names.map(|name| &followed[place(name)]).cloned().collect();
            ready(request.follow_all(&topics))
        });
        Self {
            topics,
            connect,
            server,
            published: Default::default(),
            clients: Default::default(),
            count: 0,
        }
    }

    async fn step(&mut self, operation: u8, argument: usize) {
        let client = argument % CLIENTS;
        match operation % 16 {
            0..=3 => self.publish(argument, 1, 20),
            4 => self.publish(argument, 100, 20),
            5 => self.publish(argument, 30, 5000),
            6 => self.publish(argument, 1, 50_000),
            7 => self.remove(argument),
            8 | 9 => self.connect(client, argument / CLIENTS).await,
            10 => self.clients[client].connection = None,
            11 => self.clients[client].is_stalled = true,
            12 => self.clients[client].is_stalled = false,
            13 => drop(self.topics[2].publish(&Event::new().data("log"))),
            // The age of removals is measured by a real clock.
            14 => std::thread::sleep(Duration::from_millis(1)),
            _ => sleep(Duration::from_millis(1)).await,
        }
        if !operation.is_multiple_of(3) {
            self.settle().await;
        }
    }

    fn publish(&mut self, argument: usize, count: usize, len: usize) {
        let topic = argument % 2;
        let filling = "x".repeat(len);
        for number in 0..count {
            let key = format!("{}{}", TOPICS[topic], (argument + number) % KEYS);
            let value = format!("{} {filling}", self.count);
            self.count += 1;
            let event = Event::new().data(format!("{key} {value}"));
            self.topics[topic].publish_for(&key, &event).unwrap();
            self.published[topic].insert(key, value);
        }
    }

    fn remove(&mut self, argument: usize) {
        let topic = argument % 2;
        let key = format!("{}{}", TOPICS[topic], argument / 2 % KEYS);
        let removed = self.topics[topic].remove(&key).unwrap();
        assert_eq!(
            removed.is_some(),
            self.published[topic].remove(&key).is_some()
        );
    }

    async fn connect(&mut self, client: usize, choice: usize) {
        let client = &mut self.clients[client];
        client.connection = None;
        client.is_stalled = false;
        if client.last_id.is_none() {
            let mask = choice % 7 + 1;
            client.topics = (0..3).filter(|topic| mask >> topic & 1 == 1).collect();
            client.maps = Default::default();
        }
        let names: Vec<_> = client.topics.iter().map(|topic| TOPICS[*topic]).collect();
        let id = client.last_id.iter();
        let id: String = id.map(|id| format!("Last-Event-ID: {id}\r\n")).collect();
        let head = format!("GET /{} HTTP/1.1\r\nHost: a\r\n{id}\r\n", names.join(","));
        let (mut pipe, theirs) = duplex(3000);
        self.connect.send(theirs).unwrap();
        pipe.write_all(head.as_bytes()).await.unwrap();
        client.connection = Some(Connection {
            pipe,
            head: Some(Vec::new()),
            decoder: Decoder::new().max_line(1 << 20).max_event(1 << 20),
            greatest: LogId::default(),
        });
    }

    /// Lets clients read until there is nothing more to read.
    async fn settle(&mut self) {
        let mut has_read = true;
        while has_read {
            has_read = false;
            for client in &mut self.clients {
                has_read |= client.read().await;
            }
        }
    }

    async fn end(mut self) {
        for client in &mut self.clients {
            client.is_stalled = false;
        }
        self.settle().await;
        // One that has missed a removal is disconnected, and begins anew.
        for _ in 0..3 {
            for client in 0..CLIENTS {
                if self.clients[client].connection.is_none() {
                    self.connect(client, 6).await;
                }
            }
            self.settle().await;
        }
        for (place, client) in self.clients.iter().enumerate() {
            let stats = self.server.stats();
            assert!(
                client.connection.is_some(),
                "{place} {:?} {:?} {stats:?}",
                client.topics,
                client.last_id
            );
            for topic in client.topics.iter().filter(|topic| **topic < 2) {
                let [expected, got] = [&self.published[*topic], &client.maps[*topic]];
                let short = |map: &Map| {
                    let entries = map.iter();
                    let entries = entries.map(|(key, value)| {
                        (key.clone(), value.split_once(' ').unwrap().0.to_owned())
                    });
                    entries.collect::<Vec<_>>()
                };
                assert!(
                    expected == got,
                    "client {place}, {}: {:?} instead of {:?}",
                    TOPICS[*topic],
                    short(got),
                    short(expected)
                );
            }
        }
        assert_eq!(self.server.stats().connections, CLIENTS);
    }
}

impl Client {
    /// Reads what there is, and returns whether there was anything.
    async fn read(&mut self) -> bool {
        let Some(connection) = self.connection.as_mut().filter(|_| !self.is_stalled) else {
            return false;
        };
        let mut bytes = vec![0; 4000];
        // The clock moves on when no task has anything to do.
        let read = timeout(Duration::from_millis(1), connection.pipe.read(&mut bytes)).await;
        let Ok(len) = read else {
            return false;
        };
        bytes.truncate(len.unwrap_or_default());
        if bytes.is_empty() {
            self.connection = None;
            return true;
        }
        if let Some(head) = &mut connection.head {
            head.append(&mut bytes);
            let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") else {
                return true;
            };
            assert!(head.starts_with(b"HTTP/1.1 200"));
            bytes = head.split_off(end + 4);
            connection.head = None;
        }
        let mut chunk = connection.decoder.chunk(&bytes);
        while let Some(item) = chunk.next().unwrap() {
            let Decoded::Event(event) = item else {
                continue;
            };
            let id = LogId::parse(event.last_event_id()).unwrap_or_default();
            assert!(connection.greatest <= id, "an ID falls");
            connection.greatest = id;
            let place = |text: &str| usize::from(text.starts_with('l'));
            match event.event() {
                "gap" => {
                    let name = event.data().split("\"topic\":\"").nth(1).unwrap();
                    if !name.starts_with("log") {
                        assert!(name.contains("\"clear\":true"));
                        self.maps[place(name)].clear();
                    }
                }
                "remove" => drop(self.maps[place(event.data())].remove(event.data())),
                _ if event.data() == "log" => {}
                _ => {
                    let (key, value) = event.data().split_once(' ').unwrap();
                    self.maps[place(key)].insert(key.to_owned(), value.to_owned());
                }
            }
        }
        drop(chunk);
        let last = connection.decoder.last_event_id();
        if !last.is_empty() {
            self.last_id = Some(last.to_owned());
        }
        true
    }
}
