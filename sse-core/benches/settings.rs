//! The settings of every run.

use std::time::Duration;

use criterion::Criterion;

/// Short runs: both sides of a ratio are measured within seconds, so that other load on the
/// machine affects both.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .nresamples(10_000)
}
