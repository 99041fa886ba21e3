//! Sending less while the upstream answers 429 or 503: the rate is halved when it does, and rises steadily until
//! it does again (AIMD), or until it is at twice of what was too much, and so no longer what matters.
//!
//! Not all such answers come of the rate: an upstream may fail now and then whatever it is sent. A share of one in twenty
//! slows nobody down, and the rate does not fall far below what was seen to be served beside them.

use std::time::{Duration, Instant};

use super::pace::{LATE, Measured};

/// The rate is halved at most so often: what comes of one must be seen before the next.
const SETTLE: Duration = Duration::from_millis(250);
/// The rate rises by such a part of what was too much, by the second.
const RISE: f64 = 0.1;
/// The rate falls no lower, by the second.
const FLOOR: f64 = 1.0;
/// What is too much is taken for no less at first, by the second: where there is little to do nobody is slowed down.
const FIRST: f64 = 100.0;
/// As many such answers are no accident, if they are such a part of all.
const MANY: u64 = 2;
const SHARE: f64 = 0.05;
/// The rate does not fall below such a part of what was served beside them.
const KEPT: f64 = 0.8;
/// What was served is believed half as much after so long, and no more at all if most are such answers.
const HALF_LIFE: Duration = Duration::from_secs(30);
const MOST: f64 = 0.5;

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
    /// By the second, what was served then.
    served: f64,
    free_at: Instant,
}

/// An answer that asks for less.
#[derive(Debug, Clone, Copy)]
pub struct Busy {
    /// When its request was sent.
    pub sent_at: Instant,
    /// How many were sent of late.
    pub sent: Measured,
    /// How many of them were answered so.
    pub busy: Measured,
    /// Whether it says that there were too many, or may be down as well.
    pub too_many: bool,
    /// Whether others were answered well since the rate was lowered.
    pub others_served: bool,
    /// How long nothing should be sent, if it says so.
    pub pause: Option<Duration>,
}

impl Busy {
    /// How many of those that were sent of late were answered so: 1 is all.
    fn share(&self) -> f64 {
        (self.busy.per_second / self.sent.per_second.max(f64::MIN_POSITIVE)).min(1.0)
    }

    /// How many by the second were not.
    fn served(&self) -> f64 {
        (self.sent.per_second - self.busy.per_second).max(0.0)
    }

    fn is_no_accident(&self) -> bool {
        self.pause.is_some() || (self.busy.count >= MANY && self.share() >= SHARE)
    }
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
            _ if !busy.is_no_accident() => None,
            None => Some((busy.sent.per_second.max(FIRST), busy.served())),
            // What was on its way when the rate was lowered says nothing of the lower rate; and an upstream that
            // fails whatever is sent is down, not busy.
            Some(slowed) => (busy.sent_at >= slowed.since
                && now >= slowed.since + SETTLE
                && (busy.too_many || busy.others_served))
                .then(|| (self.rate(now).unwrap_or(FIRST), slowed.served_by(now, busy))),
        };
        if let Some((too_much, served)) = lowered {
            let low = (too_much / 2.0).max(served * KEPT).min(too_much).max(FLOOR);
            let free_at = self.free_at().unwrap_or(now).max(now + Duration::from_secs_f64(1.0 / low));
            self.0 = Some(Slowed { since: now, too_much, low, served, free_at });
        }
        if let Some(slowed) = &mut self.0 {
            slowed.free_at = slowed.free_at.max(now + busy.pause.unwrap_or_default());
        }
        lowered.and_then(|_| self.rate(now))
    }
}

impl Slowed {
    /// How many by the second it is believed to serve.
    fn served_by(&self, now: Instant, busy: Busy) -> f64 {
        let age = now.saturating_duration_since(self.since).div_duration_f64(HALF_LIFE);
        let before = if busy.share() < MOST { self.served * 0.5_f64.powf(age) } else { 0.0 };
        busy.served().max(before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(per_second: f64) -> Measured {
        Measured { count: 2, per_second }
    }

    fn busy(sent_at: Instant) -> Busy {
        let (sent, busy) = (of(100.0), of(90.0));
        Busy { sent_at, sent, busy, too_many: true, others_served: true, pause: None }
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
    fn failures_that_do_not_come_of_the_rate_hardly_matter() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        let one = Measured { count: 1, per_second: 1.0 };
        assert_eq!(throttle.slow_down(start, Busy { busy: one, ..busy(start) }), None);
        assert_eq!(throttle.slow_down(start, Busy { busy: of(4.0), ..busy(start) }), None);
        // Unless it asks for a pause.
        assert!(throttle.clone().slow_down(start, Busy { pause: Some(SETTLE), ..busy(start) }).is_some());
        // One in five, for a minute.
        let mut sent = 1000.0;
        for step in 0..60 {
            let now = start + Duration::from_secs(step);
            throttle.slow_down(now, Busy { sent: of(sent), busy: of(sent * 0.2), ..busy(now) });
            sent = throttle.rate(now).unwrap();
        }
        assert!((100.0..700.0).contains(&sent), "{sent}");
        // Where there is little to do it is not felt.
        let mut throttle = Throttle::default();
        assert_eq!(
            throttle.slow_down(start, Busy { sent: of(2.0), busy: of(1.0), ..busy(start) }),
            Some(50.0)
        );
    }

    #[test]
    fn an_upstream_that_takes_less_than_it_did_gets_less() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        throttle.slow_down(start, Busy { busy: of(20.0), ..busy(start) });
        assert_eq!(rate(&throttle, start), Some(64.0));
        let later = start + Duration::from_secs(1);
        throttle.slow_down(later, Busy { sent: of(70.0), busy: of(60.0), ..busy(later) });
        assert_eq!(rate(&throttle, later), Some(37.0));
    }

    #[test]
    fn while_it_pauses_nothing_is_sent() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        throttle.slow_down(start, Busy { pause: Some(Duration::from_millis(500)), ..busy(start) });
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
