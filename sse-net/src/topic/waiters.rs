//! The wake-up protocol of a topic: subscribers that have caught up leave a waker under the
//! topic's lock, and a publisher takes all wakers under that lock and calls them after it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

use slab::Slab;
use tokio::runtime::Handle;

use crate::trace;

/// The wakers of subscribers that have caught up. A publisher takes all at once, at a cost that
/// does not depend on their number, and begins another round.
#[derive(Default)]
pub(crate) struct Waiters {
    round: u64,
    wakers: Slab<Waker>,
}

/// The place of a subscriber's waker.
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
    /// a lock: it may be the last reference to a task that owns a subscription.
    pub(crate) fn remove(&mut self, place: Option<Place>) -> Option<Waker> {
        let place = place.filter(|place| place.round == self.round)?;
        self.wakers.try_remove(place.key)
    }

    /// Takes all wakers, which the caller calls without a lock.
    pub(crate) fn take(&mut self, runtime: Option<&Handle>) -> Wakers {
        self.round += 1;
        let next = Slab::with_capacity(self.wakers.len());
        Wakers {
            wakers: mem::replace(&mut self.wakers, next),
            runtime: runtime.cloned(),
        }
    }
}

/// Wakers that are to be called. Dropping them calls those that are left.
#[derive(Default)]
pub(crate) struct Wakers {
    wakers: Slab<Waker>,
    runtime: Option<Handle>,
}

impl Wakers {
    /// The largest number of wakers that a publisher calls itself.
    pub(crate) const FEW: usize = 100;

    /// Calls the wakers, or spawns a task for that if they are many, since each takes the
    /// publisher some 0.1 µs.
    pub(crate) fn wake(mut self) {
        if self.wakers.len() > Self::FEW
            && let Some(runtime) = self.runtime.take()
        {
            runtime.spawn(async move { drop(self) });
        }
    }
}

impl Drop for Wakers {
    /// Calls the wakers also if the runtime drops the task, and if one of them panics.
    fn drop(&mut self) {
        for waker in self.wakers.drain() {
            if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
                trace::panicked("a subscriber's waker");
            }
        }
    }
}
