//! Publishing: the path of an event into the log.

use std::{error, fmt, io, slice};

use sse_core::{Cursor, Encoded, Event, Evicted, Ids, KeyedFull, LogId, Now};

use super::clock::now;
use super::handle::Topic;
use super::state::State;
use super::waiters::Wakers;
use crate::sync::MutexGuard;

impl Topic {
    /// Publishes an event.
    ///
    /// Never waits, and works from any thread, within a runtime or without. The exception is a
    /// journal that syncs [every event](crate::SyncPolicy::EveryEvent): then this waits for the
    /// disk. Costs one encoding and one wake-up per waiting [`Subscription`](crate::Subscription)
    /// (more than 100 are woken from a task); a server waits in one subscription per shard.
    ///
    /// An event without an ID gets one from the log; see [`Log`](sse_core::Log).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: the topic has been finished or is keyed, or the event is too large, or
    /// it has an ID and the topic is one of a hub. Nothing was published.
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
        let large = self.encode_large(events)?;
        let now = now();
        let (state, ids) = self.enter(events.len(), now)?;
        Ok(self.append(state, ids, events, large, now))
    }

    /// Ends the topic, after a `last` event if there is one.
    ///
    /// Subscribers get the events that they have not read, and then the end of their stream.
    /// Browsers reconnect after that, and get 204 once they have seen everything, which stops
    /// them. Finishing a finished topic changes nothing.
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
    pub fn finish(&self, last: Option<&Event<'_>>) -> Result<(), PublishError> {
        let events = last.map_or(&[][..], slice::from_ref);
        let typed = self.typed(events);
        let events = typed.as_deref().unwrap_or(events);
        let large = self.encode_large(events)?;
        let now = now();
        match self.enter(events.len(), now) {
            Ok((mut state, ids)) => {
                state.is_finished = true;
                self.append(state, ids, events, large, now);
                Ok(())
            }
            Err(PublishError::Finished) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Locks the topic to append `count` events, and takes their IDs if a hub assigns them.
    ///
    /// The hub's lock is released once the topic is locked. So the events are appended in the
    /// order of their IDs, and whoever reads the hub's last ID and then locks a topic finds all
    /// of the topic's events up to that ID.
    fn enter(
        &self,
        count: usize,
        now: Now,
    ) -> Result<(MutexGuard<'_, State>, Option<Ids>), PublishError> {
        let mut order = self.hub().map(|hub| hub.order());
        let state = self.lock();
        if state.is_finished {
            return Err(PublishError::Finished);
        }
        if count > 0 && state.log.is_keyed() {
            return Err(PublishError::Keyed);
        }
        let ids = order
            .as_mut()
            .map(|order| self.shared.assign(order, count, now));
        Ok((state, ids))
    }

    /// Returns the events with the topic's type, if it has one.
    fn typed<'a>(&'a self, events: &'a [Event<'_>]) -> Option<Vec<Event<'a>>> {
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
    fn encode_large(&self, events: &[Event<'_>]) -> Result<Vec<(usize, Encoded)>, PublishError> {
        if self.hub().is_some() && events.iter().any(|event| event.event_id().is_some()) {
            return Err(PublishError::OwnId);
        }
        let max = self.shared.config.max_event;
        let is_large = |(_, event): &(usize, &Event<'_>)| {
            let len = event.text_len();
            len > SMALL || len.saturating_mul(7).saturating_add(128) > max
        };
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
        let start = state.log.tip();
        let (mut id, mut evicted) = (None, Evicted::default());
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
        self.announce(state, start, id, evicted)
    }

    /// Wakes the subscribers and the storage's writer after events have been appended. Wakers
    /// are called and memory is freed after the lock has been released.
    pub(super) fn announce(
        &self,
        mut state: MutexGuard<'_, State>,
        start: Cursor,
        id: Option<LogId>,
        evicted: Evicted,
    ) -> Published {
        let end = state.log.tip();
        let wakes_writer = state.wakes_writer();
        // A storage's writer wakes the subscribers itself, once it has written the events.
        let wakers = if state.log.end() == end {
            state.take_wakers()
        } else {
            Wakers::default()
        };
        drop(state);
        drop(evicted);
        if wakes_writer {
            self.shared.writer.notify_one();
        }
        wakers.wake();
        let storage = self.storage();
        let is_stored = storage.is_none_or(|storage| storage.wait_stored(start, end));
        Published { id, is_stored }
    }
}

/// The longest text in bytes that is encoded under the lock. In the worst case each byte
/// becomes a line.
const SMALL: usize = 8 << 10;

/// An event that a topic has accepted, or the last one of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    id: Option<LogId>,
    is_stored: bool,
}

impl Published {
    /// Returns the ID that the topic assigned; `None` if the event had a publisher's ID.
    #[must_use]
    pub const fn id(&self) -> Option<LogId> {
        self.id
    }

    /// Returns `false` if the journal was to sync the event and could not.
    ///
    /// That happens only with [`SyncPolicy::EveryEvent`](crate::SyncPolicy::EveryEvent). The
    /// event is delivered, but may not be on disk. The reason is
    /// [reported](crate::Journal::on_notice).
    #[must_use]
    pub const fn is_stored(&self) -> bool {
        self.is_stored
    }
}

/// Why an event was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic has been [finished](Topic::finish).
    Finished,
    /// The event has an ID of its publisher's, but the IDs of a [`Hub`](crate::Hub) are its own.
    OwnId,
    /// The topic is [keyed](crate::Hub::keyed_topic), and the event was published without a key.
    Keyed,
    /// The event was published with a key, and the topic is not keyed.
    NotKeyed,
    /// The key is not one line of at most 1,024 bytes.
    InvalidKey,
    /// The keyed topic has no room for the event.
    Full(KeyedFull),
    /// The event is longer than the topic's [`max_event`](crate::TopicConfig::max_event).
    TooLarge {
        /// The length of the encoded event in bytes, with the longest possible ID.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("the topic has been finished; it accepts no events"),
            Self::OwnId => f.write_str(
                "the event has an ID, but a hub assigns the IDs of its topics; publish it without \
                 one, or in a topic that stands alone",
            ),
            Self::Keyed => f.write_str(
                "the topic is keyed, so an event needs a key; publish it with `publish_for`",
            ),
            Self::NotKeyed => f.write_str(
                "the topic is not keyed; publish without a key, or create the topic with \
                 `Hub::keyed_topic`",
            ),
            Self::InvalidKey => f.write_str(
                "the key has a line break or more than 1024 bytes; use a shorter text of one line",
            ),
            Self::Full(full) => full.fmt(f),
            Self::TooLarge { len, max } => write!(
                f,
                "the event has {len} bytes and the topic accepts {max}; raise `max_event` or \
                 split the event"
            ),
        }
    }
}

impl error::Error for PublishError {}

impl From<KeyedFull> for PublishError {
    fn from(full: KeyedFull) -> Self {
        Self::Full(full)
    }
}

impl From<PublishError> for io::Error {
    fn from(error: PublishError) -> Self {
        Self::other(error)
    }
}
