//! The demo's page and feed inside axum, over HTTP/2 and TLS, and the tokens of a model.
//!
//! `cargo run --bin inside_axum`, then open <https://localhost:31338/>. The browser warns about
//! the certificate, which is made at every start. `curl -kN https://localhost:31338/ask` streams
//! tokens; Ctrl-C in the middle stops the model.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use cli::{Ending, Signals};
use sse_core::{Event, EventType, Retention};
use sse_net::{Config, Heartbeat, LastEventId, Responder, Start, Tcp, Topic};
use tokio::runtime::Runtime;
use tokio::time::sleep;

#[derive(Clone)]
struct App {
    responder: Responder,
    feed: Topic,
}

/// Follows the feed with the responder's settings, from the last ten events.
async fn follow(State(app): State<App>, request: Request) -> impl IntoResponse {
    let history = Start::Last(10);
    app.responder.follow_from(&request, &app.feed, history)
}

/// Follows the feed with default settings, resuming after `Last-Event-ID`.
async fn ticks(State(app): State<App>, id: LastEventId) -> impl IntoResponse {
    let subscription = app.feed.subscribe_after(id, Start::Live);
    app.responder.respond_with(subscription)
}

/// Streams the tokens of a model. A client that disconnects drops the body and the model.
async fn ask(State(app): State<App>, request: Request) -> impl IntoResponse {
    app.responder.stream(&request, async |mut stream| {
        let mut model = Model(0);
        while let Some(token) = model.next().await {
            stream.write_str(token).await?;
        }
        stream.close().await // On `close`, the page closes its EventSource instead of reconnecting.
    })
}

/// Yields a token every 300 ms.
struct Model(usize);

impl Model {
    async fn next(&mut self) -> Option<&'static str> {
        sleep(Duration::from_millis(300)).await;
        self.0 += 1;
        "It depends on what you mean by why ."
            .split(' ')
            .nth(self.0 - 1)
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        cli::print(format_args!("the model stops after {} tokens", self.0));
    }
}

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let listen = args.listen_address("127.0.0.1:31338")?;
        let runtime = Runtime::new().map_err(Ending::failure)?;
        runtime.block_on(serve(&listen)).map_err(Ending::failure)
    })
}

async fn serve(listen: &str) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    // hyper has no write deadline; the user timeout of `Tcp` disconnects clients that stall.
    let listener = cli::bind(listen, |address| Tcp::default().bind(address))?.into_std()?;
    let port = listener.local_addr()?.port();
    cli::print_serving(format_args!(
        "open https://localhost:{port}/ (Ctrl-C ends it)"
    ));

    let responder = Responder::new(
        Config::default().heartbeat_form(Heartbeat::Event(EventType::from_static("heartbeat"))),
    );
    let feed = Topic::new(Retention::events(1000));
    tokio::spawn(publish(feed.clone()));
    let app = Router::new()
        .route("/", get(Html(include_str!("demo/feed.html"))))
        // The page links to another one that only the demo has.
        .route(
            "/hub",
            get("`cargo run` has a hub; this program has none\n"),
        )
        .route("/sse", get(follow))
        .route("/ticks", get(ticks))
        .route("/ask", get(ask))
        .with_state(App {
            responder: responder.clone(),
            feed,
        });

    let handle = Handle::new();
    let server = axum_server::from_tcp_rustls(listener, certificate().await?)?
        .handle(handle.clone())
        .serve(app.into_make_service());
    let shutdown = async {
        signals.next().await;
        handle.graceful_shutdown(None);
        // A graceful shutdown waits for every stream; `drain` ends them.
        responder.drain(GRACE).await;
    };
    let (served, ()) = tokio::join!(server, shutdown);
    cli::print("stopped");
    Ok(served?)
}

/// The time over which a drain spreads the disconnects.
const GRACE: Duration = Duration::from_millis(500);

async fn publish(feed: Topic) {
    loop {
        let ts = SystemTime::now().duration_since(UNIX_EPOCH);
        let ts = ts.unwrap_or_default().as_secs();
        let tick = serde_json::json!({ "text": "hey from axum", "ts": ts });
        let _ = feed.publish(&Event::new().data(tick.to_string()));
        sleep(Duration::from_secs(1)).await;
    }
}

/// Makes a self-signed certificate for localhost.
async fn certificate() -> Result<RustlsConfig, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = made.signing_key.serialize_der();
    Ok(RustlsConfig::from_der(vec![made.cert.der().to_vec()], key).await?)
}

const USAGE: &str = "\
Usage: inside_axum [OPTIONS]

Serves the demo's page and feed, and the tokens of a model at /ask, with axum over TLS.

  --listen ADDR  the address to listen on (127.0.0.1:31338); :8080 is port 8080 on all
                 addresses, and port 0 any free port
  --help         print this text";
