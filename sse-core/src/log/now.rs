//! The time as an argument.

use std::time::Duration;

/// The time at which a [`Log`](crate::Log) changes, read from two clocks.
///
/// IDs are made of the system's clock, which may be set. Ages are measured by a clock that
/// never is, so that a wrong date neither keeps events for years nor evicts them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The system's clock: the time since the Unix epoch.
    pub unix: Duration,
    /// A steady clock that began with the Unix time at some moment, such as the start of the
    /// process.
    pub steady: Duration,
}

impl From<Duration> for Now {
    /// Both clocks show the same time since the Unix epoch.
    fn from(unix: Duration) -> Self {
        Self { unix, steady: unix }
    }
}

/// The whole milliseconds of a time.
pub(crate) fn millis(time: Duration) -> u64 {
    time.as_secs()
        .saturating_mul(1000)
        .saturating_add(time.subsec_millis().into())
}
