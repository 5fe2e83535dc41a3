//! Faults of the disk while a journal is open: what each costs, and what is reported.

use std::error::Error;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use sse_core::{Event, LogId, Retention};

use super::disk::{EIO, EMFILE, ENOSPC, EROFS, Fault, MemoryDisk, PANIC};
use super::{DIR, EVERY, INTERVAL, NEVER, Process, journal, retained};
use crate::config::HubConfig;
use crate::journal::{JournalError, SyncPolicy, WhileFailing};
use crate::topic::{Hub, PublishError, Published, Start, StoreError};

const SECOND: Duration = Duration::from_secs(1);

/// The operations that fail and how often, the error, and the notices: the first one with each
/// policy (never, interval, every event). The second is that events are stored again.
type Case = (&'static [(&'static str, usize)], i32, [&'static str; 3]);

const NOT_WRITTEN: &str = "can't write SEGMENT: Input/output error (os error 5)";
const FULL: &str = "can't write SEGMENT: No space left on device (os error 28)";
const NOT_SYNCED: &str = "can't sync SEGMENT: Input/output error (os error 5)";

#[rustfmt::skip]
const CASES: &[Case] = &[
    (&[("write", 1)], EIO, [NOT_WRITTEN; 3]),
    (&[("write", 3)], ENOSPC, [FULL; 3]),
    (&[("tear", 1)], EIO, [NOT_WRITTEN; 3]),
    (&[("tear", 3)], EIO, [NOT_WRITTEN; 3]),
    (&[("tear", 3), ("remove", 9)], EIO, [NOT_WRITTEN; 3]),
    (&[("sync", 1)], EIO, ["", NOT_SYNCED, NOT_SYNCED]),
    (&[("sync", 3)], EIO, ["", NOT_SYNCED, NOT_SYNCED]),
    (&[("write", 1), ("create", 2)], EIO, [NOT_WRITTEN; 3]),
    (&[("tear", 1), ("sync_dir", 2)], EIO, [NOT_WRITTEN; 3]),
];

#[test]
fn every_failure_is_reported_once_and_recovered_from() {
    for (faults, error, notices) in CASES {
        for (policy, notice) in [NEVER, INTERVAL, EVERY].into_iter().zip(notices) {
            for before in [0, 3] {
                assert_recovers(faults, *error, policy, before, notice);
            }
        }
    }
}

#[test]
fn a_panic_of_the_second_thread_is_a_failure() {
    let notice = "can't sync or compact /journal: its thread panicked";
    assert_recovers(&[("sync", 1)], PANIC, INTERVAL, 3, notice);
}

#[test]
fn a_panic_of_the_writer_is_a_failure() {
    let notice = "can't write to /journal: its thread panicked";
    for policy in [NEVER, INTERVAL, EVERY] {
        assert_recovers(&[("write", 1)], PANIC, policy, 3, notice);
    }
}

fn assert_recovers(
    faults: &[(&'static str, usize)],
    error: i32,
    policy: SyncPolicy,
    before: u32,
    notice: &str,
) {
    let context = format!("{faults:?} after {before} events, {policy:?}");
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, policy));
    let topic = process.hub.topic("a").unwrap();
    publish(&mut process, 0..before);
    process.advance(SECOND);
    process.settle();
    for (action, times) in faults {
        fail(&disk, action, *times, error);
    }
    publish(&mut process, before..before + 3);
    process.advance(SECOND / 4);
    process.settle();
    assert_eq!(
        retained(&topic),
        numbers(before + 3),
        "delivered anyway: {context}"
    );
    assert_eq!(process.is_storing(), notice.is_empty(), "{context}");
    for _ in 0..10 {
        publish(&mut process, 0..0);
        process.advance(SECOND);
        process.settle();
    }
    assert!(process.is_storing(), "{context}: {:?}", process.notices());
    publish(&mut process, before + 3..before + 5);
    process.advance(SECOND);
    process.settle();
    let expected = match notice {
        "" => vec![],
        notice => vec![
            format!("{notice}; events are not stored until writing succeeds"),
            "events are stored again".to_owned(),
        ],
    };
    assert_eq!(short(process.notices()), expected, "{context}");
    let (segments, _) = process.size();
    assert!(segments <= 4, "{segments} segments: {context}");

    disk.kill();
    disk.repair();
    let process = Process::start(&journal(&disk, policy));
    let topic = process.hub.topic("a").unwrap();
    assert_eq!(
        retained(&topic),
        numbers(before + 5),
        "once and in order: {context}"
    );
    let mut notices = process.notices();
    // What could not be deleted.
    notices.retain(|notice| !notice.contains("cannot be read as a segment"));
    assert_eq!(notices, [""; 0], "{context}");
}

/// Too few descriptors, and a file system that has become read-only.
#[test]
fn a_segment_that_cannot_be_begun_is_reported_and_recovered_from() {
    for (error, sentence) in [
        (EMFILE, "Too many open files (os error 24)"),
        (EROFS, "Read-only file system (os error 30)"),
    ] {
        let disk = MemoryDisk::default();
        let mut process = Process::start(&journal(&disk, NEVER));
        fail(&disk, "create", 2, error);
        let mut count = 0;
        while process.is_storing() {
            publish(&mut process, count..count + 1);
            count += 1;
        }
        assert!(count > 10, "the first segment is written");
        assert_eq!(retained(&process.hub.topic("a").unwrap()), numbers(count));
        for _ in 0..3 {
            process.advance(SECOND);
            process.settle();
        }
        assert_eq!(
            short(process.notices()),
            [
                format!(
                    "can't create SEGMENT: {sentence}; events are not stored until writing succeeds"
                ),
                "events are stored again".to_owned(),
            ]
        );
        disk.kill();
        let process = Process::start(&journal(&disk, NEVER));
        assert_eq!(retained(&process.hub.topic("a").unwrap()), numbers(count));
    }
}

#[test]
fn open_files_are_written_though_the_folder_cannot_be_listed() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, EVERY));
    fail(&disk, "list", 3, EMFILE);
    for number in 0..5 {
        publish(&mut process, number..number + 1);
        process.advance(SECOND);
        process.settle();
    }
    assert!(process.is_storing());
    assert_eq!(process.notices(), [""; 0]);
}

#[test]
fn a_panic_of_a_waker_stops_neither_the_journal_nor_other_subscribers() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of somebody else");
        }
    }
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, EVERY));
    let topic = process.hub.topic("a").unwrap();
    let (panics, woken) = (Waker::from(Arc::new(Panics)), Arc::new(Woken::default()));
    let mut subscriptions = [0; 3].map(|_| topic.subscribe(Start::Live));
    for (subscription, waker) in
        subscriptions
            .iter_mut()
            .zip([panics.clone(), Waker::from(Arc::clone(&woken)), panics])
    {
        let cx = &mut Context::from_waker(&waker);
        assert!(subscription.poll_read(cx, &mut Vec::new()).is_pending());
    }
    publish(&mut process, 0..2);
    assert_eq!(process.hub.journal_state().unwrap().panics, 2);
    assert!(woken.0.load(Ordering::Relaxed));
    assert!(process.is_storing());
    assert_eq!(retained(&topic), "0 1");
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_journal_recovers_while_events_are_published() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, INTERVAL));
    fail(&disk, "write", 1, EIO);
    let mut count = 0;
    while count < 5 || !process.is_storing() {
        publish(&mut process, count..count + 1);
        count += 1;
        process.advance(SECOND / 3);
        assert!(count < 20, "not stored again");
    }
    publish(&mut process, count..count + 1);
    disk.kill();
    let process = Process::start(&journal(&disk, INTERVAL));
    assert_eq!(
        retained(&process.hub.topic("a").unwrap()),
        numbers(count + 1)
    );
}

#[test]
fn removed_files_are_noticed_within_a_second_and_written_again() {
    for policy in [NEVER, INTERVAL, EVERY] {
        for what in ["folder", "newest", "oldest"] {
            let disk = MemoryDisk::default();
            let mut process = Process::start(&journal(&disk, policy));
            publish(&mut process, 0..60);
            process.advance(SECOND);
            process.settle();
            let paths = disk.paths();
            assert!(paths.len() > 2, "several segments");
            match what {
                "folder" => disk.remove_folder(),
                "newest" => disk.remove_file(&paths[paths.len() - 1]),
                _ => disk.remove_file(&paths[0]),
            }
            process.advance(SECOND);
            process.settle();
            assert!(!process.is_storing(), "{what}, {policy:?}");
            process.advance(SECOND);
            process.settle();
            assert!(process.is_storing(), "{what}, {policy:?}");
            publish(&mut process, 60..61);
            let [failed, recovered] = <[String; 2]>::try_from(short(process.notices())).unwrap();
            let expected = match what {
                "folder" => "can't read /journal: entity not found",
                _ => "can't find SEGMENT: entity not found",
            };
            assert_eq!(
                failed,
                format!("{expected}; events are not stored until writing succeeds")
            );
            assert_eq!(recovered, "events are stored again");
            disk.kill();
            let process = Process::start(&journal(&disk, policy));
            let topic = process.hub.topic("a").unwrap();
            assert_eq!(retained(&topic), numbers(61), "{what}, {policy:?}");
        }
    }
}

/// Else a second process could write to the same files.
#[test]
fn a_folder_that_was_replaced_is_locked() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, NEVER));
    publish(&mut process, 0..3);
    disk.remove_folder();
    disk.write_file(&Path::new(DIR).join("note.txt"), Vec::new());
    for _ in 0..3 {
        process.advance(SECOND);
        process.settle();
    }
    assert!(process.is_storing());
    let refused = Hub::open_idle(Retention::default(), &journal(&disk, NEVER)).map(drop);
    assert!(matches!(refused, Err(JournalError::InUse(_))));
}

#[test]
fn events_can_be_held_back_while_the_journal_fails() {
    for policy in [NEVER, INTERVAL, EVERY] {
        let disk = MemoryDisk::default();
        let holding = journal(&disk, policy).while_failing(WhileFailing::Hold);
        let retention = Retention::events(1000)
            .bytes(4000)
            .backlog(Duration::ZERO, 0);
        let mut process = Process::start_with(retention, &holding);
        publish(&mut process, 0..2);
        fail(&disk, "write", 3, ENOSPC);
        publish(&mut process, 2..4);
        let topic = process.hub.topic("a").unwrap();
        assert_eq!(
            retained(&topic),
            numbers(2),
            "what is not stored is not visible"
        );
        let mut count = 4;
        let event = |number: u32| Event::new().data(number.to_string());
        while topic.publish(&event(count)).is_ok() {
            count += 1;
        }
        assert_eq!(topic.publish(&event(count)), Err(PublishError::BacklogFull));
        assert!(count > 20, "half of the retained bytes may wait");
        for _ in 0..3 {
            process.advance(SECOND);
            process.settle();
        }
        assert!(process.is_storing());
        assert!(numbers(count).ends_with(&retained(&topic)) && retained(&topic).len() > 40);
        publish(&mut process, count..count + 1);
        assert_eq!(process.notices().len(), 2, "none was missed");
    }
}

#[test]
fn events_that_are_evicted_before_they_are_stored_are_reported_and_a_gap() {
    let disk = MemoryDisk::default();
    let retention = Retention::events(3).backlog(Duration::ZERO, 0);
    let mut process = Process::start_with(retention, &journal(&disk, NEVER));
    let first = process.publish("a", "first");
    process.settle();
    fail(&disk, "write", 1, ENOSPC);
    publish(&mut process, 0..9);
    let missed = process.publish("a", "9");
    process.settle();
    process.advance(SECOND);
    process.settle();
    let notices = process.notices();
    assert!(
        notices[1]
            .ends_with("in this many topics: 1; raise their retention, or publish more slowly"),
        "{notices:?}"
    );
    assert!(missed > first);
    disk.kill();
    let process = Process::start(&journal(&disk, NEVER));
    let topic = process.hub.topic("a").unwrap();
    assert_eq!(retained(&topic), "7 8 9");
    assert_eq!(topic.resume(Some(&first.into())), sse_core::Resume::Gap);
    let other = process.hub.topic("b").unwrap();
    assert_eq!(other.resume(Some(&first.into())), sse_core::Resume::Resumed);
}

#[test]
fn a_topic_that_evicts_events_again_and_again_counts_once() {
    let disk = MemoryDisk::default();
    let retention = Retention::events(3).backlog(Duration::ZERO, 0);
    let mut process = Process::start_with(retention, &journal(&disk, NEVER));
    fail(&disk, "write", 1, ENOSPC);
    publish(&mut process, 0..9);
    process.advance(SECOND);
    // While the journal recovers, it writes a MiB at a time.
    for _ in 0..3 {
        for _ in 0..4 {
            process.publish("a", &"x".repeat(600_000));
        }
        for _ in 0..2 {
            process.advance(Duration::from_millis(1));
            process.step();
        }
    }
    process.settle();
    let notices = process.notices();
    assert!(process.is_storing(), "{notices:?}");
    let missed: Vec<_> = notices
        .iter()
        .filter(|notice| notice.contains(" evicted "))
        .collect();
    assert!(
        matches!(&missed[..], [one] if one.ends_with("in this many topics: 1; raise their retention, or publish more slowly")),
        "{notices:?}"
    );
}

#[test]
fn an_event_that_was_missed_is_never_reported_as_stored() {
    let disk = MemoryDisk::default();
    let retention = Retention::events(3).backlog(Duration::ZERO, 0);
    let mut process = Process::start_with(retention, &journal(&disk, NEVER));
    let [a, b] = ["a", "b"].map(|name| process.hub.topic(name).unwrap());
    let event = Event::new().data("x");
    let (mut missed, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..300 {
        fail(&disk, "write", 1, ENOSPC);
        missed.push(a.publish(&event).unwrap());
        kept.push(b.publish(&event).unwrap());
        process.settle();
        // The first events of a batch are missed.
        missed.push(a.publish_all(&[(); 5].map(|()| event.clone())).unwrap());
        process.settle();
        kept.push(a.publish(&event).unwrap());
        process.settle();
        process.advance(SECOND);
        process.settle();
        assert!(process.is_storing());
    }
    for (number, missed) in missed.iter().enumerate() {
        let stored = stored(missed).unwrap_err();
        let source = stored.source().and_then(|source| source.downcast_ref());
        let is_missed = matches!(source, Some(JournalError::Missed));
        assert!(is_missed, "{number}: {stored}");
    }
    // Beyond a number of misses, the oldest count as one range.
    let kept = &kept[200..];
    assert!(kept.iter().all(|published| stored(published).is_ok()));
}

/// What was written to a segment that was abandoned may be gone.
#[test]
fn an_event_that_was_evicted_after_a_failure_is_never_reported_as_stored() {
    for policy in [NEVER, INTERVAL, EVERY] {
        let disk = MemoryDisk::default();
        let retention = Retention::events(3).backlog(Duration::ZERO, 0);
        let config = HubConfig::from(retention).topics("large", Retention::default());
        let mut process = Process::start_with(config, &journal(&disk, policy));
        let topic = process.hub.topic("a").unwrap();
        if policy == NEVER {
            fail(&disk, "write", 1, EIO);
            process.publish("a", "first");
            process.settle();
        }
        let missed = topic.publish(&Event::new().data("x")).unwrap();
        if policy == NEVER {
            // The event is written in the first batch of an attempt to recover.
            for _ in 0..4 {
                process.publish("large", &"x".repeat(600_000));
            }
            disk.fail(Fault {
                action: "write",
                path: "",
                after: 2,
                times: 1,
                error: EIO,
            });
            process.advance(SECOND);
            process.settle();
        } else {
            fail(&disk, "sync", 1, EIO);
            while process.is_storing() {
                process.settle();
                process.advance(SECOND / 4);
            }
        }
        assert!(!process.is_storing());
        for number in 0..9 {
            process.publish("a", &number.to_string());
        }
        for _ in 0..3 {
            process.advance(SECOND);
            process.settle();
        }
        assert!(process.is_storing(), "{policy:?}: {:?}", process.notices());
        let stored = stored(&missed).unwrap_err();
        let source = stored.source().and_then(|source| source.downcast_ref());
        assert!(matches!(source, Some(JournalError::Missed)), "{policy:?}");
    }
}

#[test]
fn an_end_that_is_stored_is_there_after_a_power_failure() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, EVERY));
    let ends = ["with", "without"].map(|name| {
        process.publish(name, "0");
        let last = (name == "with").then(|| Event::new().data("last"));
        let topic = process.hub.topic(name).unwrap();
        let end = topic.finish(last.as_ref()).unwrap();
        let mut stored = Box::pin(async move { end.stored().await });
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(stored.as_mut().poll(cx).is_pending());
        process.settle();
        assert!(matches!(stored.as_mut().poll(cx), Poll::Ready(Ok(_))));
        topic.finish(None).unwrap()
    });
    assert!(ends.iter().all(|end| stored(end).is_ok()));
    disk.kill();
    let process = Process::start(&journal(&disk, EVERY));
    for name in ["with", "without"] {
        assert!(process.hub.topic(name).unwrap().is_finished(), "{name}");
    }
}

/// Returns the result of a wait that is over.
fn stored(published: &Published) -> Result<LogId, StoreError> {
    let cx = &mut Context::from_waker(Waker::noop());
    match pin!(published.stored()).poll(cx) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the journal has not decided"),
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error() {
    for (action, error, sentence) in [
        (
            "create_dir",
            EROFS,
            "can't create /journal: Read-only file system (os error 30)",
        ),
        (
            "lock",
            EROFS,
            "can't lock /journal: Read-only file system (os error 30)",
        ),
        (
            "list",
            EMFILE,
            "can't read /journal: Too many open files (os error 24)",
        ),
        (
            "create",
            EROFS,
            "can't create SEGMENT: Read-only file system (os error 30)",
        ),
        (
            "write",
            ENOSPC,
            "can't write SEGMENT: No space left on device (os error 28)",
        ),
        ("sync", EIO, NOT_SYNCED),
        (
            "sync_dir",
            EIO,
            "can't sync /: Input/output error (os error 5)",
        ),
    ] {
        let disk = MemoryDisk::default();
        fail(&disk, action, 1, error);
        let refused = Hub::open(Retention::default(), &journal(&disk, EVERY)).unwrap_err();
        assert_eq!(short(vec![refused.to_string()]), [sentence]);
    }
}

#[test]
fn a_journal_is_open_once() {
    let disk = MemoryDisk::default();
    let process = Process::start(&journal(&disk, NEVER));
    let refused = Hub::open(Retention::default(), &journal(&disk, NEVER)).unwrap_err();
    assert!(matches!(refused, JournalError::InUse(_)));
    assert_eq!(
        refused.to_string(),
        "the journal in /journal is in use; end the process that has it open, or choose another \
         folder"
    );
    drop(process);
    Hub::open(Retention::default(), &journal(&disk, NEVER)).unwrap();
}

#[test]
fn a_failed_compaction_is_reported_and_tried_again() {
    let actions = ["create", "write", "sync", "remove", "rename"];
    let failing = actions.map(|action| (action, EIO));
    // The writer itself renames.
    let panicking = actions[..4].iter().map(|action| (*action, PANIC));
    for (action, error) in failing.into_iter().chain(panicking) {
        let disk = MemoryDisk::default();
        let retention = Retention::events(3).backlog(Duration::ZERO, 0);
        let mut process = Process::start_with(retention, &journal(&disk, NEVER));
        publish(&mut process, 0..10);
        // The journal creates and writes other files, too.
        let path = match action {
            "create" | "write" | "sync" => "compacting",
            "remove" => "segment-",
            _ => "",
        };
        disk.fail(Fault {
            action,
            path,
            after: 0,
            times: 1,
            error,
        });
        for number in (10..400).step_by(10) {
            publish(&mut process, number..number + 10);
        }
        let notices = process.notices();
        assert_eq!(notices.len(), 1, "{action}: {notices:?}");
        let end = "; old events stay in the journal until that succeeds";
        assert!(notices[0].ends_with(end), "{action}: {notices:?}");
        let (segments, bytes) = process.size();
        assert!(
            segments < 5 && bytes < 8000,
            "{action}: {segments} segments, {bytes} bytes"
        );
        assert_eq!(disk.paths().len(), segments, "{action}: files are left");
        disk.kill();
        let process = Process::start(&journal(&disk, NEVER));
        let topic = process.hub.topic("a").unwrap();
        assert!(retained(&topic).ends_with("397 398 399"), "{action}");
        assert_eq!(process.notices(), [""; 0], "{action}");
    }
}

/// Else a power failure could take the folder with everything in it.
#[test]
fn each_new_folder_is_synced_into_its_parent() {
    for failing in [None, Some("/new"), Some("/new/folder")] {
        let disk = MemoryDisk::default();
        let mut journal = journal(&disk, EVERY);
        journal.dir = "/new/folder/journal".into();
        if let Some(path) = failing {
            disk.fail(Fault {
                action: "sync_dir",
                path,
                after: 0,
                times: 1,
                error: EIO,
            });
            let error = Hub::open(Retention::default(), &journal).unwrap_err();
            let expected = format!("can't sync {path}: Input/output error (os error 5)");
            assert_eq!(error.to_string(), expected);
        }
        let mut process = Process::start(&journal);
        publish(&mut process, 0..2);
        for dir in ["/new", "/new/folder", "/new/folder/journal"] {
            assert!(disk.has_synced_dir(dir), "{dir} after {failing:?}");
        }
        journal.disk = Arc::new(disk.lose_power(&mut fastrand::Rng::with_seed(1)));
        let process = Process::start(&journal);
        assert_eq!(retained(&process.hub.topic("a").unwrap()), "0 1");
    }
}

#[test]
fn a_panic_of_the_callback_is_counted_and_nothing_else() {
    let disk = MemoryDisk::default();
    let panicking = journal(&disk, NEVER).on_notice(|notice| panic!("{notice}"));
    let (hub, (mut writer, helper)) = Hub::open_idle(Retention::default(), &panicking).unwrap();
    fail(&disk, "write", 1, EIO);
    let topic = hub.topic("a").unwrap();
    topic.publish(&Event::new().data("0")).unwrap();
    let mut now = crate::topic::now();
    for _ in 0..20 {
        writer.step(now);
        helper.work_all();
        now.steady += SECOND;
    }
    assert_eq!(retained(&topic), "0");
    let state = hub.journal_state().unwrap();
    assert!(state.is_storing);
    assert_eq!(state.panics, 2);
}

/// With threads: publishers, clients and the thread that drops the hub do not wait for the disk.
#[test]
fn nobody_waits_for_a_slow_disk() {
    for (policy, action, is_visible) in [
        (SyncPolicy::Interval(Duration::ZERO), "sync", true),
        (EVERY, "sync", false),
        (NEVER, "write", false),
    ] {
        let disk = MemoryDisk::default();
        let journal = journal(&disk, policy);
        let hub = Hub::open(Retention::default(), &journal).unwrap();
        let topic = hub.topic("a").unwrap();
        disk.stall(Some(action));
        let calls = disk.calls(action);
        topic.publish(&Event::new().data("0")).unwrap();
        wait_for(|| disk.calls(action) > calls);
        topic.publish(&Event::new().data("1")).unwrap();
        if is_visible {
            wait_for(|| retained(&topic) == "0 1");
        }
        drop((hub, topic));
        disk.stall(None);
        // The rest is written, though nobody has waited for it.
        let hub = Hub::open(Retention::default(), &journal).unwrap();
        assert_eq!(retained(&hub.topic("a").unwrap()), "0 1", "{policy:?}");
    }
}

fn wait_for(mut is_done: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + 20 * SECOND;
    while !is_done() {
        assert!(std::time::Instant::now() < deadline, "it takes too long");
        std::thread::yield_now();
    }
}

/// Publishes numbers into the topic `a`.
fn publish(process: &mut Process, numbers: std::ops::Range<u32>) {
    for number in numbers {
        process.publish("a", &number.to_string());
        process.settle();
    }
}

fn numbers(end: u32) -> String {
    (0..end)
        .map(|number| number.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

fn fail(disk: &MemoryDisk, action: &'static str, times: usize, error: i32) {
    disk.fail(Fault {
        action,
        path: "",
        after: 0,
        times,
        error,
    });
}

/// Shortens the paths of segments.
fn short(notices: Vec<String>) -> Vec<String> {
    let prefix = Path::new(DIR).join("segment-").display().to_string();
    let short = |notice: String| match notice.find(&prefix) {
        Some(at) => {
            let end = at + prefix.len() + "0000000000.sse".len();
            format!("{}SEGMENT{}", &notice[..at], &notice[end..])
        }
        None => notice,
    };
    notices.into_iter().map(short).collect()
}
