//! An event to send.

use std::borrow::Cow;
use std::time::Duration;

use super::convert::{IntoEventId, IntoEventType};
use super::error::FieldError;
use super::event_type::EventType;
use super::id::EventId;

/// An event to send.
///
/// Each field is optional. No data, empty data and data of several lines are three different
/// things: an event without data reaches no listener (though its ID and `retry` count), one
/// with empty data does.
///
/// ```
/// use sse_core::{Event, EventType};
///
/// const TICK: EventType = EventType::from_static("tick");
///
/// let mut out = Vec::new();
/// Event::new().id(55).event(TICK).data("two\nlines").encode(&mut out);
/// assert_eq!(out, b"id: 55\nevent: tick\ndata: two\ndata: lines\n\n");
///
/// // Text that is known at run time is checked.
/// let name = String::from("tick");
/// let event = Event::new().try_event(&name)?.data("tock");
/// assert_eq!(event.event_type(), Some(&TICK));
/// # Ok::<(), sse_core::FieldError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event<'a> {
    pub(crate) comment: Option<Cow<'a, str>>,
    pub(crate) id: Option<EventId<'a>>,
    pub(crate) event: Option<EventType<'a>>,
    pub(crate) retry: Option<Duration>,
    pub(crate) data: Option<Cow<'a, str>>,
}

/// Setting fields.
impl<'a> Event<'a> {
    /// Makes an event without fields.
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

    /// Sets the event ID, which the client returns as `Last-Event-ID` when it reconnects.
    ///
    /// Takes an integer or an [`EventId`]; for other text see [`try_id`](Self::try_id).
    #[must_use]
    pub fn id(mut self, id: impl IntoEventId<'a>) -> Self {
        self.id = Some(id.into_event_id());
        self
    }

    /// Sets the event ID to text that is not known to be one.
    ///
    /// # Errors
    ///
    /// Text that [`EventId::new`] rejects.
    pub fn try_id(
        self,
        id: impl TryInto<EventId<'a>, Error: Into<FieldError>>,
    ) -> Result<Self, FieldError> {
        Ok(self.id(id.try_into().map_err(Into::into)?))
    }

    /// Sets the event type, which selects the client's listeners.
    ///
    /// Default: `message`. Takes an [`EventType`]; for other text see
    /// [`try_event`](Self::try_event).
    #[must_use]
    pub fn event(mut self, event: impl IntoEventType<'a>) -> Self {
        self.event = Some(event.into_event_type());
        self
    }

    /// Sets the event type to text that is not known to be one line.
    ///
    /// # Errors
    ///
    /// Text that [`EventType::new`] rejects.
    pub fn try_event(
        self,
        event: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
    ) -> Result<Self, FieldError> {
        Ok(self.event(event.try_into().map_err(Into::into)?))
    }

    /// Sets the data, which may be any text. For a number, pass its `to_string()`.
    ///
    /// CR, LF and CRLF each end a line; the client receives an LF for each.
    #[must_use]
    pub fn data(mut self, data: impl Into<Cow<'a, str>>) -> Self {
        self.data = Some(data.into());
        self
    }

    /// Sets the reconnection time: how long the client waits before it reconnects.
    ///
    /// It holds for all later reconnections. Rounded up to milliseconds; at most `u64::MAX`
    /// of them.
    #[must_use]
    pub const fn retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Sets a comment of one or more lines, which browsers skip.
    #[must_use]
    pub fn comment(mut self, comment: impl Into<Cow<'a, str>>) -> Self {
        self.comment = Some(comment.into());
        self
    }
}

/// Reading fields.
impl<'a> Event<'a> {
    /// Returns the event ID, if it has one.
    #[must_use]
    pub const fn event_id(&self) -> Option<&EventId<'a>> {
        self.id.as_ref()
    }

    /// Returns the event type, if it has one.
    #[must_use]
    pub const fn event_type(&self) -> Option<&EventType<'a>> {
        self.event.as_ref()
    }

    /// Returns the data, if there is any; empty data is some.
    #[must_use]
    pub fn data_text(&self) -> Option<&str> {
        self.data.as_deref()
    }

    /// Returns the reconnection time, if it has one.
    #[must_use]
    pub const fn retry_time(&self) -> Option<Duration> {
        self.retry
    }

    /// Returns the comment, if it has one.
    #[must_use]
    pub fn comment_text(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// Returns the length of its texts, in bytes.
    ///
    /// The encoded event is longer than that, and at most seven times as long plus 128 bytes.
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

    /// Returns the same event with its own copies of the texts.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        let own = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Event {
            comment: self.comment.map(own),
            id: self.id.map(EventId::into_owned),
            event: self.event.map(EventType::into_owned),
            retry: self.retry,
            data: self.data.map(own),
        }
    }

    /// Returns the same event, borrowed, of this type if it has data and no type.
    #[must_use]
    pub fn or_type<'b>(&'b self, event_type: &'b EventType<'_>) -> Event<'b> {
        let mut event = self.borrowed();
        if event.event.is_none() && event.data.is_some() {
            event.event = Some(EventType::from(event_type));
        }
        event
    }

    /// Returns the same event, borrowing its texts.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Field;

    const TICK: EventType = EventType::from_static("tick");

    #[test]
    fn an_event_returns_its_fields() {
        let second = Duration::from_secs(1);
        let event = Event::new().id(7).event(TICK).data("").retry(second);
        let event = event.comment("hi").into_owned();
        assert_eq!(event.event_id(), Some(&EventId::from(7)));
        assert_eq!(event.event_type(), Some(&TICK));
        assert_eq!(event.data_text(), Some(""));
        assert_eq!(event.retry_time(), Some(second));
        assert_eq!(event.comment_text(), Some("hi"));

        let event = Event::new();
        assert_eq!((event.event_id(), event.event_type()), (None, None));
        assert_eq!((event.data_text(), event.comment_text()), (None, None));
        assert_eq!(event.retry_time(), None);
    }

    #[test]
    fn an_owned_event_outlives_its_texts() {
        let owned = {
            let [id, event, text] = ["7-0", "tick", "hey"].map(String::from);
            let borrowed = Event::new().try_id(&id).unwrap().try_event(&event).unwrap();
            let borrowed = borrowed.data(&text).comment(&text);
            assert_eq!(borrowed.clone().into_owned(), borrowed);
            borrowed.into_owned()
        };
        let mut out = Vec::new();
        owned.encode(&mut out);
        assert_eq!(out, b": hey\nid: 7-0\nevent: tick\ndata: hey\n\n");
    }

    #[test]
    fn run_time_text_is_checked() {
        let error = Event::new().try_id("a\nb").unwrap_err();
        assert_eq!(error.field(), Field::EventId);
        let error = Event::new().try_event(String::from("a\nb")).unwrap_err();
        assert_eq!(error.field(), Field::EventType);
        assert!(Event::new().try_id(7).is_ok());
    }
}
