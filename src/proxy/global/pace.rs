//! One rate for all, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::proxy::settings::Rate;

/// What is due to those who wait is not lost when it is handed out late by so much, as timers are.
pub const LATE: Duration = Duration::from_millis(50);

/// So long a window of a meter is: 2^30 ns, about a second.
const WINDOW: u32 = 30;

/// GCRA: its whole state is when the burst will be whole again. Beside it, what it let in is counted: the line of
/// the cache that both are in is taken once for the two.
#[derive(Debug)]
pub struct Pace {
    whole_at: AtomicU64,
    sent: Meter,
    busy: Meter,
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
            sent: Meter::default(),
            busy: Meter::default(),
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
            self.sent.count(now);
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

    /// How many it has let in of late.
    pub fn sent(&self, now: Instant) -> Measured {
        self.sent.measured(self.since(now))
    }

    /// One that it let in was answered by an upstream that was too busy; how many were of late.
    pub fn busy(&self, now: Instant) -> Measured {
        let now = self.since(now);
        self.busy.count(now);
        self.busy.measured(now)
    }

    fn since(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

/// What came of late.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// How many, in one window or two.
    pub count: u64,
    /// How many that is by the second.
    pub per_second: f64,
}

/// Counts by windows of time.
#[derive(Debug, Default)]
pub struct Meter {
    /// The number of the window, and how many came in it, each in half of the bits.
    this: AtomicU64,
    last: AtomicU64,
}

impl Meter {
    /// One more, `now` being nanoseconds since whenever.
    pub fn count(&self, now: u64) {
        let (at, this) = (now >> WINDOW, self.this.load(Ordering::Relaxed));
        if this >> 32 < at {
            let begun = (at << 32) | 1;
            if self.this.compare_exchange(this, begun, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                self.last.store(this, Ordering::Relaxed);
                return;
            }
        }
        self.this.fetch_add(1, Ordering::Relaxed);
    }

    /// How many came of late.
    pub fn measured(&self, now: u64) -> Measured {
        let [(at, this), (last_at, last)] = [&self.this, &self.last].map(|window| {
            let window = window.load(Ordering::Relaxed);
            (window >> 32, window & u64::from(u32::MAX))
        });
        // Windows in which nobody came were not begun.
        let count = this + if last_at + 1 == at { last } else { 0 };
        let elapsed = now.saturating_sub(at << WINDOW).saturating_add(1 << WINDOW);
        Measured { count, per_second: count as f64 / Duration::from_nanos(elapsed).as_secs_f64() }
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
        let measured = pace.sent(pace.epoch + Duration::from_secs(3));
        assert!((190.0..=210.0).contains(&measured.per_second) && measured.count < 430, "{measured:?}");
        assert!(pace.sent(pace.epoch + Duration::from_mins(1)).per_second < 8.0);
        assert_eq!([(); 3].map(|()| pace.busy(pace.epoch).count), [1, 2, 3]);
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
