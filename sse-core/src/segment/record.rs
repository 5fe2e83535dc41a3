//! Records of a segment.

use std::borrow::Cow;
use std::sync::Arc;

use memchr::{memchr, memchr3};

use super::hex;
use crate::event::EventId;
use crate::log::{LogId, Restored};

/// An event in a [`Segment`](crate::Segment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The ID that the log or the hub gave the event.
    pub id: LogId,
    /// The topic's name, or `None` for a topic that stands alone.
    pub topic: Option<Cow<'a, str>>,
    /// The wire bytes of the event.
    pub event: &'a [u8],
}

impl<'a> Record<'a> {
    /// The usual length of a record without its event and its topic's name, at most.
    pub const LEN: usize = ":00000000 00000000 1000000 1700000000000-16777216 \n".len();

    /// Appends an event with its comment to `out`.
    pub fn encode(id: LogId, topic: Option<&str>, event: &[u8], out: &mut Vec<u8>) {
        let at = out.len();
        out.extend_from_slice(b":00000000 ");
        out.extend_from_slice(&hex(crc32fast::hash(event)));
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(event.len()).as_bytes());
        out.push(b' ');
        push_id(id, out);
        if let Some(topic) = topic {
            out.push(b' ');
            push_escaped(topic, out);
        }
        let crc = hex(crc32fast::hash(&out[at + CHECKED..]));
        out[at + 1..][..crc.len()].copy_from_slice(&crc);
        out.push(b'\n');
        out.extend_from_slice(event);
    }

    /// Returns the publisher's ID, if the event has one.
    fn own_id(&self) -> Option<EventId<'a>> {
        let mut lines = self.event.split(|byte| *byte == b'\n');
        let line = lines.find(|line| !line.starts_with(b":"))?;
        let id = str::from_utf8(line.strip_prefix(b"id: ")?).ok()?;
        let is_own = LogId::parse(id) != Some(self.id);
        EventId::new(id).ok().filter(|_| is_own)
    }
}

impl Restored {
    /// Appends an event and returns `true`, or returns `false` if its ID is not later than
    /// that of the last one.
    pub fn push(&mut self, record: &Record<'_>) -> bool {
        let own_id = match record.topic {
            None => record.own_id().map(|id| Arc::from(id.as_str())),
            Some(_) => None,
        };
        self.append(record.id, own_id, record.event)
    }
}

/// The comment before an event.
pub(super) struct Header<'a> {
    pub(super) line_len: usize,
    pub(super) event_len: usize,
    crc: [u8; 8],
    pub(super) id: LogId,
    pub(super) topic: Option<Cow<'a, str>>,
}

impl<'a> Header<'a> {
    /// Parses the first line of `bytes`, if its checksum is right.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(b":")?;
        let crc: &[u8; 8] = rest.first_chunk()?;
        if !crc[0].is_ascii_hexdigit() || *rest.get(8)? != b' ' {
            return None;
        }
        let line = &bytes[..memchr(b'\n', bytes)?];
        let checked = line.get(CHECKED..)?;
        if *crc != hex(crc32fast::hash(checked)) {
            return None;
        }
        let mut fields = str::from_utf8(checked).ok()?.splitn(4, ' ');
        Some(Self {
            line_len: line.len() + 1,
            crc: fields.next()?.as_bytes().try_into().ok()?,
            event_len: fields.next()?.parse().ok()?,
            id: LogId::parse(fields.next()?)?,
            topic: fields.next().map(unescape),
        })
    }

    /// Whether the event has the checksum in the comment.
    pub(super) fn matches(&self, event: &[u8]) -> bool {
        self.crc == hex(crc32fast::hash(event))
    }
}

/// The offset of the part of a comment that its checksum covers.
const CHECKED: usize = ":00000000 ".len();

pub(super) fn push_id(id: LogId, out: &mut Vec<u8>) {
    out.extend_from_slice(id.text(&mut [0; LogId::MAX_LEN]).as_bytes());
}

/// Appends a name in one line: line breaks and backslashes are escaped.
pub(super) fn push_escaped(name: &str, out: &mut Vec<u8>) {
    let mut rest = name.as_bytes();
    while let Some(at) = memchr3(b'\n', b'\r', b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

pub(super) fn unescape(name: &str) -> Cow<'_, str> {
    if !name.contains('\\') {
        return name.into();
    }
    let mut chars = name.chars();
    let mut plain = String::with_capacity(name.len());
    while let Some(char) = chars.next() {
        plain.push(match char {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                _ => '\\',
            },
            char => char,
        });
    }
    plain.into()
}
