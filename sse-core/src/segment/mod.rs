//! The format of a segment file: events, each after a comment with checksums, and states.
//!
//! ```text
//! :sse-journal 2 8e11a3f6                         format version, CRC-32 of the state's lines
//! :epoch 1700000000000-517 1700000000000-66053    first and last ID of an epoch
//! :span 1700000000000-66053                       the journal has all events from here on
//!
//! :5b8f5f59 01c4d2ee 43 1700000000000-131589 orders
//! id: 1700000000000-131589
//! data: one book
//!
//! ```
//!
//! The comment of an event has the CRC-32 of the fields after it, the CRC-32 and the length of
//! the event, the log's ID and, in a hub, the topic's name. A segment is itself an event stream,
//! because lines that begin with a colon are comments. Two properties of the encoder make damage
//! easy to skip: an event ends with its first blank line, and its own comments have a space or
//! nothing after the colon, so they are never taken for the journal's.

mod record;
mod state;

use std::borrow::Cow;
use std::ops::Range;
use std::{error, fmt};

use memchr::memmem::{self, Finder};

pub use record::Record;
pub use state::{Finish, SegmentState, Span};

use crate::log::LogId;
use record::Header;

/// Reads the bytes of a segment file as a sequence of [`Block`]s.
///
/// Damage is not an error: all blocks that are whole are read. Takes time linear in the length,
/// and no memory.
///
/// ```
/// use sse_core::{Block, LogId, Record, Segment, SegmentState};
///
/// let mut file = Vec::new();
/// SegmentState::default().encode(&mut file);
/// let id = LogId::new(7, 1);
/// Record::encode(id, Some("orders"), b"id: 7-1\ndata: one\n\n", &mut file);
/// file.extend(b":a torn end");
///
/// let mut segment = Segment::new(&file)?;
/// assert!(matches!(segment.next(), Some(Block::State(_))));
/// let Some(Block::Record(record)) = segment.next() else { panic!() };
/// assert_eq!((record.id, record.topic.as_deref()), (id, Some("orders")));
/// assert_eq!(record.event, b"id: 7-1\ndata: one\n\n");
/// let Some(Block::Damage(damage)) = segment.next() else { panic!() };
/// assert_eq!(damage.range(), file.len() - 11..file.len());
/// # Ok::<(), sse_core::UnknownVersion>(())
/// ```
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    bytes: &'a [u8],
    /// The offset up to which the bytes have been read.
    at: usize,
    blank_line: Finder<'static>,
}

/// A part of a [`Segment`].
#[derive(Debug, Clone, PartialEq)]
pub enum Block<'a> {
    /// An event.
    Record(Record<'a>),
    /// The state of the journal when the following events were written.
    State(SegmentState),
    /// The comment of an event whose bytes are damaged.
    Unread {
        /// The ID that the log or the hub gave the event.
        id: LogId,
        /// The topic's name, or `None` for a topic that stands alone.
        topic: Option<Cow<'a, str>>,
        /// The damaged bytes, from the comment on.
        damage: Damage,
    },
    /// Bytes that cannot be read.
    Damage(Damage),
}

impl<'a> Segment<'a> {
    /// Reads a segment file with this content.
    ///
    /// # Errors
    ///
    /// [`UnknownVersion`] if another release has written the file in another format version.
    /// Anything else that is wrong is [`Damage`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, UnknownVersion> {
        state::check_version(bytes)?;
        Ok(Self {
            bytes,
            at: 0,
            blank_line: Finder::new(b"\n\n"),
        })
    }

    /// Reads the block at an offset, and returns its end.
    fn block(&self, at: usize) -> Option<(Block<'a>, usize)> {
        let rest = &self.bytes[at..];
        if let Some(header) = Header::parse(rest) {
            let start = at + header.line_len;
            let event = self.bytes[start..].get(..header.event_len);
            let is_one_event =
                |event: &&[u8]| self.blank_line.find(event) == event.len().checked_sub(2);
            let event = event.filter(is_one_event);
            if let Some(event) = event.filter(|event| header.matches(event)) {
                let Header { id, topic, .. } = header;
                let record = Record { id, topic, event };
                return Some((Block::Record(record), start + event.len()));
            }
            let end = self.next_block(start);
            let block = Block::Unread {
                id: header.id,
                topic: header.topic,
                damage: Damage { start: at, end },
            };
            return Some((block, end));
        }
        let end = self.blank_line.find(rest)? + 2;
        let state = SegmentState::parse(&rest[..end])?;
        Some((Block::State(state), at + end))
    }

    /// Returns the offset of the next line after `at` that begins a block, or the end.
    fn next_block(&self, at: usize) -> usize {
        let mut from = at.saturating_sub(1);
        while let Some(found) = memmem::find(&self.bytes[from..], b"\n:") {
            let line = from + found + 1;
            let rest = &self.bytes[line..];
            if Header::parse(rest).is_some() || state::is_head(rest) {
                return line;
            }
            from = line;
        }
        self.bytes.len()
    }
}

impl<'a> Iterator for Segment<'a> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let start = self.at;
        if start == self.bytes.len() {
            return None;
        }
        if let Some((block, end)) = self.block(start) {
            self.at = end;
            return Some(block);
        }
        self.at = self.next_block(start + 1);
        let end = self.at;
        Some(Block::Damage(Damage { start, end }))
    }
}

/// A part of a [`Segment`] that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    start: usize,
    end: usize,
}

impl Damage {
    /// Returns the damaged range, in bytes from the beginning of the segment.
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.start..self.end
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range();
        write!(f, "{} bytes from byte {start} on are damaged", end - start)
    }
}

impl error::Error for Damage {}

/// A segment has a format version that this release does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownVersion {
    /// The version of the file; this release reads version 2.
    pub version: u32,
}

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version } = self;
        write!(
            f,
            "the segment has format {version}, and this release reads format 2"
        )
    }
}

impl error::Error for UnknownVersion {}

/// Returns the digits of a CRC-32.
fn hex(crc: u32) -> [u8; 8] {
    std::array::from_fn(|at| b"0123456789abcdef"[(crc >> (28 - 4 * at)) as usize & 0xf])
}
