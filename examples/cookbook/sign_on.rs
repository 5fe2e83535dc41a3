//! A sign-on that expires: its streams end with it, and so does one that is revoked.
//!
//! ```text
//! curl -N http://127.0.0.1:31344/sse -H 'Authorization: Bearer three-seconds'
//! curl -X DELETE http://127.0.0.1:31344/sessions     ends all streams at once
//! ```
//!
//! The browser reconnects at the end, with its cookie as it is then. If that has been renewed,
//! the stream resumes and nothing is missing; otherwise the response is 401, after which the
//! browser gives up. The page:
//!
//! ```js
//! events.addEventListener("error", () => {
//!   if (events.readyState === EventSource.CLOSED) location = "/login";
//! });
//! ```

use std::time::{Duration, SystemTime};

use sse_net::{
    Answer, Config, Rejection, Request, Response, Retention, Server, ServerHandle, Topic, Upgrader,
};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::{BoxError, publish_ticks};

#[derive(Clone)]
struct App {
    feed: Topic,
    began: SystemTime,
    /// The number of times at which all sessions have been revoked.
    revoked: watch::Sender<u64>,
}

impl App {
    /// Returns when the session of the request expires. A real server verifies a signature.
    fn expiry(&self, request: &Request) -> Option<SystemTime> {
        let token = request
            .header_text("authorization")?
            .strip_prefix("Bearer ")?;
        let expires_at = match token {
            "three-seconds" => self.began + Duration::from_secs(3),
            "an-hour" => self.began + Duration::from_secs(3600),
            _ => return None,
        };
        (expires_at > SystemTime::now()).then_some(expires_at)
    }
}

async fn handle(app: App, request: Request) -> Answer {
    if request.method() == "DELETE" {
        app.revoked.send_modify(|count| *count += 1);
        return request.respond(Response::new(204));
    }
    let Some(expires_at) = app.expiry(&request) else {
        return request.reject(Rejection::UNAUTHORIZED);
    };
    let mut revoked = app.revoked.subscribe();
    request
        .follow(&app.feed)
        .until(expires_at) // costs nothing
        .until(async move { drop(revoked.changed().await) })
}

pub(crate) fn serve(listener: TcpListener) -> Result<ServerHandle, BoxError> {
    let app = App {
        feed: Topic::new(Retention::events(1000)),
        began: SystemTime::now(),
        revoked: watch::Sender::new(0),
    };
    tokio::spawn(publish_ticks(app.feed.clone()));
    let upgrader = Upgrader::new().allow_methods(["GET", "HEAD", "DELETE"])?;
    let server = Server::new(Config::default().upgrader(upgrader)).listen(listener);
    Ok(server.serve_with(app, handle))
}
