//! State in a handler: `serve_with` passes a clone of it with each request.
//!
//! ```text
//! curl -N http://127.0.0.1:31344/rooms/blue
//! curl -d hey http://127.0.0.1:31344/rooms/blue     in another terminal
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sse_net::{
    Answer, Config, Event, Hub, HubConfig, Rejection, Request, Response, Server, ServerHandle,
    Upgrader,
};
use tokio::net::TcpListener;

use crate::BoxError;

/// Cheap to clone: handles and an `Arc` around the rest.
#[derive(Clone)]
struct App {
    rooms: Hub,
    messages: Arc<AtomicU64>,
}

async fn handle(app: App, mut request: Request) -> Answer {
    let Some(room) = request.path().strip_prefix("/rooms/") else {
        return request.reject(Rejection::NOT_FOUND);
    };
    // Made at the first use, and dropped when it is empty and nobody follows it.
    let Ok(room) = app.rooms.topic(room) else {
        return request.reject(Rejection::UNAVAILABLE.because("there are too many rooms"));
    };
    if request.method() != "POST" {
        return request.follow(&room);
    }
    let text = match request.body(MAX_MESSAGE).await {
        Ok(text) => text,
        Err(rejection) => return request.reject(rejection),
    };
    let count = app.messages.fetch_add(1, Ordering::Relaxed) + 1;
    let message = format!("{}, message {count}", String::from_utf8_lossy(&text));
    match room.publish(&Event::new().data(message)) {
        Ok(_) => request.respond(Response::new(204)),
        Err(_) => request.reject(Rejection::INTERNAL_SERVER_ERROR),
    }
}

pub(crate) fn serve(listener: TcpListener) -> Result<ServerHandle, BoxError> {
    let app = App {
        rooms: Hub::new(HubConfig::default().max_topics(1000)),
        messages: Arc::default(),
    };
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "POST"])?;
    let server = Server::new(Config::default().upgrader(upgrader)).listen(listener);
    Ok(server.serve_with(app, handle))
}

/// The longest message in bytes.
const MAX_MESSAGE: u64 = 4096;
