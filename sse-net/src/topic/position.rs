//! The position at which a client begins or resumes, and the bytes before its first event.

use std::ops::Not;
use std::time::Duration;

use sse_core::{Cursor, Event, EventId, EventType, Evicted, KeyedLog, KnownId, Log, LogId, Resume};

use super::clock::now;
use super::handle::Topic;
use super::hub::Judged;
use super::log::{Since, TopicLog};
use super::state::{Shared, State};
use crate::config::{Start, UnknownId};
use crate::sync::MutexGuard;

/// Where a client continues.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) resume: Resume,
    pub(crate) cursor: Cursor,
    /// The ID with which a client resumes at the cursor.
    position: Option<EventId<'static>>,
    /// Whether the topic is finished and has no event after the cursor.
    pub(crate) is_over: bool,
    /// The client's last event ID, if events after it were missed.
    missed: Option<EventId<'static>>,
    /// The state that the client gets first, if the topic is keyed.
    pub(crate) joining: Option<Joining>,
}

impl Located {
    /// Appends the bytes before the client's first event.
    pub(crate) fn encode_opening(&self, topic: &Topic, retry: Option<Duration>, out: &mut Vec<u8>) {
        let missed = self.missed.as_ref();
        topic.encode_opening(missed, self.cursor, self.position.clone(), retry, out);
    }
}

impl Topic {
    /// Returns how a client resumes that has received events up to `last_event_id`.
    ///
    /// See [`Log::resume`](sse_core::Log::resume). A server calls this itself; see
    /// [`Request::follow`](crate::Request::follow).
    #[must_use]
    pub fn resume(&self, last_event_id: Option<&EventId<'_>>) -> Resume {
        let (mut state, found) = self.find(last_event_id, Start::Live);
        state.rest();
        drop(state);
        found.resume
    }

    /// Finds where a client continues after `asked`, or begins.
    pub(crate) fn locate(&self, asked: Option<&EventId<'_>>, start: Start) -> Located {
        let (mut state, found) = self.find(asked, start);
        let is_over = state.is_over(found.cursor);
        let position = match found.position {
            Some(position) => Some(position.into()),
            None => state.log.position_id(found.cursor, now()),
        };
        if is_over {
            state.rest(); // No subscriber follows that would do it.
        }
        drop(state);
        Located {
            resume: found.resume,
            cursor: found.cursor,
            position,
            is_over,
            missed: found.missed(asked),
            joining: found.joining,
        }
    }

    /// Locks the topic and finds where to continue after `asked`, or to begin. The caller drops
    /// what was found after the lock.
    pub(super) fn find(
        &self,
        asked: Option<&EventId<'_>>,
        start: Start,
    ) -> (MutexGuard<'_, State>, Found) {
        if let Some(hub) = self.hub() {
            return self.shared.find_judged(hub.order().judge(asked), start);
        }
        let mut state = self.lock();
        let evicted = state.log.evict(now());
        let unknown_id = self.shared.config.unknown_id;
        let (resume, cursor) = match &state.log {
            TopicLog::Ordinary(log) => find(log, asked, start, unknown_id),
            TopicLog::Keyed(_) => (Resume::New, Cursor::START), // It is one of a hub.
        };
        let found = Found {
            resume,
            cursor,
            position: None,
            joining: None,
            _evicted: evicted,
        };
        (state, found)
    }

    /// Appends the bytes before a client's first event: the gap event, if events after `missed`
    /// were missed, and then [the position](encode_position).
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
            out.extend_from_slice(&self.shared.gap_event(missed, cursor));
        }
        encode_position(position, retry, out);
    }
}

/// Appends a block with the reconnection time and the ID of the position, so that a client that
/// is cut off before its first event resumes. Without a reconnection time there is no block:
/// some clients take every block for an event.
pub(super) fn encode_position(
    position: Option<EventId<'static>>,
    retry: Option<Duration>,
    out: &mut Vec<u8>,
) {
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

impl Shared {
    /// Locks a topic of a hub that has judged the client's ID, like [`Topic::find`].
    pub(super) fn find_judged(
        &self,
        judged: Judged,
        start: Start,
    ) -> (MutexGuard<'_, State>, Found) {
        let mut state = self.lock();
        let evicted = state.log.evict(now());
        let unknown_id = self.config.unknown_id;
        let log = &state.log;
        let (resume, position, joining) = match log {
            TopicLog::Ordinary(log) => {
                let (resume, position) = judged.find(log, start, unknown_id);
                (resume, position, None)
            }
            TopicLog::Keyed(keyed) => {
                let (resume, position) = judged.find_keyed(keyed);
                let since = match resume {
                    Resume::Resumed => Since::default(),
                    _ => log.since(),
                };
                let until = log.end();
                (resume, position, Some(Joining { since, until }))
            }
        };
        let found = Found {
            resume,
            cursor: log.after(position),
            position: Some(position),
            joining,
            _evicted: evicted,
        };
        (state, found)
    }

    /// Encodes the event that reports a gap: with the last event ID that the client sent, the
    /// ID of the event at `cursor`, with which it continues, and whether it begins anew.
    pub(crate) fn gap_event(&self, asked: Option<&EventId<'_>>, cursor: Cursor) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct Gap<'a> {
            asked: Option<&'a str>,
            from: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            topic: Option<&'a str>,
            #[serde(skip_serializing_if = "<&bool>::not")]
            clear: bool,
        }
        self.meter().add_gap();
        let mut state = self.lock();
        let (from, clear) = (state.log.next_event_id(cursor), state.log.is_keyed());
        drop(state);
        let gap = Gap {
            asked: asked.map(EventId::as_str),
            from: from.as_ref().map(EventId::as_str),
            topic: self.name().map(|name| &**name),
            clear,
        };
        let event = Event::new().event(&self.config.gap_type);
        let mut out = Vec::new();
        event.json_data(&gap).unwrap_or_default().encode(&mut out);
        out
    }

    /// Encodes the gap event for a client of a hub, which continues after this ID.
    pub(crate) fn gap_event_after(&self, asked: Option<&EventId<'_>>, from: LogId) -> Vec<u8> {
        let cursor = self.lock().log.after(from);
        self.gap_event(asked, cursor)
    }

    /// Returns the event that stands where the state of a keyed topic ends, if there is to be one.
    pub(crate) fn marker_event(&self) -> Option<Vec<u8>> {
        let event_type = self.config.marker_type.as_ref()?;
        let mut out = Vec::new();
        Event::new().event(event_type).data("").encode(&mut out);
        Some(out)
    }

    /// Encodes the event that reports that this one of several topics has ended.
    pub(crate) fn end_event(&self) -> Vec<u8> {
        #[derive(serde::Serialize)]
        struct End<'a> {
            topic: Option<&'a str>,
        }
        let event = Event::new().event(CLOSE);
        let end = End {
            topic: self.name().map(|name| &**name),
        };
        let mut out = Vec::new();
        event.json_data(&end).unwrap_or_default().encode(&mut out);
        out
    }
}

/// Where a client continues in one topic.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) resume: Resume,
    pub(super) cursor: Cursor,
    /// The position in the hub, if the topic is one of a hub.
    pub(super) position: Option<LogId>,
    /// The state that the client gets first, if the topic is keyed.
    pub(super) joining: Option<Joining>,
    /// What was evicted before. Its memory is freed without a lock.
    _evicted: Evicted,
}

/// The state of a keyed topic, on its way to a client that has joined or come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joining {
    pub(crate) since: Since,
    /// Where the state ends and what follows begins.
    pub(crate) until: Cursor,
}

impl Found {
    /// Returns the client's ID if it has missed events after it.
    pub(super) fn missed(&self, asked: Option<&EventId<'_>>) -> Option<EventId<'static>> {
        let has_missed = matches!(self.resume, Resume::Gap | Resume::Unknown);
        asked
            .filter(|_| has_missed)
            .map(|id| id.clone().into_owned())
    }
}

impl Judged {
    /// Returns the client's position, or the one after which it lost events.
    pub(super) fn position(&self) -> Option<LogId> {
        match self.asked? {
            (id, KnownId::Position) => Some(id),
            (_, KnownId::Lost(last)) => Some(last),
            (_, KnownId::Unknown) => None,
        }
    }

    /// Returns `true` if the client's ID was lost with its event.
    pub(super) const fn has_lost(&self) -> bool {
        matches!(self.asked, Some((_, KnownId::Lost(_))))
    }

    /// Finds where the client continues in a topic, or begins: after this position.
    pub(super) fn find(&self, log: &Log, start: Start, unknown_id: UnknownId) -> (Resume, LogId) {
        let window = || log.id_before(log.window());
        let begin = || match start {
            Start::Live => self.visible,
            Start::Last(count) => log.id_before(log.last(count)),
            Start::Earliest => window(),
        };
        let resumed = |id: LogId| {
            if id < log.evicted() {
                (Resume::Gap, log.evicted())
            } else {
                (Resume::Resumed, id)
            }
        };
        let (resume, position) = match (self.asked, unknown_id) {
            (None, _) => (Resume::New, begin()),
            (Some((id, KnownId::Position)), _) => resumed(id),
            (Some((_, KnownId::Lost(last))), _) => (Resume::Gap, resumed(last).1),
            (Some((_, KnownId::Unknown)), UnknownId::ReplayAll) => (Resume::Unknown, window()),
            (Some((_, KnownId::Unknown)), UnknownId::StartLive) => (Resume::Unknown, begin()),
        };
        // No event comes before it, and a client that comes back with it is known.
        (resume, position.max(self.origin))
    }
}

impl Judged {
    /// Finds where the client continues in a keyed topic. Unless it resumes, it gets the newest
    /// event of each key.
    fn find_keyed(&self, log: &KeyedLog) -> (Resume, LogId) {
        let (resume, position) = match self.asked {
            None => (Resume::New, LogId::default()),
            Some((id, KnownId::Position)) if id >= log.evicted() => (Resume::Resumed, id),
            Some((_, KnownId::Position | KnownId::Lost(_))) => (Resume::Gap, LogId::default()),
            Some((_, KnownId::Unknown)) => (Resume::Unknown, LogId::default()),
        };
        (resume, position.max(self.origin))
    }
}

/// The type of the event that reports the end of one of several topics.
const CLOSE: EventType<'static> = EventType::from_static("close");

/// Finds where the client continues in the log of a topic that stands alone, or begins.
fn find(
    log: &Log,
    asked: Option<&EventId<'_>>,
    start: Start,
    unknown_id: UnknownId,
) -> (Resume, Cursor) {
    let (resume, cursor) = log.resume(asked);
    let begins =
        resume == Resume::New || resume == Resume::Unknown && unknown_id == UnknownId::StartLive;
    let cursor = match start {
        Start::Live if begins => log.end(),
        Start::Last(count) if begins => log.last(count),
        Start::Earliest if begins => log.window().min(log.end()),
        _ => cursor,
    };
    (resume, cursor)
}
