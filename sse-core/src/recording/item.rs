//! What a recording holds.

use std::time::Duration;

use crate::decode::Decoded;
use crate::event::{Event, EventId, EventType};

/// An item of a recording, with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<'a> {
    at: Duration,
    decoded: Decoded<'a>,
    has_new_id: bool,
}

impl<'a> Recorded<'a> {
    #[inline]
    pub(super) const fn new(at: Duration, decoded: Decoded<'a>, has_new_id: bool) -> Self {
        Self {
            at,
            decoded,
            has_new_id,
        }
    }

    /// Returns the time of the item.
    ///
    /// Zero is the beginning of the recording, or the event or offset where reading began. In
    /// a loop it is that of the first round.
    #[must_use]
    pub const fn at(&self) -> Duration {
        self.at
    }

    /// Returns the item as a client sees it.
    #[must_use]
    pub const fn decoded(&self) -> &Decoded<'a> {
        &self.decoded
    }

    /// Returns the item as a client sees it, by value.
    #[must_use]
    pub fn into_decoded(self) -> Decoded<'a> {
        self.decoded
    }

    /// Returns the item as an event that shows clients the same.
    ///
    /// The event has an ID where the recording sets one, and a type where that is not
    /// `message`. A log creates an ID for an event without one. An ID that a client
    /// could not send back is [dropped](EventId::foreign).
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        match &self.decoded {
            Decoded::Event(message) => {
                let mut event = Event::new().data(message.data());
                if message.event() != "message" {
                    event = event.event(EventType::trusted(message.event().into()));
                }
                if self.has_new_id {
                    event.id = EventId::foreign(message.last_event_id());
                }
                event
            }
            Decoded::Retry(retry) => Event::new().retry(*retry),
            Decoded::Comment(text) => Event::new().comment(&**text),
        }
    }

    /// Returns an owned copy.
    #[must_use]
    pub fn into_owned(self) -> Recorded<'static> {
        Recorded {
            at: self.at,
            decoded: self.decoded.into_owned(),
            has_new_id: self.has_new_id,
        }
    }
}
