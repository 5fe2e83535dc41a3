//! A made-up model behind the endpoints of OpenAI and Anthropic.
//!
//! `cargo run --bin gateway`, then for example:
//!
//! ```text
//! curl -N http://127.0.0.1:31340/v1/chat/completions -H 'Content-Type: application/json' \
//!     -d '{"model": "parrot", "stream": true, "messages": [{"role": "user", "content": "hey"}]}'
//! ```
//!
//! With `--axum` the same runs inside axum. Clients of both companies work with the base URL
//! `http://127.0.0.1:31340/v1` (OpenAI) or `http://127.0.0.1:31340` (Anthropic) and any key.

#[path = "gateway/anthropic.rs"]
mod anthropic;
#[path = "gateway/inside_axum.rs"]
mod inside_axum;
#[path = "gateway/kept_body.rs"]
mod kept_body;
#[path = "gateway/model.rs"]
mod model;
#[path = "gateway/openai.rs"]
mod openai;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Ending, Signals};
use sse_core::{FieldError, Rejection, Response, Upgrader};
use sse_net::{Answer, Config, Request, Server, Tcp};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    cli::run(USAGE, |mut args| {
        let mut listen = "127.0.0.1:31340".to_owned();
        let mut is_inside_axum = false;
        while let Some(option) = args.option()? {
            match &*option {
                "--listen" => listen = args.value("an address")?,
                "--axum" => is_inside_axum = true,
                _ => return Err(args.unknown()),
            }
        }
        let runtime = Runtime::new().map_err(Ending::failure)?;
        runtime
            .block_on(run(&listen, is_inside_axum))
            .map_err(Ending::failure)
    })
}

async fn run(listen: &str, is_inside_axum: bool) -> io::Result<()> {
    let signals = Signals::new()?;
    let listener = cli::bind(listen, |address| Tcp::default().bind(address))?;
    let host = cli::url_host(listener.local_addr()?);
    cli::print_serving(format_args!("serving http://{host}/v1 (Ctrl-C ends it)"));
    if is_inside_axum {
        inside_axum::serve(listener, signals).await?;
    } else {
        serve(listener, signals).await?;
    }
    cli::print("stopped");
    Ok(())
}

async fn serve(listener: TcpListener, mut signals: Signals) -> Result<(), FieldError> {
    let server = Server::new(config()?).listen(listener).serve(handle);
    signals.next().await;
    server.drain(GRACE).await;
    Ok(())
}

/// Prompts may contain images, so bodies may be large.
fn config() -> Result<Config, FieldError> {
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "POST"])?;
    Ok(Config::default().upgrader(upgrader).max_json(MAX_BODY))
}

async fn handle(mut request: Request) -> Answer {
    match (request.method(), request.path()) {
        ("POST", openai::PATH) => match request.json().await.map_err(Into::into) {
            Ok(question) => match openai::begin(question) {
                Ok(openai::Reply::Whole(response)) => request.respond(response),
                // The client says that it accepts JSON, and expects events.
                Ok(openai::Reply::Stream(completion)) => request
                    .ignore_accept()
                    .without_retry()
                    .stream(async |stream| completion.write(stream).await),
                Err(error) => request.respond(error.to_response()),
            },
            Err(error) => request.respond(openai::Error::to_response(&error)),
        },
        ("POST", anthropic::PATH) => match request.json().await.map_err(Into::into) {
            Ok(question) => match anthropic::begin(question) {
                Ok(anthropic::Reply::Whole(response)) => request.respond(response),
                Ok(anthropic::Reply::Stream(message)) => request
                    .ignore_accept()
                    .without_retry()
                    .stream(async |stream| message.write(stream).await),
                Err(error) => request.respond(error.to_response()),
            },
            Err(error) => request.respond(anthropic::Error::to_response(&error)),
        },
        ("GET" | "HEAD", "/") => request.respond(Response::new(200).with_body("text/plain", USAGE)),
        (_, openai::PATH | anthropic::PATH) => {
            request.reject(Rejection::method_not_allowed("POST"))
        }
        ("POST", "/") => request.reject(Rejection::METHOD_NOT_ALLOWED),
        _ => request.respond(openai::Error::from(Rejection::NOT_FOUND).to_response()),
    }
}

/// The largest body of a request.
const MAX_BODY: u64 = 32 << 20;

/// The time that streams have to complete when the program stops.
const GRACE: Duration = Duration::from_secs(5);

const USAGE: &str = "\
Usage: gateway [OPTIONS]

Serves a made-up model at /v1/chat/completions (as OpenAI) and /v1/messages (as Anthropic).

  --listen ADDR  the address to listen on (127.0.0.1:31340); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --axum         serve with axum instead of the library's own server
  --help         print this text";
