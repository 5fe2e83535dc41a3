//! Runs any program of publishing, finishing, draining, and of clients that join, stall,
//! disconnect and reconnect. Every client reads the events in order, and misses none without a
//! gap event.

#![no_main]

use std::collections::HashMap;
use std::future::{pending, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use sse_core::{Decoded, Decoder, Event, MessageEvent, Retention};
use sse_net::{
    Answer, Config, Disconnect, Listener, Peer, Request, Server, ServerHandle, SlowClients, Topic,
    TopicConfig, Transport,
};
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

#[derive(Arbitrary, Debug)]
struct Input {
    shards: bool,
    /// The number of bytes that a connection buffers for its client.
    room: u16,
    max_age: bool,
    feeds: [FeedInput; FEEDS],
    program: Vec<Operation>,
}

#[derive(Arbitrary, Debug)]
struct FeedInput {
    events: u8,
    has_backlog: bool,
    skips_ahead: bool,
    lingers: bool,
    has_own_ids: bool,
}

#[derive(Arbitrary, Debug)]
enum Operation {
    /// Connects without a last event ID.
    Join(u8, u8),
    /// Connects with the client's last event ID.
    Reconnect(u8),
    /// Stops reading.
    Stall(u8),
    /// Reads again.
    Resume(u8),
    /// Closes the client's half of the connection.
    HalfClose(u8),
    Disconnect(u8),
    Publish(u8, Size),
    /// Publishes a batch of this many events.
    PublishAll(u8, Size, u8),
    Finish(u8, bool),
    /// Drains the server within this many quarters of a second.
    Drain(u8),
    /// Advances the clock by this many quarters of a second.
    Wait(u8),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Size {
    Small(u8),
    Medium(u16),
    /// More than 64 KiB, so that the event gets a separate log chunk.
    Large(u8),
}

const FEEDS: usize = 2;
const CLIENTS: usize = 4;

/// Longer programs find nothing new and take long to run.
const MAX_OPERATIONS: usize = 48;

/// Fewer bytes than any log retains, so that only the number of events causes eviction.
const MAX_BYTES: usize = 1 << 20;

const QUARTER: Duration = Duration::from_millis(250);

/// The longest time between two reads of a client that is not stalled.
const STEP: Duration = Duration::from_secs(1);

const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

fuzz_target!(|input: Input| {
    fastrand::seed(0);
    let runtime = runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("the runtime starts");
    runtime.block_on(async {
        let mut simulation = Simulation::new(&input);
        simulation.join_all().await;
        for operation in input.program.iter().take(MAX_OPERATIONS) {
            simulation.perform(operation).await;
            simulation.settle().await;
        }
        simulation.end().await;
    });
});

/// A server, its clients, and the events that they have to receive.
struct Simulation {
    feeds: Vec<Feed>,
    clients: Vec<Client>,
    room: usize,
    connect: mpsc::UnboundedSender<DuplexStream>,
    connections: usize,
    ends: Ends,
    server: Option<ServerHandle>,
    drain: Option<JoinHandle<()>>,
}

/// The reasons for which connections have ended, by connection number.
type Ends = Arc<Mutex<HashMap<usize, Disconnect>>>;

impl Simulation {
    fn new(input: &Input) -> Self {
        let feeds: Vec<_> = input.feeds.iter().map(Feed::new).collect();
        let topics: Vec<_> = feeds.iter().map(|feed| feed.topic.clone()).collect();
        let ends = Ends::default();
        let (connect, pipes) = mpsc::unbounded_channel();
        let config = Config::default()
            .shards(1 + usize::from(input.shards))
            .max_age(input.max_age.then_some(Duration::from_secs(6)))
            .write_timeout(WRITE_TIMEOUT)
            .heartbeat(Duration::from_secs(3));
        let reported = Arc::clone(&ends);
        let server = Server::new(config)
            .listen(Pipes(pipes))
            .serve(move |request| ready(follow(&topics, &reported, request)));
        Self {
            feeds,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            room: 1024 + usize::from(input.room % (16 << 10)),
            connect,
            connections: 0,
            ends,
            server: Some(server),
            drain: None,
        }
    }

    async fn join_all(&mut self) {
        for client in 0..CLIENTS {
            self.clients[client].feed = client % FEEDS;
            self.connect(client).await;
        }
    }

    async fn perform(&mut self, operation: &Operation) {
        match operation {
            Operation::Join(client, feed) => {
                let client = usize::from(*client) % CLIENTS;
                self.clients[client] = Client {
                    feed: usize::from(*feed) % FEEDS,
                    is_stalled: self.clients[client].is_stalled,
                    ..Client::default()
                };
                self.connect(client).await;
            }
            Operation::Reconnect(client) => self.connect(usize::from(*client) % CLIENTS).await,
            Operation::Stall(client) => {
                self.client(*client).is_stalled = true;
            }
            Operation::Resume(client) => self.client(*client).is_stalled = false,
            Operation::HalfClose(client) => {
                if let Some(connection) = &mut self.client(*client).connection {
                    let _ = connection.pipe.shutdown().await;
                }
            }
            Operation::Disconnect(client) => self.client(*client).connection = None,
            Operation::Publish(feed, size) => {
                self.feeds[usize::from(*feed) % FEEDS].publish(*size, 1);
            }
            Operation::PublishAll(feed, size, count) => {
                self.feeds[usize::from(*feed) % FEEDS].publish(*size, *count % 32);
            }
            Operation::Finish(feed, last) => {
                self.feeds[usize::from(*feed) % FEEDS].finish(*last);
            }
            Operation::Drain(count) => self.drain(quarters(*count)),
            Operation::Wait(count) => self.wait(quarters(*count)).await,
        }
    }

    fn client(&mut self, client: u8) -> &mut Client {
        &mut self.clients[usize::from(client) % CLIENTS]
    }

    async fn connect(&mut self, client: usize) {
        if self.drain.is_some() {
            return;
        }
        let number = self.connections;
        self.connections += 1;
        let (mut pipe, other) = tokio::io::duplex(self.room);
        self.connect.send(other).expect("the server accepts");
        let client = &mut self.clients[client];
        let id = client.last_event_id.as_ref();
        let id = id.map(|id| format!("Last-Event-ID: {id}\r\n"));
        let request = format!(
            "GET /{}?{number} HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            client.feed,
            id.unwrap_or_default(),
        );
        pipe.write_all(request.as_bytes())
            .await
            .expect("the server reads");
        client.connection = Some(Connection::new(number, pipe));
        // The server handles the request before further events are published.
        sleep(Duration::from_millis(1)).await;
        if client.last_event_id.is_none() {
            client.next = self.feeds[client.feed].sizes.len();
            client.continues = Continues::Here;
        }
    }

    fn drain(&mut self, window: Duration) {
        if let Some(server) = self.server.take() {
            self.drain = Some(tokio::spawn(async move {
                let drained = timeout(window + Duration::from_millis(2100), server.drain(window));
                drained.await.expect("the drain ends in time");
            }));
        }
    }

    async fn wait(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            sleep((end - Instant::now()).min(STEP)).await;
            self.settle().await;
        }
    }

    /// Lets clients read until no more bytes arrive.
    async fn settle(&mut self) {
        loop {
            // The paused clock advances when all tasks wait.
            sleep(Duration::from_millis(1)).await;
            let mut has_read = false;
            for client in &mut self.clients {
                has_read |= client.read(&self.feeds[client.feed], &self.ends);
            }
            if !has_read {
                return;
            }
        }
    }

    async fn end(mut self) {
        for client in &mut self.clients {
            client.is_stalled = false;
        }
        self.wait(Duration::from_secs(1)).await;
        if self.drain.is_none() {
            self.check_caught_up().await;
            for feed in &mut self.feeds {
                feed.finish(false);
            }
            self.wait(Duration::from_secs(1)).await;
            self.check_finished().await;
            self.drain(Duration::ZERO);
        }
        let drain = self.drain.take().expect("the server drains");
        while !drain.is_finished() {
            self.wait(QUARTER).await;
        }
        drain.await.expect("the drain does not panic");
        self.settle().await;
        for client in &self.clients {
            assert!(client.connection.is_none(), "{client:?} still streams");
        }
        for feed in &self.feeds {
            assert_eq!(feed.topic.subscriptions(), 0);
        }
    }

    /// Checks that every client has received every event, some after a reconnect.
    async fn check_caught_up(&mut self) {
        for client in 0..CLIENTS {
            if self.clients[client].connection.is_none() {
                self.connect(client).await;
            }
        }
        self.wait(Duration::from_secs(1)).await;
        for client in &self.clients {
            let feed = &self.feeds[client.feed];
            assert_eq!(client.next, feed.sizes.len(), "{client:?}");
            assert!(client.connection.is_some() || feed.is_finished || client.has_aged);
        }
    }

    /// Checks that every stream has ended, and that a client that reconnects gets 204.
    async fn check_finished(&mut self) {
        for client in 0..CLIENTS {
            assert!(self.clients[client].connection.is_none());
            self.connect(client).await;
        }
        self.settle().await;
        for client in &self.clients {
            assert_eq!(client.status, 204, "{client:?}");
            assert!(client.connection.is_none(), "{client:?}");
        }
        self.settle().await;
        let server = self.server.as_ref().expect("the server has not drained");
        let stats = server.stats();
        assert_eq!(stats.connections, 0, "{stats:?}");
    }
}

/// Returns a time of up to 8 s, longer than every deadline.
fn quarters(count: u8) -> Duration {
    QUARTER * u32::from(count % 32)
}

fn follow(topics: &[Topic], ends: &Ends, request: Request) -> Answer {
    let topic: usize = request.path()[1..]
        .parse()
        .expect("the path is the index of a feed");
    let number = request
        .query()
        .expect("the query is the number of the connection");
    let number = number.parse().expect("the query is a number");
    let ends = Arc::clone(ends);
    request.follow(&topics[topic]).on_end(move |reason| {
        let ended = ends.lock().unwrap().insert(number, reason);
        assert_eq!(ended, None, "a connection ends once");
    })
}

struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    type Handshake = std::future::Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        match self.0.recv().await {
            Some(pipe) => Ok((ready(Ok(Transport::new(pipe))), Peer::Local)),
            None => pending().await,
        }
    }
}

/// A topic, and the sizes of all published events.
///
/// The data of an event is its number and filling.
struct Feed {
    topic: Topic,
    sizes: Vec<usize>,
    bytes: usize,
    events: usize,
    has_own_ids: bool,
    slow_clients: SlowClients,
    is_finished: bool,
}

impl Feed {
    fn new(input: &FeedInput) -> Self {
        let events = usize::from(input.events).max(1);
        let mut retention = Retention::events(events);
        if !input.has_backlog {
            retention = retention.backlog(Duration::ZERO, 0);
        }
        let slow_clients = if input.skips_ahead {
            SlowClients::SkipAhead
        } else {
            SlowClients::Disconnect
        };
        let linger = if input.lingers {
            Duration::from_millis(10)
        } else {
            Duration::ZERO
        };
        Self {
            topic: Topic::new(
                TopicConfig::from(retention)
                    .slow_clients(slow_clients)
                    .linger(linger),
            ),
            sizes: Vec::new(),
            bytes: 0,
            events,
            has_own_ids: input.has_own_ids,
            slow_clients,
            is_finished: false,
        }
    }

    fn publish(&mut self, size: Size, count: u8) {
        if self.is_finished {
            return;
        }
        let data: Vec<_> = (0..count).filter_map(|_| self.add(size)).collect();
        let events: Vec<_> = data
            .iter()
            .map(|(id, data)| self.event(*id, data))
            .collect();
        self.topic
            .publish_all(&events)
            .expect("the topic is not finished");
    }

    fn finish(&mut self, has_last: bool) {
        let last = (has_last && !self.is_finished)
            .then(|| self.add(Size::Small(0)))
            .flatten();
        let last = last.as_ref().map(|(id, data)| self.event(*id, data));
        self.topic
            .finish(last.as_ref())
            .expect("the event is small");
        self.is_finished = true;
    }

    /// Returns the number and data of the next event, or `None` beyond [`MAX_BYTES`].
    fn add(&mut self, size: Size) -> Option<(usize, String)> {
        let size = match size {
            Size::Small(size) => size.into(),
            Size::Medium(size) => size.into(),
            Size::Large(size) => (64 << 10) + (usize::from(size) << 6),
        };
        self.bytes += size;
        if self.bytes > MAX_BYTES {
            return None;
        }
        let number = self.sizes.len();
        self.sizes.push(size);
        Some((number, data(number, size)))
    }

    fn event<'a>(&self, number: usize, data: &'a str) -> Event<'a> {
        let event = Event::new().data(data);
        if self.has_own_ids {
            let number = i32::try_from(number).expect("there are few events");
            return event.id(number);
        }
        event
    }

    /// Returns whether the event with this number may be evicted.
    fn may_have_evicted(&self, number: usize) -> bool {
        self.sizes.len() - number > self.events
    }
}

fn data(number: usize, size: usize) -> String {
    let filling = char::from(b'a' + u8::try_from(number % 26).expect("it is below 26"));
    let mut data = format!("{number} ");
    data.extend(std::iter::repeat_n(filling, size));
    data
}

#[derive(Debug, Default)]
struct Client {
    feed: usize,
    connection: Option<Connection>,
    is_stalled: bool,
    last_event_id: Option<String>,
    /// The number of the event that it has to receive next.
    next: usize,
    continues: Continues,
    /// The status of the last response.
    status: u16,
    /// Whether one of its streams has reached the maximum age.
    has_aged: bool,
}

/// The event that a client may receive next.
#[derive(Debug, Default)]
enum Continues {
    /// The next event.
    #[default]
    Here,
    /// The event with this ID, after a gap.
    At(String),
}

#[derive(Debug)]
struct Connection {
    number: usize,
    pipe: DuplexStream,
    head: Vec<u8>,
    has_head: bool,
    decoder: Decoder,
    /// Whether the first block has been read.
    is_open: bool,
    /// The last three bytes of the body.
    last_bytes: Vec<u8>,
}

impl Connection {
    fn new(number: usize, pipe: DuplexStream) -> Self {
        Self {
            number,
            pipe,
            head: Vec::new(),
            has_head: false,
            decoder: Decoder::new().max_line(MAX_BYTES).max_event(MAX_BYTES),
            is_open: false,
            last_bytes: Vec::new(),
        }
    }

    /// Returns whether the last bytes end an event or a heartbeat.
    fn is_between_events(&self) -> bool {
        self.last_bytes.ends_with(b"\n\n") || self.last_bytes == b"\n:\n"
    }

    /// Reads all available bytes. Returns `None` at the end.
    fn read(&mut self) -> Option<Vec<u8>> {
        let (mut read, mut part) = (Vec::new(), [0; 16 << 10]);
        loop {
            let mut buffer = ReadBuf::new(&mut part);
            let cx = &mut Context::from_waker(Waker::noop());
            match Pin::new(&mut self.pipe).poll_read(cx, &mut buffer) {
                Poll::Pending => return Some(read),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    read.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) if read.is_empty() => return None,
                Poll::Ready(_) => return Some(read),
            }
        }
    }
}

impl Client {
    /// Reads all available bytes. Returns whether there were any.
    fn read(&mut self, feed: &Feed, ends: &Ends) -> bool {
        if self.is_stalled {
            return false;
        }
        let Some(mut connection) = self.connection.take() else {
            return false;
        };
        match connection.read() {
            Some(bytes) => {
                self.take(&mut connection, &bytes, feed);
                self.connection = Some(connection);
                !bytes.is_empty()
            }
            None => {
                let reason = ends.lock().unwrap().get(&connection.number).copied();
                self.check_end(&connection, reason, feed);
                true
            }
        }
    }

    fn take(&mut self, connection: &mut Connection, bytes: &[u8], feed: &Feed) {
        let mut rest = bytes;
        if !connection.has_head {
            connection.head.extend_from_slice(bytes);
            let head = &connection.head;
            let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") else {
                return;
            };
            self.status = match &head[..13] {
                b"HTTP/1.1 200 " => 200,
                b"HTTP/1.1 204 " => 204,
                other => panic!("{}", String::from_utf8_lossy(other)),
            };
            connection.has_head = true;
            rest = &bytes[bytes.len() - (head.len() - end - 4)..];
        }
        connection.last_bytes.extend_from_slice(rest);
        let surplus = connection.last_bytes.len().saturating_sub(3);
        connection.last_bytes.drain(..surplus);
        let mut chunk = connection.decoder.chunk(rest);
        while let Some(item) = chunk.next().expect("the stream is within the limits") {
            match item {
                Decoded::Event(event) if event.event() == "gap" => {
                    self.check_gap(event.data(), connection.is_open, feed);
                }
                Decoded::Event(event) => self.check_event(&event, feed),
                Decoded::Retry(_) => connection.is_open = true,
                Decoded::Comment(text) => assert_eq!(text, ""),
                other => panic!("{other:?}"),
            }
        }
        drop(chunk);
        let id = connection.decoder.last_event_id();
        if !id.is_empty() {
            self.last_event_id = Some(id.to_owned());
        }
    }

    fn check_event(&mut self, event: &MessageEvent<'_>, feed: &Feed) {
        let number = event.data().split(' ').next();
        let number: usize = number
            .unwrap_or_default()
            .parse()
            .expect("the data begins with a number");
        match std::mem::take(&mut self.continues) {
            Continues::Here => assert_eq!(number, self.next),
            Continues::At(id) => {
                assert_eq!(event.last_event_id(), id);
                assert!(self.next < number && feed.may_have_evicted(number - 1));
            }
        }
        assert!(
            event.data() == data(number, feed.sizes[number]),
            "the event is damaged"
        );
        self.next = number + 1;
    }

    fn check_gap(&mut self, gap: &str, is_open: bool, feed: &Feed) {
        assert!(feed.may_have_evicted(self.next), "no event was evicted");
        let asked = match (&self.last_event_id, is_open) {
            (Some(id), false) => format!("\"{id}\""),
            (None, false) => panic!("a client without an ID cannot have a gap"),
            (_, true) => {
                assert_eq!(feed.slow_clients, SlowClients::SkipAhead);
                "null".to_owned()
            }
        };
        let from = gap.strip_prefix(&format!("{{\"asked\":{asked},\"from\":\""));
        let from = from.and_then(|from| from.strip_suffix("\"}"));
        self.continues = Continues::At(from.expect(gap).to_owned());
    }

    fn check_end(&mut self, connection: &Connection, reason: Option<Disconnect>, feed: &Feed) {
        if self.status == 204 {
            return assert!(feed.is_finished); // The server waits until the client closes.
        }
        let is_whole = connection.has_head && connection.is_between_events();
        match reason.expect("the hook was called") {
            Disconnect::Finished => {
                assert!(feed.is_finished && is_whole);
                assert_eq!(self.next, feed.sizes.len());
            }
            Disconnect::Lagged => {
                assert!(feed.slow_clients == SlowClients::Disconnect && is_whole);
                assert!(feed.may_have_evicted(self.next));
            }
            Disconnect::MaxAge => {
                assert!(is_whole);
                self.has_aged = true;
            }
            // The last event may be incomplete.
            Disconnect::WriteTimeout | Disconnect::Drained => {}
            reason => panic!("{reason:?}"),
        }
    }
}
