//! Delays before attempts.

use std::time::Duration;

use super::settings::Settings;

/// The failures in a row, and the randomness of the delays after them.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            random: seed,
        }
    }

    /// Returns the delay after another failure.
    ///
    /// It is the reconnection time, doubled for each earlier failure, less up to a half.
    pub(super) fn delay(&mut self, reconnection_time: Duration, settings: &Settings) -> Duration {
        let base = reconnection_time.max(settings.min_delay);
        let doubled = base.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
        let delay = doubled.min(settings.max_delay);
        self.failures = self.failures.saturating_add(1);
        delay - self.part_of(delay / 2)
    }

    /// Returns the delay that the server asks for, plus up to a tenth.
    pub(super) fn delay_as_asked(&mut self, asked: Duration, settings: &Settings) -> Duration {
        let delay = asked.max(settings.min_delay).min(settings.max_retry_after);
        self.failures = self.failures.saturating_add(1);
        delay.saturating_add(self.part_of(delay / 10))
    }

    pub(super) const fn reset(&mut self) {
        self.failures = 0;
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns a random part of `time`.
    fn part_of(&mut self, time: Duration) -> Duration {
        let share = (self.next_random() >> 40) as f64 / f64::from(1 << 24);
        time.mul_f64(share)
    }

    /// SplitMix64, which turns any seed into numbers that look independent.
    const fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// More doublings of any delay exceed a day.
const MAX_DOUBLINGS: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_between_the_floor_and_the_cap() {
        let millis = Duration::from_millis;
        let settings = Settings {
            min_delay: millis(100),
            max_delay: millis(5000),
            ..Settings::new()
        };
        for (time, nominal) in [
            (0, [100, 200, 400, 800, 1600, 3200, 5000, 5000]),
            (1000, [1000, 2000, 4000, 5000, 5000, 5000, 5000, 5000]),
            (u64::MAX, [5000; 8]),
        ] {
            for seed in 0..1000 {
                let mut backoff = Backoff::new(seed);
                for nominal in nominal.map(millis) {
                    let delay = backoff.delay(millis(time), &settings);
                    assert!(delay > nominal / 2 && delay <= nominal, "{delay:?}");
                }
                backoff.reset();
                assert!(backoff.delay(millis(time), &settings) <= millis(nominal[0]));
            }
        }
    }

    #[test]
    fn a_delay_that_is_asked_for_is_exceeded_by_up_to_a_tenth() {
        let settings = Settings::new();
        for seed in 0..1000 {
            let delay = Backoff::new(seed).delay_as_asked(Duration::from_secs(10), &settings);
            assert!((10.0..11.0).contains(&delay.as_secs_f64()), "{delay:?}");
        }
        let day = Backoff::new(0).delay_as_asked(Duration::MAX, &settings);
        assert!(day < settings.max_retry_after.mul_f64(1.1));
    }
}
