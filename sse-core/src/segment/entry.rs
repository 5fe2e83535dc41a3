//! Entries of a segment.

use std::borrow::Cow;
use std::iter;

use memchr::memchr;
use memchr::memmem::Finder;

use self::SegmentEntry as Entry;
use crate::keyed::EventKey;
use crate::log::LogId;

/// An entry of a [`Segment`](crate::Segment).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentEntry<'a> {
    /// An event.
    Event(Record<'a>),
    /// The first and the last ID of an epoch. The current one has no last ID yet.
    Epoch(LogId, Option<LogId>),
    /// The segment has all events after this ID, up to that of each following entry in turn.
    From(LogId),
    /// The segment has all events up to this ID, except evicted ones.
    UpTo(LogId),
    /// Events up to this ID were safe from a power failure.
    Synced(LogId),
    /// Events of a topic have been evicted up to this ID; without a name, those of all topics that
    /// the journal does not name.
    Evicted(LogId, Option<Cow<'a, str>>),
    /// A topic of a hub was removed at this ID with all of its events.
    Removed(LogId, Cow<'a, str>),
    /// Removals of a keyed topic have been dropped for good up to this ID.
    Dropped(LogId, Cow<'a, str>),
    /// A topic of a hub accepts no more events.
    Finished(Finish, Cow<'a, str>),
    /// An event whose line is whole, and whose bytes are damaged.
    Unread(Record<'a>),
    /// Bytes that cannot be read.
    Damage,
    /// A line that a later release has added.
    Other,
}

/// An event in a [`Segment`](crate::Segment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    /// The ID that the log or the hub gave the event.
    pub id: LogId,
    /// The topic's name, or `None` for a topic that stands alone.
    pub topic: Option<Cow<'a, str>>,
    /// The wire bytes of the event.
    pub event: &'a [u8],
    /// The key, if the topic is keyed.
    pub key: Option<Cow<'a, EventKey>>,
}

/// The end of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finish {
    /// The ID of the topic's last event.
    pub last: LogId,
    /// The ID at which the topic ended.
    ///
    /// It is that of an event published with the end, or one assigned to the end alone.
    pub id: LogId,
}

impl SegmentEntry<'_> {
    /// Appends the entry to a segment. [`Unread`](Self::Unread), [`Damage`](Self::Damage) and
    /// [`Other`](Self::Other) append nothing.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, id, second, topic) = match self {
            Self::Event(record) => {
                let kind = match record.key.as_deref() {
                    None => "event",
                    Some(EventKey { is_removal, .. }) if *is_removal => "removal",
                    Some(_) => "value",
                };
                (kind, record.id, None, record.topic.as_deref())
            }
            Self::Epoch(first, last) => ("epoch", *first, *last, None),
            Self::From(id) => ("from", *id, None, None),
            Self::UpTo(id) => ("upto", *id, None, None),
            Self::Synced(id) => ("synced", *id, None, None),
            Self::Evicted(id, topic) => ("evicted", *id, None, topic.as_deref()),
            Self::Removed(id, topic) => ("removed", *id, None, Some(&**topic)),
            Self::Dropped(id, topic) => ("dropped", *id, None, Some(&**topic)),
            Self::Finished(end, topic) => ("finished", end.id, Some(end.last), Some(&**topic)),
            Self::Unread(_) | Self::Damage | Self::Other => return,
        };
        let at = out.len();
        out.extend_from_slice(b":00000000 ");
        out.extend_from_slice(kind.as_bytes());
        for id in [Some(id), second].into_iter().flatten() {
            out.push(b' ');
            out.extend_from_slice(id.text(&mut [0; LogId::MAX_LEN]).as_bytes());
        }
        if let Self::Event(Record { event, .. }) = self {
            out.push(b' ');
            out.extend_from_slice(itoa::Buffer::new().format(event.len()).as_bytes());
            out.push(b' ');
            out.extend_from_slice(&hex(crc32fast::hash(event)));
        }
        if let Some(topic) = topic {
            out.push(b' ');
            out.extend_from_slice(escape(topic).as_bytes());
        }
        if let Self::Event(Record { key: Some(key), .. }) = self {
            out.push(b' ');
            out.extend_from_slice(escape(&key.key).as_bytes());
        }
        let crc = hex(crc32fast::hash(&out[at + CHECKED..]));
        out[at + 1..][..crc.len()].copy_from_slice(&crc);
        out.push(b'\n');
        if let Self::Event(Record { event, .. }) = self {
            out.extend_from_slice(event);
        }
    }
}

impl Record<'_> {
    /// The usual length of a record without its event and its topic's name, at most.
    pub const LEN: usize = ":00000000 event 1700000000000-16777216 1000000 00000000 \n".len();
}

/// Parses the entry at the beginning of `bytes`, and returns its length.
pub(super) fn parse<'a>(bytes: &'a [u8], blank_line: &Finder<'_>) -> Option<(Entry<'a>, usize)> {
    let rest = bytes.strip_prefix(b":")?;
    let rest = &rest[..memchr(b'\n', rest)?];
    let (crc, text) = rest.split_at_checked(CHECKED - 2)?;
    let text = text.strip_prefix(b" ")?;
    if crc != hex(crc32fast::hash(text)) {
        return None;
    }
    let mut fields = fields(str::from_utf8(text).ok()?);
    let (kind, id) = (fields.next()?, LogId::parse(fields.next()?)?);
    let line_len = rest.len() + 2;
    let entry = match kind {
        "event" | "value" | "removal" => {
            let (len, crc) = (fields.next()?.parse::<usize>().ok()?, fields.next()?);
            let topic = fields.next().map(unescape);
            let key = match kind {
                "event" => None,
                _ => Some(Cow::Owned(EventKey {
                    key: unescape(fields.next()?).into(),
                    is_removal: kind == "removal",
                })),
            };
            let rest = &bytes[line_len..];
            let event = &rest[..len.min(rest.len())];
            let is_whole = event.len() == len
                && blank_line.find(event) == len.checked_sub(2)
                && crc.as_bytes() == hex(crc32fast::hash(event));
            let record = Record {
                id,
                topic,
                event,
                key,
            };
            let entry = match is_whole {
                true => Entry::Event(record),
                false => Entry::Unread(record),
            };
            return Some((entry, line_len + event.len()));
        }
        "epoch" => Entry::Epoch(id, fields.next().and_then(LogId::parse)),
        "from" => Entry::From(id),
        "upto" => Entry::UpTo(id),
        "synced" => Entry::Synced(id),
        "evicted" => Entry::Evicted(id, fields.next().map(unescape)),
        "removed" => Entry::Removed(id, unescape(fields.next()?)),
        "dropped" => Entry::Dropped(id, unescape(fields.next()?)),
        "finished" => {
            let last = LogId::parse(fields.next()?)?;
            Entry::Finished(Finish { last, id }, unescape(fields.next()?))
        }
        _ => Entry::Other,
    };
    Some((entry, line_len))
}

/// Returns the fields of a line, which a space separates.
///
/// Reading a segment takes a sixth longer with `str::split`.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    iter::from_fn(move || {
        let line = rest?;
        let end = memchr(b' ', line.as_bytes());
        rest = end.map(|end| &line[end + 1..]);
        Some(&line[..end.unwrap_or(line.len())])
    })
}

/// The offset of the part of a line that its checksum covers.
const CHECKED: usize = ":00000000 ".len();

/// Returns the digits of a CRC-32.
fn hex(crc: u32) -> [u8; 8] {
    std::array::from_fn(|at| b"0123456789abcdef"[(crc >> (28 - 4 * at)) as usize & 0xf])
}

/// Returns a name as one field of a line.
fn escape(name: &str) -> Cow<'_, str> {
    if !name.contains([' ', '\n', '\r', '\\']) {
        return name.into();
    }
    let name = name.replace('\\', r"\\").replace(' ', r"\s");
    name.replace('\n', r"\n").replace('\r', r"\r").into()
}

fn unescape(field: &str) -> Cow<'_, str> {
    if !field.contains('\\') {
        return field.into();
    }
    let parts = field.split(r"\\").map(|part| {
        let part = part.replace(r"\s", " ").replace(r"\n", "\n");
        part.replace(r"\r", "\r")
    });
    parts.collect::<Vec<_>>().join(r"\").into()
}
