//! Parses notifications, ticks and entries of streams. Anything else is skipped.

use redis::Value;
use sse_core::{Encoded, Epoch, Epochs, EventKey, LogId};

use crate::topic::Followed;

/// A notification of an event.
#[derive(Debug)]
pub(super) struct Notification {
    pub(super) topic: Box<str>,
    pub(super) entry: Entry,
}

/// An event of a topic.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: LogId,
    /// The ID before it in its topic.
    pub(super) before: LogId,
    pub(super) frame: Frame,
    pub(super) role: Role,
    /// Its key, in a keyed topic.
    pub(super) key: Option<EventKey>,
}

/// What an entry does to its topic, beside its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Event,
    /// The topic begins anew with it.
    Begin,
    /// The topic ends with it.
    End,
    /// The run of this topic, whose token is the ID, is to be stopped. It is no entry.
    Stop,
}

#[derive(Debug)]
pub(super) enum Frame {
    Event(Encoded),
    /// There is no event: the topic begins, or ends without one.
    Nothing,
    /// It is too long for a notification, and is read from the stream.
    InStream,
    /// These are not the bytes of an event.
    Invalid,
}

/// The last ID of the hub, and its epochs unless the node knows them.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) nonce: u64,
    pub(super) last: LogId,
    /// The first ID of the current epoch.
    pub(super) first: LogId,
    /// The past epochs. They come only if the first ID is not the one that the node knows.
    past: Vec<Epoch>,
}

impl Entry {
    /// Parses a notification.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let end = payload.iter().position(|byte| *byte == b'\n');
        let (line, frame) = payload.split_at(end.unwrap_or(payload.len()));
        let mut words = line.splitn(3, |byte| *byte == b' ');
        let (before, id) = (log_id(words.next()?)?, log_id(words.next()?)?);
        let (role, key) = match words.next() {
            None => (Role::Event, None),
            Some(b"stop ") => (Role::Stop, None),
            Some(rest) => {
                let space = rest.iter().position(|byte| *byte == b' ')?;
                role(&rest[..space], &rest[space + 1..])?
            }
        };
        let frame = match frame.get(1..) {
            Some(frame) => Frame::of(frame, role),
            None => Frame::InStream,
        };
        Some(Self {
            id,
            before,
            frame,
            role,
            key,
        })
    }

    /// Parses an entry of a stream: one of another program has other fields.
    fn of_stream(entry: &Value) -> Option<Self> {
        let Value::Array(parts) = entry else {
            return None;
        };
        let [id, Value::Array(fields)] = &parts[..] else {
            return None;
        };
        let [name, before, name_of_frame, frame, rest @ ..] = &fields[..] else {
            return None;
        };
        let names = (bytes(name)?, bytes(name_of_frame)?);
        (names == (b"before".as_slice(), b"frame".as_slice())).then_some(())?;
        let (role, key) = match rest {
            [] => (Role::Event, None),
            [name, key] => role(bytes(name)?, bytes(key)?)?,
            _ => return None,
        };
        Some(Self {
            id: log_id(bytes(id)?)?,
            before: log_id(bytes(before)?)?,
            frame: Frame::of(bytes(frame)?, role),
            role,
            key,
        })
    }

    /// Returns the event, if there is one.
    pub(super) fn into_followed(self) -> Option<Followed> {
        match self.frame {
            Frame::Event(event) => Some(Followed {
                id: self.id,
                event,
                key: self.key,
            }),
            Frame::Nothing | Frame::InStream | Frame::Invalid => None,
        }
    }

    /// Parses the newest event of a key.
    pub(super) fn of_state(key: &Value, value: &Value) -> Option<Self> {
        let value = bytes(value)?;
        let end = value.iter().position(|byte| *byte == b'\n')?;
        let (line, frame) = (&value[..end], &value[end + 1..]);
        let (id, name) = match line.strip_suffix(b" removal") {
            Some(id) => (log_id(id)?, b"removal".as_slice()),
            None => (log_id(line)?, b"value".as_slice()),
        };
        let (role, key) = role(name, bytes(key)?)?;
        Some(Self {
            id,
            before: LogId::default(),
            frame: Frame::of(frame, role),
            role,
            key,
        })
    }
}

impl Frame {
    fn of(frame: &[u8], role: Role) -> Self {
        if role != Role::Event && frame.is_empty() {
            return Self::Nothing;
        }
        Encoded::from_frame(frame).map_or(Self::Invalid, Self::Event)
    }
}

impl Tick {
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let text = str::from_utf8(payload).ok()?;
        let mut lines = text.split('\n');
        let (nonce, ids) = lines.next()?.split_once(' ')?;
        let (last, first) = pair(ids.as_bytes())?;
        let past = lines.filter_map(|line| {
            let (first, last) = pair(line.as_bytes())?;
            Some(Epoch { first, last })
        });
        Some(Self {
            nonce: nonce.parse().ok()?,
            last,
            first,
            past: past.collect(),
        })
    }

    /// Returns all epochs, if the node does not know them.
    pub(super) fn epochs(&self) -> Option<Epochs> {
        let current = Epoch {
            first: self.first,
            last: self.last,
        };
        Epochs::assigned(self.past.iter().copied().chain([current]))
    }
}

/// The last ID of a topic.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tip {
    pub(super) id: LogId,
    pub(super) is_end: bool,
}

impl Tip {
    pub(super) fn parse(value: &Value) -> Option<Self> {
        let mut words = bytes(value)?.split(|byte| *byte == b' ');
        Some(Self {
            id: log_id(words.next()?)?,
            is_end: words.any(|word| word == b"end"),
        })
    }
}

/// Entries of a stream.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    /// The number of entries of other programs.
    pub(super) foreign: u64,
    /// The ID of the last entry, also of another program, as Redis writes it.
    pub(super) last: Option<String>,
    pub(super) count: usize,
    /// The bytes of all fields.
    pub(super) bytes: usize,
    /// The bytes of the events alone, without their IDs.
    pub(super) frame_bytes: usize,
}

impl Page {
    pub(super) fn parse(value: &Value) -> Self {
        let mut page = Self::default();
        let Value::Array(entries) = value else {
            return page;
        };
        page.count = entries.len();
        for entry in entries {
            page.bytes += len(entry);
            match Entry::of_stream(entry) {
                Some(parsed) => {
                    page.frame_bytes += frame_len(entry);
                    page.entries.push(parsed);
                }
                None => page.foreign += 1,
            }
        }
        page.last = entries.last().and_then(|entry| match entry {
            Value::Array(parts) => text(parts.first()?),
            _ => None,
        });
        page
    }
}

/// Returns the bytes of an entry.
fn len(entry: &Value) -> usize {
    match entry {
        Value::Array(parts) => parts.iter().map(len).sum(),
        _ => bytes(entry).map_or(0, <[u8]>::len),
    }
}

/// Returns the bytes of an entry's event.
fn frame_len(entry: &Value) -> usize {
    let Value::Array(parts) = entry else {
        return 0;
    };
    match parts.get(1) {
        Some(Value::Array(fields)) => fields.get(3).map_or(0, len),
        _ => 0,
    }
}

/// Returns the text of a reply.
pub(super) fn text(value: &Value) -> Option<String> {
    String::from_utf8(bytes(value)?.to_vec()).ok()
}

pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// Returns the ID of a reply.
pub(super) fn id(value: &Value) -> Option<LogId> {
    log_id(bytes(value)?)
}

fn pair(line: &[u8]) -> Option<(LogId, LogId)> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    Some((log_id(&line[..space])?, log_id(&line[space + 1..])?))
}

/// Returns the role of an entry, or the key of an event of a keyed topic.
fn role(name: &[u8], key: &[u8]) -> Option<(Role, Option<EventKey>)> {
    let is_removal = match name {
        b"begin" => return Some((Role::Begin, None)),
        b"end" => return Some((Role::End, None)),
        b"value" => false,
        b"removal" => true,
        _ => return None,
    };
    let key = str::from_utf8(key).ok()?.into();
    Some((Role::Event, Some(EventKey { key, is_removal })))
}

fn log_id(bytes: &[u8]) -> Option<LogId> {
    LogId::parse(str::from_utf8(bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn what_is_not_a_notification_is_skipped() {
        let entry = Entry::parse(b"3-7 5-7\ndata: a\n\n").unwrap();
        assert_eq!(
            (entry.before, entry.id),
            (LogId::new(3, 7), LogId::new(5, 7))
        );
        assert!(matches!(entry.frame, Frame::Event(_)));
        let long = Entry::parse(b"3-7 5-7").unwrap();
        assert!(matches!(long.frame, Frame::InStream));
        for (end, frame) in [
            (b"3-7 5-7 end \n".as_slice(), true),
            (b"3-7 5-7 end ", false),
        ] {
            let entry = Entry::parse(end).unwrap();
            assert_eq!(entry.role, Role::End);
            assert_eq!(matches!(entry.frame, Frame::Nothing), frame);
        }
        let keyed = Entry::parse(b"3-7 5-7 removal the key\ndata: a\n\n").unwrap();
        let key = keyed.key.unwrap();
        assert_eq!((&*key.key, key.is_removal), ("the key", true));
        assert!(Entry::parse(b"3-7 5-7 other the key\ndata: a\n\n").is_none());
        let value = bulk("5-7 removal\ndata: a\n\n");
        let removal = Entry::of_state(&bulk("the key"), &value).unwrap();
        assert_eq!((removal.id, removal.key), (LogId::new(5, 7), Some(key)));
        for invalid in [b"3-7 5-7\n".as_slice(), b"3-7 5-7\nid: 8\n\n"] {
            let entry = Entry::parse(invalid).unwrap();
            assert!(matches!(entry.frame, Frame::Invalid));
        }
        for other in [
            b"".as_slice(),
            b"5-7",
            b"a b\n",
            b"5 7\n",
            b"\xff-1 5-7\n",
            b"5-7 ",
        ] {
            assert!(Entry::parse(other).is_none(), "{other:?}");
        }
    }

    #[test]
    fn entries_of_other_programs_are_counted() {
        let entry = |fields: &[&str]| {
            let fields = fields.iter().map(|field| bulk(field)).collect();
            Value::Array(vec![bulk("5-7"), Value::Array(fields)])
        };
        let page = Page::parse(&Value::Array(vec![
            entry(&["before", "3-7", "frame", "data: a\n\n"]),
            entry(&["before", "3-7"]),
            entry(&["temperature", "20", "place", "attic"]),
            Value::Nil,
            Value::Array(vec![bulk("6-7"), Value::Nil]),
        ]));
        assert_eq!((page.entries.len(), page.foreign, page.count), (1, 4, 5));
        assert_eq!((page.bytes, page.frame_bytes), (26 + 12 + 26 + 3, 9));
        assert_eq!(page.last.as_deref(), Some("6-7"));
        assert_eq!(Page::parse(&Value::Nil).count, 0);
    }

    #[test]
    fn a_tick_has_the_epochs_that_the_node_does_not_know() {
        let tick = Tick::parse(b"9 30-7 20-7\n1-5 4-5\nnot an epoch\n").unwrap();
        assert_eq!((tick.nonce, tick.last), (9, LogId::new(30, 7)));
        let epochs: Vec<_> = tick.epochs().unwrap().iter().collect();
        assert_eq!(epochs.len(), 2);
        assert_eq!(epochs[1].first, LogId::new(20, 7));
        for other in [b"".as_slice(), b"x 30-7 20-7", b"9 30-7", b"9", b"\xff"] {
            assert!(Tick::parse(other).is_none(), "{other:?}");
        }
    }
}
