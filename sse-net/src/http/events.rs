//! A subscription within the process, event by event.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use sse_core::{Decoded, Decoder, Lagged, MessageEvent};

use crate::topic::Subscription;

/// The events of a topic as a `Stream`, decoded: what a browser's listeners would be given.
///
/// An error is no end: it is [`Lagged`] where the stream has fallen behind what the topic
/// keeps, or has begun after an event that is not, and what follows is what is kept. It ends
/// when the topic has been finished and all has been read. It does not linger.
///
/// ```
/// use sse_core::{Event, Retention};
/// use sse_net::{Start, Topic};
/// use tokio_stream::StreamExt; // or futures_util::StreamExt
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let topic = Topic::new(Retention::events(100));
/// let mut events = topic.subscribe(Start::Live).events();
/// topic.publish(&Event::new().id(1).data("hey")).unwrap();
/// let event = events.next().await.unwrap()?;
/// assert_eq!((event.last_event_id(), event.data()), ("1", "hey"));
/// # Ok::<(), sse_core::Lagged>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct EventStream {
    subscription: Subscription,
    decoder: Decoder,
    /// What has been read and not been decoded.
    bytes: Bytes,
}

impl Subscription {
    /// The events, decoded, for a program that follows the topic itself.
    #[must_use]
    pub fn events(self) -> EventStream {
        EventStream {
            subscription: self,
            // What is in the topic is in memory already.
            decoder: Decoder::new().max_line(usize::MAX).max_event(usize::MAX),
            bytes: Bytes::new(),
        }
    }
}

impl EventStream {
    /// The subscription, which may be ahead of the stream: it is read burst by burst.
    #[must_use]
    pub const fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    fn decode(&mut self) -> Option<MessageEvent<'static>> {
        while self.bytes.has_remaining() {
            let mut rest = &self.bytes[..];
            let event = match self.decoder.decode(&mut rest) {
                Ok(Some(Decoded::Event(event))) => Some(event.into_owned()),
                Ok(_) => None, // A comment, a reconnection time: what listeners don't see.
                Err(_) => return None,
            };
            let taken = self.bytes.len() - rest.len();
            self.bytes.advance(taken);
            if event.is_some() {
                return event;
            }
        }
        None
    }
}

impl Stream for EventStream {
    type Item = Result<MessageEvent<'static>, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.decode() {
                return Poll::Ready(Some(Ok(event)));
            }
            match ready!(self.subscription.poll_bytes(cx)) {
                Ok(Some(bytes)) => self.bytes = bytes,
                Ok(None) => return Poll::Ready(None),
                Err(lagged) => return Poll::Ready(Some(Err(lagged))),
            }
        }
    }
}
