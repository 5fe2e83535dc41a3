//! Spans and log events of the feature `tracing`.

#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::fmt::{Debug, Display, Formatter, Write as _};
use std::future::{Ready, ready};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{config, pass, serve, serve_topic};
use sse_core::{EventId, Events, Pace, Replayer, Retention};
use sse_net::{
    Connect, EventSource, Hub, HubConfig, Listener, Peer, Player, Request, Routes, Runs,
    RunsConfig, Server, Start, Topic, Transport,
};
use tokio::io::{join, sink};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Records spans and events as text.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<String>>);

impl Visit for Notes {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0.lock().unwrap(), " {field}={value:?}");
    }
}

impl Subscriber for Notes {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("sse_net")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let name = span.metadata().name();
        self.0.lock().unwrap().push_str(&format!("\nspan {name}"));
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let level = event.metadata().level();
        self.0.lock().unwrap().push_str(&format!("\n{level}"));
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn connections_have_spans_and_their_ends_are_logged() {
    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let topic = Topic::new(Retention::default());
    let config = config().max_connections(1);
    let (_server, net, _) = serve_topic(config, &topic, Start::Live);
    let mut client = net.get("/").await;
    client.follow().await;
    net.get("/").await.read_to_end().await;
    net.fail(io::ErrorKind::OutOfMemory);
    drop(client);
    pass(Duration::from_secs(1)).await;
    assert_eq!(
        notes.0.lock().unwrap().as_str(),
        "\nspan connection peer=local\
         \nWARN message=a connection was refused: the limit of connections is reached peer=local\
         \nspan connection peer=local\
         \nWARN message=a connection could not be accepted error=out of memory\
         \nDEBUG message=the stream ended reason=ClientClosed"
    );
}

/// A listener with one connection, whose handshake fails.
struct Failing(bool);

impl Listener for Failing {
    type Handshake = Ready<io::Result<Transport>>;

    async fn accept(&mut self) -> io::Result<(Self::Handshake, Peer)> {
        if std::mem::replace(&mut self.0, true) {
            std::future::pending::<()>().await;
        }
        let error = io::Error::other("no certificate");
        Ok((ready(Err(error)), Peer::Local))
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_handshake_is_logged() {
    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let _server = Server::new(config())
        .listen(Failing(false))
        .serve(Routes::new());
    pass(Duration::from_secs(1)).await;
    assert_eq!(
        notes.0.lock().unwrap().as_str(),
        "\nspan connection peer=local\
         \nDEBUG message=a handshake failed error=no certificate"
    );
}

/// A client sees only that the stream has ended.
#[tokio::test(start_paused = true)]
async fn the_error_of_a_per_client_stream_is_logged() {
    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let (_server, net) = serve(config(), |request: Request| {
        ready(request.stream(async |_| Err(io::Error::other("the model is overloaded"))))
    });
    net.get("/").await.read_to_end().await;
    pass(Duration::from_secs(1)).await;
    assert_eq!(
        notes.0.lock().unwrap().as_str(),
        "\nspan connection peer=local\
         \nWARN message=a per-client stream failed error=the model is overloaded\
         \nDEBUG message=the stream ended reason=HandlerFailed"
    );
}

#[tokio::test]
async fn the_error_of_the_work_of_a_run_is_logged() {
    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let runs = Runs::new(Hub::new(HubConfig::default()), RunsConfig::default());
    let failing = async |_| Err::<(), _>(io::Error::other("the model is overloaded"));
    let run = runs.start("ada/1", failing).unwrap();
    let mut events = Vec::new();
    let mut subscription = run.subscribe(Start::Earliest);
    while subscription.read(&mut events).await.unwrap() > 0 {}
    assert_eq!(
        notes.0.lock().unwrap().as_str(),
        "\nWARN message=the work of a run failed key=\"ada/1\" error=the model is overloaded"
    );
}

/// Else its clients would wait for its end for ever, and it would count as running.
#[tokio::test(start_paused = true)]
async fn a_run_ends_though_its_error_cannot_be_logged() {
    #[derive(Debug)]
    struct Unspeakable;

    impl Display for Unspeakable {
        fn fmt(&self, _: &mut Formatter<'_>) -> std::fmt::Result {
            panic!("as the test has it");
        }
    }

    impl std::error::Error for Unspeakable {}

    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let runs = Runs::new(Hub::new(HubConfig::default()), RunsConfig::default());
    let failing = async |_| Err::<(), _>(Unspeakable);
    let run = runs.start("ada/1", failing).unwrap();
    pass(Duration::from_secs(1)).await;
    assert!(run.is_finished());
    let counts = runs.stats();
    assert_eq!((counts.running, counts.kept, counts.failed), (0, 1, 1));
    pass(Duration::from_secs(700)).await;
    assert_eq!(runs.stats().remembered, 1);
}

#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn the_error_of_a_per_client_stream_of_a_responder_is_logged() {
    use http_body_util::BodyExt as _;

    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let responder = sse_net::Responder::new(config());
    let failing = async |_| Err(io::Error::other("the model is overloaded"));
    let response = responder.stream(&sse_net::NoRequest, failing);
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(
        notes.0.lock().unwrap().as_str(),
        "\nWARN message=a per-client stream failed error=the model is overloaded\
         \nDEBUG message=the stream ended reason=HandlerFailed"
    );
}

/// The URL that is requested, whose query is a secret.
const URL: &str = "http://a/b?token=x7";

fn feed() -> EventSource {
    EventSource::get(URL)
        .unwrap()
        .reconnection_time(Duration::ZERO)
        .min_delay(Duration::ZERO)
}

/// An application that takes only events does not see why there are none.
#[tokio::test(start_paused = true)]
async fn reconnections_of_clients_are_logged() {
    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let responses = [
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n\
         0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\n\r\nx7",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ];
    let responses = Mutex::new(responses.into_iter());
    let mut client = feed().connect_with(move |_| {
        let response = responses.lock().unwrap().next();
        ready(response.map_or_else(
            || Err(io::ErrorKind::NotFound.into()),
            |response| Ok(join(response.as_bytes(), sink())),
        ))
    });
    assert!(client.next().await.unwrap().is_none());
    assert_eq!(
        notes.0.lock().unwrap().as_str(),
        "\nDEBUG message=a client reconnects url=http://a/b?… reason=the server ended the stream \
         retry_in=0ns\
         \nWARN message=a client reconnects url=http://a/b?… \
         reason=\"the server responded with 503\" retry_in=0ns"
    );
}

/// Errors of HTTP libraries show the URL.
#[cfg(feature = "http")]
#[tokio::test(start_paused = true)]
async fn the_query_of_a_request_is_not_logged() {
    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let send = |request: http::Request<_>| {
        let failed = format!("GET {} failed", request.uri());
        ready(Err::<http::Response<http_body_util::Empty<&[u8]>>, _>(
            failed,
        ))
    };
    let mut client = feed().max_retries(1).connect_over(send);
    assert!(client.next().await.is_err());
    assert_eq!(
        notes.0.lock().unwrap().as_str(),
        "\nWARN message=a client reconnects url=http://a/b?… \
         reason=\"the connection was lost: GET http://a/b?… failed\" retry_in=0ns"
    );
}

/// A player publishes a recording, and an application forwards events that it has read.
#[tokio::test(start_paused = true)]
async fn dropped_ids_are_logged_once() {
    let notes = Notes::default();
    let _guard = tracing::subscriber::set_default(notes.clone());
    let topic = Topic::new(Retention::default());
    let recording = &b"id: a\x01b\ndata: 1\n\nid:  7\ndata: 2\n\nid: 8\ndata: 3\n\n"[..];
    let mut player = Player::new(Replayer::new(recording), Pace::FASTEST);
    assert_eq!(player.publish_to(&topic).await.unwrap(), 3);
    for event in Events::new(recording) {
        topic.publish(&event.unwrap().into()).unwrap();
    }
    assert_eq!(EventId::dropped(), 4);
    assert_eq!(
        notes.0.lock().unwrap().as_str(),
        "\nWARN message=an event is sent without its ID, which a client could not send back; \
         further ones are counted as dropped_ids"
    );
    let mut kept = Vec::new();
    topic
        .subscribe(Start::Earliest)
        .read(&mut kept)
        .await
        .unwrap();
    let kept = String::from_utf8(kept).unwrap();
    assert!(
        !kept.contains('\u{1}') && kept.matches("id: 8\n").count() == 2,
        "{kept}"
    );
}
