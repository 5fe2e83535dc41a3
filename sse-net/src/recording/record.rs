//! A topic recorded.

use std::io::{self, Write};
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
        let mut gap = subscription.take_gap_event().map(Bytes::from);
        let mut writing = Writing {
            subscription,
            recorder,
            began,
            is_over: false,
        };
        while !writing.is_over {
            let read = match gap.take() {
                Some(gap) => Ok(Some(gap)),
                None => writing.subscription.read_bytes().await,
            };
            let written = spawn_blocking(move || writing.write(read)).await;
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
    is_over: bool,
}

impl<W: Write> Writing<W> {
    /// Writes the slice that was read and those after it, up to [`SLICES`], because the recording
    /// may have been cancelled.
    fn write(mut self, mut read: Result<Option<Bytes>, Lagged>) -> io::Result<Self> {
        let at = self.began.elapsed();
        let cx = &mut Context::from_waker(Waker::noop());
        for slices in 1.. {
            match read {
                Ok(Some(bytes)) => self.recorder.record_encoded(at, &bytes)?,
                Ok(None) => self.is_over = true,
                Err(lagged) => {
                    let gap = self.subscription.gap_event();
                    let gap = gap.ok_or_else(|| io::Error::other(lagged))?;
                    self.recorder.record_encoded(at, &gap)?;
                }
            }
            if self.is_over || slices == SLICES {
                break;
            }
            match self.subscription.poll_bytes(cx) {
                Poll::Ready(next) => read = next,
                Poll::Pending => break,
            }
        }
        self.recorder.flush()?;
        Ok(self)
    }
}

/// The number of slices that are written before a cancelled recording ends.
const SLICES: usize = 64;
