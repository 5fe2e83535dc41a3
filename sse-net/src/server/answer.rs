//! The answer of a handler.

use std::fmt;
use std::time::SystemTime;

use sse_core::{Head, Response, Resume, Upgrader};

use super::per_client::Write;
use crate::shard::Follow;
use crate::stats::Disconnect;
use crate::transport::on_end::OnEnd;

/// The answer of a handler: a stream or a response.
#[must_use = "a handler returns its answer"]
pub struct Answer {
    pub(super) kind: Kind,
    pub(super) on_end: OnEnd,
}

pub(super) enum Kind {
    Follow {
        follows: Follow,
        resume: Resume,
        opening: Vec<u8>,
    },
    Stream {
        opening: Vec<u8>,
        write: Write,
        is_detached: bool,
    },
    Respond(Vec<u8>),
}

impl Answer {
    /// Returns how the client resumes, if it follows a topic; of several topics the worst case.
    ///
    /// After [`Resume::Gap`] and [`Resume::Unknown`] the client gets the gap event. Both are
    /// counted in a [`Snapshot`](crate::Snapshot).
    #[must_use]
    pub const fn resume(&self) -> Option<Resume> {
        match &self.kind {
            Kind::Follow { resume, .. } => Some(*resume),
            _ => None,
        }
    }

    /// Adds a hook that is called once, at the end of the stream or after the response.
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

    pub(super) fn new(kind: Kind) -> Self {
        Self {
            on_end: match &kind {
                Kind::Respond(_) => OnEnd::none(),
                _ => OnEnd::traced(),
            },
            kind,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Follow { .. } => "Answer::Follow",
            Kind::Stream { .. } => "Answer::Stream",
            Kind::Respond(_) => "Answer::Respond",
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
