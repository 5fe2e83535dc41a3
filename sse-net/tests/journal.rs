//! Journals on real files: what is stored, restored and reported.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sse_core::{Event, EventId, Resume, Retention};
use sse_net::{
    Hub, HubConfig, Journal, JournalError, PublishError, Published, Start, StreamToken,
    Subscription, SyncPolicy, Topic,
};
use tempfile::TempDir;

const POLICIES: [SyncPolicy; 4] = [
    SyncPolicy::Never,
    SyncPolicy::Interval(Duration::ZERO),
    SyncPolicy::Interval(Duration::from_millis(100)),
    SyncPolicy::EveryEvent,
];

#[tokio::test]
async fn a_topic_continues_after_a_restart() {
    for policy in POLICIES {
        let dir = Dir::new();
        let journal = dir.journal().sync(policy);
        let topic = Topic::open(without_backlog(3), &journal).unwrap();
        assert_eq!(retained(&topic), "");
        publish(&topic, 0..5).await;
        let before = ids(&topic);
        drop(topic);

        let topic = Topic::open(without_backlog(3), &journal).unwrap();
        assert_eq!(retained(&topic), "2 3 4", "{policy:?}");
        assert_eq!(ids(&topic), before);
        publish(&topic, 5..6).await;
        assert_eq!(retained(&topic), "3 4 5", "{policy:?}");
        let after_three = EventId::new(before[1].clone()).unwrap();
        assert_eq!(
            topic.subscribe_after(after_three, Start::Live).lag(),
            topic.subscribe(Start::Last(2)).lag(),
            "{policy:?}",
        );
        assert!(dir.notices().is_empty());
    }
}

/// Only the newest segments are read, unless they are damaged.
#[tokio::test]
async fn a_topic_that_retains_little_continues_after_much() {
    const COUNT: u32 = 30_000;
    let dir = Dir::new();
    let journal = |dir: &Dir| dir.journal().segment_bytes(256 << 10);
    let topic = Topic::open(Retention::events(COUNT as usize), &journal(&dir)).unwrap();
    for from in (0..COUNT).step_by(2000) {
        publish(&topic, from..from + 2000).await;
    }
    let all = ids(&topic);
    drop(topic);
    // The journal's thread notes the sync of the last event when it ends.
    let note = format!("synced {}", all[all.len() - 1]);
    wait_for(|| {
        let newest = segments(&dir.path).pop().unwrap();
        fs::read_to_string(newest).unwrap().contains(&note)
    })
    .await;
    let written = segments(&dir.path);
    assert!(written.len() > 4);
    for (damaged, retains, notices) in [
        (None, "29997 29998 29999", 0),
        (Some("data: 10\n"), "29997 29998 29999", 0),
        (Some("data: 29998\n"), "29999", 1),
    ] {
        let dir = Dir::new();
        fs::create_dir_all(&dir.path).unwrap();
        for path in &written {
            let mut bytes = fs::read(path).unwrap();
            let damaged = damaged.and_then(|text| {
                let mut parts = bytes.windows(text.len());
                parts.position(|part| part == text.as_bytes())
            });
            if let Some(at) = damaged {
                bytes[at] = b'D';
            }
            fs::write(dir.path.join(path.file_name().unwrap()), bytes).unwrap();
        }
        let topic = Topic::open(without_backlog(3), &journal(&dir)).unwrap();
        assert_eq!(retained(&topic), retains);
        let resume =
            |number: u32| topic.resume(Some(&EventId::new(all[number as usize].clone()).unwrap()));
        assert_eq!(resume(29_995), Resume::Gap);
        assert_eq!(resume(29_999), Resume::Resumed);
        assert_eq!(dir.notices().len(), notices);
    }
}

#[tokio::test]
async fn the_topics_of_a_hub_continue_after_a_restart() {
    for policy in POLICIES {
        let dir = Dir::new();
        let journal = dir.journal().sync(policy);
        let hub = Hub::open(HubConfig::default(), &journal).unwrap();
        let mut published = Vec::new();
        for number in 0..30 {
            let topic = hub.topic(format!("topic {}", number % 3)).unwrap();
            published.push(
                topic
                    .publish(&Event::new().data(number.to_string()))
                    .unwrap(),
            );
        }
        stored(published.last().unwrap()).await;
        let (seen, last) = (published[9].id().unwrap(), published[29].id());
        drop((hub, published));

        let hub = Hub::open(HubConfig::default(), &journal).unwrap();
        assert_eq!(hub.topics(), 3);
        let topic = hub.topic("topic 1").unwrap();
        assert_eq!(retained(&topic), "1 4 7 10 13 16 19 22 25 28");
        assert_eq!(
            topic.resume(Some(&seen.into())),
            Resume::Resumed,
            "{policy:?}"
        );
        let next = topic.publish(&Event::new().data("30")).unwrap();
        assert!(next.id() > last);
        assert_eq!(
            hub.topic("other").unwrap().resume(Some(&seen.into())),
            Resume::Resumed
        );
        assert!(dir.notices().is_empty());
    }
}

#[tokio::test]
async fn the_change_of_a_stream_s_topics_is_known_after_a_restart() {
    for policy in POLICIES {
        let dir = Dir::new();
        let journal = dir.journal().sync(policy);
        let hub = Hub::open(HubConfig::default(), &journal).unwrap();
        let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
        let published = b.publish(&Event::new().data("b1")).unwrap();
        stored(&published).await;
        let token = StreamToken::random();
        let mut stream = Subscription::with_token(token.clone(), [&a], None, Start::Live).unwrap();
        let set = hub.stream_topics(&token).unwrap();
        set.add([&b], Start::Earliest).unwrap();
        let mut text = Vec::new();
        while !text.ends_with(b"data: {\"topics\":[\"a\",\"b\"]}\n\n") {
            stream.read(&mut text).await.unwrap();
        }
        // The client gets the change once the mark has moved.
        let text = String::from_utf8(text).unwrap();
        let mut ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        let change = EventId::new(ids.next_back().unwrap().to_owned()).unwrap();
        // A stream without topics is woken, too.
        set.remove(["a", "b"]);
        let mut end = Vec::new();
        stream.read(&mut end).await.unwrap();
        assert!(
            String::from_utf8(end)
                .unwrap()
                .ends_with("{\"topics\":[]}\n\n")
        );
        hub.sync().await.unwrap();
        drop((hub, a, b, set, stream, published));

        let hub = Hub::open(HubConfig::default(), &journal).unwrap();
        let [a, b] = ["a", "b"].map(|name| hub.topic(name).unwrap());
        let back = Subscription::to([&a, &b], change, Start::Live).unwrap();
        assert_eq!(
            (back.resume(), back.lag()),
            (Resume::Resumed, 0),
            "{policy:?}"
        );
        assert!(hub.stream_topics(&token).is_none());
    }
}

#[tokio::test]
async fn a_journal_is_open_only_once() {
    let dir = Dir::new();
    let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "the journal in {} is in use; end the process that has it open, or choose another \
             folder",
            dir.path.display()
        )
    );
    // Deleting the lock file lets nobody in.
    fs::remove_file(dir.path.join("lock")).unwrap();
    let refused = Topic::open(Retention::default(), &dir.journal()).unwrap_err();
    assert!(matches!(refused, JournalError::InUse(_)));
    // A subscription keeps the topic, and so the journal, open.
    let subscription = topic.subscribe(Start::Live);
    drop(topic);
    assert!(Topic::open(Retention::default(), &dir.journal()).is_err());
    drop(subscription);
    Topic::open(Retention::default(), &dir.journal()).unwrap();
}

/// It opens a journal again that another process has open.
#[test]
fn another_process_stays_out() {
    const DIR: &str = "SSE_JOURNAL_OPEN";
    if let Some(dir) = std::env::var_os(DIR) {
        let refused = Hub::open(HubConfig::default(), &Journal::new(dir)).unwrap_err();
        assert!(matches!(refused, JournalError::InUse(_)));
        return;
    }
    let dir = Dir::new();
    let _hub = Hub::open(HubConfig::default(), &dir.journal()).unwrap();
    // Without the lock file, too.
    for _ in 0..2 {
        let other = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "another_process_stays_out"])
            .env(DIR, &dir.path)
            .output()
            .unwrap();
        assert!(other.status.success(), "{other:?}");
        let _ = fs::remove_file(dir.path.join("lock"));
    }
}

#[tokio::test]
async fn stored_events_are_in_the_files() {
    let dir = Dir::new();
    let journal = dir.journal().sync(SyncPolicy::EveryEvent);
    let topic = Topic::open(Retention::default(), &journal).unwrap();
    let publishers = (0..8).map(|publisher| {
        let (topic, path) = (topic.clone(), dir.path.clone());
        tokio::spawn(async move {
            for number in 0..20 {
                let id = 100 * publisher + number;
                stored(&topic.publish(&Event::new().id(id)).unwrap()).await;
                let on_disk = fs::read_to_string(segments(&path).pop().unwrap()).unwrap();
                assert!(on_disk.contains(&format!("\nid: {id}\n\n")));
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    topic.finish(None).unwrap();
    let late = topic.publish(&Event::new());
    assert_eq!(late.unwrap_err(), PublishError::Finished);
    drop(topic);
    let topic = Topic::open(Retention::default(), &journal).unwrap();
    assert_eq!(ids(&topic).len(), 160);
}

#[tokio::test]
async fn an_event_larger_than_every_limit_is_stored() {
    let dir = Dir::new();
    let journal = dir.journal().segment_bytes(1000);
    let long = "x".repeat(3 << 20);
    let config = without_backlog(1).bytes(1);
    let topic = Topic::open(config, &journal).unwrap();
    for _ in 0..2 {
        topic.publish(&Event::new().data(&long)).unwrap();
        topic.sync().await.unwrap();
    }
    drop(topic);
    let topic = Topic::open(config, &journal).unwrap();
    assert_eq!(retained(&topic), long);
    assert!(dir.notices().is_empty());
}

#[tokio::test]
async fn publishers_own_ids_are_the_same_after_a_restart() {
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
    topic.sync().await.unwrap();
    let resume = |topic: &Topic, id: &'static str| {
        let id = EventId::from_static(id);
        let lag = topic.subscribe_after(id.clone(), Start::Live).lag();
        (lag, topic.resume(Some(&id)))
    };
    let own = [
        "",
        "x y",
        "commented",
        "twice",
        "7-3",
        "99999999999999-0",
        "unknown",
        "7-4",
    ];
    let before = (bytes(&topic), own.map(|id| resume(&topic, id)));
    drop(topic);
    let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
    assert_eq!((bytes(&topic), own.map(|id| resume(&topic, id))), before);
    assert!(dir.notices().is_empty());
}

#[tokio::test]
async fn a_removed_folder_is_noticed_and_written_again() {
    for is_replaced in [false, true] {
        let dir = Dir::new();
        let hub = Hub::open(HubConfig::default(), &dir.journal()).unwrap();
        let topic = hub.topic("orders").unwrap();
        publish(&topic, 0..5).await;
        fs::remove_dir_all(&dir.path).unwrap();
        if is_replaced {
            fs::create_dir(&dir.path).unwrap();
        }
        wait_for(|| !hub.journal_state().unwrap().is_storing).await;
        assert!(matches!(hub.sync().await, Err(JournalError::Failed(_))));
        wait_for(|| hub.journal_state().unwrap().is_storing).await;
        publish(&topic, 5..6).await;
        let refused = Hub::open(HubConfig::default(), &dir.journal()).unwrap_err();
        assert!(matches!(refused, JournalError::InUse(_)));
        drop((hub, topic));
        let hub = Hub::open(HubConfig::default(), &dir.journal()).unwrap();
        assert_eq!(retained(&hub.topic("orders").unwrap()), "0 1 2 3 4 5");
        let notices = dir.notices();
        assert_eq!(notices.len(), 2, "{notices:?}");
    }
}

#[tokio::test]
async fn without_a_journal_nothing_is_stored() {
    let hub = Hub::new(HubConfig::default());
    assert_eq!(hub.journal_state(), None);
    let error = hub.sync().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no journal; open the hub or the topic with one"
    );
    let published = hub
        .topic("a")
        .unwrap()
        .publish(&Event::new().data(""))
        .unwrap();
    let error = published.stored().await.unwrap_err();
    assert!(!error.may_be_stored());
    assert_eq!(
        error.to_string(),
        "there is no journal and no engine; open the hub or the topic with a journal, or connect \
         the hub to an engine"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_thousand_topics_cost_two_threads_and_few_descriptors() {
    let count = |what: &str| fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let dir = Dir::new();
    let (threads, files) = (count("task"), count("fd"));
    let hub = Hub::open(HubConfig::default(), &dir.journal()).unwrap();
    let mut topics = Vec::new();
    for number in 0..1000 {
        let topic = hub.topic(format!("inbox/{number}")).unwrap();
        topic.publish(&Event::new().data("hey")).unwrap();
        topics.push(topic);
    }
    hub.sync().await.unwrap();
    // Other tests of this process come and go.
    assert!(count("task") < threads + 100);
    assert!(count("fd") < files + 100);
}

/// On a file system of 512 KiB that is filled and then freed.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_full_disk_is_reported_and_retained_events_are_stored_later() {
    for policy in POLICIES {
        let dir = Dir::new();
        fs::create_dir_all(&dir.path).unwrap();
        let Some(_disk) = Disk::mount(&dir.path) else {
            eprintln!("skipped: mounting a file system is not permitted");
            return;
        };
        let topic = Topic::open(Retention::default(), &dir.journal().sync(policy)).unwrap();
        publish(&topic, 0..1).await;
        let ballast = dir.path.join("ballast");
        let _ = fs::write(&ballast, vec![0; 1 << 20]); // Fills the disk.
        let data = "x".repeat(5000);
        let mut last = None;
        for _ in 1..10 {
            last = Some(topic.publish(&Event::new().data(&data)).unwrap());
        }
        let error = last.unwrap().stored().await.unwrap_err();
        assert!(error.may_be_stored());
        let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref());
        assert!(matches!(source, Some(JournalError::Failed(_))));
        assert!(!topic.journal_state().unwrap().is_storing);
        wait_for(|| ids(&topic).len() == 10).await;

        fs::remove_file(&ballast).unwrap();
        wait_for(|| topic.journal_state().unwrap().is_storing).await;
        publish(&topic, 1..2).await;
        let before = bytes(&topic);
        drop(topic);
        let notices = dir.notices();
        assert!(
            notices[0].contains("No space left on device (os error 28)"),
            "{notices:?}"
        );
        assert_eq!(notices[1..], ["events are stored again"]);
        let topic = Topic::open(Retention::default(), &dir.journal()).unwrap();
        assert_eq!(bytes(&topic), before, "once and in order");
        drop(topic);
        wait_for(|| Topic::open(Retention::default(), &dir.journal()).is_ok()).await;
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

async fn publish(topic: &Topic, numbers: std::ops::Range<u32>) {
    for number in numbers {
        topic
            .publish(&Event::new().data(number.to_string()))
            .unwrap();
    }
    topic.sync().await.unwrap();
}

async fn stored(published: &Published) {
    published.stored().await.unwrap();
}

async fn wait_for(mut is_done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_done() {
        assert!(Instant::now() < deadline, "it takes too long");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Returns the bytes of the retained events.
fn bytes(topic: &Topic) -> String {
    let mut bytes = Vec::new();
    let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
    let mut subscription = topic.subscribe(Start::Earliest);
    while subscription.poll_read(cx, &mut bytes).is_ready() {}
    String::from_utf8(bytes).unwrap()
}

/// Returns the data of the retained events.
fn retained(topic: &Topic) -> String {
    lines(topic, "data: ").join(" ")
}

fn ids(topic: &Topic) -> Vec<String> {
    lines(topic, "id: ")
}

fn lines(topic: &Topic, prefix: &str) -> Vec<String> {
    let text = bytes(topic);
    let lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    lines.map(str::to_owned).collect()
}

/// Returns the segment files of a directory, the oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "sse");
    let mut segments: Vec<_> = entries.filter(is_segment).collect();
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
            path: dir.path().join("new").join("journal"),
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
}

fn without_backlog(events: usize) -> Retention {
    Retention::events(events).backlog(Duration::ZERO, 0)
}
