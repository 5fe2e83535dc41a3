//! Reading a journal back.
//!
//! Segments may overlap, because after a failed sync events are written again, and after a power
//! failure any part of what was not synced may be missing. So the journal is read in the order of
//! the IDs: the segment that begins with the smallest one first, and an entry counts if its ID is
//! later than those taken before. Where a damaged segment lacks entries, the other segments that
//! may have them are read before its rest.
//!
//! Where nothing continues what was taken, events were lost: after the last known sync, everything
//! after the hole is dropped, as if the journal had ended there; before it, everything before the
//! hole counts as evicted. Either way a client that resumes beyond the hole receives a gap event.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sse_core::{Epoch, LogId, Retention, Segment, SegmentEntry as Entry};

use super::contents::{Contents, span};
use super::segments::{SegmentFile, Segments, number};
use super::{Journal, JournalError, JournalNotice};

/// Opens a journal and reads it.
///
/// Of a topic that stands alone, the newest segments are read first: more of them while those have
/// less than it retains at the given time, and all if entries are missing in those.
pub(super) fn open(
    journal: &Journal,
    retention: Option<(Retention, Duration)>,
) -> Result<(Segments, Contents), JournalError> {
    let mut segments = Segments::open(journal)?;
    let (files, epochs) = list(journal)?;
    let (mut synced, mut until) = (LogId::default(), None);
    let mut wanted = retention.map_or(u64::MAX, |_| FIRST);
    let mut contents = loop {
        let mut bytes = 0;
        let begin = files.iter().rposition(|file| {
            bytes += file.len;
            bytes >= wanted
        });
        let begin = begin.unwrap_or(0);
        let mut contents = Contents {
            epochs: epochs.clone(),
            synced,
            until,
            ..Contents::default()
        };
        contents.read(journal, &files[begin..])?;
        synced = contents.synced;
        if begin > 0 && contents.has_hole {
            wanted = u64::MAX; // Older segments may have what is missing.
        } else if contents.is_cut {
            // A sync that is noted after the hole vouches for what is before.
            until = Some(contents.last).filter(|last| *last >= synced);
        } else if begin > 0 && !retention.is_some_and(|retention| contents.is_enough(retention)) {
            wanted = wanted.saturating_mul(MORE);
        } else {
            break contents;
        }
    };
    contents.finish(journal);
    segments.files = files;
    Ok((segments, contents))
}

/// Returns the segment files, the oldest first, and the epochs that the newest ones list.
///
/// Refuses files of other releases, and sets those aside that cannot be read.
fn list(journal: &Journal) -> Result<(Vec<SegmentFile>, BTreeMap<u16, Epoch>), JournalError> {
    let is_segment = |path: &Path| path.extension().is_some_and(|extension| extension == "sse");
    let mut paths = journal.disk.list(&journal.dir)?;
    paths.retain(|(path, _)| is_segment(path));
    paths.sort_by_key(|(path, _)| number(path));
    let (mut files, mut epochs) = (Vec::new(), BTreeMap::new());
    for (path, len) in paths {
        let mut bytes = journal.disk.read(&path, HEAD)?;
        if let Some(version) = Segment::version(&bytes)
            && version != Segment::VERSION
        {
            return Err(JournalError::Version(path, version));
        }
        let Some(number) = number(&path) else {
            continue;
        };
        let mut from = begin(&bytes, &mut epochs);
        if from.is_none() {
            bytes = journal.disk.read(&path, len)?;
            from = begin(&bytes, &mut epochs);
        }
        let mut entries = Segment::new(&bytes).map(|(_, entry)| entry).peekable();
        if entries.peek().is_some() && entries.all(|entry| entry == Entry::Damage) {
            set_aside(journal, &path)?;
        } else {
            // A segment that does not say after which ID it begins has no events.
            let from = from.unwrap_or(LogId::MAX);
            files.push(SegmentFile { number, len, from });
        }
    }
    Ok((files, epochs))
}

/// Returns the ID after which a segment has all entries, and adds the epochs at its beginning.
fn begin(bytes: &[u8], epochs: &mut BTreeMap<u16, Epoch>) -> Option<LogId> {
    Segment::new(bytes).find_map(|(_, entry)| {
        if let Entry::Epoch(first, last) = entry {
            let last = last.unwrap_or(LogId::MAX);
            epochs.insert(first.epoch(), Epoch { first, last });
        }
        span(&entry).map(|(after, _)| after)
    })
}

/// Renames a file that cannot be read, so that it is never deleted.
fn set_aside(journal: &Journal, path: &Path) -> Result<(), JournalError> {
    let files = journal.disk.list(&journal.dir)?;
    let numbers = (1..).map(|number| format!("unreadable-{number}"));
    let names = ["unreadable".to_owned()].into_iter().chain(numbers);
    let mut paths = names.map(|name| path.with_extension(name));
    let is_free = |aside: &_| !files.iter().any(|(path, _)| path == aside);
    if let Some(aside) = paths.find(is_free) {
        journal.disk.rename(path, &aside)?;
        let _ = journal.notify(&JournalNotice::SetAside(path.to_owned(), aside));
    }
    Ok(())
}

/// The number of bytes that are read first, at least.
const FIRST: u64 = 1 << 20;

/// How many times more are read next: what has been read in vain is little in comparison.
const MORE: u64 = 64;

/// The bytes of a segment in which its first entries are, at least.
const HEAD: u64 = 128 << 10;
