//! An event as a value.

pub(crate) mod encode;
pub(crate) mod field;

pub use field::{EventId, EventType, Fault, Field, FieldError};

use std::borrow::Cow;
use std::time::Duration;

#[cfg(feature = "json")]
use serde::Serialize;

/// An event that is about to be written.
///
/// Each part is optional. No data, empty data and data of several lines are three
/// different things: an event without data reaches no listener (though its ID and
/// `retry` count), one with empty data does.
///
/// ```
/// use sse_core::{Event, EventType};
///
/// const TICK: EventType = EventType::from_static("tick");
///
/// let mut out = Vec::new();
/// Event::new().id(55).event(TICK).data("two\nlines").encode(&mut out);
/// assert_eq!(out, b"id: 55\nevent: tick\ndata: two\ndata: lines\n\n");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event<'a> {
    pub(crate) comment: Option<Cow<'a, str>>,
    pub(crate) id: Option<EventId<'a>>,
    pub(crate) event: Option<EventType<'a>>,
    pub(crate) retry: Option<Duration>,
    pub(crate) data: Option<Cow<'a, str>>,
}

impl<'a> Event<'a> {
    /// An event with nothing in it.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            comment: None,
            id: None,
            event: None,
            retry: None,
            data: None,
        }
    }

    /// The event ID, which the client gives back as `Last-Event-ID` when it reconnects.
    #[must_use]
    pub fn id(mut self, id: impl Into<EventId<'a>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The event type, by which the client's listeners tell events apart; `message`
    /// where none is given.
    #[must_use]
    pub fn event(mut self, event: impl Into<EventType<'a>>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// The data: any text. CR, LF and CRLF each end a line, and the client sees an LF
    /// for each.
    #[must_use]
    pub fn data(mut self, data: impl Into<Cow<'a, str>>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// The data as JSON, serialised now.
    ///
    /// [`Stream::write_json`](crate::Stream::write_json) does the same without the
    /// intermediate text.
    ///
    /// # Errors
    ///
    /// What serialising `value` runs into.
    #[cfg(feature = "json")]
    pub fn json_data(self, value: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        Ok(self.data(serde_json::to_string(value)?))
    }

    /// How long the client waits before it reconnects, from now on. Written in whole
    /// milliseconds, rounded up, and at most `u64::MAX` of them.
    #[must_use]
    pub const fn retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// A comment, which browsers skip. It may have several lines.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<Cow<'a, str>>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// Appends the event's wire form to `out`. This can't fail.
    ///
    /// A comment alone is written without a blank line after it, because some clients
    /// take that for an event. An event with nothing in it is nothing on the wire.
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode::event(out, self);
    }

    /// Whether it has an ID.
    #[must_use]
    pub const fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// The bytes of its texts: less than its encoded length, which is at most seven times
    /// this and 128 bytes.
    #[must_use]
    pub fn text_len(&self) -> usize {
        let texts = [
            self.comment.as_deref(),
            self.id.as_ref().map(EventId::as_str),
            self.event.as_ref().map(EventType::as_str),
            self.data.as_deref(),
        ];
        texts.iter().flatten().map(|text| text.len()).sum()
    }

    /// The same event, borrowed.
    pub(crate) fn borrowed(&self) -> Event<'_> {
        Event {
            comment: self.comment.as_deref().map(Cow::Borrowed),
            id: self.id.as_ref().map(EventId::from),
            event: self.event.as_ref().map(EventType::from),
            retry: self.retry,
            data: self.data.as_deref().map(Cow::Borrowed),
        }
    }
}
