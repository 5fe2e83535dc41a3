//! A service that runs clients of this library for an outside test suite.
//!
//! ```text
//! $ cargo run --bin contract -- --listen 127.0.0.1:8000
//! ```
//!
//! | request | effect |
//! | --- | --- |
//! | `GET /` | lists the capabilities |
//! | `POST /` | starts a client; its items are posted to `callbackUrl`, numbered from 1 |
//! | `POST /clients/N` | `{"command": "restart"}` reconnects the client |
//! | `DELETE /clients/N` | stops the client |
//! | `DELETE /` | ends the program |

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use cli::Ending;
use serde::{Deserialize, Serialize};
use sse_core::EventId;
use sse_core::client::Closed;
use sse_net::testing::RawClient;
use sse_net::{Client, ClientError, Connect, EventSource, FieldError, Item, Url};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

fn main() -> ExitCode {
    cli::run(USAGE, |args| {
        let listen = args.listen_address("127.0.0.1:8000")?;
        let runtime = Runtime::new().map_err(Ending::failure)?;
        let served = runtime.block_on(serve(&listen));
        runtime.shutdown_background();
        served
    })
}

async fn serve(listen: &str) -> Result<(), Ending> {
    let listener = cli::bind(listen, |address| std::net::TcpListener::bind(address))
        .map_err(Ending::failure)?;
    listener.set_nonblocking(true).map_err(Ending::failure)?;
    let listener = TcpListener::from_std(listener).map_err(Ending::failure)?;
    let address = listener.local_addr().map_err(Ending::failure)?;
    cli::print(format_args!("http://{}/", cli::url_host(address)));
    let service = Arc::new(Service::default());
    let routes = Router::new()
        .route("/", get(capabilities).post(start).delete(end))
        .route("/clients/{number}", post(command).delete(stop))
        .with_state(Arc::clone(&service));
    let ending = Arc::clone(&service);
    let serving = axum::serve(listener, routes)
        .with_graceful_shutdown(async move { ending.end.notified().await });
    tokio::select! {
        served = serving => served.map_err(Ending::failure),
        // Connections that are kept alive would delay the end.
        () = async { service.end.notified().await; tokio::time::sleep(LINGER).await } => Ok(()),
    }
}

#[derive(Default)]
struct Service {
    clients: Mutex<Clients>,
    end: Notify,
}

#[derive(Default)]
struct Clients {
    last: u64,
    running: HashMap<u64, mpsc::UnboundedSender<()>>,
}

impl Service {
    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn capabilities() -> impl IntoResponse {
    const CAPABILITIES: &str = r#"{"capabilities": ["bom", "comments", "headers", "last-event-id", "payload-size-stress-testable", "post", "read-timeout", "report", "restart", "server-directed-shutdown-request"]}"#;
    ([(header::CONTENT_TYPE, "application/json")], CAPABILITIES)
}

async fn end(State(service): State<Arc<Service>>) -> StatusCode {
    service.end.notify_waiters();
    StatusCode::NO_CONTENT
}

async fn start(
    State(service): State<Arc<Service>>,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let parsed = serde_json::from_slice::<Parameters>(&body).map_err(|error| error.to_string());
    let started = parsed.and_then(|parameters| {
        let source = parameters.source().map_err(|error| error.to_string())?;
        let callback: Url = parameters
            .callback_url
            .parse()
            .map_err(|error: FieldError| error.to_string())?;
        Ok((source, callback))
    });
    let (source, callback) = match started {
        Ok(started) => started,
        Err(error) => return (StatusCode::BAD_REQUEST, error).into_response(),
    };
    let (restart, restarts) = mpsc::unbounded_channel();
    let number = {
        let mut clients = service.clients();
        clients.last += 1;
        let number = clients.last;
        clients.running.insert(number, restart);
        number
    };
    tokio::spawn(follow(source.connect(), Callbacks::new(callback), restarts));
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let location = match host {
        Some(host) => format!("http://{host}/clients/{number}"),
        None => format!("/clients/{number}"),
    };
    (StatusCode::CREATED, [(header::LOCATION, location)]).into_response()
}

async fn command(
    State(service): State<Arc<Service>>,
    Path(number): Path<u64>,
    body: Bytes,
) -> StatusCode {
    let Ok(Command { command }) = serde_json::from_slice(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let clients = service.clients();
    match clients.running.get(&number) {
        None => StatusCode::NOT_FOUND,
        Some(_) if command != "restart" => StatusCode::BAD_REQUEST,
        Some(restart) => {
            let _ = restart.send(());
            StatusCode::ACCEPTED
        }
    }
}

async fn stop(State(service): State<Arc<Service>>, Path(number): Path<u64>) -> StatusCode {
    match service.clients().running.remove(&number) {
        Some(_) => StatusCode::NO_CONTENT,
        None => StatusCode::NOT_FOUND,
    }
}

#[derive(Deserialize)]
struct Command {
    command: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    stream_url: String,
    callback_url: String,
    initial_delay_ms: Option<u64>,
    read_timeout_ms: Option<u64>,
    last_event_id: Option<String>,
    #[serde(default)]
    headers: HashMap<String, String>,
    method: Option<String>,
    body: Option<String>,
}

impl Parameters {
    fn source(&self) -> Result<EventSource, FieldError> {
        let method = self.method.as_deref().filter(|method| !method.is_empty());
        // The suite expects that every request is sent again.
        let mut source =
            EventSource::request(method.unwrap_or("GET"), &self.stream_url)?.repeatable();
        if let Some(body) = self.body.as_ref().filter(|body| !body.is_empty()) {
            source = source
                .body(body.clone())
                .header("Content-Type", "text/plain")?;
        }
        for (name, value) in &self.headers {
            source = source.header(name, value)?;
        }
        if let Some(millis) = self.initial_delay_ms {
            source = source.reconnection_time(Duration::from_millis(millis));
        }
        if let Some(millis @ 1..) = self.read_timeout_ms {
            source = source.silence(Duration::from_millis(millis));
        }
        match self.last_event_id.as_deref() {
            None | Some("") => Ok(source),
            Some(id) => Ok(source.last_event_id(EventId::new(id)?.into_owned())),
        }
    }
}

/// Reports the items of a client until it ends or is stopped.
async fn follow(
    mut client: Client,
    mut callbacks: Callbacks,
    mut restarts: mpsc::UnboundedReceiver<()>,
) {
    loop {
        let message = tokio::select! {
            restart = restarts.recv() => match restart {
                Some(()) => {
                    client.reconnect();
                    continue;
                }
                None => return,
            },
            item = client.next_item() => match item {
                Ok(Some(Item::Event(event) | Item::Gap(event))) => Message::Event {
                    event: EventMessage {
                        event_type: event.event().to_owned(),
                        data: event.data().to_owned(),
                        id: event.last_event_id().to_owned(),
                    },
                },
                Ok(Some(Item::Comment(comment))) => Message::Comment {
                    comment: comment.into_owned(),
                },
                Ok(Some(Item::Closed(Closed { reason, .. }))) => match reason {
                    ClientError::Ended | ClientError::Restarted => continue,
                    reason => Message::Error { error: reason.to_string() },
                },
                Ok(Some(_)) => continue,
                Ok(None) => return,
                Err(error) => Message::Error { error: error.to_string() },
            },
        };
        callbacks.post(&message).await;
    }
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Message {
    Event { event: EventMessage },
    Comment { comment: String },
    Error { error: String },
}

#[derive(Serialize)]
struct EventMessage {
    #[serde(rename = "type")]
    event_type: String,
    data: String,
    id: String,
}

/// Where messages are posted.
struct Callbacks {
    url: Url,
    count: u64,
}

impl Callbacks {
    const fn new(url: Url) -> Self {
        Self { url, count: 0 }
    }

    async fn post(&mut self, message: &Message) {
        self.count += 1;
        let posted = timeout(CALLBACK_TIMEOUT, self.try_post(message)).await;
        let posted = posted.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
        if let Err(error) = posted {
            cli::print_error(format_args!("{}/{}: {error}", self.url, self.count));
        }
    }

    async fn try_post(&self, message: &Message) -> std::io::Result<()> {
        let body = serde_json::to_string(message)?;
        let socket = TcpStream::connect((self.url.host(), self.url.port())).await?;
        let request = format!(
            "POST {}/{} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.url.target().trim_end_matches('/'),
            self.count,
            self.url.authority(),
            body.len(),
        );
        RawClient::new(socket).ask(request.as_bytes()).await?;
        Ok(())
    }
}

const USAGE: &str = "\
Usage: contract [OPTIONS]

Runs clients for an outside test suite, which controls them over HTTP.

  --listen ADDRESS   listen on this address (127.0.0.1:8000)
  --help             print this text";

/// The time for the last response.
const LINGER: Duration = Duration::from_millis(300);

const CALLBACK_TIMEOUT: Duration = Duration::from_secs(10);
