//! A reader of several topics, which waits in all of them.

use std::mem;
use std::task::{Context, Poll};
#[cfg(feature = "http")]
use std::time::Duration;

use sse_core::{Batch, Lagged, LogId, Resume};
use tokio::time::Instant;

use super::handle::Topic;
use super::held::Held;
use super::several::{Followed, Obstacle, Several, next_batch};
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
    /// The topic in which the last error was, and whether that is still to be reported.
    lagged: usize,
    is_unreported: bool,
    /// The end of the state of keyed topics, until that has been read.
    state_end: Option<LogId>,
    /// The rest of a pass, if topics are keyed; see `Reader`.
    held: Held<Batch>,
}

/// What a reader of several topics has read.
#[derive(Debug)]
pub(crate) enum Read {
    Events(Batch),
    /// Events that report the end of one of the topics, or of the state of those that are keyed,
    /// or the topics of a stream with a token.
    Own(Vec<u8>),
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
            is_unreported: false,
            state_end: several.state_end,
            held: Held::new(),
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
                    return Poll::Ready(Ok(Some(Read::Own(topic.shared.end_event()))));
                }
                Wait::Ended(None) => return Poll::Ready(Ok(None)),
                Wait::Pending if !self.has_new() => return Poll::Pending,
                // Events were published before the waker was there.
                Wait::Pending => {}
            }
        }
    }

    /// Returns the next events, without waiting for any. The next call reports an error again.
    pub(super) fn try_next(&mut self) -> Result<Option<Read>, Lagged> {
        let next = self.try_read();
        self.is_unreported |= next.is_err();
        next
    }

    fn try_read(&mut self) -> Result<Option<Read>, Lagged> {
        if mem::take(&mut self.is_unreported) {
            let begin = self.lagged().lock().log.begin();
            return Err(Lagged { begin });
        }
        if mem::take(&mut self.has_gaps) {
            let mut topics = self.several.topics.iter();
            let gap = topics.position(|topic| topic.resume >= Resume::Gap);
            self.lagged = gap.unwrap_or_default();
            let begin = self.lagged().lock().log.begin();
            return Err(Lagged { begin });
        }
        if mem::take(&mut self.has_opening) {
            return Ok(Some(Read::Own(self.several.opening_events())));
        }
        loop {
            if let Some(piece) = self.next_piece() {
                return Ok(Some(Read::Piece(piece)));
            }
            if let Some(read) = self.next_events()? {
                if let Read::Events(batch) = &read {
                    self.count(batch);
                }
                return Ok(Some(read));
            }
            if let Some(markers) = self.take_markers() {
                return Ok(Some(Read::Own(markers)));
            }
            if !self.apply_change() {
                return Ok(None);
            }
        }
    }

    /// Counts the events of a batch in the meters of their topics.
    fn count(&mut self, batch: &Batch) {
        for count in batch.counts(batch.len()) {
            let topic = &self.several.topics[count.log].topic;
            topic
                .shared
                .meter()
                .add_delivered(count.events, count.bytes);
            // If it had ended, it has begun anew, and may end again.
            let (_, is_ended) = &mut self.places[count.log];
            *is_ended = false;
        }
    }

    fn next_piece(&mut self) -> Option<Piece> {
        self.several.view.as_mut()?.next_piece()
    }

    /// Returns the next events of the topics, up to the next change of the topics, or the report of
    /// the end of one that is then replaced.
    fn next_events(&mut self) -> Result<Option<Read>, Lagged> {
        if let Some(batch) = self.held.pop(&self.several.hub) {
            self.several.position = batch.position();
            return Ok(Some(Read::Events(batch)));
        }
        let visible = self
            .several
            .hub
            .order()
            .visible_after(self.several.position);
        let Some(visible) = visible else {
            return Err(self.lose_end());
        };
        let Several {
            position,
            topics,
            view,
            ..
        } = &self.several;
        if !self.several.is_read() {
            return Ok(None);
        }
        let until = self.state_end.unwrap_or_else(|| {
            let view = view.as_ref();
            view.map_or(visible, |view| view.limit(visible))
        });
        let readers = topics
            .iter()
            .map(|followed| (&*followed.topic.shared, followed.place(*position)));
        match next_batch(readers, until) {
            Ok(Some(batch)) => {
                self.several.position = batch.position();
                let linger = self.several.hub.linger();
                let lingers = !linger.is_zero() && batch.position() == until;
                self.lingers_until = lingers
                    .then(|| Instant::now().checked_add(linger))
                    .flatten();
                self.hold_rest(until);
                Ok(Some(Read::Events(batch)))
            }
            Ok(None) => {
                self.several.position = until.max(*position);
                Ok(None)
            }
            Err(Obstacle::Missed(index, missed)) => {
                self.several.begin_anew(index, missed.evicted);
                self.state_end = self.several.state_end;
                self.lagged = index;
                Err(missed.into())
            }
            Err(Obstacle::Replaced(index, removed)) => {
                let (_, is_ended) = &mut self.places[index];
                if !mem::replace(is_ended, true) {
                    let end = self.several.topics[index].topic.shared.end_event();
                    return Ok(Some(Read::Own(end)));
                }
                self.replace(index, removed);
                self.next_events()
            }
        }
    }

    /// Continues with the topic that has the name of one that was removed at this ID.
    fn replace(&mut self, index: usize, removed: LogId) {
        let Several { hub, topics, .. } = &mut self.several;
        let followed = &mut topics[index];
        let topic = hub.successor(&followed.topic.shared);
        topic.subscribe();
        let topic = Topic::of_hub(topic, Arc::clone(hub));
        let next = Followed {
            from: removed,
            ..Followed::new(topic)
        };
        let former = mem::replace(followed, next);
        let (place, _) = mem::replace(&mut self.places[index], (Place::NONE, false));
        former.topic.shared.unsubscribe(place);
    }

    /// Continues like a client that comes back with the position, after an engine has lost events
    /// that may have been read.
    fn lose_end(&mut self) -> Lagged {
        self.several.relocate();
        self.state_end = self.several.state_end;
        self.held.clear(&self.several.hub);
        self.lagged = 0;
        Lagged {
            begin: self.lagged().lock().log.begin(),
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

    /// Holds what follows up to the ID `until`, if topics are keyed.
    fn hold_rest(&mut self, until: LogId) {
        let Several {
            hub,
            position,
            topics,
            ..
        } = &self.several;
        if !topics.iter().any(|followed| followed.is_keyed) {
            return;
        }
        let mut position = *position;
        self.held.fill(hub, || {
            if position >= until {
                return None;
            }
            let readers = topics
                .iter()
                .map(|followed| (&*followed.topic.shared, followed.place(position)));
            let batch = next_batch(readers, until).ok()??;
            position = batch.position();
            let bytes = batch.len();
            Some((batch, bytes))
        });
    }

    /// Returns the events that stand where the state of keyed topics ends, once that is read.
    fn take_markers(&mut self) -> Option<Vec<u8>> {
        if self.state_end? > self.several.position {
            return None;
        }
        self.state_end = None;
        let topics = self.several.topics.iter();
        let keyed = topics.filter(|followed| followed.is_keyed);
        let markers = keyed.filter_map(|followed| followed.topic.shared.marker_event());
        Some(markers.flatten().collect()).filter(|markers: &Vec<u8>| !markers.is_empty())
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

    /// Returns `true` if there may be visible events after the position, or a topic is to be
    /// replaced.
    fn has_new(&self) -> bool {
        let Several {
            hub,
            position,
            topics,
            view,
            ..
        } = &self.several;
        let is_new = |followed: &Followed| followed.topic.shared.may_have_after(*position);
        let Some(visible) = hub.order().visible_after(*position) else {
            return true;
        };
        let is_replaced = |followed: &Followed| followed.topic.shared.is_replaced_after(*position);
        self.several.is_read() && visible > *position && topics.iter().any(is_new)
            || topics.iter().any(is_replaced)
            || view.as_ref().is_some_and(|view| view.is_due(visible))
    }
}

impl Drop for JointReader {
    fn drop(&mut self) {
        self.held.clear(&self.several.hub);
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
