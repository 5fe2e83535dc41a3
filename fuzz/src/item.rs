//! Decoded items as values that can be compared.

use sse_core::{DecodeError, Decoded, Decoder, MessageEvent};

/// An owned item of a [`Decoder`].
pub type Item = Decoded<'static>;

/// An event; one without a type is a `message`.
pub fn event(event_type: &str, data: String, last_event_id: &str) -> Item {
    let [event_type, last_event_id] = [event_type, last_event_id].map(str::to_owned);
    let event = MessageEvent::new(event_type, data, last_event_id);
    Item::Event(event.expect("fields of an event"))
}

/// Decodes all pieces. Returns the items and the error that ended them.
pub fn decode<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Item>, Result<(), DecodeError>) {
    let mut items = Vec::new();
    for piece in pieces {
        let mut chunk = decoder.chunk(piece);
        loop {
            match chunk.next() {
                Ok(Some(decoded)) => items.push(decoded.into_owned()),
                Ok(None) => break,
                Err(error) => return (items, Err(error)),
            }
        }
    }
    (items, Ok(()))
}

/// Returns `text` with each CR and CRLF replaced by LF.
pub fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}
