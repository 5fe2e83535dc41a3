//! What a recording holds.

use std::borrow::Cow;
use std::time::Duration;

use crate::decode::{Decoded, MAX_IDLE, MessageEvent};
use crate::event::{Event, EventId, EventType};

/// An item of a recording, with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded<'a> {
    at: Duration,
    decoded: Decoded<'a>,
    has_new_id: bool,
}

impl<'a> Recorded<'a> {
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
    /// The event has an ID where the last event ID changes, and a type where that is not
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

/// The last item that was read, in buffers that are reused.
#[derive(Debug)]
pub(super) struct Item {
    kind: Kind,
    /// The data of an event, or a comment.
    text: String,
    event_type: String,
    /// The last event ID of the items up to this one.
    id: String,
    has_new_id: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Event,
    Retry(Duration),
    Comment,
}

impl Item {
    pub(super) const fn new() -> Self {
        Self {
            kind: Kind::Comment,
            text: String::new(),
            event_type: String::new(),
            id: String::new(),
            has_new_id: false,
        }
    }

    #[inline]
    pub(super) fn set(&mut self, decoded: Decoded<'_>) {
        match decoded {
            Decoded::Event(event) => {
                self.kind = Kind::Event;
                set_text(&mut self.text, event.data());
                if event.event() != self.event_type {
                    set_text(&mut self.event_type, event.event());
                }
                self.has_new_id = event.last_event_id() != self.id;
                if self.has_new_id {
                    set_text(&mut self.id, event.last_event_id());
                }
            }
            Decoded::Retry(retry) => self.kind = Kind::Retry(retry),
            Decoded::Comment(text) => {
                self.kind = Kind::Comment;
                set_text(&mut self.text, &text);
            }
        }
    }

    #[inline]
    pub(super) fn show(&self, at: Duration) -> Recorded<'_> {
        Recorded {
            at,
            decoded: match self.kind {
                Kind::Event => Decoded::Event(MessageEvent::trusted(
                    EventType::trusted(Cow::Borrowed(&self.event_type)),
                    Cow::Borrowed(&self.text),
                    Cow::Borrowed(&self.id),
                )),
                Kind::Retry(retry) => Decoded::Retry(retry),
                Kind::Comment => Decoded::Comment(Cow::Borrowed(&self.text)),
            },
            has_new_id: self.has_new_id && self.kind == Kind::Event,
        }
    }
}

#[inline]
fn set_text(text: &mut String, value: &str) {
    text.clear();
    if text.capacity() > MAX_IDLE {
        *text = String::new();
    }
    text.push_str(value);
}
