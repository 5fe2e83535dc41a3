//! A cursor into a topic that can wait.

use std::task::{Context, Poll};
#[cfg(feature = "http")]
use std::time::Duration;
use std::{future, io};

use bytes::Bytes;
use sse_core::{Cursor, EventId, Lagged, Resume, Slice};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use super::Topic;
use super::waiters::Place;
use crate::config::SlowClients;

/// A cursor into a [`Topic`] that can wait. Dropping it unsubscribes.
///
/// It reads the wire bytes of whole events, ready for any writer. Nothing is lost when a read
/// is cancelled.
#[derive(Debug)]
pub struct Subscription {
    topic: Topic,
    cursor: Cursor,
    /// Where it waits, or has waited.
    place: Option<Place>,
    /// Until when events after the last read wait; only where the topic lingers.
    lingers_until: Option<Instant>,
    /// How it began.
    resume: Resume,
    /// The ID after which it began, until it has reported that events are missing.
    missed: Option<EventId<'static>>,
}

impl Subscription {
    pub(super) const fn new(
        topic: Topic,
        cursor: Cursor,
        resume: Resume,
        missed: Option<EventId<'static>>,
    ) -> Self {
        Self {
            topic,
            cursor,
            place: None,
            lingers_until: None,
            resume,
            missed,
        }
    }

    /// Waits until there are events, appends them to `out` and returns the number of bytes; 0
    /// when the topic has been finished and everything has been read.
    ///
    /// One call reads what there is, up to 1 MiB and the rest of a chunk or of a longer
    /// event. Where the topic [lingers](crate::TopicConfig::linger), events that follow a read
    /// within that time are read together at its end.
    ///
    /// # Errors
    ///
    /// [`Lagged`] when events that the subscription has not read were evicted. The next call
    /// continues with the oldest event that is kept.
    pub async fn read(&mut self, out: &mut Vec<u8>) -> Result<usize, Lagged> {
        self.linger().await;
        future::poll_fn(|cx| self.poll_read(cx, out)).await
    }

    /// Waits until there are events and returns the next of them, as many as lie together in
    /// the topic's log: up to 64 KiB or one longer event. `None` when the topic has been
    /// finished and everything has been read.
    ///
    /// The bytes are shared with the topic, or copied where they are its newest. Keeping them
    /// keeps up to 64 KiB in memory, or the longer event.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_bytes(&mut self) -> Result<Option<Bytes>, Lagged> {
        self.linger().await;
        future::poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// The polling form of [`read`](Self::read), which does not linger.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) -> Poll<Result<usize, Lagged>> {
        let before = out.len();
        let mut next = match self.poll_slice(cx) {
            Poll::Ready(next) => next?,
            Poll::Pending => return Poll::Pending,
        };
        while let Some(slice) = next {
            out.extend_from_slice(&slice.bytes());
            self.cursor = slice.end();
            if out.len() - before >= READ {
                break;
            }
            // The next call reports what is evicted meanwhile.
            let rest = self.topic.slice(self.cursor..Cursor::MAX);
            next = rest.unwrap_or_default();
        }
        Poll::Ready(Ok(out.len() - before))
    }

    /// The polling form of [`read_bytes`](Self::read_bytes), which does not linger.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Lagged>> {
        let next = self.poll_slice(cx);
        next.map_ok(|slice| slice.map(|slice| slice.bytes()))
    }

    pub(crate) fn poll_slice(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Slice>, Lagged>> {
        if self.missed.take().is_some() {
            let begin = self.cursor;
            return Poll::Ready(Err(Lagged { begin }));
        }
        let mut state = self.topic.lock();
        match state.log.slice(self.cursor..state.log.end()) {
            Ok(Some(slice)) => {
                self.cursor = slice.end();
                let linger = self.topic.linger();
                // Events that are left have waited long enough.
                let lingers = !linger.is_zero() && slice.end() == state.log.end();
                drop(state);
                self.lingers_until = if lingers {
                    Instant::now().checked_add(linger)
                } else {
                    None
                };
                Poll::Ready(Ok(Some(slice)))
            }
            Ok(None) if state.is_over(self.cursor) => Poll::Ready(Ok(None)),
            Ok(None) => {
                let waker = cx.waker().clone();
                let replaced = state.waiters.remove(self.place);
                self.place = Some(state.waiters.insert(waker));
                let wakes_keeper = state.wakes_keeper();
                drop(state);
                if wakes_keeper {
                    self.topic.0.news.notify_one();
                }
                drop(replaced);
                Poll::Pending
            }
            Err(lagged) => {
                self.cursor = lagged.begin;
                Poll::Ready(Err(lagged))
            }
        }
    }

    /// How the subscription began.
    #[must_use]
    pub const fn resume(&self) -> Resume {
        self.resume
    }

    /// The gap event, if a subscription that began after an ID has missed events; then the
    /// next read does not report that.
    pub(crate) fn take_gap_event(&mut self) -> Option<Vec<u8>> {
        let asked = self.missed.take()?;
        Some(self.topic.gap_event(Some(&asked), self.cursor))
    }

    /// Whether there is nothing more to come.
    #[cfg(feature = "http")]
    pub(crate) fn is_over(&self) -> bool {
        self.topic.lock().is_over(self.cursor)
    }

    /// Appends what precedes a client's first event; then the next read does not report a
    /// gap.
    #[cfg(feature = "http")]
    pub(crate) fn encode_opening(&mut self, retry: Duration, out: &mut Vec<u8>) {
        let missed = self.missed.take();
        let topic = &self.topic;
        let position = topic.position_id(self.cursor);
        topic.encode_opening(missed.as_ref(), self.cursor, position, retry, out);
    }

    /// Until when events after the last read are to wait, if the topic lingers.
    pub(crate) const fn lingers_until(&self) -> Option<Instant> {
        self.lingers_until
    }

    /// Writes all events to `writer`, the present and the future, until the topic is
    /// finished, and returns the number of bytes. Flushes whenever there is nothing more to
    /// write.
    ///
    /// A subscription that begins with a gap writes the gap event first, as a client gets it.
    /// A writer that is too slow for what the topic keeps is treated as a slow client is: with
    /// [`SlowClients::SkipAhead`] it gets the gap event and continues, otherwise this ends
    /// with an error.
    ///
    /// When this is cancelled, the writer may have got a part of an event. To end between two
    /// events, finish the topic, or [`read`](Self::read) and write yourself.
    ///
    /// ```
    /// use sse_core::{Event, Retention};
    /// use sse_net::{Start, Topic};
    ///
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let topic = Topic::new(Retention::events(100));
    /// let mut recording = topic.subscribe(Start::Earliest);
    /// let recorder = tokio::spawn(async move {
    ///     let mut file = Vec::new(); // or a tokio::fs::File, a pipe, a socket
    ///     recording.copy_to(&mut file).await?;
    ///     std::io::Result::Ok(file)
    /// });
    /// topic.publish(&Event::new().id(1).data("hey"))?;
    /// topic.finish(None)?;
    /// assert_eq!(recorder.await.unwrap().unwrap(), b"id: 1\ndata: hey\n\n");
    /// # Ok::<(), sse_net::PublishError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The writer's; [`Lagged`], as an error of the kind [`Other`](io::ErrorKind::Other), when
    /// it is too slow.
    pub async fn copy_to(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<u64> {
        let mut written = 0;
        if let Some(gap) = self.take_gap_event() {
            writer.write_all(&gap).await?;
            written += gap.len() as u64;
        }
        loop {
            let bytes = match self.read_bytes().await {
                Ok(None) => return Ok(written),
                Ok(Some(bytes)) => bytes,
                Err(lagged) => self.gap_or(lagged)?,
            };
            writer.write_all(&bytes).await?;
            if self.lag() == 0 {
                writer.flush().await?;
            }
            written += bytes.len() as u64;
        }
    }

    /// What a reader that lagged gets: the gap event, or the end.
    pub(crate) fn gap_or(&self, lagged: Lagged) -> io::Result<Bytes> {
        match self.topic.slow_clients() {
            SlowClients::Disconnect => Err(io::Error::other(lagged)),
            SlowClients::SkipAhead => Ok(self.topic.gap_event(None, self.cursor).into()),
        }
    }

    /// The topic.
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// The cursor before the next event that is read.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The number of bytes of events that there are to read.
    #[must_use]
    pub fn lag(&self) -> usize {
        self.cursor.distance(self.topic.lock().log.end())
    }

    async fn linger(&mut self) {
        if let Some(until) = self.lingers_until {
            sleep_until(until).await;
            self.lingers_until = None;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.topic.lock();
        let waker = state.waiters.remove(self.place);
        state.subscriptions -= 1;
        drop(state);
        drop(waker); // Without the lock, for the reason that `Waiters::remove` states.
    }
}

/// How much one call reads, so that a long history does not hold up other tasks.
const READ: usize = 1 << 20;
