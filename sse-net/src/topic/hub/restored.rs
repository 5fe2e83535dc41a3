//! Topics of an earlier run.

use std::collections::HashMap;
use std::time::Duration;

use sse_core::{Epochs, EventKey, Finish, KeyedLog, KeyedRetention, Log, LogId, Restored};

use super::core::HubCore;
use super::names::{Dropped, Names};
use crate::config::HubConfig;
use crate::sync::Arc;
use crate::topic::clock::now;
use crate::topic::log::{SafeId, TopicKeyedLog, TopicLog};
use crate::topic::state::{End, Shared};

/// The events of a topic of an earlier run.
#[derive(Default)]
pub(crate) struct RestoredTopic {
    pub(crate) events: Restored,
    pub(crate) evicted: LogId,
    /// How the topic ended, if it did not begin anew after that.
    pub(crate) finish: Option<Finish>,
    /// Events up to this ID are of a topic of the same name that was removed.
    pub(crate) removed: LogId,
    /// The greatest ID of an event with a key, or of a removal that was dropped for good.
    pub(crate) keyed: LogId,
    /// The key of each event.
    pub(crate) keys: HashMap<LogId, EventKey>,
}

impl RestoredTopic {
    /// Notes that the topic ended, unless it did so again later.
    pub(crate) fn finish_at(&mut self, end: Finish) {
        let known = self.finish.take().filter(|known| known.id >= end.id);
        self.finish = known.or(Some(end));
    }

    /// Appends the events to an empty log, and holds back what follows.
    pub(crate) fn into_log(self, mut log: Log) -> Log {
        let now = now();
        log.restore(self.events, now);
        drop(log.evict(now));
        log.hold(Some(log.tip()));
        log
    }

    pub(crate) fn is_keyed(&self) -> bool {
        self.keyed > self.removed
    }

    /// Appends the events to a keyed log, and holds back what follows.
    fn into_keyed_log(self, retention: KeyedRetention, safe: Option<Arc<SafeId>>) -> TopicKeyedLog {
        let (now, log) = (now(), KeyedLog::new(retention, self.evicted));
        let mut log = TopicKeyedLog::new(log, self.removed, safe);
        log.release_removals();
        for (id, event) in self.events.iter() {
            if id > self.removed
                && let Some(key) = self.keys.get(&id)
            {
                drop(log.restore(id, key, event, now));
            }
        }
        drop(log.evict(now));
        let last = log.newest_id();
        log.hold(Some(last));
        log
    }
}

impl HubCore {
    /// Restores a hub, all of whose events are visible. A storage moves the mark from now on.
    ///
    /// `floor` is the greatest evicted ID of topics that are not in `topics`.
    pub(crate) fn restore(
        config: HubConfig,
        epochs: Epochs,
        floor: LogId,
        safe: Arc<SafeId>,
        topics: impl Iterator<Item = (String, RestoredTopic)>,
    ) -> Self {
        let hub = Self::new(config, epochs, Names::with_floor(floor), Some(safe));
        let last = hub.order().epochs.last();
        drop(hub.order().set_visible(last));
        hub.order().take_new_events();
        for (name, restored) in topics {
            let finish = restored.finish;
            let create = |name: Arc<str>, _| {
                let config = Arc::clone(hub.config.topic(&name));
                let log = match restored.is_keyed() {
                    true => restored
                        .into_keyed_log(config.keyed, hub.safe.clone())
                        .into(),
                    false => {
                        let log = Log::of_hub(config.retention, restored.evicted);
                        TopicLog::from(restored.into_log(log))
                    }
                };
                let end = finish.and_then(|finish| end(finish, log.newest_id()));
                let meter = hub.meters.of(&name);
                Shared::restored(config, log, Some(name), meter, end, None)
            };
            let (topic, _) = hub.names().insert(&name, create);
            hub.drop_removed(&topic);
        }
        hub
    }

    /// Drops a topic that an earlier run had removed.
    fn drop_removed(&self, topic: &Arc<Shared>) {
        let state = topic.lock();
        let end = state.end.filter(|end| end.id == state.log.evicted());
        drop(state);
        if let Some(end) = end {
            let (age, mut dropped) = (topic.retention().max_age().min(DAY), Dropped::new());
            let until = now().steady.saturating_add(age);
            self.names().remove(topic, end.id, until, &mut dropped);
        }
    }
}

/// Returns the end of a restored topic whose newest event this is.
///
/// It does not count if the last event is missing, or if a later topic had the same name.
fn end(finish: Finish, newest: LogId) -> Option<End> {
    let Finish { last, id } = finish;
    let counts = newest <= id && (newest == last || id > last);
    counts.then_some(End {
        last,
        id,
        is_held: false,
    })
}

/// The maximum time for which the name of a removed topic is kept after a restart.
const DAY: Duration = Duration::from_secs(24 * 3600);
