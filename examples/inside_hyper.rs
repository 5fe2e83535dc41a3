//! A topic as the body of hyper's responses, over HTTP/1 and HTTP/2.
//!
//! `cargo run --bin inside_hyper`, then `curl -N http://localhost:31339/`, or with
//! `--http2-prior-knowledge`.

use std::convert::Infallible;
use std::future::ready;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use cli::Ending;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sse_core::{Event, Rejection, Retention};
use sse_net::{Config, Responder, Tcp, Topic};
use tokio::runtime::Runtime;
use tokio::time::sleep;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let listen = args.listen_address("127.0.0.1:31339")?;
        let runtime = Runtime::new().map_err(Ending::failure)?;
        runtime.block_on(serve(&listen)).map_err(Ending::failure)
    })
}

async fn serve(listen: &str) -> io::Result<()> {
    let listener = cli::bind(listen, |address| Tcp::default().bind(address))?;
    let host = cli::url_host(listener.local_addr()?);
    cli::print_serving(format_args!("curl -N http://{host}/ (Ctrl-C ends it)"));
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
            // For small events, one buffer costs less than a vectored write.
            server.http1().writev(false);
            // An error concerns this connection only.
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

async fn publish(ticks: Topic) {
    for n in 1.. {
        if ticks.publish(&Event::new().id(n).data("tick")).is_err() {
            return; // The topic is finished.
        }
        sleep(Duration::from_secs(1)).await;
    }
}

const USAGE: &str = "\
Usage: inside_hyper [OPTIONS]

Serves an event stream at /, one event a second, with hyper over HTTP/1 and HTTP/2.

  --listen ADDR  the address to listen on (127.0.0.1:31339); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --help         print this text";
