//! Server-Sent Events to very many subscribers, on Tokio: one log, many cursors.
//!
//! A [`Topic`] is a log of events that have been encoded once. Who follows it is a number, its
//! place in the log: there is no queue for each subscriber, so a slow one costs nobody
//! anything, a late one begins at another number, and one that is three events behind gets
//! three events with one write. A [`Server`] takes connections over from their first byte,
//! lets the application decide, and hands those who follow a topic to a few tasks, the shards,
//! each of which drives many thousands of them.
//!
//! ```text
//!   publish ──> Topic ──> Subscription ──> any writer
//!                 └─────> shards ─────────> clients          follow
//!   Listener ──> Server ──> Handler: Request ──> Answer ──> respond, reject
//!                                                   └──────> Stream: one client's own
//!   http::Request ──> Responder ──> Body ──> hyper, axum     feature `http`
//! ```
//!
//! [`Server`] is no HTTP server: it answers one request on a connection, over HTTP/1, and owns that
//! from then on. It does not know TLS, which is a [`Listener`] around another. What an event
//! is, and how it is spelt, is [`sse_core`]'s.
//!
//! # One feed for all
//!
//! ```
//! use std::time::Duration;
//! use sse_core::{Event, EventType, Retention};
//! use sse_net::{Config, Routes, Server, Tcp, Topic};
//!
//! const TICK: EventType = EventType::from_static("tick");
//! const PAGE: &str = "<script>new EventSource('/ticks')</script>";
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let ticks = Topic::new(Retention::events(10_000));
//! let server = Server::new(Config::default())
//!     .listen(Tcp::default().bind("127.0.0.1:0")?)
//!     .serve(Routes::new().topic("/ticks", &ticks).page("/", PAGE));
//! ticks.publish(&Event::new().event(TICK).data("42"))?; // never waits, from any thread
//! server.drain(Duration::from_millis(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # A decision for each request
//!
//! ```
//! use sse_core::{Rejection, Retention};
//! use sse_net::{Answer, Config, Request, Server, Topic};
//! # struct User(Topic);
//! # impl User { fn inbox(&self) -> &Topic { &self.0 } }
//! # fn user(request: &Request) -> Option<User> {
//! #     request.header("authorization").map(|_| User(Topic::new(Retention::default())))
//! # }
//! # struct Model(u8);
//! # impl Model {
//! #     async fn next(&mut self) -> Option<String> { self.0 = self.0.checked_sub(1)?; Some("token".into()) }
//! # }
//!
//! async fn handle(request: Request) -> Answer {
//!     match (user(&request), request.path()) {
//!         (None, _) => request.reject(Rejection::UNAUTHORIZED),
//!         (Some(user), "/inbox") => request.follow(user.inbox()), // resumes from Last-Event-ID
//!         (Some(_), "/ask") => request.stream(async |mut stream| { // for one client, with back-pressure
//! #           let mut model = Model(2);
//!             while let Some(token) = model.next().await {
//!                 stream.write_str(&token).await?;
//!             }
//!             stream.close().await
//!         }),
//!         _ => request.reject(Rejection::NOT_FOUND),
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let server = Server::new(Config::default()).serve(handle);
//! # drop(server);
//! # }
//! ```
//!
//! # Where to look
//!
//! - [`Topic`], [`Subscription`], [`Start`]: publish and follow. [`TopicConfig`]: what is kept,
//!   for how long bursts wait, and what becomes of [slow clients](SlowClients).
//! - [`Topic::open`], [`Journal`]: a topic that survives a restart. [`SyncPolicy`]: what it can
//!   lose with the machine.
//! - [`Server`], [`ServerHandle`], [`Routes`], [`Handler`]: serve and drain. [`Config`]: every
//!   limit, deadline and interval, each with its default and its reason.
//! - [`Request`], [`Answer`], [`Stream`]: a request, its answer, a stream of its own.
//! - [`Tcp`], [`bind_unix`], [`Listener`], [`Transport`]: where connections come from.
//! - [`Snapshot`], [`Disconnect`]: what is going on, and why clients left.
//! - [`Subscription::record`], [`Tee`], [`Player`]: a topic or a stream recorded, a recording
//!   played in real time.
//! - [`Client`]: for tests of a running server. What else tests need is in
//!   [`sse_core::testing`].
//!
//! # What can be relied on
//!
//! - **Publishing never waits**, and nobody waits for anybody else.
//! - **No event is torn**, whatever a client does, also where it skips ahead.
//! - **Nothing is lost unseen.** Who has missed events is told so with a `gap` event, and the
//!   program in numbers.
//! - **What has been seen is kept**, where a topic has a journal, also when the process is
//!   killed.
//! - **Dead connections are found**: a client that closes at once, one that vanishes by
//!   heartbeats and write deadlines. A handler, and the future of a per-client stream, ends with
//!   its client. A drain has a hard end.
//! - **A panic stays where it happens.** One of a handler, a hook, a transport or a listener
//!   costs its connection, is counted, and with the feature `tracing` logged.
//!
//! # Features
//!
//! - `http`: for those who run an HTTP server already, such as hyper or axum. A `Responder`
//!   answers its requests as a [`Server`] would, over HTTP/2 too, with a `Body`, which
//!   implements the trait of the crate `http-body`; `Responder::upgrade` returns a [`Stream`] to write to.
//!   A [`Subscription`] becomes a `Stream` of the crate `futures-core`, and such a stream of
//!   events becomes a body.
//! - `axum`: handlers of axum may return a [`Subscription`], and take a `LastEventId`. What a
//!   `Responder` gives they may return in any case.
//! - `tracing`: a span for each connection, and events where one can't be accepted, its
//!   handshake fails, it is refused or ends, where a program's code panics, and where a journal
//!   has something to tell, by way of the crate of that name. Off by default, and then it costs nothing.

mod client;
mod config;
#[cfg(feature = "http")]
mod http;
mod journal;
mod recording;
mod server;
mod shard;
mod stats;
mod stream;
mod sync;
mod topic;
mod trace;
mod transport;

pub use client::Client;
pub use config::{AtCapacity, Config, Heartbeat, SlowClients, TopicConfig, UnknownId};
#[cfg(feature = "http")]
pub use http::{Body, EventStream, IntoEvent, LastEventId, Responder, last_event_id};
pub use journal::{FileError, Journal, JournalError, JournalNotice, JournalState, SyncPolicy};
pub use recording::{Player, Tee};
pub use server::{Answer, Handler, Request, Routes, Server, ServerHandle};
pub use sse_core::ResponseHead;
pub use stats::{Disconnect, Snapshot};
pub use stream::{PipeWriter, Stream};
pub use topic::{PublishError, Published, Start, Subscription, Topic};
#[cfg(unix)]
pub use transport::bind_unix;
pub use transport::{Listener, Peer, Tcp, Transport};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
