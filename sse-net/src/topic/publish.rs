//! Publishing: the path of an event into the log.

use std::slice;

use sse_core::{Encoded, Event, Evicted, Ids, LogId, Now};
use tokio::sync::watch;

use super::clock::now;
use super::handle::Topic;
use super::hub::Order;
use super::published::{PublishError, Published};
use super::source::{Kind, Storage};
use super::state::State;
use super::waiters::Wakers;
use crate::sync::{Arc, MutexGuard};

impl Topic {
    /// Publishes an event.
    ///
    /// Never waits, and works from any thread, within a runtime or without. With a journal,
    /// [`Published::stored`] waits until the event has been stored. Costs one encoding and one
    /// wake-up per waiting [`Subscription`](crate::Subscription) (more than 100 are woken from a
    /// task); a server waits in one subscription per shard.
    ///
    /// An event without an ID gets one from the log; see [`Log`](sse_core::Log).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: the topic has been finished or is keyed; the event is too large, or has an
    /// ID in a topic of a hub; a journal that holds events back is too far behind; or the queue of
    /// an engine is full. Nothing was published.
    pub fn publish(&self, event: &Event<'_>) -> Result<Published, PublishError> {
        self.publish_all(slice::from_ref(event))
    }

    /// Publishes several events as one batch.
    ///
    /// Subscribers are woken once, and no events of other publishers come between. Other
    /// publishers and readers wait meanwhile, some 0.1 µs per event.
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish); none of the events was published.
    pub fn publish_all(&self, events: &[Event<'_>]) -> Result<Published, PublishError> {
        let typed = self.typed(events);
        let events = typed.as_deref().unwrap_or(events);
        if let Some(engine) = self.engine() {
            return self.send(engine, Kind::Events, events, None);
        }
        let large = self.encode_large(events)?;
        let now = now();
        let (state, ids) = self.enter(events.len(), now, false)?;
        Ok(self.append(state, ids, events, large, now))
    }

    /// Ends the topic, after a `last` event if there is one.
    ///
    /// Subscribers get the events that they have not read, and then the end of their stream.
    /// Browsers reconnect after that, and get 204 once they have seen everything, which stops
    /// them. Finishing a finished topic changes nothing. A topic of a hub with a journal is still
    /// finished after a restart.
    ///
    /// [`Published::stored`] waits until the journal or the engine has the end. The journal of a
    /// topic that stands alone has only its events.
    ///
    /// With an engine, the end is queued like an event, and sent again if the connection breaks.
    /// The topic is finished on every node then, and the engine refuses later events: their
    /// [`Published::stored`] returns an error. It remains so until the topic expires.
    /// An end that the engine refuses is also reported by `EngineNotice::NotFinished`.
    ///
    /// ```
    /// use sse_core::{Event, EventType};
    /// use sse_net::{PublishError, Topic, TopicConfig};
    ///
    /// const DONE: EventType = EventType::from_static("done");
    ///
    /// let job = Topic::new(TopicConfig::default());
    /// job.publish(&Event::new().data("99 %"))?;
    /// job.finish(Some(&Event::new().event(DONE).data("")))?;
    /// let late = job.publish(&Event::new().data("too late"));
    /// assert_eq!(late, Err(PublishError::Finished));
    /// # Ok::<(), PublishError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`publish`](Self::publish), but for a finished topic; the topic has not been finished.
    /// Without a `last` event, only an engine refuses the end.
    pub fn finish(&self, last: Option<&Event<'_>>) -> Result<Published, PublishError> {
        let events = last.map_or(&[][..], slice::from_ref);
        if !events.is_empty() && self.shared.is_keyed() {
            return Err(PublishError::Keyed);
        }
        let typed = self.typed(events);
        let events = typed.as_deref().unwrap_or(events);
        if let Some(engine) = self.engine() {
            return match self.send(engine, Kind::End, events, None) {
                Err(PublishError::Finished) => Ok(self.finished()),
                sent => sent,
            };
        }
        let large = self.encode_large(events)?;
        let now = now();
        match self.enter(events.len(), now, true) {
            Ok((state, ids)) => Ok(self.append(state, ids, events, large, now)),
            Err(PublishError::Finished) => Ok(self.finished()),
            Err(error) => Err(error),
        }
    }

    /// Returns the end of a topic that has been finished before.
    fn finished(&self) -> Published {
        let last = self.shared.lock_packed().last_id();
        // The engine has it, or this node would not know of it.
        let outcome = self.engine().map(|_| watch::channel(Some(Ok(last))).1);
        Published {
            id: None,
            before: last,
            last,
            topic: self.address(),
            storage: self.storage().cloned(),
            outcome,
        }
    }

    /// Locks the topic to append `count` events, and takes their IDs if a hub assigns them. With
    /// `ends`, the topic accepts no more events after these.
    ///
    /// The hub's lock is released once the topic is locked. So the events are appended in the
    /// order of their IDs, and a reader that reads the hub's last ID and then locks a topic finds
    /// all of the topic's events up to that ID.
    #[inline]
    fn enter(
        &self,
        count: usize,
        now: Now,
        ends: bool,
    ) -> Result<(MutexGuard<'_, State>, Option<Ids>), PublishError> {
        let (mut order, mut state) = self.lock_open()?;
        if count > 0 {
            if state.log.is_keyed() {
                return Err(PublishError::Keyed);
            }
            self.check_backlog(&state)?;
        }
        let ids = order
            .as_mut()
            .map(|order| self.shared.assign(order, count, now));
        if ends {
            let newest = state.log.newest_id();
            let end = order.map(|mut order| self.shared.assign_end(&mut order, count, newest, now));
            state.end = Some(end.unwrap_or_default());
        }
        Ok((state, ids))
    }

    /// Locks the hub and the topic, unless the topic is finished.
    #[inline]
    pub(super) fn lock_open(&self) -> Result<Locked<'_>, PublishError> {
        let order = self.hub().map(|hub| hub.order());
        // A log is packed only once its topic is finished.
        let state = self.shared.lock_packed();
        if state.end.is_some() {
            return Err(PublishError::Finished);
        }
        Ok((order, state))
    }

    /// Returns an error if half of the bytes that the topic retains wait for its storage, and that
    /// bounds them.
    #[inline]
    pub(super) fn check_backlog(&self, state: &State) -> Result<(), PublishError> {
        let is_bounded = |storage: &Arc<dyn Storage>| storage.bounds_backlog();
        if self.storage().is_none_or(|storage| !is_bounded(storage)) {
            return Ok(());
        }
        let config = &self.shared.config;
        let max = match state.log.is_keyed() {
            true => config.keyed.max_bytes(),
            false => config.retention.max_bytes(),
        };
        if state.log.end().distance(state.log.tip()) > max / 2 {
            return Err(PublishError::BacklogFull);
        }
        Ok(())
    }

    /// Returns the events with the topic's type, if it has one.
    pub(super) fn typed<'a>(&'a self, events: &'a [Event<'_>]) -> Option<Vec<Event<'a>>> {
        let event_type = self.shared.config.event_type.as_ref()?;
        Some(
            events
                .iter()
                .map(|event| event.or_type(event_type))
                .collect(),
        )
    }

    /// Checks the events, and encodes those that are too large to be encoded under the lock.
    /// Returns these with their indices.
    pub(super) fn encode_large(
        &self,
        events: &[Event<'_>],
    ) -> Result<Vec<(usize, Encoded)>, PublishError> {
        if self.hub().is_some() && events.iter().any(|event| event.event_id().is_some()) {
            return Err(PublishError::OwnId);
        }
        let max = self.shared.config.max_event;
        let is_large =
            |(_, event): &(usize, &Event<'_>)| event.text_len() > SMALL || max_len(event) > max;
        if !events.iter().enumerate().any(|event| is_large(&event)) {
            return Ok(Vec::new()); // Nearly always.
        }
        let large = events.iter().enumerate().filter(is_large);
        large
            .map(|(index, event)| {
                let encoded = Encoded::new(event);
                match encoded.max_len() {
                    len if len > max => Err(PublishError::TooLarge { len, max }),
                    _ => Ok((index, encoded)),
                }
            })
            .collect()
    }

    /// Appends `events` and wakes subscribers.
    fn append(
        &self,
        mut state: MutexGuard<'_, State>,
        mut ids: Option<Ids>,
        events: &[Event<'_>],
        large: Vec<(usize, Encoded)>,
        now: Now,
    ) -> Published {
        let (mut id, mut evicted) = (None, Evicted::default());
        let before = state.log.newest_id();
        self.shared.meter().add_published(events.len());
        let mut large = large.into_iter().peekable();
        for (index, event) in events.iter().enumerate() {
            let encoded = large.next_if(|(at, _)| *at == index);
            let Some(log) = state.log.ordinary() else {
                break; // Refused in `enter`.
            };
            let appended = match (ids.as_mut().and_then(Iterator::next), encoded) {
                (None, None) => log.append(event, now),
                (None, Some((_, encoded))) => log.append_encoded(encoded, now),
                (Some(id), None) => log.append_as(id, event, now),
                (Some(id), Some((_, encoded))) => log.append_encoded_as(id, encoded, now),
            };
            id = event.event_id().is_none().then_some(appended.id);
            evicted.append(appended.evicted);
        }
        self.announce(state, before, id, evicted)
    }

    /// Wakes the subscribers after events have been appended; `before` was the last ID
    /// until then.
    /// Wakers are called and memory is freed after the lock has been released.
    pub(super) fn announce(
        &self,
        mut state: MutexGuard<'_, State>,
        before: LogId,
        id: Option<LogId>,
        evicted: Evicted,
    ) -> Published {
        let last = state.last_id();
        let is_awaited = state.has_waiting();
        // A storage wakes the subscribers itself, once the events are visible.
        let wakers = if is_awaited && state.log.end() == state.log.tip() {
            state.take_wakers()
        } else {
            Wakers::default()
        };
        state.rest();
        drop(state);
        drop(evicted);
        wakers.wake();
        let storage = self.storage().cloned();
        match &storage {
            Some(storage) if is_awaited => storage.wake_for_subscriber(),
            Some(storage) => storage.wake(),
            None => {}
        }
        Published {
            id,
            before,
            last,
            topic: self.address(),
            storage,
            outcome: None,
        }
    }
}

/// The locked order of a topic's hub, if it is one of a hub, and the locked topic.
pub(super) type Locked<'a> = (Option<MutexGuard<'a, Order>>, MutexGuard<'a, State>);

/// Returns a length in bytes that the encoded event does not exceed.
pub(super) fn max_len(event: &Event<'_>) -> usize {
    event.text_len().saturating_mul(7).saturating_add(128)
}

/// The longest text in bytes that is encoded under the lock. In the worst case each byte
/// becomes a line.
const SMALL: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use std::future::pending;

    use sse_core::{Epochs, KeyedRetention, Retention};

    use super::*;
    use crate::config::TopicConfig;
    use crate::topic::hub::{Hub, HubCore};
    use crate::topic::stored::Storing;

    /// A journal that stores nothing, and bounds what waits for it.
    struct Stuck;

    impl Storage for Stuck {
        fn wake(&self) {}

        fn bounds_backlog(&self) -> bool {
            true
        }

        fn stored<'a>(&'a self, _: &'a Published) -> Storing<'a> {
            Box::pin(pending())
        }
    }

    fn hub(config: TopicConfig) -> Hub {
        let epochs = Epochs::new(7, now().unix);
        let first = epochs.last();
        let core = HubCore::restore(config.into(), epochs, first, Arc::default(), [].into_iter());
        Hub::with_storage(Arc::new(core), Arc::new(Stuck))
    }

    #[test]
    fn half_of_the_retained_bytes_may_wait_for_a_storage() {
        let config = TopicConfig::from(Retention::events(9).bytes(1000));
        let hub = hub(config.keyed(KeyedRetention::default().bytes(100_000)));
        let (topic, keyed) = (hub.topic("a").unwrap(), hub.keyed_topic("b").unwrap());
        let event = Event::new().data("x".repeat(100));
        for (topic, half) in [(topic, 500), (keyed, 50_000)] {
            let publish = || match topic.shared.is_keyed() {
                true => topic.publish_for("key", &event).map(drop),
                false => topic.publish(&event).map(drop),
            };
            assert_eq!(
                (0..).find_map(|_| publish().err()),
                Some(PublishError::BacklogFull)
            );
            let state = topic.lock();
            let waiting = state.log.end().distance(state.log.tip());
            assert!((half..half + 200).contains(&waiting), "{waiting}");
        }
    }

    /// Otherwise the clients of a run whose journal has failed would wait for ever.
    #[test]
    fn a_topic_is_finished_though_too_many_events_wait() {
        let topic = hub(Retention::events(9).bytes(0).into())
            .topic("a")
            .unwrap();
        let event = Event::new().data("x");
        topic.publish(&event).unwrap();
        assert_eq!(topic.finish(Some(&event)), Err(PublishError::BacklogFull));
        assert!(!topic.is_finished());
        topic.finish(None).unwrap();
        assert!(topic.is_finished());
    }
}
