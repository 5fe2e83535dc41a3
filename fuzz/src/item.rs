//! What a stream decodes to, as values to compare.

use std::time::Duration;

use sse_core::{DecodeError, Decoded, Decoder, MessageEvent};

/// What a [`Decoder`] has come upon, owned.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Comment(String),
    Retry(Duration),
    Event {
        event_type: String,
        data: String,
        last_event_id: String,
    },
}

impl From<Decoded<'_>> for Item {
    fn from(decoded: Decoded<'_>) -> Self {
        match decoded {
            Decoded::Comment(text) => Self::Comment(text.into()),
            Decoded::Retry(retry) => Self::Retry(retry),
            Decoded::Event(event) => event.into(),
            other => unreachable!("{other:?}"),
        }
    }
}

impl From<MessageEvent<'_>> for Item {
    fn from(event: MessageEvent<'_>) -> Self {
        Self::Event {
            event_type: event.event_type().into(),
            data: event.data().into(),
            last_event_id: event.last_event_id().into(),
        }
    }
}

/// Decodes all pieces: the items, and what ended them early.
pub fn decode<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Item>, Result<(), DecodeError>) {
    let mut items = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(decoded)) => items.push(decoded.into()),
                Ok(None) => break,
                Err(error) => return (items, Err(error)),
            }
        }
        assert!(piece.is_empty(), "\"not yet\" takes everything");
    }
    (items, Ok(()))
}

/// `text` with an LF for each CR, LF and CRLF.
pub fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}
