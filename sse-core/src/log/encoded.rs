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
