//! Faults to inject: what goes wrong, and how often.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;

const DEFAULT_LATENCY: Duration = Duration::from_millis(500);
/// The failure of the document's example (§5.4).
const DEFAULT_CODE: i64 = -174_791;

/// Something that goes wrong with a share of the requests. As text: `KIND=RATE` or `KIND:VALUE=RATE`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// For which share of the requests: 0 is none, 1 is all.
    pub rate: f64,
}

/// What can go wrong. All but `Drop`, `DropMid`, `Latency` and `Skew` keep the request from being acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// `latency[:500ms]`: the answer comes late.
    Latency(Duration),
    /// `http-400` … `http-599`: this status; 500 with §17's envelope, others as a gateway's plain text.
    Http(StatusCode),
    /// `drop`: the request is acted on, and the connection closed without an answer.
    Drop,
    /// `drop-mid`: the request is acted on, and the connection closed in the middle of the answer's body.
    DropMid,
    /// `skew:400s`: the `Date` header is off by this many seconds; the clock itself is right.
    Skew(i64),
    /// `code[:-174791]`: HTTP 200 with this `code`.
    Code(i64),
    /// `hang`: no answer, until the client gives up.
    Hang,
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// Not `KIND=RATE`.
    #[error("'{0}' has no rate; write KIND=RATE, e.g. latency:500ms=0.1")]
    NoRate(String),
    /// The rate is no share.
    #[error("'{0}' is no rate; give a number from 0 (never) to 1 (always)")]
    Rate(String),
    /// No such kind.
    #[error(
        "there is no fault '{0}'; known: latency[:500ms], http-500, drop, drop-mid, skew:400s, code[:-174791], hang"
    )]
    UnknownKind(String),
    /// The kind's value can't be read, is missing, or is one too many.
    #[error("'{value}' is no value for the fault {kind}; {wanted}")]
    Value {
        /// The kind.
        kind: &'static str,
        /// What was given.
        value: String,
        /// What would do.
        wanted: &'static str,
    },
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (kind, rate) = text.rsplit_once('=').ok_or_else(|| FaultError::NoRate(text.to_owned()))?;
        let number: f64 = rate.trim().parse().map_err(|_| FaultError::Rate(rate.to_owned()))?;
        if !(0.0..=1.0).contains(&number) {
            return Err(FaultError::Rate(rate.to_owned()));
        }
        Ok(Self { kind: kind.trim().parse()?, rate: number })
    }
}

impl FromStr for FaultKind {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match name {
            "latency" => latency(value),
            "skew" => skew(value),
            "code" => code(value),
            "drop" => plain("drop", value, Self::Drop),
            "drop-mid" => plain("drop-mid", value, Self::DropMid),
            "hang" => plain("hang", value, Self::Hang),
            _ => http_status(name)
                .filter(|_| value.is_none())
                .ok_or_else(|| FaultError::UnknownKind(text.to_owned())),
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latency(time) => write!(f, "latency:{}ms", time.as_millis()),
            Self::Http(status) => write!(f, "http-{}", status.as_u16()),
            Self::Drop => f.write_str("drop"),
            Self::DropMid => f.write_str("drop-mid"),
            Self::Skew(seconds) => write!(f, "skew:{seconds}s"),
            Self::Code(code) => write!(f, "code:{code}"),
            Self::Hang => f.write_str("hang"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.rate)
    }
}

fn latency(value: Option<&str>) -> Result<FaultKind, FaultError> {
    let Some(text) = value else { return Ok(FaultKind::Latency(DEFAULT_LATENCY)) };
    let wanted = "give a time up to 10m, e.g. 500ms";
    let found = milliseconds(text).filter(|ms| *ms <= 600_000);
    found
        .map(|ms| FaultKind::Latency(Duration::from_millis(ms)))
        .ok_or_else(|| wrong("latency", text, wanted))
}

fn skew(value: Option<&str>) -> Result<FaultKind, FaultError> {
    let text = value.unwrap_or_default();
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => (-1, size),
        None => (1, text),
    };
    let seconds = milliseconds(size).and_then(|ms| i64::try_from(ms / 1000).ok());
    let wanted = "give a time, ahead or behind, e.g. skew:400s or skew:-400s";
    seconds.map(|s| FaultKind::Skew(sign * s)).ok_or_else(|| wrong("skew", text, wanted))
}

fn code(value: Option<&str>) -> Result<FaultKind, FaultError> {
    let Some(text) = value else { return Ok(FaultKind::Code(DEFAULT_CODE)) };
    let wanted = "give an integer other than 0";
    let found = text.parse().ok().filter(|code| *code != 0);
    found.map(FaultKind::Code).ok_or_else(|| wrong("code", text, wanted))
}

fn plain(name: &'static str, value: Option<&str>, kind: FaultKind) -> Result<FaultKind, FaultError> {
    value.map_or(Ok(kind), |value| Err(wrong(name, value, "it takes none")))
}

fn http_status(name: &str) -> Option<FaultKind> {
    let number: u16 = name.strip_prefix("http-")?.parse().ok()?;
    let status = StatusCode::from_u16(number).ok()?;
    (status.is_client_error() || status.is_server_error()).then_some(FaultKind::Http(status))
}

fn wrong(kind: &'static str, value: &str, wanted: &'static str) -> FaultError {
    FaultError::Value { kind, value: value.to_owned(), wanted }
}

fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let unit = match &text[digits..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

/// What the dice gave one request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// How long its answer is held back.
    pub(super) delay: Duration,
    /// How far its `Date` is off, in seconds.
    pub(super) date_skew: i64,
    /// How it ends, if not with its answer. Never `Latency` or `Skew`.
    pub(super) ending: Option<FaultKind>,
}

impl Plan {
    /// Throws the dice for each fault; the first one that ends the request does.
    pub(super) fn roll(faults: &[Fault], dice: &mut fastrand::Rng) -> Self {
        let mut plan = Self::default();
        for fault in faults {
            if dice.f64() >= fault.rate {
                continue;
            }
            match fault.kind {
                FaultKind::Latency(time) => plan.delay += time,
                FaultKind::Skew(seconds) => plan.date_skew += seconds,
                kind => {
                    plan.ending.get_or_insert(kind);
                }
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> FaultKind {
        text.parse::<Fault>().unwrap().kind
    }

    #[test]
    fn each_kind_is_read_and_written() {
        assert_eq!(kind("latency=0.1"), FaultKind::Latency(DEFAULT_LATENCY));
        assert_eq!(kind("code=0.1"), FaultKind::Code(DEFAULT_CODE));
        for text in ["latency:2000ms", "http-503", "drop", "drop-mid", "skew:-400s", "code:-1", "hang"] {
            assert_eq!(kind(&format!("{text}=0.25")).to_string(), text);
        }
        assert_eq!(kind("latency:2s=1"), FaultKind::Latency(Duration::from_secs(2)));
        assert_eq!(kind("skew:10m=1"), FaultKind::Skew(600));
    }

    #[test]
    fn errors_name_the_thing_and_the_way_out() {
        let error = |text: &str| text.parse::<Fault>().map_err(|e| e.to_string());
        assert!(error("flood=0.1").is_err_and(|e| e.contains("known: latency[:500ms], http-500, drop")));
        assert!(error("http-200=0.1").is_err_and(|e| e.contains("there is no fault 'http-200'")));
        assert!(error("drop").is_err_and(|e| e.contains("KIND=RATE")));
        assert!(error("drop=1.5").is_err_and(|e| e.contains("from 0 (never) to 1")));
        assert!(error("drop=NaN").is_err_and(|e| e.contains("no rate")));
        for text in ["skew=1", "latency:5=1", "latency:99h=1", "code:0=1", "drop:1=1", "skew:é=1"] {
            assert!(matches!(text.parse::<Fault>(), Err(FaultError::Value { .. })), "{text}");
        }
    }

    #[test]
    fn delays_add_up_and_the_first_ending_wins() {
        let faults: Vec<Fault> =
            ["latency:1s=1", "hang=0", "drop=1", "http-500=1", "latency:2s=1", "skew:9s=1"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
        let plan = Plan::roll(&faults, &mut fastrand::Rng::with_seed(1));
        let expected = Plan { delay: Duration::from_secs(3), date_skew: 9, ending: Some(FaultKind::Drop) };
        assert_eq!(plan, expected);
    }
}
