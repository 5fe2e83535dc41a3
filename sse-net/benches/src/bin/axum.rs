//! axum's `Sse` over a broadcast channel of prepared events.

use std::error::Error;

use axum::Router;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use axum::serve::ListenerExt;
use tokio::sync::broadcast;
use tokio::time::sleep;
use tokio_stream::wrappers::BroadcastStream;

use sse_net_benches::feed::{self, BATCH, Feed, Options};
use sse_net_benches::{listen, runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1).collect())?;
    runtime(options.threads)?.block_on(serve(&options))
}

async fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let listener = listen(options.port)?;
    let listener = listener.tap_io(|socket| _ = socket.set_nodelay(true));
    let sender = broadcast::Sender::new(1 << 16);
    tokio::spawn(publish(sender.clone(), Feed::new(options)));
    let events = get(move || {
        let events = BroadcastStream::new(sender.subscribe());
        std::future::ready(Sse::new(events).keep_alive(KeepAlive::default()))
    });
    axum::serve(listener, Router::new().route("/events", events)).await?;
    Ok(())
}

async fn publish(sender: broadcast::Sender<Event>, mut feed: Feed) {
    while let Some(wait) = feed.wait() {
        sleep(wait).await;
        let now = feed::now();
        for data in std::iter::from_fn(|| feed.pop(now)).take(BATCH) {
            let _ = sender.send(Event::default().id("1700000000000-0").data(data));
        }
    }
}
