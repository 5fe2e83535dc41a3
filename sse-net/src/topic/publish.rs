//! Publishing: the path of an event into the log.

use std::{error, fmt, io, slice};

use sse_core::{Encoded, Event, Evicted, LogId};

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
    /// [`PublishError`]: the topic has been finished, or the event is too large. Nothing was
    /// published.
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
        let large = self.encode_large(events)?;
        let state = self.lock();
        if state.is_finished {
            return Err(PublishError::Finished);
        }
        Ok(self.append(state, events, large))
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
    /// [`PublishError::TooLarge`]: the topic has not been finished.
    pub fn finish(&self, last: Option<&Event<'_>>) -> Result<(), PublishError> {
        let events = last.map_or(&[][..], slice::from_ref);
        let large = self.encode_large(events)?;
        let mut state = self.lock();
        if !state.is_finished {
            state.is_finished = true;
            self.append(state, events, large);
        }
        Ok(())
    }

    /// Encodes the events that are too large to be encoded under the lock, with their indices.
    fn encode_large(&self, events: &[Event<'_>]) -> Result<Vec<(usize, Encoded)>, PublishError> {
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

    /// Appends `events` and wakes subscribers. Wakers are called and memory is freed after the
    /// lock has been released.
    fn append(
        &self,
        mut state: MutexGuard<'_, State>,
        events: &[Event<'_>],
        large: Vec<(usize, Encoded)>,
    ) -> Published {
        let now = now();
        let start = state.log.tip();
        let (mut id, mut evicted) = (None, Evicted::default());
        let mut large = large.into_iter().peekable();
        for (index, event) in events.iter().enumerate() {
            let appended = match large.next_if(|(at, _)| *at == index) {
                Some((_, encoded)) => state.log.append_encoded(encoded, now),
                None => state.log.append(event, now),
            };
            id = event.event_id().is_none().then_some(appended.id);
            evicted.append(appended.evicted);
        }
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
        let storage = self.storage.as_ref();
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
            Self::TooLarge { len, max } => write!(
                f,
                "the event has {len} bytes and the topic accepts {max}; raise `max_event` or \
                 split the event"
            ),
        }
    }
}

impl error::Error for PublishError {}

impl From<PublishError> for io::Error {
    fn from(error: PublishError) -> Self {
        Self::other(error)
    }
}
