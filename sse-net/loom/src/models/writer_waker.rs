use std::time::Duration;

use loom::thread;

use crate::sync::{Arc, Mutex, lock};
use crate::writer_waker::{Urgency, WriterWaker};

/// A writer that looks for events, and publishers that append them and wake it.
fn write(publishers: u32, armed: Urgency, woken: Urgency) {
    let shared = Arc::new((WriterWaker::default(), Mutex::new(0)));
    let publishing = Vec::from_iter((0..publishers).map(|_| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            *lock(&shared.1) += 1;
            shared.0.wake(woken);
        })
    }));
    let (waker, events) = &*shared;
    let mut written = 0;
    while written < publishers {
        waker.arm(armed);
        let last = *lock(events);
        if last > written {
            waker.disarm();
            written = last;
        } else {
            waker.wait(Duration::ZERO); // It never times out here.
        }
    }
    for publisher in publishing {
        publisher.join().unwrap();
    }
}

pub(super) fn wake() {
    write(1, Urgency::Usual, Urgency::Usual);
}

pub(super) fn wake_twice() {
    write(2, Urgency::Usual, Urgency::High);
}

pub(super) fn wake_urgently() {
    write(1, Urgency::High, Urgency::High);
}
