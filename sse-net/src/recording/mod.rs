//! Topics recorded, and recordings played in real time.

use std::future::pending;
use std::io::{self, BufRead, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use sse_core::{Decoded, Lagged, Pace, Recorded, Recorder, Replayer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{coop, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::stream::Stream;
use crate::topic::{PublishError, Subscription, Topic};
use crate::trace;

impl Subscription {
    /// Records all events, the present and the future, until the topic is finished. Times are
    /// those since `began`; all that is read at once is of one time.
    ///
    /// The recorder's writer is called, and flushed whenever there is nothing more to write, on
    /// a thread where it may block; publishing does not wait for it. When this is cancelled,
    /// what is being written still is. To end it without loss, finish the topic.
    ///
    /// ```
    /// use sse_core::{Event, Recorder, Retention};
    /// use sse_net::{Start, Topic};
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let topic = Topic::new(Retention::events(100));
    /// let kept = topic.subscribe(Start::Earliest);
    /// let file = Vec::new(); // or a std::fs::File
    /// let recording = tokio::spawn(async move {
    ///     kept.record(Recorder::new(file), Instant::now()).await
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
    /// What the writer says. [`Lagged`](sse_core::Lagged), as an error of the kind
    /// [`Other`](io::ErrorKind::Other), when it is too slow for what the topic keeps; with
    /// [`SlowClients::SkipAhead`] the recording gets the gap event instead, and goes on.
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

/// A recording, and the subscription that it follows.
struct Writing<W> {
    subscription: Subscription,
    recorder: Recorder<W>,
    began: Instant,
    is_over: bool,
}

impl<W: Write> Writing<W> {
    /// Writes what has been read and what there is after it, but not for ever, in case the
    /// recording has been cancelled.
    fn write(mut self, mut read: Result<Option<Bytes>, Lagged>) -> io::Result<Self> {
        let at = self.began.elapsed();
        let cx = &mut Context::from_waker(Waker::noop());
        for slices in 1.. {
            match read {
                Ok(Some(bytes)) => self.recorder.record_encoded(at, &bytes)?,
                Ok(None) => self.is_over = true,
                Err(lagged) => {
                    let gap = self.subscription.gap_event_or(lagged)?;
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

/// A connection that shows a recorder what it takes: put it under a [`Stream`] with
/// [`Stream::map`], and what the client gets is what is recorded.
///
/// The client comes first. When recording fails, that ends, and the stream goes on;
/// [`into_parts`](Self::into_parts) tells. The recorder's writer is called where the stream is
/// written, so it should be a local file or memory, which block for no longer than that takes.
///
/// ```
/// use std::fs::File;
/// use sse_core::Recorder;
/// use sse_net::{Answer, Request, Tee};
///
/// fn ask(request: Request, recording: File) -> Answer {
///     request.stream(async move |stream| {
///         let mut stream = stream.map(|conn| Tee::new(conn, Recorder::new(recording)));
///         stream.write_str("a token").await?;
///         stream.close().await
///     })
/// }
/// # let _ = ask;
/// ```
#[derive(Debug)]
pub struct Tee<C, W> {
    connection: C,
    recorder: Recorder<W>,
    began: Instant,
    failed: Option<io::Error>,
}

impl<C, W> Tee<C, W> {
    /// Records what `connection` takes, from now on.
    pub fn new(connection: C, recorder: Recorder<W>) -> Self {
        Self {
            connection,
            recorder,
            began: Instant::now(),
            failed: None,
        }
    }

    /// The connection, and the recorder or why recording has ended.
    pub fn into_parts(self) -> (C, io::Result<Recorder<W>>) {
        let recorded = match self.failed {
            None => Ok(self.recorder),
            Some(error) => Err(error),
        };
        (self.connection, recorded)
    }
}

impl<C: AsyncRead + Unpin, W: Unpin> AsyncRead for Tee<C, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin, W: Write + Unpin> AsyncWrite for Tee<C, W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(Pin::new(&mut self.connection).poll_write(cx, bytes))?;
        if self.failed.is_none() {
            let at = self.began.elapsed();
            self.failed = self.recorder.record(at, &bytes[..taken]).err();
        }
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_none() {
            self.failed = self.recorder.flush().err();
        }
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

/// Plays a recording in real time.
///
/// The time is Tokio's, so with a paused clock an hour's recording takes milliseconds. The
/// recording is read where this is polled: it should be a file or memory.
///
/// ```
/// use sse_core::{Pace, Replayer, Retention};
/// use sse_net::{Player, Start, Topic};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> std::io::Result<()> {
/// let recording = &b":T+1.000000000\nid: 1\ndata: a\n\n:T+3600.000000000\ndata: b\n\n"[..];
/// let topic = Topic::new(Retention::events(100));
/// let mut player = Player::new(Replayer::new(recording), Pace::RECORDED);
/// let began = tokio::time::Instant::now();
/// assert_eq!(player.publish_to(&topic).await?, 2);
/// assert_eq!(began.elapsed().as_secs(), 3600);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Player<R> {
    replayer: Replayer<R>,
    pace: Pace,
    began: Option<Instant>,
}

impl<R: BufRead> Player<R> {
    /// Plays what `replayer` reads at this pace. It begins with the first call of another
    /// method.
    pub const fn new(replayer: Replayer<R>, pace: Pace) -> Self {
        Self {
            replayer,
            pace,
            began: None,
        }
    }

    /// What comes next, when it is due; `None` at the end. Nothing is lost when this is
    /// cancelled.
    ///
    /// # Errors
    ///
    /// As [`Replayer::read`].
    pub async fn next(&mut self) -> io::Result<Option<Recorded<'_>>> {
        self.wait().await?;
        self.replayer.read()
    }

    /// Publishes the events to `topic`, each when it is due, and the reconnection times too;
    /// comments are left out, since a topic's heartbeats are its server's. An event that had
    /// no ID gets one of the topic's. Gives how many events there were. It ends early when the
    /// topic is finished.
    ///
    /// # Errors
    ///
    /// As [`Replayer::read`].
    pub async fn publish_to(&mut self, topic: &Topic) -> io::Result<u64> {
        let mut published = 0;
        while let Some(recorded) = self.next().await? {
            if matches!(recorded.decoded(), Decoded::Comment(_)) {
                continue;
            }
            match topic.publish(&recorded.event()) {
                Err(PublishError::Finished) => break,
                accepted => drop(accepted.map_err(io::Error::other)?),
            }
            published += u64::from(matches!(recorded.decoded(), Decoded::Event(_)));
            trace::dropped_ids();
            // Nothing else here has to wait.
            coop::consume_budget().await;
        }
        Ok(published)
    }

    /// Sends everything to `stream` when it is due, with the stream's heartbeats in between.
    /// Gives how many events there were.
    ///
    /// # Errors
    ///
    /// As [`Replayer::read`], and what the stream says:
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the client has gone.
    pub async fn send_to<C>(&mut self, stream: &mut Stream<C>) -> io::Result<u64>
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let mut sent = 0;
        loop {
            tokio::select! {
                biased;
                waited = self.wait() => waited?,
                () = stream.closed() => {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone"));
                }
            }
            let Some(recorded) = self.replayer.read()? else {
                return Ok(sent);
            };
            stream.send(&recorded.event()).await?;
            sent += u64::from(matches!(recorded.decoded(), Decoded::Event(_)));
        }
    }

    /// The recording, as far as it has been played.
    #[must_use]
    pub fn into_replayer(self) -> Replayer<R> {
        self.replayer
    }

    /// Waits until what comes next is due, if anything does.
    async fn wait(&mut self) -> io::Result<()> {
        let began = *self.began.get_or_insert_with(Instant::now);
        let Some(at) = self.replayer.peek()? else {
            return Ok(());
        };
        match began.checked_add(self.pace.due(at)) {
            Some(due) if due <= Instant::now() => {}
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
        Ok(())
    }
}

/// How many slices are written before anything else is looked at.
const SLICES: usize = 64;
