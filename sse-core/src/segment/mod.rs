//! The format of a segment file: lines with checksums, and an event after some of them.
//!
//! ```text
//! :sse-journal 2                                            the format version
//! :8e11a3f6 epoch 1700000000000-517                         the IDs of this run begin here
//! :0f6ab3d1 from 1700000000000-517                          all events after this ID follow
//! :5b8f5f59 event 1700000000000-66053 42 01c4d2ee orders    ID, length, CRC-32, topic
//! id: 1700000000000-66053
//! data: one book
//!
//! ```
//!
//! In a keyed topic, an event is a `value` or a `removal`, and its key stands after the topic.
//!
//! Each line begins with the CRC-32 of its text. A segment is itself an event stream, because
//! lines that begin with a colon are comments. Two properties of the encoder make damage easy to
//! skip: an event ends with its first blank line, and its own comments have a space or nothing
//! after the colon, so they are never taken for the journal's.

mod entry;

use std::ops::Range;

use memchr::memmem::{self, Finder};

use self::SegmentEntry as Entry;
pub use entry::{Finish, Record, SegmentEntry};

/// Reads the bytes of a segment file as a sequence of entries, each with its place.
///
/// Damage is not an error: all entries that are whole are read. For what a journal has written,
/// damaged or not, that takes time linear in the length, and no memory. A file that is made for it
/// takes quadratic time, so read only your own.
///
/// ```
/// use sse_core::{LogId, Record, Segment, SegmentEntry as Entry};
///
/// let mut file = Segment::HEAD.to_vec();
/// let (id, topic) = (LogId::new(7, 1), Some("orders".into()));
/// let event = b"id: 7-1\ndata: one\n\n";
/// let written = Entry::Event(Record { id, topic, event, key: None });
/// written.encode(&mut file);
/// file.extend(b":a torn end");
///
/// let mut segment = Segment::new(&file);
/// assert_eq!(segment.next().unwrap().1, written);
/// assert_eq!(segment.next(), Some((file.len() - 11..file.len(), Entry::Damage)));
/// ```
#[derive(Debug, Clone)]
pub struct Segment<'a> {
    bytes: &'a [u8],
    /// The offset up to which the bytes have been read.
    at: usize,
    blank_line: Finder<'static>,
}

impl<'a> Segment<'a> {
    /// The first line of a segment file.
    pub const HEAD: &'static [u8] = b":sse-journal 2\n";

    /// The format version that this release reads and writes.
    pub const VERSION: u32 = 2;

    /// Reads a segment file of [this version](Self::VERSION) with this content.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let has_head = bytes.starts_with(Self::HEAD);
        Self {
            bytes,
            at: if has_head { Self::HEAD.len() } else { 0 },
            blank_line: Finder::new(b"\n\n"),
        }
    }

    /// Returns the format version of a file; `None` if its first line does not have one.
    #[must_use]
    pub fn version(bytes: &[u8]) -> Option<u32> {
        let rest = bytes.strip_prefix(b":sse-journal ")?;
        let digits = rest.split(|byte| !byte.is_ascii_digit()).next()?;
        str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Returns the offset of the next line from `at` on that begins an entry, or the end.
    fn next_line(&self, at: usize) -> usize {
        let mut from = at - 1;
        while let Some(found) = memmem::find(&self.bytes[from..], b"\n:") {
            from += found + 1;
            if entry::parse(&self.bytes[from..], &self.blank_line).is_some() {
                return from;
            }
        }
        self.bytes.len()
    }
}

/// The length of the shortest entry.
const MIN_ENTRY: usize = ":00000000 upto 0-0\n".len();

impl<'a> Iterator for Segment<'a> {
    type Item = (Range<usize>, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        if start == self.bytes.len() {
            return None;
        }
        let parsed = entry::parse(&self.bytes[start..], &self.blank_line);
        let (entry, len) = parsed.unwrap_or((Entry::Damage, 1));
        self.at = match entry {
            // The bytes of the event may be missing, and other entries may stand in their place.
            Entry::Unread(_) => match self.next_line(start + 1) {
                next if next < start + len + MIN_ENTRY => next,
                _ => start + len,
            },
            Entry::Damage => self.next_line(start + len),
            _ => start + len,
        };
        Some((start..self.at, entry))
    }
}
