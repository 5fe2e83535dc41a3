//! The format of a segment file: the wire bytes of events, each after a line with its
//! checksum.
//!
//! ```text
//! :sse-journal 1 1700000000000-0      the format's version, and the first ID of the journal
//!
//! :8e11a3f6 1700000000000-0           CRC-32 of the bytes after the space, and the log's ID
//! id: 1700000000000-0
//! data: hey
//!
//! :5b8f5f59 1700000000004-0
//! id: 54
//! data: an event with a publisher's ID
//!
//! ```
//!
//! A segment is itself an event stream, because lines that begin with a colon are comments.
//! Two properties of the encoder make damage easy to skip:
//!
//! - An event ends with the first blank line, so reading can continue after any blank line.
//! - A comment of an event has a space or nothing after its colon, so no event contains a
//!   line that looks like one of the journal's.

mod record;

use std::ops::Range;
use std::{error, fmt};

use memchr::memchr;

use crate::log::{LogId, Slice};
use record::{Block, RECORD_LEN, last_record_start, push_id, push_record};

pub use record::Record;

/// Reads the bytes of a segment file: its records, and where it is damaged.
///
/// Damage is not an error: all records that are whole are read. A byte that is changed,
/// missing or added costs the record in which it is; at the very end of a record it may cost
/// the next one, too. Takes time linear in the length, and no memory.
///
/// ```
/// use std::time::Duration;
/// use sse_core::{Event, Log, Retention, Segment, LogId};
///
/// let mut log = Log::new(Retention::default());
/// log.append(&Event::new().data("one"), Duration::from_millis(7));
/// log.append(&Event::new().id(2).data("two"), Duration::from_millis(7));
///
/// let slice = log.slice(log.begin()..log.end())?.unwrap();
/// let mut file = Vec::new();
/// Segment::begin(slice.first_id(), &mut file);
/// Segment::append(&slice, &mut file);
/// file.extend(b":a torn end");
///
/// let mut segment = Segment::new(&file)?;
/// let one = segment.next().unwrap()?;
/// assert_eq!(one.id(), LogId::parse("7-0").unwrap());
/// assert_eq!(one.event(), b"id: 7-0\ndata: one\n\n");
/// let two = segment.next().unwrap()?;
/// assert_eq!(two.id(), LogId::parse("7-1").unwrap());
/// assert_eq!(two.event(), b"id: 2\ndata: two\n\n");
///
/// let damage = segment.next().unwrap().unwrap_err();
/// assert_eq!(damage.range(), file.len() - 11..file.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    bytes: &'a [u8],
    since: Option<LogId>,
    /// The offset up to which the bytes have been read.
    at: usize,
    /// A record that follows damage, which is returned first.
    next: Option<Record<'a>>,
}

impl<'a> Segment<'a> {
    /// Reads a segment file with this content.
    ///
    /// # Errors
    ///
    /// [`UnknownVersion`] when a newer release has written the file. Anything else that is
    /// wrong is [`Damage`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, UnknownVersion> {
        let (since, at) = match parse_head(bytes)? {
            Some((since, at)) => (Some(since), at),
            None => (None, 0),
        };
        Ok(Self {
            bytes,
            since,
            at,
            next: None,
        })
    }

    /// Appends the head of a segment file to `out`.
    ///
    /// `since` is the first ID of the whole journal.
    pub fn begin(since: LogId, out: &mut Vec<u8>) {
        out.extend_from_slice(HEAD);
        out.extend_from_slice(VERSION);
        out.push(b' ');
        push_id(since, out);
        out.extend_from_slice(b"\n\n");
    }

    /// Appends the events of `slice` to `out`, each with its ID and checksum.
    pub fn append(slice: &Slice, out: &mut Vec<u8>) {
        out.reserve(slice.bytes().len() + RECORD_LEN * slice.count());
        for (id, event) in slice.events() {
            push_record(id, event, out);
        }
    }

    /// Returns the first ID of the whole journal, or `None` if the head is damaged.
    #[must_use]
    pub const fn since(&self) -> Option<LogId> {
        self.since
    }

    /// Finds the next record that is whole, and the offset at which it begins.
    fn find_record(&mut self) -> Option<(usize, Record<'a>)> {
        while self.at < self.bytes.len() {
            let start = self.at;
            let block = Block::first(&self.bytes[start..]);
            self.at += block.bytes.len();
            if let Some(record) = Record::parse(&block) {
                return Some((start, record));
            }
            // Where the blank line between two records is damaged, both are in one block.
            let last = last_record_start(block.bytes);
            if let Some(record) = Record::parse(&Block::first(&block.bytes[last..])) {
                return Some((start + last, record));
            }
        }
        None
    }
}

impl<'a> Iterator for Segment<'a> {
    type Item = Result<Record<'a>, Damage>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(record) = self.next.take() {
            return Some(Ok(record));
        }
        let start = self.at;
        let found = self.find_record();
        let end = match &found {
            Some((at, _)) => *at,
            None => self.bytes.len(),
        };
        if start < end {
            self.next = found.map(|(_, record)| record);
            return Some(Err(Damage { start, end }));
        }
        found.map(|(_, record)| Ok(record))
    }
}

/// A part of a [`Segment`] that cannot be read.
///
/// Damage at the end of a journal's newest segment is an incomplete write: the process or the
/// machine stopped meanwhile.
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
        let len = end - start;
        write!(
            f,
            "{len} bytes from byte {start} on are damaged; the events in them are lost"
        )
    }
}

impl error::Error for Damage {}

/// A segment has a format version that this release does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownVersion(());

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the segment has a format newer than 1; read it with a newer release")
    }
}

impl error::Error for UnknownVersion {}

const HEAD: &[u8] = b":sse-journal ";
const VERSION: &[u8] = b"1";

/// Parses the head of a segment: the journal's first ID, and the head's length.
fn parse_head(bytes: &[u8]) -> Result<Option<(LogId, usize)>, UnknownVersion> {
    let Some(rest) = bytes.strip_prefix(HEAD) else {
        return Ok(None);
    };
    let line = &rest[..memchr(b'\n', rest).unwrap_or(rest.len())];
    let Some((version, since)) = str::from_utf8(line)
        .ok()
        .and_then(|line| line.split_once(' '))
    else {
        return Ok(None);
    };
    if version.as_bytes() != VERSION {
        return match version.parse::<u32>() {
            Ok(_) => Err(UnknownVersion(())),
            Err(_) => Ok(None),
        };
    }
    let is_whole = rest[line.len()..].starts_with(b"\n\n");
    let since = LogId::parse(since).filter(|_| is_whole);
    Ok(since.map(|since| (since, HEAD.len() + line.len() + 2)))
}
