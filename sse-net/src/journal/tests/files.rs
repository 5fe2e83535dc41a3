//! The files that a journal begins, replaces and leaves.

use std::path::Path;
use std::time::Duration;

use sse_core::{Resume, Retention, Segment};

use super::disk::{EIO, Fault, MemoryDisk};
use super::{DIR, EVERY, INTERVAL, NEVER, Process, journal, retained};
use crate::config::HubConfig;
use crate::journal::SyncPolicy;
use crate::journal::compact::{TEMPORARY, file_bytes};
use crate::journal::writer::Next;
use crate::topic::Retained;

const SECOND: Duration = Duration::from_secs(1);

const FEW: Retention = Retention::events(3).backlog(Duration::ZERO, 0);

fn publish(process: &mut Process, topic: &str, numbers: std::ops::Range<u32>) {
    for number in numbers {
        process.publish(topic, &number.to_string());
        process.settle();
    }
}

/// Publishes, and lets the helper do all jobs until the condition holds.
fn publish_until(process: &mut Process, is_done: impl Fn(&Process) -> bool) {
    for number in 0..1000 {
        process.publish("a", &number.to_string());
        process.advance(Duration::from_millis(10));
        for _ in 0..10 {
            process.step();
            if is_done(process) {
                return;
            }
        }
        process.helper.work_all();
    }
    panic!("the journal does not compact");
}

/// Publishes until segments have been replaced, and only the helper has to delete them.
fn publish_until_replaced(process: &mut Process, disk: &MemoryDisk) {
    publish_until(process, |process| {
        let names = disk.paths();
        let is_copied = !names.iter().any(|name| name.ends_with(TEMPORARY));
        is_copied && process.writer.is_compacting && process.size().0 < names.len()
    });
}

#[test]
fn settings_may_be_extreme() {
    let intervals = [Duration::ZERO, Duration::MAX].map(SyncPolicy::Interval);
    for policy in [NEVER, EVERY].into_iter().chain(intervals) {
        for size in [0, 1, u64::MAX] {
            let context = format!("{policy:?}, segments of {size} bytes");
            let disk = MemoryDisk::default();
            let journal = journal(&disk, policy).segment_bytes(size);
            let mut process = Process::start_with(FEW, &journal);
            publish(&mut process, "a", 0..300);
            let files = disk.paths().len();
            assert!(files < 20, "{context}: {files} files");
            assert_eq!(process.notices(), [""; 0], "{context}");
            disk.kill();
            let process = Process::start_with(FEW, &journal);
            let topic = process.hub.topic("a").unwrap();
            assert_eq!(retained(&topic), "297 298 299", "{context}");
        }
    }
}

#[test]
fn as_many_bytes_as_memory_has_are_counted() {
    let bytes = usize::MAX / 2;
    let retained = Retained {
        events: bytes / 256,
        name_bytes: bytes / 4,
        bytes,
    };
    let half = file_bytes(bytes / 2, &retained);
    let bytes = bytes as u64;
    assert!((bytes / 2..bytes).contains(&half), "{half}");
}

/// Another release recognizes a file by its first line.
#[test]
fn each_file_begins_with_the_version_of_its_format() {
    for policy in [NEVER, INTERVAL, EVERY] {
        let disk = MemoryDisk::default();
        let mut process = Process::start(&journal(&disk, policy).segment_bytes(1));
        publish(&mut process, "a", 0..3);
        let Process { hub, .. } = process;
        drop(hub);
        let mut now = process.now;
        loop {
            process.helper.work_all();
            match process.writer.step(now) {
                Next::End => break,
                _ => now.steady += Duration::from_millis(1),
            }
        }
        for path in disk.paths() {
            let bytes = disk.read_file(&path);
            assert!(bytes.starts_with(Segment::HEAD), "{path:?}, {policy:?}");
        }
    }
}

/// The disk may be full of it.
#[test]
fn a_compaction_that_a_crash_has_ended_leaves_no_file() {
    let disk = MemoryDisk::default();
    let temporary = Path::new(DIR).join(TEMPORARY);
    disk.write_file(&temporary, vec![b'x'; 10_000]);
    let _process = Process::start(&journal(&disk, NEVER));
    assert!(!disk.paths().contains(&temporary));
}

#[test]
fn a_late_deletion_deletes_no_new_file() {
    let disk = MemoryDisk::default();
    let mut process = Process::start_with(FEW, &journal(&disk, NEVER));
    publish_until_replaced(&mut process, &disk);
    // The helper is slow: it has not deleted the segments that were replaced.
    disk.remove_folder();
    for _ in 0..4 {
        process.advance(SECOND);
        for _ in 0..10 {
            process.step();
        }
    }
    assert!(process.is_storing(), "the folder is there again");
    let files = disk.paths();
    process.helper.work_all();
    assert_eq!(disk.paths(), files);
}

#[test]
fn a_failed_deletion_is_repeated_without_new_events() {
    let disk = MemoryDisk::default();
    let mut process = Process::start_with(FEW, &journal(&disk, NEVER));
    publish_until_replaced(&mut process, &disk);
    disk.fail(Fault {
        action: "remove",
        path: "",
        after: 0,
        times: 1,
        error: EIO,
    });
    process.settle();
    assert_eq!(process.notices().len(), 1);
    assert!(disk.paths().len() > process.size().0);
    process.advance(60 * SECOND);
    process.settle();
    assert_eq!(disk.paths().len(), process.size().0);
    assert_eq!(process.notices(), [""; 0]);
}

/// Else the old segments stay until another one is full.
#[test]
fn a_topic_that_is_removed_meanwhile_does_not_hold_a_compaction_up() {
    let disk = MemoryDisk::default();
    let mut process = Process::start_with(FEW, &journal(&disk, NEVER));
    publish(&mut process, "b", 0..1);
    publish_until(&mut process, |process| process.writer.is_compacting);
    // The copy is made while the removal has not been written.
    process
        .hub
        .topic("b")
        .unwrap()
        .remove_from_hub(3600 * SECOND);
    process.helper.work_all();
    for _ in 0..3 {
        process.settle();
        process.advance(SECOND);
    }
    assert!(process.writer.copied.is_none(), "{:?}", disk.paths());
}

/// The names of most of the topics have been dropped, and a compaction has dropped their removals.
#[test]
fn topics_that_begin_anew_after_a_compaction_have_gaps_after_a_restart() {
    let disk = MemoryDisk::default();
    let config = || HubConfig::from(FEW).max_topics(15);
    super::begin(1);
    let mut process = Process::start_with(config(), &journal(&disk, EVERY));
    let seen = process.publish("a", "x");
    let names: Vec<_> = (0..50).map(|number| format!("run {number}")).collect();
    for name in &names {
        process.publish(name, "missed");
        let topic = process.hub.topic(name).unwrap();
        topic.remove_from_hub(3600 * SECOND);
        process.settle();
    }
    publish_until_replaced(&mut process, &disk);
    for name in &names[..10] {
        process.publish(name, "new");
    }
    process.settle();
    let check = |process: &Process| {
        for name in &names[..10] {
            let topic = process.hub.topic(name).unwrap();
            assert_eq!(topic.resume(Some(&seen.into())), Resume::Gap, "{name}");
            assert_eq!(retained(&topic), "new");
        }
    };
    check(&process);
    drop(process);
    disk.kill();
    check(&Process::start_with(config(), &journal(&disk, EVERY)));
}
