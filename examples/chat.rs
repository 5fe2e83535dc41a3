//! A chat page whose answers outlive their connections.
//!
//! `cargo run --bin chat` serves the page. `POST /runs` starts a run of a made-up model,
//! `GET /runs/ID` follows it from any last event ID, and `DELETE /runs/ID` stops it. A page that
//! reloads, a second tab and a client whose network was interrupted continue the same answer.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Ending, Signals};
use serde::Deserialize;
use serde_json::json;
use sse_core::{Event, EventType, FieldError, Rejection, Upgrader};
use sse_net::{
    Answer, Config, Hub, HubConfig, PublishError, Request, Response, Run, RunEnd, Runs, RunsConfig,
    Server, Tcp,
};
use tokio::runtime::Runtime;
use tokio::time::sleep;

const QUESTION: EventType = EventType::from_static("question");
const END: EventType = EventType::from_static("end");

#[derive(Deserialize)]
struct Question {
    question: String,
}

async fn handle(mut request: Request, runs: Runs) -> Answer {
    let id = request.path().strip_prefix("/runs/").map(str::to_owned);
    match (request.method(), request.path(), id) {
        ("GET" | "HEAD", "/", _) => request.respond(page()),
        ("POST", "/runs", _) => match request.json().await {
            Ok(Question { question }) => start(request, &runs, question),
            Err(rejection) => request.reject(rejection),
        },
        ("GET" | "HEAD", _, Some(id)) => match runs.get(id) {
            Ok(run) => request.follow(&run),
            Err(gone) => request.reject(gone.into()),
        },
        ("DELETE", _, Some(id)) => {
            if runs.stop(id) {
                request.respond(Response::new(204))
            } else {
                request.reject(Rejection::NOT_FOUND.because("no such run is running"))
            }
        }
        (_, "/", _) => request.reject(Rejection::METHOD_NOT_ALLOWED),
        (_, "/runs", _) => request.reject(Rejection::method_not_allowed("POST")),
        (_, _, Some(_)) => request.reject(Rejection::method_not_allowed("GET, HEAD, DELETE")),
        _ => request.reject(Rejection::NOT_FOUND),
    }
}

/// Starts a run, and returns its ID at once.
fn start(request: Request, runs: &Runs, question: String) -> Answer {
    let id = random_id();
    match runs.start(&id, async move |run| answer(&run, &question).await) {
        Ok(_) => {
            let body = json!({ "run": id }).to_string();
            request.respond(Response::new(201).with_body("application/json", body))
        }
        Err(refused) => request.reject(refused.into()),
    }
}

/// Publishes the question, so that a second tab has it too, and the answer token by token.
async fn answer(run: &Run, question: &str) -> Result<(), PublishError> {
    let text = json!(question).to_string();
    run.publish(&Event::new().event(QUESTION).data(text))?;
    for token in ANSWER.split_inclusive(' ') {
        sleep(PACE).await;
        run.publish(&Event::new().data(json!(token).to_string()))?;
    }
    Ok(())
}

/// Returns an ID that cannot be guessed: a client that has it may follow and stop the run.
fn random_id() -> String {
    let [high, low] = [0, 1].map(|_| RandomState::new().hash_one(()));
    format!("{high:016x}{low:016x}")
}

/// Returns the last event of a run, with the reason of its end.
///
/// Without it, the end of the answer would look to the page like a lost connection.
fn end_event(end: &RunEnd<'_>) -> Option<Event<'static>> {
    let reason = match end {
        RunEnd::Completed => "completed",
        RunEnd::Stopped => "stopped",
        _ => "failed",
    };
    Some(Event::new().event(END).data(reason))
}

fn page() -> Response {
    Response::new(200).with_body("text/html; charset=utf-8", include_str!("chat.html"))
}

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let listen = args.listen_address("127.0.0.1:31343")?;
        let runtime = Runtime::new().map_err(Ending::failure)?;
        runtime.block_on(serve(&listen)).map_err(Ending::failure)
    })
}

async fn serve(listen: &str) -> io::Result<()> {
    let mut signals = Signals::new()?;
    let listener = cli::bind(listen, |address| Tcp::default().bind(address))?;
    let host = cli::url_host(listener.local_addr()?);
    cli::print_serving(format_args!("open http://{host}/ (Ctrl-C ends it)"));
    let runs = Runs::new(
        Hub::new(HubConfig::default()),
        RunsConfig::default().end_event(end_event),
    );
    let server = Server::new(config()?)
        .listen(listener)
        .serve(move |request| handle(request, runs.clone()));
    signals.next().await;
    server.drain(Duration::from_millis(500)).await;
    Ok(())
}

fn config() -> Result<Config, FieldError> {
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "POST", "DELETE"])?;
    Ok(Config::default().upgrader(upgrader))
}

/// The time from one token to the next.
const PACE: Duration = Duration::from_millis(50);

const ANSWER: &str = "\
That is a good question, and this model has one answer for all of them. It arrives token by \
token, as a real model's does. Reload the page now, or open it in a second tab: the answer goes \
on where it was, because the work belongs to a run on the server and not to a connection. Cut \
the network, and the browser reconnects with the ID of the last token that it has, and receives \
the rest. Nothing is sent twice, nothing is missing, and nobody pays for the same tokens again.";

const USAGE: &str = "\
Usage: chat [OPTIONS]

Serves a page with a made-up model, whose answers outlive their connections.

  --listen ADDR  the address to listen on (127.0.0.1:31343); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --help         print this text";
