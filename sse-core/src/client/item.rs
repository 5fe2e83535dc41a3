//! What a client returns.

use std::borrow::Cow;
use std::time::Duration;

use super::error::ClientError;
use crate::decode::MessageEvent;
use crate::http::ResponseHead;

/// An item of a stream that a client follows.
#[derive(Debug)]
#[non_exhaustive]
pub enum Item<'a> {
    /// A response opened the stream.
    Opened(Opened),
    /// An event.
    Event(MessageEvent<'a>),
    /// The event by which a server reports that the client has missed events.
    Gap(MessageEvent<'a>),
    /// A reconnection time, which applies from the next attempt on.
    Retry(Duration),
    /// The text of a comment, without one leading space.
    Comment(Cow<'a, str>),
    /// A part of the body as received, before the items in it.
    ///
    /// Only with [`EventSource::with_content`](super::EventSource::with_content).
    Content(Cow<'a, [u8]>),
    /// An attempt failed, or the stream ended. Another attempt follows.
    Closed(Closed),
}

impl Item<'_> {
    /// Returns the same item with its own copies of the texts.
    #[must_use]
    pub fn into_owned(self) -> Item<'static> {
        match self {
            Self::Opened(opened) => Item::Opened(opened),
            Self::Event(event) => Item::Event(event.into_owned()),
            Self::Gap(event) => Item::Gap(event.into_owned()),
            Self::Retry(retry) => Item::Retry(retry),
            Self::Comment(text) => Item::Comment(Cow::Owned(text.into_owned())),
            Self::Content(bytes) => Item::Content(Cow::Owned(bytes.into_owned())),
            Self::Closed(closed) => Item::Closed(closed),
        }
    }
}

/// An opened stream.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The response head.
    pub head: ResponseHead,
    /// The number of the attempt, from 1. Redirects are part of an attempt.
    pub attempt: u64,
}

/// The end of an attempt that another one follows.
#[derive(Debug)]
#[non_exhaustive]
pub struct Closed {
    /// Why the stream ended or did not begin.
    pub reason: ClientError,
    /// The delay before the next attempt.
    pub retry_in: Duration,
}
