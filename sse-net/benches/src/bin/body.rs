//! A topic as the body of hyper's responses.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use sse_core::{Event, Retention};
use sse_net::{Config, Responder, Topic};
use tokio::time::sleep;

use sse_net_benches::feed::{self, BATCH, Feed, Options};
use sse_net_benches::listen;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1).collect())?;
    let listener = listen(options.port)?;
    let topic = Topic::new(Retention::events(1 << 16));
    let responder = Responder::new(Config::default());
    tokio::spawn(publish(topic.clone(), Feed::new(&options)));
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (responder, topic) = (responder.clone(), topic.clone());
        let service = service_fn(move |request| {
            ready(Ok::<_, Infallible>(responder.follow(&request, &topic)))
        });
        // One small buffer costs less to send than the three slices of a chunk.
        let connection = http1::Builder::new()
            .writev(false)
            .serve_connection(TokioIo::new(socket), service);
        tokio::spawn(connection);
    }
}

async fn publish(topic: Topic, mut feed: Feed) {
    while let Some(wait) = feed.wait() {
        sleep(wait).await;
        let now = feed::now();
        for data in std::iter::from_fn(|| feed.pop(now)).take(BATCH) {
            topic.publish(&Event::new().data(data)).unwrap();
        }
    }
}
