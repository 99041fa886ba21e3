//! Whether this host's clock may be trusted with what is too old.
//!
//! A clock that is set forward by a month would have all events removed as past their retention, and requests
//! forgotten that must not be sent twice. So after a jump nothing is removed for a day; by then somebody has set
//! the clock right, or it was.

use std::time::Duration;

use jiff::Timestamp;

/// A larger difference is a jump, not a clock that is kept in step.
const JUMP: Duration = Duration::from_mins(5);
/// How long nothing is removed after one.
const HOLD: Duration = Duration::from_hours(24);

/// Compares the clock with one that is never set.
#[derive(Debug)]
pub(super) struct ClockWatch {
    last: Timestamp,
    hold: Duration,
}

impl ClockWatch {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { last: now, hold: Duration::ZERO }
    }

    /// Whether `now` is to be trusted, `passed` after it was asked last.
    pub(super) fn trusts(&mut self, now: Timestamp, passed: Duration) -> bool {
        let told = now.duration_since(self.last);
        let ahead = told - jiff::SignedDuration::try_from(passed).unwrap_or(jiff::SignedDuration::MAX);
        self.last = now;
        self.hold = self.hold.saturating_sub(passed);
        if ahead.unsigned_abs() > JUMP {
            self.hold = HOLD;
            tracing::warn!(
                seconds = ahead.as_secs(),
                "this host's clock was set; nothing is removed for a day as past its retention"
            );
        }
        self.hold.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn a_clock_in_step_is_trusted() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut watch = ClockWatch::new(now);
        for drift_seconds in [0, 20, -20, 240, -240] {
            now += MINUTE;
            assert!(watch.trusts(now + jiff::SignedDuration::from_secs(drift_seconds), MINUTE));
            watch.last = now;
        }
    }

    #[test]
    fn after_a_jump_either_way_it_is_not_for_a_day() {
        for jump_hours in [24 * 30, -1] {
            let mut now = Timestamp::UNIX_EPOCH;
            let mut watch = ClockWatch::new(now);
            now += jiff::SignedDuration::from_hours(jump_hours);
            assert!(!watch.trusts(now, MINUTE));
            for minute in 1..=24 * 60 {
                now += MINUTE;
                assert_eq!(watch.trusts(now, MINUTE), minute == 24 * 60, "{minute}");
            }
        }
    }

    #[test]
    fn a_clock_that_was_set_back_right_is_a_jump_too() {
        let start = Timestamp::UNIX_EPOCH;
        let mut watch = ClockWatch::new(start);
        assert!(!watch.trusts(start + jiff::SignedDuration::from_hours(1), MINUTE));
        assert!(!watch.trusts(start + MINUTE * 2, MINUTE));
        assert!(!watch.trusts(start + MINUTE * 3, MINUTE));
    }
}
