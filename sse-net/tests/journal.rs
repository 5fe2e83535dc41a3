//! Journals: what is stored, restored and reported.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sse_core::{Event, EventId, Resume, Retention};
use sse_net::{Journal, JournalError, PublishError, Start, SyncPolicy, Topic};
use tempfile::TempDir;

const POLICIES: [SyncPolicy; 4] = [
    SyncPolicy::Never,
    SyncPolicy::Interval(Duration::ZERO),
    SyncPolicy::Interval(Duration::from_secs(1)),
    SyncPolicy::EveryEvent,
];

#[test]
fn a_topic_continues_after_a_restart() {
    for policy in POLICIES {
        let dir = Dir::new();
        let journal = dir.journal().sync(policy);
        let topic = Topic::open(Retention::events(3), &journal).unwrap();
        assert_eq!(retained(&topic), "");
        publish(&topic, 0..5);
        let before = ids(&retained_bytes(&topic));
        drop(topic);

        let topic = Topic::open(Retention::events(3), &journal).unwrap();
        assert_eq!(retained(&topic), "2 3 4", "{policy:?}");
        assert_eq!(ids(&retained_bytes(&topic)), before);
        publish(&topic, 5..6);
        assert_eq!(retained(&topic), "3 4 5", "{policy:?}");
        let after_three = EventId::new(before[1].clone()).unwrap();
        assert_eq!(
            topic.subscribe_after(after_three, Start::Live).lag(),
            topic.subscribe(Start::Last(2)).lag(),
            "{policy:?}",
        );
        drop(topic);
        assert!(dir.notices().is_empty());
    }
}

#[test]
fn a_journal_is_open_only_once() {
    let dir = Dir::new();
    let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the journal in {} is in use; end the process that has it open, or choose another \
             directory",
            dir.path.display()
        )
    );
    assert!(matches!(refused, JournalError::InUse(_)));
    // A subscription keeps the topic, and so the journal, open.
    let subscription = topic.subscribe(Start::Live);
    drop(topic);
    assert!(Topic::open(Retention::default(), &dir.journal()).is_err());
    drop(subscription);
    Topic::open(Retention::default(), &dir.journal()).unwrap();
}

#[test]
fn a_panic_of_the_callback_is_caught() {
    let dir = Dir::new();
    let open = || {
        let journal = dir.journal().on_notice(|notice| panic!("notice: {notice}"));
        Topic::open(Retention::default(), &journal).unwrap()
    };
    publish(&open(), 0..5);
    let path = dir.segments().pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend(b":torn");
    fs::write(&path, &bytes).unwrap();
    let topic = open();
    publish(&topic, 5..6);
    assert!(topic.flush());
    assert_eq!(retained(&topic), "0 1 2 3 4 5");
}

#[test]
fn damaged_files_are_reported() {
    let dir = Dir::new();
    let open = || Topic::open(Retention::default(), &dir.journal()).unwrap();
    publish(&open(), 0..5);
    let path = dir.segments().pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let third = bytes
        .windows(7)
        .position(|part| part == b"data: 2")
        .unwrap();
    bytes[third + 6] = b'!';
    bytes.extend(b":torn");
    fs::write(&path, &bytes).unwrap();

    let topic = open();
    assert_eq!(retained(&topic), "0 1 3 4");
    publish(&topic, 5..6);
    drop(topic);
    let name = path.display();
    let whole = bytes.len() - 5;
    let [damaged, torn] = dir.notices().try_into().unwrap();
    assert!(damaged.starts_with(&format!("{name}: ")), "{damaged}");
    assert!(
        damaged.ends_with(" are damaged; the events in them are lost"),
        "{damaged}"
    );
    assert_eq!(
        torn,
        format!(
            "{name}: the last 5 bytes, from byte {whole}, are not a complete event and were removed"
        )
    );
    assert_eq!(
        retained(&open()),
        "0 1 3 4 5",
        "new events follow the last complete one"
    );
    assert_eq!(dir.notices(), [damaged], "removed bytes are reported once");

    fs::write(&path, ":sse-journal 2 7-0\n\n").unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("{name} has a newer format; open the journal with the version that wrote it")
    );
    fs::remove_dir_all(&dir.path).unwrap();
    fs::write(&dir.path, "a file").unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "can't create {}: File exists (os error 17)",
            dir.path.display()
        )
    );
    fs::remove_file(&dir.path).unwrap();
}

#[test]
fn an_event_larger_than_every_limit_is_stored() {
    let dir = Dir::new();
    let journal = dir.journal().bytes(1000);
    let long = "x".repeat(3 << 20);
    let topic = Topic::open(Retention::default().bytes(1), &journal).unwrap();
    for _ in 0..2 {
        topic.publish(&Event::new().data(&long)).unwrap();
        assert!(topic.flush());
    }
    drop(topic);
    let topic = Topic::open(Retention::default().bytes(1), &journal).unwrap();
    assert_eq!(retained(&topic), long);
    assert_eq!(dir.segments().len(), 1);
    assert!(dir.notices().is_empty());
}

#[test]
fn old_segments_are_deleted() {
    let dir = Dir::new();
    let journal = dir.journal().bytes(100_000);
    let topic = Topic::open(Retention::events(10), &journal).unwrap();
    let data = "x".repeat(1000);
    for number in 0..1000 {
        topic.publish(&Event::new().id(number).data(&data)).unwrap();
        if number % 8 == 0 {
            assert!(topic.flush());
            let on_disk: u64 = dir
                .segments()
                .iter()
                .map(|path| path.metadata().unwrap().len())
                .sum();
            let state = topic.journal_state().unwrap();
            assert_eq!(
                (state.bytes, state.segments),
                (on_disk, dir.segments().len())
            );
            assert!(
                on_disk <= 100_000 && state.is_keeping && state.unwritten == 0,
                "{state:?}"
            );
        }
    }
    drop(topic);
    let all: Vec<u8> = dir
        .segments()
        .iter()
        .flat_map(|path| fs::read(path).unwrap())
        .collect();
    let ids = ids(&all);
    assert!(
        ids.len() > 70,
        "most of the allowed bytes are used: {}",
        ids.len()
    );
    assert!(
        ids.iter().rev().eq((0..1000)
            .rev()
            .map(|id: i32| id.to_string())
            .collect::<Vec<_>>()[..ids.len()]
            .iter())
    );
    // A topic with a larger retention restores as much as there is.
    let topic = Topic::open(without_backlog(50), &journal).unwrap();
    assert_eq!(
        topic.subscribe(Start::Earliest).lag(),
        topic.subscribe(Start::Last(50)).lag()
    );
    assert!(matches!(
        topic.resume(Some(&EventId::from(949))),
        Resume::Resumed
    ));
    assert!(matches!(
        topic.resume(Some(&EventId::from(948))),
        Resume::Unknown
    ));
}

#[test]
fn concurrent_publishers_each_get_their_event_stored() {
    let dir = Dir::new();
    let journal = dir.journal().sync(SyncPolicy::EveryEvent);
    let topic = Topic::open(Retention::default(), &journal).unwrap();
    thread::scope(|scope| {
        for publisher in 0..8 {
            let topic = &topic;
            let path = &dir.path;
            scope.spawn(move || {
                for number in 0..20 {
                    let id = 100 * publisher + number;
                    assert!(topic.publish(&Event::new().id(id)).unwrap().is_stored());
                    let segment = segments(path).pop().unwrap();
                    let on_disk = fs::read_to_string(segment).unwrap();
                    assert!(on_disk.contains(&format!("\nid: {id}\n\n")));
                }
            });
        }
    });
    topic.finish(None).unwrap();
    let late = topic.publish(&Event::new());
    assert_eq!(late.unwrap_err(), PublishError::Finished);
    drop(topic);
    let topic = Topic::open(Retention::default(), &journal).unwrap();
    assert_eq!(ids(&retained_bytes(&topic)).len(), 160);
}

#[test]
fn publishers_own_ids_are_the_same_after_a_restart() {
    let dir = Dir::new();
    let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
    for event in [
        Event::new()
            .id(EventId::from_static(""))
            .data("the empty ID resets"),
        Event::new()
            .id(EventId::from_static("x y"))
            .data("a space within it"),
        Event::new()
            .comment("first")
            .id(EventId::from_static("commented"))
            .data("a comment before it"),
        Event::new().comment("alone"),
        Event::new().id(EventId::from_static("twice")).data("once"),
        Event::new().id(EventId::from_static("twice")).data("again"),
        Event::new()
            .id(EventId::from_static("7-3"))
            .data("like an ID of the log"),
        Event::new()
            .id(EventId::from_static("99999999999999-0"))
            .data("like a future ID of the log"),
    ] {
        topic.publish(&event).unwrap();
    }
    let resume = |topic: &Topic, id: &'static str| {
        let subscription = topic.subscribe_after(EventId::new(id).unwrap(), Start::Live);
        (
            subscription.lag(),
            format!("{:?}", topic.resume(EventId::new(id).ok().as_ref())),
        )
    };
    let ids = [
        "",
        "x y",
        "commented",
        "twice",
        "7-3",
        "99999999999999-0",
        "unknown",
        "7-4",
    ];
    assert!(topic.flush());
    let before = (retained_bytes(&topic), ids.map(|id| resume(&topic, id)));
    drop(topic);
    let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
    assert_eq!(
        (retained_bytes(&topic), ids.map(|id| resume(&topic, id))),
        before
    );
    assert!(dir.notices().is_empty());
}

#[test]
fn other_files_are_ignored() {
    let dir = Dir::new();
    let open = || Topic::open(Retention::default(), &dir.journal()).unwrap();
    publish(&open(), 0..3);
    let name = |millis: u64, end: &str| format!("{millis:020}-{:020}{end}", 0);
    let names = [
        "note.sse".to_owned(),
        name(5, ".txt"),
        name(5, "-0.sse"),
        name(5, "-01.sse"),
        "5-0.sse".into(),
    ];
    for name in &names {
        fs::write(dir.path.join(name), "not ours").unwrap();
    }
    fs::create_dir(dir.path.join(name(5, ".sse"))).unwrap();
    fs::create_dir(dir.path.join(name(u64::from(u32::MAX) << 16, ".sse"))).unwrap();
    let topic = open();
    assert_eq!(retained(&topic), "0 1 2");
    assert_eq!(topic.journal_state().unwrap().segments, 1);
    publish(&topic, 3..4);
    drop(topic);
    assert_eq!(retained(&open()), "0 1 2 3");
    assert!(dir.notices().is_empty());
    for name in names {
        assert_eq!(fs::read_to_string(dir.path.join(name)).unwrap(), "not ours");
    }
}

/// After the clock was set back, new IDs continue from the latest time before.
#[test]
fn a_journal_from_the_future_continues() {
    let dir = Dir::new();
    publish(
        &Topic::open(Retention::default(), &dir.journal()).unwrap(),
        0..3,
    );
    let path = dir.segments().pop().unwrap();
    let mut log = sse_core::Log::new(Retention::default());
    let future = Duration::from_secs(1 << 33);
    let mut bytes = Vec::new();
    log.append(&Event::new().data("ahead"), future);
    let ahead = log.slice(log.begin()..log.tip()).unwrap();
    sse_core::Segment::append(&ahead.unwrap(), &mut bytes);
    fs::write(&path, [fs::read(&path).unwrap(), bytes].concat()).unwrap();
    for (numbers, expected) in [(3..5, "0 1 2 ahead 3 4"), (5..6, "0 1 2 ahead 3 4 5")] {
        let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
        publish(&topic, numbers);
        assert_eq!(retained(&topic), expected);
        let ids = ids(&retained_bytes(&topic));
        assert_eq!(
            ids[3..6],
            [0, 1, 2].map(|number| format!("{}-{number}", future.as_millis()))
        );
    }
    assert!(dir.notices().is_empty());
}

/// On a file system of 512 KiB that is filled and then freed.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_and_retained_events_are_stored_later() {
    for (policy, retention, is_stored_later) in [
        (SyncPolicy::Never, 1000, true),
        (SyncPolicy::Interval(Duration::ZERO), 1000, true),
        (SyncPolicy::EveryEvent, 1000, true),
        (SyncPolicy::Never, 3, false),
        (SyncPolicy::EveryEvent, 3, false),
    ] {
        let dir = Dir::new();
        fs::create_dir_all(&dir.path).unwrap();
        let Some(_disk) = Disk::mount(&dir.path) else {
            eprintln!("skipped: mounting a file system is not permitted");
            return;
        };
        let wait_for_notice = |text: &str| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !dir
                .notices
                .lock()
                .unwrap()
                .iter()
                .any(|notice| notice.contains(text))
            {
                assert!(Instant::now() < deadline, "{text:?} is not reported");
                thread::sleep(Duration::from_millis(1));
            }
        };
        let journal = dir.journal().sync(policy);
        let topic = Topic::open(without_backlog(retention), &journal).unwrap();
        publish(&topic, 0..1);

        let ballast = dir.path.join("ballast");
        let _ = fs::write(&ballast, vec![0; 1 << 20]); // Fills the disk.
        let mut subscription = topic.subscribe(Start::Live);
        let data = "x".repeat(5000);
        for id in 1..10_u32 {
            let published = topic.publish(&Event::new().id(id).data(&data)).unwrap();
            assert_eq!(published.is_stored(), policy != SyncPolicy::EveryEvent);
        }
        wait_for_notice(
            "No space left on device (os error 28); events are delivered but not stored until",
        );
        let state = topic.journal_state().unwrap();
        assert!(!state.is_keeping && state.unwritten > 9 * 5000, "{state:?}");
        assert!(!topic.flush());
        let published = topic.publish(&Event::new().id(10).data("")).unwrap();
        assert_eq!(published.is_stored(), policy != SyncPolicy::EveryEvent);
        let mut delivered = Vec::new();
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        while subscription.poll_read(cx, &mut delivered).is_ready() {}
        assert_eq!(ids(&delivered).last().unwrap(), "10", "delivery continues");

        fs::remove_file(&ballast).unwrap();
        wait_for_notice("events are stored again");
        assert!(topic.flush() && topic.journal_state().unwrap().is_keeping);
        topic.publish(&Event::new().id(11)).unwrap();
        assert!(topic.flush());
        let id_before = ids(&retained_bytes(&topic));
        drop((topic, subscription));
        let notices = dir.notices();
        assert_eq!(
            notices.len(),
            if is_stored_later { 2 } else { 3 },
            "{notices:?}"
        );
        let missed = "bytes of events were evicted before they could be stored";
        assert_eq!(
            notices.iter().any(|notice| notice.contains(missed)),
            !is_stored_later
        );

        let topic = Topic::open(Retention::events(1000), &journal).unwrap();
        let ids = ids(&retained_bytes(&topic));
        if is_stored_later {
            assert_eq!(ids, id_before, "once and in order");
        } else {
            assert!(ids.len() < 8 && ids.ends_with(&["10".into(), "11".into()]));
        }
        assert!(dir.notices().is_empty());
    }
}

#[cfg(target_os = "linux")]
struct Disk(PathBuf);

#[cfg(target_os = "linux")]
impl Disk {
    fn mount(dir: &Path) -> Option<Self> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"])
            .arg(dir)
            .stderr(std::process::Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then(|| Self(dir.to_owned()))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}

fn publish(topic: &Topic, numbers: std::ops::Range<u32>) {
    for number in numbers {
        topic
            .publish(&Event::new().data(number.to_string()))
            .unwrap();
    }
    topic.flush();
}

/// Returns the bytes of the retained events.
fn retained_bytes(topic: &Topic) -> Vec<u8> {
    let mut bytes = Vec::new();
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    let _ = topic.subscribe(Start::Earliest).poll_read(cx, &mut bytes);
    bytes
}

/// Returns the data of the retained events.
fn retained(topic: &Topic) -> String {
    let text = String::from_utf8(retained_bytes(topic)).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.collect::<Vec<_>>().join(" ")
}

fn ids(bytes: &[u8]) -> Vec<String> {
    let text = str::from_utf8(bytes).unwrap();
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(str::to_owned).collect()
}

/// Returns the segment files of a directory, the oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    segments.sort();
    segments
}

/// A temporary directory, and the notices of its journals.
struct Dir {
    _dir: TempDir,
    path: PathBuf,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Dir {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        Self {
            path: dir.path().join("journal"),
            _dir: dir,
            notices: Arc::default(),
        }
    }

    fn journal(&self) -> Journal {
        let notices = Arc::clone(&self.notices);
        Journal::new(&self.path)
            .on_notice(move |notice| notices.lock().unwrap().push(notice.to_string()))
    }

    fn notices(&self) -> Vec<String> {
        std::mem::take(&mut self.notices.lock().unwrap())
    }

    fn segments(&self) -> Vec<PathBuf> {
        segments(&self.path)
    }
}

fn without_backlog(events: usize) -> Retention {
    Retention::events(events).backlog(Duration::ZERO, 0)
}
