//! Random programs of publishing, failures, kills and power failures, against a naive model.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use sse_core::{Event, LogId, Resume};

use super::disk::{EIO, ENOSPC, Fault, MemoryDisk};
use super::{EVERY, INTERVAL, NEVER, Process, ids, journal};
use crate::journal::SyncPolicy;

const TOPICS: [&str; 3] = ["a", "b", "a \\ \n topic"];

#[test]
fn what_the_policy_promises_survives_power_failures_and_kills() {
    (0..50).for_each(program);
}

#[test]
#[ignore = "takes long"]
fn what_the_policy_promises_survives_a_thousand_programs() {
    (0..1000).for_each(program);
}

/// What was published, and what may be lost.
#[derive(Default)]
struct Model {
    /// The events of all runs that were not lost.
    events: BTreeMap<LogId, &'static str>,
    /// Those that were lost.
    lost: Vec<LogId>,
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

    /// Checks what a new process has, and forgets what it has lost.
    #[track_caller]
    fn check(&mut self, process: &Process, promised: LogId, context: &str) {
        let mut kept = BTreeMap::new();
        for name in TOPICS {
            let topic = process.hub.topic(name).unwrap();
            for id in ids(&topic, None) {
                assert_eq!(
                    self.events.get(&id),
                    Some(&name),
                    "{context}: {id} is not of {name:?}"
                );
                kept.insert(id, name);
            }
        }
        for id in self.events.range(..=promised).map(|(id, _)| id) {
            assert!(
                kept.contains_key(id),
                "{context}: {id} was promised, up to {promised}, {:?}",
                process.notices()
            );
        }
        let last = kept.keys().next_back().copied().unwrap_or_default();
        // Every client either gets all events after its last one, or a gap.
        for &seen in self.events.keys() {
            for name in TOPICS {
                let topic = process.hub.topic(name).unwrap();
                let resume = topic.resume(Some(&seen.into()));
                let expected: Vec<_> = self
                    .events
                    .range(seen..)
                    .filter(|(id, topic)| **id > seen && **id <= last && **topic == name)
                    .map(|(id, _)| *id)
                    .collect();
                if seen > last {
                    assert_eq!(resume, Resume::Gap, "{context}: {seen} was lost");
                } else if resume == Resume::Resumed {
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
        for seen in &self.lost {
            let topic = process.hub.topic(TOPICS[0]).unwrap();
            let resume = topic.resume(Some(&(*seen).into()));
            assert_eq!(resume, Resume::Gap, "{context}: {seen} was lost before");
        }
        self.lost
            .extend(self.events.keys().filter(|id| !kept.contains_key(id)));
        self.events = kept;
        (self.written, self.synced) = (promised.min(last), promised.min(last));
    }
}

fn program(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let policy = [NEVER, INTERVAL, EVERY][rng.usize(..3)];
    let mut disk = MemoryDisk::default();
    let mut model = Model::default();
    let mut process = Process::start(&journal(&disk, policy));
    for operation in 0..200 {
        let context = format!("seed {seed}, operation {operation}, {policy:?}");
        match rng.u32(..100) {
            0..40 => {
                let name = TOPICS[rng.usize(..TOPICS.len())];
                let topic = process.hub.topic(name).unwrap();
                let event = Event::new().data("x".repeat(rng.usize(..200)));
                let id = topic.publish(&event).unwrap().last;
                model.events.insert(id, name);
            }
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
                process = Process::start(&journal(&disk, policy));
                model.check(&process, promised, &context);
            }
        }
        model.observe(&process, policy);
    }
}
