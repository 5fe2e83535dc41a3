//! Limits of the journal and of its topic.

use std::fs;

use sse_core::{Event, EventId, Resume, Retention};
use sse_net::{Start, Topic};

use crate::harness::{Dir, retained};
use crate::{ids, without_backlog};

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
