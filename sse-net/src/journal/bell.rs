//! Wakes the writer.

use std::mem;
use std::time::Duration;

use crate::sync::{AtomicU64, Condvar, Mutex, Ordering, lock};

/// Wakes one thread that waits. Ringing costs a load while it does not wait.
///
/// The thread arms the bell, then looks once more whether there is something to do, and then
/// waits. What it looks at is behind a lock, so that either it sees what a caller has done before
/// ringing, or the caller sees that the bell is armed.
pub(crate) struct Bell {
    /// The least urgent ring that wakes the thread, or 0 while it does not wait.
    armed: AtomicU64,
    /// Whether the bell has rung since the thread last waited.
    has_rung: Mutex<bool>,
    rung: Condvar,
}

/// How urgent a ring is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// There is something to do.
    Usual = 1,
    /// A caller waits for the result.
    High = 2,
}

impl Default for Bell {
    fn default() -> Self {
        Self {
            armed: AtomicU64::new(0),
            has_rung: Mutex::new(false),
            rung: Condvar::new(),
        }
    }
}

impl Bell {
    pub(crate) fn ring(&self, urgency: Urgency) {
        let armed = self.armed.load(Ordering::Acquire);
        if armed != 0 && armed <= urgency as u64 {
            *lock(&self.has_rung) = true;
            self.rung.notify_one();
        }
    }

    /// Lets rings of this urgency, or a higher one, wake the thread.
    pub(crate) fn arm(&self, urgency: Urgency) {
        self.armed.store(urgency as u64, Ordering::Release);
    }

    pub(crate) fn disarm(&self) {
        self.armed.store(0, Ordering::Release);
    }

    /// Waits until the bell rings or the time is over; sometimes for less. Returns whether it
    /// has rung.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let mut has_rung = lock(&self.has_rung);
        if !*has_rung {
            let waited = self.rung.wait_timeout(has_rung, time);
            has_rung = waited.map_or_else(|poisoned| poisoned.into_inner().0, |waited| waited.0);
        }
        let rang = mem::take(&mut *has_rung);
        drop(has_rung);
        self.disarm();
        rang
    }
}
