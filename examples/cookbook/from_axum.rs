//! Moving over from axum's `Sse`, one step at a time.
//!
//! `/before` is axum's own. `/events` is the smallest step: the same stream of events through a
//! `Responder`, and therefore limits, counters, a graceful shutdown, and errors instead of panics at
//! a line break in an ID. `/topic` is the whole of it: no channel, one encoding for all clients, and
//! `Last-Event-ID`. `Tcp::default().bind(address)?` in place of a `TcpListener` ends connections of
//! clients that take nothing.
//!
//! | axum | here |
//! | --- | --- |
//! | `Event::default().event("tick").data(x)` | `Event::new().event(TICK).data(x)`; a type that is not constant: `EventType::new(x)?` |
//! | `.json_data(x)?`, `.retry(time)`, `.comment(text)` | the same |
//! | `Sse::new(stream).keep_alive(…)` | `responder.events(&request, stream)`; `Config::heartbeat` |
//! | `Sse` over `broadcast` | `responder.follow(&request, &topic)` |

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use sse_net::{Config, Event, EventType, Responder, Retention, Topic};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::GRACE;

#[derive(Clone)]
struct App {
    responder: Responder,
    ticks: Topic,
}

async fn before() -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let events = numbers().map(|n| Ok(sse::Event::default().event("tick").data(n.to_string())));
    Sse::new(events).keep_alive(KeepAlive::default())
}

async fn events(State(app): State<App>, request: Request) -> impl IntoResponse {
    let events = numbers().map(|n| Event::new().event(TICK).data(n.to_string()));
    app.responder.events(&request, events)
}

async fn topic(State(app): State<App>, request: Request) -> impl IntoResponse {
    app.responder.follow(&request, &app.ticks)
}

/// The numbers from 1, five a second, for each client its own.
fn numbers() -> impl Stream<Item = u64> + Send {
    stream::unfold(1, |n| async move {
        sleep(EVERY).await;
        Some((n, n + 1))
    })
}

pub(crate) async fn serve(
    listener: TcpListener,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let responder = Responder::new(Config::default());
    let ticks = Topic::new(Retention::events(1000));
    let app = App {
        responder: responder.clone(),
        ticks: ticks.clone(),
    };
    tokio::spawn(async move {
        for n in 1_u64.. {
            sleep(EVERY).await;
            let _ = ticks.publish(&Event::new().event(TICK).data(n.to_string()));
        }
    });
    let router = Router::new()
        .route("/before", get(before))
        .route("/events", get(events))
        .route("/topic", get(topic))
        .with_state(app);
    let shutdown = async move {
        stopped.await;
        responder.drain(GRACE).await; // the streams of `/before` hold up the shutdown for ever
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}

const TICK: EventType = EventType::from_static("tick");

const EVERY: Duration = Duration::from_millis(200);
