//! A node with many topics that loses its connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redis::Connection;
use sse_net::{Engine, EngineError, Event, Hub, HubConfig, Topic};
use sse_net_benches::bars::Row;
use sse_net_benches::process::pin;
use sse_net_benches::redis_server::{RedisServer, call};
use sse_net_benches::runtime;
use tokio::time::{sleep, timeout};

use crate::{ANY, other};

const TOPICS: usize = 100_000;

const CHANGED: usize = 1_000;

/// Measures the time from the return of the server until the node is up to date again, and the
/// slowest `PING` of another connection meanwhile.
pub(crate) fn reconnect() -> io::Result<Vec<Row>> {
    pin(ANY)?;
    let redis = RedisServer::start(ANY)?;
    let (mut time, mut ping) = (Duration::ZERO, Duration::ZERO);
    let mut connection = redis.connect()?;
    call::<()>(&mut connection, &ON)?;
    runtime(1)?.block_on(async {
        let node = Node::connect(&redis).await.map_err(other)?;
        let all: Vec<_> = (0..TOPICS).map(|number| node.topic(number)).collect();
        let changed: Vec<_> = (0..CHANGED).map(|number| number * 100).collect();
        for number in &changed {
            publish(&node.other, *number).await?;
        }
        node.wait_for(|node| node.received() >= CHANGED as u64)
            .await?;
        for round in 1..=3 {
            cut(&mut connection)?;
            node.wait_for(|node| !node.is_ready()).await?;
            for number in &changed {
                publish(&node.other, *number).await?;
            }
            let pings = Pings::start(redis.connect()?);
            let begun = Instant::now();
            call::<()>(&mut connection, &ON)?;
            node.wait_for(Node::is_ready).await?;
            time = time.max(begun.elapsed());
            ping = ping.max(pings.slowest()?);
            let received = (round + 1) * CHANGED as u64;
            if node.received() != received {
                let text = format!("{} of {received} events", node.received());
                return Err(other(text));
            }
        }
        drop(all);
        Ok(())
    })?;
    let what = format!("{TOPICS} topics, {CHANGED} of them changed");
    Ok(vec![
        Row::new(
            &what,
            &format!("{time:.2?}"),
            "≤ 2 s",
            time <= Duration::from_secs(2),
        ),
        Row::new(
            &format!("{what}, slowest PING meanwhile"),
            &format!("{ping:.1?}"),
            "< 20 ms",
            ping < Duration::from_millis(20),
        ),
    ])
}

/// A node that logs in as a user whom the server can refuse.
struct Node {
    hub: Hub,
    other: Hub,
}

impl Node {
    async fn connect(redis: &RedisServer) -> Result<Self, EngineError> {
        let config = || HubConfig::default().max_topics(TOPICS);
        let url = redis.url();
        let other = Hub::connect(config(), Engine::redis(&url)?).await?;
        let url = url.replace("redis://", "redis://node:secret@");
        let hub = Hub::connect(config(), Engine::redis(&url)?).await?;
        Ok(Self { hub, other })
    }

    fn topic(&self, number: usize) -> Option<Topic> {
        self.hub.topic(number.to_string()).ok()
    }

    fn is_ready(&self) -> bool {
        let snapshot = self.hub.engine_snapshot();
        snapshot.is_some_and(|snapshot| snapshot.is_ready)
    }

    fn received(&self) -> u64 {
        let snapshot = self.hub.engine_snapshot();
        snapshot.map_or(0, |snapshot| snapshot.received)
    }

    async fn wait_for(&self, is_done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let waiting = async {
            while !is_done(self) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let waited = timeout(Duration::from_secs(30), waiting).await;
        waited.map_err(|_| io::ErrorKind::TimedOut.into())
    }
}

async fn publish(hub: &Hub, number: usize) -> io::Result<()> {
    let topic = hub.topic(number.to_string()).map_err(other)?;
    let published = topic.publish(&Event::new().data("hey")).map_err(other)?;
    published.stored().await.map(drop).map_err(other)
}

fn cut(connection: &mut Connection) -> io::Result<()> {
    call::<()>(connection, &["ACL", "SETUSER", "node", "off"])?;
    call(connection, &["CLIENT", "KILL", "USER", "node"])
}

const ON: [&str; 8] = [
    "ACL", "SETUSER", "node", "on", ">secret", "~*", "&*", "+@all",
];

/// A thread that sends `PING` again and again.
struct Pings {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Duration>>,
}

impl Pings {
    fn start(mut connection: Connection) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while !ends.load(Ordering::Relaxed) {
                let begun = Instant::now();
                call::<String>(&mut connection, &["PING"])?;
                slowest = slowest.max(begun.elapsed());
                thread::sleep(Duration::from_millis(1));
            }
            Ok(slowest)
        });
        Self { is_over, thread }
    }

    fn slowest(self) -> io::Result<Duration> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::ErrorKind::Other)?
    }
}
