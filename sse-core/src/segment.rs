//! How a log is kept in a file: the wire bytes of its events, each after a line that vouches
//! for it.
//!
//! ```text
//! :sse-journal 1 1700000000000-0      the format's version, and the first ID ever given
//!
//! :8e11a3f6 1700000000000-0           CRC-32 of what follows it, after the space
//! id: 1700000000000-0
//! data: hey
//!
//! :5b8f5f59 1700000000004-0
//! id: 54
//! data: an event with an ID of its publisher's
//!
//! ```
//!
//! It is itself an event stream, since lines that begin with a colon are comments. Two facts
//! of the encoder make it safe to read, whatever has happened to it:
//!
//! - An event ends with the first blank line, so each blank line is a place to go on from.
//! - A comment of an event has a space or nothing after its colon. No event can contain what
//!   looks like a line of the journal's.

use std::ops::Range;
use std::{error, fmt};

use fearless_simd::dispatch;
use fearless_simd::prelude::*;
use memchr::{memchr, memmem};

use crate::event::EventId;
use crate::line_ends::{LEVEL, LineEnds};
use crate::log::{LogId, Slice};

/// Reads the segment of a journal: gives its records, and what of it is damaged.
///
/// Never fails: whatever the bytes are, what is whole is read. A byte that has changed, is
/// missing or too many costs the event in which it is, or, where it stands at the very end of
/// one, also the next. This takes time linear in the length, and no memory.
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
/// file.extend(b":a torn tail");
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
/// assert_eq!(damage.range(), file.len() - 12..file.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    bytes: &'a [u8],
    since: Option<LogId>,
    /// Up to where the bytes have been looked at.
    at: usize,
    /// What was found after damage that had to be told first.
    next: Option<Record<'a>>,
}

impl<'a> Segment<'a> {
    /// Reads the segment whose whole content is `bytes`.
    ///
    /// # Errors
    ///
    /// [`UnknownVersion`] when it is of a format to come. Anything else that is wrong with it
    /// is [`Damage`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, UnknownVersion> {
        let (since, at) = match head(bytes)? {
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

    /// Appends what a segment begins with to `out`: that of a journal whose first ID ever
    /// was `since`.
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

    /// The first ID that the journal ever gave, unless that can't be read.
    #[must_use]
    pub const fn since(&self) -> Option<LogId> {
        self.since
    }

    /// The next record that can be read, and where it begins.
    fn find(&mut self) -> Option<(usize, Record<'a>)> {
        while self.at < self.bytes.len() {
            let start = self.at;
            let paragraph = Paragraph::first(&self.bytes[start..]);
            self.at += paragraph.bytes.len();
            if let Some(record) = Record::parse(&paragraph) {
                return Some((start, record));
            }
            // Where the blank line before it is damaged, a record is the last of two.
            let last = last_head(paragraph.bytes);
            if let Some(record) = Record::parse(&Paragraph::first(&paragraph.bytes[last..])) {
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
        let found = self.find();
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

/// An event as it stands in a [`Segment`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'a> {
    id: LogId,
    /// Where it is `None`, the event's ID is `id`.
    own_id: Option<EventId<'a>>,
    event: &'a [u8],
}

impl<'a> Record<'a> {
    fn parse(paragraph: &Paragraph<'a>) -> Option<Self> {
        let bytes = paragraph.bytes;
        let checked = bytes.get(CHECKED)?;
        let crc = bytes.strip_prefix(b":")?.first_chunk()?;
        if bytes[CHECKED.start - 1] != b' ' || *crc != hex(crc32fast::hash(checked)) {
            return None;
        }
        // What the encoder does not write is not ours, though it be whole: sent to clients,
        // it would end lines and events.
        if !paragraph.is_plain {
            return None;
        }
        let log_id = bytes.get(CHECKED.start..paragraph.event - 1)?;
        let id = bytes[paragraph.id.clone()].strip_prefix(b"id: ")?;
        let own_id = if id == log_id {
            None
        } else {
            Some(EventId::new(str::from_utf8(id).ok()?).ok()?)
        };
        Some(Self {
            id: LogId::parse_bytes(log_id)?,
            own_id,
            event: &bytes[paragraph.event..],
        })
    }

    /// The ID that the log gave the event. It rises from record to record.
    #[must_use]
    pub const fn id(&self) -> LogId {
        self.id
    }

    /// The wire bytes of the event.
    #[must_use]
    pub const fn event(&self) -> &'a [u8] {
        self.event
    }

    /// The ID that the publisher gave it, if it did.
    pub(crate) const fn own_id(&self) -> Option<&EventId<'a>> {
        self.own_id.as_ref()
    }
}

/// A part of a [`Segment`] that can't be read.
///
/// At the end of the newest segment of a journal it is what was being written when the
/// process or the machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    start: usize,
    end: usize,
}

impl Damage {
    /// Where it is, in bytes from the beginning of the segment.
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

/// A segment is of a version that this release does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownVersion(());

impl fmt::Display for UnknownVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the segment is of a newer format than 1; read it with a newer release")
    }
}

impl error::Error for UnknownVersion {}

const HEAD: &[u8] = b":sse-journal ";
const VERSION: &[u8] = b"1";

/// What of a record its checksum is over: all that comes after `:00000000 `.
const CHECKED: std::ops::RangeFrom<usize> = 10..;

/// What most records take beyond their events.
const RECORD_LEN: usize = b":00000000 1700000000000-000\n".len();

/// Appends an event to `out` as it stands in a segment.
fn push_record(id: LogId, event: &[u8], out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(b":00000000 ");
    push_id(id, out);
    out.push(b'\n');
    out.extend_from_slice(event);
    let crc = hex(crc32fast::hash(&out[at..][CHECKED]));
    out[at + 1..][..crc.len()].copy_from_slice(&crc);
}

/// Reads what a segment begins with: the first ID, and how long that is.
fn head(bytes: &[u8]) -> Result<Option<(LogId, usize)>, UnknownVersion> {
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

/// Where the last line begins that may be the first of a record.
fn last_head(paragraph: &[u8]) -> usize {
    let mut end = paragraph.len();
    while let Some(lf) = memmem::rfind(&paragraph[..end], b"\n:") {
        match paragraph.get(lf + 2) {
            Some(b' ' | b'\n') | None => end = lf + 1, // A comment of the event's.
            Some(_) => return lf + 1,
        }
    }
    0
}

/// What ends in a blank line, or with the file.
struct Paragraph<'a> {
    bytes: &'a [u8],
    /// Where its second line begins.
    event: usize,
    /// The first line after it that is no comment.
    id: Range<usize>,
    /// Whether it has a blank line and no carriage return.
    is_plain: bool,
}

impl<'a> Paragraph<'a> {
    /// All that is to be known of its lines comes of one walk over them: to search for each
    /// thing takes several times as long where events are short.
    fn first(bytes: &'a [u8]) -> Self {
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

fn push_id(id: LogId, out: &mut Vec<u8>) {
    out.extend_from_slice(id.text(&mut [0; LogId::MAX_LEN]).as_bytes());
}

fn hex(crc: u32) -> [u8; 8] {
    std::array::from_fn(|at| b"0123456789abcdef"[(crc >> (28 - 4 * at)) as usize & 0xf])
}
