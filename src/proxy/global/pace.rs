//! One rate for all, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::proxy::settings::Rate;

/// What is due to those who wait is not lost when it is handed out late by so much, as timers are.
pub const LATE: Duration = Duration::from_millis(50);

/// So long a window counts: 2^29 ns, half a second.
const WINDOW: u32 = 29;

/// GCRA: its whole state is when the burst will be whole again. Beside it, what it let in is counted: the line of
/// the cache that both are in is taken once for the two.
#[derive(Debug)]
pub struct Pace {
    whole_at: AtomicU64,
    /// The number of the window, and how many it has let in, each in half of the bits.
    window: AtomicU64,
    last_window: AtomicU64,
    period: u64,
    tolerance: u64,
    epoch: Instant,
}

impl Pace {
    /// As many as `rate` says, the burst at hand.
    pub fn new(rate: Rate) -> Self {
        let period = nanos(rate.per / rate.count.max(1)).max(1);
        Self {
            whole_at: AtomicU64::new(0),
            window: AtomicU64::new(0),
            last_window: AtomicU64::new(0),
            period,
            tolerance: period.saturating_mul(u64::from(rate.burst.max(1) - 1)),
            epoch: Instant::now(),
        }
    }

    /// Takes one, if there is one.
    pub fn take(&self, now: Instant) -> bool {
        let now = self.since(now);
        self.take_from(now, now)
    }

    /// Takes one that somebody has waited for since before there was one.
    pub fn take_due(&self, now: Instant) -> bool {
        let now = self.since(now);
        let latest = now.saturating_add(self.tolerance);
        self.take_from(now, latest.saturating_sub(nanos(LATE)).min(now))
    }

    fn take_from(&self, now: u64, earliest: u64) -> bool {
        let latest = now.saturating_add(self.tolerance);
        let next =
            |whole_at: u64| (whole_at <= latest).then(|| whole_at.max(earliest).saturating_add(self.period));
        let taken = self.whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok();
        if taken {
            self.count(now >> WINDOW);
        }
        taken
    }

    /// Gives back one that was taken and is not used.
    pub fn give_back(&self) {
        let earlier = |whole_at: u64| Some(whole_at.saturating_sub(self.period));
        // It never fails, as it never says no.
        let _ = self.whole_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
    }

    /// When there is one.
    pub fn free_at(&self) -> Instant {
        let free_at = self.whole_at.load(Ordering::Relaxed).saturating_sub(self.tolerance);
        self.epoch + Duration::from_nanos(free_at)
    }

    /// From one to the next.
    pub fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// How many by the second it has let in of late.
    pub fn measured(&self, now: Instant) -> f64 {
        let now = self.since(now);
        let [(at, this), (last_at, last)] = [&self.window, &self.last_window].map(|window| {
            let window = window.load(Ordering::Relaxed);
            (window >> 32, window & u64::from(u32::MAX))
        });
        // Windows in which nobody came were not begun.
        let before = if last_at + 1 == at { last } else { 0 };
        let elapsed = now.saturating_sub(at << WINDOW).saturating_add(1 << WINDOW);
        (this + before) as f64 / Duration::from_nanos(elapsed).as_secs_f64()
    }

    fn count(&self, at: u64) {
        let window = self.window.load(Ordering::Relaxed);
        if window >> 32 < at {
            let begun = (at << 32) | 1;
            if self.window.compare_exchange(window, begun, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.last_window.store(window, Ordering::Relaxed);
                return;
            }
        }
        self.window.fetch_add(1, Ordering::Relaxed);
    }

    fn since(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace(count: u32, burst: u32) -> Pace {
        Pace::new(Rate { count, per: Duration::from_secs(1), burst })
    }

    #[test]
    fn the_burst_at_once_and_then_one_by_one() {
        let pace = pace(10, 3);
        let at = |ms| pace.epoch + Duration::from_millis(ms);
        assert_eq!((0..9).filter(|_| pace.take(at(0))).count(), 3);
        assert_eq!(pace.free_at(), at(100));
        assert!(!pace.take(at(99)) && pace.take(at(100)) && !pace.take(at(100)));
        pace.give_back();
        assert!(pace.take(at(100)) && !pace.take(at(199)));
        assert_eq!((0..9).filter(|_| pace.take(at(10_000))).count(), 3);
    }

    #[test]
    fn what_is_handed_out_a_little_late_is_not_lost() {
        let pace = pace(1000, 1);
        let due = (0..100).map(|step| {
            let late = pace.epoch + Duration::from_micros(1300) * step;
            std::iter::from_fn(|| pace.take_due(late).then_some(())).count()
        });
        assert_eq!(due.sum::<usize>(), 129);
        assert!(
            (2..=51)
                .contains(&(0..999).filter(|_| pace.take_due(pace.epoch + Duration::from_mins(1))).count())
        );
    }

    #[test]
    fn what_was_let_in_is_measured() {
        let pace = pace(u32::MAX, u32::MAX);
        for ms in (0..3000).step_by(5) {
            pace.take(pace.epoch + Duration::from_millis(ms));
        }
        let measured = pace.measured(pace.epoch + Duration::from_secs(3));
        assert!((190.0..=210.0).contains(&measured), "{measured}");
        assert!(pace.measured(pace.epoch + Duration::from_mins(1)) < 3.0);
    }

    proptest! {
        #[test]
        fn never_more_than_the_rate_and_the_burst(
            count in 1..500_u32,
            burst in 1..50_u32,
            steps in prop::collection::vec((0..20_000_u64, any::<bool>()), 1..300),
        ) {
            let pace = pace(count, burst);
            let (mut now, mut taken) = (pace.epoch, 0_u32);
            for (micros, due) in steps {
                now += Duration::from_micros(micros);
                taken += u32::from(if due { pace.take_due(now) } else { pace.take(now) });
            }
            let within = now.duration_since(pace.epoch).as_secs_f64() * f64::from(count);
            prop_assert!(f64::from(taken) <= within + f64::from(burst) + 1e-6);
            // Nor is there ever less than was promised.
            prop_assert!(pace.take(pace.free_at().max(now)));
        }
    }
}
