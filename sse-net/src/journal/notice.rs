//! The state of a journal, and what it reports.

use std::ops::Range;
use std::path::PathBuf;
use std::{error, fmt, io};

use sse_core::LogId;

use super::disk::FileError;

/// The state of a journal.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JournalState {
    /// Whether published events are being stored.
    ///
    /// After an error it is `false` until everything that the topics retain has been stored.
    pub is_storing: bool,
    /// Events up to this ID are as safe as the policy says.
    pub stored: LogId,
    /// The number of segment files.
    pub segments: usize,
    /// The size of all segment files in bytes.
    pub bytes: u64,
    /// The number of panics in the callback for notices, and in wakers of subscribers that the
    /// journal's thread called.
    pub panics: u64,
}

/// An error or a recovery, reported by a journal.
#[derive(Debug)]
#[non_exhaustive]
pub enum JournalNotice {
    /// These bytes of a segment are damaged and were skipped.
    Damaged(PathBuf, Range<usize>),
    /// The newest segment ends with an incomplete event in these bytes, as after a crash.
    ///
    /// No client had seen it, unless the machine crashed before a sync.
    Torn(PathBuf, Range<usize>),
    /// The events after this ID and up to the second one, if there is one, are lost.
    ///
    /// Without a second one, they were written but not synced before the machine crashed.
    Lost(LogId, Option<LogId>),
    /// A segment cannot be read at all, and was renamed to the second path.
    SetAside(PathBuf, PathBuf),
    /// Events cannot be stored; the promise of the journal is suspended.
    Failed(FileError),
    /// Events are stored again, including those published meanwhile except the
    /// [missed](Self::Missed) ones.
    Recovered,
    /// This many topics have evicted events up to that ID before they could be stored.
    Missed(usize, LogId),
    /// Old segments cannot be compacted, so that the journal exceeds its size.
    NotCompacted(FileError),
}

impl fmt::Display for JournalNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(path, place) => write!(
                f,
                "{}: {} bytes from byte {} on are damaged and were skipped",
                path.display(),
                place.len(),
                place.start
            ),
            Self::Torn(path, place) => write!(
                f,
                "{}: the last {} bytes, from byte {}, are not a complete event and were skipped",
                path.display(),
                place.len(),
                place.start
            ),
            Self::Lost(after, Some(until)) => write!(
                f,
                "events after {after} and up to {until} are lost; clients that resume before them \
                 receive a gap event"
            ),
            Self::Lost(after, None) => write!(
                f,
                "events after {after} are lost, because they had not been synced; clients that \
                 resume after them receive a gap event"
            ),
            Self::SetAside(from, to) => write!(
                f,
                "{} cannot be read as a segment and was renamed to {}",
                from.display(),
                to.display()
            ),
            Self::Failed(error) => {
                write!(f, "{error}; events are not stored until writing succeeds")
            }
            Self::Recovered => f.write_str("events are stored again"),
            Self::Missed(topics, until) => write!(
                f,
                "events up to {until} were evicted before they could be stored, in this many topics: \
                 {topics}; raise their retention, or publish more slowly"
            ),
            Self::NotCompacted(error) => write!(
                f,
                "{error}; old events stay in the journal until that succeeds"
            ),
        }
    }
}

/// Why a journal cannot be opened, or an event is not stored.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum JournalError {
    /// This process or another one has the journal open.
    InUse(PathBuf),
    /// A segment has the format of another release.
    Version(PathBuf, u32),
    /// A topic that stands alone cannot open the journal of a hub.
    OfHub(PathBuf),
    /// A file operation failed.
    File(FileError),
    /// The journal has failed and may not have stored the event. It tries again every second.
    Failed(FileError),
    /// The event was evicted before it could be stored.
    Missed,
    /// The topic or the hub has no journal.
    NoJournal,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(dir) => write!(
                f,
                "the journal in {} is in use; end the process that has it open, or choose another \
                 folder",
                dir.display()
            ),
            Self::Version(path, version) => write!(
                f,
                "{} has format {version}, and this release reads format 2; open the journal with \
                 the release that wrote it, or choose another folder",
                path.display()
            ),
            Self::OfHub(dir) => write!(
                f,
                "the journal in {} is that of a hub; open it with `Hub::open`",
                dir.display()
            ),
            Self::File(error) => error.fmt(f),
            Self::Failed(error) => write!(f, "the journal has failed: {error}"),
            Self::Missed => f.write_str(
                "the event was evicted before it could be stored; raise the topic's retention, or \
                 publish more slowly",
            ),
            Self::NoJournal => {
                f.write_str("there is no journal; open the hub or the topic with one")
            }
        }
    }
}

impl error::Error for JournalError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::File(error) | Self::Failed(error) => error.source(),
            _ => None,
        }
    }
}

impl From<JournalError> for io::Error {
    fn from(error: JournalError) -> Self {
        let kind = match &error {
            JournalError::File(error) | JournalError::Failed(error) => error.io_error().kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl From<FileError> for JournalError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}
