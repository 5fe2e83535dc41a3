//! The clocks of topics.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sse_core::Now;

/// Returns the time of the system's clock, and of a clock that began with it and is never set.
pub(crate) fn now() -> Now {
    #[cfg(test)]
    if let Some(now) = simulated::now() {
        return now;
    }
    static START: LazyLock<(Instant, Duration)> = LazyLock::new(|| (Instant::now(), unix()));
    let (start, began) = *START;
    Now {
        unix: unix(),
        steady: began.saturating_add(start.elapsed()),
    }
}

fn unix() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// A clock and random numbers that a test controls, so that it can be repeated.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    use sse_core::Now;

    thread_local! {
        static NOW: Cell<Option<Now>> = const { Cell::new(None) };
        static EPOCH: Cell<u16> = const { Cell::new(0) };
    }

    /// Sets the time for this thread, with the number of the next epoch.
    pub(crate) fn begin(now: Now, epoch: u16) {
        set(now);
        EPOCH.set(epoch);
    }

    pub(crate) fn set(now: Now) {
        NOW.set(Some(now));
    }

    pub(in crate::topic) fn now() -> Option<Now> {
        NOW.get()
    }

    /// Returns the number of the next epoch, if the time is simulated.
    pub(in crate::topic) fn next_epoch() -> Option<u16> {
        now().map(|_| EPOCH.replace(EPOCH.get().wrapping_mul(25_173).wrapping_add(13_849)))
    }
}
