//! A histogram that is counted by one thread and added up by another.

use std::time::Duration;

/// Upper bounds (seconds) for what takes microseconds to milliseconds.
pub const FINE: &[f64] =
    &[25e-6, 50e-6, 75e-6, 1e-4, 15e-5, 2e-4, 3e-4, 5e-4, 1e-3, 25e-4, 5e-3, 1e-2, 25e-3, 0.1, 1.0];

/// Upper bounds (seconds) for what takes milliseconds to a minute.
pub const COARSE: &[f64] =
    &[1e-3, 25e-4, 5e-3, 1e-2, 25e-3, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds (seconds) for what may take anything from a quarter of a millisecond to half a minute.
pub const SPREAD: &[f64] =
    &[25e-5, 5e-4, 1e-3, 25e-4, 5e-3, 1e-2, 25e-3, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

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

    /// What has been observed since `earlier`, which is this one as it was.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self.counts.iter().zip(&earlier.counts);
        let counts = counts.map(|(now, then)| now.saturating_sub(*then)).collect();
        Self { bounds: self.bounds, counts, sum: self.sum - earlier.sum }
    }

    /// The time (seconds) within which this share of the observations was, as well as the buckets tell:
    /// between two bounds the observations count as spread evenly. `None` without any.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (at, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let count = *count as f64;
            if at > 0 {
                lower = self.bounds[at - 1];
            }
            if below + count >= rank {
                let upper = self.bounds.get(at).copied().unwrap_or(lower);
                return Some(lower + (upper - lower) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
        }
        None
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
    fn quantiles_lie_between_the_bounds_that_hold_them() {
        let mut all = Histogram::new(SPREAD);
        assert_eq!(all.quantile(0.5), None);
        let before = all.clone();
        (0..99).for_each(|_| all.observe(Duration::from_millis(80)));
        all.observe(Duration::from_secs(3));
        let [median, last] = [0.5, 1.0].map(|share| all.since(&before).quantile(share).unwrap());
        assert!((0.05..0.1).contains(&median), "{median}");
        assert!((2.5..=5.0).contains(&last), "{last}");
        assert_eq!(all.since(&all).quantile(0.5), None);
        all.observe(Duration::from_mins(1));
        assert_eq!(all.quantile(1.0), Some(30.0), "past the last bound there is nothing to measure by");
    }

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
