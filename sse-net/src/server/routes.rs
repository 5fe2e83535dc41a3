//! A map from paths to topics and responses.

use std::collections::HashMap;

use bytes::Bytes;
use sse_core::{Rejection, Response};

use super::answer::Answer;
use super::handler::Handler;
use super::request::Request;
use crate::topic::{Start, Topic};

/// A [`Handler`] that maps paths to topics, pages and responses.
///
/// It serves `GET` and `HEAD`; other methods are answered with 405, even if the upgrader allows
/// them.
///
/// Any other path is answered with 404. Paths are compared as they are sent, percent-encoded
/// and without the query. A later route replaces an earlier one with the same path. For
/// anything that depends on more than the path, write a function of [`Request`] instead.
///
/// ```
/// use sse_net::{Response, Retention, Routes, Start, Topic};
///
/// let ticks = Topic::new(Retention::events(10_000));
/// let routes = Routes::new()
///     .page("/", "<!DOCTYPE html><title>Ticks</title>")
///     .topic("/ticks", &ticks)
///     .topic_from("/history", &ticks, Start::Last(100))
///     .response("/old", Response::new(308).header("Location", "/ticks")?);
/// # let _ = routes;
/// # Ok::<(), sse_net::FieldError>(())
/// ```
#[derive(Debug, Default)]
pub struct Routes(HashMap<String, Route>);

#[derive(Debug)]
enum Route {
    Topic(Topic, Start),
    Response(Response),
}

impl Routes {
    /// Creates a map without routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Streams `topic` at `path` to clients, which resume or start where
    /// [`TopicConfig::start`](crate::TopicConfig::start) says.
    ///
    /// # Panics
    ///
    /// If no request has the path: it does not begin with `/`, has a query, or is not
    /// percent-encoded.
    #[must_use]
    #[track_caller]
    pub fn topic(self, path: &str, topic: &Topic) -> Self {
        self.topic_from(path, topic, topic.start())
    }

    /// Streams `topic` at `path` to clients, which resume or start at `start`.
    ///
    /// # Panics
    ///
    /// As [`topic`](Self::topic).
    #[must_use]
    #[track_caller]
    pub fn topic_from(self, path: &str, topic: &Topic, start: Start) -> Self {
        self.route(path, Route::Topic(topic.clone(), start))
    }

    /// Serves this HTML at `path`.
    ///
    /// # Panics
    ///
    /// As [`topic`](Self::topic).
    #[must_use]
    #[track_caller]
    pub fn page(self, path: &str, html: impl Into<Bytes>) -> Self {
        let page = Response::new(200).with_body("text/html; charset=utf-8", html);
        self.response(path, page)
    }

    /// Serves this response at `path`, such as JSON or a redirect.
    ///
    /// # Panics
    ///
    /// As [`topic`](Self::topic).
    #[must_use]
    #[track_caller]
    pub fn response(self, path: &str, response: Response) -> Self {
        self.route(path, Route::Response(response))
    }

    #[track_caller]
    fn route(mut self, path: &str, route: Route) -> Self {
        let is_in_path = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#');
        assert!(
            path.starts_with('/') && path.bytes().all(is_in_path),
            "no request has the path {path:?}; write it from its first / on, percent-encoded and \
             without a query"
        );
        self.0.insert(path.to_owned(), route);
        self
    }
}

impl Handler for Routes {
    async fn handle(&self, request: Request) -> Answer {
        if !matches!(request.method(), "GET" | "HEAD") {
            return request.reject(Rejection::METHOD_NOT_ALLOWED);
        }
        match self.0.get(request.path()) {
            Some(Route::Topic(topic, start)) => request.follow_from(topic, *start),
            Some(Route::Response(response)) => request.respond(response.clone()),
            None => request.reject(Rejection::NOT_FOUND),
        }
    }
}
