//! A request that gets a stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::body::Body;
use super::inner::{Inner, Registration};
use super::stream_body::{Awaited, PerClient, Source, StreamBody, Subscribing};
use crate::config::jittered;
use crate::topic::Subscription;
use crate::transport::limit::Permit;

/// A request that gets a stream.
pub(super) struct Accepted {
    pub(super) inner: Arc<Inner>,
    pub(super) parts: http::response::Parts,
    /// The bytes before the first event.
    pub(super) opening: Vec<u8>,
    pub(super) permit: Permit,
    pub(super) sends_retry: bool,
}

impl Accepted {
    /// Responds with a subscription.
    pub(super) fn follow(mut self, mut subscription: Subscription) -> http::Response<Body> {
        self.inner.stats.add_resume(subscription.resume());
        let retry = self.retry();
        subscription.encode_opening(retry, &mut self.opening);
        self.follow_source(Source::Topic(subscription))
    }

    /// Responds with a subscription that waits for its engine. Its beginning is sent after that.
    pub(super) fn follow_later(self, subscribing: Subscribing) -> http::Response<Body> {
        let retry = self.retry();
        self.follow_source(Source::Awaited(Awaited { subscribing, retry }))
    }

    fn follow_source(self, source: Source) -> http::Response<Body> {
        let age = if self.inner.is_draining() {
            Duration::ZERO
        } else {
            self.inner.config.age()
        };
        let ends_at = Instant::now().checked_add(age);
        self.respond(source, ends_at)
    }

    fn retry(&self) -> Option<Duration> {
        let retry = self.sends_retry.then_some(self.inner.config.retry);
        retry.map(jittered)
    }

    /// Responds with a per-client stream.
    pub(super) fn write(mut self, stream: PerClient) -> http::Response<Body> {
        if self.sends_retry {
            self.inner.append_retry(&mut self.opening);
        }
        self.respond(Source::PerClient(stream), None)
    }

    fn respond(self, source: Source, ends_at: Option<Instant>) -> http::Response<Body> {
        let registration = Registration::new(self.inner, self.permit, self.sends_retry);
        let stream = StreamBody::new(registration, source, self.opening, ends_at);
        http::Response::from_parts(self.parts, Body::stream(stream))
    }
}
