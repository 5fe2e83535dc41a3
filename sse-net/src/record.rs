//! Topics recorded, and recordings played in real time.

use std::future::pending;
use std::io::{self, BufRead, Write};
use std::mem;
use std::time::Duration;

use sse_core::{Decoded, Pace, Recorded, Recorder, Replayer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, coop, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use crate::config::SlowClients;
use crate::stream::Stream;
use crate::topic::{Published, Subscription, Topic};

impl Subscription {
    /// Records all events, the present and the future, until the topic is finished. Times are
    /// those since `began`; all that is read at once is of one time.
    ///
    /// The recorder's writer is called, and flushed after each burst, on a thread where it may
    /// block; meanwhile the next burst is read, and publishing goes on. When this is cancelled,
    /// a burst that has been read may be lost, but none is torn. To end it without loss, finish
    /// the topic.
    ///
    /// ```
    /// use sse_core::{Event, Recorder, Retention};
    /// use sse_net::{Start, Topic};
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// let topic = Topic::new(Retention::events(100));
    /// let mut kept = topic.subscribe(Start::Kept);
    /// let file = Vec::new(); // or a std::fs::File
    /// let recording = tokio::spawn(async move {
    ///     kept.record(Recorder::new(file), Instant::now()).await
    /// });
    /// topic.publish(&Event::new().id(1).data("hey"));
    /// topic.finish(None);
    /// let (file, _) = recording.await??.into_parts();
    /// assert!(file.starts_with(b": T+0.") && file.ends_with(b"\nid: 1\ndata: hey\n\n"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What the writer says. [`Forgotten`](sse_core::Forgotten), as an error of the kind
    /// [`Other`](io::ErrorKind::Other), when it is too slow for what the topic keeps; with
    /// [`SlowClients::SkipAhead`] the recording gets the gap event instead, and goes on.
    pub async fn record<W: Write + Send + 'static>(
        &mut self,
        recorder: Recorder<W>,
        began: Instant,
    ) -> io::Result<Recorder<W>> {
        let mut disk = Disk::Idle(recorder, Vec::new());
        let (mut burst, mut at) = (Vec::new(), began);
        let mut is_over = false;
        loop {
            disk = match disk {
                Disk::Idle(recorder, spare) if !burst.is_empty() => {
                    let burst = mem::replace(&mut burst, spare);
                    Disk::write(recorder, at.saturating_duration_since(began), burst)
                }
                Disk::Idle(recorder, _) if is_over => return Ok(recorder),
                disk => disk,
            };
            tokio::select! {
                biased;
                idle = disk.written() => disk = idle?,
                // One burst is read ahead; what comes after that stays in the topic.
                read = self.read(&mut burst), if burst.is_empty() && !is_over => {
                    at = Instant::now();
                    match (read, self.topic().slow_clients()) {
                        (Ok(read), _) => is_over = read == 0,
                        (Err(_), SlowClients::SkipAhead) => burst = self.topic().gap_event(None, self.cursor()),
                        (Err(forgotten), _) => return Err(io::Error::other(forgotten)),
                    }
                }
            }
        }
    }
}

/// A recorder, and a buffer for the next burst; or the writing of one.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one for a whole recording"
)]
enum Disk<W> {
    Idle(Recorder<W>, Vec<u8>),
    Busy(JoinHandle<io::Result<(Recorder<W>, Vec<u8>)>>),
}

impl<W: Write + Send + 'static> Disk<W> {
    fn write(mut recorder: Recorder<W>, at: Duration, mut burst: Vec<u8>) -> Self {
        Self::Busy(spawn_blocking(move || {
            recorder.record(at, &burst)?;
            recorder.flush()?;
            burst.clear();
            Ok((recorder, burst))
        }))
    }

    /// Waits until it is idle again, if it is not.
    async fn written(&mut self) -> io::Result<Self> {
        match self {
            Self::Idle(..) => pending().await,
            Self::Busy(writing) => {
                let (recorder, spare) = writing.await.map_err(io::Error::other)??;
                Ok(Self::Idle(recorder, spare))
            }
        }
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
/// let recording = &b": T+1.000000000\nid: 1\ndata: a\n\n: T+3600.000000000\ndata: b\n\n"[..];
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
            match recorded.decoded() {
                Decoded::Comment(_) => {}
                _ if topic.publish(&recorded.event()) == Published::Refused => break,
                Decoded::Event(_) => published += 1,
                _ => {}
            }
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
                () = stream.gone() => {
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
