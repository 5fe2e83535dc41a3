//! What a decoder returns.

use std::borrow::Cow;
use std::time::Duration;

use crate::event::{Event, EventId, EventType, Field, FieldError};

/// What a [`Decoder`](crate::Decoder) has decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded<'a> {
    /// An event, returned at the blank line that dispatches it.
    Event(MessageEvent<'a>),
    /// A reconnection time, which applies at once.
    Retry(Duration),
    /// The text of a comment line, without one leading space.
    Comment(Cow<'a, str>),
}

impl Decoded<'_> {
    /// Returns the same value with its own copies of the texts.
    #[must_use]
    pub fn into_owned(self) -> Decoded<'static> {
        match self {
            Self::Event(event) => Decoded::Event(event.into_owned()),
            Self::Retry(retry) => Decoded::Retry(retry),
            Self::Comment(text) => Decoded::Comment(Cow::Owned(text.into_owned())),
        }
    }
}

/// An event as a listener receives it: with type, data and last event ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageEvent<'a> {
    event_type: EventType<'a>,
    data: Cow<'a, str>,
    /// As received; [`EventId`] may reject it.
    last_event_id: Cow<'a, str>,
}

impl<'a> MessageEvent<'a> {
    /// Makes an event, for example as a test expects it.
    ///
    /// An empty `event_type` is `message`.
    ///
    /// # Errors
    ///
    /// A line break in `event_type` or `last_event_id`, or a NUL in the latter: no stream can
    /// contain those.
    pub fn new(
        event_type: impl TryInto<EventType<'a>, Error: Into<FieldError>>,
        data: impl Into<Cow<'a, str>>,
        last_event_id: impl Into<Cow<'a, str>>,
    ) -> Result<Self, FieldError> {
        let event_type = event_type.try_into().map_err(Into::into)?;
        let id = last_event_id.into();
        match memchr::memchr3(b'\r', b'\n', b'\0', id.as_bytes()) {
            Some(offset) => Err(FieldError::character(Field::EventId, &id, offset)),
            None => Ok(Self::trusted(event_type, data.into(), id)),
        }
    }

    /// Makes an event whose type is not empty.
    #[inline(always)]
    pub(super) const fn with_type(
        event_type: EventType<'a>,
        data: Cow<'a, str>,
        last_event_id: Cow<'a, str>,
    ) -> Self {
        Self {
            event_type,
            data,
            last_event_id,
        }
    }

    #[inline]
    pub(crate) fn trusted(
        event_type: EventType<'a>,
        data: Cow<'a, str>,
        last_event_id: Cow<'a, str>,
    ) -> Self {
        Self {
            event_type: match event_type.as_str() {
                "" => EventType::from_static("message"),
                _ => event_type,
            },
            data,
            last_event_id,
        }
    }

    /// Returns the event type; `message` if the stream has none.
    #[must_use]
    pub fn event(&self) -> &str {
        self.event_type.as_str()
    }

    /// Returns the data, with its lines joined by LF.
    #[must_use]
    pub fn data(&self) -> &str {
        &self.data
    }

    /// Returns the last event ID of the stream at this event, or `""`.
    ///
    /// It is this event's ID or, without one, the ID of the latest earlier event that has one.
    /// The text is as received; [`EventId`] may reject it.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Returns the same event with its own copies of the texts.
    #[must_use]
    pub fn into_owned(self) -> MessageEvent<'static> {
        MessageEvent {
            event_type: self.event_type.into_owned(),
            data: Cow::Owned(self.data.into_owned()),
            last_event_id: Cow::Owned(self.last_event_id.into_owned()),
        }
    }
}

/// Converts a received event into one to forward.
///
/// An empty last event ID becomes an empty ID, which resets the receiver's. An ID that a client
/// could not return is [dropped](EventId::foreign).
impl<'a> From<MessageEvent<'a>> for Event<'a> {
    fn from(event: MessageEvent<'a>) -> Self {
        Self {
            id: EventId::foreign(event.last_event_id),
            ..Self::new().event(event.event_type).data(event.data)
        }
    }
}
