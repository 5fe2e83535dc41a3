//! Reading a journal back.
//!
//! Segments may overlap, because after a failed sync events are written again, and after a power
//! failure any part of what was not synced may be missing. So what a journal has is not its files
//! one after the other, but the union of their events. Each segment says from which ID on it
//! continues the journal. Where the union of these ranges has a hole, events were lost: after the
//! last known sync, everything after the hole is dropped, as if the journal had ended there;
//! before it, everything before the hole counts as evicted. Either way a client that resumes
//! beyond the hole receives a gap event.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sse_core::{
    Epoch, Epochs, EventKey, Finish, LogId, Now, Record, Restored, Retention, Segment,
    SegmentEntry as Entry,
};

use super::segments::{SegmentFile, Segments, number, path};
use super::spans::{Spans, before};
use super::{Journal, JournalError, JournalNotice};
use crate::topic::{RestoredTopic, random_epoch};

/// What a journal has.
#[derive(Default)]
pub(super) struct Contents {
    /// Those of earlier runs, by their numbers. Events after the end of their epoch had been lost
    /// at an earlier start, because events before them were missing.
    epochs: BTreeMap<u16, Epoch>,
    pub(super) last: LogId,
    /// Up to where the journal is known to be on disk.
    pub(super) synced: LogId,
    /// Events up to this ID count as evicted in all topics.
    begin: LogId,
    /// Those up to this one in topics that have no events.
    pub(super) floor: LogId,
    /// A topic that stands alone has the empty name.
    pub(super) topics: BTreeMap<String, RestoredTopic>,
    pub(super) is_of_hub: bool,
    /// The ranges of IDs that were read, each after the first one and up to the second one.
    spans: Vec<(LogId, LogId)>,
    /// A newer segment has all keyed events up to this ID that are not superseded. Those of older
    /// segments, which should have been deleted, do not count.
    replaced: LogId,
    /// Events of which only the line was read, with their topics and keys.
    unread: Vec<(LogId, String, Option<Arc<str>>)>,
    /// Events after this ID are skipped.
    until: Option<LogId>,
}

/// Opens a journal and reads it, the newest segments first.
///
/// For a topic that stands alone, its retention at the given time says when it is enough.
pub(super) fn open(
    journal: &Journal,
    retention: Option<(Retention, Duration)>,
) -> Result<(Segments, Contents), JournalError> {
    let mut segments = Segments::open(journal)?;
    segments.files = list(journal)?;
    let mut contents = Contents::default();
    contents.read(journal, &mut segments.files, retention)?;
    if let Some(cut) = contents.judge(journal) {
        contents = Contents {
            epochs: contents.epochs,
            last: cut,
            begin: contents.begin,
            until: Some(cut),
            ..Contents::default()
        };
        contents.read(journal, &mut segments.files, retention)?;
        contents.synced = contents.synced.min(cut);
    }
    contents.floor = contents.floor.max(contents.begin);
    for topic in contents.topics.values_mut() {
        topic.events = union(mem::take(&mut topic.events));
        topic.evicted = topic.evicted.max(contents.begin);
    }
    Ok((segments, contents))
}

/// Returns the segment files, the oldest first. Refuses those of other releases.
fn list(journal: &Journal) -> Result<Vec<SegmentFile>, JournalError> {
    let (mut files, mut buffer) = (Vec::new(), Vec::new());
    for (path, len) in journal.disk.list(&journal.dir)? {
        if let Some(number) = number(&path) {
            let from = LogId::MAX; // Unknown.
            files.push(SegmentFile { number, len, from });
        } else if path.extension().is_some_and(|extension| extension == "sse") {
            read(journal, &path, &mut buffer)?;
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

fn read(journal: &Journal, path: &Path, buffer: &mut Vec<u8>) -> Result<(), JournalError> {
    journal.disk.read(path, buffer)?;
    match Segment::version(buffer) {
        Some(version) if version != Segment::VERSION => {
            Err(JournalError::Version(path.to_owned(), version))
        }
        _ => Ok(()),
    }
}

impl Contents {
    /// Reads the segments, the newest first. Sets those aside that have nothing.
    fn read(
        &mut self,
        journal: &Journal,
        files: &mut Vec<SegmentFile>,
        retention: Option<(Retention, Duration)>,
    ) -> Result<(), JournalError> {
        let mut buffer = Vec::new();
        for index in (0..files.len()).rev() {
            let path = path(&journal.dir, files[index].number);
            read(journal, &path, &mut buffer)?;
            if let Some(retention) = retention
                && buffer.len() > END
                && retention
                    .0
                    .is_exceeded(END / Record::LEN, END, Duration::ZERO)
                && self.add_end(&buffer, retention)
            {
                break;
            }
            let segment = Segment::new(&buffer);
            let (damages, is_unreadable) = self.add(segment, &mut files[index].from);
            if is_unreadable {
                set_aside(journal, &path)?;
                files.remove(index);
                continue;
            }
            if self.until.is_none() {
                let is_newest = index + 1 == files.len();
                report(journal, &path, damages, is_newest, buffer.len());
            }
            if retention.is_some_and(|retention| self.is_enough(retention)) {
                break;
            }
        }
        Ok(())
    }

    /// Adds the epochs and the last entries of a segment, and returns whether they are enough.
    /// If they are not, add the whole segment, too: entries may overlap.
    fn add_end(&mut self, bytes: &[u8], retention: (Retention, Duration)) -> bool {
        let is_epoch = |(_, entry): &_| matches!(entry, Entry::Epoch(..));
        let (end, from) = (Segment::end(bytes, END), &mut LogId::default());
        let epochs = Segment::new(bytes).take_while(is_epoch);
        let (damages, _) = self.add(epochs.chain(end), from);
        damages.is_empty() && self.is_enough(retention)
    }

    /// Adds the entries of a segment, which is older than those before. Returns what is damaged,
    /// and whether there is nothing else.
    fn add<'a>(
        &mut self,
        segment: impl Iterator<Item = (Range<usize>, Entry<'a>)>,
        from: &mut LogId,
    ) -> (Vec<Range<usize>>, bool) {
        let (mut spans, mut damages, mut count) = (Spans::default(), Vec::new(), 0);
        for (place, entry) in segment {
            count += 1;
            match &entry {
                Entry::Event(Record { id, .. })
                | Entry::Removed(id, _)
                | Entry::Finished(Finish { id, .. })
                    if !self.has(*id) =>
                {
                    continue;
                }
                Entry::Event(Record { id, .. })
                | Entry::Removed(id, _)
                | Entry::Finished(Finish { id, .. })
                | Entry::UpTo(id) => spans.add(*id),
                Entry::From(id) => spans.begin(*id),
                Entry::Damage => spans.add_damage(),
                _ => {}
            }
            if let Entry::Damage | Entry::Unread { .. } = entry {
                damages.push(place);
            }
            self.add_entry(entry);
        }
        *from = spans.ranges.first().map_or(*from, |(from, _)| *from);
        for (from, to) in &spans.ranges {
            if *from == LogId::default() {
                self.replaced = self.replaced.max(*to);
            }
        }
        self.spans.append(&mut spans.ranges);
        let is_unreadable = count > 0 && count == damages.len();
        (damages, is_unreadable)
    }

    fn add_entry(&mut self, entry: Entry<'_>) {
        match entry {
            Entry::Event(record) if record.key.is_none() || record.id > self.replaced => {
                self.is_of_hub |= record.topic.is_some();
                self.topic(record.topic.as_deref(), |topic| push(topic, &record));
            }
            Entry::Epoch(first, last) => {
                let last = last.unwrap_or(LogId::MAX);
                let epoch = Epoch { first, last };
                self.epochs.entry(first.epoch()).or_insert(epoch);
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
            Entry::Unread { id, topic, key } if key.is_none() || id > self.replaced => {
                let key = key.map(|key| key.into_owned().key);
                if key.is_some() {
                    self.topic(topic.as_deref(), |topic| topic.keyed = topic.keyed.max(id));
                }
                let name = topic.unwrap_or_default().into();
                self.unread.push((id, name, key));
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

    fn is_enough(&mut self, (retention, now): (Retention, Duration)) -> bool {
        let Some(topic) = self.topics.get_mut("") else {
            return false;
        };
        topic.events = union(mem::take(&mut topic.events));
        let count = topic.events.iter().map(Restored::len).sum();
        let bytes = topic.events.iter().map(Restored::bytes).sum();
        let oldest = topic.events.first().and_then(Restored::first);
        let oldest = oldest.map_or(now, |id| Duration::from_millis(id.millis()));
        retention.is_exceeded(count, bytes, now.saturating_sub(oldest))
    }

    /// Finds what is missing, and returns the ID after which everything has to be dropped.
    fn judge(&mut self, journal: &Journal) -> Option<LogId> {
        self.spans.sort_unstable();
        let (mut reached, mut cut) = (None, None);
        for &(from, to) in &self.spans {
            match reached {
                None => self.begin = from,
                Some(reached) if from <= reached => {}
                Some(reached) if reached >= self.synced => {
                    cut = Some(reached);
                    break;
                }
                Some(reached) => {
                    self.begin = from;
                    let _ = journal.notify(&JournalNotice::Lost(reached, Some(from)));
                }
            }
            reached = reached.max(Some(to));
        }
        self.last = reached.unwrap_or_default();
        // What supersedes an unread event may be dropped for another one.
        while let Some(earlier) = self.judge_unread(cut) {
            cut = Some(earlier);
        }
        if let Some(cut) = cut {
            let _ = journal.notify(&JournalNotice::Lost(cut, None));
        }
        cut
    }

    /// Finds unread events that are missing. Returns the ID after which everything has to be
    /// dropped, if it is before `cut`.
    fn judge_unread(&mut self, cut: Option<LogId>) -> Option<LogId> {
        let (end, mut earlier) = (cut.unwrap_or(self.last), None);
        for (id, name, key) in mem::take(&mut self.unread) {
            let counts = self.has(id);
            let topic = self.topics.entry(name.clone()).or_default();
            let is_there = topic.events.iter().any(|events| events.contains(id));
            let is_over = match &key {
                Some(key) => topic.newest_of(key, end).is_some_and(|newest| newest > id),
                None => id <= topic.evicted,
            };
            if !counts || is_there || is_over || id <= topic.removed {
                // It was lost before, another segment has it, or it was evicted or superseded.
            } else if id <= self.synced {
                topic.evicted = topic.evicted.max(id);
            } else if id < end {
                earlier = Some(earlier.map_or(before(id), |earlier| before(id).min(earlier)));
            }
            self.unread.push((id, name, key));
        }
        earlier
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

fn push(topic: &mut RestoredTopic, record: &Record<'_>) {
    if let Some(key) = &record.key {
        topic.keyed = topic.keyed.max(record.id);
        topic.keys.insert(record.id, EventKey::clone(key));
    }
    let newest = topic.events.last_mut();
    if !newest.is_some_and(|events| events.push(record.id, record.event)) {
        let mut events = Restored::default();
        events.push(record.id, record.event);
        topic.events.push(events);
    }
}

/// Merges pieces that overlap. The result is in the order of the IDs.
fn union(mut pieces: Vec<Restored>) -> Vec<Restored> {
    pieces.sort_by_key(Restored::first);
    let mut union: Vec<Restored> = Vec::new();
    for mut piece in pieces {
        if let Some(overlapped) = union.pop_if(|last| last.last() >= piece.first()) {
            piece = overlapped.merge(&piece);
        }
        union.push(piece);
    }
    union
}

/// Reports damage. An incomplete event at the end is as after a crash, and has been reported
/// before if the segment is not the newest.
fn report(journal: &Journal, path: &Path, damages: Vec<Range<usize>>, is_newest: bool, len: usize) {
    for place in damages {
        let notice = match place.end == len {
            true if is_newest => JournalNotice::Torn(path.to_owned(), place),
            true => continue,
            false => JournalNotice::Damaged(path.to_owned(), place),
        };
        let _ = journal.notify(&notice);
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

/// The last bytes of a segment that are read first.
const END: usize = 1 << 20;
