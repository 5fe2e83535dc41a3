//! The wake-up protocol of a topic.
//!
//! Subscribers that have caught up leave a waker under the topic's lock. A publisher takes all
//! wakers under that lock, and calls them after it.

use std::mem;
use std::task::Waker;

use slab::Slab;
use tokio::runtime::Handle;

use crate::unwind;

/// The wakers of subscribers that have caught up. A publisher takes all at once, at a cost that
/// does not depend on their number, and begins another round.
///
/// Most topics of a hub have one subscriber: its waker needs no memory of its own.
#[derive(Default)]
pub(crate) struct Waiters {
    round: u64,
    first: Option<Waker>,
    others: Slab<Waker>,
}

/// The place of a subscriber's waker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    round: u64,
    key: u32,
}

impl Place {
    /// A place in which no waker is.
    pub(crate) const NONE: Self = Self {
        round: u64::MAX,
        key: FIRST,
    };
}

impl Waiters {
    pub(crate) fn insert(&mut self, waker: Waker) -> Place {
        let key = if self.first.is_none() {
            self.first = Some(waker);
            FIRST
        } else {
            let key = self.others.insert(waker);
            u32::try_from(key).expect("a topic has fewer subscribers than that")
        };
        Place {
            round: self.round,
            key,
        }
    }

    /// Inserts the waker, unless one is at that place already.
    pub(crate) fn renew(&mut self, place: Place, waker: &Waker) -> Place {
        if place.round == self.round {
            place
        } else {
            self.insert(waker.clone())
        }
    }

    /// Inserts the waker, and removes the one at that place like [`remove`](Self::remove).
    pub(crate) fn replace(&mut self, place: Place, waker: Waker) -> (Place, Option<Waker>) {
        let replaced = self.remove(place);
        (self.insert(waker), replaced)
    }

    /// Removes the waker at that place, unless its round is over. The caller drops it without
    /// a lock: it may be the last reference to a task that owns a subscription.
    pub(crate) fn remove(&mut self, place: Place) -> Option<Waker> {
        if place.round != self.round {
            return None;
        }
        match place.key {
            FIRST => self.first.take(),
            key => self.others.try_remove(key as usize),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none() && self.others.is_empty()
    }

    /// Takes all wakers, which the caller calls without a lock.
    pub(crate) fn take(&mut self, runtime: Option<&Handle>) -> Wakers {
        if self.is_empty() {
            return Wakers::default();
        }
        self.round += 1;
        let next = Slab::with_capacity(self.others.len());
        Wakers {
            first: self.first.take(),
            runtime: runtime
                .filter(|_| self.others.len() >= Wakers::FEW)
                .cloned(),
            others: mem::replace(&mut self.others, next),
        }
    }
}

/// The key of the waker that is not among the others.
const FIRST: u32 = u32::MAX;

/// Wakers that are to be called. Dropping them calls those that are left.
#[derive(Default)]
pub(crate) struct Wakers {
    first: Option<Waker>,
    others: Slab<Waker>,
    /// Where the wakers are called if they are many.
    runtime: Option<Handle>,
}

impl Wakers {
    /// The largest number of wakers that a publisher calls itself.
    pub(crate) const FEW: usize = 100;

    /// Calls the wakers, or spawns a task for that if they are many, since each takes the
    /// publisher some 0.1 µs. Returns the number of those that panicked before this returns.
    pub(crate) fn wake(mut self) -> u64 {
        if let Some(runtime) = self.runtime.take() {
            runtime.spawn(async move { drop(self) });
            return 0;
        }
        self.call()
    }

    fn call(&mut self) -> u64 {
        let wake = |waker: Waker| {
            let woken = unwind::catch("a subscriber's waker", || waker.wake());
            u64::from(woken.is_err())
        };
        // Usually no subscriber waits, or one.
        let mut panics = self.first.take().map_or(0, wake);
        if !self.others.is_empty() {
            panics += self.others.drain().map(wake).sum::<u64>();
        }
        panics
    }
}

impl Drop for Wakers {
    /// Calls the wakers also if the runtime drops the task, and if one of them panics.
    fn drop(&mut self) {
        self.call();
    }
}
