//! Server-Sent Events to very many subscribers, on Tokio: one log, many cursors.
//!
//! A [`Topic`] is a log of encoded events, and a subscriber is an offset into it. There is no
//! queue per subscriber: a slow one delays no other, a late one starts at an earlier offset, and
//! one that is three events behind gets three events with one write. A [`Server`] owns each
//! connection from its first byte and passes the request to the application. Connections that
//! follow a topic are handed to a few tasks, the shards, which drive thousands of them each.
//!
//! ```text
//!   publish ──> Topic ──> Subscription ──> any writer
//!                 └─────> shards ─────────> clients          follow
//!   Listener ──> Server ──> Handler: Request ──> Answer ──> respond, reject
//!                                                   └──────> Stream: one client only
//!   http::Request ──> Responder ──> Body ──> hyper, axum     feature `http`
//! ```
//!
//! A [`Server`] is not an HTTP server: it serves one request per connection, over HTTP/1. It
//! does not know TLS: the crate `sse-tls` has a [`Listener`] for that. Events, their encoding
//! and their decoding are in [`sse_core`]; the types that applications need most are also
//! exported here.
//!
//! The repository's cookbook, `examples/cookbook`, has a module to copy from for each common task:
//! state in a handler, plain axum, CORS, a model's endpoint, an inbox for each user, sign-on that
//! expires, a table of state, tests with a paused clock, moving over from axum's `Sse`.
//!
//! # One feed for all
//!
//! ```
//! use std::time::Duration;
//! use sse_net::{Event, EventType, Retention, Routes, Server, Topic};
//!
//! const TICK: EventType = EventType::from_static("tick");
//! const PAGE: &str = "<script>new EventSource('/ticks')</script>";
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let ticks = Topic::new(Retention::events(10_000));
//! let server = Server::bind("127.0.0.1:0")?
//!     .serve(Routes::new().topic("/ticks", &ticks).page("/", PAGE));
//! ticks.publish(&Event::new().event(TICK).data("42"))?; // never waits, from any thread
//! server.drain(Duration::from_millis(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # A handler for each request
//!
//! ```
//! use sse_net::{Answer, Rejection, Request, Server, Topic};
//! # use sse_net::Retention;
//! # #[derive(Clone)]
//! # struct App(Topic);
//! # struct User(Topic);
//! # impl User { fn inbox(&self) -> &Topic { &self.0 } }
//! # impl App {
//! #     fn user(&self, request: &Request) -> Option<User> {
//! #         request.header("authorization").map(|_| User(self.0.clone()))
//! #     }
//! #     fn model(&self) -> Model { Model(2) }
//! # }
//! # struct Model(u8);
//! # impl Model {
//! #     async fn next(&mut self) -> Option<String> { self.0 = self.0.checked_sub(1)?; Some("token".into()) }
//! # }
//!
//! async fn handle(app: App, request: Request) -> Answer {
//!     match (app.user(&request), request.path()) {
//!         (None, _) => request.reject(Rejection::UNAUTHORIZED),
//!         (Some(user), "/inbox") => request.follow(user.inbox()), // resumes from Last-Event-ID
//!         (Some(_), "/ask") => request.stream(async move |mut stream| { // one client, with back-pressure
//!             let mut model = app.model();
//!             while let Some(token) = model.next().await {
//!                 stream.write_str(&token).await?;
//!             }
//!             stream.close().await
//!         }),
//!         _ => request.reject(Rejection::NOT_FOUND),
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! # let app = App(Topic::new(Retention::default()));
//! let server = Server::bind("127.0.0.1:0")?.serve_with(app, handle);
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # Many topics on one stream
//!
//! ```
//! use sse_net::{Answer, Event, Hub, HubConfig, Rejection, Request};
//!
//! # fn user(request: &Request) -> Option<String> { request.query().map(str::to_owned) }
//! let hub = Hub::new(HubConfig::default());
//! let followed = hub.clone();
//! let handle = move |request: Request| {
//!     let Some(user) = user(&request) else {
//!         return std::future::ready(request.reject(Rejection::UNAUTHORIZED));
//!     };
//!     let names = ["news".to_owned(), format!("inbox/{user}")];
//!     let topics: Result<Vec<_>, _> = names.map(|name| followed.topic(name)).into_iter().collect();
//!     std::future::ready(match topics {
//!         Ok(topics) => request.follow_all(&topics), // one Last-Event-ID resumes both
//!         Err(_) => request.reject(Rejection::UNAVAILABLE),
//!     })
//! };
//! hub.topic("inbox/alice")?.publish(&Event::new().data("hey"))?;
//! # let _ = handle;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Glossary
//!
//! | term | meaning |
//! | --- | --- |
//! | event | a message of a stream: type, ID, data; encoded once, when it is published |
//! | event ID | the name of an event, which a client sends back as its last event ID |
//! | topic | a log of events that clients follow |
//! | hub | a set of named topics that share one order of IDs |
//! | keyed topic | a topic of a hub that retains the newest event of each key |
//! | log | the retained events of a topic, in memory, in order |
//! | retention | the number, bytes and age of the events that a log keeps |
//! | evict | remove the oldest events from a log |
//! | cursor | an offset into a log: the next event of a subscriber |
//! | subscriber | a client or a [`Subscription`] that follows a topic |
//! | resume | continue after the last event ID of a client |
//! | gap | events that a client has missed because they were evicted, reported by a gap event |
//! | shard | a task that drives the connections of thousands of subscribers |
//! | handler | the function of the application that answers requests |
//! | per-client stream | a stream that a handler's future writes for one client only |
//! | run | work that outlives its request, and the topic with its events |
//! | journal | the files from which a hub or a topic is restored after a restart |
//! | engine | the Redis server through which the nodes of a hub share topics and IDs |
//! | drain | end all streams within a time, so that clients reconnect elsewhere |
//!
//! # Where to look
//!
//! - [`Topic`], [`Subscription`], [`Start`]: publish and follow. [`TopicConfig`]: retention,
//!   batching, and [slow clients](SlowClients). [`Topic::watched`]: run a source only while clients
//!   follow.
//! - [`Hub`], [`HubConfig`], [`Request::follow_all`], [`Subscription::to`]: many topics with one
//!   order of IDs, on one stream. [`Request::with_token`], [`StreamTopics`]: add and remove topics
//!   while it runs.
//! - [`Hub::open`], [`Journal`]: topics that survive a restart. [`SyncPolicy`]: the events
//!   that a power failure may cost.
//! - `Hub::connect`, `Engine`, with the feature `redis`: the topics of a hub on several nodes.
//! - [`Runs`], [`Run`]: work that continues when its client leaves, followed from any event ID.
//! - [`Server`], [`ServerHandle`], [`Routes`], [`Handler`]: serve and drain. [`Config`]: every
//!   limit, deadline and interval, with its default.
//! - [`Request`], [`Answer`], [`Stream`]: a request, its answer, and a per-client stream.
//!   [`Answer::until`]: end a stream with its token. [`Request::with_headers`]: set a cookie.
//!   [`Request::json`]: the body of a `POST`, which [`Upgrader::allow_methods`] has to allow.
//! - [`Tcp`], [`bind_unix`], [`Listener`], [`Transport`]: sources of connections.
//! - [`Snapshot`], [`HubSnapshot`], [`Disconnect`]: counters of a server and of topics, and the
//!   reasons of disconnects. [`Readiness`]: for the probes of a load balancer.
//! - [`Subscription::record`], [`Tee`], [`Player`]: record a topic or a stream, and play a
//!   recording in real time.
//! - [`EventSource`], [`Connect`], [`Client`]: follow a server across failures, or read a
//!   response once. [`BlockingClient`]: the same without a runtime.
//! - [`testing`]: a client for tests of a server, and a listener without sockets.
//!
//! # Guarantees
//!
//! - **Publishing never waits**, and no client waits for another.
//! - **Events are never torn**, whatever a client does.
//! - **Losses are reported.** A client that has missed events gets a `gap` event, and the
//!   application a count.
//! - **Delivered events are stored**: with a journal, an event that a client has received is
//!   restored after the process was killed.
//! - **Dead connections are found**: a client that closes at once, one that vanishes by
//!   heartbeats and write deadlines. The future of a handler or a per-client stream ends with its
//!   client. A drain has a hard end.
//! - **A panic ends one connection.** A panic of a handler, a hook, a transport or a listener is
//!   counted, and logged with the feature `tracing`.
//!
//! # Features
//!
//! None is on by default.
//!
//! - `http`: for applications with an HTTP server, such as hyper or axum. A `Responder` answers
//!   its requests like a [`Server`], over HTTP/2 too, with a `Body` that implements the trait of
//!   the crate `http-body`; `Responder::upgrade` returns a [`Stream`] to write to. A [`Subscription`]
//!   becomes a `Stream` of the crate `futures-core`, and such a stream of events becomes a body.
//! - `axum`: handlers of axum may return a [`Subscription`] and the responses of a `Responder`,
//!   and may take a `LastEventId`.
//! - `futures-core`: a [`Client`] is a `Stream` of that crate.
//! - `metrics`: `Snapshot::record` and `HubSnapshot::record` pass the counters to the recorder of
//!   that crate.
//! - `redis`: `Hub::connect` and `Engine` share a hub over several nodes. It needs a C compiler.
//! - `tracing`: a span per connection, and log events for failed accepts and handshakes, refused
//!   connections, errors of per-client streams, ends of streams, panics, notices of journals and
//!   engines, and reconnections of clients.

mod client;
mod config;
#[cfg(feature = "redis")]
mod engine;
#[cfg(feature = "http")]
mod http;
mod journal;
mod recording;
mod runs;
mod server;
mod shard;
mod stats;
mod stream;
mod sync;
pub mod testing;
mod timer;
mod topic;
mod trace;
mod transport;
mod unwind;

#[cfg(feature = "http")]
pub use client::BodyEvents;
pub use client::{
    BlockingClient, BlockingConnection, BlockingConnector, Client, Connect, Connector, Direct,
};
pub use config::{AtCapacity, Config, Heartbeat, HubConfig, SlowClients, TopicConfig, UnknownId};
#[cfg(feature = "redis")]
pub use engine::{Engine, EngineError, EngineNotice, EngineSnapshot, WhenQueueFull};
#[cfg(feature = "http")]
pub use http::{
    Body, EventStream, IntoEvent, LastEventId, NoRequest, RequestHead, Responder, last_event_id,
};
pub use journal::{
    FileError, Journal, JournalError, JournalNotice, JournalState, SyncPolicy, WhileFailing,
};
pub use recording::{Player, Tee};
pub use runs::{Run, RunEnd, RunNotFound, Runs, RunsConfig, RunsRefused, RunsSnapshot, StartError};
pub use server::{Answer, Handler, Readiness, Request, Routes, Server, ServerHandle};
// What an application needs of the core, so that one dependency and one `use` do.
pub use sse_core::client::{ClientError, EventSource, Item, Url};
pub use sse_core::{
    Cursor, Event, EventId, EventType, FieldError, Head, Headers, KeyedFull, KeyedRetention,
    Lagged, Rejection, Response, ResponseHead, Resume, Retention, UpgradeError, Upgrader,
};
pub use stats::{Disconnect, HubSnapshot, Snapshot, TopicSnapshot};
pub use stream::{PipeWriter, Stream};
pub use topic::{
    FollowError, Hub, KeyedTopicError, PublishError, Published, Start, StoreError, StreamToken,
    StreamTopics, Subscription, TooManyTopics, Topic,
};
#[cfg(unix)]
pub use transport::bind_unix;
pub use transport::{Listener, Peer, Tcp, Transport, Until};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct CrateReadme;
