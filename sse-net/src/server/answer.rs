//! The answer of a handler.

use std::fmt;
use std::pin::Pin;
use std::time::SystemTime;

use sse_core::{Head, Response, Resume, Upgrader};
use tokio::time::Instant;

use super::per_client::Writing;
use crate::shard::Follow;
use crate::stats::Disconnect;
use crate::transport::on_end::OnEnd;
use crate::transport::until::Until;

/// The answer of a handler: a stream or a response.
#[must_use = "a handler returns its answer"]
pub struct Answer {
    pub(super) kind: Kind,
    pub(super) on_end: OnEnd,
    /// When the stream ends at the latest.
    pub(super) expires_at: Option<Instant>,
}

pub(super) enum Kind {
    Follow {
        follows: Follow,
        resume: Resume,
        opening: Vec<u8>,
        sends_retry: bool,
    },
    Stream(Writing),
    Respond(Vec<u8>),
    /// The client is to follow topics that wait for an engine.
    Waiting(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

impl Answer {
    /// Returns how the client resumes, if it follows a topic.
    ///
    /// Of several topics, it is the worst case. `None` also if the answer waits for an engine
    /// first; see [`ready`](Self::ready). After [`Resume::Gap`] and [`Resume::Unknown`] the client
    /// gets the gap event. Both are counted in a [`Snapshot`](crate::Snapshot).
    #[must_use]
    pub const fn resume(&self) -> Option<Resume> {
        match &self.kind {
            Kind::Follow { resume, .. } => Some(*resume),
            _ => None,
        }
    }

    /// Adds a hook, called once at the end of the stream or after the response.
    ///
    /// It is also called when the server stops and when the answer is dropped. A shard that
    /// drives thousands of streams calls it, so it must be short: count, or send to a channel.
    /// A hook costs two allocations; without one, eight bytes per connection.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use sse_net::{Answer, Request, Topic};
    ///
    /// fn follow(request: Request, room: &Topic, clients: &Arc<AtomicUsize>) -> Answer {
    ///     let clients = Arc::clone(clients);
    ///     clients.fetch_add(1, Ordering::Relaxed);
    ///     request.follow(room).on_end(move |reason| {
    ///         clients.fetch_sub(1, Ordering::Relaxed);
    ///         println!("a client has disconnected: {reason:?}");
    ///     })
    /// }
    /// # let _ = follow;
    /// ```
    pub fn on_end(mut self, hook: impl FnOnce(Disconnect) + Send + 'static) -> Self {
        self.on_end.add(hook);
        self
    }

    /// Ends the stream at a time, or when a future resolves: for example when a token expires.
    ///
    /// The stream ends after a whole event, with a jittered reconnection time and the reason
    /// [`Disconnect::Expired`]. Of several ends the earliest counts. A response that is not a
    /// stream is not affected.
    ///
    /// A time is exact to 250 ms and costs nothing. It is converted to a duration when this is
    /// called: if the clock is set later, the stream does not notice. A time that has passed
    /// ends the stream after its first block. A future costs three allocations; it is polled by
    /// the task that drives the stream, so it must not block. It is dropped with the stream.
    ///
    /// ```
    /// use std::time::SystemTime;
    /// use sse_net::{Answer, Request, Topic};
    /// use tokio::sync::watch;
    ///
    /// struct Session {
    ///     expires_at: SystemTime,
    ///     is_revoked: watch::Receiver<bool>,
    /// }
    ///
    /// fn follow(request: Request, inbox: &Topic, session: Session) -> Answer {
    ///     let mut is_revoked = session.is_revoked;
    ///     request
    ///         .follow(inbox)
    ///         .until(session.expires_at)
    ///         .until(async move { _ = is_revoked.wait_for(|revoked| *revoked).await })
    /// }
    /// # let _ = follow;
    /// ```
    pub fn until<Kind>(mut self, end: impl Until<Kind>) -> Self {
        let (at, signal) = end.into_end();
        self.expires_at = self.expires_at.into_iter().chain(at).min();
        if let Some(signal) = signal {
            self.on_end.add_signal(signal);
        }
        self
    }

    /// Waits until the topics' engine can serve the client, if they have one.
    ///
    /// The server does this itself after the handler; call it to know [`resume`](Self::resume)
    /// in the handler. Returns at once unless the node uses a topic first, or has not heard of
    /// the client's last event ID. Waits at most for `Engine::max_wait`; after that, the answer is
    /// a stream that ends at once with a reconnection time.
    pub async fn ready(mut self) -> Self {
        if let Kind::Waiting(waiting) = self.kind {
            let answer = waiting.await;
            answer.on_end.cancel(); // The stream's end is reported to this answer's hooks.
            self.kind = answer.kind;
        }
        self
    }

    pub(super) fn new(kind: Kind) -> Self {
        Self {
            on_end: match &kind {
                Kind::Respond(_) => OnEnd::none(),
                _ => OnEnd::traced(),
            },
            kind,
            expires_at: None,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Follow { .. } => "Answer::Follow",
            Kind::Stream(_) => "Answer::Stream",
            Kind::Respond(_) => "Answer::Respond",
            Kind::Waiting(_) => "Answer::Waiting",
        })
    }
}

/// Returns the wire form of a response, with the current date.
pub(super) fn encode_response(
    upgrader: &Upgrader,
    response: impl Into<Response>,
    head: Option<&Head>,
) -> Vec<u8> {
    let now = Some(SystemTime::now());
    upgrader.reply(response, head, now).encode()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn an_answer_that_has_waited_does_not_end_the_one_that_it_waited_for() {
        let has_ended = Arc::new(AtomicBool::new(false));
        let hook = Arc::clone(&has_ended);
        let awaited = Answer::new(Kind::Respond(Vec::new()));
        let awaited = awaited.on_end(move |_| hook.store(true, Ordering::Relaxed));
        let waiting = Answer::new(Kind::Waiting(Box::pin(async { awaited })));
        assert!(matches!(waiting.ready().await.kind, Kind::Respond(_)));
        assert!(!has_ended.load(Ordering::Relaxed));
    }
}
