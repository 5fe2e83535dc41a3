//! Random programs of publishing, ending and removing topics, failures, kills and power failures,
//! against a naive model. The topic `b` retains few events, so old segments are compacted.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use sse_core::{Event, LogId, Resume, Retention};

use super::disk::{EIO, ENOSPC, Fault, MemoryDisk};
use super::{EVERY, INTERVAL, NEVER, Process, begin, ids, journal};
use crate::config::HubConfig;
use crate::journal::{Journal, SyncPolicy};

const TOPICS: [&str; 3] = ["a", "b", "a \\ \n topic"];

/// The names of dropped topics are at most as many, unless a journal needs them.
const MAX_TOPICS: usize = 8;

/// The number of events that the topic `b` retains.
const FEW: usize = 5;

fn start(journal: &Journal) -> Process {
    let all = Retention::events(100_000).bytes(64 << 20);
    let few = Retention::events(FEW).backlog(Duration::ZERO, 0);
    let config = HubConfig::from(all).topics("b", few);
    Process::start_with(config.max_topics(MAX_TOPICS), journal)
}

#[test]
fn what_the_policy_promises_survives_power_failures_and_kills() {
    (0..50).for_each(program);
}

#[test]
#[ignore = "takes long"]
fn what_the_policy_promises_survives_a_thousand_programs() {
    (0..1000).for_each(program);
}

/// Damage costs events, but clients never miss one without a gap, nor get one that was removed.
#[test]
fn damage_is_a_gap_and_never_silent() {
    (0..100).for_each(damage);
}

/// What was published, and what may be lost.
#[derive(Default)]
struct Model {
    /// The events of all runs that were not lost.
    events: BTreeMap<LogId, &'static str>,
    /// Those that were lost.
    lost: Vec<LogId>,
    /// The topics that have been finished, each with the ID of its end at the latest.
    finished: BTreeMap<&'static str, LogId>,
    /// The topics that have been removed, each with the ID of that and its events.
    removed: Vec<(LogId, &'static str, Vec<LogId>)>,
    /// Events up to this ID survive a kill.
    written: LogId,
    /// Events up to this ID survive a power failure.
    synced: LogId,
}

impl Model {
    fn observe(&mut self, process: &Process, policy: SyncPolicy) {
        let status = process.link.status.borrow();
        let visible = process.hub.visible();
        if status.failure.is_none() {
            self.written = self.written.max(visible);
            if policy == EVERY {
                self.synced = self.synced.max(visible);
            }
        }
        if status.failure.is_none() {
            self.synced = self.synced.max(status.synced);
        }
    }

    fn publish(&mut self, process: &Process, name: &'static str, len: usize) {
        let topic = process.hub.topic(name).unwrap();
        let published = topic.publish(&Event::new().data("x".repeat(len)));
        let has_events = self.events.values().any(|topic| *topic == name);
        match published {
            // A finished topic without events has been dropped, and begins anew.
            Ok(published) => {
                assert!(self.finished.remove(name).is_none() || !has_events);
                self.events.insert(published.last, name);
            }
            Err(_) => assert!(self.finished.contains_key(name)),
        }
    }

    fn finish(&mut self, process: &Process, name: &'static str, event: Option<&Event<'_>>) {
        let topic = process.hub.topic(name).unwrap();
        let was_finished = topic.is_finished();
        topic.finish(event).unwrap();
        let last = process.epochs().last().unwrap().last;
        if event.is_some() && !was_finished {
            self.events.insert(last, name);
        }
        self.finished.entry(name).or_insert(last);
    }

    fn remove(&mut self, process: &Process, name: &'static str) {
        process.hub.topic(name).unwrap().remove_from_hub(DAY);
        let events = self.events.extract_if(.., |_, topic| *topic == name);
        let events = events.map(|(id, _)| id).collect();
        self.removed
            .push((process.epochs().last().unwrap().last, name, events));
        self.finished.remove(name);
    }

    /// Returns whether an event is retained, if it is not lost.
    fn is_retained(&self, id: LogId) -> bool {
        let name = self.events[&id];
        let later = self.events.range(id..).filter(|(_, topic)| **topic == name);
        name != "b" || later.count() <= FEW
    }

    /// Checks what a new process has, and forgets what it has lost.
    #[track_caller]
    fn check(&mut self, process: &Process, promised: LogId, context: &str) {
        let mut kept = BTreeMap::new();
        for name in TOPICS {
            let topic = process.hub.topic(name).unwrap();
            kept.extend(ids(&topic, None).into_iter().map(|id| (id, name)));
        }
        // The journal may also have evicted events after the last one that is kept.
        let epochs = process.epochs();
        let mut past = epochs.iter().rev().skip(1).peekable();
        assert!(past.peek().unwrap().last >= promised, "{context}");
        // Of a run that has lost all events, or had none, the first ID is known.
        let last = past.find(|epoch| epoch.first < epoch.last);
        let last = last.map_or(LogId::default(), |epoch| epoch.last);
        assert!(kept.range(last..).all(|(id, _)| *id == last));
        // A removal may be lost, and a compaction may have dropped events before.
        self.removed.retain(|(removal, name, events)| {
            if *removal > last {
                let found = events.iter().filter(|id| kept.contains_key(id));
                self.events.extend(found.map(|id| (*id, *name)));
            }
            *removal <= last
        });
        for (id, name) in &kept {
            assert_eq!(
                self.events.get(id),
                Some(name),
                "{context}: {id} is not of {name:?}"
            );
        }
        for &id in self.events.range(..=promised).map(|(id, _)| id) {
            assert!(
                kept.contains_key(&id) || !self.is_retained(id),
                "{context}: {id} was promised, up to {promised}, {:?}",
                process.notices()
            );
        }
        self.check_ends(process, promised, context);
        for &seen in self.events.keys() {
            for name in TOPICS {
                self.check_resume(process, seen, name, [promised, last], context);
            }
        }
        for seen in &self.lost {
            let topic = process.hub.topic(TOPICS[0]).unwrap();
            let resume = topic.resume(Some(&(*seen).into()));
            assert_eq!(resume, Resume::Gap, "{context}: {seen} was lost before");
        }
        self.lost
            .extend(self.events.keys().filter(|id| **id > last));
        self.events = kept;
        (self.written, self.synced) = (promised.min(last), promised.min(last));
    }
}

impl Model {
    /// A topic stays finished if that was promised.
    #[track_caller]
    fn check_ends(&mut self, process: &Process, promised: LogId, context: &str) {
        for name in TOPICS {
            let is_finished = process.hub.topic(name).unwrap().is_finished();
            match self.finished.get(name) {
                Some(_) if is_finished => {}
                Some(end) => {
                    let has_events = self.events.values().any(|topic| *topic == name);
                    let is_promised = *end <= promised && promised > LogId::default();
                    assert!(
                        !is_promised || !has_events,
                        "{context}: {name:?} was finished"
                    );
                    self.finished.remove(name);
                }
                // A removal may be lost, and its topic may have been finished.
                None if is_finished => {
                    self.finished.insert(name, promised);
                }
                None => {}
            }
        }
    }

    /// Every client either gets all events after its last one, or a gap.
    #[track_caller]
    fn check_resume(
        &self,
        process: &Process,
        seen: LogId,
        name: &'static str,
        [promised, last]: [LogId; 2],
        context: &str,
    ) {
        let topic = process.hub.topic(name).unwrap();
        let resume = topic.resume(Some(&seen.into()));
        let misses = self.removed.iter().any(|(removal, removed, events)| {
            *removed == name && *removal <= last && events.iter().any(|id| *id > seen)
        });
        if seen > last || misses {
            let context = format!("{context}: {name:?} after {seen}");
            assert_eq!(resume, Resume::Gap, "{context}, lost or removed");
        } else if resume == Resume::Resumed {
            let after = self.events.range(seen..);
            let expected: Vec<_> = after
                .filter(|(id, topic)| **id > seen && **id <= last && **topic == name)
                .map(|(id, _)| *id)
                .collect();
            let found = ids(&topic, Some(seen));
            assert_eq!(found, expected, "{context}: {name:?} after {seen}");
        } else {
            assert_eq!(resume, Resume::Gap, "{context}: {seen} is known");
            assert!(
                seen < promised || promised < last,
                "{context}: a gap of {name:?} after {seen}, promised {promised}, last {last}, {:?}",
                process.notices()
            );
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

fn program(seed: u64) {
    begin(seed);
    let mut rng = Rng::with_seed(seed);
    let policy = [NEVER, INTERVAL, EVERY][rng.usize(..3)];
    let mut disk = MemoryDisk::default();
    let mut model = Model::default();
    let mut process = start(&journal(&disk, policy));
    for operation in 0..200 {
        let context = format!("seed {seed}, operation {operation}, {policy:?}");
        match rng.u32(..100) {
            0..38 => {
                let name = TOPICS[rng.usize(..TOPICS.len())];
                model.publish(&process, name, rng.usize(..200));
            }
            38 if rng.u32(..4) == 0 => {
                let (event, name) = (Event::new().data("end"), TOPICS[rng.usize(..TOPICS.len())]);
                model.finish(&process, name, rng.bool().then_some(&event));
            }
            39 => match rng.u32(..8) {
                0 | 1 => model.remove(&process, TOPICS[rng.usize(..TOPICS.len())]),
                2 => remove_files(&mut process, &disk, &mut rng),
                3..5 => remove_others(&process, &mut rng),
                _ => {}
            },
            38 => {}
            40..75 => {
                process.step();
                process.advance(Duration::from_millis(rng.u64(..2)));
            }
            75..85 => process.helper.work_all(),
            85..92 => process.advance(Duration::from_millis(rng.u64(..400))),
            92..94 => drop(process.settle()),
            94..96 => {
                let action = [
                    "write", "tear", "sync", "create", "sync_dir", "rename", "remove",
                ];
                disk.fail(Fault {
                    action: action[rng.usize(..action.len())],
                    path: "",
                    after: rng.usize(..3),
                    times: rng.usize(1..3),
                    error: [EIO, ENOSPC][rng.usize(..2)],
                });
            }
            end => {
                model.observe(&process, policy);
                let promised = match end {
                    96..98 => {
                        disk.kill();
                        disk.repair();
                        model.written
                    }
                    _ => {
                        disk = disk.lose_power(&mut rng);
                        model.synced
                    }
                };
                process = start(&journal(&disk, policy));
                model.check(&process, promised, &context);
            }
        }
        model.observe(&process, policy);
    }
}

/// Publishes to other topics and removes them, so that names are dropped.
fn remove_others(process: &Process, rng: &mut Rng) {
    for _ in 0..rng.usize(..4 * MAX_TOPICS) {
        let name = format!("other {}", rng.u32(..100));
        let topic = process.hub.topic(name).unwrap();
        topic.publish(&Event::new().data("x")).unwrap();
        topic.remove_from_hub(DAY);
    }
}

/// Removes a file or the folder, which the journal notices.
fn remove_files(process: &mut Process, disk: &MemoryDisk, rng: &mut Rng) {
    let paths = disk.paths();
    match rng.bool() {
        true => disk.remove_folder(),
        false => disk.remove_file(&paths[rng.usize(..paths.len())]),
    }
    disk.repair();
    for _ in 0..3 {
        process.advance(Duration::from_secs(1));
        process.settle();
    }
    assert!(process.is_storing());
}

fn damage(seed: u64) {
    begin(seed);
    let mut rng = Rng::with_seed(seed);
    let policy = [NEVER, INTERVAL, EVERY][rng.usize(..3)];
    let (disk, mut model) = (MemoryDisk::default(), Model::default());
    let mut process = start(&journal(&disk, policy));
    let mut is_damaged = false;
    for operation in 0..100 {
        let context = format!("seed {seed}, operation {operation}, {policy:?}");
        match rng.u32(..100) {
            0..69 => {
                let name = TOPICS[rng.usize(..TOPICS.len())];
                model.publish(&process, name, rng.usize(..200));
            }
            69 => {
                let (event, name) = (Event::new().data("end"), TOPICS[rng.usize(..TOPICS.len())]);
                model.finish(&process, name, rng.bool().then_some(&event));
            }
            70..72 => model.remove(&process, TOPICS[rng.usize(..TOPICS.len())]),
            72..92 => drop(process.settle()),
            end => {
                process.settle();
                model.observe(&process, policy);
                disk.kill();
                if end >= 96 {
                    damage_file(&disk, &mut rng);
                    is_damaged = true;
                }
                // A later start may find that another copy of a damaged event is gone.
                let promised = match is_damaged {
                    true => LogId::default(),
                    false => model.written,
                };
                process = start(&journal(&disk, policy));
                model.check(&process, promised, &context);
            }
        }
    }
}

/// Changes some bytes of a segment after its head.
fn damage_file(disk: &MemoryDisk, rng: &mut Rng) {
    let paths = disk.paths();
    let path = &paths[rng.usize(..paths.len())];
    let mut bytes = disk.read_file(path);
    let synced = bytes.windows(8).position(|part| part == b" synced ");
    let head = synced.map_or(bytes.len(), |at| (at + 60).min(bytes.len()));
    let at = rng.usize(head..=bytes.len());
    let len = rng.usize(..100).min(bytes.len() - at);
    bytes[at..at + len].fill(b'?');
    disk.write_file(path, bytes);
}
