//! When events are written.

use std::time::Duration;

use super::disk::MemoryDisk;
use super::{NEVER, Process, journal};
use crate::journal::writer::{Next, PAUSE};
use crate::topic::Start;

/// Does what is due at this time, and returns whether everything has been written.
fn writes(process: &mut Process) -> bool {
    while process.step() == Next::Now {}
    let last = process.epochs().last().unwrap().last;
    process.hub.visible() == last
}

#[test]
fn events_wait_for_others_unless_somebody_waits_for_them() {
    let disk = MemoryDisk::default();
    let mut process = Process::start(&journal(&disk, NEVER));
    let topic = process.hub.topic("a").unwrap();
    process.settle();
    for is_followed in [false, true] {
        let follower = is_followed.then(|| topic.subscribe(Start::Live));
        process.advance(Duration::from_millis(10));
        process.publish("a", "0");
        assert!(writes(&mut process), "after a time without events");
        process.publish("a", "1");
        assert!(!writes(&mut process));
        process.advance(PAUSE);
        assert_eq!(writes(&mut process), is_followed);
        process.advance(Duration::from_millis(5));
        assert!(writes(&mut process));
        drop(follower);
    }
    process.publish("a", "2");
    let waiter = process.link.status.subscribe();
    process.advance(PAUSE);
    assert!(writes(&mut process), "somebody waits until it is stored");
    drop(waiter);
}
