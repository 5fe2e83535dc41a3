//! Events encoded before their ID is known.

use std::sync::Arc;

use bytes::Bytes;

use super::id::LogId;
use crate::event::Event;
use crate::event::encode;

/// An event encoded for a [`Log`](crate::Log), except for the ID that the log assigns.
///
/// [`Log::append_encoded`](crate::Log::append_encoded) then neither encodes nor copies a
/// large event, which shortens the time that a caller holds a lock.
#[derive(Debug, Clone)]
pub struct Encoded {
    bytes: Vec<u8>,
    /// The offset of the space for the longest ID line; `None` with a publisher's ID.
    room: Option<usize>,
    pub(super) own_id: Option<Arc<str>>,
}

impl Encoded {
    /// Encodes `event`.
    #[must_use]
    pub fn new(event: &Event<'_>) -> Self {
        let mut bytes = Vec::with_capacity(event.text_len() + ROOM + 64);
        let own_id = event.id.as_ref().map(|id| id.as_str().into());
        if own_id.is_some() {
            encode::event(&mut bytes, event);
            bytes.shrink_to_fit();
            return Self {
                bytes,
                room: None,
                own_id,
            };
        }
        if let Some(text) = &event.comment {
            encode::comment(&mut bytes, text);
        }
        let room = bytes.len();
        bytes.resize(room + ROOM, 0);
        encode::head(&mut bytes, None, event.event.as_ref(), event.retry);
        if let Some(text) = &event.data {
            encode::data(&mut bytes, text);
        }
        encode::end(&mut bytes);
        bytes.shrink_to_fit();
        Self {
            bytes,
            room: Some(room),
            own_id,
        }
    }

    /// Takes the wire bytes of one event without an ID.
    ///
    /// `None` if they are something else. They are UTF-8 whose lines end with LF, without a line of
    /// the field `id`, and with one blank line at the end.
    #[must_use]
    pub fn from_frame(frame: &[u8]) -> Option<Self> {
        let text = str::from_utf8(frame).ok()?;
        let lines = text.strip_suffix("\n\n").or((text == "\n").then_some(""))?;
        let is_id = |line: &str| line == "id" || line.starts_with("id:");
        let is_event =
            text == "\n" || !lines.split('\n').any(|line| line.is_empty() || is_id(line));
        if !is_event || memchr::memchr(b'\r', frame).is_some() {
            return None;
        }
        let mut bytes = Vec::with_capacity(ROOM + frame.len());
        bytes.resize(ROOM, 0);
        bytes.extend_from_slice(frame);
        Some(Self {
            bytes,
            room: Some(0),
            own_id: None,
        })
    }

    /// Returns the wire bytes without the ID that a log assigns.
    #[must_use]
    pub fn into_frame(mut self) -> Vec<u8> {
        if let Some(room) = self.room {
            self.bytes.drain(room..room + ROOM);
        }
        self.bytes
    }

    /// Returns the encoded length in bytes, with the longest ID that a log may assign.
    #[must_use]
    pub const fn max_len(&self) -> usize {
        self.bytes.len()
    }

    /// Fills in the ID line, without moving the bytes after it.
    pub(crate) fn into_bytes(mut self, id: LogId) -> Bytes {
        let Some(room) = self.room else {
            return self.bytes.into();
        };
        let id = id.event_id();
        let len = ID.len() + id.as_bytes().len() + 1;
        let skipped = ROOM - len;
        self.bytes.copy_within(..room, skipped);
        let line = &mut self.bytes[room + skipped..room + ROOM];
        line[..ID.len()].copy_from_slice(ID);
        line[ID.len()..len - 1].copy_from_slice(id.as_bytes());
        line[len - 1] = b'\n';
        Bytes::from(self.bytes).slice(skipped..)
    }
}

const ID: &[u8] = b"id: ";

/// The length of the longest ID line.
const ROOM: usize = ID.len() + LogId::MAX_LEN + 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_event_without_an_id() {
        for event in [
            Event::new(),
            Event::new().comment("hey"),
            Event::new().data(""),
            Event::new().data("two\nlines"),
        ] {
            let frame = Encoded::new(&event).into_frame();
            let encoded = Encoded::from_frame(&frame).expect("our own frames are frames");
            assert_eq!(encoded.clone().into_frame(), frame);
            let id = LogId::new(7, 5);
            let expected = [b"id: 7-5\n", &*frame].concat();
            assert_eq!(encoded.into_bytes(id), expected);
        }
        for frame in [
            "",
            "data: a",
            "data: a\n",
            "\n\n",
            "\ndata: a\n\n",
            "data: a\n\ndata: b\n\n",
            "data: a\r\n\n",
            "data: a\rid: 3\n\n",
            "id: 3\ndata: a\n\n",
            "data: a\nid\n\n",
            "data: a\n\n\n",
        ] {
            assert!(Encoded::from_frame(frame.as_bytes()).is_none(), "{frame:?}");
        }
        assert!(Encoded::from_frame(b"data: \xff\n\n").is_none());
    }
}
