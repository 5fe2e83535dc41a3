//! Subscriptions: a cursor into a topic that can wait.

use std::task::{Context, Poll};
#[cfg(feature = "http")]
use std::time::Duration;
use std::{future, io};

use bytes::Bytes;
use sse_core::{Cursor, EventId, Lagged, Resume, Slice};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};

use super::handle::Topic;
use super::position::Start;
use super::waiters::{Place, Wakers};
use crate::config::SlowClients;

impl Topic {
    /// Subscribes from `start` on.
    #[must_use]
    pub fn subscribe(&self, start: Start) -> Subscription {
        self.subscribe_after(None, start)
    }

    /// Subscribes after the event with this ID, or from `start` on if there is no ID.
    ///
    /// If events after that ID were evicted, or the ID is not known, the first read returns
    /// [`Lagged`]. The next read continues with the oldest retained event, or as
    /// [`unknown_id`](crate::TopicConfig::unknown_id) says.
    ///
    /// ```
    /// use sse_core::{Event, EventId, Retention};
    /// use sse_net::{Start, Topic};
    ///
    /// let topic = Topic::new(Retention::events(10));
    /// topic.publish(&Event::new().id(1).data("hey"))?;
    /// topic.publish(&Event::new().id(2).data("there"))?;
    /// let seen = EventId::from(1);
    /// assert_eq!(topic.subscribe_after(seen, Start::Live).lag(), "id: 2\ndata: there\n\n".len());
    /// # Ok::<(), sse_net::PublishError>(())
    /// ```
    #[must_use]
    pub fn subscribe_after(
        &self,
        last_event_id: impl Into<Option<EventId<'static>>>,
        start: Start,
    ) -> Subscription {
        let asked = last_event_id.into();
        let (mut state, found) = self.find(asked.as_ref(), start);
        state.subscriptions += 1;
        if state.runtime.is_none() && state.subscriptions > Wakers::FEW {
            state.runtime = Handle::try_current().ok();
        }
        drop(state);
        Subscription {
            topic: self.clone(),
            cursor: found.cursor,
            place: None,
            lingers_until: None,
            resume: found.resume,
            missed: found.missed(asked.as_ref()),
        }
    }
}

/// A reader of a [`Topic`]. Dropping it unsubscribes.
///
/// It is an offset into the topic's log, and reads the wire bytes of whole events, ready for any
/// writer. Nothing is lost when a read is cancelled.
///
/// ```
/// use sse_core::{Event, Retention};
/// use sse_net::{Start, Topic};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let topic = Topic::new(Retention::events(100));
/// topic.publish(&Event::new().id(1).data("hey"))?;
/// topic.finish(None)?;
/// let mut subscription = topic.subscribe(Start::Earliest);
/// loop {
///     match subscription.read_bytes().await {
///         Ok(Some(bytes)) => print!("{}", String::from_utf8_lossy(&bytes)),
///         Ok(None) => break, // the topic has been finished
///         Err(lagged) => eprintln!("{lagged}"),
///     }
/// }
/// # Ok::<(), sse_net::PublishError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct Subscription {
    topic: Topic,
    cursor: Cursor,
    /// The place of its waker, now or before.
    place: Option<Place>,
    /// Until when events after the last read wait, if the topic lingers.
    lingers_until: Option<Instant>,
    /// Whether it resumed.
    resume: Resume,
    /// The ID after which events were missed, until that has been reported.
    missed: Option<EventId<'static>>,
}

impl Subscription {
    /// Waits for events, appends them to `out` and returns the number of bytes.
    ///
    /// Returns 0 when the topic has been finished and everything has been read. One call reads
    /// all unread events, up to 1 MiB and the rest of a chunk or of a longer event. If the topic
    /// [lingers](crate::TopicConfig::linger), events that are published within that time after
    /// a read are read together at its end.
    ///
    /// # Errors
    ///
    /// [`Lagged`] when events that the subscription has not read were evicted. The next call
    /// continues with the oldest retained event.
    pub async fn read(&mut self, out: &mut Vec<u8>) -> Result<usize, Lagged> {
        self.linger().await;
        future::poll_fn(|cx| self.poll_read(cx, out)).await
    }

    /// Waits for events and returns up to 64 KiB of them, or one longer event.
    ///
    /// Returns `None` when the topic has been finished and everything has been read. The bytes
    /// are shared with the topic's log, or copied if they are its newest. Holding them holds up
    /// to 64 KiB in memory, or the longer event.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn read_bytes(&mut self) -> Result<Option<Bytes>, Lagged> {
        self.linger().await;
        future::poll_fn(|cx| self.poll_bytes(cx)).await
    }

    /// Polls for what [`read`](Self::read) returns, without lingering.
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
            // The next call reports events that have been evicted meanwhile.
            let rest = self.topic.slice(self.cursor..Cursor::MAX);
            next = rest.unwrap_or_default();
        }
        Poll::Ready(Ok(out.len() - before))
    }

    /// Polls for what [`read_bytes`](Self::read_bytes) returns, without lingering.
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
                // Events that are left over have waited long enough.
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
                let wakes_writer = state.wakes_writer();
                drop(state);
                if wakes_writer {
                    self.topic.shared.writer.notify_one();
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

    /// Returns whether the subscription resumed, and with or without a gap.
    #[must_use]
    pub const fn resume(&self) -> Resume {
        self.resume
    }

    /// Takes the gap event, if events after the subscription's ID were missed. The next read
    /// does not report them again.
    pub(crate) fn take_gap_event(&mut self) -> Option<Vec<u8>> {
        let asked = self.missed.take()?;
        Some(self.topic.gap_event(Some(&asked), self.cursor))
    }

    /// Returns `true` if no event will ever follow.
    #[cfg(feature = "http")]
    pub(crate) fn is_over(&self) -> bool {
        self.topic.lock().is_over(self.cursor)
    }

    /// Appends the bytes before a client's first event. The next read does not report a gap.
    #[cfg(feature = "http")]
    pub(crate) fn encode_opening(&mut self, retry: Duration, out: &mut Vec<u8>) {
        let missed = self.missed.take();
        let topic = &self.topic;
        let position = topic.position_id(self.cursor);
        topic.encode_opening(missed.as_ref(), self.cursor, position, retry, out);
    }

    /// Returns until when events after the last read wait, if the topic lingers.
    pub(crate) const fn lingers_until(&self) -> Option<Instant> {
        self.lingers_until
    }

    /// Writes all events to `writer` until the topic is finished, and returns their bytes.
    ///
    /// Flushes the writer whenever it has caught up. A subscription that begins with a gap
    /// writes the gap event first, as a client receives it. A writer that lags is treated as
    /// [`slow_clients`](crate::TopicConfig::slow_clients) says: with [`SlowClients::SkipAhead`]
    /// the gap event is written, otherwise this returns an error.
    ///
    /// When this is cancelled, a part of an event may have been written. To stop between two
    /// events, finish the topic, or [`read`](Self::read) and write in a loop.
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
    /// Those of the writer; [`Lagged`], with the kind [`Other`](io::ErrorKind::Other), if the
    /// writer is too slow.
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
                Err(lagged) => self.gap_event_or(lagged)?,
            };
            writer.write_all(&bytes).await?;
            if self.lag() == 0 {
                writer.flush().await?;
            }
            written += bytes.len() as u64;
        }
    }

    /// Returns the gap event for a reader that lagged, or the error if it is to end.
    pub(crate) fn gap_event_or(&self, lagged: Lagged) -> io::Result<Bytes> {
        match self.topic.slow_clients() {
            SlowClients::Disconnect => Err(io::Error::other(lagged)),
            SlowClients::SkipAhead => Ok(self.topic.gap_event(None, self.cursor).into()),
        }
    }

    /// Returns the topic.
    #[must_use]
    pub const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Returns the cursor of the next event that is read.
    #[must_use]
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Returns the number of unread bytes.
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
        drop(waker); // Without the lock; see `Waiters::remove`.
    }
}

/// How many bytes one call reads, so that a long history does not delay other tasks.
const READ: usize = 1 << 20;
