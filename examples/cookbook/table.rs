//! A table of state and its changes: a page that joins gets the rows as they are, then each change.
//!
//! ```text
//! curl -N http://127.0.0.1:31344/rows
//! curl -X PUT -d '{"stock":7}' http://127.0.0.1:31344/rows/apples     in another terminal
//! curl -X DELETE http://127.0.0.1:31344/rows/apples
//! ```
//!
//! The topic is keyed: an event supersedes the one before it with the same key, so the past has
//! one event for each row. The page needs no other request for the state:
//!
//! ```js
//! const rows = new Map();
//! const events = new EventSource("/rows");
//! events.addEventListener("row", ({ data }) => {
//!   const { key, value } = JSON.parse(data);
//!   rows.set(key, value);
//! });
//! events.addEventListener("remove", ({ data }) => rows.delete(data));
//! events.addEventListener("ready", () => draw(rows)); // the state is complete; changes follow
//! // The page was away for longer than removals are retained: the whole state comes again.
//! events.addEventListener("gap", ({ data }) => JSON.parse(data).clear && rows.clear());
//! ```

use serde_json::{Value, json};
use sse_net::{
    Answer, Config, Event, EventType, Hub, HubConfig, PublishError, Rejection, Request, Response,
    Server, ServerHandle, Topic, TopicConfig, Upgrader,
};
use tokio::net::TcpListener;

use crate::BoxError;

async fn handle(rows: Topic, mut request: Request) -> Answer {
    let key = request.path().strip_prefix("/rows/").map(str::to_owned);
    let changed = match (request.method(), key) {
        ("GET" | "HEAD", None) if request.path() == "/rows" => return request.follow(&rows),
        ("GET" | "HEAD", Some(key)) => match rows.get(&key) {
            Some(row) => {
                let row = row.data().to_owned();
                return request.respond(Response::new(200).with_body("application/json", row));
            }
            None => Err(Rejection::NOT_FOUND),
        },
        ("PUT", Some(key)) => match request.body(MAX_ROW).await {
            Ok(body) => put(&rows, &key, &body),
            Err(rejection) => Err(rejection),
        },
        ("DELETE", Some(key)) => rows.remove(key).map(drop).map_err(refused),
        _ if request.path() == "/rows" => Err(Rejection::METHOD_NOT_ALLOWED),
        _ => Err(Rejection::NOT_FOUND),
    };
    match changed {
        Ok(()) => request.respond(Response::new(204)),
        Err(rejection) => request.reject(rejection),
    }
}

/// Clients see the event and not its key, so the event names the row.
fn put(rows: &Topic, key: &str, body: &[u8]) -> Result<(), Rejection> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Rejection::BAD_REQUEST.because(error.to_string()))?;
    let event = Event::new().data(json!({ "key": key, "value": value }).to_string());
    rows.publish_for(key, &event).map(drop).map_err(refused)
}

/// A key that is too long, or a table that is full.
fn refused(error: PublishError) -> Rejection {
    Rejection::BAD_REQUEST.because(error.to_string())
}

pub(crate) fn serve(listener: TcpListener) -> Result<ServerHandle, BoxError> {
    let config = TopicConfig::default()
        .event_type(EventType::from_static("row"))
        .marker_type(EventType::from_static("ready"));
    let rows = Hub::new(HubConfig::from(config)).keyed_topic("rows")?;
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "PUT", "DELETE"])?;
    let server = Server::new(Config::default().upgrader(upgrader)).listen(listener);
    Ok(server.serve_with(rows, handle))
}

/// The largest row in bytes.
const MAX_ROW: u64 = 4096;
