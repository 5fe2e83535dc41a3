//! The server of the benchmarks: one feed for all clients, at a chosen rate.
//!
//! `--tls --cert FILE --key FILE` serves over TLS. With `--threads 2` or more, the publishers
//! run on separate threads. `--flood` publishes without pause. `--second RATE` is the rate
//! of another topic, `/second`. With `--topics N --follow K`, the events go to N topics of a hub
//! in turn, and each client follows K of them. With `--own N`, each also follows one of N topics
//! without events. With `--keys N`, the topic is keyed and the events are those of N keys in turn.
//! With `--redis URL`, several servers share the topics, and those with `--follower` publish
//! nothing. `--help` lists all options.

use std::error::Error;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use cli::Ending;
use sse_core::{Event, KeyedRetention, Retention};
use sse_net::{
    Config, Engine, Hub, HubConfig, PublishError, Request, Server, SlowClients, Start, Tcp, Topic,
    TopicConfig, bind_unix,
};
use sse_tls::{PemFiles, TlsListener};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::yield_now;
use tokio::time::sleep;

use feed::{BATCH, Feed, Options};

mod feed;

fn main() -> ExitCode {
    cli::run("", |_| {
        // The benchmarks' servers parse the same options.
        let options = Options::parse(std::env::args().skip(1).collect());
        let options = options.map_err(|error| Ending::Usage(error.to_string()))?;
        let mut runtime = match options.threads {
            1 => Builder::new_current_thread(),
            _ => Builder::new_multi_thread(),
        };
        let runtime = runtime.worker_threads(options.threads).enable_all();
        let runtime = runtime.build().map_err(Ending::failure)?;
        runtime.block_on(run(options)).map_err(Ending::failure)
    })
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
    // Redis trims by the number.
    let events = match options.redis {
        Some(_) => 10_000,
        None => usize::MAX,
    };
    let config = TopicConfig::default()
        .retention(Retention::events(events).bytes(bytes))
        .keyed(KeyedRetention::default().keys(options.keys).bytes(bytes))
        .linger(options.linger)
        .slow_clients(slow_clients);
    let hub = HubConfig::from(config.clone()).max_topics(options.topics.max(1) + options.own);
    let hub = match &options.redis {
        Some(url) => Hub::connect(hub, Engine::redis(url)?.hub("fanout")?).await?,
        None => Hub::new(hub),
    };
    let topics = match options.topics {
        _ if options.keys > 0 => vec![hub.keyed_topic("feed")?],
        0 if options.own == 0 && options.redis.is_none() => vec![Topic::new(config)],
        count => (0..count.max(1))
            .map(|number| hub.topic(number.to_string()))
            .collect::<Result<_, _>>()?,
    };
    let own = (0..options.own).map(|number| hub.topic(format!("own {number}")));
    let own = own.collect::<Result<Vec<_>, _>>()?;
    let keys = (0..options.keys).map(|key| key.to_string()).collect();
    let mut publisher = Publisher::new(topics.clone(), keys);
    let second = Topic::new(TopicConfig::default());
    let mut feed = Feed::new(&options);
    for _ in 0..options.preload {
        publisher.publish(&[Event::new().data(feed.store())])?;
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
    let (followed, of_path) = (topics, second.clone());
    let clients = AtomicUsize::new(0);
    let server = server.serve(move |request: Request| {
        std::future::ready(match request.path() {
            "/second" => request.follow(&of_path),
            _ => {
                let first = clients.fetch_add(1, Ordering::Relaxed);
                let numbers = (first..first + options.follow).map(|number| number % followed.len());
                let own = own.get(first % own.len().max(1));
                request.follow_all(numbers.map(|number| &followed[number]).chain(own))
            }
        })
    });

    let publishing = async {
        match (options.threads, options.flood) {
            _ if options.follower => std::future::pending().await,
            (1, true) => flood(publisher, feed, || server.stats().bytes).await,
            // A task, because each wake-up of the runtime's root future is a system call.
            (1, false) => drop(tokio::spawn(publish(publisher, feed)).await),
            (_, is_flood) => {
                let feed_of_second = Feed::second(&options);
                thread::spawn(move || {
                    publish_on_thread(Publisher::new(vec![second], Vec::new()), feed_of_second);
                });
                thread::spawn(move || {
                    if is_flood {
                        flood_on_thread(publisher, feed);
                    } else {
                        publish_on_thread(publisher, feed);
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

/// Publishes in some topics in turn, or for the keys of a keyed one.
struct Publisher {
    topics: Vec<Topic>,
    keys: Vec<String>,
    turn: usize,
}

impl Publisher {
    fn new(topics: Vec<Topic>, keys: Vec<String>) -> Self {
        Self {
            topics,
            keys,
            turn: 0,
        }
    }

    /// Publishes a batch to one topic, or event after event to several topics or keys.
    fn publish(&mut self, events: &[Event<'_>]) -> Result<(), PublishError> {
        if let ([topic], []) = (&*self.topics, &*self.keys) {
            return topic.publish_all(events).map(drop);
        }
        for event in events {
            let topic = &self.topics[self.turn % self.topics.len()];
            match &*self.keys {
                [] => topic.publish(event)?,
                keys => topic.publish_for(&keys[self.turn % keys.len()], event)?,
            };
            self.turn += 1;
        }
        Ok(())
    }
}

/// Publishes due events, all that are due at the same time as one batch.
async fn publish(mut publisher: Publisher, mut feed: Feed) {
    while let Some(wait) = feed.wait() {
        if wait.is_zero() {
            yield_now().await;
        } else {
            sleep(wait).await;
        }
        publish_due(&mut publisher, &mut feed);
    }
    std::future::pending::<()>().await;
}

/// Like `publish`, on its own thread. It sleeps for at least a millisecond, as Tokio's timer does,
/// so that both publish the same batches.
fn publish_on_thread(mut publisher: Publisher, mut feed: Feed) {
    while let Some(wait) = feed.wait() {
        thread::sleep(wait.max(Duration::from_millis(1)));
        publish_due(&mut publisher, &mut feed);
    }
}

fn publish_due(publisher: &mut Publisher, feed: &mut Feed) {
    let now = feed::now();
    let batch = Vec::from_iter(std::iter::from_fn(|| feed.pop(now)).take(BATCH));
    let events = Vec::from_iter(batch.iter().map(|data| Event::new().data(data)));
    let _ = publisher.publish(&events);
}

/// Publishes as fast as the only subscriber reads.
async fn flood(mut publisher: Publisher, mut feed: Feed, written: impl Fn() -> u64) {
    let topic = publisher.topics[0].clone();
    let data = Vec::from_iter((0..500).map(|_| feed.store()));
    let batch = Vec::from_iter(data.iter().map(|data| Event::new().data(data)));
    let mut published = 0;
    loop {
        while topic.subscriptions() > 0 && published < written() + AHEAD as u64 {
            let before = topic.subscribe(Start::Live);
            let _ = publisher.publish(&batch);
            published += before.lag() as u64;
        }
        yield_now().await;
    }
}

/// Publishes event after event without a pause, whether or not subscribers keep up.
fn flood_on_thread(mut publisher: Publisher, mut feed: Feed) {
    let data = Vec::from_iter((0..500).map(|_| feed.store()));
    for data in data.iter().cycle() {
        let _ = publisher.publish(&[Event::new().data(data)]);
    }
}

/// How many bytes a flood may be ahead of the writes.
const AHEAD: usize = 512 << 10;
