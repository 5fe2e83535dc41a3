//! Testing a handler: the raw client, a paused clock, and no socket.
//!
//! `cargo test -p examples --bin cookbook` runs the test below. `RawClient` shows what is on the
//! wire; pipes in memory and a paused clock let a minute of heartbeats pass in a millisecond,
//! because Tokio moves the clock whenever every task waits.

use sse_net::{Answer, Rejection, Request, Topic};

/// The handler under test: `serve_with(topic, handle)`.
pub(crate) async fn handle(ticks: Topic, request: Request) -> Answer {
    match request.path() {
        "/ticks" => request.follow(&ticks),
        _ => request.reject(Rejection::NOT_FOUND),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sse_core::Decoded;
    use sse_net::testing::{RawClient, pipes};
    use sse_net::{Config, Event, Retention, Server};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_comes_back_gets_what_it_has_missed() {
        let ticks = Topic::new(Retention::events(100));
        let (listener, clients) = pipes();
        let server = Server::new(Config::default()).listen(listener);
        let server = server.serve_with(ticks.clone(), handle);

        let mut client = RawClient::new(clients.connect().unwrap());
        assert_eq!(client.get("/ticks").await.unwrap().status(), 200);
        ticks.publish(&Event::new().data("one")).unwrap();
        assert_eq!(client.event().await.unwrap().data(), "one");
        let last = client.last_event_id().to_owned();
        drop(client);

        ticks.publish(&Event::new().data("two")).unwrap();
        let mut client = RawClient::new(clients.connect().unwrap());
        client.resume("/ticks", &last).await.unwrap();
        assert_eq!(client.event().await.unwrap().data(), "two");
        assert_eq!(server.stats().resumed, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_has_a_heartbeat_every_15_seconds() {
        let ticks = Topic::new(Retention::events(100));
        let (listener, clients) = pipes();
        let server = Server::new(Config::default()).listen(listener);
        let _server = server.serve_with(ticks, handle);

        let client = RawClient::new(clients.connect().unwrap());
        let mut client = client.limit(Duration::MAX);
        client.get("/ticks").await.unwrap();
        let began = Instant::now();
        for _ in 0..4 {
            while !matches!(client.next().await.unwrap(), Some(Decoded::Comment(_))) {}
        }
        let elapsed = began.elapsed().as_secs();
        assert!((50..=60).contains(&elapsed), "{elapsed} s"); // up to a tenth earlier, at random
    }
}
