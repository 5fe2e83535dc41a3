//! Wakes the writer.

use std::time::Duration;

use crate::sync::{AtomicBool, Condvar, Mutex, Ordering, lock};

/// Wakes one thread that waits. Ringing costs a load while it does not wait.
///
/// The thread arms the bell, then looks once more whether there is something to do, and then
/// waits. What it looks at is behind a lock, so that either it sees what a caller has done before
/// ringing, or the caller sees that the bell is armed.
pub(crate) struct Bell {
    is_armed: AtomicBool,
    lock: Mutex<()>,
    rung: Condvar,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            is_armed: AtomicBool::new(false),
            lock: Mutex::new(()),
            rung: Condvar::new(),
        }
    }
}

impl Bell {
    pub(crate) fn ring(&self) {
        if self.is_armed.load(Ordering::Relaxed) && self.is_armed.swap(false, Ordering::Relaxed) {
            drop(lock(&self.lock));
            self.rung.notify_one();
        }
    }

    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn disarm(&self) {
        self.is_armed.store(false, Ordering::Relaxed);
    }

    /// Waits until the bell rings or the time is over; sometimes for less.
    pub(crate) fn wait(&self, time: Duration) {
        let guard = lock(&self.lock);
        if self.is_armed.load(Ordering::Relaxed) {
            drop(self.rung.wait_timeout(guard, time));
        }
        self.disarm();
    }
}
