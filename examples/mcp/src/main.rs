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
    if env::args().skip(1).any(|arg| arg == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let Some(options) = Options::parse(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
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

    let listener = Tcp::default().bind(&options.listen)?;
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
    fn parse(mut args: impl Iterator<Item = String>) -> Option<Self> {
        let (mut listen, mut journal) = ("127.0.0.1:31341".to_owned(), None);
        while let Some(option) = args.next() {
            match &*option {
                "--listen" => listen = args.next()?,
                "--journal" => journal = Some(args.next()?),
                _ => return None,
            }
        }
        Some(Self { listen, journal })
    }
}

const USAGE: &str = "\
Usage: mcp [OPTIONS]

Serves an MCP server at /mcp.

  --listen ADDR  the address to listen on (127.0.0.1:31341); port 0 is any free port
  --journal DIR  stores events and sessions in this folder
  --help         print this text";
