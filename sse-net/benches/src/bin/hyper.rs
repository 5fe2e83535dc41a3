//! hyper with shared, encoded frames from a broadcast channel.

use std::convert::Infallible;
use std::error::Error;

use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, body};
use hyper_util::rt::TokioIo;
use tokio::sync::broadcast;
use tokio::time::sleep;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::BroadcastStream;

use sse_net_benches::feed::{self, BATCH, Feed, Options};
use sse_net_benches::{frame, listen, runtime};

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1).collect())?;
    runtime(options.threads)?.block_on(serve(&options))
}

async fn serve(options: &Options) -> Result<(), Box<dyn Error>> {
    let listener = listen(options.port)?;
    let sender = broadcast::Sender::new(1 << 16);
    tokio::spawn(publish(sender.clone(), Feed::new(options)));
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let sender = sender.clone();
        let service = service_fn(move |_: Request<body::Incoming>| {
            let frames = BroadcastStream::new(sender.subscribe())
                .filter_map(Result::ok)
                .map(|bytes: Bytes| Ok::<_, Infallible>(Frame::data(bytes)));
            let response = Response::builder()
                .header(CONTENT_TYPE, "text/event-stream")
                .body(StreamBody::new(frames));
            std::future::ready(response)
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        tokio::spawn(connection);
    }
}

async fn publish(sender: broadcast::Sender<Bytes>, mut feed: Feed) {
    while let Some(wait) = feed.wait() {
        sleep(wait).await;
        let now = feed::now();
        for data in std::iter::from_fn(|| feed.pop(now)).take(BATCH) {
            let mut bytes = Vec::new();
            frame::encode(&data, &mut bytes);
            let _ = sender.send(bytes.into());
        }
    }
}
