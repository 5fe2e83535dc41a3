//! Records of a segment.

use std::ops::{Range, RangeFrom};
use std::sync::Arc;

use fearless_simd::dispatch;
use fearless_simd::prelude::*;
use memchr::memmem;

use crate::event::EventId;
use crate::line_ends::{LEVEL, LineEnds};
use crate::log::{LogId, Restored};

/// An event in a [`Segment`](crate::Segment).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    id: LogId,
    event: &'a [u8],
    /// The publisher's ID and its offset in `event`. Where it is `None`, the event has `id`.
    own_id: Option<(&'a str, usize)>,
}

impl<'a> Record<'a> {
    pub(super) fn parse(block: &Block<'a>) -> Option<Self> {
        let bytes = block.bytes;
        let checked = bytes.get(CHECKED)?;
        let crc = bytes.strip_prefix(b":")?.first_chunk()?;
        if bytes[CHECKED.start - 1] != b' ' || *crc != hex(crc32fast::hash(checked)) {
            return None;
        }
        // A carriage return would end lines and events for clients, and no encoder wrote it.
        if !block.is_plain {
            return None;
        }
        let log_id = bytes.get(CHECKED.start..block.event - 1)?;
        let id = bytes[block.id.clone()].strip_prefix(b"id: ")?;
        let own_id = if id == log_id {
            None
        } else {
            let id = str::from_utf8(id).ok().filter(|id| !id.contains('\0'))?;
            Some((id, block.id.end - id.len() - block.event))
        };
        Some(Self {
            id: LogId::parse_bytes(log_id)?,
            event: &bytes[block.event..],
            own_id,
        })
    }

    /// Returns the ID that the log assigned to the event. It rises from record to record.
    #[must_use]
    pub const fn id(&self) -> LogId {
        self.id
    }

    /// Returns the wire bytes of the event.
    #[must_use]
    pub const fn event(&self) -> &'a [u8] {
        self.event
    }
}

impl Restored {
    /// Appends an event and returns `true`, or returns `false` if its ID is not later than
    /// that of the last one.
    ///
    /// A publisher's ID that a client could not send back, such as one with a space at its
    /// end, is replaced by the log's and counted as [dropped](EventId::dropped). Earlier
    /// releases wrote such IDs.
    pub fn push(&mut self, record: &Record<'_>) -> bool {
        let Record { id, event, own_id } = *record;
        let Some((own_id, at)) = own_id else {
            return self.append(id, None, event);
        };
        if let Some(own_id) = EventId::foreign(own_id) {
            return self.append(id, Some(Arc::from(own_id.as_str())), event);
        }
        let mut replaced = event[..at].to_vec();
        push_id(id, &mut replaced);
        replaced.extend_from_slice(&event[at + own_id.len()..]);
        self.append(id, None, &replaced)
    }
}

/// The bytes that a record's checksum covers: all after `:00000000 `.
const CHECKED: RangeFrom<usize> = 10..;

/// The usual length of a record without its event.
pub(super) const RECORD_LEN: usize = b":00000000 1700000000000-000\n".len();

pub(super) fn push_record(id: LogId, event: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(b":00000000 ");
    push_id(id, out);
    out.push(b'\n');
    out.extend_from_slice(event);
    let crc = hex(crc32fast::hash(&out[at..][CHECKED]));
    out[at + 1..][..crc.len()].copy_from_slice(&crc);
}

pub(super) fn push_id(id: LogId, out: &mut Vec<u8>) {
    out.extend_from_slice(id.text(&mut [0; LogId::MAX_LEN]).as_bytes());
}

fn hex(crc: u32) -> [u8; 8] {
    std::array::from_fn(|at| b"0123456789abcdef"[(crc >> (28 - 4 * at)) as usize & 0xf])
}

/// Returns the offset of the last line in a block that may begin a record.
pub(super) fn last_record_start(block: &[u8]) -> usize {
    let mut end = block.len();
    while let Some(lf) = memmem::rfind(&block[..end], b"\n:") {
        match block.get(lf + 2) {
            Some(b' ' | b'\n') | None => end = lf + 1, // A comment of the event.
            Some(_) => return lf + 1,
        }
    }
    0
}

/// Lines up to a blank one, or up to the end of the file.
pub(super) struct Block<'a> {
    pub(super) bytes: &'a [u8],
    /// The offset of the second line.
    event: usize,
    /// The first line after the first that is not a comment.
    id: Range<usize>,
    /// Whether it ends with a blank line and has no carriage return.
    is_plain: bool,
}

impl<'a> Block<'a> {
    /// Reads the first block of `bytes`.
    ///
    /// One pass over the lines finds everything. Separate searches take several times as long
    /// where events are short.
    pub(super) fn first(bytes: &'a [u8]) -> Self {
        dispatch!(*LEVEL, simd => Self::walk(simd, bytes))
    }

    #[inline(always)]
    fn walk<S: Simd>(simd: S, bytes: &'a [u8]) -> Self {
        let (mut start, mut event, mut id, mut has_cr) = (0, bytes.len(), 0..0, false);
        for end in LineEnds::new(simd, bytes) {
            if bytes[end] == b'\r' {
                has_cr = true;
                continue;
            }
            if end == start {
                return Self {
                    bytes: &bytes[..=end],
                    event,
                    id,
                    is_plain: !has_cr,
                };
            }
            if start == 0 {
                event = end + 1;
            } else if id.is_empty() && bytes[start] != b':' {
                id = start..end;
            }
            start = end + 1;
        }
        Self {
            bytes,
            event,
            id,
            is_plain: false,
        }
    }
}
