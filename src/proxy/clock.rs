//! The SaaS's clock, as its `Date` fields tell it: it rejects timestamps that are off by over five
//! minutes (§3.1), so a host whose clock is wrong signs with theirs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::worker::Date;

/// From this skew on, the corrected time is signed with.
const TOLERATED_MS: i64 = 30_000;
/// So many answers in a row must agree before they are believed.
const WITNESSES: u8 = 3;
/// How near they must be to each other; `Date` counts whole seconds.
const AGREEMENT_MS: u64 = 2_500;

/// The last second of the year 9999, the last that a `Date` can name.
const LAST_DATE: u64 = 253_402_300_799;
/// No two clocks are further apart, so that sums of a few stay in range.
const LAST_SKEW_MS: i64 = 253_402_300_799_000;

/// Knows how far the SaaS's clock is from ours.
#[derive(Debug, Default)]
pub struct Clock {
    skew_ms: AtomicI64,
    corrected: AtomicBool,
    witnesses: Mutex<Vec<i64>>,
    /// Whether there are witnesses: while there are none, nobody takes the lock.
    doubted: AtomicBool,
}

/// What one more answer changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing to speak of.
    None,
    /// The skew has passed what is tolerated; in milliseconds, theirs less ours.
    Corrected(i64),
    /// Both clocks agree again.
    Agreed,
}

impl Clock {
    /// Unix seconds to sign with at `now`.
    pub fn timestamp(&self, now: SystemTime) -> u64 {
        let skew_ms =
            if self.corrected.load(Ordering::Relaxed) { self.skew_ms.load(Ordering::Relaxed) } else { 0 };
        let seconds = unix_ms(now).saturating_add(skew_ms).div_euclid(1000);
        u64::try_from(seconds).unwrap_or(0)
    }

    /// Takes in the `Date` of an answer that came at `now`, `round_trip` after its request.
    pub fn observe(&self, date: Date, now: SystemTime, round_trip: Duration) -> Change {
        let half = i64::try_from(round_trip.as_millis() / 2).unwrap_or(i64::MAX);
        // `Date` is cut to the second: half of one is its expected error.
        let theirs = i64::try_from(date.seconds.min(LAST_DATE)).unwrap_or(0) * 1000 + 500;
        let ours = unix_ms(now).saturating_sub(half);
        let sample = theirs.saturating_sub(ours).clamp(-LAST_SKEW_MS, LAST_SKEW_MS);
        let known = self.skew_ms.load(Ordering::Relaxed);
        let agrees = known.abs_diff(sample) <= AGREEMENT_MS;
        if agrees && !self.doubted.load(Ordering::Relaxed) {
            // Once a second is enough to follow a drift.
            if date.is_new {
                self.skew_ms.store(known + (sample - known) / 8, Ordering::Relaxed);
            }
            return Change::None;
        }
        let Ok(mut witnesses) = self.witnesses.lock() else { return Change::None };
        if witnesses.last().is_some_and(|last| last.abs_diff(sample) > AGREEMENT_MS) {
            witnesses.clear();
        }
        if witnesses.is_empty() && agrees {
            self.doubted.store(false, Ordering::Relaxed);
            return Change::None;
        }
        self.doubted.store(true, Ordering::Relaxed);
        witnesses.push(sample);
        if witnesses.len() < usize::from(WITNESSES) {
            return Change::None;
        }
        let agreed = witnesses.iter().sum::<i64>() / i64::from(WITNESSES);
        witnesses.clear();
        self.doubted.store(false, Ordering::Relaxed);
        drop(witnesses);
        self.adopt(agreed)
    }

    fn adopt(&self, skew_ms: i64) -> Change {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
        let correct = skew_ms.abs() > TOLERATED_MS;
        match (self.corrected.swap(correct, Ordering::Relaxed), correct) {
            (_, true) => Change::Corrected(skew_ms),
            (true, false) => Change::Agreed,
            (false, false) => Change::None,
        }
    }

    /// Seconds that the SaaS's clock is ahead of ours.
    pub fn skew_seconds(&self) -> f64 {
        self.skew_ms.load(Ordering::Relaxed) as f64 / 1000.0
    }
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Unix seconds of an IMF-fixdate (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn parse_date(text: &[u8]) -> Option<u64> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    if text.len() != 29 || &text[26..] != b"GMT" || text[3..5] != *b", " {
        return None;
    }
    let number = |from: usize, to: usize| {
        text[from..to]
            .iter()
            .try_fold(0_u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
    };
    let (day, year) = (number(5, 7)?, number(12, 16)?);
    let (hour, minute, second) = (number(17, 19)?, number(20, 22)?, number(23, 25)?);
    let month = MONTHS.chunks(3).position(|name| name == &text[8..11])? as u64 + 1;
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since the epoch by the civil calendar, years beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(seconds: u64) -> Date {
        Date { seconds, is_new: true }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn dates_are_read() {
        assert_eq!(parse_date(b"Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse_date(b"Thu, 29 Feb 2024 23:59:59 GMT"), Some(1_709_251_199));
        for wrong in [&b"Sun, 06 Nov 1994 08:49:37 UTC"[..], b"Sunday, 06-Nov-94 08:49:37 GMT", b"", b"x"] {
            assert_eq!(parse_date(wrong), None);
        }
    }

    #[test]
    fn several_that_agree_move_it_and_an_odd_one_never_does() {
        let clock = Clock::default();
        let ours = at(1_000_000);
        assert_eq!(clock.observe(said(1_000_000 + 3600), ours, Duration::ZERO), Change::None);
        assert_eq!(clock.observe(said(1_000_000), ours, Duration::ZERO), Change::None);
        assert_eq!(clock.timestamp(ours), 1_000_000);
        for _ in 1..WITNESSES {
            assert_eq!(clock.observe(said(1_000_600), ours, Duration::ZERO), Change::None);
            assert_eq!(clock.timestamp(ours), 1_000_000);
        }
        assert_eq!(clock.observe(said(1_000_600), ours, Duration::ZERO), Change::Corrected(600_500));
        assert_eq!(clock.timestamp(ours), 1_000_600);
        for _ in 1..WITNESSES {
            clock.observe(said(1_000_000), ours, Duration::ZERO);
        }
        assert_eq!(clock.observe(said(1_000_000), ours, Duration::ZERO), Change::Agreed);
        assert_eq!(clock.timestamp(ours), 1_000_000);
    }

    #[test]
    fn a_small_skew_is_shown_but_not_signed_with() {
        let clock = Clock::default();
        for _ in 0..WITNESSES {
            clock.observe(said(1_000_020), at(1_000_000), Duration::ZERO);
        }
        assert!((clock.skew_seconds() - 20.5).abs() < 0.1);
        assert_eq!(clock.timestamp(at(1_000_000)), 1_000_000);
    }

    #[test]
    fn a_date_beyond_all_calendars_is_survived() {
        let clock = Clock::default();
        for date in [9_223_372_036_854_776, u64::MAX, u64::MAX, u64::MAX, 0, 0, 0] {
            clock.observe(said(date), at(1), Duration::MAX);
        }
        assert!(clock.timestamp(UNIX_EPOCH) <= LAST_DATE);
    }

    #[test]
    fn half_the_round_trip_is_taken_off() {
        let clock = Clock::default();
        for _ in 0..WITNESSES {
            clock.observe(said(1_000_100), at(1_000_010), Duration::from_secs(20));
        }
        assert!((clock.skew_seconds() - 100.5).abs() < 0.1, "{}", clock.skew_seconds());
    }

    proptest! {
        #[test]
        fn never_panics(text in prop::collection::vec(any::<u8>(), 0..40), date: u64, trip: u32) {
            parse_date(&text);
            let clock = Clock::default();
            for date in [date, date, date, 0] {
                clock.observe(said(date), at(1), Duration::from_millis(trip.into()));
            }
            clock.timestamp(at(u64::from(trip)));
        }
    }
}
