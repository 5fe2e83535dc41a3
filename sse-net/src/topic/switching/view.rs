//! What a response has applied of the changes of its stream's topics.

use std::collections::{BTreeMap, VecDeque};
use std::task::Waker;
use std::{fmt, mem};

use bytes::Bytes;
use sse_core::{Event, EventId, EventType, LogId};

use super::set::{Member, TopicSet};
use super::token::StreamToken;
use crate::sync::Arc;
use crate::topic::hub::HubShared;
use crate::topic::log::Since;
use crate::topic::waiters::Place;

/// A response of a stream whose topics change. Dropping it ends the response.
///
/// ```text
///             the position reaches a change            all pieces are taken
///   follows ──────────────────────────────> replays ──────────────────────> follows
/// ```
pub(crate) struct View {
    hub: Arc<HubShared>,
    token: StreamToken,
    set: Arc<TopicSet>,
    /// The changes up to this ID have been applied.
    applied: LogId,
    place: Place,
    replay: Option<Box<Replay>>,
}

/// What is sent at a change.
struct Replay {
    change: LogId,
    /// The event before, if there is something to replay.
    opening: Option<Vec<u8>>,
    /// The topics that are replayed, each from an ID on.
    topics: VecDeque<Member>,
    /// The event after, with the ID of the change.
    closing: Vec<u8>,
}

/// A part of what is sent at a change.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// The number of events.
    pub(crate) count: usize,
    pub(crate) is_gap: bool,
}

impl View {
    /// `applied` is the position of the response, up to which the changes have been applied.
    pub(super) const fn new(
        hub: Arc<HubShared>,
        token: StreamToken,
        set: Arc<TopicSet>,
        applied: LogId,
    ) -> Self {
        Self {
            hub,
            token,
            set,
            applied,
            place: Place::NONE,
            replay: None,
        }
    }

    /// Returns the ID up to which the changes have been applied.
    pub(in crate::topic) const fn applied(&self) -> LogId {
        self.applied
    }

    /// Falls back to a position after an engine has lost events. Later changes come again.
    pub(in crate::topic) fn fall_back(&mut self, position: LogId) {
        self.applied = self.applied.min(position);
        self.replay = None;
    }

    /// Returns `true` if a change is being applied, or may have to be. It may err only on that
    /// side, and takes no lock.
    pub(crate) fn may_change(&self) -> bool {
        self.replay.is_some() || self.set.may_change_after(self.applied)
    }

    /// Returns the ID up to which events are read: that of the next change, or else `visible`.
    ///
    /// The caller has read `visible` before, with the hub locked, so that no change before it is
    /// overlooked.
    pub(crate) fn limit(&self, visible: LogId) -> LogId {
        self.next_change()
            .map_or(visible, |change| change.min(visible))
    }

    /// Returns `true` if there is something to send at the position.
    pub(crate) fn is_due(&self, position: LogId) -> bool {
        self.replay.is_some() || self.next_change().is_some_and(|change| change <= position)
    }

    fn next_change(&self) -> Option<LogId> {
        if self.set.may_change_after(self.applied) {
            self.set.lock().next_change(self.applied)
        } else {
            None
        }
    }

    /// Applies the change at the position, if there is one, and returns the topics that are
    /// followed from now on. [`next_piece`](Self::next_piece) returns what is sent first.
    pub(crate) fn apply(&mut self, position: LogId) -> Option<Vec<Member>> {
        let change = self.next_change().filter(|change| *change <= position)?;
        let members: Vec<_> = self
            .set
            .lock()
            .members(&self.hub, change)
            .cloned()
            .collect();
        let replayed = members.iter();
        let replayed = replayed.filter(|member| member.change == change && member.is_replayed());
        let topics: VecDeque<_> = replayed.cloned().collect();
        self.applied = change;
        self.replay = Some(Box::new(Replay {
            change,
            opening: (!topics.is_empty()).then(|| encode(&members, &topics, None)),
            topics,
            closing: encode(&members, &VecDeque::new(), Some(change)),
        }));
        Some(members)
    }

    /// Returns the next part of what is sent at a change, or `None` after the last one.
    pub(crate) fn next_piece(&mut self) -> Option<Piece> {
        let replay = self.replay.as_mut()?;
        if let Some(opening) = replay.opening.take() {
            return Some(Piece::event(opening));
        }
        while let Some(member) = replay.topics.front_mut() {
            if let Some(piece) = member.next_piece(replay.change) {
                return Some(piece);
            }
            replay.topics.pop_front();
        }
        let closing = mem::take(&mut replay.closing);
        self.replay = None;
        Some(Piece::event(closing))
    }

    /// Registers the waker of the response.
    pub(crate) fn register(&mut self, waker: &Waker) {
        let waker = waker.clone();
        let mut state = self.set.lock();
        let (place, replaced) = state.waiters.replace(self.place, waker);
        drop(state);
        drop(replaced);
        self.place = place;
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.set.unregister(self.place);
        self.hub.end_response(&self.token);
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("applied", &self.applied)
            .finish_non_exhaustive()
    }
}

impl Member {
    /// Returns the next events up to the ID of the change, without their `id` lines.
    fn next_piece(&mut self, change: LogId) -> Option<Piece> {
        if let Some(asked) = self.unknown.take() {
            return Some(self.gap(Some(&asked)));
        }
        if self.from >= change {
            return None;
        }
        let (is_keyed, mut state) = (self.topic.is_keyed(), self.topic.lock());
        let log = &mut state.log;
        let read = match self.after {
            // What a keyed topic has dropped since, the client has not received either.
            None if is_keyed => log.slice_between(self.from, change),
            _ => log.read_between(self.from, change, Since::default()),
        };
        let begin = log.begin_id();
        drop(state);
        match read {
            Ok(Some(slice)) => {
                self.from = slice.last_id();
                Some(Piece {
                    bytes: slice.bytes_without_ids().into(),
                    count: slice.count(),
                    is_gap: false,
                })
            }
            Ok(None) => {
                self.from = change;
                let marker = self.topic.marker_event().filter(|_| is_keyed);
                marker.map(Piece::event)
            }
            // Whatever the treatment of slow clients is: one that came back would get the topic
            // from its beginning again.
            Err(_) => {
                self.from = begin;
                let asked = self.after.map(EventId::from);
                if is_keyed {
                    self.after = None;
                }
                Some(self.gap(asked.as_ref()))
            }
        }
    }

    fn gap(&self, asked: Option<&EventId<'_>>) -> Piece {
        let gap = self.topic.gap_event_after(asked, self.from);
        Piece {
            is_gap: true,
            ..Piece::event(gap)
        }
    }
}

impl Piece {
    fn event(bytes: Vec<u8>) -> Self {
        Self {
            bytes: bytes.into(),
            count: 1,
            is_gap: false,
        }
    }
}

/// Encodes the event with which a response of a stream with a token begins.
pub(super) fn encode_first(members: &[Member], out: &mut Vec<u8>) {
    out.extend_from_slice(&encode(members, &VecDeque::new(), None));
}

/// Encodes the event that reports the topics of a stream. `replayed` are those of which events
/// without IDs follow.
fn encode(members: &[Member], replayed: &VecDeque<Member>, id: Option<LogId>) -> Vec<u8> {
    #[derive(serde::Serialize)]
    struct Topics<'a> {
        topics: Vec<&'a str>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        from: BTreeMap<&'a str, Option<String>>,
    }
    let topics = members.iter().map(Member::name);
    let from = replayed.iter().map(|member| {
        let after = member.after.map(|id| id.to_string());
        (member.name(), after)
    });
    let mut event = Event::new().event(TOPICS);
    if let Some(id) = id {
        event = event.id(EventId::from(id));
    }
    let data = Topics {
        topics: topics.collect(),
        from: from.collect(),
    };
    let mut out = Vec::new();
    event.json_data(&data).unwrap_or_default().encode(&mut out);
    out
}

/// Encodes the event that reports an unknown token.
pub(super) fn encode_unknown(
    gap_type: &EventType<'static>,
    asked: Option<&EventId<'_>>,
    out: &mut Vec<u8>,
) {
    #[derive(serde::Serialize)]
    struct Unknown<'a> {
        asked: Option<&'a str>,
        from: Option<&'a str>,
        token: &'a str,
    }
    let data = Unknown {
        asked: asked.map(EventId::as_str),
        from: None,
        token: "unknown",
    };
    let event = Event::new().event(gap_type);
    event.json_data(&data).unwrap_or_default().encode(out);
}

/// The type of the event that reports the topics of a stream.
const TOPICS: EventType<'static> = EventType::from_static("topics");
