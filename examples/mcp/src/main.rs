//! An MCP server whose streams survive broken connections and, with a journal, a restart.
//!
//! `cargo run --manifest-path examples/mcp/Cargo.toml`, then connect an MCP client to
//! `http://127.0.0.1:31341/mcp`. With `--journal DIR`, events and sessions are stored there.
//!
//! rmcp speaks MCP and writes the responses; a hub stores the events of its streams
//! (`store.rs`), and each response is read from there (`sessions.rs`).

mod sessions;
mod store;
mod tools;

use std::env;
use std::error::Error;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use sse_net::{Hub, Journal, SyncPolicy, Tcp};
use tokio::runtime::Runtime;
use tokio::signal::ctrl_c;

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

    let listen = &options.listen;
    let bound = Tcp::default().bind(listen);
    let listener = bound.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{listen} is in use; end the other program, or choose another address with --listen"
        ),
        _ => format!("--listen {listen:?}: {error}"),
    })?;
    println!(
        "serving http://{}/mcp (Ctrl-C ends it)",
        listener.local_addr()?
    );
    let server = axum::serve(listener, app).with_graceful_shutdown(async move {
        let _ = ctrl_c().await;
        shutdown.cancel(); // A graceful shutdown waits for every stream; this ends them.
    });
    server.await?;
    Ok(())
}

struct Options {
    listen: String,
    journal: Option<String>,
}

impl Options {
    /// Returns `None` for `--help`, and a sentence for a wrong command line.
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut listen, mut journal) = ("127.0.0.1:31341".to_owned(), None);
        while let Some(option) = args.next() {
            match &*option {
                "--listen" => listen = args.next().ok_or("--listen takes an address")?,
                "--journal" => journal = Some(args.next().ok_or("--journal takes a directory")?),
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

  --listen ADDR  the address to listen on (127.0.0.1:31341); port 0 is any free port
  --journal DIR  stores events and sessions in this folder
  --help         print this text";
