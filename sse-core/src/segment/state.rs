//! The state of a journal, as a block of a segment.

use memchr::memchr;

use super::record::{push_escaped, push_id, unescape};
use super::{UnknownVersion, hex};
use crate::log::{Epoch, LogId};

/// What a journal knows besides its events, at some point of a [`Segment`](crate::Segment).
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SegmentState {
    /// The epochs of the hub. The last ID of the current one is that of the last event so far.
    pub epochs: Vec<Epoch>,
    /// The ranges of IDs that the segment has, except events that have been evicted.
    pub spans: Vec<Span>,
    /// Events up to this ID were safe from a power failure.
    pub synced: Option<LogId>,
    /// Events up to this ID have been evicted in topics that have no other entry.
    pub floor: Option<LogId>,
    /// The greatest evicted ID of some topics, each with its name in a hub.
    pub evicted: Vec<(LogId, Option<String>)>,
    /// Topics of a hub that accept no more events.
    pub finished: Vec<Finish>,
}

/// The end of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finish {
    /// The ID of the topic's last event.
    pub last: LogId,
    /// The ID at which the topic ended.
    ///
    /// It is that of an event published with the end, or one assigned to the end alone.
    pub id: LogId,
    /// The topic's name.
    pub topic: String,
}

/// A range of IDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// All events after this ID are in the segment, until its end or `to`.
    pub from: LogId,
    /// The last ID; `None` while the segment grows.
    pub to: Option<LogId>,
}

impl SegmentState {
    /// Appends the block to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(HEAD);
        out.extend_from_slice(b"2 00000000\n");
        let at = out.len();
        for epoch in &self.epochs {
            push_line("epoch", [Some(epoch.first), Some(epoch.last)], None, out);
        }
        for span in &self.spans {
            push_line("span", [Some(span.from), span.to], None, out);
        }
        for (key, id) in [("synced", self.synced), ("floor", self.floor)] {
            if id.is_some() {
                push_line(key, [id, None], None, out);
            }
        }
        for (id, name) in &self.evicted {
            push_line("evicted", [Some(*id), None], name.as_deref(), out);
        }
        for Finish { last, id, topic } in &self.finished {
            push_line("finished", [Some(*last), Some(*id)], Some(topic), out);
        }
        let crc = hex(crc32fast::hash(&out[at..]));
        out[at - 1 - crc.len()..at - 1].copy_from_slice(&crc);
        out.push(b'\n');
    }

    /// Parses a block that ends with a blank line.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        let block = block.strip_prefix(HEAD)?.strip_suffix(b"\n")?;
        let (head, lines) = block.split_at_checked(b"2 00000000\n".len())?;
        let crc = head.strip_prefix(b"2 ")?.strip_suffix(b"\n")?;
        if crc != hex(crc32fast::hash(lines)) {
            return None;
        }
        let mut state = Self::default();
        for line in str::from_utf8(lines).ok()?.lines() {
            state.parse_line(line.strip_prefix(':')?);
        }
        Some(state)
    }

    /// Adds a line. One that a later release has added is skipped.
    fn parse_line(&mut self, line: &str) -> Option<()> {
        let (key, rest) = line.split_once(' ')?;
        let (id, second) = match rest.split_once(' ') {
            Some((id, second)) => (id, Some(second)),
            None => (rest, None),
        };
        let id = LogId::parse(id)?;
        match key {
            "epoch" => {
                let last = LogId::parse(second?)?;
                self.epochs.push(Epoch { first: id, last });
            }
            "span" => {
                let to = second.and_then(LogId::parse);
                self.spans.push(Span { from: id, to });
            }
            "synced" => self.synced = Some(id),
            "floor" => self.floor = Some(id),
            "evicted" => {
                let name = second.map(|name| unescape(name).into_owned());
                self.evicted.push((id, name));
            }
            "finished" => {
                let (own, name) = second?.split_once(' ')?;
                self.finished.push(Finish {
                    last: id,
                    id: LogId::parse(own)?,
                    topic: unescape(name).into_owned(),
                });
            }
            _ => {}
        }
        Some(())
    }
}

fn push_line(key: &str, ids: [Option<LogId>; 2], name: Option<&str>, out: &mut Vec<u8>) {
    out.push(b':');
    out.extend_from_slice(key.as_bytes());
    for id in ids.into_iter().flatten() {
        out.push(b' ');
        push_id(id, out);
    }
    if let Some(name) = name {
        out.push(b' ');
        push_escaped(name, out);
    }
    out.push(b'\n');
}

pub(super) fn is_head(bytes: &[u8]) -> bool {
    bytes.starts_with(HEAD)
}

/// Refuses a file of another format version.
pub(super) fn check_version(bytes: &[u8]) -> Result<(), UnknownVersion> {
    let Some(rest) = bytes.strip_prefix(HEAD) else {
        return Ok(());
    };
    let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
    let version = str::from_utf8(line)
        .ok()
        .and_then(|line| line.split(' ').next());
    match version.and_then(|version| version.parse().ok()) {
        Some(version) if version != 2 => Err(UnknownVersion { version }),
        _ => Ok(()),
    }
}

const HEAD: &[u8] = b":sse-journal ";
