//! Sending less while the upstream answers 429 or 503: the rate is halved when it does, and rises steadily until
//! it does again (AIMD), or until it is at twice of what was too much, and so no longer what matters.

use std::time::{Duration, Instant};

use super::pace::LATE;

/// The rate is halved at most so often: what comes of one must be seen before the next.
const SETTLE: Duration = Duration::from_millis(250);
/// The rate rises by such a part of what was too much, by the second.
const RISE: f64 = 0.1;
/// The rate falls no lower, by the second.
const FLOOR: f64 = 1.0;
/// What is too much is taken for no less at first: an odd failure where there is little to do slows nobody down.
const FIRST: f64 = 20.0;

/// No limit, or how it was lowered.
#[derive(Debug, Clone, Default)]
pub struct Throttle(Option<Slowed>);

#[derive(Debug, Clone)]
struct Slowed {
    since: Instant,
    /// By the second, what was too much.
    too_much: f64,
    /// By the second, at `since`.
    low: f64,
    free_at: Instant,
}

/// An answer that asks for less.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    /// When its request was sent.
    pub sent_at: Instant,
    /// How many were sent by the second of late.
    pub measured: f64,
    /// Whether it says that there were too many, or may be down as well.
    pub too_many: bool,
    /// Whether others were answered well since the rate was lowered.
    pub others_served: bool,
    /// How long nothing should be sent.
    pub pause: Duration,
}

impl Throttle {
    /// How many may be sent by the second; `None`: no limit.
    pub fn rate(&self, now: Instant) -> Option<f64> {
        let slowed = self.0.as_ref()?;
        let risen = now.saturating_duration_since(slowed.since).as_secs_f64() * RISE * slowed.too_much;
        Some(slowed.low + risen).filter(|rate| *rate < 2.0 * slowed.too_much)
    }

    /// From one to the next.
    pub fn period(&self, now: Instant) -> Duration {
        self.rate(now).map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate))
    }

    /// When the next may be sent; `None`: at any time.
    pub fn free_at(&self) -> Option<Instant> {
        self.0.as_ref().map(|slowed| slowed.free_at)
    }

    /// Ends it when it is time. `true`: that was now.
    pub fn lift(&mut self, now: Instant) -> bool {
        let lifted = self.0.is_some() && self.rate(now).is_none();
        if lifted {
            self.0 = None;
        }
        lifted
    }

    /// Whether one may be sent.
    pub fn is_free(&self, now: Instant) -> bool {
        self.0.as_ref().is_none_or(|slowed| slowed.free_at <= now)
    }

    /// One is sent; `due`: it has waited since before it might.
    pub fn take(&mut self, now: Instant, due: bool) {
        let period = self.period(now);
        if let Some(slowed) = &mut self.0 {
            let earliest = if due { now.checked_sub(LATE).unwrap_or(now) } else { now };
            slowed.free_at = slowed.free_at.max(earliest) + period;
        }
    }

    /// One that was taken is not sent.
    pub fn give_back(&mut self, now: Instant) {
        let period = self.period(now);
        if let Some(slowed) = &mut self.0 {
            slowed.free_at = slowed.free_at.checked_sub(period).unwrap_or(slowed.free_at);
        }
    }

    /// The upstream asks for less. The rate by the second, if that lowered it.
    pub fn slow_down(&mut self, now: Instant, busy: Busy) -> Option<f64> {
        self.lift(now);
        let lowered = match &self.0 {
            None => Some(busy.measured.max(FIRST)),
            // What was on its way when the rate was lowered says nothing of the lower rate; and an upstream that
            // fails whatever is sent is down, not busy.
            Some(slowed) => (busy.sent_at >= slowed.since
                && now >= slowed.since + SETTLE
                && (busy.too_many || busy.others_served))
                .then(|| self.rate(now).unwrap_or(busy.measured)),
        };
        if let Some(too_much) = lowered {
            let low = (too_much / 2.0).max(FLOOR);
            let free_at = self.free_at().unwrap_or(now).max(now + Duration::from_secs_f64(1.0 / low));
            self.0 = Some(Slowed { since: now, too_much, low, free_at });
        }
        if let Some(slowed) = &mut self.0 {
            slowed.free_at = slowed.free_at.max(now + busy.pause);
        }
        lowered.and_then(|_| self.rate(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn busy(sent_at: Instant) -> Busy {
        Busy { sent_at, measured: 100.0, too_many: true, others_served: true, pause: Duration::ZERO }
    }

    fn rate(throttle: &Throttle, now: Instant) -> Option<f64> {
        throttle.rate(now).map(f64::round)
    }

    #[test]
    fn it_is_halved_and_rises_until_it_no_longer_matters() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttle = Throttle::default();
        assert_eq!(rate(&throttle, start), None);
        assert_eq!(throttle.slow_down(start, busy(start)), Some(50.0));
        assert_eq!(
            [0, 1000, 5000, 14_999].map(|ms| rate(&throttle, at(ms))),
            [50.0, 60.0, 100.0, 200.0].map(Some)
        );
        assert!(!throttle.lift(at(14_999)) && throttle.lift(at(15_001)) && !throttle.lift(at(15_001)));
        assert_eq!(rate(&throttle, at(15_001)), None);
    }

    #[test]
    fn it_is_halved_once_for_all_that_was_on_its_way() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut throttle = Throttle::default();
        assert!(throttle.slow_down(at(10), busy(start)).is_some());
        assert!(throttle.slow_down(at(900), busy(start)).is_none());
        assert!(throttle.slow_down(at(100), busy(at(20))).is_none());
        assert!(throttle.slow_down(at(1010), busy(at(20))).is_some());
        assert_eq!(rate(&throttle, at(1010)), Some(30.0));
    }

    #[test]
    fn an_upstream_that_is_down_is_not_asked_ever_more_slowly() {
        let start = Instant::now();
        let down = |sent_at| Busy { too_many: false, others_served: false, ..busy(sent_at) };
        let mut throttle = Throttle::default();
        assert!(throttle.slow_down(start, down(start)).is_some());
        let later = start + Duration::from_secs(1);
        assert!(throttle.slow_down(later, down(later)).is_none());
        assert!(throttle.slow_down(later, Busy { others_served: true, ..down(later) }).is_some());
    }

    #[test]
    fn a_failure_where_there_is_little_to_do_slows_nobody_down() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        throttle.slow_down(start, Busy { measured: 0.1, ..busy(start) });
        assert_eq!(rate(&throttle, start), Some(10.0));
    }

    #[test]
    fn while_it_pauses_nothing_is_sent() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        throttle.slow_down(start, Busy { pause: Duration::from_millis(500), ..busy(start) });
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!throttle.is_free(at(499)) && throttle.is_free(at(500)));
        throttle.take(at(500), true);
        assert!(!throttle.is_free(at(501)));
        throttle.give_back(at(501));
        assert!(throttle.is_free(at(501)));
    }

    proptest! {
        #[test]
        fn it_sends_no_more_than_its_rate(steps in prop::collection::vec((1..200_u64, 0..10_u8), 1..300)) {
            let start = Instant::now();
            let (mut now, mut throttle) = (start, Throttle::default());
            let mut may = 0.0;
            let mut sent = 0.0;
            throttle.slow_down(now, busy(now));
            for (ms, step) in steps {
                let before = throttle.rate(now);
                now += Duration::from_millis(ms);
                throttle.lift(now);
                let (Some(before), Some(after)) = (before, throttle.rate(now)) else { break };
                may += before.max(after) * Duration::from_millis(ms).as_secs_f64();
                prop_assert!(after >= FLOOR);
                if step == 0 {
                    throttle.slow_down(now, busy(now));
                } else if throttle.is_free(now) {
                    throttle.take(now, step % 2 == 0);
                    sent += 1.0;
                }
                prop_assert!(sent <= may + 1.0 + LATE.as_secs_f64() * after, "{sent} of {may}");
            }
        }
    }
}
