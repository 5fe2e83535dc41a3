//! For tests of what writes or reads event streams: what was written as values, where two
//! streams differ first, a writer that misbehaves.
//!
//! ```
//! use std::io::{self, ErrorKind, Write};
//! use sse_core::testing::{Comparison, Faulty, decoded};
//! use sse_core::{Decoded, Stream};
//!
//! /// What is tested: it says something, whatever the writer does.
//! fn greet<W: Write>(stream: &mut Stream<W>) -> io::Result<()> {
//!     stream.comment("here I am")?;
//!     stream.write_event(1, "greeting", "hey\nthere")?;
//!     Ok(())
//! }
//!
//! # fn main() -> io::Result<()> {
//! // What it wrote, as values:
//! let mut stream = Stream::new(Vec::new());
//! greet(&mut stream)?;
//! let (wire, _) = stream.into_parts();
//! let [Decoded::Comment(_), Decoded::Event(event)] = &decoded(&wire)[..] else {
//!     panic!("not what we want");
//! };
//! assert_eq!((event.event(), event.data()), ("greeting", "hey\nthere"));
//!
//! // Compared with what it wrote another time, say with a recording in a file:
//! let recording = b":T+0.250000000\nid: 1\nevent: greeting\ndata: hey\ndata: there\n\n";
//! Comparison::new().without_comments().assert_same(&recording[..], &wire[..]);
//!
//! // Over a writer that takes three bytes at once, and once fails after ten:
//! let mut stream = Stream::new(Faulty::new().at_once(3).fails_at(10, ErrorKind::TimedOut));
//! assert_eq!(greet(&mut stream).unwrap_err().kind(), ErrorKind::TimedOut);
//! stream.flush()?;
//! assert_eq!(stream.writer().written(), b": here I am\n", "what was accepted goes out");
//! # Ok(())
//! # }
//! ```

use std::io::{self, BufRead, Write};
use std::time::Duration;
use std::{fmt, iter};

use crate::decode::Decoded;
use crate::recording::{Recorded, Replayer};

/// What a client sees of an event stream, without the times if it is a recording. What follows
/// the last whole event is dropped.
///
/// # Panics
///
/// When it exceeds the default limits of a [`Decoder`](crate::Decoder).
#[must_use]
#[track_caller]
pub fn decoded(wire: &[u8]) -> Vec<Decoded<'static>> {
    let items = Replayer::new(wire).map(|item| item.map(Recorded::into_decoded));
    match items.collect() {
        Ok(items) => items,
        Err(error) => panic!("the stream can't be decoded: {error}"),
    }
}

/// Compares event streams, such as recordings: the events, reconnection times and comments,
/// but not when they came.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    tolerance: Option<Duration>,
    skips_comments: bool,
}

impl Comparison {
    /// Compares everything but the times.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tolerance: None,
            skips_comments: false,
        }
    }

    /// Compares the times too, which may differ by `tolerance`.
    #[must_use]
    pub const fn times_within(mut self, tolerance: Duration) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// Leaves comments out, such as heartbeats.
    #[must_use]
    pub const fn without_comments(mut self) -> Self {
        self.skips_comments = true;
        self
    }

    /// Where the streams differ first.
    ///
    /// # Errors
    ///
    /// What a reader says, or a [`DecodeError`](crate::DecodeError).
    pub fn first_difference(
        &self,
        expected: impl BufRead,
        got: impl BufRead,
    ) -> io::Result<Option<Difference>> {
        let [mut expected, mut got] = [self.items(expected)?, self.items(got)?].map(Vec::into_iter);
        let pairs = iter::from_fn(|| match (expected.next(), got.next()) {
            (None, None) => None,
            pair => Some(pair),
        });
        let mut differences = pairs.enumerate().filter_map(|(index, (expected, got))| {
            let (field, expected, got) = self.compare(expected.as_ref(), got.as_ref())?;
            Some(Difference {
                index,
                field,
                expected,
                got,
            })
        });
        Ok(differences.next())
    }

    /// Compares two streams.
    ///
    /// # Panics
    ///
    /// When they differ, with a sentence that says where; when one can't be decoded.
    #[track_caller]
    pub fn assert_same(&self, expected: impl BufRead, got: impl BufRead) {
        match self.first_difference(expected, got) {
            Ok(None) => {}
            Ok(Some(difference)) => panic!("the streams differ: {difference}"),
            Err(error) => panic!("the streams can't be compared: {error}"),
        }
    }

    fn items(&self, stream: impl BufRead) -> io::Result<Vec<Recorded<'static>>> {
        let is_compared = |item: &Recorded<'_>| {
            !(self.skips_comments && matches!(item.decoded(), Decoded::Comment(_)))
        };
        Replayer::new(stream)
            .filter(|item| item.as_ref().map_or(true, is_compared))
            .collect()
    }

    /// The field, what was expected of it, and what it is.
    fn compare(
        &self,
        expected: Option<&Recorded<'_>>,
        got: Option<&Recorded<'_>>,
    ) -> Option<(&'static str, String, String)> {
        let field = |name, expected: &str, got: &str| {
            let (expected, got) = excerpts(expected, got)?;
            Some((name, expected, got))
        };
        let (Some(expected), Some(got)) = (expected, got) else {
            return Some(("kind", kind(expected), kind(got)));
        };
        let of_item = match (expected.decoded(), got.decoded()) {
            (Decoded::Event(expected), Decoded::Event(got)) => {
                field("type", expected.event(), got.event())
                    .or_else(|| field("data", expected.data(), got.data()))
                    .or_else(|| {
                        field(
                            "last event ID",
                            expected.last_event_id(),
                            got.last_event_id(),
                        )
                    })
            }
            (Decoded::Retry(expected), Decoded::Retry(got)) => (expected != got).then(|| {
                (
                    "reconnection time",
                    format!("{expected:?}"),
                    format!("{got:?}"),
                )
            }),
            (Decoded::Comment(expected), Decoded::Comment(got)) => field("text", expected, got),
            _ => Some(("kind", kind(Some(expected)), kind(Some(got)))),
        };
        let is_on_time = self
            .tolerance
            .is_none_or(|tolerance| expected.at().abs_diff(got.at()) <= tolerance);
        let of_time = || {
            (
                "time",
                format!("{:?}", expected.at()),
                format!("{:?}", got.at()),
            )
        };
        of_item.or_else(|| (!is_on_time).then(of_time))
    }
}

/// Where two streams differ.
///
/// Its sentence says it: `item 3 differs in its data: expected "hey", got "hay"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    index: usize,
    field: &'static str,
    expected: String,
    got: String,
}

impl Difference {
    /// How many events, reconnection times and comments are the same before it.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// What differs: `kind`, `type`, `data`, `last event ID`, `reconnection time`, `text` of a
    /// comment, or `time`.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        self.field
    }

    /// What was expected, in words; of long text the part around the difference.
    #[must_use]
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What there is instead.
    #[must_use]
    pub fn got(&self) -> &str {
        &self.got
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            index,
            field,
            expected,
            got,
        } = self;
        write!(
            f,
            "item {index} differs in its {field}: expected {expected}, got {got}"
        )
    }
}

/// A writer that misbehaves, and keeps what it has taken.
///
/// It takes everything, unless it is told otherwise. Nonblocking writers that stall say
/// [`WouldBlock`](io::ErrorKind::WouldBlock), and one that says
/// [`WriteZero`](io::ErrorKind::WriteZero) does so by taking nothing.
#[derive(Debug, Clone)]
pub struct Faulty {
    written: Vec<u8>,
    at_once: usize,
    fails_at: Option<(usize, io::ErrorKind)>,
    is_broken: bool,
    fails_to_flush: Option<io::ErrorKind>,
}

impl Faulty {
    /// A writer that takes everything.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            written: Vec::new(),
            at_once: usize::MAX,
            fails_at: None,
            is_broken: false,
            fails_to_flush: None,
        }
    }

    /// Takes no more than so many bytes with one write.
    #[must_use]
    pub const fn at_once(mut self, bytes: usize) -> Self {
        self.at_once = bytes;
        self
    }

    /// Fails once, when it has taken so many bytes in all.
    #[must_use]
    pub const fn fails_at(mut self, bytes: usize, error: io::ErrorKind) -> Self {
        self.fails_at = Some((bytes, error));
        self
    }

    /// Fails always, from when it has taken so many bytes in all until it
    /// [recovers](Self::recover).
    #[must_use]
    pub const fn breaks_at(mut self, bytes: usize, error: io::ErrorKind) -> Self {
        self.is_broken = true;
        self.fails_at(bytes, error)
    }

    /// Would block from when it has taken so many bytes in all until it
    /// [recovers](Self::recover).
    #[must_use]
    pub const fn stalls_at(self, bytes: usize) -> Self {
        self.breaks_at(bytes, io::ErrorKind::WouldBlock)
    }

    /// Fails to flush, once.
    #[must_use]
    pub const fn fails_to_flush(mut self, error: io::ErrorKind) -> Self {
        self.fails_to_flush = Some(error);
        self
    }

    /// Fails no more.
    pub const fn recover(&mut self) {
        self.fails_at = None;
        self.is_broken = false;
        self.fails_to_flush = None;
    }

    /// What it has taken.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// What it has taken.
    #[must_use]
    pub fn into_written(self) -> Vec<u8> {
        self.written
    }
}

impl Default for Faulty {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Faulty {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = bytes.len().min(self.at_once);
        if let Some((at, error)) = self.fails_at {
            taken = taken.min(at.saturating_sub(self.written.len()));
            if taken == 0 {
                if !self.is_broken {
                    self.fails_at = None;
                }
                return match error {
                    io::ErrorKind::WriteZero => Ok(0),
                    error => Err(error.into()),
                };
            }
        }
        self.written.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.fails_to_flush.take() {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
    }
}

/// What an item is, in words.
fn kind(item: Option<&Recorded<'_>>) -> String {
    match item.map(Recorded::decoded) {
        None => "the end".to_owned(),
        Some(Decoded::Event(event)) => format!(
            "an event of type {:?} with the data {}",
            event.event(),
            excerpt(event.data(), 0)
        ),
        Some(Decoded::Retry(retry)) => format!("a reconnection time of {retry:?}"),
        Some(Decoded::Comment(text)) => format!("a comment {}", excerpt(text, 0)),
    }
}

/// Of two texts that differ, the part where they do.
fn excerpts(expected: &str, got: &str) -> Option<(String, String)> {
    if expected == got {
        return None;
    }
    let same = iter::zip(expected.chars(), got.chars()).take_while(|(one, other)| one == other);
    let begin = same.count().saturating_sub(EXCERPT / 4);
    Some((excerpt(expected, begin), excerpt(got, begin)))
}

/// The text, or if it is long, the part that begins with the character at `begin`.
fn excerpt(text: &str, begin: usize) -> String {
    if text.chars().nth(EXCERPT).is_none() && begin < EXCERPT {
        return format!("{text:?}");
    }
    let part: String = text.chars().skip(begin).take(EXCERPT).collect();
    let before = if begin > 0 { "…" } else { "" };
    let after = match text.chars().nth(begin + EXCERPT) {
        Some(_) => "…",
        None => "",
    };
    format!("{before}{part:?}{after}")
}

/// How many characters of a text are shown.
const EXCERPT: usize = 80;
