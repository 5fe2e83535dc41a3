//! The body of a response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{fmt, io, mem};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::stream_body::{Source, StreamBody};
use crate::stats::Disconnect;
use crate::transport::Until;

/// The body of a response that a [`Responder`](crate::Responder) returns.
///
/// One that follows a topic is a cursor: events wait in the topic's log until the HTTP server
/// asks for them. A data frame is a slice of that log, up to 64 KiB or one longer event: shared,
/// or copied if it is the newest. The body itself sends heartbeats and ends at the maximum age
/// or in a drain, always between two events.
///
/// An HTTP server drops the body when the client disconnects. The body has to be polled on a Tokio
/// runtime with timers.
pub struct Body(Content);

enum Content {
    Full(Bytes),
    /// That of a `HEAD` response to a request for a stream: of unknown length.
    Omitted,
    Stream(Box<StreamBody>),
}

impl Body {
    /// Calls `hook` once when the stream has ended, with the reason.
    ///
    /// It is not called if the response is not a stream. The task that polls the body calls it,
    /// so it has to be short: count, or send to a channel.
    ///
    /// ```
    /// # use sse_net::{Responder, Topic};
    /// # fn follow(responder: &Responder, request: &http::Request<()>, room: &Topic) {
    /// let response = responder.follow(request, room);
    /// let response = response.map(|body| body.on_end(|reason| println!("ended: {reason:?}")));
    /// # }
    /// ```
    #[must_use]
    pub fn on_end(mut self, hook: impl FnOnce(Disconnect) + Send + 'static) -> Self {
        if let Content::Stream(stream) = &mut self.0 {
            stream.on_end(hook);
        }
        self
    }

    /// Ends the stream at a time, or when a future resolves: for example when a token expires.
    ///
    /// See [`Answer::until`](crate::Answer::until). A body that is not a stream is not affected.
    ///
    /// ```
    /// # use std::time::SystemTime;
    /// # use sse_net::{Responder, Topic};
    /// # fn follow(responder: &Responder, request: &http::Request<()>, inbox: &Topic, expires_at: SystemTime) {
    /// let response = responder.follow(request, inbox);
    /// let response = response.map(|body| body.until(expires_at));
    /// # }
    /// ```
    #[must_use]
    pub fn until<Kind>(mut self, end: impl Until<Kind>) -> Self {
        if let Content::Stream(stream) = &mut self.0 {
            stream.until(end);
        }
        self
    }

    pub(super) const fn omitted() -> Self {
        Self(Content::Omitted)
    }

    pub(super) const fn full(bytes: Bytes) -> Self {
        Self(Content::Full(bytes))
    }

    pub(super) fn stream(stream: StreamBody) -> Self {
        Self(Content::Stream(Box::new(stream)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;

    /// The error of a per-client stream's future; no other body fails.
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match &mut self.0 {
            Content::Full(bytes) => mem::take(bytes),
            Content::Omitted => Bytes::new(),
            Content::Stream(stream) => match ready!(stream.poll_next(cx)) {
                Ok(bytes) => bytes,
                Err(end) => {
                    *self = Self::full(Bytes::new());
                    if let Some(error) = end.error {
                        return Poll::Ready(Some(Err(error)));
                    }
                    end.last
                }
            },
        };
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Content::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Omitted | Content::Stream(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Content::Full(_) => "Body::Full",
            Content::Omitted => "Body::Omitted",
            Content::Stream(stream) => match stream.source() {
                Source::Topic(_) => "Body::Topic",
                Source::PerClient(_) => "Body::PerClient",
                Source::Awaited(_) => "Body::Awaited",
            },
        })
    }
}
