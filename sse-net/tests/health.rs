//! Readiness and liveness of a server, and its counters.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Pending, Ready, pending, ready};
use std::io;
use std::time::Duration;

use sse_core::{Response, Retention};
use sse_net::testing::{RawClient, pipes};
use sse_net::{
    Answer, Config, Event, Hub, HubConfig, HubSnapshot, Listener, Peer, Readiness, Request, Server,
    SlowClients, Start, Subscription, Topic, TopicConfig, Transport,
};

async fn probe(request: Request) -> Answer {
    let readiness = request.readiness();
    request.respond(readiness)
}

#[tokio::test(start_paused = true)]
async fn an_announced_drain_makes_a_server_unready_before_it_refuses() {
    let (listener, clients) = pipes();
    let server = Server::new(Config::default().shards(1)).listen(listener);
    let server = server.serve(probe);
    let ask = async || {
        let mut client = RawClient::new(clients.connect().unwrap());
        let status = client.get("/readyz").await.unwrap().status();
        let body = client.read().await.unwrap().unwrap();
        (status, String::from_utf8(body).unwrap())
    };
    assert_eq!(server.readiness(), Readiness::Ready);
    assert_eq!(ask().await, (200, "the server is ready\n".to_owned()));
    server.announce_drain();
    let draining = "the server drains; connect to another\n".to_owned();
    assert_eq!(ask().await, (503, draining));
    assert!(server.is_live());
    assert_eq!(server.stats().accepted, 2);
    server.drain(Duration::ZERO).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_at_its_limit_is_full() {
    let topic = Topic::new(Retention::default());
    let (listener, clients) = pipes();
    let server = Server::new(Config::default().shards(1).max_connections(1)).listen(listener);
    let server = server.serve_with(topic, async |topic: Topic, request: Request| {
        request.follow(&topic)
    });
    let mut client = RawClient::new(clients.connect().unwrap());
    client.get("/").await.unwrap();
    assert_eq!(server.readiness(), Readiness::Full);
    assert_eq!(server.stats().joined, 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_without_a_listener_is_dead() {
    let server = Server::new(Config::default().shards(1)).serve(probe);
    assert_eq!(server.readiness(), Readiness::Dead);
    assert!(!server.is_live());
}

#[test]
fn readiness_is_a_response_with_a_sentence() {
    for (readiness, status, sentence) in [
        (Readiness::Ready, 200, "the server is ready"),
        (
            Readiness::Full,
            503,
            "the server has its maximum number of connections; connect to another",
        ),
        (
            Readiness::Draining,
            503,
            "the server drains; connect to another",
        ),
        (
            Readiness::Dead,
            503,
            "a task of the server has ended; restart it",
        ),
    ] {
        assert_eq!(readiness.to_string(), sentence);
        assert_eq!(Response::from(readiness).status(), status);
    }
}

/// Accepts three connections: the handshake of one fails, that of another never ends.
struct Handshakes(u8);

impl Listener for Handshakes {
    type Handshake = futures::Either;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        self.0 += 1;
        let handshake = match self.0 {
            1 => futures::Either::Failed(ready(Err(io::ErrorKind::InvalidData.into()))),
            2 => futures::Either::Stuck(pending()),
            _ => return pending().await,
        };
        Ok((handshake, Peer::Local))
    }
}

mod futures {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::{Pending, Ready, Transport, io};

    pub(super) enum Either {
        Failed(Ready<io::Result<Transport>>),
        Stuck(Pending<io::Result<Transport>>),
    }

    impl Future for Either {
        type Output = io::Result<Transport>;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
            match self.get_mut() {
                Self::Failed(failed) => Pin::new(failed).poll(cx),
                Self::Stuck(stuck) => Pin::new(stuck).poll(cx),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_fail_or_take_too_long_are_counted() {
    let server = Server::new(Config::default().shards(1)).listen(Handshakes(0));
    let server = server.serve(probe);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.handshake_errors), (2, 2));
}

/// One event is retained, so a client that comes back has missed some.
fn hub() -> Hub {
    let topic = TopicConfig::from(Retention::events(1)).slow_clients(SlowClients::SkipAhead);
    Hub::new(HubConfig::from(topic).max_counted_topics(2))
}

fn counts(snapshot: &HubSnapshot) -> Vec<(&str, u64)> {
    let counted = snapshot.counted.iter();
    counted
        .map(|topic| (topic.name.as_str(), topic.published))
        .collect()
}

#[test]
fn the_first_topics_are_counted_by_themselves_and_the_others_together() {
    let hub = hub();
    for (name, count) in [("b", 1), ("a", 2), ("c", 3), ("d", 4)] {
        let topic = hub.topic(name).unwrap();
        let events = vec![Event::new().data("x"); count];
        topic.publish_all(&events).unwrap();
    }
    let snapshot = hub.stats();
    assert_eq!(counts(&snapshot), [("a", 2), ("b", 1)]);
    assert_eq!((snapshot.topics, snapshot.others.published), (4, 7));
    assert_eq!(snapshot.published(), 10);

    let keyed = hub.keyed_topic("keyed").unwrap();
    keyed.publish_for("k", &Event::new().data("x")).unwrap();
    keyed.remove("k").unwrap();
    assert_eq!(hub.stats().others.published, 9);
}

#[tokio::test]
async fn a_gap_is_counted_with_its_topic() {
    let hub = hub();
    let topic = hub.topic("a").unwrap();
    let (listener, clients) = pipes();
    let server = Server::new(Config::default().shards(1)).listen(listener);
    let _server = server.serve_with(topic.clone(), async |topic: Topic, request: Request| {
        request.follow_from(&topic, Start::Live)
    });
    let mut client = RawClient::new(clients.connect().unwrap());
    client
        .resume("/", &format!("1{}-0", "0".repeat(12)))
        .await
        .unwrap();
    assert_eq!(client.event().await.unwrap().event(), "gap");
    assert_eq!(hub.stats().counted[0].gaps, 1);
}

/// Each of two topics has two events, in turn.
#[tokio::test]
async fn delivered_events_are_counted_with_their_topics() {
    let hub = Hub::new(HubConfig::default().max_counted_topics(2));
    let topics = ["a", "b"].map(|name| hub.topic(name).unwrap());
    let publish = || {
        for topic in &topics {
            topic.publish(&Event::new().data("x")).unwrap();
        }
    };
    publish();
    publish();
    let delivered = || {
        let counted = hub.stats().counted.into_iter();
        let delivered = counted.map(|topic| (topic.delivered, topic.delivered_bytes));
        delivered.collect::<Vec<_>>()
    };

    let mut bytes = Vec::new();
    let mut one = topics[0].subscribe(Start::Earliest);
    let a = one.read(&mut bytes).await.unwrap() as u64;
    assert_eq!(delivered(), [(2, a), (0, 0)]);

    let mut all = Subscription::to(&topics, None, Start::Earliest).unwrap();
    let b = all.read(&mut bytes).await.unwrap() as u64 - a;
    assert_eq!(delivered(), [(4, 2 * a), (2, b)]);

    let (listener, clients) = pipes();
    let server = Server::new(Config::default().shards(1)).listen(listener);
    let _server = server.serve_with(
        topics.clone(),
        async |topics: [Topic; 2], request: Request| match request.path() {
            "/one" => request.follow_from(&topics[1], Start::Earliest),
            _ => request.follow_all_from(&topics, Start::Earliest),
        },
    );
    let mut one = RawClient::new(clients.connect().unwrap());
    one.get("/one").await.unwrap();
    let mut all = RawClient::new(clients.connect().unwrap());
    all.get("/all").await.unwrap();
    for _ in 0..2 {
        one.event().await.unwrap();
        all.event().await.unwrap();
        all.event().await.unwrap();
    }
    assert_eq!(delivered(), [(6, 3 * a), (6, 3 * b)]);

    // Both are up to date now, so that they get the same bytes at once.
    topics[1].publish(&Event::new().data("x")).unwrap();
    one.event().await.unwrap();
    all.event().await.unwrap();
    let counts = delivered().into_iter().map(|(events, _)| events);
    assert_eq!(counts.collect::<Vec<_>>(), [6, 8]);
}

/// Any recorder takes the counters: this one keeps them in a map.
#[cfg(feature = "metrics")]
mod facade {
    use std::collections::BTreeMap;
    use std::sync::atomic::Ordering;
    use std::sync::{Arc, Mutex};

    use metrics::atomics::AtomicU64;
    use metrics::{
        Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;

    #[derive(Default)]
    struct Map(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Map {
        fn of(&self, key: &Key) -> Arc<AtomicU64> {
            let labels = key.labels().map(|label| format!(" {}", label.value()));
            let name = key.name().to_owned() + &labels.collect::<String>();
            Arc::clone(self.0.lock().unwrap().entry(name).or_default())
        }
    }

    impl Recorder for Map {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.of(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.of(key))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn counters_reach_whichever_recorder_there_is() {
        let hub = hub();
        let topic = hub.topic("feed").unwrap();
        let (listener, clients) = pipes();
        let server = Server::new(Config::default().shards(1)).listen(listener);
        let server = server.serve_with(topic.clone(), async |topic: Topic, request: Request| {
            request.follow(&topic)
        });
        let mut client = RawClient::new(clients.connect().unwrap());
        client.get("/").await.unwrap();
        topic.publish(&Event::new().data("hey")).unwrap();
        client.event().await.unwrap();

        let map = Map::default();
        metrics::with_local_recorder(&map, || {
            server.stats().record();
            hub.stats().record();
            server.stats().record(); // A counter is set, not added to.
        });
        let map = map.0.lock().unwrap();
        let value = |name: &str| map[name].load(Ordering::Relaxed);
        for name in [
            "sse_accepted_total",
            "sse_joined_total",
            "sse_events_total",
            "sse_topic_published_total feed",
        ] {
            assert_eq!(value(name), 1, "{name}");
        }
        assert_eq!(value("sse_disconnects_total max_age"), 0);
        assert_eq!(f64::from_bits(value("sse_connections")), 1.0);
    }
}
