//! The clocks of topics.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sse_core::Now;

/// Returns the time of the system's clock, and of a clock that began with it and is never set.
pub(crate) fn now() -> Now {
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
