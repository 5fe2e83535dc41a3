//! Plain axum: a topic behind a route, and a shutdown that does not hang on open streams.
//!
//! `curl -N http://127.0.0.1:31344/sse`, then Ctrl-C in the server's terminal: the stream ends
//! after a whole event, with a reconnection time, and the server within half a second.

use std::io;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::IntoResponse;
use axum::routing::get;
use sse_net::{Config, Responder, Retention, Topic};
use tokio::net::TcpListener;

use crate::{GRACE, publish_ticks};

#[derive(Clone)]
struct App {
    responder: Responder,
    ticks: Topic,
}

/// Resumes after `Last-Event-ID`, or begins with the next event.
async fn follow(State(app): State<App>, request: Request) -> impl IntoResponse {
    app.responder.follow(&request, &app.ticks)
}

pub(crate) async fn serve(
    listener: TcpListener,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let responder = Responder::new(Config::default());
    let ticks = Topic::new(Retention::events(1000));
    tokio::spawn(publish_ticks(ticks.clone()));
    let app = App {
        responder: responder.clone(),
        ticks,
    };
    let router = Router::new().route("/sse", get(follow)).with_state(app);
    let shutdown = async move {
        stopped.await;
        // axum waits for every response to end; `drain` ends the streams.
        responder.drain(GRACE).await;
    };
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await
}
