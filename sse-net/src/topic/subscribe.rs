//! Subscribing to one topic or several.

use std::borrow::Borrow;

use sse_core::EventId;

use super::choice::{Choice, FollowError};
use super::handle::Topic;
use super::joint::JointReader;
use super::several::Several;
use super::subscription::{Source, Subscription};
use super::switching::StreamToken;
use crate::config::Start;
use crate::sync::Arc;

impl Topic {
    /// Subscribes from `start` on.
    #[must_use]
    pub fn subscribe(&self, start: Start) -> Subscription {
        self.subscribe_after(None, start)
    }

    /// Subscribes after the event with this ID, or without one from `start` on.
    ///
    /// If events after that ID were evicted, or the ID is not known, the first read returns
    /// [`Lagged`](sse_core::Lagged). The next read continues with the oldest retained event, or
    /// after an unknown ID as set by [`unknown_id`](crate::TopicConfig::unknown_id).
    ///
    /// ```
    /// use sse_core::{Event, EventId, Retention};
    /// use sse_net::{Start, Topic};
    ///
    /// let topic = Topic::new(Retention::events(10));
    /// topic.publish(&Event::new().id(1).data("hey"))?;
    /// topic.publish(&Event::new().id(2).data("there"))?;
    /// let seen = EventId::from(1);
    /// assert_eq!(topic.subscribe_after(seen, Start::Live).lag(), "id: 2\ndata: there\n\n".len());
    /// # Ok::<(), sse_net::PublishError>(())
    /// ```
    #[must_use]
    pub fn subscribe_after(
        &self,
        last_event_id: impl Into<Option<EventId<'static>>>,
        start: Start,
    ) -> Subscription {
        let asked = last_event_id.into();
        if let Some(hub) = self.hub().filter(|_| self.shared.has_engine()) {
            let choice = Choice::Several(Arc::clone(hub), vec![self.clone()]);
            return Subscription::to_choice(choice, asked, start, None);
        }
        Subscription(Source::One(self.reader(asked.as_ref(), start)))
    }
}

impl Subscription {
    /// Subscribes to several topics of a [`Hub`](crate::Hub).
    ///
    /// It begins after the event with this ID, or without one from `start` on. The events are read
    /// in the order of their IDs. [`resume`](Self::resume) returns the worst outcome of the topics,
    /// and [`gaps`](Self::gaps) the names of those in which events were missed; the others are not
    /// held up. When one of the topics has been finished, an event `close` with its name is read,
    /// and the subscription continues; it ends when all have.
    ///
    /// ```
    /// use sse_net::{Event, Hub, HubConfig, Start, Subscription};
    ///
    /// let hub = Hub::new(HubConfig::default());
    /// let [orders, inbox] = [hub.topic("orders")?, hub.topic("inbox/alice")?];
    /// let seen = orders.publish(&Event::new().data("one book"))?.id();
    /// inbox.publish(&Event::new().data("hey"))?;
    /// orders.publish(&Event::new().data("another"))?;
    /// let seen = seen.map(Into::into);
    /// let subscription = Subscription::to([&orders, &inbox], seen, Start::Live)?;
    /// assert!(subscription.lag() > "data: hey\n\ndata: another\n\n".len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FollowError`]: there is no topic, or they do not belong to one hub. A single topic may
    /// stand alone.
    pub fn to(
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
        last_event_id: impl Into<Option<EventId<'static>>>,
        start: Start,
    ) -> Result<Self, FollowError> {
        Ok(Self::to_choice(
            Choice::of(topics, false)?,
            last_event_id.into(),
            start,
            None,
        ))
    }

    /// Subscribes to topics of a [`Hub`](crate::Hub), like [`to`](Self::to), that change meanwhile.
    ///
    /// [`Hub::stream_topics`](crate::Hub::stream_topics) returns them. If the hub knows the token,
    /// the subscription is to the topics that it keeps, and `topics` are ignored. The events
    /// `topics` that report a change are read between the others; see
    /// [`StreamTopics`](crate::StreamTopics).
    ///
    /// ```
    /// use sse_net::{Hub, HubConfig, Start, StreamToken, Subscription};
    ///
    /// let hub = Hub::new(HubConfig::default());
    /// let (token, orders) = (StreamToken::random(), hub.topic("orders")?);
    /// let subscription = Subscription::with_token(token.clone(), [&orders], None, Start::Live)?;
    /// let topics = hub.stream_topics(&token).unwrap();
    /// topics.add([hub.topic("inbox/alice")?], Start::Earliest)?;
    /// assert_eq!(topics.names(), ["orders", "inbox/alice"]);
    /// # drop(subscription);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`to`](Self::to). Every topic has to belong to a hub.
    pub fn with_token(
        token: StreamToken,
        topics: impl IntoIterator<Item = impl Borrow<Topic>>,
        last_event_id: impl Into<Option<EventId<'static>>>,
        start: Start,
    ) -> Result<Self, FollowError> {
        Ok(Self::to_choice(
            Choice::of(topics, true)?,
            last_event_id.into(),
            start,
            Some(token),
        ))
    }

    pub(crate) fn to_choice(
        choice: Choice,
        asked: Option<EventId<'static>>,
        start: Start,
        token: Option<StreamToken>,
    ) -> Self {
        match choice {
            Choice::One(topic) => topic.subscribe_after(asked, start),
            Choice::Several(hub, topics) => {
                let several = Several::locate(hub, topics, asked.as_ref(), start, token);
                Self(Source::Several(Box::new(JointReader::new(several))))
            }
        }
    }
}
