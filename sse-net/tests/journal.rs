//! What a journal keeps, what of it comes back, and what it tells.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use sse_core::{Event, EventId, Resume, Retention};
use sse_net::{Journal, JournalError, PublishError, Start, SyncPolicy, Topic};

const POLICIES: [SyncPolicy; 4] = [
    SyncPolicy::Never,
    SyncPolicy::Interval(Duration::ZERO),
    SyncPolicy::Interval(Duration::from_secs(1)),
    SyncPolicy::EveryEvent,
];

#[test]
fn a_topic_goes_on_after_a_restart() {
    for policy in POLICIES {
        let dir = Dir::new();
        let journal = dir.journal().sync(policy);
        let topic = Topic::open(Retention::events(3), &journal).unwrap();
        assert_eq!(kept(&topic), "");
        publish(&topic, 0..5);
        let before = ids(&kept_bytes(&topic));
        drop(topic);

        let topic = Topic::open(Retention::events(3), &journal).unwrap();
        assert_eq!(kept(&topic), "2 3 4", "{policy:?}");
        assert_eq!(ids(&kept_bytes(&topic)), before);
        publish(&topic, 5..6);
        assert_eq!(kept(&topic), "3 4 5", "{policy:?}");
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
fn only_one_has_a_journal() {
    let dir = Dir::new();
    let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the journal in {} is in use; end the process that has it open, or take another \
             directory",
            dir.path.display()
        )
    );
    assert!(matches!(refused, JournalError::InUse(_)));
    // Whoever holds the topic holds the journal.
    let subscription = topic.subscribe(Start::Live);
    drop(topic);
    assert!(Topic::open(Retention::default(), &dir.journal()).is_err());
    drop(subscription);
    Topic::open(Retention::default(), &dir.journal()).unwrap();
}

#[test]
fn who_panics_when_told_ends_nothing() {
    let dir = Dir::new();
    let open = || {
        let journal = dir.journal().on_notice(|notice| panic!("told: {notice}"));
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
    assert_eq!(kept(&topic), "0 1 2 3 4 5");
}

#[test]
fn what_is_wrong_with_files_is_told() {
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
    assert_eq!(kept(&topic), "0 1 3 4");
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
            "{name}: the last 5 bytes, from byte {whole} on, are no whole event; they were cut off"
        )
    );
    assert_eq!(
        kept(&open()),
        "0 1 3 4 5",
        "it is written after the last whole one"
    );
    assert_eq!(dir.notices(), [damaged], "what was cut off is told once");

    fs::write(&path, ":sse-journal 2 7-0\n\n").unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("{name} is of a newer format; open the journal with the release that wrote it")
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
fn an_event_longer_than_all_bounds_is_kept() {
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
    assert_eq!(kept(&topic), long);
    assert_eq!(dir.segments().len(), 1);
    assert!(dir.notices().is_empty());
}

#[test]
fn old_segments_go() {
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
    assert!(ids.len() > 70, "about as many as fit: {}", ids.len());
    assert!(
        ids.iter().rev().eq((0..1000)
            .rev()
            .map(|id: i32| id.to_string())
            .collect::<Vec<_>>()[..ids.len()]
            .iter())
    );
    // With another retention as much comes back as there is.
    let topic = Topic::open(without_backlog(50), &journal).unwrap();
    assert_eq!(
        topic.subscribe(Start::Earliest).lag(),
        topic.subscribe(Start::Last(50)).lag()
    );
    assert!(matches!(
        topic.resume(Some(&EventId::from(949))),
        Resume::Resumed(_)
    ));
    assert!(matches!(
        topic.resume(Some(&EventId::from(948))),
        Resume::Unknown
    ));
}

#[test]
fn many_publish_at_once_and_each_is_promised_its_event() {
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
    assert_eq!(ids(&kept_bytes(&topic)).len(), 160);
}

#[test]
fn ids_of_publishers_are_the_same_after_a_restart() {
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
            .data("what looks like a stamp"),
        Event::new()
            .id(EventId::from_static("99999999999999-0"))
            .data("and like one to come"),
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
        "unheard of",
        "7-4",
    ];
    assert!(topic.flush());
    let before = (kept_bytes(&topic), ids.map(|id| resume(&topic, id)));
    drop(topic);
    let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
    assert_eq!(
        (kept_bytes(&topic), ids.map(|id| resume(&topic, id))),
        before
    );
    assert!(dir.notices().is_empty());
}

#[test]
fn what_is_no_segment_is_left_alone() {
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
    assert_eq!(kept(&topic), "0 1 2");
    assert_eq!(topic.journal_state().unwrap().segments, 1);
    publish(&topic, 3..4);
    drop(topic);
    assert_eq!(kept(&open()), "0 1 2 3");
    assert!(dir.notices().is_empty());
    for name in names {
        assert_eq!(fs::read_to_string(dir.path.join(name)).unwrap(), "not ours");
    }
}

/// As after the clock has been set back: what is to come counts as of the latest time before.
#[test]
fn a_journal_from_the_future_goes_on() {
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
        assert_eq!(kept(&topic), expected);
        let ids = ids(&kept_bytes(&topic));
        assert_eq!(
            ids[3..6],
            [0, 1, 2].map(|number| format!("{}-{number}", future.as_millis()))
        );
    }
    assert!(dir.notices().is_empty());
}

/// A file system of 512 KiB that fills up and has room again.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_what_the_topic_still_has_is_kept_later() {
    for (policy, retention, kept_later) in [
        (SyncPolicy::Never, 1000, true),
        (SyncPolicy::Interval(Duration::ZERO), 1000, true),
        (SyncPolicy::EveryEvent, 1000, true),
        (SyncPolicy::Never, 3, false),
        (SyncPolicy::EveryEvent, 3, false),
    ] {
        let dir = Dir::new();
        fs::create_dir_all(&dir.path).unwrap();
        let Some(_disk) = Disk::mount(&dir.path) else {
            eprintln!("skipped: this needs the right to mount a file system");
            return;
        };
        let is_told = |text: &str| {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !dir
                .notices
                .lock()
                .unwrap()
                .iter()
                .any(|told| told.contains(text))
            {
                assert!(Instant::now() < deadline, "{text:?} is not told");
                thread::sleep(Duration::from_millis(1));
            }
        };
        let journal = dir.journal().sync(policy);
        let topic = Topic::open(without_backlog(retention), &journal).unwrap();
        publish(&topic, 0..1);

        let ballast = dir.path.join("ballast");
        let _ = fs::write(&ballast, vec![0; 1 << 20]); // As much as there is room for.
        let mut subscription = topic.subscribe(Start::Live);
        let data = "x".repeat(5000);
        for id in 1..10_u32 {
            let published = topic.publish(&Event::new().id(id).data(&data)).unwrap();
            assert_eq!(published.is_stored(), policy != SyncPolicy::EveryEvent);
        }
        is_told("No space left on device (os error 28); events are delivered but not kept until");
        let state = topic.journal_state().unwrap();
        assert!(!state.is_keeping && state.unwritten > 9 * 5000, "{state:?}");
        assert!(!topic.flush());
        let published = topic.publish(&Event::new().id(10).data("")).unwrap();
        assert_eq!(published.is_stored(), policy != SyncPolicy::EveryEvent);
        let mut delivered = Vec::new();
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        while subscription.poll_read(cx, &mut delivered).is_ready() {}
        assert_eq!(ids(&delivered).last().unwrap(), "10", "it goes on live");

        fs::remove_file(&ballast).unwrap();
        is_told("events are kept again");
        assert!(topic.flush() && topic.journal_state().unwrap().is_keeping);
        topic.publish(&Event::new().id(11)).unwrap();
        assert!(topic.flush());
        let id_before = ids(&kept_bytes(&topic));
        drop((topic, subscription));
        let told = dir.notices();
        assert_eq!(told.len(), if kept_later { 2 } else { 3 }, "{told:?}");
        let missed = "bytes of events were forgotten before they could be kept";
        assert_eq!(told.iter().any(|told| told.contains(missed)), !kept_later);

        let topic = Topic::open(Retention::events(1000), &journal).unwrap();
        let ids = ids(&kept_bytes(&topic));
        match kept_later {
            true => assert_eq!(ids, id_before, "once and in order"),
            false => assert!(ids.len() < 8 && ids.ends_with(&["10".into(), "11".into()])),
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

fn kept_bytes(topic: &Topic) -> Vec<u8> {
    let mut bytes = Vec::new();
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    let _ = topic.subscribe(Start::Earliest).poll_read(cx, &mut bytes);
    bytes
}

/// The data of what is kept.
fn kept(topic: &Topic) -> String {
    let text = String::from_utf8(kept_bytes(topic)).unwrap();
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.collect::<Vec<_>>().join(" ")
}

fn ids(bytes: &[u8]) -> Vec<String> {
    let text = str::from_utf8(bytes).unwrap();
    let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
    ids.map(str::to_owned).collect()
}

/// The segments in a directory, the oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> = entries.filter(|path| path.extension().is_some()).collect();
    segments.sort();
    segments
}

/// A directory of a test's own, and what its journals have told.
struct Dir {
    path: PathBuf,
    notices: Arc<Mutex<Vec<String>>>,
}

impl Dir {
    fn new() -> Self {
        let number = fastrand::u64(..);
        Self {
            path: std::env::temp_dir().join(format!("sse-net-journal-{number:x}")),
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

impl Drop for Dir {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn without_backlog(events: usize) -> Retention {
    Retention::events(events).backlog(Duration::ZERO, 0)
}
