//! Waiting for the first subscriber of a topic, and for the last one to leave.
//!
//! The protocol is that of subscribers and publishers: under the topic's lock, a watcher that has
//! to wait leaves a waker, and the first and the last subscriber take all wakers and call them
//! after the lock.

use std::pin::Pin;
use std::task::{Context, Poll};

use sse_core::LogId;
use tokio::runtime::Handle;

use super::handle::Topic;
use super::state::{Shared, State};
use super::waiters::{Place, Waiters, Wakers};

impl Topic {
    /// Waits until the topic has a subscriber.
    ///
    /// Resolves at once if it has one. Together with [`unwatched`](Self::unwatched) it runs a
    /// source only while clients follow the topic:
    ///
    /// ```
    /// use std::time::Duration;
    /// use sse_core::Event;
    /// use sse_net::{PublishError, Topic};
    /// use tokio::time::interval;
    /// # async fn fetch_price() -> String { String::new() }
    ///
    /// async fn publish_prices(prices: Topic) -> Result<(), PublishError> {
    ///     loop {
    ///         prices.watched().await;
    ///         let mut ticks = interval(Duration::from_secs(1));
    ///         loop {
    ///             tokio::select! {
    ///                 () = prices.unwatched() => break,
    ///                 _ = ticks.tick() => {}
    ///             }
    ///             prices.publish(&Event::new().data(fetch_price().await))?;
    ///         }
    ///     }
    /// }
    /// # drop(publish_prices);
    /// ```
    ///
    /// Subscribers are the clients of servers and responders, and every
    /// [`Subscription`](crate::Subscription), such as one that records the topic; a journal is
    /// none. A client of a server counts from the time at which its shard writes to it. Between
    /// two polls, subscribers may come and leave unseen. A browser that reconnects is away for
    /// its reconnection time: a source that is expensive to start waits longer than that before
    /// it stops.
    ///
    /// Waiting costs a waker, and the topic about 100 bytes while it has been waited for.
    pub async fn watched(&self) {
        Watcher::new(self, true).await;
    }

    /// Waits until the topic has no subscriber.
    ///
    /// Resolves at once if it has none; see [`watched`](Self::watched).
    pub async fn unwatched(&self) {
        Watcher::new(self, false).await;
    }
}

/// A future that resolves when the topic has a subscriber, or none.
struct Watcher<'t> {
    topic: &'t Topic,
    awaits_subscriber: bool,
    /// The place of its waker, now or before.
    place: Place,
}

impl<'t> Watcher<'t> {
    const fn new(topic: &'t Topic, awaits_subscriber: bool) -> Self {
        Self {
            topic,
            awaits_subscriber,
            place: Place::NONE,
        }
    }
}

impl Future for Watcher<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = self.topic.shared.lock_packed();
        if (state.subscriptions.0 > 0) == self.awaits_subscriber {
            return Poll::Ready(());
        }
        let rare = state.rare.get_or_insert_default();
        let (place, replaced) = rare.watchers.replace(self.place, waker);
        drop(state);
        drop(replaced); // Without the lock; see `Waiters::remove`.
        self.place = place;
        Poll::Pending
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        if self.place != Place::NONE {
            let mut state = self.topic.shared.lock_packed();
            let place = self.place;
            let rare = state.rare.as_mut();
            let waker = rare.and_then(|rare| rare.watchers.remove(place));
            drop(state);
            drop(waker);
        }
    }
}

/// What few topics have.
#[derive(Default)]
pub(super) struct Rare {
    /// The wakers of tasks in `watched` and `unwatched`.
    watchers: Waiters,
    /// The token of the lease, if the topic is one of a run of this node.
    pub(super) fence: Option<LogId>,
    /// The runtime that wakes the subscribers, once they are many.
    pub(super) runtime: Option<Handle>,
    /// The ID at which the topic was removed from its hub, once another one has its name.
    pub(super) replaced: Option<LogId>,
}

/// The number of a topic's subscriptions, which only the functions below change.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(u32);

impl Subscriptions {
    pub(super) const fn count(&self) -> usize {
        self.0 as usize
    }
}

impl Shared {
    /// Counts a subscription.
    pub(super) fn subscribe(&self) {
        let watchers = self.lock().add_subscription();
        drop(watchers);
    }

    /// Removes a subscription, and its waker at that place.
    pub(super) fn unsubscribe(&self, place: Place) {
        let mut state = self.lock();
        state.subscriptions.0 -= 1;
        let waker = state.waiters.remove(place);
        let watchers = state.take_watchers(0);
        state.rest();
        drop(state);
        drop((waker, watchers)); // Without the lock; see `Waiters::remove`.
    }
}

impl State {
    /// Counts a subscription, and returns the wakers of watchers if it is the first.
    ///
    /// The caller drops them without the lock, which calls them.
    #[must_use]
    pub(super) fn add_subscription(&mut self) -> Wakers {
        self.subscriptions.0 += 1;
        if self.subscriptions.count() > Wakers::FEW && self.runtime().is_none() {
            self.rare.get_or_insert_default().runtime = Handle::try_current().ok();
        }
        self.take_watchers(1)
    }

    /// Takes the wakers of watchers if there are now `count` subscriptions.
    fn take_watchers(&mut self, count: u32) -> Wakers {
        match &mut self.rare {
            Some(rare) if self.subscriptions.0 == count => rare.watchers.take(None),
            _ => Wakers::default(),
        }
    }
}
