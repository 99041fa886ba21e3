//! Whether this host's clock may be trusted with what is too old.
//!
//! A clock that is set forward by a month would have all events removed as past their retention, and requests
//! forgotten that must not be sent twice. So after a jump nothing is removed for a day; by then somebody has set
//! the clock right, or it was. While the process is down there is nothing to compare the clock with: after a
//! start nothing is removed for as long as it seems to have been down, at most for a day.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// A larger difference is a jump, not a clock that is kept in step.
const JUMP: Duration = Duration::from_mins(5);
/// How long nothing is removed after one.
const HOLD: Duration = Duration::from_hours(24);

/// Compares the clock with one that is never set.
#[derive(Debug)]
pub(in crate::store) struct ClockWatch {
    pub(in crate::store) last: Timestamp,
    pub(in crate::store) hold: Duration,
    /// While it holds: what is dated until then may be younger than it looks.
    pub(in crate::store) doubted: Option<Timestamp>,
}

impl ClockWatch {
    pub(in crate::store) fn new(now: Timestamp) -> Self {
        Self { last: now, hold: Duration::ZERO, doubted: None }
    }

    /// Goes on after a start, where the clock was looked at `last` with `hold` left.
    pub(in crate::store) fn again(last: Timestamp, hold: Duration, now: Timestamp) -> Self {
        let away = now.duration_since(last);
        let held = match Duration::try_from(away) {
            Ok(away) if away > JUMP => away.min(HOLD),
            Err(_) if away.unsigned_abs() > JUMP => HOLD,
            _ => Duration::ZERO,
        };
        let hold = hold.max(held);
        if away.is_negative() && !held.is_zero() {
            tracing::warn!(
                seconds = away.as_secs(),
                "this host's clock stands before its last look; nothing is removed for a day as past its retention"
            );
        } else if !hold.is_zero() {
            tracing::info!(seconds = hold.as_secs(), "nothing is removed for a while as past its retention");
        }
        Self { last: now, hold, doubted: Some(last.max(now)).filter(|_| !hold.is_zero()) }
    }

    /// Whether `now` is to be trusted, `passed` after it was asked last.
    pub(in crate::store) fn trusts(&mut self, now: Timestamp, passed: Duration) -> bool {
        let told = now.duration_since(self.last);
        let ahead = told - SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
        self.hold = self.hold.saturating_sub(passed);
        if ahead.unsigned_abs() > JUMP {
            self.hold = HOLD;
            self.doubted = self.doubted.max(Some(self.last));
            tracing::warn!(
                seconds = ahead.as_secs(),
                "this host's clock was set; nothing is removed for a day as past its retention"
            );
        }
        self.last = now;
        if self.hold.is_zero() {
            self.doubted = None;
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
    fn what_came_before_a_jump_is_doubted_while_it_holds() {
        let start = Timestamp::UNIX_EPOCH;
        let mut watch = ClockWatch::new(start);
        watch.trusts(start + HOLD, MINUTE);
        assert_eq!(watch.doubted, Some(start));
        watch.trusts(start + HOLD + HOLD, HOLD);
        assert_eq!(watch.doubted, None);
    }

    #[test]
    fn after_a_start_it_is_doubted_for_as_long_as_it_seems_to_have_been_away() {
        let last = Timestamp::UNIX_EPOCH;
        let hour = Duration::from_hours(1);
        let after = |away_minutes: i64, hold| {
            let now = last + SignedDuration::from_mins(away_minutes);
            ClockWatch::again(last, hold, now).hold
        };
        for (away_minutes, hold) in [
            (0, Duration::ZERO),
            (4, Duration::ZERO),
            (-4, Duration::ZERO),
            (60, hour),
            (-6, HOLD),
            (60 * 24 * 30, HOLD),
        ] {
            assert_eq!(after(away_minutes, Duration::ZERO), hold, "{away_minutes}");
        }
        // What was left of a hold is not over only because the process ended.
        assert_eq!(after(1, hour), hour);
        assert_eq!(after(60, HOLD), HOLD);
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
