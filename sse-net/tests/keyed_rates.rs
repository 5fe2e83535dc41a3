//! A keyed topic that changes ten times as fast as a client reads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use allocation_counter::measure;
use sse_core::{Decoded, Decoder, Event};
use sse_net::{Config, Hub, HubConfig, Request, Server, ServerHandle, Topic};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::time::sleep;

#[path = "common/pipes.rs"]
mod pipes;

/// 10,000 updates a second to 100 keys: in each tick of 10 ms every key changes once.
const KEYS: usize = 100;
const TICK: Duration = Duration::from_millis(10);
/// The bytes that the client reads in a tick: a tenth of what is published.
const READ: usize = KEYS * EVENT / 10;
const EVENT: usize = 240;
/// The ticks in which the client reads every key once, and in which it empties its pipe.
const PASS: usize = 10;
const PIPE: usize = 1;

/// Publishes for some ticks, and returns the age in ticks of the oldest value that was read, when
/// it was read, and the longest time after which a key was read again.
struct World {
    topic: Topic,
    _server: ServerHandle,
    client: DuplexStream,
    decoder: Decoder,
    tick: usize,
    /// The tick in which each key was read last.
    read_at: BTreeMap<String, usize>,
    oldest: usize,
    longest: usize,
}

impl World {
    async fn new() -> Self {
        let topic = Hub::new(HubConfig::default()).keyed_topic("state").unwrap();
        let (connect, accept) = mpsc::unbounded_channel();
        let server = Server::new(Config::default()).listen(pipes::Pipes::new(accept));
        let followed = topic.clone();
        let server = server.serve(move |request: Request| ready(request.follow(&followed)));
        let (mut client, theirs) = duplex(PIPE * READ);
        connect.send(theirs).unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        Self {
            topic,
            _server: server,
            client,
            decoder: Decoder::new(),
            tick: 0,
            read_at: BTreeMap::new(),
            oldest: 0,
            longest: 0,
        }
    }

    async fn run(&mut self, ticks: usize) {
        let mut buffer = [0; READ];
        for _ in 0..ticks {
            self.tick += 1;
            for key in 0..KEYS {
                let data = format!("{key} {:0180}", self.tick);
                let key = key.to_string();
                self.topic
                    .publish_for(&key, &Event::new().data(data))
                    .unwrap();
            }
            sleep(TICK).await;
            self.client.read_exact(&mut buffer).await.unwrap();
            self.read(&buffer);
        }
    }

    fn read(&mut self, bytes: &[u8]) {
        let mut chunk = self.decoder.chunk(bytes);
        while let Some(item) = chunk.next().unwrap() {
            let Decoded::Event(event) = item else {
                continue;
            };
            let (key, published) = event.data().split_once(' ').unwrap();
            let published: usize = published.parse().unwrap();
            self.oldest = self.oldest.max(self.tick - published);
            if let Some(before) = self.read_at.insert(key.to_owned(), self.tick) {
                self.longest = self.longest.max(self.tick - before);
            }
        }
    }
}

#[test]
fn a_slow_client_has_values_of_the_last_pass_and_memory_does_not_grow() {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let mut world = runtime.block_on(World::new());
    runtime.block_on(world.run(20 * PASS));
    let used = measure(|| runtime.block_on(world.run(80 * PASS)));
    assert_eq!(world.read_at.len(), KEYS);
    let (oldest, longest) = (world.oldest, world.longest);
    assert!(oldest <= PASS + PIPE, "a value was {oldest} ticks old");
    assert!(
        longest <= PASS + PIPE,
        "a key was read after {longest} ticks"
    );
    assert!(used.bytes_current.abs() < 64 << 10, "{used:?}");
    assert!(used.bytes_max < 512 << 10, "{used:?}");
}
