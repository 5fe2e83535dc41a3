//! A request that awaits a decision, and the decision.

use std::any::Any;
use std::sync::Arc;
use std::time::SystemTime;
use std::{fmt, io};

use sse_core::{Cursor, Event, EventId, Head, Rejection, Response, Resume, Upgrader};

use super::per_client::Write;
use super::unwind::catch;
use crate::config::{AtCapacity, jittered};
use crate::stats::Disconnect;
use crate::stream::Stream;
use crate::topic::{Start, Topic};
use crate::transport::Extension;
use crate::transport::Peer;

/// A request whose head has been read and checked, and which awaits a decision.
#[derive(Debug)]
pub struct Request {
    pub(crate) head: Arc<Head>,
    pub(crate) peer: Peer,
    pub(crate) upgrader: Upgrader,
    pub(crate) retry: std::time::Duration,
    pub(crate) extension: Option<Extension>,
}

impl Request {
    /// The request head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The target's path, still percent-encoded; see [`Head::path`].
    #[must_use]
    pub fn path(&self) -> &str {
        self.head.path()
    }

    /// The target's query, still percent-encoded; see [`Head::query`].
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.head.query()
    }

    /// The first header of that name; see [`Head::header`].
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.head.header(name)
    }

    /// The last event ID that the client has seen; see [`Head::last_event_id`].
    #[must_use]
    pub fn last_event_id(&self) -> Option<EventId<'_>> {
        self.head.last_event_id()
    }

    /// Who asks.
    #[must_use]
    pub const fn peer(&self) -> Peer {
        self.peer
    }

    /// What the listener tells about the connection, if that is a `T`; see
    /// [`Transport::with_extension`](crate::Transport::with_extension).
    #[must_use]
    pub fn extension<T: Any>(&self) -> Option<&T> {
        self.extension.as_ref()?.downcast_ref()
    }

    /// Lets the client follow `topic`: from where it left off, or else from now on.
    pub fn follow(self, topic: &Topic) -> Answer {
        self.follow_from(topic, Start::Live)
    }

    /// Lets the client follow `topic`: from where it left off, or else from `start`.
    ///
    /// A client that has missed events, or whose last event ID the topic does not know, is
    /// told so with the topic's gap event, and gets everything that is kept, or what
    /// [`unknown_id`](crate::TopicConfig::unknown_id) says. [`Answer::resume`] tells the
    /// program.
    ///
    /// When there is nothing to follow any more, because the topic has been finished and the
    /// client has seen it all, the answer is 204, on which browsers stop reconnecting.
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
        Answer::new(Decision::Follow {
            topic: topic.clone(),
            resume: located.resume,
            cursor: located.cursor,
            opening,
        })
    }

    /// Gives the client a stream of its own, written by the future of `write` with
    /// back-pressure: what is for one client only, such as tokens of a model. The stream ends
    /// when the future does, and an error is the stream's alone. See [`Stream`] for an example.
    ///
    /// The future is dropped wherever it waits once the client has gone, and heartbeats are
    /// sent while it waits. A call returns when no more than 16 KiB wait for the connection. A
    /// [drain](crate::ServerHandle::drain) lets the stream go on until the end of its window.
    pub fn stream<F>(self, write: impl FnOnce(Stream) -> F + Send + 'static) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.write(write, false)
    }

    /// As [`stream`](Self::stream), but the future goes on as a task of its own when the client
    /// has gone: for work that is to be done in any case.
    ///
    /// From then on [`Stream::closed`] returns and calls of the stream fail with
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe).
    pub fn stream_detached<F>(self, write: impl FnOnce(Stream) -> F + Send + 'static) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        self.write(write, true)
    }

    /// Answers with something else than a stream.
    pub fn respond(self, response: impl Into<Response>) -> Answer {
        self.answer(response)
    }

    /// Refuses.
    pub fn reject(self, rejection: Rejection) -> Answer {
        self.answer(rejection)
    }

    /// The answer to an `OPTIONS` request.
    pub(crate) fn options(self) -> Answer {
        match self.upgrader.answer_options(&self.head) {
            Some(response) => self.answer(response),
            None => self.answer(Rejection::METHOD_NOT_ALLOWED),
        }
    }

    /// The answer where there is no room.
    pub(crate) fn turn_away(self, at_capacity: AtCapacity) -> Answer {
        match at_capacity {
            AtCapacity::Refuse => self.answer(Rejection::UNAVAILABLE),
            AtCapacity::RetryLater => match self.accept() {
                Ok(preface) => Answer::new(Decision::Respond(preface)),
                Err(answer) => answer,
            },
        }
    }

    fn write<F>(self, write: impl FnOnce(Stream) -> F + Send + 'static, is_detached: bool) -> Answer
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        match self.accept() {
            Ok(preface) => Answer::new(Decision::Stream {
                preface,
                write: Box::new(|stream| Box::pin(write(stream))),
                is_detached,
            }),
            Err(answer) => answer,
        }
    }

    /// What precedes the events of a per-client stream, or the answer to a request for
    /// something else.
    fn accept(&self) -> Result<Vec<u8>, Answer> {
        let accepting = match self.upgrader.accept(&self.head) {
            Ok(accepting) => accepting,
            Err(rejection) => return Err(self.answer(rejection)),
        };
        let mut bytes = self.response_head(accepting)?;
        Event::new().retry(jittered(self.retry)).encode(&mut bytes);
        Ok(bytes)
    }

    /// The head of a stream's response, or the answer to a request for the head only.
    fn response_head(&self, accepting: Response) -> Result<Vec<u8>, Answer> {
        if self.head.method() == "HEAD" {
            return Err(self.answer(accepting));
        }
        Ok(reply(&self.upgrader, accepting, Some(&self.head)))
    }

    fn answer(&self, response: impl Into<Response>) -> Answer {
        let bytes = reply(&self.upgrader, response, Some(&self.head));
        Answer::new(Decision::Respond(bytes))
    }
}

/// The wire form of a response, with the time that it is now.
pub(crate) fn reply(
    upgrader: &Upgrader,
    response: impl Into<Response>,
    head: Option<&Head>,
) -> Vec<u8> {
    let now = Some(SystemTime::now());
    upgrader.reply(response, head, now).encode()
}

/// What a request gets.
#[must_use = "an answer is given to the server"]
pub struct Answer {
    pub(crate) decision: Decision,
    pub(crate) on_end: OnEnd,
}

pub(crate) enum Decision {
    Follow {
        topic: Topic,
        resume: Resume,
        cursor: Cursor,
        opening: Vec<u8>,
    },
    Stream {
        preface: Vec<u8>,
        write: Write,
        is_detached: bool,
    },
    Respond(Vec<u8>),
}

impl Answer {
    /// What became of the client's last event ID, if it is to follow a topic.
    ///
    /// With [`Resume::Gap`] and [`Resume::Unknown`] the client is told that it has missed
    /// events, and [`Snapshot`](crate::Snapshot) counts it.
    #[must_use]
    pub const fn resume(&self) -> Option<Resume> {
        match &self.decision {
            Decision::Follow { resume, .. } => Some(*resume),
            _ => None,
        }
    }

    /// Calls `hook` once when the client has left or has been left, and why: when the stream
    /// has ended, and for any other answer when it has been given.
    ///
    /// It is called in every case, also when the server stops or the answer is dropped. The
    /// shard that drives thousands of others calls it, so it has to be short: count, or send
    /// to a channel. It costs two allocations; without, a connection costs eight bytes more.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    /// use sse_net::{Answer, Request, Topic};
    ///
    /// fn follow(request: Request, room: &Topic, present: &Arc<AtomicUsize>) -> Answer {
    ///     let present = Arc::clone(present);
    ///     present.fetch_add(1, Ordering::Relaxed);
    ///     request.follow(room).on_end(move |reason| {
    ///         present.fetch_sub(1, Ordering::Relaxed);
    ///         println!("one has left: {reason:?}");
    ///     })
    /// }
    /// # let _ = follow;
    /// ```
    pub fn on_end(mut self, hook: impl FnOnce(Disconnect) + Send + 'static) -> Self {
        self.on_end.add(hook);
        self
    }

    pub(crate) fn new(decision: Decision) -> Self {
        Self {
            on_end: match &decision {
                Decision::Respond(_) => OnEnd(None),
                _ => OnEnd::traced(),
            },
            decision,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.decision {
            Decision::Follow { .. } => "Answer::Follow",
            Decision::Stream { .. } => "Answer::Stream",
            Decision::Respond(_) => "Answer::Respond",
        })
    }
}

/// Who wants to know when a stream ends. Boxed twice to be thin: there may be very many.
pub(crate) struct OnEnd(Option<Box<Hook>>);

type Hook = Box<dyn FnOnce(Disconnect) + Send>;

impl OnEnd {
    #[cfg(feature = "tracing")]
    pub(crate) fn traced() -> Self {
        let mut on_end = Self(None);
        if let Some(ending) = crate::trace::Ending::new() {
            on_end.add(move |reason| ending.tell(reason));
        }
        on_end
    }

    #[cfg(not(feature = "tracing"))]
    pub(crate) const fn traced() -> Self {
        Self(None)
    }

    /// Tells why the stream has ended.
    pub(crate) fn tell(mut self, reason: Disconnect) {
        self.call(reason);
    }

    pub(crate) fn add(&mut self, hook: impl FnOnce(Disconnect) + Send + 'static) {
        self.0 = Some(Box::new(match self.0.take() {
            None => Box::new(hook),
            Some(first) => Box::new(move |reason| {
                Self(Some(first)).tell(reason);
                hook(reason);
            }),
        }));
    }

    pub(crate) fn call(&mut self, reason: Disconnect) {
        if let Some(hook) = self.0.take() {
            // Who panics here must not take the shard's other connections along.
            let _ = catch("a hook", || hook(reason));
        }
    }
}

impl Drop for OnEnd {
    /// Whatever drops a stream without a reason is the server's end.
    fn drop(&mut self) {
        self.call(Disconnect::Drained);
    }
}
