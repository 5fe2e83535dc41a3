//! An MCP server whose streams survive broken connections and, with a journal, a restart.
//!
//! `cargo run --manifest-path examples/mcp/Cargo.toml`, then connect an MCP client to
//! `http://127.0.0.1:31345/mcp`. With `--journal DIR`, events and sessions are stored there.
//!
//! rmcp speaks MCP and writes the responses; a hub stores the events of its streams
//! (`store.rs`), and each response is read from there (`sessions.rs`).

#[path = "../../listen.rs"]
#[expect(unreachable_pub, reason = "the other examples share it as a library")]
mod listen;
mod sessions;
mod store;
mod tools;

use std::env;
use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use sse_net::{Hub, Journal, SyncPolicy, Tcp};
use tokio::runtime::Runtime;
#[cfg(unix)]
use tokio::signal::unix::{SignalKind, signal};

use crate::sessions::{RETRY, Sessions};
use crate::store::Store;
use crate::tools::Tools;

fn main() -> ExitCode {
    let args = env::args_os().skip(1);
    let options = match Options::parse(args.map(|arg| arg.to_string_lossy().into_owned())) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(sentence) => {
            eprintln!("{sentence}; see --help");
            return ExitCode::from(2);
        }
    };
    let runtime = Runtime::new().map_err(Into::into);
    match runtime.and_then(|runtime| runtime.block_on(serve(options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    let signalled = catch_signals()?;
    let hub = match &options.journal {
        // An event's ID is sent only when the event is safe.
        Some(dir) => {
            let journal = Journal::new(dir).sync(SyncPolicy::EveryEvent);
            Hub::open(Store::hub_config(), &journal)?
        }
        None => Hub::new(Store::hub_config()),
    };
    let store = Arc::new(Store::new(hub)?);
    let sessions = Arc::new(Sessions::new(Arc::clone(&store)));

    let mut config = StreamableHttpServerConfig::default().with_sse_retry(Some(RETRY));
    config.session_store = Some(store);
    let shutdown = config.cancellation_token.clone();
    let tools = Arc::clone(&sessions);
    let service =
        StreamableHttpService::new(move || Ok(Tools::new(Arc::clone(&tools))), sessions, config);
    let app = Router::new().route_service("/mcp", service);

    let listener = listen::bind(&options.listen, |address| Tcp::default().bind(address))?;
    println!(
        "serving http://{}/mcp (Ctrl-C ends it)",
        listener.local_addr()?
    );
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        signalled.await;
        shutdown.cancel(); // A graceful shutdown waits for every stream; this ends them.
    });
    server.await?;
    Ok(())
}

/// Catches Ctrl-C and SIGTERM from now on. The future resolves at the first of them.
#[cfg(unix)]
fn catch_signals() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
fn catch_signals() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

struct Options {
    listen: String,
    journal: Option<String>,
}

impl Options {
    /// Returns `None` for `--help`, and a sentence for a wrong command line.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut listen, mut journal) = ("127.0.0.1:31345".to_owned(), None);
        while let Some(option) = args.next() {
            match &*option {
                "--listen" => listen = args.next().ok_or("--listen takes an address")?,
                "--journal" => journal = Some(args.next().ok_or("--journal takes a folder")?),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("there is no option {option:?}")),
            }
        }
        Ok(Some(Self { listen, journal }))
    }
}

const USAGE: &str = "\
Usage: mcp [OPTIONS]

Serves an MCP server at /mcp.

  --listen ADDR  the address to listen on (127.0.0.1:31345); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --journal DIR  stores events and sessions in this folder
  --help         print this text";
