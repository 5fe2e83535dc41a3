//! The decisions of an upgrader about a request head, without I/O.

use std::time::SystemTime;

use super::Upgrader;
use super::methods::is_safe;
use super::settings::Origins;
use crate::http::body::Framing;
use crate::http::head::Head;
use crate::http::response::{Headers, Rejection, Reply, Response};

impl Upgrader {
    /// Returns `response` as it is written to the client that sent `head`.
    ///
    /// This adds CORS headers, `Connection: close`, and `Date` if `now` is given. A 204 to `GET` or
    /// `HEAD` ends the stream of one client, so it gets `Cache-Control: no-store` by default. The
    /// body is left out for `HEAD`. Every response has to pass through here. For a head that could
    /// not be read, pass [`HeadReader::refused`](crate::HeadReader::refused).
    #[must_use]
    pub fn reply(
        &self,
        response: impl Into<Response>,
        head: Option<&Head>,
        now: Option<SystemTime>,
    ) -> Reply {
        let mut response = response.into();
        // Caches may store a 204 by default (RFC 9110, 15.1), which would end others' streams.
        if response.status() == 204 && head.is_some_and(is_get_or_head) {
            response
                .headers_mut()
                .add_default("Cache-Control", "no-store");
        }
        Reply {
            cors: self.0.cors(head, response.headers_mut()),
            response,
            date: now,
            is_head_only: head.is_some_and(|head| head.method_bytes() == b"HEAD"),
        }
    }

    /// Checks whether the server can serve `head` at all.
    ///
    /// # Errors
    ///
    /// 405 for a method that is not [allowed](Self::allow_methods), 413 for `GET`, `HEAD` or
    /// `OPTIONS` with a body, 417 for an unknown expectation; and as
    /// [`check_source`](Self::check_source).
    ///
    /// A chunked body is allowed with every method, because some proxies send an empty one with
    /// every request. With `GET` its content has no meaning (RFC 9110, 9.3.1) and is dropped.
    /// Nothing depends on where it ends, because the connection ends with the response
    /// (RFC 9112, 9.6).
    pub fn check(&self, head: &Head) -> Result<(), Rejection> {
        let method = head.method_bytes();
        if method != b"OPTIONS" {
            self.0.methods.check(method)?;
        }
        if is_safe(method) && matches!(head.framing(), Framing::Length(1..)) {
            return Err(Rejection::CONTENT_TOO_LARGE);
        }
        if head.has_unknown_expectation() {
            return Err(Rejection::EXPECTATION_FAILED);
        }
        self.check_source(head)
    }

    /// Checks the host of `head` and, unless its method is safe, the origin.
    ///
    /// It is for an HTTP server that has read the head and judges method and body itself.
    ///
    /// # Errors
    ///
    /// 421 for a host that is not allowed, and 403 for an origin that may not send a request
    /// with a method other than `GET`, `HEAD` and `OPTIONS`.
    pub fn check_source(&self, head: &Head) -> Result<(), Rejection> {
        if !self.0.is_allowed_host(head) {
            return Err(Rejection::MISDIRECTED_REQUEST);
        }
        if !is_safe(head.method_bytes()) {
            self.0.check_sender(head)?;
        }
        Ok(())
    }

    /// Returns the response to an `OPTIONS` request, or `None` for other methods.
    ///
    /// CORS preflights are `OPTIONS` requests.
    #[must_use]
    pub fn answer_options(&self, head: &Head) -> Option<Response> {
        if head.method_bytes() != b"OPTIONS" {
            return None;
        }
        if let Err(rejection) = self.0.check_origin(head) {
            return Some(rejection.into_response());
        }
        let methods = &self.0.methods;
        let mut headers = Headers::new();
        headers.add("Allow", &methods.allow());
        let is_preflight = head.header("access-control-request-method").is_some();
        if is_preflight && !matches!(self.0.origins, Origins::Unchecked) {
            headers.add("Access-Control-Allow-Methods", &methods.list());
            headers.add("Access-Control-Max-Age", "7200");
            if let Some(names) = head.header("access-control-request-headers") {
                headers.add(
                    "Access-Control-Allow-Headers",
                    &String::from_utf8_lossy(names),
                );
            }
        }
        Some(Response::new(204).with_headers(headers))
    }

    /// Returns the response that accepts `head`, which has been [checked](Self::check).
    ///
    /// Its body is only the beginning of the stream: the reconnection time, if one is set.
    ///
    /// # Errors
    ///
    /// 406 where `Accept` excludes `text/event-stream`, 403 for an origin that is not allowed.
    pub fn accept(&self, head: &Head) -> Result<Response, Rejection> {
        if !head.accepts_event_stream() {
            return Err(Rejection::NOT_ACCEPTABLE);
        }
        self.accept_any(head)
    }

    /// Like [`accept`](Self::accept), whatever `Accept` says.
    ///
    /// Clients of model endpoints ask for `application/json` and expect events.
    ///
    /// # Errors
    ///
    /// 403 for an origin that is not allowed.
    pub fn accept_any(&self, head: &Head) -> Result<Response, Rejection> {
        self.0.check_origin(head)?;
        Ok(self.0.accepting.clone())
    }
}

fn is_get_or_head(head: &Head) -> bool {
    matches!(head.method_bytes(), b"GET" | b"HEAD")
}
