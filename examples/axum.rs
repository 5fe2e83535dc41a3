//! The demo's page and feed inside axum, over HTTP/2 and TLS, and the tokens of a model.
//!
//! `cargo run --bin axum`, then open <https://localhost:31338/>; the browser asks about the
//! certificate, which is made anew at every start. Or `curl -kN 'https://localhost:31338/ask'`,
//! and Ctrl-C in the middle. An argument is another address to listen at.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use sse_core::{Event, EventType, Retention};
use sse_net::{Config, Heartbeat, LastEventId, Responder, Start, Tcp, Topic};
use tokio::time::sleep;

#[derive(Clone)]
struct App {
    responder: Responder,
    feed: Topic,
}

/// Follows the feed, with everything that the settings say.
async fn follow(State(app): State<App>, request: Request) -> impl IntoResponse {
    let history = Start::Last(10);
    app.responder.follow_from(&request, &app.feed, history)
}

/// Follows the feed without checking the request.
async fn ticks(State(app): State<App>, id: LastEventId) -> impl IntoResponse {
    let subscription = app.feed.subscribe_after(id, Start::Live);
    app.responder.respond_with(subscription)
}

/// Streams the tokens of a model. When the client leaves, the body is dropped, and with it the
/// model, wherever it is in its thoughts.
async fn ask(State(app): State<App>, request: Request) -> impl IntoResponse {
    app.responder.stream(&request, async |mut stream| {
        let mut model = Model(0);
        while let Some(token) = model.next().await {
            stream.write_str(token).await?;
        }
        stream.close().await // The page closes its EventSource, or it would ask again.
    })
}

/// Takes its time.
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
        println!("the model stops after {} tokens", self.0);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.unwrap_or_else(|| "127.0.0.1:31338".to_owned());
    // Its user timeout gives up who takes nothing: hyper has no such limit.
    let listener = Tcp::default().bind(address)?.into_std()?;
    println!("open https://localhost:{}/", listener.local_addr()?.port());

    let responder = Responder::new(
        Config::default().heartbeat_form(Heartbeat::Event(EventType::from_static("heartbeat"))),
    );
    let feed = Topic::new(Retention::events(1000));
    tokio::spawn(publish(feed.clone()));
    let app = Router::new()
        .route("/", get(Html(include_str!("demo.html"))))
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
        let _ = tokio::signal::ctrl_c().await;
        handle.graceful_shutdown(None);
        // Without this, a graceful shutdown waits for streams that never end.
        responder.drain(GRACE).await;
    };
    let (served, ()) = tokio::join!(server, shutdown);
    println!("goodbye");
    Ok(served?)
}

/// Within what time streams are ended.
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

/// A certificate for localhost, signed by itself.
async fn certificate() -> Result<RustlsConfig, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = made.signing_key.serialize_der();
    Ok(RustlsConfig::from_der(vec![made.cert.der().to_vec()], key).await?)
}
