//! Moving over from `tokio::sync::broadcast`: a topic in place of the channel.
//!
//! `curl -N http://127.0.0.1:31344/sse`; the program itself follows the topic, too, and prints.
//!
//! | `broadcast` | `Topic` |
//! | --- | --- |
//! | `channel(1000)` | `Topic::new(Retention::events(1000))`; its bytes are bounded, too |
//! | `sender.send(value)`, an error without receivers | `topic.publish(&event)`, which needs none |
//! | `sender.subscribe()` | `topic.subscribe(Start::Live)`, or from an earlier event |
//! | a value cloned for each receiver | an event encoded once |
//! | `RecvError::Lagged(n)`, easily ignored | a `gap` event for a client, and `Lagged` for the program |
//! | `RecvError::Closed` | `topic.finish(…)`, after which clients stop reconnecting |
//! | `receiver_count()` | `topic.subscriptions()`, `topic.watched()` |
//! | a task and a receiver for each client | `request.follow(&topic)`: no task, half a KB |

use std::future::poll_fn;
use std::pin::pin;

use futures_util::Stream;
use sse_net::{
    Config, Retention, Routes, Server, ServerHandle, SlowClients, Start, Topic, TopicConfig,
};
use tokio::net::TcpListener;

use crate::publish_ticks;

pub(crate) fn serve(listener: TcpListener) -> ServerHandle {
    let config = TopicConfig::from(Retention::events(1000))
        // As with a channel, a slow client continues with what is left; it gets `gap` first.
        .slow_clients(SlowClients::SkipAhead);
    let ticks = Topic::new(config);
    tokio::spawn(publish_ticks(ticks.clone()));
    tokio::spawn(print(ticks.clone()));
    let server = Server::new(Config::default()).listen(listener);
    server.serve(Routes::new().topic("/sse", &ticks))
}

/// A receiver within the program, with decoded events.
async fn print(ticks: Topic) {
    let mut events = pin!(ticks.subscribe(Start::Live).events());
    while let Some(event) = poll_fn(|cx| events.as_mut().poll_next(cx)).await {
        match event {
            Ok(event) => cli::print(format_args!("{}", event.data())),
            Err(lagged) => cli::print_error(lagged), // it continues after the gap
        }
    }
}
