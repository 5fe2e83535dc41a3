//! Checks requests, and admits those that get a stream.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use sse_core::{Head, Rejection, Response};

use super::accepted::Accepted;
use super::body::Body;
use super::request::RequestHead;
use super::responder::Responder;
use crate::topic::Subscription;

#[expect(
    clippy::result_large_err,
    reason = "the error is the response, which the caller returns as it is"
)]
impl Responder {
    /// Checks the request head, and returns the response if it is not to be served.
    pub(super) fn check_head(
        &self,
        request: &impl RequestHead,
    ) -> Result<Head, http::Response<Body>> {
        let head = request
            .head()
            .map_err(|rejection| self.reply(rejection, request.method_and_origin().as_ref()))?;
        let upgrader = &self.inner.config.upgrader;
        let checked = upgrader.check_source(&head);
        checked.map_err(|rejection| self.reply(rejection, Some(&head)))?;
        match upgrader.answer_options(&head) {
            Some(response) => Err(self.reply(response, Some(&head))),
            None => Ok(head),
        }
    }

    /// Responds with a subscription, or 204 if there is nothing left to follow.
    pub(super) fn follow_after(
        &self,
        head: &Head,
        subscribe: impl FnOnce(&Head) -> Subscription,
    ) -> Result<http::Response<Body>, http::Response<Body>> {
        self.accept_head(head)?;
        let subscription = subscribe(head);
        if subscription.is_over() {
            return Ok(self.reply(Response::new(204), Some(head)));
        }
        Ok(self.accept(head)?.follow(subscription))
    }

    /// Takes a permit for a stream.
    pub(super) fn accept(&self, head: &Head) -> Result<Accepted, http::Response<Body>> {
        let config = &self.inner.config;
        let permit = self.inner.limit.admit(None);
        if permit.is_none() {
            self.inner.stats.add_refused();
            if !config.at_capacity.has_stream_for(head.method()) {
                return Err(self.reply(Rejection::UNAVAILABLE, Some(head)));
            }
        }
        let response = self.accept_head(head)?;
        let mut opening = response.body().to_vec();
        if !self.sends_retry {
            opening.clear(); // It has the reconnection time of the upgrader.
        }
        let (parts, _) = self.reply(response, Some(head)).into_parts();
        if head.method() == "HEAD" {
            return Err(http::Response::from_parts(parts, Body::omitted()));
        }
        let Some(permit) = permit else {
            self.inner.append_retry(&mut opening);
            let body = Body::full(opening.into());
            return Err(http::Response::from_parts(parts, body));
        };
        Ok(Accepted {
            inner: Arc::clone(&self.inner),
            parts,
            opening,
            permit,
            sends_retry: self.sends_retry,
        })
    }

    fn accept_head(&self, head: &Head) -> Result<Response, http::Response<Body>> {
        let upgrader = &self.inner.config.upgrader;
        let accepted = if self.is_accept_ignored {
            upgrader.accept_any(head)
        } else {
            upgrader.accept(head)
        };
        accepted.map_err(|rejection| self.reply(rejection, Some(head)))
    }

    /// Converts a response, without `Date` and `Connection`, which the HTTP server adds.
    pub(super) fn reply(
        &self,
        response: impl Into<Response>,
        head: Option<&Head>,
    ) -> http::Response<Body> {
        let response = response.into().with_headers(self.headers.clone());
        let reply = self.inner.config.upgrader.reply(response, head, None);
        // hyper leaves out the body of a HEAD over HTTP/1 only; over HTTP/2, clients fail at it.
        let body = match reply.is_head_only() {
            true => Bytes::new(),
            false => reply.body().clone(),
        };
        let mut response = http::Response::new(Body::full(body));
        if reply.is_head_only() && !reply.body().is_empty() {
            let length = HeaderValue::from(reply.body().len());
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
        *response.status_mut() = StatusCode::from_u16(reply.status()).unwrap_or_default();
        for (name, value) in reply.headers() {
            // Both have been checked already, by the same rules.
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::try_from(value))
            {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}
