//! When a delivery is tried again. Clock and dice are arguments.

use std::fmt;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use crate::net::headers;

/// Longest `Retry-After` that is obeyed.
pub const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Tells the time of day.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// This host's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// `delay` give or take 10 %, so that what failed together does not come back together.
///
/// `dice` lies between 0 and 1.
pub fn jittered(delay: Duration, dice: f64) -> Duration {
    delay.mul_f64(0.9 + 0.2 * dice.clamp(0.0, 1.0))
}

/// `now` and `delay` later; the end of time is late enough for what lies beyond it.
pub fn after(now: Timestamp, delay: Duration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

/// From one time to a later one.
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// How long the answer asks to be left alone, as far as that is obeyed.
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    headers::retry_after(headers, now).map(|wait| wait.min(LONGEST_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;
    use proptest::prelude::*;

    use super::*;

    fn asked(text: &str) -> Option<Duration> {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().unwrap();
        retry_after(&[(RETRY_AFTER, text.parse().unwrap())].into_iter().collect(), now)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_an_hour_at_most() {
        assert_eq!(asked("120"), Some(Duration::from_mins(2)));
        assert_eq!(asked(" 0 "), Some(Duration::ZERO));
        assert_eq!(asked("86400"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(asked("99999999999999999999999"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::from_secs(37)));
        assert_eq!(asked("Sun, 06 Nov 1994 18:49:37 GMT"), Some(LONGEST_RETRY_AFTER));
        assert_eq!(asked("Sun, 06 Nov 1994 08:40:00 GMT"), Some(Duration::ZERO));
        for text in ["", "soon", "-1", "1.5", "+3"] {
            assert_eq!(asked(text), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), Timestamp::UNIX_EPOCH), None);
    }

    proptest! {
        #[test]
        fn jitter_stays_within_a_tenth(delay_ms in 0_u64..1_000_000_000, dice in 0.0..1.0_f64) {
            let delay = Duration::from_millis(delay_ms);
            let moved = jittered(delay, dice);
            prop_assert!(moved >= delay.mul_f64(0.899_999) && moved <= delay.mul_f64(1.100_001));
        }

        #[test]
        fn no_field_panics(text in "[ -~]{0,40}", seconds in -300_000_000_000_i64..250_000_000_000) {
            let now = Timestamp::from_second(seconds).unwrap_or_default();
            if let Ok(value) = text.parse() {
                let wait = retry_after(&[(RETRY_AFTER, value)].into_iter().collect(), now);
                prop_assert!(wait.is_none_or(|wait| wait <= LONGEST_RETRY_AFTER));
            }
        }
    }
}
