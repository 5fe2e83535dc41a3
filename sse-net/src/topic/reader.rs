//! A reader of one topic: a cursor into its log that can wait.

use std::task::{Context, Poll};
#[cfg(feature = "http")]
use std::time::Duration;

use sse_core::{Cursor, EventId, Lagged, LogId, Resume, Slice};
use tokio::time::Instant;

use super::handle::Topic;
use super::waiters::Place;
use crate::config::Start;

/// A reader of one topic. Dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct Reader {
    topic: Topic,
    cursor: Cursor,
    /// In a hub, the ID up to which it has read.
    position: LogId,
    /// The place of its waker, now or before.
    place: Place,
    /// Until when events after the last read wait, if the topic lingers.
    lingers_until: Option<Instant>,
    /// Whether it resumed.
    resume: Resume,
    /// The ID after which events were missed, until that has been reported.
    missed: Option<EventId<'static>>,
}

impl Topic {
    /// Creates a reader that continues after the event with this ID, or begins at `start`.
    pub(crate) fn reader(&self, asked: Option<&EventId<'_>>, start: Start) -> Reader {
        let (mut state, found) = self.find(asked, start);
        let watchers = state.add_subscription();
        drop(state);
        drop(watchers);
        Reader {
            topic: self.clone(),
            cursor: found.cursor,
            position: found.position.unwrap_or_default(),
            place: Place::NONE,
            lingers_until: None,
            resume: found.resume,
            missed: found.missed(asked),
        }
    }
}

impl Reader {
    /// Polls for the next slice. `None` is the end of a finished topic.
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
                (self.cursor, self.position) = (slice.end(), slice.last_id());
                let linger = self.topic.shared.linger();
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
                let (place, replaced) = state.waiters.replace(self.place, waker);
                drop(state);
                self.place = place;
                drop(replaced);
                Poll::Pending
            }
            Err(lagged) => {
                (self.cursor, self.position) = (lagged.begin, state.log.evicted());
                Poll::Ready(Err(lagged))
            }
        }
    }

    /// Returns the next slice, without waiting for one.
    pub(super) fn try_slice(&mut self) -> Result<Option<Slice>, Lagged> {
        let slice = self.topic.slice(self.cursor..Cursor::MAX)?;
        if let Some(slice) = &slice {
            (self.cursor, self.position) = (slice.end(), slice.last_id());
        }
        Ok(slice)
    }

    pub(super) const fn resume(&self) -> Resume {
        self.resume
    }

    pub(crate) const fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Returns the cursor of the next event that is read.
    pub(crate) const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Returns the ID up to which the reader of a hub's topic has read.
    pub(crate) const fn position(&self) -> LogId {
        self.position
    }

    /// Returns the number of unread bytes.
    pub(super) fn lag(&self) -> usize {
        self.cursor.distance(self.topic.lock().log.end())
    }

    /// Returns until when events after the last read wait, if the topic lingers.
    pub(crate) const fn lingers_until(&self) -> Option<Instant> {
        self.lingers_until
    }

    /// Takes the gap event, if events after the reader's ID were missed. The next read does not
    /// report them again.
    pub(super) fn take_gap_event(&mut self) -> Option<Vec<u8>> {
        let asked = self.missed.take()?;
        Some(self.topic.shared.gap_event(Some(&asked), self.cursor))
    }

    /// Returns the event that reports that the reader lagged.
    pub(super) fn gap_event(&self) -> Vec<u8> {
        self.topic.shared.gap_event(None, self.cursor)
    }

    /// Returns `true` if no event will ever follow.
    #[cfg(feature = "http")]
    pub(super) fn is_over(&self) -> bool {
        self.topic.lock().is_over(self.cursor)
    }

    /// Appends the bytes before a client's first event. The next read does not report a gap.
    #[cfg(feature = "http")]
    pub(super) fn encode_opening(&mut self, retry: Option<Duration>, out: &mut Vec<u8>) {
        let missed = self.missed.take();
        let topic = &self.topic;
        let position = topic.position_id(self.cursor);
        topic.encode_opening(missed.as_ref(), self.cursor, position, retry, out);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.topic.shared.unsubscribe(self.place);
    }
}
