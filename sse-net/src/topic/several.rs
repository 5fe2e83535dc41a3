//! Topics of one hub that are followed together.

use std::mem;
use std::time::Duration;

use sse_core::{Batch, Cursor, EventId, Lagged, LogId, Resume};

use super::handle::Topic;
use super::hub::{HubShared, Judged};
use super::log::Since;
use super::position::encode_position;
use super::state::Shared;
use super::switching::{Member, StreamToken, View};
use crate::config::Start;
use crate::sync::Arc;

/// Topics of one hub that a client follows together, and where it continues.
#[derive(Debug)]
pub(crate) struct Several {
    pub(crate) hub: Arc<HubShared>,
    /// Everything up to this ID has been read of all topics.
    pub(crate) position: LogId,
    pub(crate) topics: Vec<Followed>,
    /// The worst outcome of the topics.
    pub(crate) resume: Resume,
    /// Where the state of keyed topics ends, if there are such topics.
    pub(crate) state_end: Option<LogId>,
    /// The client's last event ID.
    asked: Option<EventId<'static>>,
    /// What has been applied of the changes of the topics, if the stream has a token.
    pub(crate) view: Option<View>,
    /// The events that report the topics then.
    opening: Vec<u8>,
}

/// One of several topics.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) topic: Topic,
    /// Its events up to this ID are not sent: they are before the beginning, or missed.
    pub(crate) from: LogId,
    pub(crate) resume: Resume,
    pub(crate) is_keyed: bool,
    pub(crate) since: Since,
}

/// Where the reader of a topic is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReaderPlace {
    pub(crate) after: LogId,
    pub(crate) since: Since,
}

impl Followed {
    /// A topic that is added at the position of a stream.
    pub(super) fn new(topic: Topic) -> Self {
        Self {
            from: LogId::default(),
            resume: Resume::New,
            is_keyed: topic.shared.is_keyed(),
            since: Since::default(),
            topic,
        }
    }

    /// Returns where the reader of this topic is, when that of all is at `position`.
    pub(crate) fn place(&self, position: LogId) -> ReaderPlace {
        ReaderPlace {
            after: self.from.max(position),
            since: self.since,
        }
    }

    fn locate(topic: Topic, judged: Judged, start: Start) -> Self {
        let (state, found) = topic.shared.find_judged(judged, start);
        drop(state);
        let (from, resume) = (found.position.unwrap_or_default(), found.resume);
        let joining = found.joining;
        drop(found);
        Self {
            topic,
            from,
            resume,
            is_keyed: joining.is_some(),
            since: joining.map_or_else(Since::default, |joining| joining.since),
        }
    }
}

impl Several {
    /// Finds where a client continues after `asked`, or begins.
    ///
    /// A client with a known ID continues after it in all topics. Otherwise each topic has a
    /// beginning of its own, and the position is the earliest of them.
    pub(crate) fn locate(
        hub: Arc<HubShared>,
        topics: Vec<Topic>,
        asked: Option<&EventId<'_>>,
        start: Start,
        token: Option<StreamToken>,
    ) -> Self {
        let judged = hub.order().judge(asked);
        let locate = |topics: Vec<Topic>| -> Vec<Followed> {
            let topics = topics.into_iter();
            topics
                .map(|topic| Followed::locate(topic, judged, start))
                .collect()
        };
        let Some(token) = token else {
            return Self::new(hub, locate(topics), judged, asked);
        };
        let handle = |member: &Member| Topic::of_hub(Arc::clone(&member.topic), Arc::clone(&hub));
        let opened = hub.begin_response(token, &topics, asked, |first| {
            let first = locate(first.iter().map(handle).collect());
            let earliest = first.iter().map(|topic| topic.from).min();
            judged.position().or(earliest).unwrap_or(judged.visible)
        });
        let followed = locate(opened.members.iter().map(handle).collect());
        let mut several = Self::new(Arc::clone(&hub), followed, judged, asked);
        if several.topics.is_empty() {
            several.position = opened.view.applied();
        }
        several.state_end = several.state_end.map(|end| opened.view.limit(end));
        if opened.is_unknown {
            several.resume = several.resume.max(Resume::Gap);
        }
        several.opening = opened.opening;
        several.view = Some(opened.view);
        several
    }

    fn new(
        hub: Arc<HubShared>,
        topics: Vec<Followed>,
        judged: Judged,
        asked: Option<&EventId<'_>>,
    ) -> Self {
        let worst = topics.iter().map(|topic| topic.resume).max();
        let has_keyed = topics.iter().any(|followed| followed.is_keyed);
        let earliest = topics.iter().map(|topic| topic.from).min();
        Self {
            // A keyed topic may begin before the client's position.
            position: earliest
                .min(judged.position())
                .or(earliest)
                .unwrap_or_default(),
            state_end: Some(judged.visible).filter(|_| has_keyed),
            hub,
            topics,
            resume: worst.unwrap_or(Resume::New),
            asked: asked.map(|id| id.clone().into_owned()),
            view: None,
            opening: Vec::new(),
        }
    }

    /// Finds where a reader at the position continues, if that may be lost.
    pub(super) fn relocate(&mut self) {
        let position = EventId::from(self.position);
        let judged = self.hub.order().judge(Some(&position));
        let topics = mem::take(&mut self.topics).into_iter();
        let topics = topics.map(|followed| Followed::locate(followed.topic, judged, Start::Live));
        let located = Self::new(Arc::clone(&self.hub), topics.collect(), judged, None);
        (self.topics, self.position) = (located.topics, located.position);
        self.state_end = located.state_end;
        if let Some(view) = &mut self.view {
            view.fall_back(self.position);
            self.state_end = self.state_end.map(|end| view.limit(end));
        }
    }

    /// Continues a topic after events that were missed.
    ///
    /// A keyed topic begins anew, and then the position is before that of the other topics.
    pub(crate) fn begin_anew(&mut self, missed: usize, evicted: LogId) {
        let position = self.position;
        let followed = &mut self.topics[missed];
        followed.from = evicted;
        if !followed.is_keyed {
            return;
        }
        followed.since = followed.topic.lock().log.since();
        let visible = self.hub.order().visible();
        let view = self.view.as_ref();
        self.state_end = Some(view.map_or(visible, |view| view.limit(visible)));
        self.position = evicted;
        for (index, followed) in self.topics.iter_mut().enumerate() {
            if index != missed {
                followed.from = followed.from.max(position);
            }
        }
    }

    /// Returns the names of the topics in which events were missed.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = &str> {
        let gaps = self
            .topics
            .iter()
            .filter(|topic| topic.resume >= Resume::Gap);
        gaps.filter_map(|followed| followed.topic.name())
    }

    /// Returns `true` unless one of the topics is still to be read from an engine. The mark may be
    /// after its events until then.
    pub(super) fn is_read(&self) -> bool {
        let mut topics = self.topics.iter();
        topics.all(|followed| followed.topic.shared.is_read())
    }

    /// Returns `true` if no event will ever follow.
    pub(crate) fn is_over(&self) -> bool {
        let is_over = |followed: &Followed| {
            let mut state = followed.topic.lock();
            let is_over = state.is_over_after(self.position);
            state.rest();
            is_over
        };
        let may_change = self.view.as_ref().is_some_and(View::may_change);
        !may_change && !self.topics.is_empty() && self.topics.iter().all(is_over)
    }

    /// Returns the events with which a stream with a token begins.
    pub(super) fn opening_events(&self) -> Vec<u8> {
        self.opening.clone()
    }

    /// Appends the events before the first one of a log: those of a stream with a token, and a
    /// gap event for each topic in which events were missed.
    pub(crate) fn encode_notices(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.opening);
        for followed in &self.topics {
            if followed.resume >= Resume::Gap {
                let topic = &followed.topic.shared;
                let gap = topic.gap_event_after(self.asked.as_ref(), followed.from);
                out.extend_from_slice(&gap);
            }
        }
    }

    /// Appends the bytes before a client's first event, like
    /// [`Located::encode_opening`](super::position::Located::encode_opening).
    pub(crate) fn encode_opening(&self, retry: Option<Duration>, out: &mut Vec<u8>) {
        self.encode_notices(out);
        encode_position(Some(self.position.into()), retry, out);
    }
}

/// Why a reader has to look at the topic with this index before it reads on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Obstacle {
    Missed(usize, Missed),
    /// All of the topic has been read, which was removed at this ID, and another one has its name.
    Replaced(usize, LogId),
}

/// Events of a topic were evicted before they were read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Missed {
    /// They are those up to this ID.
    pub(crate) evicted: LogId,
    /// The cursor before the oldest retained event.
    begin: Cursor,
}

impl From<Missed> for Lagged {
    fn from(missed: Missed) -> Self {
        Self {
            begin: missed.begin,
        }
    }
}

/// Returns the next events of some topics of a hub up to the ID `until`, merged, or `None` if
/// there are none. Each topic comes with the position of its reader.
///
/// This is the general rule, which works for any readers. A topic without new events costs no
/// lock. The index of a topic is that of its log in the batch.
pub(crate) fn next_batch<'a>(
    topics: impl Iterator<Item = (&'a Shared, ReaderPlace)>,
    until: LogId,
) -> Result<Option<Batch>, Obstacle> {
    let mut slices = Vec::new();
    for (index, (topic, place)) in topics.enumerate() {
        let ReaderPlace { after, since } = place;
        if !topic.may_have_after(after) {
            continue;
        }
        let mut state = topic.lock();
        let replaced = state.replaced();
        let log = &mut state.log;
        match log.read_between(after, until, since) {
            Ok(Some(slice)) => {
                let is_all = slice.last_id() >= log.newest_id().min(until);
                slices.push((index, slice, is_all && replaced.is_none()));
            }
            Ok(None) => match replaced {
                Some(removed) if log.newest_id() <= until.max(after) => {
                    return Err(Obstacle::Replaced(index, removed));
                }
                _ => {}
            },
            Err(lagged) => {
                let missed = Missed {
                    evicted: log.begin_id(),
                    begin: lagged.begin,
                };
                return Err(Obstacle::Missed(index, missed));
            }
        }
    }
    Ok(Batch::merge(slices, until))
}
