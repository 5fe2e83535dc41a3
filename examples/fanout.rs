//! The server of the benchmarks: one feed for all clients, at a chosen rate.
//!
//! `--tls --cert FILE --key FILE` serves over TLS. With `--threads 2` or more, the publishers
//! run on separate threads. `--flood` publishes without pause. `--second RATE` is the rate
//! of another topic, `/second`. With `--keys N`, the topic is keyed and the events are those of
//! N keys in turn.

use std::error::Error;
use std::net::Ipv4Addr;
use std::thread;

use sse_core::{Event, KeyedRetention, Retention};
use sse_net::{
    Config, Hub, KeyedTopicError, PublishError, Request, Server, SlowClients, Start, Tcp, Topic,
    TopicConfig, bind_unix,
};
use sse_tls::{PemFiles, TlsListener};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::yield_now;
use tokio::time::sleep;

use feed::{BATCH, Feed, Options};

mod feed;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1).collect())?;
    let mut runtime = match options.threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = runtime.worker_threads(options.threads).enable_all();
    runtime.build()?.block_on(run(options))
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let bytes = if options.flood {
        2 * AHEAD // fits into the CPU's cache
    } else {
        options.preload * (options.size + 64) + (64 << 20)
    };
    // No client keeps up with a flood from another thread.
    let slow_clients = match options.threads {
        1 => SlowClients::Disconnect,
        _ => SlowClients::SkipAhead,
    };
    let config = TopicConfig::default()
        .retention(Retention::events(usize::MAX).bytes(bytes))
        .keyed(KeyedRetention::default().keys(options.keys).bytes(bytes))
        .linger(options.linger)
        .slow_clients(slow_clients);
    let mut topic = Target::new(config, options.keys)?;
    let second = Topic::new(TopicConfig::default());
    let mut feed = Feed::new(&options);
    for _ in 0..options.preload {
        topic.publish_all(&[Event::new().data(feed.store())])?;
    }

    let mut server = Server::new(Config::default());
    if let Some(port) = options.port {
        let listener = Tcp::default().bind((Ipv4Addr::LOCALHOST, port))?;
        server = match &options.tls {
            Some((certificate, key)) => {
                let tls = PemFiles::new(certificate, key).load()?;
                server.listen(TlsListener::new(listener, tls))
            }
            None => server.listen(listener),
        };
    }
    if let Some(path) = &options.unix {
        server = server.listen(bind_unix(path)?);
    }
    let followed = (topic.topic.clone(), second.clone());
    let server = server.serve(move |request: Request| {
        std::future::ready(match request.path() {
            "/second" => request.follow(&followed.1),
            _ => request.follow(&followed.0),
        })
    });

    let publishing = async {
        match (options.threads, options.flood) {
            (1, true) => flood(topic, feed, || server.stats().bytes).await,
            (1, false) => publish(topic, feed).await,
            (_, is_flood) => {
                let feed_of_second = Feed::second(&options);
                thread::spawn(move || {
                    publish_on_thread(Target::from(second), feed_of_second);
                });
                thread::spawn(move || {
                    if is_flood {
                        flood_on_thread(topic, feed);
                    } else {
                        publish_on_thread(topic, feed);
                    }
                });
                std::future::pending::<()>().await;
            }
        }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        () = publishing => {}
        _ = terminate.recv() => {}
    }
    println!("{:?}", server.stats());
    Ok(())
}

/// A topic to publish in.
struct Target {
    topic: Topic,
    /// The keys of a keyed topic, and the place of the next one.
    keys: Vec<String>,
    next: usize,
}

impl From<Topic> for Target {
    fn from(topic: Topic) -> Self {
        Self {
            topic,
            keys: Vec::new(),
            next: 0,
        }
    }
}

impl Target {
    fn new(config: TopicConfig, keys: usize) -> Result<Self, KeyedTopicError> {
        if keys == 0 {
            return Ok(Topic::new(config).into());
        }
        Ok(Self {
            topic: Hub::new(config).keyed_topic("feed")?,
            keys: (0..keys).map(|key| key.to_string()).collect(),
            next: 0,
        })
    }

    fn publish_all(&mut self, events: &[Event<'_>]) -> Result<(), PublishError> {
        if self.keys.is_empty() {
            return self.topic.publish_all(events).map(drop);
        }
        for event in events {
            self.topic.publish_for(&self.keys[self.next], event)?;
            self.next = (self.next + 1) % self.keys.len();
        }
        Ok(())
    }
}

/// Publishes due events, all that are due at the same time as one batch.
async fn publish(mut topic: Target, mut feed: Feed) {
    while let Some(wait) = feed.wait() {
        if !wait.is_zero() {
            sleep(wait).await;
        }
        publish_due(&mut topic, &mut feed);
        yield_now().await;
    }
    std::future::pending::<()>().await;
}

/// Like `publish`, on its own thread.
fn publish_on_thread(mut topic: Target, mut feed: Feed) {
    while let Some(wait) = feed.wait() {
        thread::sleep(wait);
        publish_due(&mut topic, &mut feed);
    }
}

fn publish_due(topic: &mut Target, feed: &mut Feed) {
    let now = feed::now();
    let batch = Vec::from_iter(std::iter::from_fn(|| feed.pop(now)).take(BATCH));
    let events = Vec::from_iter(batch.iter().map(|data| Event::new().data(data)));
    let _ = topic.publish_all(&events);
}

/// Publishes as fast as the only subscriber reads.
async fn flood(mut target: Target, mut feed: Feed, written: impl Fn() -> u64) {
    let topic = target.topic.clone();
    let data = Vec::from_iter((0..500).map(|_| feed.store()));
    let batch = Vec::from_iter(data.iter().map(|data| Event::new().data(data)));
    let mut published = 0;
    loop {
        while topic.subscriptions() > 0 && published < written() + AHEAD as u64 {
            let before = topic.subscribe(Start::Live);
            let _ = target.publish_all(&batch);
            published += before.lag() as u64;
        }
        yield_now().await;
    }
}

/// Publishes event after event without a pause, whether or not subscribers keep up.
fn flood_on_thread(mut topic: Target, mut feed: Feed) {
    let data = Vec::from_iter((0..500).map(|_| feed.store()));
    for data in data.iter().cycle() {
        let _ = topic.publish_all(&[Event::new().data(data)]);
    }
}

/// How many bytes a flood may be ahead of the writes.
const AHEAD: usize = 512 << 10;
