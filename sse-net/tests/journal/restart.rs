//! Topics that are opened again.

use std::time::Duration;
use std::{fs, thread};

use sse_core::{Event, EventId, Retention};
use sse_net::{JournalError, PublishError, Start, SyncPolicy, Topic};

use crate::harness::{Dir, retained, retained_bytes};
use crate::{ids, store};

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
        store(&topic, 0..5);
        let before = ids(&retained_bytes(&topic));
        drop(topic);

        let topic = Topic::open(Retention::events(3), &journal).unwrap();
        assert_eq!(retained(&topic), "2 3 4", "{policy:?}");
        assert_eq!(ids(&retained_bytes(&topic)), before);
        store(&topic, 5..6);
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
fn concurrent_publishers_each_get_their_event_stored() {
    let dir = Dir::new();
    let journal = dir.journal().sync(SyncPolicy::EveryEvent);
    let topic = Topic::open(Retention::default(), &journal).unwrap();
    thread::scope(|scope| {
        for publisher in 0..8 {
            let topic = &topic;
            let dir = &dir;
            scope.spawn(move || {
                for number in 0..20 {
                    let id = 100 * publisher + number;
                    assert!(topic.publish(&Event::new().id(id)).unwrap().is_stored());
                    let segment = dir.segments().pop().unwrap();
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

/// After the clock was set back, new IDs continue from the latest time before.
#[test]
fn a_journal_from_the_future_continues() {
    let dir = Dir::new();
    store(
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
        store(&topic, numbers);
        assert_eq!(retained(&topic), expected);
        let ids = ids(&retained_bytes(&topic));
        assert_eq!(
            ids[3..6],
            [0, 1, 2].map(|number| format!("{}-{number}", future.as_millis()))
        );
    }
    assert!(dir.notices().is_empty());
}
