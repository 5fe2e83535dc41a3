//! Streams of events: a subscription as one, and the items of one that becomes a body.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use bytes::Bytes;
use futures_core::Stream;
use sse_core::{Decoded, Decoder, Event, Lagged, MessageEvent};

use crate::topic::Subscription;

/// The events of a topic as a `Stream`, decoded as a browser decodes them.
///
/// Errors do not end the stream. [`Lagged`] means that events were missed; the stream continues
/// with the oldest retained event. The stream ends when the topic has been finished and
/// everything has been read. It does not linger.
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
    /// Bytes that have been read and that the decoder has not taken.
    bytes: Bytes,
}

impl Subscription {
    /// Returns the events as a `Stream`, decoded.
    #[must_use]
    pub fn events(self) -> EventStream {
        EventStream {
            subscription: self,
            // The events are in memory already, so limits would save nothing.
            decoder: Decoder::new().max_line(usize::MAX).max_event(usize::MAX),
            bytes: Bytes::new(),
        }
    }
}

impl EventStream {
    /// Returns the subscription, which may have read more than the stream has yielded.
    #[must_use]
    pub const fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    fn decode(&mut self) -> Option<MessageEvent<'static>> {
        let bytes = mem::take(&mut self.bytes);
        let mut chunk = self.decoder.chunk(&bytes);
        while let Ok(Some(decoded)) = chunk.next() {
            // Comments and reconnection times are not dispatched.
            if let Decoded::Event(event) = decoded {
                return Some(event.into_owned());
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

/// An item of a stream that [`Responder::events`](crate::Responder::events) sends.
pub trait IntoEvent {
    /// Returns the event.
    ///
    /// # Errors
    ///
    /// The error of an item that is a result.
    fn into_event(self) -> io::Result<Event<'static>>;
}

impl IntoEvent for Event<'static> {
    fn into_event(self) -> io::Result<Self> {
        Ok(self)
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> IntoEvent for Result<Event<'static>, E> {
    fn into_event(self) -> io::Result<Event<'static>> {
        self.map_err(io::Error::other)
    }
}
