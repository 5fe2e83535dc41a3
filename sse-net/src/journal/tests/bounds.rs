//! A disk that is slow, or fails for long: what a journal claims and uses meanwhile.

use std::task::{Context, Waker};
use std::time::Duration;

use sse_core::{Event, Resume, Retention};

use super::disk::{EIO, Fault, MemoryDisk};
use super::{EVERY, INTERVAL, NEVER, Process, ids, journal};
use crate::config::HubConfig;
use crate::journal::JournalError;
use crate::journal::compact::TEMPORARY;
use crate::journal::writer::Next;
use crate::topic::Hub;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn fail(disk: &MemoryDisk, action: &'static str, times: usize) {
    disk.fail(Fault {
        action,
        path: "",
        after: 0,
        times,
        error: EIO,
    });
}

/// Publishes events that fill a segment, and lets the writer do what it can without its helper.
fn fill_segment(process: &mut Process) {
    for _ in 0..10 {
        process.publish("a", &"x".repeat(250));
        process.advance(Duration::from_millis(10));
        for _ in 0..10 {
            process.step();
        }
    }
}

#[test]
fn events_count_as_synced_after_every_sync_before_has_succeeded() {
    for policy in [NEVER, INTERVAL] {
        for seed in 0..20 {
            let disk = MemoryDisk::default();
            let mut process = Process::start(&journal(&disk, policy));
            process.settle();
            for _ in 0..20 {
                fill_segment(&mut process);
            }
            let synced = process.link.status.borrow().synced;
            let all = ids(&process.hub.topic("a").unwrap(), None);
            let disk = disk.lose_power(&mut fastrand::Rng::with_seed(seed));
            let restored = Process::start(&journal(&disk, policy));
            let found = ids(&restored.hub.topic("a").unwrap(), None);
            for id in all.iter().filter(|id| **id <= synced) {
                assert!(found.contains(id), "{policy:?}, seed {seed}: {id} is lost");
            }
            for _ in 0..20 {
                process.settle();
            }
            let last = process.publish("a", "last");
            process.advance(SECOND);
            process.settle();
            assert!(process.hub.visible() >= last, "the writer goes on");
        }
    }
}

/// With these policies, clients do not wait for a sync.
#[test]
fn events_are_delivered_while_a_sync_takes_long() {
    for policy in [NEVER, INTERVAL] {
        let disk = MemoryDisk::default();
        let mut process = Process::start(&journal(&disk, policy));
        process.settle();
        for _ in 0..30 {
            fill_segment(&mut process);
        }
        let last = process.publish("a", "last");
        process.advance(SECOND);
        for _ in 0..10 {
            process.step();
        }
        assert_eq!(process.hub.visible(), last, "{policy:?}");
        let (segments, _) = process.size();
        assert!(segments < 5, "{segments} files are open");
    }
}

#[test]
fn a_caller_that_waits_for_a_sync_is_not_delayed_by_later_ones() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, NEVER));
    process.settle();
    let hub = process.hub.clone();
    let cx = &mut Context::from_waker(Waker::noop());
    process.publish("a", "first");
    let mut first = Box::pin(hub.sync());
    assert!(first.as_mut().poll(cx).is_pending());
    let mut later = Vec::new();
    for _ in 0..20 {
        process.publish("a", "later");
        later.push(Box::pin(hub.sync()));
        assert!(later.last_mut().unwrap().as_mut().poll(cx).is_pending());
        process.advance(Duration::from_millis(1));
        process.step();
        process.helper.work_all();
    }
    assert!(first.as_mut().poll(cx).is_ready());
}

#[test]
fn attempts_to_recover_leave_no_files() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, INTERVAL));
    fail(&disk, "sync", usize::MAX);
    for _ in 0..10 {
        process.publish("a", &"x".repeat(500_000));
        process.settle();
    }
    let mut max = 0;
    for attempt in 0..20 {
        process.advance(SECOND);
        process.settle();
        assert!(attempt == 0 || !process.is_storing());
        let count = disk.paths().len();
        max = if attempt < 3 { count.max(max) } else { max };
        assert!(count <= max, "{count} files after {attempt} attempts");
    }
    disk.repair();
    process.advance(2 * SECOND);
    process.settle();
    assert!(process.is_storing());
}

/// A program may be started again and again.
#[test]
fn attempts_to_open_leave_no_files() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, NEVER));
    fill_segment(&mut process);
    drop(process);
    disk.kill();
    let before = disk.paths();
    for action in ["create", "write", "tear", "sync", "sync_dir"] {
        fail(&disk, action, 1);
        let refused = Hub::open_idle(Retention::default(), &journal(&disk, NEVER)).map(drop);
        assert!(matches!(refused, Err(JournalError::File(_))), "{action}");
        assert_eq!(disk.paths(), before, "{action}");
    }
}

/// Else a hub whose disk fails for long would be full of topics that nobody uses.
#[test]
fn a_topic_whose_events_have_expired_is_dropped_though_the_journal_fails() {
    let disk = MemoryDisk::default();
    let retention = Retention::default().age(SECOND).backlog(Duration::ZERO, 0);
    let config = HubConfig::from(retention).max_topics(3);
    super::begin(1);
    let mut process = Process::start_with(config, &journal(&disk, NEVER));
    fail(&disk, "write", usize::MAX);
    for number in 0..20 {
        process.publish(&format!("job {number}"), "x");
        process.settle();
        process.advance(SECOND / 2);
        process.settle();
        process.advance(3 * SECOND / 2);
        process.settle();
        assert!(!process.is_storing());
    }
}

/// A journal has to write that a topic is gone, but only of a topic that it may have stored.
#[test]
fn the_names_of_removed_topics_do_not_pile_up_while_the_journal_fails() {
    for (action, policy) in [("write", INTERVAL), ("write", EVERY), ("sync", INTERVAL)] {
        let disk = MemoryDisk::default();
        let config = HubConfig::default().max_topics(10);
        super::begin(1);
        let mut process = Process::start_with(config, &journal(&disk, policy));
        let (stored, unstored) = ("is stored", "is not stored");
        process.publish(stored, "x");
        let kept = process.publish("kept", "x");
        process.advance(SECOND);
        process.settle();
        fail(&disk, action, usize::MAX);
        process.publish("kept", "y");
        process.advance(2 * SECOND);
        process.settle();
        assert!(!process.is_storing(), "{action}");
        let seen = process.publish(unstored, "x");
        process.publish(unstored, "y");
        for name in [stored, unstored] {
            process.hub.topic(name).unwrap().remove_from_hub(DAY);
        }
        for number in 0..1000 {
            process.publish(&number.to_string(), "x");
            if number % 8 == 0 {
                process.advance(SECOND / 8);
                process.settle();
            }
            let topic = process.hub.topic(number.to_string()).unwrap();
            topic.remove_from_hub(DAY);
        }
        assert!(!process.is_storing(), "{action}");
        let names = process.hub.names();
        assert!(names <= 30, "{action}: {names} names");
        disk.repair();
        process.advance(2 * SECOND);
        while !process.is_storing() {
            process.step(); // Without a compaction.
        }
        drop(process);
        disk.kill();

        let process = Process::start_with(HubConfig::default(), &journal(&disk, policy));
        let topic = process.hub.topic(stored).unwrap();
        assert_eq!(ids(&topic, None), [], "{action}: it came back");
        let topic = process.hub.topic(unstored).unwrap();
        assert_eq!(topic.resume(Some(&seen.into())), Resume::Gap, "{action}");
        let ids = ids(&process.hub.topic("kept").unwrap(), None);
        assert_eq!((ids.len(), ids[0]), (2, kept), "{action}");
    }
}

/// Each write looks at all of them.
#[test]
fn new_events_of_many_topics_are_written_together() {
    let disk = MemoryDisk::default();
    let retention = Retention::events(3).backlog(Duration::ZERO, 0);
    let mut process = Process::start_with(retention, &journal(&disk, NEVER));
    let before = disk.calls("write");
    // Old segments are compacted, too.
    for _ in 0..5 {
        for topic in 0..200 {
            process.publish(&topic.to_string(), &"x".repeat(6000));
        }
        process.settle();
    }
    let writes = disk.calls("write") - before;
    assert!(writes < 100, "{writes} writes");
}

#[test]
fn very_many_topics_are_written_in_parts_after_a_failure() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, NEVER));
    fail(&disk, "write", usize::MAX);
    let topics = (0..500).map(|number| process.hub.topic(number.to_string()).unwrap());
    let topics: Vec<_> = topics.collect();
    let data = "x".repeat(1000);
    for round in 0..20 {
        for topic in &topics {
            let event = Event::new().data(format!("{round} {data}"));
            topic.publish(&event).unwrap();
        }
    }
    process.settle();
    assert!(!process.is_storing());
    disk.repair();
    process.advance(2 * SECOND);
    process.settle();
    assert!(process.is_storing());
    let longest = disk.longest_write();
    assert!(longest < 4 << 20, "{longest} bytes are written at once");
    disk.kill();
    let restored = Process::start(&journal(&disk, NEVER));
    for topic in topics {
        let again = restored.hub.topic(topic.name().unwrap()).unwrap();
        assert_eq!(ids(&again, None), ids(&topic, None));
    }
}

/// Else the second thread would delete files of the next process.
#[test]
fn a_folder_is_locked_until_the_last_job_is_done() {
    let disk = MemoryDisk::default();
    let retention = Retention::events(3).backlog(Duration::ZERO, 0);
    let mut process = Process::start_with(retention, &journal(&disk, NEVER));
    while !disk.paths().iter().any(|path| path.ends_with(TEMPORARY)) {
        fill_segment(&mut process);
        process.helper.work_all();
    }
    let Process {
        hub,
        mut writer,
        helper,
        mut now,
        ..
    } = process;
    drop(hub);
    loop {
        match writer.step(now) {
            Next::End => break,
            Next::At(..) => helper.work_all(),
            Next::Now => {}
        }
        now.steady += Duration::from_millis(1);
    }
    drop(writer);
    let refused = Hub::open_idle(retention, &journal(&disk, NEVER)).map(drop);
    assert!(matches!(refused, Err(JournalError::InUse(_))));
    helper.work_all();
    let mut next = Process::start_with(retention, &journal(&disk, NEVER));
    next.advance(2 * SECOND);
    next.settle();
    assert_eq!(next.notices(), [""; 0]);
}
