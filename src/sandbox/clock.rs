//! The sandbox's clock: the system's, with a skew that tests turn; and the forms that time takes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::tz::{Offset, TimeZone};

/// A century: further off, and times would leave the calendar.
const MOST_SKEW_SECONDS: i64 = 100 * 365 * 86_400;

/// A clock that may be wrong on purpose.
#[derive(Debug, Default)]
pub(super) struct Clock {
    skew_seconds: AtomicI64,
}

impl Clock {
    /// Seconds to add to the system's time from now on, a century at most.
    pub(super) fn set_skew(&self, seconds: i64) {
        let seconds = seconds.clamp(-MOST_SKEW_SECONDS, MOST_SKEW_SECONDS);
        self.skew_seconds.store(seconds, Ordering::Relaxed);
    }

    /// The time here, in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let skew_ms = self.skew_seconds.load(Ordering::Relaxed).saturating_mul(1000);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX).saturating_add(skew_ms)
    }

    /// The time here, in seconds since 1970, as signatures count it.
    pub(super) fn now_seconds(&self) -> u64 {
        u64::try_from(self.now_ms() / 1000).unwrap_or(0)
    }
}

/// `2024-04-03T09:53:10+08:00`, as call records have it (§7.3).
pub(super) fn china_time(ms: i64) -> String {
    in_china(ms, "%Y-%m-%dT%H:%M:%S%:z")
}

/// `2023-05-30 10:06:54`, as dialogs have it (§13.5).
pub(super) fn china_plain(ms: i64) -> String {
    in_china(ms, "%Y-%m-%d %H:%M:%S")
}

/// `202404030953`, as paths of recordings have it (§7.3).
pub(super) fn china_minute(ms: i64) -> String {
    in_china(ms, "%Y%m%d%H%M")
}

/// The value of a `Date` header.
pub(super) fn http_date(ms: i64) -> String {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at(ms)).unwrap_or_default()
}

fn in_china(ms: i64, form: &str) -> String {
    at(ms).to_zoned_datetime(TimeZone::fixed(Offset::constant(8))).strftime(form).to_string()
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_written_as_the_document_writes_it() {
        let ms = 1_712_109_190_500;
        assert_eq!(china_time(ms), "2024-04-03T09:53:10+08:00");
        assert_eq!(china_plain(ms), "2024-04-03 09:53:10");
        assert_eq!(china_minute(ms), "202404030953");
        assert_eq!(http_date(ms), "Wed, 03 Apr 2024 01:53:10 GMT");
    }

    #[test]
    fn skew_moves_it() {
        let clock = Clock::default();
        let before = clock.now_seconds();
        clock.set_skew(1000);
        assert!(clock.now_seconds() >= before + 1000);
        clock.set_skew(i64::MIN);
        assert_eq!(clock.now_seconds(), 0);
    }
}
