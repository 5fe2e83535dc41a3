//! The speed of a replay.

use std::time::Duration;

/// The speed of a replay, as a factor of the recorded one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace(f64);

impl Pace {
    /// The recorded speed.
    pub const RECORDED: Self = Self(1.0);

    /// Without any delay.
    pub const FASTEST: Self = Self(f64::INFINITY);

    /// Creates a pace of `factor` times the recorded speed; 0.5 is half as fast.
    ///
    /// Returns `None` unless `factor` is above zero.
    #[must_use]
    pub fn times(factor: f64) -> Option<Self> {
        (factor > 0.0).then_some(Self(factor))
    }

    /// Returns when an event with the recorded time `at` is due.
    ///
    /// Both are times since the beginning.
    #[must_use]
    pub fn due(self, at: Duration) -> Duration {
        match self {
            Self::RECORDED => at,
            Self(factor) => {
                Duration::try_from_secs_f64(at.as_secs_f64() / factor).unwrap_or(Duration::MAX)
            }
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::RECORDED
    }
}
