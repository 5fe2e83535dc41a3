//! Keyed topics in a journal: restarts, and random failures, kills and power failures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use sse_core::{Event, Events, KeyedRetention, LogId, Resume};

use super::disk::{EIO, ENOSPC, Fault, MemoryDisk};
use super::{EVERY, INTERVAL, NEVER, Process, begin, journal, retained};
use crate::config::TopicConfig;
use crate::journal::SyncPolicy;
use crate::topic::{KeyedTopicError, Start, Topic};

type Map = BTreeMap<String, String>;

fn start(disk: &MemoryDisk, policy: SyncPolicy, retention: KeyedRetention) -> Process {
    let config = TopicConfig::default().keyed(retention);
    Process::start_with(config, &journal(disk, policy))
}

fn set(topic: &Topic, key: &str, value: &str) -> LogId {
    let event = Event::new().data(format!("{key} {value}"));
    topic.publish_for(key, &event).unwrap().id().unwrap()
}

/// Reads what there is into a map, from an ID on.
fn read(topic: &Topic, after: Option<LogId>, mut map: Map) -> Map {
    let mut subscription = topic.subscribe_after(after.map(Into::into), Start::Live);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut bytes = Vec::new();
    while let Poll::Ready(read) = subscription.poll_read(cx, &mut bytes) {
        if read.is_err() {
            (map, bytes) = (Map::new(), Vec::new());
        }
    }
    for event in Events::new(&bytes[..]) {
        let event = event.unwrap();
        match event.data().split_once(' ') {
            Some((key, value)) => _ = map.insert(key.to_owned(), value.to_owned()),
            None => _ = map.remove(event.data()),
        }
    }
    map
}

fn text(map: &Map) -> String {
    let pairs = map.iter().map(|(key, value)| format!("{key}{value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_restart_restores_the_newest_event_of_each_key() {
    let disk = MemoryDisk::default();
    let mut process = start(&disk, EVERY, KeyedRetention::default());
    let topic = process.hub.keyed_topic("prices \\ \n").unwrap();
    process.settle();
    let first = set(&topic, "a\\b", "1");
    set(&topic, "c", "1");
    let removed = topic.remove("c").unwrap().unwrap().id().unwrap();
    set(&topic, "d", "1");
    for number in 2..200 {
        set(&topic, "a\\b", &number.to_string());
        process.settle();
        process.advance(Duration::from_millis(1));
    }
    process.advance(Duration::from_secs(61));
    process.settle();
    assert!(process.size().0 < 4, "compacted: {:?}", process.size());
    drop((topic, process));
    disk.kill();

    let process = start(&disk, EVERY, KeyedRetention::default());
    assert_eq!(process.notices(), [""; 0]);
    let topic = process.hub.topic("prices \\ \n").unwrap();
    assert_eq!(topic.get("a\\b").unwrap().data(), "a\\b 199");
    assert_eq!(topic.keys(), ["d", "a\\b"].map(Arc::<str>::from));
    assert_eq!(text(&read(&topic, None, Map::new())), "a\\b199 d1");
    assert_eq!(topic.resume(Some(&first.into())), Resume::Resumed);
    let seen = Map::from([("c".to_owned(), "1".to_owned())]);
    assert!(
        !read(&topic, Some(first), seen).contains_key("c"),
        "{removed} removes it"
    );
    let _ordinary = process.hub.topic("ordinary").unwrap();
    let error = process.hub.keyed_topic("ordinary").unwrap_err();
    assert_eq!(error, KeyedTopicError::NotKeyed);
}

#[test]
fn a_restart_remembers_which_removals_were_dropped_for_good() {
    let (disk, retention) = (MemoryDisk::default(), KeyedRetention::default().keys(2));
    let mut process = start(&disk, EVERY, retention);
    let topic = process.hub.keyed_topic("few").unwrap();
    let first = set(&topic, "a", "1");
    topic.remove("a").unwrap();
    process.settle();
    let dropped_by = ["b", "c"].map(|key| set(&topic, key, "1"));
    for number in 0..200 {
        set(&topic, "b", &number.to_string());
        process.settle();
    }
    process.advance(Duration::from_secs(61));
    process.settle();
    drop((topic, process));
    disk.kill();

    let process = start(&disk, EVERY, retention);
    let topic = process.hub.keyed_topic("few").unwrap();
    assert_eq!(topic.resume(Some(&first.into())), Resume::Gap);
    assert_eq!(topic.resume(Some(&dropped_by[0].into())), Resume::Resumed);
}

#[test]
fn a_restart_does_not_bring_back_what_a_removed_topic_had() {
    let disk = MemoryDisk::default();
    let mut process = start(&disk, EVERY, KeyedRetention::default());
    let topic = process.hub.keyed_topic("state").unwrap();
    let first = set(&topic, "a", "1");
    topic.remove_from_hub(Duration::from_secs(60));
    process.settle();
    let topic = process.hub.keyed_topic("state").unwrap();
    set(&topic, "b", "1");
    process.settle();
    assert_eq!(text(&read(&topic, None, Map::new())), "b1");
    drop((topic, process));
    disk.kill();

    let mut process = start(&disk, EVERY, KeyedRetention::default());
    let topic = process.hub.keyed_topic("state").unwrap();
    assert_eq!(text(&read(&topic, None, Map::new())), "b1");
    assert_eq!(topic.resume(Some(&first.into())), Resume::Gap);
    topic.remove_from_hub(Duration::from_secs(60));
    process.publish("state", "is ordinary");
    process.settle();
    drop((topic, process));
    disk.kill();

    let process = start(&disk, EVERY, KeyedRetention::default());
    let error = process.hub.keyed_topic("state").unwrap_err();
    assert_eq!(error, KeyedTopicError::NotKeyed);
    let topic = process.hub.topic("state").unwrap();
    assert_eq!(retained(&topic), "is ordinary");
}

/// The journal has failed for longer than the names of removed topics are kept otherwise.
#[test]
fn a_removed_topic_does_not_come_back_after_a_long_failure() {
    begin(0);
    let disk = MemoryDisk::default();
    let mut process = start(&disk, EVERY, KeyedRetention::default());
    let topic = process.hub.keyed_topic("state").unwrap();
    set(&topic, "a", "1");
    process.settle();
    disk.fail(Fault {
        action: "write",
        path: "",
        after: 0,
        times: usize::MAX,
        error: ENOSPC,
    });
    topic.remove_from_hub(Duration::from_secs(60));
    drop(topic);
    while process.is_storing() {
        process.step();
    }
    process.advance(Duration::from_secs(61));
    for number in 0..10 {
        process.hub.topic(number.to_string()).unwrap(); // Each looks at two names.
    }
    disk.repair();
    process.settle();
    assert!(process.is_storing());
    drop(process);
    disk.kill();

    let process = start(&disk, EVERY, KeyedRetention::default());
    let topic = process.hub.keyed_topic("state").unwrap();
    assert_eq!(text(&read(&topic, None, Map::new())), "");
}

#[test]
fn clients_have_the_same_map_after_damage() {
    let disk = MemoryDisk::default();
    let mut process = start(&disk, EVERY, KeyedRetention::default());
    let topic = process.hub.keyed_topic("state").unwrap();
    let (mut map, mut clients) = (Map::new(), Vec::new());
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "1")] {
        let id = set(&topic, key, value);
        process.settle();
        map.insert(key.to_owned(), value.to_owned());
        clients.push((id, map.clone()));
    }
    drop((topic, process));
    disk.kill();
    let path = disk.paths().pop().unwrap();
    let mut bytes = disk.read_file(&path);
    let data = b"data: a 2";
    let at = bytes.windows(data.len()).position(|part| part == data);
    bytes[at.unwrap()] ^= 1;
    disk.write_file(&path, bytes);

    let process = start(&disk, EVERY, KeyedRetention::default());
    let topic = process.hub.keyed_topic("state").unwrap();
    let restored = read(&topic, None, Map::new());
    assert_eq!(text(&restored), "a1 b1");
    for (seen, map) in clients {
        assert_eq!(read(&topic, Some(seen), map), restored, "after {seen}");
    }
}

#[test]
fn clients_have_the_same_map_after_power_failures_and_kills() {
    (0..60).for_each(program);
}

#[test]
#[ignore = "takes long"]
fn clients_have_the_same_map_after_a_thousand_programs() {
    (0..1000).for_each(program);
}

/// What was published and not lost: the key, and the value or that it was removed. The empty key
/// stands for the removal of the topic.
#[derive(Default)]
struct Model {
    events: BTreeMap<LogId, (String, Option<String>)>,
    /// Events up to this ID survive a kill, and those up to the other a power failure.
    written: LogId,
    synced: LogId,
}

impl Model {
    fn observe(&mut self, process: &Process, policy: SyncPolicy) {
        let status = process.link.status.borrow();
        if status.failure.is_none() {
            let visible = process.hub.visible();
            self.written = self.written.max(visible);
            self.synced = self.synced.max(status.synced);
            if policy == EVERY {
                self.synced = self.synced.max(visible);
            }
        }
    }

    fn map(&self, until: LogId) -> Map {
        let mut map = Map::new();
        for (key, value) in self.events.range(..=until).map(|(_, event)| event) {
            match value {
                Some(value) => _ = map.insert(key.clone(), value.clone()),
                None if key.is_empty() => map.clear(),
                None => _ = map.remove(key),
            }
        }
        map
    }

    /// Checks what a new process has, and forgets what it has lost.
    fn check(&mut self, process: &Process, promised: LogId, context: &str) {
        let topic = process.hub.keyed_topic("state").unwrap();
        let ordinary = process.hub.topic("ordinary").unwrap();
        let restored = read(&topic, None, Map::new());
        let keys: BTreeSet<_> = self.events.values().map(|(key, _)| key.clone()).collect();
        let at_promised = self.map(promised);
        for key in &keys {
            let later = self.events.iter().filter(|(id, _)| **id > promised);
            let of_key = later.filter(|(_, (other, _))| other == key || other.is_empty());
            let mut values = of_key.map(|(_, (_, value))| value.as_ref());
            let found = restored.get(key);
            assert!(
                at_promised.get(key) == found || values.any(|value| value == found),
                "{context}: {key} is {found:?}, promised up to {promised}"
            );
        }
        for &seen in self.events.keys().rev().take(30) {
            let map = read(&topic, Some(seen), self.map(seen));
            assert_eq!(map, restored, "{context}: after {seen}");
        }
        let is_known = |id: &LogId| ordinary.resume(Some(&(*id).into())) == Resume::Resumed;
        let last = self.events.keys().rev().copied().find(is_known);
        let last = last.unwrap_or(promised);
        self.events.retain(|id, _| *id <= last);
        // A rewrite after a failure may have been cut off after an event of another key.
        for key in &keys {
            while self.map(last).get(key) != restored.get(key) {
                let mut of_key = self
                    .events
                    .iter()
                    .rev()
                    .filter(|(_, (k, _))| k == key || k.is_empty());
                let Some(newest) = of_key.next().map(|(id, _)| *id) else {
                    break;
                };
                self.events.remove(&newest);
            }
        }
        (self.written, self.synced) = (promised.min(last), promised.min(last));
    }
}

fn program(seed: u64) {
    begin(seed);
    let mut rng = Rng::with_seed(seed);
    let policy = [NEVER, INTERVAL, EVERY][rng.usize(..3)];
    let retention = KeyedRetention::default().removals(Duration::from_millis(rng.u64(..500)));
    let mut disk = MemoryDisk::default();
    let mut model = Model::default();
    let mut process = start(&disk, policy, retention);
    for operation in 0..200 {
        let context = format!("seed {seed}, operation {operation}, {policy:?}");
        match rng.u32(..100) {
            0 if rng.u32(..2) == 0 => {
                let topic = process.hub.keyed_topic("state").unwrap();
                topic.remove_from_hub(Duration::from_secs(60));
                let removal = process.epochs().last().unwrap().last;
                model.events.insert(removal, (String::new(), None));
            }
            0..45 => {
                let topic = process.hub.keyed_topic("state").unwrap();
                let key = format!("k{}", rng.u32(..5));
                if rng.u32(..4) == 0 {
                    if let Some(removed) = topic.remove(&key).unwrap() {
                        model.events.insert(removed.id().unwrap(), (key, None));
                    }
                } else {
                    let value = format!("{operation} {}", "x".repeat(rng.usize(..200)));
                    let id = set(&topic, &key, &value);
                    model.events.insert(id, (key, Some(value)));
                }
            }
            45..75 => {
                process.step();
                process.advance(Duration::from_millis(rng.u64(..2)));
            }
            75..83 => process.helper.work_all(),
            83..88 => process.advance(Duration::from_millis(rng.u64(..400))),
            88..89 => process.advance(Duration::from_secs(61)),
            89..93 => drop(process.settle()),
            93..95 => disk.fail(Fault {
                action: ["write", "tear", "sync", "create", "rename", "remove"][rng.usize(..6)],
                path: "",
                after: rng.usize(..3),
                times: rng.usize(1..3),
                error: [EIO, ENOSPC][rng.usize(..2)],
            }),
            end => {
                model.observe(&process, policy);
                let promised = if end < 98 {
                    disk.kill();
                    disk.repair();
                    model.written
                } else {
                    disk = disk.lose_power(&mut rng);
                    model.synced
                };
                process = start(&disk, policy, retention);
                model.check(&process, promised, &context);
            }
        }
        model.observe(&process, policy);
    }
}
