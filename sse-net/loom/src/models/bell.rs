use std::time::Duration;

use loom::thread;

use crate::bell::{Bell, Urgency};
use crate::sync::{Arc, Mutex, lock};

/// A writer that looks for events, and publishers that append them and ring.
fn write(publishers: u32, armed: Urgency, rung: Urgency) {
    let shared = Arc::new((Bell::default(), Mutex::new(0)));
    let publishing = Vec::from_iter((0..publishers).map(|_| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            *lock(&shared.1) += 1;
            shared.0.ring(rung);
        })
    }));
    let (bell, events) = &*shared;
    let mut written = 0;
    while written < publishers {
        bell.arm(armed);
        let last = *lock(events);
        if last > written {
            bell.disarm();
            written = last;
        } else {
            bell.wait(Duration::ZERO); // It never times out here.
        }
    }
    for publisher in publishing {
        publisher.join().unwrap();
    }
}

pub(super) fn ring() {
    write(1, Urgency::Usual, Urgency::Usual);
}

pub(super) fn ring_twice() {
    write(2, Urgency::Usual, Urgency::High);
}

pub(super) fn ring_urgently() {
    write(1, Urgency::High, Urgency::High);
}
