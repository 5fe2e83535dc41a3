//! A feed as the body of hyper's responses, over HTTP/1 and HTTP/2.
//!
//! `cargo run --bin hyper`, then `curl -N http://localhost:31339/`, or with
//! `--http2-prior-knowledge`. An argument is another address to listen at.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sse_core::{Event, Rejection, Retention};
use sse_net::{Config, Responder, Tcp, Topic};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let listener = Tcp::default().bind(address.as_deref().unwrap_or("127.0.0.1:31339"))?;
    println!("curl -N http://{}/", listener.local_addr()?);
    let responder = Responder::new(Config::default());
    let ticks = Topic::new(Retention::events(1000));
    tokio::spawn(publish(ticks.clone()));
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let (responder, ticks) = (responder.clone(), ticks.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                ready(Ok::<_, Infallible>(match request.uri().path() {
                    "/" => responder.follow(&request, &ticks),
                    _ => responder.reject(&request, Rejection::NOT_FOUND),
                }))
            });
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http1().writev(false); // for small events one buffer is cheaper
            // A connection that fails, fails alone.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn publish(ticks: Topic) {
    for n in 1.. {
        if ticks.publish(&Event::new().id(n).data("tick")).is_err() {
            return; // It has been finished.
        }
        sleep(Duration::from_secs(1)).await;
    }
}
