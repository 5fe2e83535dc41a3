//! Reading a journal back.
//!
//! Segments may overlap, because after a failed sync events are written again, and after a power
//! failure any part of what was not synced may be missing. So what a journal has is not its files
//! one after the other, but the union of their events. Each segment says from which ID on it
//! continues the journal. Where the union of these ranges has a hole, events were lost: after the
//! last known sync, everything after the hole is dropped, as if the journal had ended there;
//! before it, everything before the hole counts as evicted. Either way a client that resumes
//! beyond the hole receives a gap event.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sse_core::{Block, Damage, Epoch, LogId, Record, Restored, Retention, Segment, SegmentState};

use super::disk::failed;
use super::segments::{SegmentFile, Segments, number, path};
use super::spans::Spans;
use super::{Journal, JournalError, JournalNotice};
use crate::topic::RestoredTopic;

/// What a journal has.
#[derive(Default)]
pub(super) struct Contents {
    /// Those of earlier runs, each with the last ID that is left.
    pub(super) epochs: Vec<Epoch>,
    /// The last ID of each of them but the last.
    ends: HashMap<u16, LogId>,
    pub(super) last: LogId,
    /// Up to where the journal is known to be on disk.
    pub(super) synced: LogId,
    /// Events up to this ID count as evicted in all topics.
    begin: LogId,
    /// Those up to this one in topics that have no events.
    pub(super) floor: LogId,
    /// A topic that stands alone has the empty name.
    pub(super) topics: HashMap<String, RestoredTopic>,
    pub(super) is_of_hub: bool,
    /// The ranges of IDs that were read, each after the first one and up to the second one.
    spans: Vec<(LogId, LogId)>,
    /// Events of which only the comment was read, with their topics.
    unread: Vec<(LogId, String)>,
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
    let mut files = list(&segments)?;
    let mut contents = Contents::default();
    contents.read(journal, &mut files, retention)?;
    if let Some(cut) = contents.judge(journal) {
        (contents.until, contents.last) = (Some(cut), cut);
        contents.synced = contents.synced.min(cut);
        contents.topics.clear();
        contents.read(journal, &mut files, retention)?;
    }
    if let Some(current) = contents.epochs.last_mut() {
        current.last = current.last.max(contents.last);
    }
    for epoch in &mut contents.epochs {
        epoch.last = epoch.last.min(contents.last).max(epoch.first);
    }
    contents.floor = contents.floor.max(contents.begin);
    for topic in contents.topics.values_mut() {
        topic.events.reverse();
        topic.evicted = topic.evicted.max(contents.begin);
    }
    files.into_iter().for_each(|file| segments.add(file));
    Ok((segments, contents))
}

/// Returns the segment files, the oldest first. Refuses those of other releases.
fn list(segments: &Segments) -> Result<Vec<SegmentFile>, JournalError> {
    let (disk, dir) = (&segments.disk, &segments.dir);
    let (mut files, mut buffer) = (Vec::new(), Vec::new());
    for (path, len) in disk.list(dir).map_err(failed("read", dir))? {
        if let Some(number) = number(&path) {
            files.push(SegmentFile { number, len });
        } else if path.extension().is_some_and(|extension| extension == "sse") {
            disk.read(&path, &mut buffer)
                .map_err(failed("read", &path))?;
            parse(&buffer, &path)?;
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

fn parse<'a>(bytes: &'a [u8], path: &Path) -> Result<Segment<'a>, JournalError> {
    Segment::new(bytes).map_err(|error| JournalError::Version(path.to_owned(), error.version))
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
            let read = journal.disk.read(&path, &mut buffer);
            read.map_err(failed("read", &path))?;
            let segment = SegmentContents::read(&buffer, &path, self)?;
            if segment.spans.is_empty() && !buffer.is_empty() {
                set_aside(journal, &path)?;
                files.remove(index);
                continue;
            }
            if self.until.is_none() {
                segment.report(journal, &path, index + 1 == files.len(), buffer.len());
                self.spans.extend(segment.spans.finish());
            }
            self.add(segment.events);
            if retention.is_some_and(|(retention, now)| self.is_enough(retention, now)) {
                break;
            }
        }
        Ok(())
    }

    /// Adds the events of a segment, which is older than those before.
    fn add(&mut self, events: HashMap<String, Vec<Restored>>) {
        for (name, pieces) in events {
            let topic = self.topics.entry(name).or_default();
            for mut events in pieces.into_iter().rev() {
                while let Some(later) = topic
                    .events
                    .pop_if(|later: &mut Restored| events.last() >= later.first())
                {
                    events = events.merge(&later);
                }
                topic.events.push(events);
            }
        }
    }

    fn add_state(&mut self, state: &SegmentState) {
        if self.epochs.is_empty() && !state.epochs.is_empty() {
            self.epochs.clone_from(&state.epochs);
            let past = &state.epochs[..state.epochs.len() - 1];
            self.ends = past
                .iter()
                .map(|epoch| (epoch.first.epoch(), epoch.last))
                .collect();
        }
        self.synced = self.synced.max(state.synced.unwrap_or_default());
        self.floor = self.floor.max(state.floor.unwrap_or_default());
        for (id, name) in &state.evicted {
            let topic = self
                .topics
                .entry(name.clone().unwrap_or_default())
                .or_default();
            topic.evicted = topic.evicted.max(*id);
        }
        for finish in &state.finished {
            if !self.has(finish.id) {
                continue;
            }
            let topic = self.topics.entry(finish.topic.clone()).or_default();
            let known = topic.finish.as_ref().map(|known| known.id);
            if known.is_none_or(|known| known < finish.id) {
                topic.finish = Some(finish.clone());
            }
        }
    }

    /// Whether an event counts. Those after the end of their epoch had been lost at an earlier
    /// start, because events before them were missing.
    fn has(&self, id: LogId) -> bool {
        let end = self.ends.get(&id.epoch()).copied().unwrap_or(LogId::MAX);
        id <= end && self.until.is_none_or(|until| id <= until)
    }

    fn is_enough(&self, retention: Retention, now: Duration) -> bool {
        let Some(topic) = self.topics.get("") else {
            return false;
        };
        let count = topic.events.iter().map(Restored::len).sum();
        let bytes = topic.events.iter().map(Restored::bytes).sum();
        let oldest = topic.events.last().and_then(Restored::first);
        let age = oldest.map_or(Duration::ZERO, |id| {
            now.saturating_sub(Duration::from_millis(id.millis()))
        });
        retention.is_exceeded(count, bytes, age)
    }

    /// Finds what is missing, and returns the ID after which everything has to be dropped.
    fn judge(&mut self, journal: &Journal) -> Option<LogId> {
        self.spans.sort_unstable();
        let (mut reached, mut cut) = (None, None);
        for &(from, to) in &self.spans {
            match reached {
                Some(reached) if from > reached && reached >= self.synced => {
                    cut = Some(reached);
                    break;
                }
                Some(reached) if from > reached => {
                    self.begin = before(from);
                    let _ = journal.notify(&JournalNotice::Lost(reached, Some(from)));
                }
                Some(_) => {}
                None => self.begin = from,
            }
            reached = reached.max(Some(to));
        }
        self.last = reached.unwrap_or_default();
        for (id, name) in &self.unread {
            let topic = self.topics.entry(name.clone()).or_default();
            let is_elsewhere = topic.events.iter().any(|events| events.contains(*id));
            if is_elsewhere || self.ends.get(&id.epoch()).is_some_and(|end| id > end) {
                continue;
            }
            if *id <= self.synced {
                topic.evicted = topic.evicted.max(*id);
            } else if *id < self.last {
                cut = cut.min(Some(before(*id))).or(Some(before(*id)));
            }
        }
        if let Some(cut) = cut {
            let _ = journal.notify(&JournalNotice::Lost(cut, None));
        }
        cut
    }
}

/// What one segment has.
#[derive(Default)]
struct SegmentContents {
    /// The events of each topic, in pieces whose IDs rise.
    events: HashMap<String, Vec<Restored>>,
    spans: Spans,
    damages: Vec<Damage>,
}

impl SegmentContents {
    fn read(bytes: &[u8], path: &Path, journal: &mut Contents) -> Result<Self, JournalError> {
        let mut found = Self::default();
        for block in parse(bytes, path)? {
            match block {
                Block::Record(record) if journal.has(record.id) => {
                    journal.is_of_hub |= record.topic.is_some();
                    found.spans.add_record(record.id);
                    found.push(&record);
                }
                Block::Record(_) => {}
                Block::State(state) => {
                    journal.add_state(&state);
                    found.spans.add_state(&state);
                }
                Block::Unread { id, topic, damage } => {
                    let name = topic.map_or_else(String::new, Into::into);
                    journal.unread.push((id, name));
                    found.damages.push(damage);
                }
                Block::Damage(damage) => {
                    found.spans.add_damage();
                    found.damages.push(damage);
                }
            }
        }
        Ok(found)
    }

    fn push(&mut self, record: &Record<'_>) {
        let name = record.topic.as_deref().unwrap_or_default();
        if !self.events.contains_key(name) {
            self.events
                .insert(name.to_owned(), vec![Restored::default()]);
        }
        let Some(pieces) = self.events.get_mut(name) else {
            return;
        };
        if !pieces.last_mut().is_some_and(|events| events.push(record)) {
            let mut events = Restored::default();
            events.push(record);
            pieces.push(events);
        }
    }

    /// Reports damage. An incomplete event at the end is as after a crash, and has been reported
    /// before if the segment is not the newest.
    fn report(&self, journal: &Journal, path: &Path, is_newest: bool, len: usize) {
        for &damage in &self.damages {
            let is_end = damage.range().end == len;
            let notice = match is_end {
                true if is_newest => JournalNotice::Torn(path.to_owned(), damage),
                true => continue,
                false => JournalNotice::Damaged(path.to_owned(), damage),
            };
            let _ = journal.notify(&notice);
        }
    }
}

/// Renames a file that cannot be read, so that it is never deleted.
fn set_aside(journal: &Journal, path: &Path) -> Result<(), JournalError> {
    let mut aside: PathBuf = path.with_extension("unreadable");
    for copy in 1.. {
        let paths = journal
            .disk
            .list(&journal.dir)
            .map_err(failed("read", &journal.dir))?;
        if !paths.iter().any(|(path, _)| *path == aside) {
            break;
        }
        aside = path.with_extension(format!("unreadable-{copy}"));
    }
    journal
        .disk
        .rename(path, &aside)
        .map_err(failed("rename", path))?;
    let _ = journal.notify(&JournalNotice::SetAside(path.to_owned(), aside));
    Ok(())
}

/// Returns the greatest ID that is smaller.
const fn before(id: LogId) -> LogId {
    match id.sequence().checked_sub(1) {
        Some(sequence) => LogId::new(id.millis(), sequence),
        None => LogId::new(id.millis().saturating_sub(1), u64::MAX),
    }
}
