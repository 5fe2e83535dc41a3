//! The demo: a feed for all clients, and a hub of topics that share one connection.
//!
//! ```text
//! $ cargo run
//! open http://127.0.0.1:31337/ (Ctrl-C ends it)
//! ```
//!
//! Open it twice, cut the network, kill the server and start it again: the page reports whether
//! it has missed events. Without a browser, `curl -N http://127.0.0.1:31337/sse` shows the
//! stream, and `-H 'Last-Event-ID: …'` resumes after an event. `--help` lists the options.
//!
//! The page at `/hub` shows the same feed, a table of changing values and an inbox of messages
//! for its visitor, all over one connection, which other tabs of the browser share.

mod encrypt;
mod feed;
mod hub;
mod inbox;
mod listen;
mod options;
mod values;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Ending, Signals};
use sse_core::{Rejection, Response};
use sse_net::{Answer, Handler, Request, Snapshot};
use tokio::runtime::Runtime;

use self::hub::Demo;
use self::options::{Options, USAGE};

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let options = Options::parse(args)?;
        let runtime = Runtime::new().map_err(cant_start)?;
        runtime.block_on(run(options))
    })
}

async fn run(mut options: Options) -> Result<(), Ending> {
    let mut signals = Signals::new().map_err(cant_start)?;
    let demo = Demo::open(options.journal.as_deref(), options.redis.as_deref()).await?;
    let (server, url, certificate) = listen::listen(&mut options)?;
    if let Some(path) = &options.record {
        demo.feed.record(path.clone())?;
    }
    let written = options.record.is_some() || options.journal.is_some();
    let progress = written.then(|| demo.feed.show_progress(options.record));
    let server = server.serve(demo.clone());
    let values = tokio::spawn(values::publish_while_watched(demo.values));
    let feed = demo.feed.clone();
    tokio::spawn(async move { feed.publish(options.every, options.count).await });
    cli::print_serving(format_args!("open {url} (Ctrl-C ends it)"));
    if let Some(certificate) = &certificate {
        let file = certificate.path().display();
        cli::print(format_args!(
            "the certificate is {file}; accept it in the browser, or use \
             curl -N --cacert {file} {url}sse"
        ));
    }

    signals.next().await;
    drop(progress);
    values.abort();
    demo.feed.announce_restart();
    tokio::select! {
        biased;
        () = signals.next() => {} // A second signal ends the program at once.
        () = server.drain(GRACE) => cli::print("stopped"),
    }
    Ok(())
}

impl Handler for Demo {
    async fn handle(&self, request: Request) -> Answer {
        let engine = self.hub.engine_snapshot();
        match (request.method(), request.path()) {
            (_, path) if engine.is_some() && path.starts_with("/hub") => {
                request.reject(Rejection::NOT_FOUND.because(NO_HUB))
            }
            ("POST", "/hub/inbox") => self.send(request).await,
            ("POST", "/hub/events") => self.switch(request).await,
            ("GET" | "HEAD", "/") => respond(request, HTML, include_str!("feed.html")),
            ("GET" | "HEAD", "/sse") => self.feed.follow(request).await,
            ("GET" | "HEAD", "/hub") => respond(request, HTML, include_str!("hub.html")),
            ("GET" | "HEAD", "/hub/events") => self.follow(request).await,
            ("GET" | "HEAD", "/hub/charts.js") => {
                respond(request, SCRIPT, include_str!("charts.js"))
            }
            ("GET" | "HEAD", "/hub/shared-events.js") => {
                respond(request, SCRIPT, include_str!("shared-events.js"))
            }
            ("GET" | "HEAD", "/metrics") => {
                let text = request.stats().to_prometheus() + &self.hub.stats().to_prometheus();
                let engine = engine.map(|engine| engine.to_prometheus());
                let text = text + &engine.unwrap_or_default();
                request.respond(Response::new(200).with_body(Snapshot::PROMETHEUS_TYPE, text))
            }
            ("GET" | "HEAD", "/readyz") => match engine {
                Some(engine) if !engine.is_ready => request.reject(Rejection::UNAVAILABLE),
                _ => {
                    let readiness = request.readiness();
                    request.respond(readiness)
                }
            },
            ("GET" | "HEAD", "/healthz") if request.is_live() => {
                request.respond(Response::new(204))
            }
            ("GET" | "HEAD", "/healthz") => request.reject(Rejection::UNAVAILABLE),
            (_, "/hub/inbox") => request.reject(Rejection::method_not_allowed("POST")),
            ("GET" | "HEAD", _) => request.reject(Rejection::NOT_FOUND),
            _ => request.reject(Rejection::METHOD_NOT_ALLOWED),
        }
    }
}

fn respond(request: Request, content_type: &'static str, file: &'static str) -> Answer {
    request.respond(Response::new(200).with_body(content_type, file))
}

#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
fn cant_start(error: io::Error) -> Ending {
    Ending::Failure(format!("can't start: {error}"))
}

const NO_HUB: &str = "topics of a stream change at /hub, which an engine does not support";

const HTML: &str = "text/html; charset=utf-8";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The time over which a drain spreads the disconnects.
const GRACE: Duration = Duration::from_millis(500);
