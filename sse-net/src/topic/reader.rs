//! A reader of one topic: a cursor into its log that can wait.

use std::task::{Context, Poll, ready};
#[cfg(feature = "http")]
use std::time::Duration;

use sse_core::{Cursor, EventId, Lagged, LogId, Resume, Slice};
use tokio::time::Instant;

#[cfg(feature = "http")]
use super::clock::now;
use super::handle::Topic;
use super::held::Held;
use super::log::Since;
use super::subscription::Next;
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
    resume: Resume,
    /// The ID after which events were missed, until that has been reported.
    missed: Option<EventId<'static>>,
    since: Since,
    /// The end of the state of a keyed topic, until that has been read.
    state_end: Option<Cursor>,
    /// The rest of a pass over a keyed topic, which would otherwise be superseded meanwhile.
    held: Held<Slice>,
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
            since: found
                .joining
                .map_or_else(Since::default, |joining| joining.since),
            state_end: found.joining.map(|joining| joining.until),
            held: Held::new(),
        }
    }
}

impl Topic {
    /// Creates a reader that begins with the next event that is published, also in a keyed topic.
    pub(crate) fn live_reader(&self) -> Reader {
        let mut reader = self.reader(None, Start::Live);
        if reader.state_end.is_some() {
            reader.skip_state();
        }
        reader
    }
}

impl Reader {
    /// Continues a reader of a keyed topic with the next event that is published.
    pub(crate) fn skip_state(&mut self) {
        let Some(hub) = self.topic.hub() else {
            return;
        };
        self.position = hub.order().visible();
        let log = &self.topic.lock().log;
        self.cursor = log.after(self.position);
        (self.since, self.state_end) = (log.since(), None);
        self.held.clear(hub);
    }

    /// Polls for the next events, or the marker that separates the state of a keyed topic from
    /// what follows. `None` is the end of a finished topic.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Next>, Lagged>> {
        if self.state_end.is_some() && self.missed.is_none() {
            match self.try_next() {
                Ok(Some(next)) => return Poll::Ready(Ok(Some(next))),
                Ok(None) => {}
                Err(lagged) => return Poll::Ready(Err(self.begin_anew(lagged))),
            }
        }
        let slice = ready!(self.poll_slice(cx))?;
        Poll::Ready(Ok(slice.map(|slice| self.deliver(slice))))
    }

    /// Returns the next events or the marker, without waiting. An error changes nothing.
    pub(super) fn try_next(&mut self) -> Result<Option<Next>, Lagged> {
        if let Some(slice) = self.next_held() {
            return Ok(Some(self.deliver(slice)));
        }
        let until = self.state_end.unwrap_or(Cursor::MAX);
        match self.topic.read(self.cursor..until, self.since) {
            Ok(Some(slice)) => {
                (self.cursor, self.position) = (slice.end(), slice.last_id());
                self.hold_rest(until);
                Ok(Some(self.deliver(slice)))
            }
            Ok(None) => {
                let state_end = self.state_end.take();
                self.cursor = self.cursor.max(state_end.unwrap_or_default());
                let marker = state_end.and_then(|_| self.topic.shared.marker_event());
                Ok(marker.map(Next::own))
            }
            Err(lagged) => Err(lagged),
        }
    }

    fn deliver(&self, slice: Slice) -> Next {
        let meter = self.topic.shared.meter();
        meter.add_delivered(slice.count(), slice.len());
        slice.into()
    }

    /// Polls for the next slice. `None` is the end of a finished topic.
    pub(crate) fn poll_slice(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Slice>, Lagged>> {
        if self.missed.take().is_some() {
            let begin = self.cursor;
            return Poll::Ready(Err(Lagged { begin }));
        }
        if let Some(slice) = self.next_held() {
            return Poll::Ready(Ok(Some(slice)));
        }
        let mut state = self.topic.lock();
        let end = state.log.end();
        match state.log.read(self.cursor..end, self.since) {
            Ok(Some(slice)) => {
                (self.cursor, self.position) = (slice.end(), slice.last_id());
                let linger = self.topic.shared.linger();
                // Events that are left over have waited long enough.
                let lingers = !linger.is_zero() && slice.end() == state.log.end();
                let is_pass = state.log.is_keyed() && slice.end() < state.log.end();
                drop(state);
                if is_pass {
                    self.hold_rest(Cursor::MAX);
                }
                self.lingers_until = if lingers {
                    Instant::now().checked_add(linger)
                } else {
                    None
                };
                Poll::Ready(Ok(Some(slice)))
            }
            Ok(None) => {
                let is_over = state.is_over(self.cursor);
                // Also at the end, because the topic may begin anew.
                let waker = cx.waker().clone();
                let (place, replaced) = state.waiters.replace(self.place, waker);
                drop(state);
                self.place = place;
                drop(replaced);
                if is_over {
                    Poll::Ready(Ok(None))
                } else {
                    Poll::Pending
                }
            }
            Err(lagged) => {
                drop(state);
                Poll::Ready(Err(self.begin_anew(lagged)))
            }
        }
    }

    /// Holds what follows, if the topic is keyed.
    fn hold_rest(&mut self, until: Cursor) {
        let Some(hub) = self.topic.hub().filter(|_| self.topic.shared.is_keyed()) else {
            return;
        };
        let (mut cursor, since) = (self.cursor, self.since);
        self.held.fill(hub, || {
            let slice = self.topic.read(cursor..until, since).ok()??;
            cursor = slice.end();
            let bytes = slice.len();
            Some((slice, bytes))
        });
    }

    fn next_held(&mut self) -> Option<Slice> {
        let slice = self.held.pop(self.topic.hub()?)?;
        (self.cursor, self.position) = (slice.end(), slice.last_id());
        Some(slice)
    }

    /// Continues with the oldest retained event, or the state of a keyed topic.
    fn begin_anew(&mut self, lagged: Lagged) -> Lagged {
        let log = &self.topic.lock().log;
        (self.cursor, self.position) = (lagged.begin, log.begin_id());
        self.since = log.since();
        self.state_end = log.is_keyed().then(|| log.end());
        lagged
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
        let position = match topic.hub() {
            Some(_) => Some(self.position.into()),
            None => topic.lock().log.position_id(self.cursor, now()),
        };
        topic.encode_opening(missed.as_ref(), self.cursor, position, retry, out);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(hub) = self.topic.hub() {
            self.held.clear(hub);
        }
        self.topic.shared.unsubscribe(self.place);
    }
}
