//! The order of a hub: the last ID, and the ID up to which events are visible.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;

use sse_core::{Epochs, EventId, Ids, KnownId, LogId, Now};

use crate::sync::Arc;
use crate::topic::source::NewEvents;
use crate::topic::state::Shared;
use crate::topic::switching::{PENDING, TopicSet};

/// What the hub's lock protects.
pub(crate) struct Order {
    pub(crate) epochs: Epochs,
    /// The mark: events after it are not visible yet. `None` without a journal or an engine;
    /// then each event is visible at once.
    held: Option<LogId>,
    /// The topics with events after `taken`, while there is a mark.
    changed: Vec<Arc<Shared>>,
    taken: LogId,
    /// The topics that were removed since, each with the ID at which that happened.
    removed: Vec<(LogId, Arc<str>)>,
    /// `None` without an engine.
    awaited: Option<Awaited>,
    /// By their addresses, the streams with changes after the mark, while there is one.
    switched: HashMap<usize, Arc<TopicSet>>,
}

/// What the engine has to do for the hub.
#[derive(Default)]
struct Awaited {
    /// Topics that are still to be read.
    unread: Vec<Arc<Shared>>,
    /// Streams with changes that have no ID yet.
    switched: Vec<Arc<TopicSet>>,
}

impl Order {
    pub(super) fn new(epochs: Epochs) -> Self {
        Self {
            epochs,
            held: None,
            changed: Vec::new(),
            taken: LogId::default(),
            removed: Vec::new(),
            awaited: None,
            switched: HashMap::new(),
        }
    }

    /// Assigns the next `count` IDs.
    pub(super) fn assign(&mut self, count: usize, now: Now) -> Ids {
        self.epochs.next_ids(count, now.unix)
    }

    /// Assigns the ID of a change of a stream's topics, which are locked. With an engine, it is
    /// [`PENDING`] until the engine has assigned one.
    pub(crate) fn assign_change(&mut self, set: &Arc<TopicSet>, now: Now) -> LogId {
        if self.await_change(set) {
            return PENDING;
        }
        self.assign(1, now);
        let id = self.epochs.last();
        self.note_change(set, id);
        id
    }

    /// Lets a change wait for its ID, and returns `true`, if there is an engine.
    pub(crate) fn await_change(&mut self, set: &Arc<TopicSet>) -> bool {
        let Some(awaited) = &mut self.awaited else {
            return false;
        };
        awaited.switched.push(Arc::clone(set));
        set.note_change(PENDING);
        true
    }

    /// Notes the ID of a change of a stream's topics, which are locked.
    pub(crate) fn note_change(&mut self, set: &Arc<TopicSet>, id: LogId) {
        set.note_change(id);
        if self.held.is_some() {
            let address = Arc::as_ptr(set).addr();
            self.switched.insert(address, Arc::clone(set));
        }
    }

    /// Notes that a topic gets events. `newest` is the ID of its last one before.
    pub(super) fn note(&mut self, topic: &Arc<Shared>, newest: LogId) {
        if self.held.is_some() && newest <= self.taken {
            self.changed.push(Arc::clone(topic));
        }
    }

    /// Notes a topic that has just been created, if it begins with an ID that has not been taken:
    /// [`note`](Self::note) would take it for a topic that has been noted.
    pub(super) fn note_new(&mut self, topic: &Arc<Shared>) {
        if let Some(awaited) = &mut self.awaited {
            awaited.unread.push(Arc::clone(topic));
        } else if self.held.is_some() && topic.newest.load() > self.taken {
            self.changed.push(Arc::clone(topic));
        }
    }

    /// Notes that a topic is removed at the last ID.
    pub(super) fn note_removal(&mut self, topic: &Shared) {
        if self.held.is_some() {
            let name = topic.name().cloned();
            self.removed
                .extend(name.map(|name| (self.epochs.last(), name)));
        }
    }

    /// Returns the topics with events since the last call.
    pub(crate) fn take_new_events(&mut self) -> NewEvents {
        self.taken = self.epochs.last();
        NewEvents {
            until: self.taken,
            topics: mem::take(&mut self.changed),
            removed: mem::take(&mut self.removed),
        }
    }

    /// Returns the ID up to which all events of the hub are visible.
    pub(crate) fn visible(&self) -> LogId {
        self.held.unwrap_or(self.epochs.last())
    }

    /// Moves the mark, and returns the streams whose changes are visible now.
    pub(super) fn set_visible(&mut self, id: LogId) -> Vec<Arc<TopicSet>> {
        self.held = Some(id);
        let is_visible = |_: &usize, set: &mut Arc<TopicSet>| set.last_change() <= id;
        let visible = self.switched.extract_if(is_visible);
        visible.map(|(_, set)| set).collect()
    }

    /// Returns the mark for a client at this position, or `None` if an engine has lost events that
    /// the client may have received.
    ///
    /// This is the rule of known IDs, for a stream that continues.
    pub(crate) fn visible_after(&self, position: LogId) -> Option<LogId> {
        let visible = self.visible();
        if self.awaited.is_none() || position <= visible && position.epoch() == visible.epoch() {
            return Some(visible);
        }
        let known = self.epochs.judge(position, visible);
        (known == KnownId::Position).then_some(visible)
    }

    pub(super) const fn has_engine(&self) -> bool {
        self.awaited.is_some()
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Judges the last event ID of a client.
    pub(crate) fn judge(&self, last_event_id: Option<&EventId<'_>>) -> Judged {
        self.judge_at(self.visible(), last_event_id)
    }

    /// Judges the last event ID of a client, when events up to `visible` are visible.
    pub(crate) fn judge_at(&self, visible: LogId, last_event_id: Option<&EventId<'_>>) -> Judged {
        let text = last_event_id
            .map(EventId::as_str)
            .filter(|id| !id.is_empty());
        Judged {
            visible,
            origin: self.epochs.origin(),
            asked: text.map(|text| match LogId::parse(text) {
                Some(id) => (id, self.epochs.judge(id, visible)),
                None => (LogId::default(), KnownId::Unknown),
            }),
        }
    }
}

#[cfg(feature = "redis")]
impl Order {
    /// Takes the epochs of an engine, of which the last ID is the mark.
    pub(super) fn set_epochs(&mut self, epochs: Epochs) {
        self.held = Some(epochs.last());
        self.epochs = epochs;
        self.awaited.get_or_insert_default();
    }

    pub(super) fn has_unread(&self) -> bool {
        let awaited = self.awaited.as_ref();
        awaited.is_some_and(|awaited| !awaited.unread.is_empty())
    }

    /// Takes the topics that are still to be read.
    pub(super) fn take_unread(&mut self) -> Vec<Arc<Shared>> {
        let awaited = self.awaited.as_mut();
        awaited.map_or_else(Vec::new, |awaited| mem::take(&mut awaited.unread))
    }

    pub(crate) fn has_switched(&self) -> bool {
        let awaited = self.awaited.as_ref();
        awaited.is_some_and(|awaited| !awaited.switched.is_empty())
    }

    /// Takes the streams with changes that have no ID yet.
    pub(crate) fn take_switched(&mut self) -> Vec<Arc<TopicSet>> {
        let awaited = self.awaited.as_mut();
        awaited.map_or_else(Vec::new, |awaited| mem::take(&mut awaited.switched))
    }
}

/// The last event ID of a client, judged, and the position of a client that joins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) visible: LogId,
    /// A position before all events.
    pub(crate) origin: LogId,
    /// `None` for a client without an ID.
    pub(crate) asked: Option<(LogId, KnownId)>,
}

/// Returns a random number for an epoch.
pub(crate) fn random_epoch() -> u16 {
    #[cfg(test)]
    if let Some(epoch) = crate::topic::clock::simulated::next_epoch() {
        return epoch;
    }
    // Its keys come from the operating system.
    let [high, low, ..] = RandomState::new().hash_one(()).to_be_bytes();
    u16::from_be_bytes([high, low])
}
