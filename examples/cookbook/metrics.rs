//! Metrics: a page for Prometheus without a dependency, and pages for health probes.
//!
//! `curl http://127.0.0.1:31344/metrics`, and `/healthz` and `/readyz`. They are on the same
//! listener here; a real server has a second one that the proxy does not pass on.
//!
//! `hub.stats()` has the counters of a hub's topics. With the feature `metrics` of sse-net,
//! `stats.record()` passes the same numbers to whichever recorder the program has installed.

use sse_net::{
    Answer, Config, Rejection, Request, Response, Retention, Server, ServerHandle, Snapshot, Topic,
};
use tokio::net::TcpListener;

use crate::publish_ticks;

async fn handle(ticks: Topic, request: Request) -> Answer {
    match request.path() {
        "/sse" => request.follow(&ticks),
        "/metrics" => {
            let text = request.stats().to_prometheus();
            request.respond(Response::new(200).with_body(Snapshot::PROMETHEUS_TYPE, text))
        }
        "/readyz" => {
            let readiness = request.readiness(); // 200, or 503 with the reason
            request.respond(readiness)
        }
        "/healthz" if request.is_live() => request.respond(Response::new(204)),
        "/healthz" => request.reject(Rejection::UNAVAILABLE),
        _ => request.reject(Rejection::NOT_FOUND),
    }
}

pub(crate) fn serve(listener: TcpListener) -> ServerHandle {
    let ticks = Topic::new(Retention::events(1000));
    tokio::spawn(publish_ticks(ticks.clone()));
    let server = Server::new(Config::default()).listen(listener);
    server.serve_with(ticks, handle)
}
