//! A point in time, as people write one: RFC 3339, or how long ago.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct When(Timestamp);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, Timestamp::now()).map(Self).ok_or_else(|| {
            "write a time as RFC 3339 has it, e.g. 2026-11-24T08:00:00+08:00, or how long ago it was: 90m, 24h, 7d"
                .to_owned()
        })
    }
}

fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    now.checked_sub(SignedDuration::from_secs(i64::from(number) * seconds)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        let now: Timestamp = "2026-11-24T08:00:00Z".parse().unwrap();
        let at = |text| parse(text, now).map(|time| time.to_string());
        assert_eq!(at("2026-11-24T08:00:00+08:00").as_deref(), Some("2026-11-24T00:00:00Z"));
        assert_eq!(at("90m").as_deref(), Some("2026-11-24T06:30:00Z"));
        assert_eq!(at("7d").as_deref(), Some("2026-11-17T08:00:00Z"));
        for wrong in ["", "d", "-1d", "1w", "1.5h", "4294967295d", "yesterday", "2026-11-24", "1日"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }
}
