//! An inbox for each user, behind a session cookie.
//!
//! ```text
//! curl -c jar -d user=ann http://127.0.0.1:31344/login
//! curl -b jar -N http://127.0.0.1:31344/inbox
//! curl -d hey http://127.0.0.1:31344/inbox/ann     in another terminal
//! ```
//!
//! The user comes from the session and never from the URL, so nobody reads another's inbox. A page
//! needs `new EventSource("/inbox")` and no more: the browser sends the cookie, and the last event
//! ID when it reconnects.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sse_net::{
    Answer, Config, Event, Headers, Hub, HubConfig, Rejection, Request, Response, Retention,
    Server, ServerHandle, StreamToken, TopicConfig, Upgrader,
};
use tokio::net::TcpListener;

use crate::BoxError;

#[derive(Clone)]
struct App {
    hub: Hub,
    /// From a session to its user; a real server has them in its database.
    sessions: Arc<RwLock<HashMap<String, String>>>,
}

async fn handle(app: App, mut request: Request) -> Answer {
    let to = request.path().strip_prefix("/inbox/").map(str::to_owned);
    match (request.method(), request.path(), to) {
        ("POST", "/login", _) => match request.body(MAX_BODY).await {
            Ok(form) => app.log_in(request, &String::from_utf8_lossy(&form)),
            Err(rejection) => request.reject(rejection),
        },
        ("POST", _, Some(to)) => match request.body(MAX_BODY).await {
            Ok(text) => app.send(request, &to, &String::from_utf8_lossy(&text)),
            Err(rejection) => request.reject(rejection),
        },
        ("GET" | "HEAD", "/inbox", _) => match app.user(&request) {
            Some(user) => match app.hub.topic(format!("inbox/{user}")) {
                Ok(inbox) => request.follow(&inbox),
                Err(_) => request.reject(Rejection::UNAVAILABLE),
            },
            None => request.reject(Rejection::UNAUTHORIZED), // the browser does not try again
        },
        (_, "/login", _) | (_, _, Some(_)) => request.reject(Rejection::method_not_allowed("POST")),
        (_, "/inbox", _) => request.reject(Rejection::METHOD_NOT_ALLOWED),
        _ => request.reject(Rejection::NOT_FOUND),
    }
}

impl App {
    fn user(&self, request: &Request) -> Option<String> {
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(request.cookie("session")?).cloned()
    }

    fn log_in(&self, request: Request, form: &str) -> Answer {
        let Some(user) = form.strip_prefix("user=") else {
            return request.reject(Rejection::BAD_REQUEST.because("send user=NAME"));
        };
        let session = StreamToken::random().as_str().to_owned(); // 128 random bits
        let cookie = format!("session={session}; Path=/; HttpOnly; SameSite=Lax"); // and Secure
        let Ok(headers) = Headers::new().with("Set-Cookie", cookie) else {
            return request.reject(Rejection::INTERNAL_SERVER_ERROR);
        };
        let mut sessions = self
            .sessions
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        sessions.insert(session, user.to_owned());
        request.with_headers(headers).respond(Response::new(204))
    }

    fn send(&self, request: Request, to: &str, text: &str) -> Answer {
        let inbox = self.hub.topic(format!("inbox/{to}"));
        match inbox.map(|inbox| inbox.publish(&Event::new().data(text))) {
            Ok(Ok(_)) => request.respond(Response::new(204)),
            _ => request.reject(Rejection::UNAVAILABLE),
        }
    }
}

pub(crate) fn serve(listener: TcpListener) -> Result<ServerHandle, BoxError> {
    // A message waits a day for its user; an inbox without any takes no memory.
    let inbox = TopicConfig::from(Retention::events(100).age(Duration::from_secs(24 * 3600)));
    let hub = HubConfig::default()
        .topics("inbox/", inbox)
        .max_topics(100_000);
    let app = App {
        hub: Hub::new(hub),
        sessions: Arc::default(),
    };
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "POST"])?;
    let server = Server::new(Config::default().upgrader(upgrader)).listen(listener);
    Ok(server.serve_with(app, handle))
}

/// The largest body of a request, in bytes.
const MAX_BODY: u64 = 4096;
