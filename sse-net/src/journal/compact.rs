//! Replacing old segments by one that has only what the topics still retain.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sse_core::{Block, LogId, Record, Segment, SegmentState, Span};

use super::disk::{Disk, FileError, Output, failed};
use super::segments::{SegmentFile, path, sync_dir};
use super::spans::Spans;
use crate::topic::Retained;

/// The compaction of the oldest segments.
///
/// The new segment is written to another file, synced, and renamed to the last of those that it
/// replaces; then the others are deleted. So it is there as a whole or not at all. If some of the
/// others are still there after a crash, what they have beyond it counts as evicted.
pub(super) struct Compaction {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    /// The oldest first.
    pub(super) files: Vec<SegmentFile>,
    pub(super) segment_bytes: u64,
    /// The bytes that are not retained and could not be dropped the last time, such as copies.
    pub(super) residue: u64,
}

/// The result of a compaction: the first `count` segments have been replaced by this one.
pub(super) struct Compacted {
    pub(super) count: usize,
    pub(super) file: SegmentFile,
    pub(super) residue: u64,
    /// Why some of them could not be deleted.
    pub(super) error: Option<FileError>,
}

impl Compaction {
    /// Compacts the oldest segments, if there is enough to drop. Calls `pause` now and then.
    pub(super) fn run(
        &self,
        retained: &Retained,
        pause: &mut dyn FnMut(),
    ) -> Result<Option<Compacted>, FileError> {
        let total: u64 = self.files.iter().map(|file| file.len).sum();
        let overhead = retained.events * Record::LEN + retained.name_bytes;
        let kept = (retained.bytes + overhead) as u64;
        let dead = total.saturating_sub(kept + self.residue);
        let are_many =
            self.files.len() > MAX_FILES + usize::try_from(total / self.segment_bytes).unwrap_or(0);
        if !are_many && dead < self.segment_bytes.max(kept / 2) {
            return Ok(None);
        }
        let temporary = self.dir.join(TEMPORARY);
        let goal = if are_many { u64::MAX } else { dead / 4 * 3 };
        let compacted = self.replace(retained, goal, &temporary, pause);
        if compacted.is_err() {
            let _ = self.disk.remove(&temporary); // It is deleted before the next attempt, too.
        }
        compacted.map(|mut compacted| {
            let left = total
                - self.files[..compacted.count]
                    .iter()
                    .map(|file| file.len)
                    .sum::<u64>();
            compacted.residue = (left + compacted.file.len).saturating_sub(kept);
            Some(compacted)
        })
    }

    fn replace(
        &self,
        retained: &Retained,
        goal: u64,
        temporary: &Path,
        pause: &mut dyn FnMut(),
    ) -> Result<Compacted, FileError> {
        self.disk
            .remove(temporary)
            .map_err(failed("delete", temporary))?;
        let output = self
            .disk
            .create(temporary)
            .map_err(failed("create", temporary))?;
        let mut copy = Copy::new(retained, temporary, output);
        let (mut count, mut read, mut buffer) = (0, 0, Vec::new());
        for file in &self.files {
            let path = path(&self.dir, file.number);
            self.disk
                .read(&path, &mut buffer)
                .map_err(failed("read", &path))?;
            copy.add(&buffer, pause)?;
            (count, read) = (count + 1, read + file.len);
            if read.saturating_sub(copy.len) >= goal {
                break;
            }
        }
        let len = copy.finish()?;
        let number = self.files[count - 1].number;
        let renamed = self.disk.rename(temporary, &path(&self.dir, number));
        renamed.map_err(failed("rename", temporary))?;
        Ok(Compacted {
            count,
            file: SegmentFile { number, len },
            residue: 0,
            error: self.delete(&self.files[..count - 1]).err(),
        })
    }

    fn delete(&self, files: &[SegmentFile]) -> Result<(), FileError> {
        sync_dir(&*self.disk, &self.dir)?;
        for file in files {
            let path = path(&self.dir, file.number);
            self.disk.remove(&path).map_err(failed("delete", &path))?;
        }
        Ok(())
    }
}

/// The new segment. Its state stands at its end.
struct Copy<'a> {
    retained: &'a Retained,
    path: &'a Path,
    output: Arc<dyn Output>,
    state: SegmentState,
    spans: Vec<(LogId, LogId)>,
    /// The greatest ID of each topic that was dropped.
    dropped: HashMap<&'a str, LogId>,
    bytes: Vec<u8>,
    len: u64,
}

impl<'a> Copy<'a> {
    fn new(retained: &'a Retained, path: &'a Path, output: Arc<dyn Output>) -> Self {
        let mut bytes = Vec::new();
        SegmentState::default().encode(&mut bytes);
        Self {
            retained,
            path,
            output,
            state: SegmentState::default(),
            spans: Vec::new(),
            dropped: HashMap::new(),
            bytes,
            len: 0,
        }
    }

    /// Copies the events of a segment that are retained.
    fn add(&mut self, bytes: &[u8], pause: &mut dyn FnMut()) -> Result<(), FileError> {
        let mut spans = Spans::default();
        // The version was right when the journal was opened.
        for block in Segment::new(bytes).into_iter().flatten() {
            match block {
                Block::Record(Record { id, topic, event }) => {
                    spans.add_record(id);
                    let evicted = self
                        .retained
                        .evicted
                        .get(topic.as_deref().unwrap_or_default());
                    if evicted.is_some_and(|evicted| *evicted < id) {
                        Record::encode(id, topic.as_deref(), event, &mut self.bytes);
                    } else {
                        self.drop_event(id, topic.as_deref());
                    }
                }
                Block::State(state) => {
                    spans.add_state(&state);
                    self.add_state(state);
                }
                Block::Unread { id, topic, damage } => {
                    // Another segment may have it. If none does, the next start reports it.
                    let evicted = self
                        .retained
                        .evicted
                        .get(topic.as_deref().unwrap_or_default());
                    if evicted.is_some_and(|evicted| *evicted < id) {
                        self.bytes.extend_from_slice(&bytes[damage.range()]);
                        self.bytes.push(b'\n'); // The next comment begins a line.
                    }
                }
                Block::Damage(_) => spans.add_damage(),
            }
            if self.bytes.len() >= MAX_WRITE {
                self.write()?;
                pause();
            }
        }
        self.spans.extend(spans.finish());
        Ok(())
    }

    fn add_state(&mut self, state: SegmentState) {
        if !state.epochs.is_empty() {
            self.state.epochs = state.epochs;
        }
        self.state.synced = self.state.synced.max(state.synced);
        self.state.floor = self.state.floor.max(state.floor);
        for (id, name) in state.evicted {
            self.drop_event(id, name.as_deref());
        }
        for finish in state.finished {
            // Not those of topics that the hub does not know, or that began anew.
            let evicted = self.retained.evicted.get(&*finish.topic);
            if evicted.is_some_and(|evicted| *evicted <= finish.id) {
                self.state.finished.push(finish);
            }
        }
    }

    fn drop_event(&mut self, id: LogId, name: Option<&str>) {
        let dropped = match self
            .retained
            .evicted
            .get_key_value(name.unwrap_or_default())
        {
            Some((name, _)) => self.dropped.entry(name).or_default(),
            // The hub does not know the topic any more.
            None => self.state.floor.get_or_insert_default(),
        };
        *dropped = id.max(*dropped);
    }

    fn write(&mut self) -> Result<(), FileError> {
        let written = self.output.write(&self.bytes);
        self.len += self.bytes.len() as u64;
        self.bytes.clear();
        written.map_err(failed("write", self.path))
    }

    fn finish(mut self) -> Result<u64, FileError> {
        let named = |(name, id): (&str, LogId)| (id, (!name.is_empty()).then(|| name.to_owned()));
        self.state.evicted = self.dropped.drain().map(named).collect();
        self.spans.sort_unstable();
        for (from, to) in self.spans.drain(..) {
            let to = Some(to);
            match self.state.spans.last_mut() {
                Some(last) if Some(from) <= last.to => last.to = last.to.max(to),
                _ => self.state.spans.push(Span { from, to }),
            }
        }
        // All of it is synced before it replaces anything.
        let last = self.state.spans.last().and_then(|span| span.to);
        self.state.synced = self.state.synced.max(last);
        self.state.encode(&mut self.bytes);
        self.write()?;
        self.output.sync().map_err(failed("sync", self.path))?;
        Ok(self.len)
    }
}

/// The name of the file that becomes a compacted segment.
const TEMPORARY: &str = "compacting.tmp";

/// The number of small segments, such as those of short runs, that are not worth a compaction.
const MAX_FILES: usize = 64;

/// The bytes that are copied at a time.
const MAX_WRITE: usize = 1 << 20;
