//! A reader of several topics, which waits in all of them.

use std::mem;
use std::task::{Context, Poll};
#[cfg(feature = "http")]
use std::time::Duration;

use sse_core::{Batch, Lagged, Resume};
use tokio::time::Instant;

use super::handle::Topic;
use super::several::{Followed, Several, next_batch};
use super::switching::Piece;
use super::waiters::Place;
use crate::sync::Arc;

/// A reader of several topics of one hub. Dropping it unsubscribes.
#[derive(Debug)]
pub(crate) struct JointReader {
    several: Several,
    /// For each topic the place of its waker, and whether its end has been reported.
    places: Vec<(Place, bool)>,
    lingers_until: Option<Instant>,
    /// Whether the gaps before the beginning have not been reported yet.
    has_gaps: bool,
    /// Whether the events that report the topics of a stream with a token are still to be read.
    has_opening: bool,
    /// The topic in which the last error was.
    lagged: usize,
    /// An error that the next read returns.
    postponed: Option<Lagged>,
}

/// What a reader of several topics has read.
#[derive(Debug)]
pub(crate) enum Read {
    Events(Batch),
    /// An event that is in no log, such as the end of one of the topics.
    Notice(Vec<u8>),
    /// A part of what is sent when the topics change.
    Piece(Piece),
}

impl JointReader {
    pub(super) fn new(several: Several) -> Self {
        for followed in &several.topics {
            followed.topic.shared.subscribe();
        }
        let has_gaps = several.gaps().next().is_some();
        Self {
            places: vec![(Place::NONE, false); several.topics.len()],
            lingers_until: None,
            has_gaps,
            has_opening: several.view.is_some(),
            lagged: 0,
            postponed: None,
            several,
        }
    }

    pub(super) const fn several(&self) -> &Several {
        &self.several
    }

    /// Returns the topic in which the last error was.
    pub(super) fn lagged(&self) -> &Topic {
        &self.several.topics[self.lagged].topic
    }

    /// Returns the event that reports the last error.
    pub(super) fn gap_event(&self) -> Vec<u8> {
        let from = self.several.topics[self.lagged].from;
        self.lagged().shared.gap_event_after(None, from)
    }

    /// Takes the events before the first one of a log, such as those that report gaps.
    pub(super) fn take_notices(&mut self) -> Option<Vec<u8>> {
        if !(mem::take(&mut self.has_gaps) | mem::take(&mut self.has_opening)) {
            return None;
        }
        let mut notices = Vec::new();
        self.several.encode_notices(&mut notices);
        Some(notices)
    }

    /// Appends the bytes before a client's first event. The next read does not report a gap.
    #[cfg(feature = "http")]
    pub(super) fn encode_opening(&mut self, retry: Option<Duration>, out: &mut Vec<u8>) {
        (self.has_gaps, self.has_opening) = (false, false);
        self.several.encode_opening(retry, out);
    }

    /// Returns the number of unread bytes.
    pub(super) fn lag(&self) -> usize {
        let lag = |followed: &Followed| {
            let log = &followed.topic.lock().log;
            let cursor = log.after(followed.from.max(self.several.position));
            cursor.distance(log.end())
        };
        self.several.topics.iter().map(lag).sum()
    }

    pub(super) const fn lingers_until(&self) -> Option<Instant> {
        self.lingers_until
    }

    /// Polls for the next events. `None` is the end, when all topics are finished.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Read>, Lagged>> {
        loop {
            if let Some(read) = self.try_read()? {
                return Poll::Ready(Ok(Some(read)));
            }
            match self.wait(cx) {
                Wait::Ended(Some(index)) => {
                    let topic = &self.several.topics[index].topic;
                    return Poll::Ready(Ok(Some(Read::Notice(topic.shared.end_event()))));
                }
                Wait::Ended(None) => return Poll::Ready(Ok(None)),
                Wait::Pending if !self.has_new() => return Poll::Pending,
                // Events were published before the waker was there.
                Wait::Pending => {}
            }
        }
    }

    /// Returns the next events, without waiting for any.
    fn try_read(&mut self) -> Result<Option<Read>, Lagged> {
        if let Some(lagged) = self.postponed.take() {
            return Err(lagged);
        }
        if mem::take(&mut self.has_gaps) {
            let mut topics = self.several.topics.iter();
            let gap = topics.position(|topic| topic.resume >= Resume::Gap);
            self.lagged = gap.unwrap_or_default();
            let begin = self.lagged().lock().log.begin();
            return Err(Lagged { begin });
        }
        if mem::take(&mut self.has_opening) {
            let opening = self.several.opening_events();
            return Ok(Some(Read::Notice(opening)));
        }
        loop {
            if let Some(piece) = self.next_piece() {
                return Ok(Some(Read::Piece(piece)));
            }
            if let Some(batch) = self.next_batch()? {
                return Ok(Some(Read::Events(batch)));
            }
            if !self.apply_change() {
                return Ok(None);
            }
        }
    }

    /// Returns the next events, if there are some. The next read returns an error.
    pub(super) fn read_more(&mut self) -> Option<Read> {
        self.try_read().unwrap_or_else(|lagged| {
            self.postponed = Some(lagged);
            None
        })
    }

    fn next_piece(&mut self) -> Option<Piece> {
        self.several.view.as_mut()?.next_piece()
    }

    /// Returns the next events of the topics, up to the next change of the topics.
    fn next_batch(&mut self) -> Result<Option<Batch>, Lagged> {
        let visible = self.several.hub.order().visible();
        let Several {
            position,
            topics,
            view,
            ..
        } = &self.several;
        let until = view.as_ref().map_or(visible, |view| view.limit(visible));
        let readers = topics
            .iter()
            .map(|followed| (&*followed.topic.shared, followed.from.max(*position)));
        match next_batch(readers, until) {
            Ok(Some(batch)) => {
                self.several.position = batch.position();
                let linger = self.several.hub.linger();
                let lingers = !linger.is_zero() && batch.position() == until;
                self.lingers_until = lingers
                    .then(|| Instant::now().checked_add(linger))
                    .flatten();
                Ok(Some(batch))
            }
            Ok(None) => {
                self.several.position = until.max(*position);
                Ok(None)
            }
            Err(missed) => {
                self.several.topics[missed.index].from = missed.evicted;
                self.lagged = missed.index;
                Err(missed.into())
            }
        }
    }

    /// Applies the change of the topics at the position, if there is one.
    fn apply_change(&mut self) -> bool {
        let Several {
            hub,
            position,
            topics,
            view: Some(view),
            ..
        } = &mut self.several
        else {
            return false;
        };
        let Some(members) = view.apply(*position) else {
            return false;
        };
        let (mut kept, mut places) = (Vec::new(), Vec::new());
        let followed = mem::take(topics)
            .into_iter()
            .zip(mem::take(&mut self.places));
        let mut followed: Vec<_> = followed.collect();
        for member in members {
            let is_same =
                |(followed, _): &(Followed, _)| followed.topic.address() == member.address();
            let (followed, place) = match followed.iter().position(is_same) {
                Some(index) => {
                    let (followed, (place, is_ended)) = followed.swap_remove(index);
                    (followed, (place, is_ended && member.change < *position))
                }
                None => {
                    member.topic.subscribe();
                    let topic = Topic::of_hub(member.topic, Arc::clone(hub));
                    (Followed::new(topic), (Place::NONE, false))
                }
            };
            kept.push(followed);
            places.push(place);
        }
        (*topics, self.places) = (kept, places);
        for (followed, (place, _)) in followed {
            followed.topic.shared.unsubscribe(place);
        }
        true
    }

    /// Registers the waker in all topics, unless one or all of them have ended.
    fn wait(&mut self, cx: &Context<'_>) -> Wait {
        if let Some(view) = &mut self.several.view {
            view.register(cx.waker());
        }
        let mut is_over = !self.places.is_empty();
        let followed = self.several.topics.iter().zip(&mut self.places);
        for (index, (followed, (place, is_ended))) in followed.enumerate() {
            let waker = cx.waker().clone();
            let mut state = followed.topic.lock();
            let is_last = state.is_over_after(self.several.position);
            is_over &= is_last;
            if is_last && !mem::replace(is_ended, true) {
                return Wait::Ended(Some(index));
            }
            let (renewed, replaced) = state.waiters.replace(*place, waker);
            drop(state);
            drop(replaced);
            *place = renewed;
        }
        if is_over {
            Wait::Ended(None)
        } else {
            Wait::Pending
        }
    }

    /// Returns `true` if there may be visible events after the position.
    fn has_new(&self) -> bool {
        let Several {
            hub,
            position,
            topics,
            view,
            ..
        } = &self.several;
        let is_new = |followed: &Followed| followed.topic.shared.may_have_after(*position);
        let visible = hub.order().visible();
        visible > *position && topics.iter().any(is_new)
            || view.as_ref().is_some_and(|view| view.is_due(visible))
    }
}

impl Drop for JointReader {
    fn drop(&mut self) {
        for (followed, (place, _)) in self.several.topics.iter().zip(&self.places) {
            followed.topic.shared.unsubscribe(*place);
        }
    }
}

/// What a reader waits for.
enum Wait {
    /// For events of any topic.
    Pending,
    /// For nothing: a topic has ended, or all of them have.
    Ended(Option<usize>),
}
