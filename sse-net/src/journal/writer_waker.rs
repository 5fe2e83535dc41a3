//! Wakes the writer.

use std::time::Duration;

use crate::sync::{AtomicU64, Condvar, Mutex, Ordering, lock};

/// Wakes the thread of a writer. Costs a load while that does not wait.
///
/// The thread arms this, then looks once more whether there is something to do, and then waits.
/// What it looks at is behind a lock, so that either it sees what a caller has done before waking
/// it, or the caller sees that this is armed.
#[derive(Default)]
pub(crate) struct WriterWaker {
    /// The least urgency that wakes the thread, or 0 while it does not wait. A caller that wakes it
    /// stores 0.
    armed: AtomicU64,
    lock: Mutex<()>,
    woken: Condvar,
}

/// How urgent the work of the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// There is something to do.
    Usual = 1,
    /// A caller waits for the result.
    High = 2,
}

impl WriterWaker {
    pub(crate) fn wake(&self, urgency: Urgency) {
        let armed = self.armed.load(Ordering::Acquire);
        if armed != 0 && armed <= urgency as u64 {
            let _locked = lock(&self.lock); // The thread waits, or has not looked at `armed` yet.
            self.disarm();
            self.woken.notify_one();
        }
    }

    /// Lets calls of this urgency, or a higher one, wake the thread.
    pub(crate) fn arm(&self, urgency: Urgency) {
        self.armed.store(urgency as u64, Ordering::Release);
    }

    pub(crate) fn disarm(&self) {
        self.armed.store(0, Ordering::Release);
    }

    /// Waits until the thread is woken or the time is over; sometimes for less. Returns whether it
    /// was woken.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let locked = lock(&self.lock);
        if self.armed.load(Ordering::Acquire) != 0 {
            drop(self.woken.wait_timeout(locked, time));
        }
        self.armed.swap(0, Ordering::AcqRel) == 0
    }
}
