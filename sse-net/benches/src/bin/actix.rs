//! The `Sse` of actix-web-lab over a broadcast channel of prepared events.

use std::error::Error;
use std::net::Ipv4Addr;
use std::time::Duration;

use actix_web::{App, HttpServer, rt, web};
use actix_web_lab::sse::{Data, Event, Sse};
use tokio::sync::broadcast;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use sse_net_benches::feed::{self, BATCH, Feed, Options};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1).collect())?;
    let address = (Ipv4Addr::LOCALHOST, options.port.unwrap_or(0));
    let sender = broadcast::Sender::new(1 << 16);
    let (publisher, feed) = (sender.clone(), Feed::new(&options));
    rt::System::new().block_on(async move {
        rt::spawn(publish(publisher, feed));
        let follow = move || {
            let events = BroadcastStream::new(sender.subscribe());
            let events = events.map(|event| event.map(Event::Data));
            std::future::ready(Sse::from_stream(events).with_keep_alive(Duration::from_secs(15)))
        };
        HttpServer::new(move || App::new().route("/events", web::get().to(follow.clone())))
            .workers(options.threads)
            .max_connections(1 << 20)
            .backlog(4096)
            .tcp_nodelay(true)
            .bind(address)?
            .run()
            .await
    })?;
    Ok(())
}

async fn publish(sender: broadcast::Sender<Data>, mut feed: Feed) {
    while let Some(wait) = feed.wait() {
        sleep(wait).await;
        let now = feed::now();
        for data in std::iter::from_fn(|| feed.pop(now)).take(BATCH) {
            let _ = sender.send(Data::new(data).id("1700000000000-0"));
        }
    }
}
