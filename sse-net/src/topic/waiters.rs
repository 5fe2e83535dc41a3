//! The wake-up protocol of a topic: subscribers that have caught up leave a waker under the
//! topic's lock, and a publisher takes all wakers under that lock and calls them after it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use slab::Slab;
use tokio::runtime::Handle;

use crate::trace;

/// The wakers of subscribers that have caught up. A publisher takes all at once, which begins
/// another round and costs the same however many there are.
#[derive(Default)]
pub(crate) struct Waiters {
    round: u64,
    wakers: Slab<Waker>,
}

/// Where a subscriber left its waker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    round: u64,
    key: usize,
}

impl Waiters {
    pub(crate) fn insert(&mut self, waker: Waker) -> Place {
        Place {
            round: self.round,
            key: self.wakers.insert(waker),
        }
    }

    /// Removes the waker at that place, unless its round is over. The caller drops it without
    /// a lock: it may be the last that a task hangs on, with a subscription.
    pub(crate) fn remove(&mut self, place: Option<Place>) -> Option<Waker> {
        let place = place.filter(|place| place.round == self.round)?;
        self.wakers.try_remove(place.key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.wakers.is_empty()
    }

    /// Takes all wakers, which the caller wakes without a lock.
    pub(crate) fn take(&mut self, runtime: Option<&Handle>) -> Wakers {
        self.round += 1;
        let next = Slab::with_capacity(self.wakers.len());
        Wakers {
            wakers: mem::replace(&mut self.wakers, next),
            runtime: runtime.cloned(),
        }
    }
}

/// The wakers to be called. Dropping them calls those that are left.
#[derive(Default)]
pub(crate) struct Wakers {
    wakers: Slab<Waker>,
    runtime: Option<Handle>,
}

impl Wakers {
    /// How many the publisher calls itself.
    pub(crate) const FEW: usize = 100;

    /// Calls the wakers, or lets a task do it where they are many: at some 0.1 µs each, they
    /// would hold the publisher up.
    pub(crate) fn wake(mut self) {
        if self.wakers.len() > Self::FEW
            && let Some(runtime) = self.runtime.take()
        {
            runtime.spawn(async move { drop(self) });
        }
    }
}

impl Drop for Wakers {
    /// Also when the runtime has ended and drops the task, and when a waker panics.
    fn drop(&mut self) {
        for waker in self.wakers.drain() {
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                trace::panicked("a subscriber's waker");
            }
        }
    }
}
