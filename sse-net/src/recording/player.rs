//! Recordings played in real time.

use std::future::pending;
use std::io::{self, BufRead};

use sse_core::{Decoded, Pace, Recorded, Replayer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop;
use tokio::time::{Instant, sleep_until};

use crate::stream::Stream;
use crate::stream::pipe::disconnected;
use crate::topic::{PublishError, Topic};
use crate::trace;

/// Plays a recording in real time.
///
/// The clock is Tokio's, so with a paused clock an hour's recording takes milliseconds. The
/// recording is read on the task that polls this: it should be a local file or memory.
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
    /// Creates a player. Its time begins with the first call of another method.
    pub const fn new(replayer: Replayer<R>, pace: Pace) -> Self {
        Self {
            replayer,
            pace,
            began: None,
        }
    }

    /// Waits until the next item is due and returns it; `None` at the end.
    ///
    /// Nothing is lost when this is cancelled.
    ///
    /// # Errors
    ///
    /// As [`Replayer::read`].
    pub async fn next(&mut self) -> io::Result<Option<Recorded<'_>>> {
        self.wait().await?;
        self.replayer.read()
    }

    /// Publishes each event to `topic` when it is due, and returns their number.
    ///
    /// Reconnection times are published, too; comments are not, since the server sends its own
    /// heartbeats. An event without an ID gets one from the topic. The topic is not finished at the
    /// end. After another task has finished it, this returns when the next item is due.
    ///
    /// # Errors
    ///
    /// As [`Replayer::read`]; a [`PublishError`] for an event that the topic refuses, such as one
    /// that is too large, or one with an ID in a topic of a [`Hub`](crate::Hub).
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
            // Nothing else in this loop yields.
            coop::consume_budget().await;
        }
        Ok(published)
    }

    /// Sends each item to `stream` when it is due, and returns the number of events.
    ///
    /// The stream's heartbeats are sent in between.
    ///
    /// # Errors
    ///
    /// As [`Replayer::read`], and those of the stream:
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) after the client disconnects.
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
                    return Err(disconnected());
                }
            }
            let Some(recorded) = self.replayer.read()? else {
                return Ok(sent);
            };
            stream.send(&recorded.event()).await?;
            sent += u64::from(matches!(recorded.decoded(), Decoded::Event(_)));
        }
    }

    /// Returns the replayer, at the position that has been played.
    #[must_use]
    pub fn into_replayer(self) -> Replayer<R> {
        self.replayer
    }

    /// Waits until the next item is due, if there is one.
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
