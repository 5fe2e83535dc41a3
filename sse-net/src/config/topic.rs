//! The settings of a topic.

use std::time::Duration;

use sse_core::{EventType, KeyedRetention, Retention};

/// Settings of a [`Topic`](crate::Topic).
///
/// A [`Retention`] alone converts into one.
///
/// ```
/// use std::time::Duration;
/// use sse_net::{Retention, SlowClients, TopicConfig};
///
/// let config = TopicConfig::default()
///     .retention(Retention::events(100).age(Duration::from_secs(60)))
///     .slow_clients(SlowClients::SkipAhead)
///     .linger(Duration::from_millis(10));
/// # let _ = config;
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct TopicConfig {
    pub(crate) retention: Retention,
    pub(crate) max_event: usize,
    pub(crate) slow_clients: SlowClients,
    pub(crate) gap_type: EventType<'static>,
    pub(crate) start: Start,
    pub(crate) unknown_id: UnknownId,
    pub(crate) linger: Duration,
    pub(crate) event_type: Option<EventType<'static>>,
    pub(crate) keyed: KeyedRetention,
    pub(crate) removal_type: EventType<'static>,
    pub(crate) marker_type: Option<EventType<'static>>,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            retention: Retention::default(),
            max_event: 16 << 20,
            slow_clients: SlowClients::default(),
            gap_type: EventType::from_static("gap"),
            start: Start::default(),
            unknown_id: UnknownId::default(),
            linger: Duration::ZERO,
            event_type: None,
            keyed: KeyedRetention::default(),
            removal_type: EventType::from_static("remove"),
            marker_type: None,
        }
    }
}

impl From<Retention> for TopicConfig {
    fn from(retention: Retention) -> Self {
        Self::default().retention(retention)
    }
}

impl TopicConfig {
    /// Sets which events are retained for clients that resume or join late.
    ///
    /// Default: 1,000 events in 16 MiB, whatever their age. All retained events are in memory;
    /// allow for twice their bytes.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets the maximum size of an encoded event in bytes.
    ///
    /// Default: 16 MiB. A larger one is refused with
    /// [`PublishError::TooLarge`](crate::PublishError::TooLarge).
    pub fn max_event(mut self, bytes: usize) -> Self {
        self.max_event = bytes;
        self
    }

    /// Sets the treatment of a client whose next event has been evicted.
    ///
    /// Default: [`SlowClients::Disconnect`].
    pub fn slow_clients(mut self, treatment: SlowClients) -> Self {
        self.slow_clients = treatment;
        self
    }

    /// Sets the type of the event that reports missed events to a client.
    ///
    /// Default: `gap`. Its data is a JSON object: `asked` is the client's last event ID or
    /// `null`; `from` is the ID of the next event, or `null` if none is retained; `topic` is the
    /// name of the topic, if it is one of a [`Hub`](crate::Hub); `clear` is `true` if that is
    /// keyed, since all of its keys follow. The event has no ID.
    pub fn gap_type(mut self, event_type: EventType<'static>) -> Self {
        self.gap_type = event_type;
        self
    }

    /// Sets the start for a client without a last event ID.
    ///
    /// Default: [`Start::Live`]. Some methods take another, such as
    /// [`follow_from`](crate::Request::follow_from).
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets the start for a client whose last event ID the topic does not know.
    ///
    /// Default: [`UnknownId::ReplayAll`], because the client may have missed any retained
    /// event, for example while the server restarted.
    pub fn unknown_id(mut self, start: UnknownId) -> Self {
        self.unknown_id = start;
        self
    }

    /// Sets the type of events that have data and no type.
    ///
    /// Default: none, which browsers dispatch as `message`. With a type of its own for each
    /// topic, a page that follows several can tell them apart.
    pub fn event_type(mut self, event_type: EventType<'static>) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Sets how long events may wait, so that a batch of them shares a write.
    ///
    /// Default: zero. With 10 ms, the first event after quiet is sent at once, and the events
    /// of the next 10 ms are sent together at their end. At 1,000 events a second this saves
    /// nine writes of ten and nearly as much of the cost, for a mean delay of 5 ms. It applies
    /// to servers and to [`Subscription::read`](crate::Subscription::read).
    pub fn linger(mut self, time: Duration) -> Self {
        self.linger = time;
        self
    }

    /// Sets the limits of a [keyed topic](crate::Hub::keyed_topic): keys, bytes, age of removals.
    ///
    /// Default: 65,536 keys in 16 MiB, and removals for an hour. More are refused with
    /// [`PublishError::Full`](crate::PublishError::Full).
    pub fn keyed(mut self, retention: KeyedRetention) -> Self {
        self.keyed = retention;
        self
    }

    /// Sets the type of the events that remove a key of a keyed topic.
    ///
    /// Default: `remove`. Their data is the key.
    pub fn removal_type(mut self, event_type: EventType<'static>) -> Self {
        self.removal_type = event_type;
        self
    }

    /// Sets the type of the event that marks the end of a keyed topic's state.
    ///
    /// A client that connects gets the state, then this event, then the changes, so that a page
    /// draws the state once. Its data is empty and it has no ID. Default: `None`, no such event.
    pub fn marker_type(mut self, event_type: impl Into<Option<EventType<'static>>>) -> Self {
        self.marker_type = event_type.into();
        self
    }
}

/// Where a subscription begins.
///
/// In a [keyed topic](crate::Hub::keyed_topic) it always begins with the newest event of each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// With the next event that is published.
    #[default]
    Live,
    /// With at most this many of the last events of the replay window.
    Last(usize),
    /// With the whole replay window.
    Earliest,
}

/// The treatment of a client whose next event has been evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SlowClients {
    /// Disconnects it. The browser reconnects by itself, and resumes or gets the `gap` event.
    #[default]
    Disconnect,
    /// Sends the `gap` event and continues with the oldest retained event. The page must
    /// listen for `gap`.
    SkipAhead,
}

/// The start for a client whose last event ID is unknown. It gets the `gap` event first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UnknownId {
    /// At the oldest retained event.
    #[default]
    ReplayAll,
    /// At the next event, as a client without a last event ID.
    StartLive,
}
