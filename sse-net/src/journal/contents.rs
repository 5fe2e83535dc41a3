//! What a journal has, read from its segments in the order of the IDs.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use sse_core::{
    Epoch, Epochs, Finish, LogId, Now, Record, Retention, Segment, SegmentEntry as Entry,
};

use super::disk::FileError;
use super::segments::{SegmentFile, path};
use super::{Journal, JournalNotice};
use crate::topic::{RestoredTopic, random_epoch};

/// The contents of the segments of a journal.
#[derive(Default)]
pub(super) struct Contents {
    /// The epochs of earlier runs, by their numbers. Events after the end of their epoch had been
    /// lost at an earlier start, because events before them were missing.
    pub(super) epochs: BTreeMap<u16, Epoch>,
    /// The ID of the last entry that was taken.
    pub(super) last: LogId,
    /// Up to where the journal is known to be on disk.
    pub(super) synced: LogId,
    /// Events up to this ID count as evicted in all topics. `None` until something was taken.
    pub(super) begin: Option<LogId>,
    /// Topics whose names were dropped had events up to this ID.
    pub(super) floor: LogId,
    /// A topic that stands alone has the empty name.
    pub(super) topics: BTreeMap<String, RestoredTopic>,
    pub(super) is_of_hub: bool,
    /// Events after this ID do not count.
    pub(super) until: Option<LogId>,
    /// Whether entries are missing in all segments that were read.
    pub(super) has_hole: bool,
    /// Whether there is a hole after `last` that was not synced.
    pub(super) is_cut: bool,
    pub(super) notices: Vec<JournalNotice>,
    /// The segments that are still to be read, the next one last.
    pub(super) later: Vec<SegmentFile>,
    /// The number of the newest segment, which may have been written when the process ended.
    pub(super) newest: u64,
    /// The number of segments that wait for others, which may have what they lack.
    pub(super) waiting: usize,
}

/// A place where entries are missing: the ID after which they continue, and the topic, if only its
/// event with this ID is missing.
type Hole = (LogId, Option<String>);

impl Contents {
    /// Reads segments in the order of the IDs after which they begin. Of those that begin with the
    /// same ID, the newest is read first: a compaction has replaced the others.
    pub(super) fn read(
        &mut self,
        journal: &Journal,
        files: &[SegmentFile],
    ) -> Result<(), FileError> {
        self.newest = files.last().map_or(0, |file| file.number);
        self.later = files.to_vec();
        self.later
            .sort_by_key(|file| (Reverse(file.from), file.number));
        while let Some(file) = self.later.pop() {
            self.read_segment(journal, file)?;
        }
        Ok(())
    }

    /// Takes the entries of a segment.
    fn read_segment(&mut self, journal: &Journal, file: SegmentFile) -> Result<(), FileError> {
        let path = path(&journal.dir, file.number);
        let bytes = journal.disk.read(&path, file.len)?;
        self.continue_after((self.limit(file.from), None));
        let (mut taken, mut is_broken, mut missing) = (self.last, true, None);
        for (place, entry) in Segment::new(&bytes) {
            if matches!(entry, Entry::Damage | Entry::Unread(_)) {
                // An incomplete event at the end is as after a crash, and has been reported before
                // if the segment is not the newest.
                if place.end < bytes.len() {
                    let damaged = JournalNotice::Damaged(path.clone(), place);
                    self.notices.push(damaged);
                } else if file.number == self.newest {
                    self.notices.push(JournalNotice::Torn(path.clone(), place));
                }
            }
            let Some((after, id)) = span(&entry) else {
                match entry {
                    Entry::Damage => (is_broken, missing) = (true, None),
                    entry => self.take(entry),
                }
                continue;
            };
            if self.is_cut || !self.has(id) {
                continue;
            }
            let hole = missing.take().or(is_broken.then_some((after, None)));
            is_broken = false;
            if let Some(hole) = hole.filter(|(from, _)| *from > self.last) {
                self.fill(journal, hole)?;
                taken = self.last;
            }
            if self.is_cut || id <= taken {
                continue;
            }
            if let Entry::Unread(Record { topic, key, .. }) = entry {
                let keyed = key.map_or(LogId::default(), |_| id);
                self.topic(topic.as_deref(), |topic| {
                    topic.keyed = topic.keyed.max(keyed);
                });
                missing = Some((id, Some(topic.unwrap_or_default().into_owned())));
            } else {
                self.last = self.last.max(reaches(&entry).unwrap_or_default());
                self.take(entry);
            }
        }
        // Otherwise the event was being written at a crash, which is no hole.
        if let Some(hole) = missing.filter(|(lost, _)| *lost <= self.synced) {
            self.fill(journal, hole)?;
        }
        Ok(())
    }

    /// Continues after a hole, once the segments that may have the missing entries have been read.
    fn fill(&mut self, journal: &Journal, hole: Hole) -> Result<(), FileError> {
        self.waiting += 1;
        while self.waiting < MAX_WAITING
            && let Some(file) = self.later.pop_if(|file| file.from < hole.0)
        {
            self.read_segment(journal, file)?;
        }
        self.waiting -= 1;
        self.continue_after(hole);
        Ok(())
    }

    /// Continues after an ID, though entries before may be missing.
    fn continue_after(&mut self, (from, topic): Hole) {
        if self.is_cut || from == LogId::MAX {
            return;
        }
        let is_hole = self.begin.is_some() && from > self.last;
        self.has_hole |= is_hole;
        if !is_hole {
            self.begin.get_or_insert(from);
        } else if self.last >= self.synced {
            self.is_cut = true;
            return;
        } else if let Some(topic) = topic {
            self.topic(Some(&topic), |topic| {
                topic.evicted = topic.evicted.max(from);
            });
        } else {
            let lost = JournalNotice::Lost(self.last, Some(from));
            self.notices.push(lost);
            self.begin = Some(from);
        }
        self.last = self.last.max(from);
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
            Entry::Synced(id) => self.synced = self.synced.max(self.limit(id)),
            Entry::Evicted(id, None) => self.floor = self.floor.max(self.limit(id)),
            Entry::Evicted(id, Some(name)) => {
                let limit = self.limit(id);
                let removed = Some(id).filter(|id| *id == limit).unwrap_or_default();
                self.topic(Some(&*name), |topic| {
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
                self.take(Entry::Evicted(id, Some(name.clone())));
                self.take(Entry::Finished(Finish { last: id, id }, name));
            }
            Entry::Finished(end, name) => self.topic(Some(&*name), |topic| topic.finish_at(end)),
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

    /// Returns whether an ID counts.
    fn has(&self, id: LogId) -> bool {
        self.limit(id) == id
    }

    /// Returns the ID, or the last one before that counts.
    fn limit(&self, id: LogId) -> LogId {
        let epoch = self.epochs.get(&id.epoch());
        let end = epoch.map_or(LogId::MAX, |epoch| epoch.last);
        id.min(end).min(self.until.unwrap_or(LogId::MAX))
    }

    /// Returns whether a topic that stands alone retains no more than has been read.
    pub(super) fn is_enough(&self, (retention, now): (Retention, Duration)) -> bool {
        self.topics
            .get("")
            .is_some_and(|RestoredTopic { events, .. }| {
                let oldest = events
                    .first()
                    .map_or(now, |id| Duration::from_millis(id.millis()));
                retention.is_exceeded(events.len(), events.bytes(), now.saturating_sub(oldest))
            })
    }

    /// Reports what was found, and notes what counts as evicted.
    pub(super) fn finish(&mut self, journal: &Journal) {
        let is_damaged = |notice: &JournalNotice| matches!(notice, JournalNotice::Damaged(..));
        let is_damaged = self.notices.iter().any(is_damaged);
        let lost = self.until.map(|until| JournalNotice::Lost(until, None));
        for notice in self.notices.drain(..).chain(lost) {
            let _ = journal.notify(&notice);
        }
        let begin = self.begin.unwrap_or_default();
        self.floor = self.floor.max(begin);
        let after = LogId::new(self.last.millis(), self.last.sequence().saturating_add(1));
        for topic in self.topics.values_mut() {
            topic.evicted = topic
                .evicted
                .max(begin)
                .max(dropped_before(topic, self.floor));
            // Clients may have seen a lost event, which superseded others: all begin anew.
            if is_damaged && topic.is_keyed() && topic.finish.is_none() {
                topic.evicted = topic.evicted.max(after);
            }
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

/// Returns the ID after which an entry is the next one, and its own.
pub(super) fn span(entry: &Entry<'_>) -> Option<(LogId, LogId)> {
    match entry {
        Entry::From(id) => Some((*id, *id)),
        Entry::Event(Record { id, .. })
        | Entry::Unread(Record { id, .. })
        | Entry::Finished(Finish { id, .. }, _)
        | Entry::Removed(id, _)
        | Entry::UpTo(id) => Some((before(*id), *id)),
        _ => None,
    }
}

/// Returns the ID up to which all entries have been read or written with this one.
///
/// `None` for the end of a topic that was published with an event: that follows, with the same ID.
pub(super) fn reaches(entry: &Entry<'_>) -> Option<LogId> {
    match entry {
        Entry::Finished(Finish { last, id }, _) if last == id => None,
        entry => span(entry).map(|(_, id)| id),
    }
}

/// Returns the ID up to which an earlier topic of the same name may have had events, if all that
/// the journal had of that was dropped with its name. The floor is that of the names.
fn dropped_before(topic: &RestoredTopic, floor: LogId) -> LogId {
    match topic.events.first() {
        Some(first) => floor.min(before(first)),
        // One that was removed begins anew after its end.
        None if topic.finish.is_some() => LogId::default(),
        None => floor,
    }
}

/// Returns the greatest ID that is smaller. Its number is that of another epoch.
pub(super) const fn before(id: LogId) -> LogId {
    match id.sequence().checked_sub(1) {
        Some(sequence) => LogId::new(id.millis(), sequence),
        None => LogId::new(id.millis().saturating_sub(1), u64::MAX),
    }
}

/// The number of damaged segments that are in memory at once. What the last one lacks is lost.
const MAX_WAITING: usize = 16;
