//! From path to answer.

use std::collections::HashMap;

use bytes::Bytes;
use sse_core::{Rejection, Response};

use super::request::{Answer, Request};
use crate::server::Handler;
use crate::topic::{Start, Topic};

/// The simplest [`Handler`]: a map from path to topic or page. Whatever else is asked for is
/// answered with 404.
///
/// A path is compared as it is sent, percent-encoding and all, without the query. Given twice,
/// the later counts. Whatever asks for a decision of one's own is a function of
/// [`Request`] instead.
///
/// ```
/// use sse_core::{Response, Retention};
/// use sse_net::{Routes, Start, Topic};
///
/// let ticks = Topic::new(Retention::events(10_000));
/// let routes = Routes::new()
///     .page("/", "<!DOCTYPE html><title>Ticks</title>")
///     .topic("/ticks", &ticks)
///     .topic_from("/history", &ticks, Start::Last(100))
///     .response("/old", Response::new(308).header("Location", "/ticks")?);
/// # let _ = routes;
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Debug, Default)]
pub struct Routes(HashMap<String, Route>);

#[derive(Debug)]
enum Route {
    Topic(Topic, Start),
    Response(Response),
}

impl Routes {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Who asks for `path` follows `topic`: from where it left off, or else from now on.
    #[must_use]
    pub fn topic(self, path: &str, topic: &Topic) -> Self {
        self.topic_from(path, topic, Start::Live)
    }

    /// Who asks for `path` follows `topic`: from where it left off, or else from `start`.
    #[must_use]
    pub fn topic_from(self, path: &str, topic: &Topic, start: Start) -> Self {
        self.route(path, Route::Topic(topic.clone(), start))
    }

    /// Who asks for `path` gets this HTML.
    #[must_use]
    pub fn page(self, path: &str, html: impl Into<Bytes>) -> Self {
        let page = Response::new(200).with_body("text/html; charset=utf-8", html);
        self.response(path, page)
    }

    /// Who asks for `path` gets this answer: JSON, a redirect.
    #[must_use]
    pub fn response(self, path: &str, response: Response) -> Self {
        self.route(path, Route::Response(response))
    }

    fn route(mut self, path: &str, route: Route) -> Self {
        self.0.insert(path.to_owned(), route);
        self
    }
}

impl Handler for Routes {
    async fn handle(&self, request: Request) -> Answer {
        match self.0.get(request.path()) {
            Some(Route::Topic(topic, start)) => request.follow_from(topic, *start),
            Some(Route::Response(response)) => request.respond(response.clone()),
            None => request.reject(Rejection::NOT_FOUND),
        }
    }
}
