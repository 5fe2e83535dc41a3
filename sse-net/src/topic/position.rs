//! Where a client begins or continues, and what it gets before its first event.

use std::time::Duration;

use sse_core::{Cursor, Event, EventId, Evicted, Resume};

use super::clock::now;
use super::handle::Topic;
use super::state::State;
use crate::config::UnknownId;

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the next event that is published.
    #[default]
    Live,
    /// With at most this many of the last events of the replay window.
    Last(usize),
    /// With the whole replay window.
    Earliest,
}

/// Where a client continues.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) resume: Resume,
    pub(crate) cursor: Cursor,
    /// The ID with which a client resumes at the cursor.
    position: Option<EventId<'static>>,
    /// Whether no event will ever follow.
    pub(crate) is_over: bool,
    /// The client's last event ID, if events after it were missed.
    missed: Option<EventId<'static>>,
}

impl Located {
    /// Appends the bytes before the client's first event.
    pub(crate) fn encode_opening(&self, topic: &Topic, retry: Option<Duration>, out: &mut Vec<u8>) {
        let missed = self.missed.as_ref();
        topic.encode_opening(missed, self.cursor, self.position.clone(), retry, out);
    }
}

impl Topic {
    /// Returns where a client continues that has seen events up to `last_event_id`.
    ///
    /// See [`Log::resume`](sse_core::Log::resume). A server calls this itself; see
    /// [`Request::follow`](crate::Request::follow).
    #[must_use]
    pub fn resume(&self, last_event_id: Option<&EventId<'_>>) -> Resume {
        let mut state = self.lock();
        let evicted = state.log.evict(now());
        let resume = state.log.resume(last_event_id);
        drop(state);
        drop(evicted);
        resume
    }

    /// Finds where a client continues after `asked`, or begins.
    pub(crate) fn locate(&self, asked: Option<&EventId<'_>>, start: Start) -> Located {
        let mut state = self.lock();
        let unknown_id = self.shared.config.unknown_id;
        let (resume, cursor, evicted) = state.locate(asked, start, unknown_id);
        let is_over = state.is_over(cursor);
        let position = state.log.position_id(cursor, now());
        drop(state);
        drop(evicted);
        Located {
            resume,
            cursor,
            position,
            is_over,
            missed: match resume {
                Resume::Gap(_) | Resume::Unknown => asked.map(|id| id.clone().into_owned()),
                Resume::New | Resume::Resumed(_) => None,
            },
        }
    }

    /// Encodes the event that reports a gap: with the last event ID that the client sent, and
    /// the ID of the event at `cursor`, with which it continues.
    pub(crate) fn gap_event(&self, asked: Option<&EventId<'_>>, cursor: Cursor) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Gap<'a> {
            asked: Option<&'a str>,
            from: Option<&'a str>,
        }
        let from = self.lock().log.next_event_id(cursor);
        let gap = Gap {
            asked: asked.map(EventId::as_str),
            from: from.as_ref().map(EventId::as_str),
        };
        let event = Event::new().event(&self.shared.config.gap_type);
        let mut out = Vec::new();
        event.json_data(&gap).unwrap_or_default().encode(&mut out);
        out
    }

    /// Appends the bytes before a client's first event: the gap event, if events after `missed`
    /// were missed, and a block with the reconnection time and the ID of the position, so that
    /// a client that is cut off before its first event resumes. Without a reconnection time
    /// there is no block: some clients take every block for an event.
    ///
    /// In this order, a client that has received the ID has received the gap event, too.
    pub(super) fn encode_opening(
        &self,
        missed: Option<&EventId<'_>>,
        cursor: Cursor,
        position: Option<EventId<'static>>,
        retry: Option<Duration>,
        out: &mut Vec<u8>,
    ) {
        if missed.is_some() {
            out.extend_from_slice(&self.gap_event(missed, cursor));
        }
        let Some(retry) = retry else {
            return;
        };
        let block = Event::new().retry(retry);
        match position {
            Some(id) => block.id(id),
            None => block,
        }
        .encode(out);
    }
}

impl State {
    /// Finds where to continue after `asked`, or to begin.
    pub(super) fn locate(
        &mut self,
        asked: Option<&EventId<'_>>,
        start: Start,
        unknown_id: UnknownId,
    ) -> (Resume, Cursor, Evicted) {
        let evicted = self.log.evict(now());
        let resume = self.log.resume(asked);
        let cursor = match (resume, unknown_id) {
            (Resume::Resumed(cursor) | Resume::Gap(cursor), _) => cursor,
            (Resume::Unknown, UnknownId::ReplayAll) => self.log.window().min(self.log.end()),
            (Resume::Unknown, UnknownId::StartLive) | (Resume::New, _) => match start {
                Start::Live => self.log.end(),
                Start::Last(count) => self.log.last(count),
                Start::Earliest => self.log.window().min(self.log.end()),
            },
        };
        (resume, cursor, evicted)
    }
}
