//! The JSON lines in which programs print a stream.

use std::time::Duration;

use serde::Serialize;
use sse_core::MessageEvent;

/// An item of a stream, which is serialised as a line of JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Line<'a> {
    /// An event.
    Event {
        /// The event type.
        event: &'a str,
        /// The data.
        data: &'a str,
        /// The last event ID at the event.
        id: &'a str,
    },
    /// A reconnection time.
    Retry {
        /// The time in milliseconds.
        retry: u128,
    },
    /// A comment.
    Comment {
        /// The text.
        comment: &'a str,
    },
}

impl<'a> Line<'a> {
    /// Returns the line of an event.
    #[must_use]
    pub fn event(event: &'a MessageEvent<'_>) -> Self {
        Self::Event {
            event: event.event(),
            data: event.data(),
            id: event.last_event_id(),
        }
    }

    /// Returns the line of a reconnection time.
    #[must_use]
    pub const fn retry(time: Duration) -> Self {
        Self::Retry {
            retry: time.as_millis(),
        }
    }
}
