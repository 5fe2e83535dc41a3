//! The files of a journal: their names, and reading them.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};
use std::{fs, iter};

use sse_core::{Damage, LogId, Restored, Segment};

use super::JournalError;
use super::disk::{self, FileError, failed};

/// A segment file.
pub(super) struct SegmentFile {
    pub(super) name: Name,
    /// Its length in bytes, up to the end of the last complete event.
    pub(super) len: u64,
    /// Whether it contains no event yet.
    pub(super) is_empty: bool,
}

/// The name of a segment file. Names rise in the order of writing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The first ID. After a failed sync, events are written again; then the ID in the name of
    /// the previous segment, if it is later.
    pub(super) first: LogId,
    /// The number of earlier files with this ID.
    pub(super) copy: u32,
}

impl Name {
    pub(super) fn file_name(self) -> String {
        let (millis, sequence) = (self.first.millis(), self.first.sequence());
        match self.copy {
            0 => format!("{millis:020}-{sequence:020}.{EXTENSION}"),
            copy => format!("{millis:020}-{sequence:020}-{copy}.{EXTENSION}"),
        }
    }

    /// Parses a file name; `None` for other files.
    fn parse(path: &Path) -> Option<Self> {
        if path.extension() != Some(OsStr::new(EXTENSION)) {
            return None;
        }
        let number = |digits: &str| {
            let is_padded = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_padded.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let mut parts = path.file_stem()?.to_str()?.splitn(3, '-');
        let (millis, sequence) = (number(parts.next()?)?, number(parts.next()?)?);
        let copy = match parts.next() {
            None => 0,
            // Only the form that is written, so that no two files have equal names.
            Some(digits) => {
                let copy: u32 = digits.parse().ok().filter(|copy| *copy > 0)?;
                (copy.to_string() == digits).then_some(copy)?
            }
        };
        let first = LogId::parse(&format!("{millis}-{sequence}"))?;
        Some(Self { first, copy })
    }
}

/// Lists the segment files of a directory, the oldest first. Other files are ignored.
pub(super) fn list(dir: &Path) -> Result<VecDeque<SegmentFile>, FileError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("read", dir))? {
        let path = entry.map_err(failed("read", dir))?.path();
        let Some(name) = Name::parse(&path) else {
            continue;
        };
        let metadata = fs::metadata(&path).map_err(failed("read", &path))?;
        if metadata.is_file() {
            files.push(SegmentFile {
                name,
                len: metadata.len(),
                is_empty: false,
            });
        }
    }
    files.sort_by_key(|file| file.name);
    Ok(files.into())
}

/// The content of a segment file.
pub(super) struct Content {
    pub(super) len: usize,
    pub(super) since: Option<LogId>,
    pub(super) events: Restored,
    pub(super) damages: Vec<Damage>,
}

impl Content {
    fn read(path: &Path, buffer: &mut Vec<u8>) -> Result<Self, JournalError> {
        disk::read(path, buffer)?;
        let segment = Segment::new(buffer).map_err(|_| JournalError::Version(path.to_owned()))?;
        let since = segment.since();
        let (mut events, mut damages) = (Restored::default(), Vec::new());
        for item in segment {
            match item {
                Ok(record) => _ = events.push(&record),
                Err(damage) => damages.push(damage),
            }
        }
        Ok(Self {
            len: buffer.len(),
            since,
            events,
            damages,
        })
    }
}

/// Reads segment files in parallel, each with its own buffer.
pub(super) fn read_all(
    paths: &[PathBuf],
    buffers: &mut [Vec<u8>],
) -> Vec<Result<Content, JournalError>> {
    thread::scope(|scope| {
        let readers: Vec<_> = iter::zip(paths, buffers)
            .map(|(path, buffer)| scope.spawn(move || Content::read(path, buffer)))
            .collect();
        let content = |reader: ScopedJoinHandle<'_, _>| {
            reader.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        readers.into_iter().map(content).collect()
    })
}

/// The extension of segment files.
const EXTENSION: &str = "sse";
