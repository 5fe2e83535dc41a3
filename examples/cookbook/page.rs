//! Several topics on one `EventSource`, which all tabs of a browser share.
//!
//! Open http://127.0.0.1:31344/ in two tabs: there is one connection. The page's JavaScript is in
//! `page.html`, with `gap`, `close` and `heartbeat`; `shared-events.js` is one file to copy, with
//! the `SharedWorker`.

use serde::Deserialize;
use sse_net::{
    Answer, Config, EventType, Heartbeat, Hub, HubConfig, Rejection, Request, Response, Server,
    ServerHandle, Start, StreamToken, Topic, Upgrader,
};
use tokio::net::TcpListener;

use crate::{BoxError, publish_ticks};

/// What the page asks for when a tab follows other topics than before.
#[derive(Deserialize)]
struct Switch {
    add: Vec<String>,
    remove: Vec<String>,
}

async fn handle(hub: Hub, mut request: Request) -> Answer {
    let answered = match (request.method(), request.path()) {
        ("GET" | "HEAD", "/") => Ok(Response::new(200).with_body(HTML, include_str!("page.html"))),
        ("GET" | "HEAD", "/shared-events.js") => {
            Ok(Response::new(200).with_body(SCRIPT, include_str!("../demo/shared-events.js")))
        }
        ("GET" | "HEAD", "/events") => match follow(&hub, &request) {
            Ok((topics, token)) => return request.with_token(token).follow_all(topics),
            Err(rejection) => Err(rejection),
        },
        ("POST", "/events") => switch(&hub, &mut request).await,
        (_, "/" | "/shared-events.js") => Err(Rejection::METHOD_NOT_ALLOWED),
        _ => Err(Rejection::NOT_FOUND),
    };
    match answered {
        Ok(response) => request.respond(response),
        Err(rejection) => request.reject(rejection),
    }
}

/// Returns the topics in the query, such as `?topics=news,weather`, and the stream's token.
fn follow(hub: &Hub, request: &Request) -> Result<(Vec<Topic>, StreamToken), Rejection> {
    let names = request.query_value("topics").unwrap_or_default();
    let topics = names.split(',').map(|name| topic(hub, name));
    Ok((topics.collect::<Result<_, _>>()?, token(request)?))
}

/// Changes the topics of the stream while it goes on.
async fn switch(hub: &Hub, request: &mut Request) -> Result<Response, Rejection> {
    let stream = hub.stream_topics(&token(request)?);
    let stream =
        stream.ok_or(Rejection::NOT_FOUND.because("there is no stream with this token"))?;
    let Switch { add, remove } = request.json().await?;
    let added: Vec<_> = add
        .iter()
        .map(|name| topic(hub, name))
        .collect::<Result<_, _>>()?;
    stream.remove(remove);
    let added = stream.add(added, Start::Live);
    added.map_err(|error| Rejection::BAD_REQUEST.because(error.to_string()))?;
    Ok(Response::new(204))
}

/// Only these: a client must not make topics by asking for them, nor read another user's.
fn topic(hub: &Hub, name: &str) -> Result<Topic, Rejection> {
    match name {
        "news" | "weather" => hub.topic(name).map_err(|_| Rejection::UNAVAILABLE),
        _ => Err(Rejection::BAD_REQUEST.because("the topics are news and weather")),
    }
}

fn token(request: &Request) -> Result<StreamToken, Rejection> {
    let token = request.query_value("token");
    let token = token.and_then(|token| StreamToken::parse(&token));
    token.ok_or(Rejection::BAD_REQUEST.because("the token is missing or malformed"))
}

pub(crate) fn serve(listener: TcpListener) -> Result<ServerHandle, BoxError> {
    let hub = Hub::new(HubConfig::default());
    for name in ["news", "weather"] {
        tokio::spawn(publish_ticks(hub.topic(name)?));
    }
    let config = Config::default()
        .upgrader(Upgrader::new().allow_methods(["GET", "HEAD", "POST"])?)
        // As an event, so that the page sees it; a comment would keep the connection as well.
        .heartbeat_form(Heartbeat::Event(EventType::from_static("heartbeat")));
    Ok(Server::new(config).listen(listener).serve_with(hub, handle))
}

const HTML: &str = "text/html; charset=utf-8";

const SCRIPT: &str = "text/javascript; charset=utf-8";
