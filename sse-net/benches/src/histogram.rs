//! A histogram of latencies with an error of at most 3 %.

use std::time::Duration;

/// The number of occurrences of each latency.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 << BITS],
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    pub fn add(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    pub const fn count(&self) -> u64 {
        self.count
    }

    pub const fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// Returns the latency below which this share of all latencies lies.
    pub fn quantile(&self, share: f64) -> Duration {
        let rank = (self.count as f64 * share) as u64;
        let mut seen = 0;
        let at = self.counts.iter().position(|count| {
            seen += count;
            seen > rank
        });
        Duration::from_nanos(at.map_or(self.max, |at| self.max.min(top(at))))
    }
}

/// The number of leading bits that select a bucket.
const BITS: u32 = 5;

fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (nanos >> shift) as usize
}

/// Returns the end of a bucket.
fn top(bucket: usize) -> u64 {
    let shift = (bucket >> BITS).saturating_sub(1);
    ((bucket - (shift << BITS) + 1) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_close() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|nanos| histogram.add(nanos * 1000));
        for share in [0.01, 0.5, 0.99] {
            let exact = share * 1e8;
            let found = histogram.quantile(share).as_nanos() as f64;
            assert!((found / exact - 1.0).abs() < 0.04, "{share}: {found}");
        }
    }
}
