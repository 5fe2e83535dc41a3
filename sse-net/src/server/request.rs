//! A request, and the ways to answer it.

use std::any::Any;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use sse_core::{Event, EventId, Head, Rejection, Response, Upgrader};

use super::answer::{Answer, Kind, encode_response};
use crate::config::{AtCapacity, jittered};
use crate::stream::Stream;
use crate::topic::{Start, Topic};
use crate::transport::{Extension, Peer};

/// A request with a valid head, which a [`Handler`](crate::Handler) answers.
///
/// ```
/// use sse_net::{Answer, Rejection, Request, Response, Start, Topic};
///
/// async fn handle(request: Request, feed: &Topic) -> Answer {
///     match (request.path(), request.query()) {
///         ("/feed", None) => request.follow(feed),
///         ("/feed", Some("history")) => request.follow_from(feed, Start::Last(100)),
///         ("/countdown", _) => request.stream(async |mut stream| {
///             for n in (0..3).rev() {
///                 stream.write_str(&n.to_string()).await?;
///             }
///             stream.close().await
///         }),
///         ("/health", _) => request.respond(Response::new(204)),
///         _ => request.reject(Rejection::NOT_FOUND),
///     }
/// }
/// # let _ = handle;
/// ```
#[derive(Debug)]
pub struct Request {
    pub(super) head: Arc<Head>,
    pub(super) peer: Peer,
    pub(super) upgrader: Upgrader,
    pub(super) retry: Duration,
    pub(super) extension: Option<Extension>,
}

impl Request {
    /// Returns the request head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Returns the path of the target, percent-encoded; see [`Head::path`].
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// Returns the query of the target, percent-encoded; see [`Head::query`].
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// Returns the first header of this name; see [`Head::header`].
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    /// Returns the client's last event ID; see [`Head::last_event_id`].
    #[must_use]
    pub fn last_event_id(&self) -> Option<EventId<'_>> {
        self.head.last_event_id()
    }

    /// Returns the address of the peer, which behind a proxy is the proxy's.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns what the listener attached to the connection, if that is a `T`.
    ///
    /// See [`Transport::with_extension`](crate::Transport::with_extension).
    #[must_use]
    pub fn extension<T: Any>(&self) -> Option<&T> {
        self.extension.as_ref()?.downcast_ref()
    }

    /// Streams `topic` to the client: it resumes, or starts with the next event.
    pub fn follow(self, topic: &Topic) -> Answer {
        self.follow_from(topic, Start::Live)
    }

    /// Streams `topic` to the client: it resumes, or starts at `start`.
    ///
    /// A client that has missed events, or whose last event ID the topic does not know, gets
    /// the topic's gap event first. It continues with the oldest retained event, or as
    /// [`unknown_id`](crate::TopicConfig::unknown_id) is set. [`Answer::resume`] returns which
    /// case it is.
    ///
    /// If the topic is finished and the client has seen all of it, the response is 204, after
    /// which browsers stop reconnecting.
    pub fn follow_from(self, topic: &Topic, start: Start) -> Answer {
        let accepting = match self.upgrader.accept(&self.head) {
            Ok(accepting) => accepting,
            Err(rejection) => return self.answer(rejection),
        };
        let asked = self.last_event_id();
        let located = topic.locate(asked.as_ref(), start);
        if located.is_over {
            return self.answer(Response::new(204));
        }
        let mut opening = match self.response_head(accepting) {
            Ok(head) => head,
            Err(answer) => return answer,
        };
        located.encode_opening(topic, jittered(self.retry), &mut opening);
        Answer::new(Kind::Follow {
            topic: topic.clone(),
            resume: located.resume,
            cursor: located.cursor,
            opening,
        })
    }

    /// Streams events to this client only, such as tokens of a model, with back-pressure.
    ///
    /// The future of `write` writes the stream, which ends when the future resolves; an error
    /// ends this stream only. See [`Stream`] for an example.
    ///
    /// The future is dropped at its next `await` when the client disconnects, and heartbeats
    /// are sent while it waits. A call returns when at most 16 KiB are pending. During a
    /// [drain](crate::ServerHandle::drain), the stream continues until the end of the window.
    pub fn stream<F>(self, write: impl FnOnce(Stream) -> F + Send + 'static) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.write(write, false)
    }

    /// Like [`stream`](Self::stream), but the future continues when the client disconnects.
    ///
    /// It runs in a separate task, for work that must be completed in any case. After the
    /// disconnect, [`Stream::closed`] returns and calls of the stream fail with
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe).
    pub fn stream_detached<F>(self, write: impl FnOnce(Stream) -> F + Send + 'static) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.write(write, true)
    }

    /// Sends a response that is not a stream.
    pub fn respond(self, response: impl Into<Response>) -> Answer {
        self.answer(response)
    }

    /// Refuses the request.
    pub fn reject(self, rejection: Rejection) -> Answer {
        self.answer(rejection)
    }

    /// Answers an `OPTIONS` request.
    pub(super) fn answer_options(self) -> Answer {
        match self.upgrader.answer_options(&self.head) {
            Some(response) => self.answer(response),
            None => self.answer(Rejection::METHOD_NOT_ALLOWED),
        }
    }

    /// Answers a request beyond the limit of connections.
    pub(super) fn refuse(self, at_capacity: AtCapacity) -> Answer {
        match at_capacity {
            AtCapacity::Refuse => self.answer(Rejection::UNAVAILABLE),
            AtCapacity::RetryLater => match self.accept() {
                Ok(opening) => Answer::new(Kind::Respond(opening)),
                Err(answer) => answer,
            },
        }
    }

    fn write<F>(self, write: impl FnOnce(Stream) -> F + Send + 'static, is_detached: bool) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        match self.accept() {
            Ok(opening) => Answer::new(Kind::Stream {
                opening,
                write: Box::new(|stream| Box::pin(write(stream))),
                is_detached,
            }),
            Err(answer) => answer,
        }
    }

    /// Returns the bytes before the first event of a per-client stream, or an answer to a
    /// request that cannot have a stream.
    fn accept(&self) -> Result<Vec<u8>, Answer> {
        let accepting = match self.upgrader.accept(&self.head) {
            Ok(accepting) => accepting,
            Err(rejection) => return Err(self.answer(rejection)),
        };
        let mut bytes = self.response_head(accepting)?;
        Event::new().retry(jittered(self.retry)).encode(&mut bytes);
        Ok(bytes)
    }

    /// Returns the response head of a stream, or the answer to a `HEAD` request.
    fn response_head(&self, accepting: Response) -> Result<Vec<u8>, Answer> {
        if self.head.method() == "HEAD" {
            return Err(self.answer(accepting));
        }
        Ok(encode_response(&self.upgrader, accepting, Some(&self.head)))
    }

    fn answer(&self, response: impl Into<Response>) -> Answer {
        let bytes = encode_response(&self.upgrader, response, Some(&self.head));
        Answer::new(Kind::Respond(bytes))
    }
}
