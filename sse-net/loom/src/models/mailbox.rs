//! Models of a shard's mailbox and its signals.

use std::future::poll_fn;
use std::task::{Poll, Waker};

use loom::future::block_on;
use loom::sync::Arc as Shared;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::mailbox::{Key, Mail, Mailbox, Signal};
use crate::sync::Arc;

pub(super) fn post() {
    let mailbox = Arc::new(Mailbox::default());
    let posters = [1, 2].map(|arrival| {
        let mailbox = Arc::clone(&mailbox);
        thread::spawn(move || mailbox.post(|mail| mail.arrivals.push_back(arrival)))
    });
    let mut arrived = 0;
    drive(&mailbox, |mail| {
        arrived += mail.arrivals.drain(..).sum::<usize>();
        arrived == 3
    });
    for poster in posters {
        poster.join().unwrap();
    }
}

pub(super) fn close() {
    let mailbox = Arc::new(Mailbox::default());
    let handle = thread::spawn({
        let mailbox = Arc::clone(&mailbox);
        move || {
            mailbox.post(|mail| mail.arrivals.push_back(1));
            mailbox.post(|mail| mail.is_closed = true);
        }
    });
    let mut arrived = 0;
    drive(&mailbox, |mail| {
        arrived += mail.arrivals.drain(..).count();
        mail.is_closed
    });
    assert_eq!(arrived, 1);
    handle.join().unwrap();
}

pub(super) fn raise() {
    let socket = Socket::new();
    let peer = thread::spawn({
        let socket = socket.clone();
        move || {
            socket.become_ready();
            socket.become_ready();
        }
    });
    socket.serve();
    peer.join().unwrap();
}

pub(super) fn raise_twice() {
    let socket = Socket::new();
    let peers = [(), ()].map(|()| {
        let socket = socket.clone();
        thread::spawn(move || socket.become_ready())
    });
    socket.serve();
    for peer in peers {
        peer.join().unwrap();
    }
}

/// A socket and its waker.
///
/// Its readiness is stored with relaxed ordering, so that only the waker orders memory.
#[derive(Clone)]
struct Socket {
    mailbox: Arc<Mailbox<usize>>,
    waker: Waker,
    ready: Shared<AtomicUsize>,
}

impl Socket {
    fn new() -> Self {
        let mailbox = Arc::default();
        Self {
            waker: Signal::waker(&mailbox, Key::Connection(1)),
            mailbox,
            ready: Shared::default(),
        }
    }

    fn become_ready(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
        self.waker.wake_by_ref();
    }

    /// Serves the socket until it has been ready twice.
    fn serve(&self) {
        drive(&self.mailbox, |mail| {
            mail.ready.drain(..).any(|signal| {
                assert_eq!(signal.lower(), Key::Connection(1));
                self.ready.load(Ordering::Relaxed) == 2
            })
        });
    }
}

/// Takes mail as the task of a shard does, until `is_over` returns `true`.
fn drive(mailbox: &Mailbox<usize>, mut is_over: impl FnMut(&mut Mail<usize>) -> bool) {
    let mut mail = Mail::default();
    block_on(poll_fn(|cx| {
        mailbox.take(cx, &mut mail);
        if is_over(&mut mail) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
}
