//! Keyed topics: the newest event of each key, and what follows.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::{error, fmt, io, slice};

use sse_core::{
    Decoded, Decoder, Encoded, Event, EventKey, Evicted, KeyedSlice, LogId, MessageEvent,
};

use super::clock::now;
use super::handle::Topic;
use super::hub::{Hub, TooManyTopics};
use super::log::TopicLog;
use super::publish::max_len;
use super::published::{PublishError, Published};
use super::sending::check_key;
use super::source;

impl Hub {
    /// Returns the keyed topic with this name, and creates it if need be.
    ///
    /// In a keyed topic, an event supersedes the one before it with the same key, once it is
    /// visible itself. A client that joins gets the newest event of each key, in the order of
    /// IDs, and then what follows. One that lags or comes back gets the newest event of each key
    /// that has changed meanwhile. Only a client that was away for longer than
    /// [removals](sse_core::KeyedRetention::removals) are retained gets a gap event. It has
    /// `"clear": true`, at which the page discards all keys, and the newest event of each follows.
    ///
    /// A client that is slow, and is not finished with its keys when they are superseded, holds
    /// them. All of a hub's subscriptions hold up to 64 MiB, and so does each shard of a server;
    /// beyond that, a key that changes all the time may not reach a slow client.
    ///
    /// With an engine, all nodes share the keys, and the engine checks the limits. Every node calls
    /// this for the topic, and waits with [`ready`](Self::ready) before it reads keys.
    ///
    /// With a journal, a restart restores the newest events, the removals, and that the topic is
    /// keyed. The topic is dropped when nobody holds it and it has no key. Its settings are
    /// [`TopicConfig`](crate::TopicConfig)'s; of the retention,
    /// [`keyed`](crate::TopicConfig::keyed) counts.
    ///
    /// ```
    /// use sse_net::{Event, Hub, HubConfig};
    ///
    /// let hub = Hub::new(HubConfig::default());
    /// let prices = hub.keyed_topic("prices")?;
    /// prices.publish_for("EURUSD", &Event::new().data("EURUSD 1.09"))?;
    /// prices.publish_for("EURUSD", &Event::new().data("EURUSD 1.1"))?;
    /// assert_eq!(prices.get("EURUSD").unwrap().data(), "EURUSD 1.1");
    ///
    /// prices.remove("EURUSD")?;
    /// assert!(prices.get("EURUSD").is_none() && prices.keys().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`KeyedTopicError`]: a topic with this name exists and is not keyed, or the hub has no
    /// room for another topic.
    pub fn keyed_topic(&self, name: impl AsRef<str>) -> Result<Topic, KeyedTopicError> {
        let topic = self.find_or_create_keyed(name.as_ref())?;
        if topic.shared.is_keyed() {
            Ok(topic)
        } else {
            Err(KeyedTopicError::NotKeyed)
        }
    }
}

impl Topic {
    /// Publishes the newest event of a key, in a [keyed topic](Hub::keyed_topic).
    ///
    /// Clients see the event and not the key, so the event names what it is about itself, for
    /// example in its data. Never waits. Costs up to twice as much as
    /// [`publish`](Self::publish).
    ///
    /// # Errors
    ///
    /// [`PublishError`]: as [`publish`](Self::publish), and if the topic is not keyed, the key
    /// is not one line of at most 1,024 bytes, or the topic is
    /// [full](crate::TopicConfig::keyed). Nothing was published. With an engine,
    /// [`Published::stored`] returns the error of a full topic.
    pub fn publish_for(
        &self,
        key: impl AsRef<str>,
        event: &Event<'_>,
    ) -> Result<Published, PublishError> {
        let published = match &self.shared.config.event_type {
            Some(event_type) => {
                self.publish_as(key.as_ref(), &event.or_type(event_type), Kind::Value)
            }
            None => self.publish_as(key.as_ref(), event, Kind::Value),
        };
        published?.ok_or(PublishError::NotKeyed)
    }

    /// Removes a key of a [keyed topic](Hub::keyed_topic), if it has a value.
    ///
    /// A removal is an event, with the key as its data and the type
    /// [`removal_type`](crate::TopicConfig::removal_type). It is retained for a
    /// [time](sse_core::KeyedRetention::removals). Returns `None` if there is nothing to remove.
    /// With an engine, only the engine knows: then [`Published::stored`] resolves to an ID up to
    /// which the key has been removed.
    ///
    /// # Errors
    ///
    /// As [`publish_for`](Self::publish_for), but the topic is never too full, nor the event too
    /// large.
    pub fn remove(&self, key: impl AsRef<str>) -> Result<Option<Published>, PublishError> {
        let key = key.as_ref();
        let event = Event::new().event(&self.shared.config.removal_type);
        self.publish_as(key, &event.data(key), Kind::Removal)
    }

    /// Returns the newest event of a key.
    ///
    /// `None` if the key has no value or the topic is not keyed. An event that was published is
    /// returned also if a journal still holds it back. With an engine, this is the newest event
    /// that the node has heard of.
    #[must_use]
    pub fn get(&self, key: impl AsRef<str>) -> Option<MessageEvent<'static>> {
        let key = key.as_ref();
        let bytes = match &self.lock().log {
            TopicLog::Keyed(log) => log.get(key)?,
            TopicLog::Ordinary(_) => return None,
        };
        // The event is in memory already, so limits would save nothing.
        let mut decoder = Decoder::new().max_line(usize::MAX).max_event(usize::MAX);
        let mut chunk = decoder.chunk(&bytes);
        while let Ok(Some(decoded)) = chunk.next() {
            if let Decoded::Event(event) = decoded {
                return Some(event.into_owned());
            }
        }
        None
    }

    /// Returns the keys that have a value, in the order of their last changes.
    ///
    /// Empty if the topic is not keyed. Costs a map entry per key. The topic is locked for the
    /// keys of one chunk at a time, so publishers do not wait.
    #[must_use]
    pub fn keys(&self) -> Vec<Arc<str>> {
        let mut keys = HashMap::new();
        let (mut place, mut after) = (0_usize, LogId::default());
        while let Some((slice, is_last)) = self.keyed_slice_after(after) {
            for EventKey { key, is_removal } in slice.keys {
                place += 1;
                keys.insert(key, (place, is_removal));
            }
            after = slice.events.last_id();
            if is_last {
                break; // However fast others publish.
            }
        }
        keys.retain(|_, (_, is_removal)| !*is_removal);
        let mut keys = Vec::from_iter(keys);
        keys.sort_unstable_by_key(|(_, (place, _))| *place);
        keys.into_iter().map(|(key, _)| key).collect()
    }

    /// Returns the first events after an ID, and whether no other follows them.
    fn keyed_slice_after(&self, after: LogId) -> Option<(KeyedSlice, bool)> {
        let mut state = self.lock();
        let TopicLog::Keyed(log) = &mut state.log else {
            return None;
        };
        let slice = log.keyed_slice_between(after, LogId::MAX)?;
        let is_last = slice.events.last_id() == log.newest_id();
        Some((slice, is_last))
    }

    /// Appends an event and wakes subscribers. Returns `None` if there is nothing to remove.
    fn publish_as(
        &self,
        key: &str,
        event: &Event<'_>,
        kind: Kind,
    ) -> Result<Option<Published>, PublishError> {
        check_key(key)?;
        if let Some(engine) = self.engine() {
            let kind = match kind {
                Kind::Value => source::Kind::Value(key.into()),
                Kind::Removal => source::Kind::Removal(key.into()),
            };
            let published = self.send(engine, kind, slice::from_ref(event), None);
            return published.map(Some);
        }
        let mut encoded = match kind {
            Kind::Value => self.encode_large(slice::from_ref(event))?.pop(),
            Kind::Removal => None, // A key that has a value can be removed.
        }
        .map(|(_, encoded)| encoded);
        let now = now();
        let (order, mut state) = self.lock_open()?;
        self.check_backlog(&state)?;
        let mut order = order.ok_or(PublishError::NotKeyed)?;
        let TopicLog::Keyed(log) = &mut state.log else {
            return Err(PublishError::NotKeyed);
        };
        let mut evicted = match kind {
            Kind::Removal if !log.contains(key) => return Ok(None),
            Kind::Value if encoded.is_some() || !log.has_room(key, max_len(event)) => {
                log.release_removals();
                let encoded = encoded.get_or_insert_with(|| Encoded::new(event));
                log.make_room(key, encoded.max_len())?
            }
            _ => Evicted::default(),
        };
        let before = log.newest_id();
        self.shared.meter().add_published(1);
        let id = self.shared.assign(&mut order, 1, now).next();
        drop(order);
        let id = id.unwrap_or_default();
        evicted.append(match (kind, encoded) {
            (Kind::Value, Some(encoded)) => log.append_encoded_as(id, key, encoded, now),
            (Kind::Value, None) => log.append_as(id, key, event, now),
            (Kind::Removal, _) => log.remove_as(id, key, event, now),
        });
        Ok(Some(self.announce(state, before, Some(id), evicted)))
    }
}

/// What is published for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Value,
    Removal,
}

/// Why a hub cannot return a keyed topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyedTopicError {
    /// The topic exists and is not keyed.
    NotKeyed,
    /// The hub has no room for another topic.
    TooManyTopics(TooManyTopics),
}

impl From<TooManyTopics> for KeyedTopicError {
    fn from(error: TooManyTopics) -> Self {
        Self::TooManyTopics(error)
    }
}

impl fmt::Display for KeyedTopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotKeyed => f.write_str(
                "the hub has a topic of this name that is not keyed; use another name, or create \
                 the keyed topic first",
            ),
            Self::TooManyTopics(error) => error.fmt(f),
        }
    }
}

impl error::Error for KeyedTopicError {}

impl From<KeyedTopicError> for io::Error {
    fn from(error: KeyedTopicError) -> Self {
        Self::other(error)
    }
}
