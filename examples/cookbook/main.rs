//! Recipes: one task each, as a module of about a screenful to copy from.
//!
//! `cargo run --bin cookbook` lists them, and `cargo run --bin cookbook -- state` runs one. Each
//! module begins with what to try. `examples/tests/cookbook.rs` runs every one of them.
//!
//! `nginx.conf` and `Caddyfile` beside this file are the blocks for proxies; both are tested.

mod ci_log;
mod cors;
mod follower;
mod from_axum;
mod from_broadcast;
mod inbox;
mod metrics;
mod model;
mod model_client;
mod page;
mod plain_axum;
mod sign_on;
mod state;
mod table;
mod testing;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Args, Ending, Signals};
use sse_net::{Config, Event, Retention, Server, ServerHandle, Tcp, Topic};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::time::sleep;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The time over which a drain spreads the disconnects.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    cli::run(&usage(), |args| {
        let options = Options::parse(args)?;
        let Some(name) = &options.name else {
            cli::print(usage());
            return Ok(());
        };
        let runtime = Runtime::new().map_err(Ending::failure)?;
        runtime.block_on(run(name, &options))
    })
}

async fn run(name: &str, options: &Options) -> Result<(), Ending> {
    let operand = |at: usize, what: &str| {
        let operand = options.operands.get(at).map(String::as_str);
        operand.ok_or_else(|| Ending::Usage(format!("{name} takes {what}")))
    };
    let takes = match name {
        "follower" => 2,
        "model_client" | "ci_log" => 1,
        _ => 0,
    };
    if let Some(other) = options.operands.get(takes) {
        return Err(Ending::Usage(format!("{name} does not take {other:?}")));
    }
    let listen = &options.listen;
    match name {
        "model_client" => {
            let asked = model_client::run(operand(0, "the URL of an endpoint")?).await;
            asked.map_err(Ending::failure)
        }
        "follower" => {
            let what = "the URL of a stream and a file for the last event ID";
            let followed = follower::run(operand(0, what)?, operand(1, what)?).await;
            followed.map_err(Ending::failure)
        }
        "ci_log" => {
            let path = operand(0, "the path of a log")?;
            serve(name, listen, |tcp| Ok(ci_log::serve(tcp, path))).await
        }
        "plain_axum" => {
            let served = plain_axum::serve(bind(name, listen)?, signal()?).await;
            served.map_err(Ending::failure)
        }
        "from_axum" => {
            let served = from_axum::serve(bind(name, listen)?, signal()?).await;
            served.map_err(Ending::failure)
        }
        "state" => serve(name, listen, state::serve).await,
        "cors" => serve(name, listen, cors::serve).await,
        "model" => serve(name, listen, model::serve).await,
        "inbox" => serve(name, listen, inbox::serve).await,
        "page" => serve(name, listen, page::serve).await,
        "sign_on" => serve(name, listen, sign_on::serve).await,
        "table" => serve(name, listen, table::serve).await,
        "metrics" => serve(name, listen, |tcp| Ok(metrics::serve(tcp))).await,
        "from_broadcast" => serve(name, listen, |tcp| Ok(from_broadcast::serve(tcp))).await,
        "testing" => serve(name, listen, |tcp| Ok(serve_ticks(tcp))).await,
        _ => Err(Ending::Usage(format!("there is no recipe {name:?}"))),
    }
}

/// Starts a recipe's server, and drains it at Ctrl-C or SIGTERM.
async fn serve(
    name: &str,
    address: &str,
    start: impl FnOnce(TcpListener) -> Result<ServerHandle, BoxError>,
) -> Result<(), Ending> {
    let stopped = signal()?;
    let server = start(bind(name, address)?).map_err(Ending::failure)?;
    stopped.await;
    server.drain(GRACE).await;
    Ok(())
}

fn bind(name: &str, address: &str) -> Result<TcpListener, Ending> {
    let tcp = cli::bind(address, |address| Tcp::default().bind(address));
    let tcp = tcp.map_err(Ending::failure)?;
    let host = cli::url_host(tcp.local_addr().map_err(Ending::failure)?);
    cli::print_serving(format_args!(
        "serving http://{host}/; examples/cookbook/{name}.rs begins with what to try"
    ));
    Ok(tcp)
}

/// Returns a future that resolves at Ctrl-C or SIGTERM.
fn signal() -> Result<impl Future<Output = ()> + Send + 'static, Ending> {
    let mut signals = Signals::new().map_err(Ending::failure)?;
    Ok(async move { signals.next().await })
}

/// The server of the recipe `testing`, whose point is its test.
fn serve_ticks(listener: TcpListener) -> ServerHandle {
    let ticks = Topic::new(Retention::events(1000));
    tokio::spawn(publish_ticks(ticks.clone()));
    let server = Server::new(Config::default()).listen(listener);
    server.serve_with(ticks, testing::handle)
}

/// Publishes five events a second.
pub(crate) async fn publish_ticks(topic: Topic) {
    for n in 1_u64.. {
        let _ = topic.publish(&Event::new().data(format!("tick {n}")));
        sleep(Duration::from_millis(200)).await;
    }
}

struct Options {
    listen: String,
    name: Option<String>,
    operands: Vec<String>,
}

impl Options {
    fn parse(mut args: Args) -> Result<Self, Ending> {
        let mut listen = "127.0.0.1:31344".to_owned();
        let mut operands = Vec::new();
        while let Some(option) = args.option()? {
            match &*option {
                "--listen" => listen = args.value("an address")?,
                _ if option.starts_with('-') => return Err(args.unknown()),
                _ => operands.push(option),
            }
        }
        let mut operands = operands.into_iter();
        Ok(Self {
            listen,
            name: operands.next(),
            operands: operands.collect(),
        })
    }
}

fn usage() -> String {
    let mut usage = USAGE.to_owned();
    for (name, about) in RECIPES {
        usage += &format!("\n  {name:<15}{about}");
    }
    usage
}

const USAGE: &str = "\
Usage: cookbook [OPTIONS] RECIPE [OPERAND]…

Runs a recipe, a module of about a screenful in examples/cookbook.

  --listen ADDR  the address to listen on (127.0.0.1:31344); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --help         print this text

The recipes:
";

const RECIPES: &[(&str, &str)] = &[
    ("state", "state in a handler"),
    (
        "plain_axum",
        "plain axum, with a shutdown that does not hang",
    ),
    ("cors", "OPTIONS and CORS, with credentials and fetch"),
    ("model", "a model's endpoint, and its errors in mid-stream"),
    (
        "model_client",
        "URL: a client for it, ours and reqwest with our decoder",
    ),
    ("follower", "URL FILE: follows a feed across restarts"),
    ("inbox", "an inbox for each user, behind a cookie"),
    (
        "page",
        "several topics on one EventSource, shared by all tabs",
    ),
    ("sign_on", "a sign-on that expires or is revoked"),
    ("table", "a table of state and its changes"),
    ("metrics", "a page for Prometheus, and health"),
    ("ci_log", "FILE: the log of a CI job, while it is written"),
    ("testing", "tests with the raw client and a paused clock"),
    ("from_axum", "moving over from axum's Sse"),
    ("from_broadcast", "moving over from tokio::sync::broadcast"),
];
