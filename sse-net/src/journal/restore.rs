//! Reading a journal back.
//!
//! Segments may overlap, because after a failed sync events are written again, and after a power
//! failure any part of what was not synced may be missing. So the journal is read in the order of
//! the IDs: the segment that begins with the smallest one first, and an entry counts if its ID is
//! later than those taken before. Damage ends a piece of a segment. The rest is read once it
//! continues what was taken, unless another segment has the missing entries.
//!
//! Where nothing continues what was taken, events were lost: after the last known sync, everything
//! after the hole is dropped, as if the journal had ended there; before it, everything before the
//! hole counts as evicted. Either way a client that resumes beyond the hole receives a gap event.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use sse_core::{
    Epoch, Epochs, Finish, LogId, Now, Record, Retention, Segment, SegmentEntry as Entry,
};

use super::segments::{SegmentFile, Segments, number, path};
use super::{Journal, JournalError, JournalNotice};
use crate::topic::{RestoredTopic, random_epoch};

/// What a journal has.
#[derive(Default)]
pub(super) struct Contents {
    /// Those of earlier runs, by their numbers. Events after the end of their epoch had been lost
    /// at an earlier start, because events before them were missing.
    epochs: BTreeMap<u16, Epoch>,
    /// The ID of the last entry that was taken.
    pub(super) last: LogId,
    /// Up to where the journal is known to be on disk.
    pub(super) synced: LogId,
    /// Events up to this ID count as evicted in all topics. `None` until something was taken.
    begin: Option<LogId>,
    /// Those up to this one in topics that have no events.
    pub(super) floor: LogId,
    /// A topic that stands alone has the empty name.
    pub(super) topics: BTreeMap<String, RestoredTopic>,
    pub(super) is_of_hub: bool,
    /// Events after this ID do not count.
    until: Option<LogId>,
    /// Whether there is a hole after `last` that was not synced.
    is_cut: bool,
    notices: Vec<JournalNotice>,
}

/// The pieces that are still to be read, each with the number of its segment and its offset.
///
/// A piece has all entries after its ID, the first part of its key. Of pieces with the same ID, the
/// one in the newest segment is read first: a compaction has replaced the others. If only the
/// event with that ID is missing before, the value is its topic.
type Pieces = BTreeMap<(LogId, Reverse<u64>, usize), Option<String>>;

/// Opens a journal and reads it.
///
/// Of a topic that stands alone, the newest segments are read first. All are read if those have
/// less than it retains at the given time.
pub(super) fn open(
    journal: &Journal,
    retention: Option<(Retention, Duration)>,
) -> Result<(Segments, Contents), JournalError> {
    let mut segments = Segments::open(journal)?;
    let (files, epochs) = list(journal)?;
    let (mut synced, mut until, mut begin) = (LogId::default(), None, 0);
    if retention.is_some() {
        let mut bytes = 0;
        let mut newest = files.iter().rev();
        let is_more = |file: &SegmentFile| {
            bytes += file.len;
            bytes > journal.segment_bytes
        };
        begin = newest
            .position(is_more)
            .map_or(0, |at| files.len() - 1 - at);
    }
    let mut contents = loop {
        let mut contents = Contents {
            epochs: epochs.clone(),
            synced,
            until,
            ..Contents::default()
        };
        contents.read(journal, &files[begin..])?;
        synced = contents.synced;
        if contents.is_cut {
            // A sync that is noted after the hole vouches for what is before.
            until = Some(contents.last).filter(|last| *last >= synced);
        } else if begin > 0 && !retention.is_some_and(|retention| contents.is_enough(retention)) {
            begin = 0;
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
    let (mut files, mut epochs, mut buffer) = (Vec::new(), BTreeMap::new(), Vec::new());
    for (path, len) in paths {
        journal.disk.read(&path, HEAD, &mut buffer)?;
        if let Some(version) = Segment::version(&buffer)
            && version != Segment::VERSION
        {
            return Err(JournalError::Version(path, version));
        }
        let Some(number) = number(&path) else {
            continue;
        };
        let mut from = begin(&buffer, &mut epochs);
        if from.is_none() {
            journal.disk.read(&path, u64::MAX, &mut buffer)?;
            from = begin(&buffer, &mut epochs);
        }
        let mut entries = Segment::new(&buffer).map(|(_, entry)| entry).peekable();
        if entries.peek().is_some() && entries.all(|entry| entry == Entry::Damage) {
            set_aside(journal, &path)?;
        } else {
            let from = from.unwrap_or(LogId::MAX); // It has no events.
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

/// Returns the ID after which an entry is the next one, and its own.
fn span(entry: &Entry<'_>) -> Option<(LogId, LogId)> {
    match entry {
        Entry::From(id) => Some((*id, *id)),
        Entry::Event(Record { id, .. })
        | Entry::Unread { id, .. }
        | Entry::Finished(Finish { id, .. })
        | Entry::Removed(id, _)
        | Entry::UpTo(id) => Some((before(*id), *id)),
        _ => None,
    }
}

/// Returns the greatest ID that is smaller.
pub(super) const fn before(id: LogId) -> LogId {
    match id.sequence().checked_sub(1) {
        Some(sequence) => LogId::new(id.millis(), sequence),
        None => LogId::new(id.millis().saturating_sub(1), u64::MAX),
    }
}

impl Contents {
    fn read(&mut self, journal: &Journal, files: &[SegmentFile]) -> Result<(), JournalError> {
        let first = |file: &SegmentFile| (self.limit(file.from), Reverse(file.number), 0);
        let mut pieces: Pieces = files.iter().map(|file| (first(file), None)).collect();
        let (mut loaded, mut bytes, mut damages) = (None, Vec::new(), Vec::new());
        while let Some(((from, number, at), missing)) = pieces.pop_first() {
            let path = path(&journal.dir, number.0);
            if loaded != Some(number) {
                journal.disk.read(&path, u64::MAX, &mut bytes)?;
                loaded = Some(number);
            }
            self.continue_after(from, missing);
            if let Some((from, at, missing)) = self.read_piece(&bytes, at, &mut damages) {
                pieces.insert((from, number, at), missing);
            }
            let is_newest = files.last().is_some_and(|file| file.number == number.0);
            self.notices.extend(damages.drain(..).filter_map(|place| {
                // An incomplete event at the end is as after a crash, and has been reported before
                // if the segment is not the newest.
                match place.end == bytes.len() {
                    true => is_newest.then(|| JournalNotice::Torn(path.clone(), place)),
                    false => Some(JournalNotice::Damaged(path.clone(), place)),
                }
            }));
        }
        Ok(())
    }

    /// Begins a piece that has all entries after an ID.
    fn continue_after(&mut self, from: LogId, missing: Option<String>) {
        if self.is_cut || from == LogId::MAX {
            return;
        }
        match self.begin {
            None => self.begin = Some(from),
            Some(_) if from <= self.last => {}
            Some(_) if self.last >= self.synced => return self.is_cut = true,
            Some(_) => match missing {
                Some(topic) => {
                    self.topic(Some(&topic), |topic| {
                        topic.evicted = topic.evicted.max(from)
                    });
                }
                None => {
                    self.begin = Some(from);
                    self.notices
                        .push(JournalNotice::Lost(self.last, Some(from)));
                }
            },
        }
        self.last = self.last.max(from);
    }

    /// Takes the entries of a piece. Returns the beginning of the next piece of the segment, if
    /// entries may be missing before.
    fn read_piece(
        &mut self,
        bytes: &[u8],
        at: usize,
        damages: &mut Vec<Range<usize>>,
    ) -> Option<(LogId, usize, Option<String>)> {
        let taken = self.last;
        let mut is_broken = at == 0;
        for (place, entry) in Segment::new(&bytes[at..]) {
            let place = at + place.start..at + place.end;
            let Some((after, id)) = span(&entry) else {
                if entry == Entry::Damage {
                    damages.push(place);
                    is_broken = true;
                } else {
                    self.take(entry);
                }
                continue;
            };
            if self.is_cut || !self.has(id) {
                continue;
            }
            if is_broken && after > self.last {
                return Some((after, place.start, None));
            }
            is_broken = false;
            if let Entry::Unread { topic, key, .. } = entry {
                let end = place.end;
                damages.push(place);
                if id > self.last {
                    self.last = after;
                    let keyed = key.map_or(LogId::default(), |_| id);
                    self.topic(topic.as_deref(), |topic| {
                        topic.keyed = topic.keyed.max(keyed)
                    });
                    return Some((id, end, Some(topic.unwrap_or_default().into_owned())));
                }
            } else if id > taken {
                self.last = self.last.max(id);
                self.take(entry);
            }
        }
        None
    }

    fn take(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Event(Record {
                id,
                topic,
                event,
                key,
            }) => {
                self.is_of_hub |= topic.is_some();
                self.topic(topic.as_deref(), |topic| {
                    topic.events.push(id, event);
                    if let Some(key) = key {
                        topic.keyed = topic.keyed.max(id);
                        topic.keys.insert(id, key.into_owned());
                    }
                });
            }
            Entry::Synced(id) => self.synced = self.synced.max(id),
            Entry::Floor(id) => self.floor = self.floor.max(id),
            Entry::Evicted(id, name) => {
                let limit = self.limit(id);
                let removed = Some(id).filter(|id| *id == limit).unwrap_or_default();
                self.topic(name.as_deref(), |topic| {
                    topic.evicted = topic.evicted.max(limit);
                    topic.removed = topic.removed.max(removed);
                });
            }
            // Also if it is after what counts: clients that have seen a lost event, which
            // superseded another, begin anew.
            Entry::Dropped(id, name) => self.topic(Some(&*name), |topic| {
                topic.keyed = topic.keyed.max(id);
                topic.evicted = topic.evicted.max(id);
            }),
            Entry::Removed(id, name) => {
                let (last, topic) = (id, name.into_owned());
                self.topic(Some(&topic.clone()), |restored| {
                    restored.evicted = restored.evicted.max(id);
                    restored.removed = restored.removed.max(id);
                    restored.finish_at(Finish { last, id, topic });
                });
            }
            Entry::Finished(end) => {
                self.topic(Some(&end.topic.clone()), |topic| topic.finish_at(end));
            }
            _ => {}
        }
    }

    /// Changes a topic, which is created if it does not exist.
    fn topic(&mut self, name: Option<&str>, change: impl FnOnce(&mut RestoredTopic)) {
        let name = name.unwrap_or_default();
        match self.topics.get_mut(name) {
            Some(topic) => change(topic),
            None => change(self.topics.entry(name.to_owned()).or_default()),
        }
    }

    /// Whether an ID counts.
    fn has(&self, id: LogId) -> bool {
        self.limit(id) == id
    }

    /// Returns the ID, or the last one before that counts.
    fn limit(&self, id: LogId) -> LogId {
        let epoch = self.epochs.get(&id.epoch());
        let end = epoch.map_or(LogId::MAX, |epoch| epoch.last);
        id.min(end).min(self.until.unwrap_or(LogId::MAX))
    }

    /// Whether a topic that stands alone retains no more than has been read.
    fn is_enough(&self, (retention, now): (Retention, Duration)) -> bool {
        self.topics
            .get("")
            .is_some_and(|RestoredTopic { events, .. }| {
                let oldest = events
                    .first()
                    .map_or(now, |id| Duration::from_millis(id.millis()));
                retention.is_exceeded(events.len(), events.bytes(), now.saturating_sub(oldest))
            })
    }

    fn finish(&mut self, journal: &Journal) {
        let lost = self.until.map(|until| JournalNotice::Lost(until, None));
        for notice in self.notices.drain(..).chain(lost) {
            let _ = journal.notify(&notice);
        }
        let begin = self.begin.unwrap_or_default();
        self.floor = self.floor.max(begin);
        for topic in self.topics.values_mut() {
            topic.evicted = topic.evicted.max(begin);
        }
        self.synced = self.synced.min(self.last);
    }

    /// Returns the epochs of earlier runs, each with the last ID that is left, and a new one,
    /// whose IDs are later than those of all evicted events.
    pub(super) fn epochs(&self, now: Now) -> Epochs {
        let evicted = self.topics.values().map(|topic| topic.evicted).max();
        let later = evicted.filter(|evicted| *evicted > self.last); // The rest is lost.
        let later = later.map(|evicted| evicted.millis().saturating_add(1));
        let now = now.unix.max(Duration::from_millis(later.unwrap_or(0)));
        let past = self.epochs.values().map(|&Epoch { first, last }| Epoch {
            first,
            last: last.min(self.last).max(first),
        });
        Epochs::restore(past, random_epoch(), now)
    }
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

/// The bytes of a segment in which its first entries are, at least.
const HEAD: u64 = 128 << 10;
