//! Subscriptions: readers of one or several topics that can wait.

use std::task::{Context, Poll, ready};
#[cfg(feature = "http")]
use std::time::Duration;
use std::{future, io};

use bytes::Bytes;
use sse_core::{Lagged, Resume, Slice};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};

use super::joint::{JointReader, Read};
use super::reader::Reader;
use crate::config::SlowClients;

/// A reader of a [`Topic`](crate::Topic) or of several. Dropping it unsubscribes.
///
/// It is an offset into the topic's log, and reads the wire bytes of whole events, ready for any
/// writer. Nothing is lost when a read is cancelled. A program that needs the events decodes the
/// bytes with a [`Decoder`](sse_core::Decoder), or calls `events` with the feature `http`.
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
pub struct Subscription(pub(super) Source);

#[derive(Debug)]
pub(super) enum Source {
    One(Reader),
    Several(Box<JointReader>),
}

/// What a subscription has read.
pub(crate) struct Next {
    pub(crate) bytes: Bytes,
    /// The number of events, for the counters of bodies.
    #[cfg_attr(
        not(feature = "http"),
        expect(dead_code, reason = "bodies count events")
    )]
    pub(crate) count: usize,
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
    /// [`Lagged`] when events that the subscription has not read were evicted, or an engine may have
    /// lost some that it has read. The next call continues with the oldest retained event that it
    /// has not read, and a keyed topic begins with its state again.
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
        let mut next = ready!(self.poll_next(cx))?;
        while let Some(read) = next {
            out.extend_from_slice(&read.bytes);
            if out.len() - before >= READ {
                break;
            }
            // The next call reports events that have been evicted meanwhile.
            next = self.try_next().unwrap_or_default();
        }
        Poll::Ready(Ok(out.len() - before))
    }

    /// Polls for what [`read_bytes`](Self::read_bytes) returns, without lingering.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Lagged>> {
        let next = self.poll_next(cx);
        next.map_ok(|next| next.map(|next| next.bytes))
    }

    /// Polls for the next events. `None` is the end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Next>, Lagged>> {
        match &mut self.0 {
            Source::One(reader) => reader.poll_next(cx),
            Source::Several(reader) => reader.poll_read(cx).map_ok(|read| read.map(Next::from)),
        }
    }

    /// Returns the next events, without waiting for any. The next read reports an error again.
    fn try_next(&mut self) -> Result<Option<Next>, Lagged> {
        match &mut self.0 {
            Source::One(reader) => reader.try_next(),
            Source::Several(reader) => Ok(reader.try_next()?.map(Next::from)),
        }
    }

    /// Returns whether the subscription resumed, and with or without a gap.
    ///
    /// Of several topics, it is the worst outcome.
    #[must_use]
    pub fn resume(&self) -> Resume {
        match &self.0 {
            Source::One(reader) => reader.resume(),
            Source::Several(reader) => reader.several().resume,
        }
    }

    /// Returns the names of the topics in which events were missed before the beginning.
    ///
    /// A topic that stands alone has no name.
    pub fn gaps(&self) -> impl Iterator<Item = &str> {
        let (one, several) = match &self.0 {
            Source::One(reader) if reader.resume() >= Resume::Gap => (reader.topic().name(), None),
            Source::One(_) => (None, None),
            Source::Several(reader) => (None, Some(reader.several().gaps())),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// Takes the events before the first one of a log: gap events, if events after the
    /// subscription's ID were missed, and the topics of a stream with a token. The next read does
    /// not report them again.
    pub(crate) fn take_notices(&mut self) -> Option<Vec<u8>> {
        match &mut self.0 {
            Source::One(reader) => reader.take_gap_event(),
            Source::Several(reader) => reader.take_notices(),
        }
    }

    /// Returns `true` if the topic is finished and all events have been read.
    #[cfg(feature = "http")]
    pub(crate) fn is_over(&self) -> bool {
        match &self.0 {
            Source::One(reader) => reader.is_over(),
            Source::Several(reader) => reader.several().is_over(),
        }
    }

    /// Appends the bytes before a client's first event. The next read does not report a gap.
    #[cfg(feature = "http")]
    pub(crate) fn encode_opening(&mut self, retry: Option<Duration>, out: &mut Vec<u8>) {
        match &mut self.0 {
            Source::One(reader) => reader.encode_opening(retry, out),
            Source::Several(reader) => reader.encode_opening(retry, out),
        }
    }

    /// Returns until when events after the last read wait, if the topic lingers.
    pub(crate) fn lingers_until(&self) -> Option<Instant> {
        match &self.0 {
            Source::One(reader) => reader.lingers_until(),
            Source::Several(reader) => reader.lingers_until(),
        }
    }

    /// Writes all events to `writer` until the topic is finished, and returns their bytes.
    ///
    /// Flushes the writer whenever it has caught up. A subscription that begins with a gap
    /// writes the gap event first, as a client receives it. If the writer lags, the topic's
    /// [`slow_clients`](crate::TopicConfig::slow_clients) apply: with [`SlowClients::SkipAhead`]
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
        if let Some(gap) = self.take_notices() {
            writer.write_all(&gap).await?;
            written += gap.len() as u64;
        }
        loop {
            let bytes = match self.read_bytes().await {
                Ok(None) => return Ok(written),
                Ok(Some(bytes)) => bytes,
                Err(lagged) => self.gap_event().ok_or_else(|| io::Error::other(lagged))?,
            };
            writer.write_all(&bytes).await?;
            if self.lag() == 0 {
                writer.flush().await?;
            }
            written += bytes.len() as u64;
        }
    }

    /// Returns the gap event after a read that lagged, or `None` if the reader is to end.
    pub(crate) fn gap_event(&self) -> Option<Bytes> {
        let topic = match &self.0 {
            Source::One(reader) => reader.topic(),
            Source::Several(reader) => reader.lagged(),
        };
        let gap = match (topic.shared.slow_clients(), &self.0) {
            (SlowClients::Disconnect, _) => return None,
            (SlowClients::SkipAhead, Source::One(reader)) => reader.gap_event(),
            (SlowClients::SkipAhead, Source::Several(reader)) => reader.gap_event(),
        };
        Some(gap.into())
    }

    /// Returns the number of unread bytes.
    #[must_use]
    pub fn lag(&self) -> usize {
        match &self.0 {
            Source::One(reader) => reader.lag(),
            Source::Several(reader) => reader.lag(),
        }
    }

    async fn linger(&mut self) {
        if let Some(until) = self.lingers_until() {
            sleep_until(until).await;
        }
    }
}

impl Next {
    /// An event that is not in a log.
    pub(super) fn own(event: Vec<u8>) -> Self {
        Self {
            bytes: event.into(),
            count: 1,
        }
    }
}

impl From<Slice> for Next {
    fn from(slice: Slice) -> Self {
        Self {
            bytes: slice.bytes(),
            count: slice.count(),
        }
    }
}

impl From<Read> for Next {
    fn from(read: Read) -> Self {
        match read {
            Read::Events(batch) => Self {
                bytes: batch.bytes(),
                count: batch.count(),
            },
            Read::Own(event) => Self::own(event),
            Read::Piece(piece) => Self {
                bytes: piece.bytes,
                count: piece.count,
            },
        }
    }
}

/// How many bytes one call reads, so that a long history does not delay other tasks.
const READ: usize = 1 << 20;
