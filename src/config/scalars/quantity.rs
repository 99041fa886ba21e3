//! Durations, sizes, rates and counts.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::pattern;
use crate::config::read::{Bad, Scalar};

/// Longest duration: it has to fit into every clock.
const MAX: Duration = Duration::from_hours(87600);

impl Scalar for Duration {
    const NAME: &'static str = "a duration";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "a whole number and its unit: 500ms, 3s, 10m, 2h or 7d";
        let bad = || Bad::new("is no duration", help);
        let (number, unit) = split(text).ok_or_else(bad)?;
        let unit = match unit {
            "ms" => Self::from_millis(1),
            "s" => Self::from_secs(1),
            "m" => Self::from_mins(1),
            "h" => Self::from_hours(1),
            "d" => Self::from_hours(24),
            _ => return Err(bad()),
        };
        let duration = u32::try_from(number).ok().and_then(|number| unit.checked_mul(number));
        duration.filter(|duration| *duration <= MAX).ok_or_else(|| Bad::new("is longer than 3650d", help))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern(r"\d+(ms|s|m|h|d)")})
    }
}

/// A duration that is not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::config) struct Timeout(pub(in crate::config) Duration);

impl Scalar for Timeout {
    const NAME: &'static str = "a duration above zero";

    fn parse(text: &str) -> Result<Self, Bad> {
        let duration = Duration::parse(text)?;
        if duration.is_zero() {
            return Err(Bad::new("leaves no time at all", "it has to be more than 0s"));
        }
        Ok(Self(duration))
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern(r"0*[1-9]\d*(ms|s|m|h|d)")})
    }
}

/// A part of a whole, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::config) struct Ratio(pub(in crate::config) f64);

impl Scalar for Ratio {
    const NAME: &'static str = "a number from 0 to 1";
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, Bad> {
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.map(Self).ok_or_else(|| Bad::new("is no number from 0 to 1", "as in 0.05: one of twenty"))
    }

    fn shown(&self, _: &str) -> Json {
        self.0.into()
    }

    fn schema() -> Json {
        json!({"type": ["number", "string"], "minimum": 0, "maximum": 1, "pattern": r"\$\{"})
    }
}

/// A part of a whole that is not none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::config) struct Share(pub(in crate::config) f64);

impl Scalar for Share {
    const NAME: &'static str = "a number above 0, at most 1";
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, Bad> {
        // Less than this lets nothing through that anybody would notice.
        let share = text.parse().ok().filter(|share| (0.001..=1.0).contains(share));
        share.map(Self).ok_or_else(|| Bad::new("is no share", "from 0.001 to 1, as in 0.5: a half"))
    }

    fn shown(&self, _: &str) -> Json {
        self.0.into()
    }

    fn schema() -> Json {
        json!({"type": ["number", "string"], "minimum": 0.001, "maximum": 1, "pattern": r"\$\{"})
    }
}

/// A size in bytes; not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::config) struct Size(pub(in crate::config) u64);

impl Scalar for Size {
    const NAME: &'static str = "a size";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "a whole number and its unit: 4096, 64KiB, 8MiB, 20GiB or 1TiB";
        let bad = || Bad::new("is no size", help);
        let (number, unit) = split(text).ok_or_else(bad)?;
        let shift = match unit {
            "" | "B" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(bad()),
        };
        match number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok()) {
            None => Err(Bad::new("is too large", help)),
            Some(0) => Err(Bad::new("leaves no room at all", "it has to be more than 0")),
            Some(bytes) => Ok(Self(bytes)),
        }
    }

    fn schema() -> Json {
        let pattern = pattern("0*[1-9][0-9]*(B|KiB|MiB|GiB|TiB)?");
        json!({"type": ["string", "integer"], "minimum": 1, "pattern": pattern})
    }
}

/// So many in so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::config) struct Rate {
    /// How many; at least 1.
    pub(in crate::config) count: u32,
    /// In how long.
    pub(in crate::config) per: Duration,
}

impl Default for Rate {
    fn default() -> Self {
        Self { count: 1, per: Duration::from_secs(1) }
    }
}

impl Rate {
    /// One second's worth, at least 1: the burst that goes with it when none is given.
    pub(in crate::config) fn second(self) -> u32 {
        (u64::from(self.count) / self.per.as_secs().max(1)).try_into().unwrap_or(u32::MAX).max(1)
    }
}

impl Scalar for Rate {
    const NAME: &'static str = "a rate";

    fn parse(text: &str) -> Result<Self, Bad> {
        let help = "a whole number by the second, minute or hour: 50/s, 600/m or 1000/h";
        let bad = || Bad::new("is no rate", help);
        let (number, unit) = split(text).ok_or_else(bad)?;
        let per = match unit {
            "/s" => 1,
            "/m" => 60,
            "/h" => 3600,
            _ => return Err(bad()),
        };
        match u32::try_from(number) {
            Err(_) => Err(Bad::new("is too large", help)),
            Ok(0) => Err(Bad::new("lets nothing through", "it has to be more than 0")),
            Ok(count) => Ok(Self { count, per: Duration::from_secs(per) }),
        }
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": pattern("0*[1-9][0-9]*/[smh]")})
    }
}

/// A rate that is a whole number by the second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::config) struct PerSecond(pub(in crate::config) u32);

impl Scalar for PerSecond {
    const NAME: &'static str = "a rate of at least 1/s";

    fn parse(text: &str) -> Result<Self, Bad> {
        let rate = Rate::parse(text)?;
        if u64::from(rate.count) % rate.per.as_secs() != 0 {
            let help = "deliveries are counted by the second: write 1/s, 50/s, or 600/m for 10/s";
            return Err(Bad::new("is no whole number by the second", help));
        }
        Ok(Self(rate.second()))
    }

    fn schema() -> Json {
        Rate::schema()
    }
}

/// A number of things; not zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::config) struct Count(pub(in crate::config) u32);

impl Count {
    /// As a length.
    pub(in crate::config) fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Scalar for Count {
    const NAME: &'static str = "a whole number";
    const BARE: bool = true;

    fn parse(text: &str) -> Result<Self, Bad> {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        match text.parse() {
            Ok(0) => Err(Bad::new("is too small", "it has to be at least 1")),
            Ok(count) if digits => Ok(Self(count)),
            _ if digits => Err(Bad::new("is too large", "at most 4294967295")),
            _ => Err(Bad::new("is no whole number", "digits only")),
        }
    }

    fn shown(&self, _: &str) -> Json {
        self.0.into()
    }

    fn schema() -> Json {
        json!({"type": ["integer", "string"], "minimum": 1, "maximum": u32::MAX, "pattern": r"\$\{"})
    }
}

/// A number and what follows it; `None` without digits, or with more than fit.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((digits.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", 500),
            ("3s", 3000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(Duration::parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "3", "s", "3 s", "-3s", "+3s", "1.5s", "3S", "3sec", "1m30s", "99999999999d", "4000d"]
        {
            assert!(Duration::parse(text).is_err(), "{text}");
        }
        assert!(Timeout::parse("0ms").is_err());
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("4096", 4096), ("1B", 1), ("64KiB", 65_536), ("8MiB", 8 << 20), ("20GiB", 20 << 30)]
        {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "0", "0KiB", "64KB", "64k", "-1", "1.5MiB", "9999999999TiB", "99999999999999999999"]
        {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        for (text, count, seconds, burst) in
            [("50/s", 50, 1, 50), ("600/m", 600, 60, 10), ("6/m", 6, 60, 1), ("1000/h", 1000, 3600, 1)]
        {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate.count, rate.per.as_secs(), rate.second()), (count, seconds, burst), "{text}");
        }
        for text in ["", "50", "/s", "0/s", "50/d", "50 / s", "5000000000/s", "-1/s"] {
            assert!(Rate::parse(text).is_err(), "{text}");
        }
        assert_eq!(PerSecond::parse("600/m"), Ok(PerSecond(10)));
        assert!(PerSecond::parse("30/m").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[0-9a-zA-Z/ .+-]{0,24}") {
            let _ = (Duration::parse(&text), Size::parse(&text), Rate::parse(&text), Count::parse(&text));
        }

        #[test]
        fn what_is_written_is_meant(number in 1..100_000_u32) {
            let written = Duration::parse(&format!("{number}m"));
            prop_assert_eq!(written, Ok(Duration::from_secs(60 * u64::from(number))));
            prop_assert_eq!(Size::parse(&format!("{number}MiB")), Ok(Size(u64::from(number) << 20)));
            prop_assert_eq!(Rate::parse(&format!("{number}/s")).map(Rate::second), Ok(number));
        }
    }
}
