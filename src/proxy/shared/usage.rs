//! How many cells a replica should have at hand: as many as it used of late in a moment.

use std::time::{Duration, Instant};

/// What was used longer ago counts ever less.
const MEMORY: Duration = Duration::from_millis(100);
/// Cells are fetched for so long ahead.
const AHEAD: Duration = Duration::from_millis(40);
/// What was not used for so long is given back.
const IDLE: Duration = Duration::from_millis(100);

/// How much was used of late.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    per_second: f64,
    seen_at: Instant,
    used_at: Instant,
}

impl Usage {
    /// Nothing yet.
    pub fn new(now: Instant) -> Self {
        Self { per_second: 0.0, seen_at: now, used_at: now }
    }

    /// So many were used since it was last told.
    pub fn saw(&mut self, used: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.seen_at);
        if used > 0 {
            self.used_at = now;
        }
        let kept = (-passed.div_duration_f64(MEMORY)).exp();
        self.per_second = self.per_second * kept + used as f64 * share_of(passed, kept);
        self.seen_at = now;
    }

    /// How many to have at hand, at most `most`. None where they come so rarely that each is asked for by itself.
    pub fn ahead(&self, most: u32) -> u32 {
        let wanted = (self.per_second * AHEAD.as_secs_f64()).min(f64::from(most));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and `most`"
        )]
        let wanted = wanted as u32;
        wanted
    }

    /// Whether none was used for a while.
    pub fn is_idle(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used_at) >= IDLE
    }
}

/// What one that was used in `passed` adds to the rate by the second, of which `kept` is left of before.
fn share_of(passed: Duration, kept: f64) -> f64 {
    let seconds = passed.as_secs_f64();
    if seconds > 1e-6 { (1.0 - kept) / seconds } else { 1.0 / MEMORY.as_secs_f64() }
}

/// Most cells that one replica has at hand of a limit that lets in one each `period`, `burst` at once: a twentieth of a
/// second's worth, and an eighth of the burst. So over a minute a replica holds back, or spends late, less than 0.1 %.
pub fn most(period: Duration, burst: u32) -> u32 {
    let worth = Duration::from_millis(50).as_nanos() / period.as_nanos().max(1);
    u32::try_from(worth).unwrap_or(u32::MAX).min(burst / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(per_second: u32, steps: u32) -> (Usage, Instant) {
        let start = Instant::now();
        let mut usage = Usage::new(start);
        let mut now = start;
        for _ in 0..steps {
            now += Duration::from_millis(10);
            usage.saw(u64::from(per_second / 100), now);
        }
        (usage, now)
    }

    #[test]
    fn the_busier_the_more() {
        assert_eq!(steady(0, 100).0.ahead(1000), 0);
        assert!((38..=40).contains(&steady(1000, 100).0.ahead(1000)));
        assert_eq!(steady(1000, 100).0.ahead(7), 7);
    }

    #[test]
    fn who_comes_now_and_then_asks_for_each() {
        let start = Instant::now();
        let mut usage = Usage::new(start);
        for second in 1..10 {
            usage.saw(1, start + Duration::from_secs(second));
            assert_eq!(usage.ahead(1000), 0);
        }
    }

    #[test]
    fn what_is_over_is_soon_forgotten() {
        let (mut usage, now) = steady(10_000, 100);
        assert!(!usage.is_idle(now));
        for step in 1..=50 {
            usage.saw(0, now + Duration::from_millis(10) * step);
        }
        assert!(usage.is_idle(now + Duration::from_millis(100)));
        assert!(usage.ahead(1000) <= 2, "{usage:?}");
    }

    #[test]
    fn small_limits_are_exact() {
        assert_eq!(most(Duration::from_secs(10), 2), 0);
        assert_eq!(most(Duration::from_millis(100), 10), 0);
        assert_eq!(most(Duration::from_millis(10), 100), 5);
        assert_eq!(most(Duration::from_millis(1), 8), 1);
        assert_eq!(most(Duration::from_micros(100), 100_000), 500);
    }
}
