//! The topics of a hub by their names, and the last IDs of dropped topics.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use sse_core::{LogId, Now};

use crate::sync::{Arc, Weak};
use crate::topic::state::Shared;

/// The topics of a hub.
///
/// A topic is dropped when nobody holds it and all of its events have expired. Its greatest ID
/// is kept with its name for the age of its retention: a client that was away for less gets no
/// gap event because of topics that it does not follow. After that, the number becomes a part
/// of the hub's floor, with which every topic that is created anew begins.
///
/// Nobody waits for that: creating a topic looks at two others, so that the number of topics
/// that could be dropped does not grow. Nor does that of the names of dropped topics: beyond a
/// limit, the oldest become a part of the floor early.
///
/// A topic may also be removed while it is held. If it still is when its name is used again, it
/// learns of that: a stream that follows several topics continues with the new one.
///
/// A journal writes that a topic is gone; otherwise a restart would bring it back. So its name is
/// kept until that is synced. A journal that has failed writes nothing for a time without a limit.
/// Meanwhile the names of topics that are younger than the failure need not be kept for it.
#[derive(Default)]
pub(super) struct Names {
    slots: HashMap<Arc<str>, Slot>,
    /// All names in the order in which they are looked at. Some may be of dropped topics.
    queue: VecDeque<Arc<str>>,
    count: usize,
    /// The greatest ID of the topics whose names have been dropped.
    floor: LogId,
    /// The names that there were when the journal failed, while it writes nothing.
    stored: Option<StoredNames>,
}

/// The names of topics that a journal may have stored.
pub(crate) type StoredNames = HashSet<Arc<str>>;

enum Slot {
    Live(Arc<Shared>),
    Gone(Box<Gone>),
}

/// What is kept of a topic that was dropped.
struct Gone {
    evicted: LogId,
    until: Duration,
    /// The topic, if it was held when it was removed.
    held: Weak<Shared>,
}

/// Topics that were dropped. Their memory is freed without a lock.
pub(super) type Dropped = Vec<Arc<Shared>>;

impl Names {
    pub(super) fn with_floor(floor: LogId) -> Self {
        Self {
            floor,
            ..Self::default()
        }
    }

    /// Returns all topics.
    pub(super) fn live(&self) -> impl Iterator<Item = &Arc<Shared>> {
        self.slots.values().filter_map(|slot| match slot {
            Slot::Live(topic) => Some(topic),
            Slot::Gone(_) => None,
        })
    }

    /// Returns the names of topics that were dropped, each with its greatest ID.
    pub(super) fn removed(&self) -> impl Iterator<Item = (LogId, Arc<str>)> {
        self.slots.iter().filter_map(|(name, slot)| match slot {
            Slot::Gone(gone) => Some((gone.evicted, Arc::clone(name))),
            Slot::Live(_) => None,
        })
    }

    /// Returns the greatest ID of the topics whose names have been dropped.
    pub(super) const fn floor(&self) -> LogId {
        self.floor
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Shared>> {
        match self.slots.get(name) {
            Some(Slot::Live(topic)) => Some(Arc::clone(topic)),
            _ => None,
        }
    }

    /// Adds a topic, which `create` makes with the greatest ID that counts as evicted. The second
    /// topic is the one that had the name before, if it is held, with the ID at which it was
    /// removed.
    pub(super) fn insert(
        &mut self,
        name: &str,
        create: impl FnOnce(Arc<str>, LogId) -> Arc<Shared>,
    ) -> (Arc<Shared>, Option<(Arc<Shared>, LogId)>) {
        let (name, evicted, held) = match self.slots.remove_entry(name) {
            Some((name, Slot::Gone(gone))) => (name, gone.evicted, gone.held.upgrade()),
            _ => {
                let name: Arc<str> = name.into();
                self.queue.push_back(Arc::clone(&name));
                (name, self.floor, None)
            }
        };
        let topic = create(Arc::clone(&name), evicted);
        self.slots.insert(name, Slot::Live(Arc::clone(&topic)));
        self.count += 1;
        (topic, held.map(|held| (held, evicted)))
    }

    /// Returns the number of topics.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Checks `count` names, and drops those that are unused at the time `now`.
    ///
    /// If the names of dropped topics are more than `max_gone`, those that are checked are dropped
    /// early. None is dropped whose end is after the ID `safe`, if a journal has to write it. Nor
    /// is that of a topic that is held.
    pub(super) fn sweep(
        &mut self,
        count: usize,
        (max_gone, safe): (usize, LogId),
        now: Now,
        dropped: &mut Dropped,
    ) {
        for _ in 0..count.min(self.queue.len()) {
            let Some(name) = self.queue.pop_front() else {
                return;
            };
            match self.slots.get_key_value(&name) {
                // The topic was dropped, and perhaps created anew.
                Some((current, _)) if !Arc::ptr_eq(current, &name) => continue,
                None => continue,
                Some((_, Slot::Live(topic))) if Arc::strong_count(topic) == 1 => {
                    let topic = Arc::clone(topic);
                    self.drop_expired(&topic, now, dropped);
                }
                Some((_, Slot::Gone(gone)))
                    if (gone.evicted <= safe || self.is_unstored(&name))
                        && gone.held.strong_count() == 0
                        && (gone.until <= now.steady
                            || self.slots.len() - self.count > max_gone) =>
                {
                    self.floor = self.floor.max(gone.evicted);
                    self.slots.remove(&name);
                    continue;
                }
                Some(_) => {}
            }
            self.queue.push_back(name);
        }
    }

    /// Returns whether the journal has failed and cannot have stored the topic.
    fn is_unstored(&self, name: &str) -> bool {
        let stored = self.stored.as_ref();
        stored.is_some_and(|stored| !stored.contains(name))
    }

    /// Notes that the journal writes nothing from now on. It may have stored topics of the names
    /// `stored`, or of any that there is.
    pub(super) fn begin_failure(&mut self, stored: Option<StoredNames>) {
        let stored = stored.unwrap_or_else(|| self.slots.keys().cloned().collect());
        self.stored = Some(stored);
    }

    /// Notes that the journal writes again, and returns the names that it may have stored before.
    pub(super) fn end_failure(&mut self) -> Option<StoredNames> {
        self.stored.take()
    }

    /// Drops a topic unless it retains events, or there is a reference to it besides the
    /// caller's and this one.
    pub(super) fn drop_expired(&mut self, topic: &Arc<Shared>, now: Now, dropped: &mut Dropped) {
        if is_held(topic) {
            return;
        }
        let mut state = topic.lock_packed();
        let evicted = state.log.evict(now);
        // An engine has the events of a finished topic, which is read again when it is used again.
        let is_needless = topic.has_engine() && state.end.is_some();
        let (has_expired, newest) = (state.log.has_expired(now), state.log.newest_id());
        drop(state);
        drop(evicted);
        if has_expired || is_needless {
            let until = now.steady.saturating_add(topic.retention().max_age());
            self.remove(topic, newest, until, dropped);
        }
    }

    /// Removes a topic, of which events up to `evicted` count as evicted until a time.
    pub(super) fn remove(
        &mut self,
        topic: &Arc<Shared>,
        evicted: LogId,
        until: Duration,
        dropped: &mut Dropped,
    ) {
        let Some(name) = topic.name().filter(|_| self.has(topic)) else {
            return;
        };
        self.count -= 1;
        let held = if is_held(topic) {
            Arc::downgrade(topic)
        } else {
            Weak::new() // Which keeps no memory.
        };
        if evicted <= self.floor && held.strong_count() == 0 {
            self.slots.remove(name);
        } else if let Some(slot) = self.slots.get_mut(name) {
            *slot = Slot::Gone(Box::new(Gone {
                evicted,
                until,
                held,
            }));
        }
        dropped.push(Arc::clone(topic));
    }

    /// Returns the topics whose names begin with `prefix`.
    pub(super) fn with_prefix(&self, prefix: &str) -> Vec<Arc<Shared>> {
        let is_named = |topic: &&Arc<Shared>| {
            let name = topic.name();
            name.is_some_and(|name| name.starts_with(prefix))
        };
        self.live().filter(is_named).cloned().collect()
    }

    /// Returns `true` unless the topic has been dropped.
    pub(super) fn has(&self, topic: &Arc<Shared>) -> bool {
        let name = topic.name().map_or("", |name| name);
        matches!(self.slots.get(name), Some(Slot::Live(current)) if Arc::ptr_eq(current, topic))
    }
}

/// Returns `true` if there is a reference to the topic besides the caller's and that of its hub.
pub(super) fn is_held(topic: &Arc<Shared>) -> bool {
    Arc::strong_count(topic) > 2
}

#[cfg(test)]
impl Names {
    /// The numbers of names and of places in the queue.
    pub(super) fn lens(&self) -> (usize, usize) {
        (self.slots.len(), self.queue.len())
    }
}
