//! A server of a hub, and a naive model of what its clients may receive.
//!
//! A program is a sequence of bytes, from a random generator or a fuzzer. Each client has a set
//! of topics and comes back with its last event ID, on any shard. For each topic it has to
//! receive the events without a gap from where it began, or a gap event that names the topic;
//! never an event twice, never a smaller ID after a greater one. After a restart its ID is
//! another hub's, and must not be taken for one's own.
//!
//! Some clients have a token, and their topics change while they run. Such a client follows the
//! topics that the last event `topics` has named. A topic begins where it was added, and what is
//! before the change comes without IDs, and again if the client has not received the ID of the
//! change.

use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sse_core::{Decoded, Decoder, Event, LogId};
use sse_net::{
    Config, Hub, Request, Retention, Server, ServerHandle, SlowClients, Start, StreamToken, Topic,
    TopicConfig,
};
use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::pipes::Pipes;

const TOPICS: usize = 4;
const CLIENTS: usize = 5;
/// The number of events that a topic retains.
const RETAINED: usize = 4;

/// Runs a program. Panics if a client receives what it must not, or not what it must.
pub(crate) fn run(program: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime needs nothing");
    runtime.block_on(async {
        let mut bytes = program.iter().copied();
        let skips = bytes.next().unwrap_or_default() % 2 == 0;
        let mut world = World::new(skips);
        while let Some(operation) = bytes.next() {
            let argument = bytes.next().unwrap_or_default();
            world.step(operation, argument).await;
        }
        world.end().await;
    });
}

/// An event that was published: its ID, topic and data.
#[derive(Debug)]
struct Published {
    id: LogId,
    topic: usize,
    data: String,
}

struct World {
    skips: bool,
    hub: Hub,
    /// The number of restarts.
    run: usize,
    connect: mpsc::UnboundedSender<DuplexStream>,
    server: Option<ServerHandle>,
    /// Handles; without one a topic is dropped unless it has events.
    topics: [Option<Topic>; TOPICS],
    is_finished: [bool; TOPICS],
    events: Vec<Published>,
    clients: [Client; CLIENTS],
}

#[derive(Debug, Default)]
struct Client {
    topics: Vec<usize>,
    connection: Option<Connection>,
    is_stalled: bool,
    /// Its last event ID, and the run of the hub from which it is.
    last_id: Option<(LogId, usize)>,
    /// For each topic, the ID up to which the client has received everything, or was told that
    /// something is missing.
    seen: [Option<LogId>; TOPICS],
    /// The topics in which a gap was reported, and no event received since.
    gaps: [bool; TOPICS],
    /// The token of its stream, if its topics change, and the topics in its URL.
    token: Option<StreamToken>,
    url: Vec<usize>,
    /// The topics that its stream has after all changes.
    wanted: Vec<usize>,
    /// The ID after which each topic begins that was added to its stream.
    added: [Option<LogId>; TOPICS],
}

struct Connection {
    pipe: DuplexStream,
    head: Vec<u8>,
    /// The bytes of a block that is not complete.
    body: Vec<u8>,
    is_open: bool,
    decoder: Decoder,
    /// The greatest ID on this response.
    greatest: LogId,
    /// The topics in which a gap was reported.
    gaps: [bool; TOPICS],
    ended: [bool; TOPICS],
    /// The topics of which events without IDs are sent now.
    replayed: Vec<usize>,
}

impl World {
    fn new(skips: bool) -> Self {
        let (hub, connect, server) = Self::start(skips);
        Self {
            skips,
            hub,
            run: 0,
            connect,
            server: Some(server),
            topics: [const { None }; TOPICS],
            is_finished: [false; TOPICS],
            events: Vec::new(),
            clients: Default::default(),
        }
    }

    fn start(skips: bool) -> (Hub, mpsc::UnboundedSender<DuplexStream>, ServerHandle) {
        let slow_clients = match skips {
            true => SlowClients::SkipAhead,
            false => SlowClients::Disconnect,
        };
        let retention = Retention::events(RETAINED).backlog(Duration::ZERO, 0);
        let hub = Hub::new(TopicConfig::from(retention).slow_clients(slow_clients));
        let (connect, accept) = mpsc::unbounded_channel();
        let followed = hub.clone();
        let server = Server::new(Config::default().shards(2))
            .listen(Pipes::new(accept))
            .serve(move |request: Request| {
                let names = request.path()[1..].split(',').map(str::to_owned);
                let topics: Vec<_> = names
                    .map(|name| followed.topic(name).expect("they are few"))
                    .collect();
                let token = request.query().and_then(StreamToken::parse);
                let request = match token {
                    Some(token) => request.with_token(token),
                    None => request,
                };
                ready(request.follow_all(&topics))
            });
        (hub, connect, server)
    }

    async fn step(&mut self, operation: u8, argument: u8) {
        let (topic, client) = (argument as usize % TOPICS, argument as usize % CLIENTS);
        let rest = argument as usize / 8;
        match operation % 16 {
            0..=5 => {
                let len = match rest {
                    0 => 100_000,
                    1 => 9_000,
                    _ => rest,
                };
                self.publish(topic, &[len]);
            }
            6 => self.publish(topic, &vec![10; rest % 8 + 1]),
            7 | 8 => self.connect(client, rest).await,
            9 => self.clients[client].connection = None,
            10 => self.clients[client].is_stalled = true,
            11 => self.clients[client].is_stalled = false,
            12 => self.topics[topic] = None,
            13 if rest == 0 => self.finish(topic),
            14 if argument == 0 => self.restart().await,
            15 => self.switch(client, rest % TOPICS, rest / TOPICS % 4),
            _ => sleep(Duration::from_millis(rest as u64)).await,
        }
        if !operation.is_multiple_of(3) {
            self.settle().await;
        }
    }

    fn topic(&mut self, topic: usize) -> &Topic {
        let hub = &self.hub;
        self.topics[topic].get_or_insert_with(|| hub.topic(name(topic)).expect("they are few"))
    }

    fn publish(&mut self, topic: usize, lens: &[usize]) {
        if self.is_finished[topic] {
            return;
        }
        for len in lens {
            let number = self.events.len();
            let filling = "x".repeat(*len);
            let data = format!("{topic} {number} {filling}");
            let event = Event::new().data(&data);
            let published = self.topic(topic).publish(&event);
            let id = published.expect("it is not finished").id();
            let id = id.expect("the hub assigns it");
            assert!(self.events.last().is_none_or(|last| last.id < id));
            self.events.push(Published { id, topic, data });
        }
    }

    fn finish(&mut self, topic: usize) {
        // A topic without events would be dropped, and begin anew.
        self.publish(topic, &[1]);
        self.topic(topic).finish(None).expect("there is no event");
        self.is_finished[topic] = true;
    }

    /// Adds a topic to the stream of a client, or removes it.
    fn switch(&mut self, client: usize, topic: usize, how: usize) {
        let Some(token) = &self.clients[client].token else {
            return;
        };
        let Some(topics) = self.hub.stream_topics(token) else {
            return;
        };
        if how >= 2 {
            topics.remove([name(topic)]);
            self.clients[client]
                .wanted
                .retain(|wanted| *wanted != topic);
            return;
        }
        let start = [Start::Live, Start::Earliest][how];
        let added = topics.add([self.topic(topic)], start);
        added.expect("it is a topic of the hub");
        if self.clients[client].wanted.contains(&topic) {
            return;
        }
        let events = self.events.iter();
        let mut of_topic: Vec<_> = events.filter(|event| event.topic == topic).collect();
        let begin = match start {
            Start::Live => self.events.last(),
            _ => {
                of_topic.truncate(of_topic.len().saturating_sub(RETAINED));
                of_topic.last().copied()
            }
        };
        let begin = begin.map(|event| event.id);
        self.clients[client].added[topic] = begin;
        self.clients[client].wanted.push(topic);
    }

    async fn restart(&mut self) {
        self.settle().await;
        for client in &mut self.clients {
            client.connection = None;
        }
        self.server = None;
        (self.hub, self.connect, self.server) = {
            let (hub, connect, server) = Self::start(self.skips);
            (hub, connect, Some(server))
        };
        self.run += 1;
        self.topics = [const { None }; TOPICS];
        self.is_finished = [false; TOPICS];
        self.events.clear();
    }

    /// Connects a client with its last event ID. Without one it may choose other topics.
    async fn connect(&mut self, client: usize, choice: usize) {
        let run = self.run;
        let client = &mut self.clients[client];
        client.connection = None;
        if client.last_id.is_none() {
            let mask = choice % 15 + 1;
            client.topics = (0..TOPICS).filter(|topic| mask >> topic & 1 == 1).collect();
            client.token = choice.is_multiple_of(2).then(StreamToken::random);
            client.url.clone_from(&client.topics);
            client.wanted.clone_from(&client.topics);
        }
        let names: Vec<_> = client.url.iter().map(|topic| name(*topic)).collect();
        let token = client
            .token
            .as_ref()
            .map(|token| format!("?{}", token.as_str()));
        let id = client
            .last_id
            .map(|(id, _)| format!("Last-Event-ID: {id}\r\n"));
        let head = format!(
            "GET /{}{} HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
            names.join(","),
            token.unwrap_or_default(),
            id.unwrap_or_default()
        );
        let (mut pipe, theirs) = duplex(3000);
        self.connect.send(theirs).expect("the server accepts");
        pipe.write_all(head.as_bytes()).await.expect("it reads");
        client.is_stalled = false;
        client.connection = Some(Connection {
            pipe,
            head: Vec::new(),
            body: Vec::new(),
            is_open: false,
            decoder: Decoder::new().max_line(1 << 20).max_event(1 << 20),
            greatest: LogId::default(),
            gaps: [false; TOPICS],
            ended: [false; TOPICS],
            replayed: Vec::new(),
        });
        // The server decides before anything else is published.
        sleep(Duration::from_millis(1)).await;
        let last = self.events.last().map(|event| event.id);
        if client.last_id.is_none() {
            client.seen = [last; TOPICS];
            client.gaps = [false; TOPICS];
        } else if client.last_id.is_some_and(|(_, of)| of != run) {
            client.seen = [None; TOPICS];
            client.wanted.clone_from(&client.url);
        }
    }

    /// Lets clients read until there is nothing more to read.
    async fn settle(&mut self) {
        loop {
            // The clock moves on when no task has anything to do.
            sleep(Duration::from_millis(1)).await;
            let mut has_read = false;
            for client in &mut self.clients {
                has_read |= client.read(&self.events, self.run, &self.is_finished);
            }
            if !has_read {
                return;
            }
        }
    }

    /// Every client receives everything in the end, if only when it comes back.
    async fn end(mut self) {
        for client in &mut self.clients {
            client.is_stalled = false;
        }
        self.settle().await;
        for _ in 0..3 {
            for client in 0..CLIENTS {
                if self.clients[client].connection.is_none() {
                    self.connect(client, 14).await;
                }
            }
            self.settle().await;
        }
        for client in &self.clients {
            let mut topics = client.topics.iter();
            let is_over = !client.topics.is_empty() && topics.all(|topic| self.is_finished[*topic]);
            assert_eq!(client.connection.is_none(), is_over, "{client:?}");
            let [mut topics, mut wanted] = [&client.topics, &client.wanted].map(Clone::clone);
            topics.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(topics, wanted, "{client:?}");
            for topic in &client.topics {
                let missing = client.missing(*topic, LogId::new(u64::MAX, 0), &self.events);
                assert!(missing.is_none(), "{client:?} misses {missing:?}");
            }
        }
        for client in &mut self.clients {
            client.connection = None;
        }
        sleep(Duration::from_millis(1)).await;
        let server = self.server.as_ref().expect("it is running");
        assert_eq!(server.stats().connections, 0);
        for topic in self.topics.iter().flatten() {
            assert_eq!(topic.subscriptions(), 0);
        }
    }
}

impl Client {
    /// Reads what there is, and returns whether there was anything.
    fn read(&mut self, events: &[Published], run: usize, finished: &[bool; TOPICS]) -> bool {
        if self.is_stalled {
            return false;
        }
        let Some(mut connection) = self.connection.take() else {
            return false;
        };
        let Some(bytes) = connection.read() else {
            return true;
        };
        let body = connection.body(&bytes).to_vec();
        connection.body.extend(body);
        // An ID counts at the blank line after it.
        while let Some(end) = connection.body.windows(2).position(|end| end == b"\n\n") {
            let block: Vec<_> = connection.body.drain(..end + 2).collect();
            self.read_block(&block, &mut connection, events, run, finished);
        }
        let has_read = !bytes.is_empty();
        self.connection = Some(connection);
        has_read
    }

    fn read_block(
        &mut self,
        block: &[u8],
        connection: &mut Connection,
        events: &[Published],
        run: usize,
        finished: &[bool; TOPICS],
    ) {
        let (mut items, mut is_opening) = (Vec::new(), false);
        let mut chunk = connection.decoder.chunk(block);
        while let Some(item) = chunk.next().expect("it is small") {
            items.push(item.into_owned());
        }
        drop(chunk);
        for item in items {
            match item {
                Decoded::Event(event) if event.data().contains("\"token\":\"unknown\"") => {
                    assert!(self.last_id.is_some_and(|(_, of)| of != run));
                }
                Decoded::Event(event) if event.event() == "topics" => {
                    let id = has_id(block).then(|| LogId::parse(event.last_event_id()));
                    self.switch(event.data(), id.flatten(), connection, events, run);
                }
                Decoded::Event(event) if event.event() == "gap" => {
                    let topic = named(event.data());
                    let replayed = &connection.replayed;
                    assert!(self.topics.contains(&topic) || replayed.contains(&topic));
                    self.check_gap(topic, connection, events, run);
                    self.gaps[topic] = true;
                    connection.gaps[topic] = true;
                }
                Decoded::Event(event) if event.event() == "close" => {
                    let topic = named(event.data());
                    assert!(finished[topic] && !connection.ended[topic]);
                    connection.ended[topic] = true;
                    let missing = self.missing(topic, LogId::new(u64::MAX, 0), events);
                    assert!(missing.is_none() || self.gaps[topic]);
                }
                Decoded::Event(event) if !has_id(block) => {
                    self.check_replayed(event.data(), connection, events);
                }
                Decoded::Event(event) => {
                    assert!(connection.replayed.is_empty());
                    let id = LogId::parse(event.last_event_id()).expect("it is the hub's");
                    let data = event.data().to_owned();
                    self.check_event(id, &data, connection, events);
                    self.last_id = Some((id, run));
                }
                Decoded::Retry(_) => is_opening = true,
                Decoded::Comment(text) => assert_eq!(text, ""),
                other => panic!("{other:?}"),
            }
        }
        if is_opening {
            self.check_opening(connection, run);
        }
    }

    /// From now on the client follows other topics, or gets events of some without IDs.
    fn switch(
        &mut self,
        data: &str,
        id: Option<LogId>,
        connection: &mut Connection,
        events: &[Published],
        run: usize,
    ) {
        assert!(self.token.is_some());
        let (topics, from) = data.split_once(']').expect("it is a list");
        let [topics, replayed] = [topics, from].map(all_named);
        let Some(id) = id else {
            if connection.is_open {
                assert!(!replayed.is_empty() && connection.replayed.is_empty());
                for topic in &replayed {
                    self.seen[*topic] = self.added[*topic];
                    self.gaps[*topic] = false;
                }
                connection.replayed = replayed;
            } else {
                assert!(replayed.is_empty());
                let is_known = |topic: &usize| self.topics.contains(topic);
                let has_restarted = self.last_id.is_none_or(|(_, of)| of != run);
                assert!(has_restarted || topics.iter().all(is_known), "{self:?}");
                self.topics = topics;
            }
            return;
        };
        assert!(connection.is_open && connection.greatest < id);
        let replayed = std::mem::take(&mut connection.replayed);
        for topic in &topics {
            if !self.topics.contains(topic) && !replayed.contains(topic) {
                self.seen[*topic] = self.added[*topic];
                self.gaps[*topic] = false;
                connection.ended[*topic] = false;
            }
            if replayed.contains(topic) {
                connection.ended[*topic] = false;
            }
        }
        self.topics = topics;
        connection.greatest = id;
        self.last_id = Some((id, run));
        self.check_position(id, events);
    }

    /// An event of a topic that is added, from before the change.
    fn check_replayed(&mut self, data: &str, connection: &mut Connection, events: &[Published]) {
        let mut published = events.iter();
        let event = published.find(|event| event.data == data);
        let event = event.expect("it was published");
        let topic = event.topic;
        assert!(connection.replayed.contains(&topic), "{self:?}");
        if !std::mem::take(&mut self.gaps[topic]) {
            let next = self.missing(topic, LogId::new(u64::MAX, 0), events);
            assert_eq!(next.map(|next| next.id), Some(event.id), "{self:?}");
        }
        assert!(self.seen[topic] < Some(event.id));
        self.seen[topic] = Some(event.id);
    }

    /// The ID is a position of all topics.
    fn check_position(&self, id: LogId, events: &[Published]) {
        for topic in &self.topics {
            let missing = self.missing(*topic, id, events);
            assert!(
                missing.is_none() || self.gaps[*topic],
                "{self:?} {missing:?}"
            );
        }
    }

    /// The client's position is where it was, or where it begins.
    fn check_opening(&mut self, connection: &mut Connection, run: usize) {
        let id = LogId::parse(connection.decoder.last_event_id());
        let id = id.expect("there is a position");
        match self.last_id {
            Some((last, of)) if of == run => {
                let is_told = self.topics.len() == 1 && connection.gaps[self.topics[0]];
                assert!(
                    last == id || last < id && is_told,
                    "it continues where it was"
                );
            }
            Some((last, _)) => {
                assert!(last != id, "it is another hub's");
                let has_gaps = self.topics.iter().all(|topic| connection.gaps[*topic]);
                assert!(has_gaps, "an unknown ID is a gap in all topics");
            }
            None => {}
        }
        connection.is_open = true;
        connection.greatest = id;
        self.last_id = Some((id, run));
    }

    fn check_event(
        &mut self,
        id: LogId,
        data: &str,
        connection: &mut Connection,
        events: &[Published],
    ) {
        assert!(
            connection.is_open && connection.greatest < id,
            "the IDs rise"
        );
        connection.greatest = id;
        let event = events
            .iter()
            .find(|event| event.id == id)
            .expect("it was published");
        assert_eq!(event.data, data);
        let topic = event.topic;
        assert!(self.topics.contains(&topic));
        assert!(self.seen[topic] < Some(id), "it was received before");
        if !std::mem::take(&mut self.gaps[topic]) {
            let next = self.missing(topic, LogId::new(u64::MAX, 0), events);
            assert_eq!(next.map(|next| next.id), Some(id), "{self:?}");
        }
        self.seen[topic] = Some(id);
        self.check_position(id, events);
    }

    /// Events have been missed where a gap is reported.
    fn check_gap(&self, topic: usize, connection: &Connection, events: &[Published], run: usize) {
        if self.last_id.is_some_and(|(_, of)| of != run) {
            return;
        }
        let seen = if connection.is_open {
            self.seen[topic]
        } else {
            self.seen[topic].max(self.last_id.map(|(id, _)| id))
        };
        let later = events
            .iter()
            .filter(|event| event.topic == topic && Some(event.id) > seen);
        assert!(
            later.count() > RETAINED,
            "nothing is missing in {topic}: {self:?}"
        );
    }

    /// The first event of the topic up to this ID that the client has not received.
    fn missing<'a>(
        &self,
        topic: usize,
        until: LogId,
        events: &'a [Published],
    ) -> Option<&'a Published> {
        let mut of_topic = events.iter().filter(|event| event.topic == topic);
        of_topic.find(|event| Some(event.id) > self.seen[topic] && event.id <= until)
    }
}

impl Connection {
    /// Reads what there is; `None` at the end.
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

    /// Returns the part of the bytes that is in the body.
    fn body<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.head.ends_with(b"\r\n\r\n") {
            return bytes;
        }
        for (index, byte) in bytes.iter().enumerate() {
            self.head.push(*byte);
            if self.head.ends_with(b"\r\n\r\n") {
                return &bytes[index + 1..];
            }
        }
        &[]
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("greatest", &self.greatest)
            .field("gaps", &self.gaps)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

fn name(topic: usize) -> String {
    format!("topic{topic}")
}

/// The topic that a gap event or a close event names.
fn named(data: &str) -> usize {
    let name = data.split("\"topic\":\"topic").nth(1).expect(data);
    name[..1].parse().expect("it is a topic's")
}

/// The topics that are named in a part of the data of an event `topics`.
fn all_named(part: &str) -> Vec<usize> {
    let names = part.split("\"topic").skip(1);
    let digits = names.filter_map(|name| name.split_once('"').map(|(number, _)| number));
    digits.filter_map(|number| number.parse().ok()).collect()
}

/// Whether a block of a stream has an `id` line.
fn has_id(block: &[u8]) -> bool {
    let mut lines = block.split(|byte| *byte == b'\n');
    lines.any(|line| line.starts_with(b"id: "))
}
