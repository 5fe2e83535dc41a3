//! Time as an argument.

use std::time::Duration;

/// The current time of a [`Log`](crate::Log), read from two clocks.
///
/// IDs are made from the system's clock, which may be set. Ages are measured by a steady clock,
/// so that a wrong date neither keeps events for years nor evicts them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The time since the Unix epoch by the system's clock.
    pub unix: Duration,
    /// The time by a steady clock.
    ///
    /// It begins with the Unix time at some moment, such as the start of the process.
    pub steady: Duration,
}

impl From<Duration> for Now {
    /// Takes the same time since the Unix epoch for both clocks.
    fn from(unix: Duration) -> Self {
        Self { unix, steady: unix }
    }
}

/// Returns whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1000)
        .saturating_add(time.subsec_millis().into())
}
