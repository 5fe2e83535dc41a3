//! A request that gets a stream.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::body::Body;
use super::inner::{Inner, Registration};
use super::stream_body::{PerClient, Source, StreamBody};
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
        let retry = self.sends_retry.then_some(self.inner.config.retry);
        let retry = retry.map(jittered);
        subscription.encode_opening(retry, &mut self.opening);
        let age = if self.inner.is_draining() {
            Duration::ZERO
        } else {
            self.inner.config.age()
        };
        let ends_at = Instant::now().checked_add(age);
        self.respond(Source::Topic(subscription), ends_at)
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
