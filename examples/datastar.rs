//! A page of Datastar: signals arrive as a POST, and elements and signals leave as events.
//!
//! `npm ci` in `examples/browser` installs the script, `cargo run --bin datastar` serves the page.
//! The events are those of version 1.0.0-beta.11, the newest one on npm; later versions call them
//! `datastar-patch-elements` and `datastar-patch-signals`, and their lines `elements` and
//! `signals`.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Ending, Signals, escape_html};
use serde::Deserialize;
use serde_json::json;
use sse_core::{Event, EventType, FieldError, Rejection, Retention, Upgrader};
use sse_net::{Answer, Config, Request, Response, Server, Start, Stream, Tcp, Topic};
use tokio::runtime::Runtime;
use tokio::time::sleep;

const MERGE_FRAGMENTS: EventType = EventType::from_static("datastar-merge-fragments");
const MERGE_SIGNALS: EventType = EventType::from_static("datastar-merge-signals");

/// The signals of the page, which every request of Datastar's brings.
#[derive(Deserialize)]
struct PageSignals {
    name: String,
}

/// Returns an event that replaces the element with the same `id`.
fn merge_fragments(html: &str) -> Event<'static> {
    let lines = html.lines().map(|line| format!("fragments {line}"));
    Event::new()
        .event(MERGE_FRAGMENTS)
        .data(Vec::from_iter(lines).join("\n"))
}

/// Returns an event that sets signals. JSON is one line.
fn merge_signals(signals: &serde_json::Value) -> Event<'static> {
    Event::new()
        .event(MERGE_SIGNALS)
        .data(format!("signals {signals}"))
}

async fn handle(mut request: Request, clock: Topic, script: Response) -> Answer {
    match (request.method(), request.path()) {
        ("GET" | "HEAD", "/") => request.respond(page()),
        ("GET" | "HEAD", "/datastar.js") => request.respond(script),
        ("GET" | "HEAD", "/clock") => request.follow_from(&clock, Start::Last(1)),
        ("POST", "/greet") => match request.json().await {
            Ok(signals) => request.stream(async move |stream| greet(stream, signals).await),
            Err(rejection) => request.reject(rejection),
        },
        (_, "/greet") => request.reject(Rejection::method_not_allowed("POST")),
        ("POST", "/" | "/datastar.js" | "/clock") => request.reject(Rejection::METHOD_NOT_ALLOWED),
        _ => request.reject(Rejection::NOT_FOUND),
    }
}

/// Spells the greeting letter by letter.
async fn greet(mut stream: Stream, signals: PageSignals) -> io::Result<()> {
    let greeting = format!("Hello, {}!", signals.name);
    let ends = greeting
        .char_indices()
        .map(|(at, letter)| at + letter.len_utf8());
    for end in ends {
        let text = escape_html(&greeting[..end]);
        let html = format!("<p id=\"greeting\">{text}</p>");
        stream.send(&merge_fragments(&html)).await?;
        sleep(Duration::from_millis(20)).await;
    }
    let done = merge_signals(&json!({"greeted": signals.name}));
    stream.send(&done).await?;
    stream.end().await
}

fn page() -> Response {
    Response::new(200).with_body("text/html; charset=utf-8", include_str!("datastar.html"))
}

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let listen = args.listen_address("127.0.0.1:31341")?;
        let script = cli::script("@starfederation/datastar/dist/datastar.js")?;
        let runtime = Runtime::new().map_err(Ending::failure)?;
        runtime
            .block_on(serve(&listen, script))
            .map_err(Ending::failure)
    })
}

async fn serve(listen: &str, script: String) -> io::Result<()> {
    let mut signals = Signals::new()?;
    let listener = cli::bind(listen, |address| Tcp::default().bind(address))?;
    let host = cli::url_host(listener.local_addr()?);
    cli::print_serving(format_args!("open http://{host}/ (Ctrl-C ends it)"));
    let clock = Topic::new(Retention::events(10));
    tokio::spawn(tick(clock.clone()));
    let script = Response::new(200).with_body("text/javascript", script);
    let server = Server::new(config()?)
        .listen(listener)
        .serve(move |request| handle(request, clock.clone(), script.clone()));
    signals.next().await;
    server.drain(Duration::from_millis(500)).await;
    Ok(())
}

fn config() -> Result<Config, FieldError> {
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "POST"])?;
    Ok(Config::default().upgrader(upgrader))
}

async fn tick(clock: Topic) {
    for seconds in 0_u64.. {
        let _ = clock.publish(&merge_signals(&json!({"seconds": seconds})));
        sleep(Duration::from_secs(1)).await;
    }
}

const USAGE: &str = "\
Usage: datastar [OPTIONS]

Serves a page of Datastar. Its script is installed by `npm ci` in examples/browser.

  --listen ADDR  the address to listen on (127.0.0.1:31341); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --help         print this text";
