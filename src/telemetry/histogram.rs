//! A histogram that is counted by one thread and added up by another.

use std::time::Duration;

/// Upper bounds (seconds) for what takes microseconds to milliseconds.
pub const FINE: &[f64] =
    &[25e-6, 50e-6, 75e-6, 1e-4, 15e-5, 2e-4, 3e-4, 5e-4, 1e-3, 25e-4, 5e-3, 1e-2, 25e-3, 0.1, 1.0];

/// Upper bounds (seconds) for what takes milliseconds to a minute.
pub const COARSE: &[f64] =
    &[1e-3, 25e-4, 5e-3, 1e-2, 25e-3, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Counts by upper bound.
#[derive(Debug, Clone)]
pub struct Histogram {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one; the last bucket is without bound.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    /// Counts one observation.
    pub fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        self.counts[bucket] += 1;
        self.sum += seconds;
    }

    /// Adds another one's counts; both must have the same bounds.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }

    /// Sum of the observations, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Count by upper bound, not cumulative; the last bound is the greatest number.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::MAX]).zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_land_under_their_bound() {
        let mut one = Histogram::new(FINE);
        one.observe(Duration::from_micros(25));
        one.observe(Duration::from_secs(9));
        let mut sum = Histogram::new(FINE);
        sum.add(&one);
        sum.add(&one);
        assert_eq!(sum.count(), 4);
        assert_eq!(sum.buckets().first(), Some(&(25e-6, 2)));
        assert_eq!(sum.buckets().last(), Some(&(f64::MAX, 2)));
        assert!((sum.sum() - 18.000_05).abs() < 1e-9);
    }
}
