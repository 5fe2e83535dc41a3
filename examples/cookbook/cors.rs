//! Pages of another origin, with cookies: the page's `EventSource` and its `fetch`.
//!
//! The page at `https://app.example.org`:
//!
//! ```js
//! const events = new EventSource("https://events.example.org/sse", { withCredentials: true });
//! events.addEventListener("message", ({ data }) => console.log(data));
//!
//! // JSON is not a "simple" type, so the browser asks with `OPTIONS` first.
//! await fetch("https://events.example.org/say", {
//!   method: "POST",
//!   credentials: "include",
//!   headers: { "Content-Type": "application/json" },
//!   body: JSON.stringify({ text: "hey" }),
//! });
//! ```
//!
//! The server answers `OPTIONS` by itself, and every response has the headers, whatever its
//! status: the page sees a 401 as what it is. The cookie needs `SameSite=None; Secure`, unless
//! both are subdomains of one site.

use serde::Deserialize;
use sse_net::{
    Answer, Config, Event, Rejection, Request, Response, Retention, Server, ServerHandle, Topic,
    Upgrader,
};
use tokio::net::TcpListener;

use crate::BoxError;

#[derive(Deserialize)]
struct Said {
    text: String,
}

async fn handle(feed: Topic, mut request: Request) -> Answer {
    if request.cookie("session") != Some(SESSION) {
        return request.reject(Rejection::UNAUTHORIZED);
    }
    match (request.method(), request.path()) {
        ("POST", "/say") => match request.json().await {
            Ok(Said { text }) => match feed.publish(&Event::new().data(text)) {
                Ok(_) => request.respond(Response::new(204)),
                Err(_) => request.reject(Rejection::INTERNAL_SERVER_ERROR),
            },
            Err(rejection) => request.reject(rejection),
        },
        ("GET" | "HEAD", "/sse") => request.follow(&feed),
        (_, "/say") => request.reject(Rejection::method_not_allowed("POST")),
        (_, "/sse") => request.reject(Rejection::METHOD_NOT_ALLOWED),
        _ => request.reject(Rejection::NOT_FOUND),
    }
}

pub(crate) fn serve(listener: TcpListener) -> Result<ServerHandle, BoxError> {
    let upgrader = Upgrader::new()
        .allow_origin("https://app.example.org")?
        .allow_credentials()
        .allow_methods(["GET", "HEAD", "POST"])?;
    let feed = Topic::new(Retention::events(1000));
    let server = Server::new(Config::default().upgrader(upgrader)).listen(listener);
    Ok(server.serve_with(feed, handle))
}

/// Stands for a session that a real server looks up.
const SESSION: &str = "a-session-of-this-recipe";
