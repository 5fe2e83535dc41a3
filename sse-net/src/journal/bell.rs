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
    /// Whether the bell has rung since the thread last waited.
    has_rung: Mutex<bool>,
    rung: Condvar,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            is_armed: AtomicBool::new(false),
            has_rung: Mutex::new(false),
            rung: Condvar::new(),
        }
    }
}

impl Bell {
    pub(crate) fn ring(&self) {
        if self.is_armed.load(Ordering::Acquire) {
            *lock(&self.has_rung) = true;
            self.rung.notify_one();
        }
    }

    pub(crate) fn arm(&self) {
        self.is_armed.store(true, Ordering::Release);
    }

    pub(crate) fn disarm(&self) {
        self.is_armed.store(false, Ordering::Release);
    }

    /// Waits until the bell rings or the time is over; sometimes for less.
    pub(crate) fn wait(&self, time: Duration) {
        let mut has_rung = lock(&self.has_rung);
        if !*has_rung {
            let waited = self.rung.wait_timeout(has_rung, time);
            has_rung = waited.map_or_else(|poisoned| poisoned.into_inner().0, |waited| waited.0);
        }
        *has_rung = false;
        drop(has_rung);
        self.disarm();
    }
}
