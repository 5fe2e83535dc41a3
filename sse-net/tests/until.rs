//! Streams that end at a time or when a future resolves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::{pending, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{Ends, Kind, Net, config, is_jittered, over_all_servers, publish, published, settle};
use sse_core::{Event, EventId, Events, Retention};
use sse_net::{Answer, Config, Disconnect, Request, Snapshot, Stream, Topic};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

over_all_servers! {
    a_stream_ends_at_its_time,
    a_stream_ends_when_its_future_resolves,
    the_earliest_of_several_ends_counts,
    a_time_that_has_passed_ends_the_stream_at_once,
    a_panic_of_the_future_ends_the_stream,
    a_panic_of_the_future_when_it_is_dropped_ends_no_other_stream,
    the_future_is_dropped_with_its_stream,
    a_stream_that_ends_before_its_part_of_a_drain_keeps_its_reason,
}

async fn a_stream_ends_at_its_time(kind: Kind) {
    for follows in [true, false] {
        let expires_at = SystemTime::now() + 5 * SECOND;
        let end = move |stream: Ending| stream.until(expires_at);
        let server = Server::start(kind, config(), follows, end);
        let began = Instant::now();
        let mut client = server.net.get("/").await;
        assert_eq!(client.follow().await, "");
        publish(&server.topic, 1..2);
        assert_eq!(client.read().await, published(1..2));
        sleep(4 * SECOND).await;
        publish(&server.topic, 2..3);
        assert_eq!(client.read().await, published(2..3));
        let last = client.read_to_end().await;
        assert!(is_last_block(&last), "{last}");
        let time = began.elapsed();
        assert!(time >= 9 * SECOND / 2 && time < 6 * SECOND, "{time:?}");
        server.check_end(Disconnect::Expired).await;
        assert_eq!(server.stats().expired, 1);
    }
}

async fn a_stream_ends_when_its_future_resolves(kind: Kind) {
    for follows in [true, false] {
        let (revoke, is_revoked) = watch::channel(false);
        let end = move |stream: Ending| {
            let mut is_revoked = is_revoked.clone();
            stream.until(async move { _ = is_revoked.wait_for(|revoked| *revoked).await })
        };
        let server = Server::start(kind, config(), follows, end);
        let mut clients = [server.net.get("/").await, server.net.get("/").await];
        for client in &mut clients {
            client.follow().await;
        }
        sleep(10 * SECOND).await;
        publish(&server.topic, 1..2);
        for client in &mut clients {
            assert!(client.read().await.ends_with(&published(1..2)));
        }
        revoke.send_replace(true);
        for client in &mut clients {
            let last = client.read_to_end().await;
            assert!(is_last_block(&last), "{last}");
        }
        settle().await;
        assert_eq!(server.ends.take(), [Disconnect::Expired; 2]);
    }
}

async fn the_earliest_of_several_ends_counts(kind: Kind) {
    let now = SystemTime::now();
    let end = move |stream: Ending| {
        let stream = stream.until(now + 20 * SECOND).until(pending());
        stream.until(sleep(9 * SECOND)).until(now + 100 * SECOND)
    };
    for (max_age, expected, seconds) in [
        (None, Disconnect::Expired, 9),
        (Some(4 * SECOND), Disconnect::MaxAge, 4),
    ] {
        let server = Server::start(kind, config().max_age(max_age), true, end);
        let began = Instant::now();
        let mut client = server.net.get("/").await;
        client.read_to_end().await;
        assert!(began.elapsed() <= (seconds + 1) * SECOND);
        server.check_end(expected).await;
    }
    let end = move |stream: Ending| stream.until(now + 9 * SECOND).until(now + 100 * SECOND);
    let server = Server::start(kind, config(), true, end);
    let began = Instant::now();
    server.net.get("/").await.read_to_end().await;
    assert!(began.elapsed() <= 10 * SECOND);
}

async fn a_stream_that_ends_before_its_part_of_a_drain_keeps_its_reason(kind: Kind) {
    let expires_at = SystemTime::now() + 3 * SECOND;
    let (topic, ends) = (Topic::new(Retention::events(9)), Ends::default());
    let reported = ends.clone();
    let (control, net) = match kind {
        Kind::Server => {
            let (server, net) = common::serve(config(), move |request: Request| {
                ready(reported.watch(request.follow(&topic).until(expires_at)))
            });
            (common::Control::Server(server), net)
        }
        #[cfg(feature = "http")]
        Kind::Http1 | Kind::Http2 => {
            let responder = sse_net::Responder::new(config());
            let shared = responder.clone();
            let net = common::http::serve(kind == Kind::Http2, move |request| {
                let response = shared.follow(&request, &topic);
                response.map(|body| reported.watch_body(body.until(expires_at)))
            });
            (common::Control::Responder(responder), net)
        }
    };
    let mut client = net.get("/").await;
    client.follow().await;
    // In so long a window, its own end comes first.
    let drain = tokio::spawn(control.drain(100_000 * SECOND));
    client.read_to_end().await;
    drain.await.unwrap();
    assert_eq!(ends.take(), [Disconnect::Expired]);
}

async fn a_time_that_has_passed_ends_the_stream_at_once(kind: Kind) {
    for follows in [true, false] {
        let end = |stream: Ending| stream.until(SystemTime::UNIX_EPOCH);
        let server = Server::start(kind, config(), follows, end);
        let began = Instant::now();
        let mut client = server.net.get("/").await;
        client.read_to_end().await;
        assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
        server.check_end(Disconnect::Expired).await;
    }
}

async fn a_panic_of_the_future_ends_the_stream(kind: Kind) {
    for follows in [true, false] {
        let end = |stream: Ending| {
            stream.until(async {
                sleep(SECOND).await;
                panic!("the future of `until`");
            })
        };
        let server = Server::start(kind, config(), follows, end);
        let mut client = server.net.get("/").await;
        client.read_to_end().await;
        server.check_end(Disconnect::HandlerPanicked).await;
        let mut healthy = server.net.get("/").await;
        healthy.follow().await;
    }
}

async fn a_panic_of_the_future_when_it_is_dropped_ends_no_other_stream(kind: Kind) {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("the future of `until` is dropped");
        }
    }
    for follows in [true, false] {
        let end = |stream: Ending| {
            let panics = Panics;
            let end = async move {
                pending::<()>().await;
                drop(panics);
            };
            stream.until(end)
        };
        let server = Server::start(kind, config(), follows, end);
        let mut other = server.net.get("/").await;
        other.follow().await;
        drop(server.net.get("/").await);
        sleep(SECOND).await;
        publish(&server.topic, 1..2);
        assert_eq!(other.read().await, published(1..2));
        assert_eq!(server.stats().panics, 0);
    }
}

async fn the_future_is_dropped_with_its_stream(kind: Kind) {
    for follows in [true, false] {
        let held = Arc::new(());
        let holder = Arc::clone(&held);
        let end = move |stream: Ending| {
            let holder = Arc::clone(&holder);
            stream.until(async move {
                pending::<()>().await;
                drop(holder);
            })
        };
        let server = Server::start(kind, config(), follows, end);
        let mut client = server.net.get("/").await;
        client.follow().await;
        assert_eq!(Arc::strong_count(&held), 3);
        drop(client);
        sleep(SECOND).await;
        assert_eq!(Arc::strong_count(&held), 2);
    }
}

/// The detached future of a stream continues, and its calls fail.
#[tokio::test(start_paused = true)]
async fn a_detached_future_is_not_dropped_at_the_end() {
    let (sender, mut result) = watch::channel(None);
    let (_server, net) = common::serve(config(), move |request: Request| {
        let sender = sender.clone();
        let write = async move |mut stream: Stream| {
            stream.closed().await;
            let written = stream.write_str("late").await;
            sender.send_replace(written.err().map(|error| io::Error::from(error).kind()));
            Ok(())
        };
        let expires_at = SystemTime::now() + SECOND;
        ready(request.stream_detached(write).until(expires_at))
    });
    let mut client = net.get("/").await;
    let last = client.read_to_end().await;
    assert!(last.contains("retry: "), "{last}");
    let kind = result.wait_for(Option::is_some).await.unwrap();
    assert_eq!(*kind, Some(io::ErrorKind::BrokenPipe));
}

/// The stream of a client that has stalled ends after a whole event.
#[tokio::test(start_paused = true)]
async fn a_stalled_client_gets_a_whole_event_before_the_end() {
    let expires_at = SystemTime::now() + 5 * SECOND;
    let end = move |stream: Ending| stream.until(expires_at);
    let server = Server::start(Kind::Server, config(), true, end);
    let mut client = server.net.get_slow("/", 1000).await;
    publish(&server.topic, 0..100);
    sleep(8 * SECOND).await;
    let text = client.read_to_end().await;
    let (events, retry) = text.split_at(text.rfind("retry: ").unwrap());
    let count = u32::try_from(events.matches("\n\n").count()).unwrap();
    assert!((10..99).contains(&count), "{count}");
    assert_eq!(events, published(0..count));
    assert!(is_last_block(retry), "{retry}");
    server.check_end(Disconnect::Expired).await;
}

/// Returns whether this is a block with a jittered reconnection time only.
fn is_last_block(text: &str) -> bool {
    let time = text.strip_prefix("retry: ");
    let time = time.and_then(|text| text.strip_suffix("\n\n"));
    time.is_some_and(is_jittered)
}

/// The answer of a server, or the body of a responder.
enum Ending {
    Answer(Answer),
    #[cfg(feature = "http")]
    Body(sse_net::Body),
}

impl Ending {
    fn until<Kind>(self, end: impl sse_net::Until<Kind>) -> Self {
        match self {
            Self::Answer(answer) => Self::Answer(answer.until(end)),
            #[cfg(feature = "http")]
            Self::Body(body) => Self::Body(body.until(end)),
        }
    }
}

/// A server whose streams end as set, and follow a topic or copy it.
struct Server {
    net: Net,
    topic: Topic,
    ends: Ends,
    stats: Box<dyn Fn() -> Snapshot>,
}

type Written = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

impl Server {
    fn start(
        kind: Kind,
        config: Config,
        follows: bool,
        end: impl Fn(Ending) -> Ending + Send + Sync + 'static,
    ) -> Self {
        let topic = Topic::new(Retention::events(100));
        let ends = Ends::default();
        let (followed, reported) = (topic.clone(), ends.clone());
        match kind {
            Kind::Server => {
                let (running, net) = common::serve(config, move |request: Request| {
                    let answer = if follows {
                        request.follow(&followed)
                    } else {
                        let topic = followed.clone();
                        request.stream(move |stream| copy(&topic, stream))
                    };
                    match end(Ending::Answer(answer)) {
                        Ending::Answer(answer) => ready(reported.watch(answer)),
                        #[cfg(feature = "http")]
                        Ending::Body(_) => unreachable!("an answer stays one"),
                    }
                });
                Self {
                    net,
                    topic,
                    ends,
                    stats: Box::new(move || running.stats()),
                }
            }
            #[cfg(feature = "http")]
            Kind::Http1 | Kind::Http2 => {
                let responder = sse_net::Responder::new(config);
                let shared = responder.clone();
                let net = common::http::serve(kind == Kind::Http2, move |request| {
                    let response = if follows {
                        shared.follow(&request, &followed)
                    } else {
                        let topic = followed.clone();
                        shared.stream(&request, move |stream| copy(&topic, stream))
                    };
                    response.map(|body| {
                        let Ending::Body(body) = end(Ending::Body(body)) else {
                            unreachable!("a body stays one")
                        };
                        reported.watch_body(body)
                    })
                });
                Self {
                    net,
                    topic,
                    ends,
                    stats: Box::new(move || responder.stats()),
                }
            }
        }
    }

    fn stats(&self) -> Snapshot {
        (self.stats)()
    }

    async fn check_end(&self, expected: Disconnect) {
        settle().await;
        assert_eq!(self.ends.take(), [expected]);
    }
}

/// Copies the events of a topic to a per-client stream.
fn copy<C>(topic: &Topic, mut stream: Stream<C>) -> Written
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let mut subscription = topic.subscribe(sse_net::Start::Live);
    Box::pin(async move {
        while let Some(bytes) = subscription.read_bytes().await.unwrap() {
            for event in Events::new(&bytes[..]) {
                let event = event?;
                let id = EventId::new(event.last_event_id()).unwrap();
                let copied = Event::new().id(id).data(event.data());
                stream.send(&copied).await?;
            }
        }
        Ok(())
    })
}
