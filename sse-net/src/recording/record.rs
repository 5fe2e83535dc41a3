//! A topic recorded.

use std::io::{self, IoSlice, Write};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use sse_core::{Lagged, Recorder};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::topic::Subscription;

impl Subscription {
    /// Records all events until the topic is finished, and returns the recorder.
    ///
    /// Times count from `began`; events that are read together get the same time. The recorder's
    /// writer is called on a thread where it may block, and flushed whenever it has caught up;
    /// publishing does not wait for it. When this is cancelled, a write that has begun is
    /// completed. To end without loss, finish the topic.
    ///
    /// ```
    /// use sse_core::{Event, Recorder, Retention};
    /// use sse_net::{Start, Topic};
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let topic = Topic::new(Retention::events(100));
    /// let subscription = topic.subscribe(Start::Earliest);
    /// let file = Vec::new(); // or a std::fs::File
    /// let recording = tokio::spawn(async move {
    ///     subscription.record(Recorder::new(file), Instant::now()).await
    /// });
    /// topic.publish(&Event::new().id(1).data("hey")).unwrap();
    /// topic.finish(None).unwrap();
    /// let (file, _) = recording.await??.into_parts();
    /// assert!(file.starts_with(b":T+0.") && file.ends_with(b"\nid: 1\ndata: hey\n\n"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the writer; [`Lagged`](sse_core::Lagged), with the kind
    /// [`Other`](io::ErrorKind::Other), if the writer is too slow. With
    /// [`SlowClients::SkipAhead`](crate::SlowClients::SkipAhead) the gap event is recorded
    /// instead.
    pub async fn record<W: Write + Send + 'static>(
        self,
        recorder: Recorder<W>,
        began: Instant,
    ) -> io::Result<Recorder<W>> {
        let mut subscription = self;
        let notices = subscription.take_notices();
        let mut writing = Writing {
            next: notices.map(|notices| Ok(Some(notices.into()))),
            subscription,
            recorder,
            began,
            is_over: false,
        };
        while !writing.is_over {
            if writing.next.is_none() {
                writing.next = Some(writing.subscription.read_bytes().await);
            }
            let written = spawn_blocking(move || writing.write()).await;
            writing = written.map_err(io::Error::other)??;
        }
        Ok(writing.recorder)
    }
}

/// A recorder, and the subscription that it records.
struct Writing<W> {
    subscription: Subscription,
    recorder: Recorder<W>,
    began: Instant,
    /// What has been read and not recorded.
    next: Option<Result<Option<Bytes>, Lagged>>,
    is_over: bool,
}

impl<W: Write> Writing<W> {
    /// Writes the slice that was read and those after it, up to [`BATCHES`], because the recording
    /// may have been cancelled.
    fn write(mut self) -> io::Result<Self> {
        let at = self.began.elapsed();
        for _ in 0..BATCHES {
            let batch = self.read_batch()?;
            if batch.is_empty() {
                break;
            }
            let pieces = Vec::from_iter(batch.iter().map(|bytes| IoSlice::new(bytes)));
            self.recorder.record_encoded_vectored(at, &pieces)?;
        }
        self.recorder.flush()?;
        Ok(self)
    }

    /// Returns the slices that can be read now, up to [`SLICES`].
    fn read_batch(&mut self) -> io::Result<Vec<Bytes>> {
        let cx = &mut Context::from_waker(Waker::noop());
        let mut batch = Vec::with_capacity(SLICES);
        while !self.is_over && batch.len() < SLICES {
            let read = match self.next.take() {
                Some(read) => read,
                None => match self.subscription.poll_bytes(cx) {
                    Poll::Ready(read) => read,
                    Poll::Pending => break,
                },
            };
            match read {
                Ok(Some(bytes)) => batch.push(bytes),
                Ok(None) => self.is_over = true,
                Err(lagged) if batch.is_empty() => {
                    let gap = self.subscription.gap_event();
                    batch.push(gap.ok_or_else(|| io::Error::other(lagged))?);
                }
                Err(lagged) => {
                    self.next = Some(Err(lagged)); // after what has been read
                    break;
                }
            }
        }
        Ok(batch)
    }
}

/// The number of slices that are written at once. They do not end where pages do, and each page
/// that a write begins or ends in costs as much as a whole one.
const SLICES: usize = 16;

/// The number of batches that are written before a cancelled recording ends.
const BATCHES: usize = 4;
