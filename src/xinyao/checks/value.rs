//! One value, held against what its field may hold.

use std::borrow::Cow;

use super::{Check, Failure};
use crate::xinyao::endpoint::{Field, Kind};

/// A value, as far as checks look at it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Given<'a> {
    Text(&'a str),
    Int(i64),
    /// An integer beyond 64 bits.
    Huge,
    Float,
    Bool,
    Null,
    List,
    Map,
}

impl Given<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Int(_) | Self::Huge => "an integer",
            Self::Float => "a fraction",
            Self::Bool => "a boolean",
            Self::Null => "null",
            Self::List => "a list",
            Self::Map => "an object",
        }
    }
}

/// A fault of a value: what it fails, and how.
pub(super) type Fault = (Check, Cow<'static, str>);

/// What is wrong with `given`, which is neither null nor a list or map whose entries are judged one by one.
pub(super) fn judge(field: &'static Field, given: Given<'_>) -> Result<Option<&'static str>, Failure> {
    let fault = match (&field.kind, given) {
        (Kind::Text | Kind::File, Given::Text(_)) | (Kind::Float, Given::Int(_) | Given::Float) => None,
        (Kind::Sid, Given::Text(text)) => sid(text),
        (Kind::OneOf(names), Given::Text(text)) => match names.iter().find(|name| **name == text) {
            Some(name) => return Ok(Some(name)),
            None => Some((Check::Enum, format!("must be one of {}", names.join(", ")).into())),
        },
        (Kind::Int { min, max }, Given::Int(number)) => range(*min, *max, number),
        (Kind::Int { min, max }, Given::Huge) => Some((Check::Range, bounds(*min, *max).into())),
        (Kind::Switch { .. }, Given::Int(1 | 2)) => None,
        (Kind::Switch { .. }, Given::Int(_) | Given::Huge) => Some((Check::Enum, "must be 1 or 2".into())),
        // §10.2 has a string in its column of types, where the example is a list.
        (Kind::StateGroups, Given::Text(text)) => groups(text),
        (Kind::TimeRanges | Kind::States | Kind::StateGroups | Kind::List(_), Given::List) => None,
        (Kind::FlatMap | Kind::Object(_), Given::Map) => None,
        (kind, given) => Some(wrong_type(kind, given)),
    };
    fault.map_or(Ok(None), |(check, msg)| Err(Failure { field: field.name, check, msg }))
}

/// What is wrong with an entry of a list or map.
pub(super) fn judge_entry(kind: &Kind, given: Given<'_>) -> Option<Fault> {
    match (kind, given) {
        (Kind::TimeRanges, Given::Text(text)) => (!is_time_range(text))
            .then_some((Check::Format, "is no HH:MM-HH:MM between 00:00 and 23:59".into())),
        (Kind::States, Given::Text(text)) => {
            (!is_state(text)).then_some((Check::Format, "is no call state, as in \"775\"".into()))
        }
        (Kind::StateGroups, Given::Text(text)) => groups(text),
        (Kind::TimeRanges | Kind::States | Kind::StateGroups, given) => {
            Some((Check::Type, format!("must be a string; {} was sent", given.name()).into()))
        }
        (Kind::FlatMap, Given::List | Given::Map) => {
            Some((Check::Flat, "is nested; values must be strings, numbers or booleans".into()))
        }
        (Kind::List(_), given) if !matches!(given, Given::Map) => {
            Some((Check::Type, format!("must be an object; {} was sent", given.name()).into()))
        }
        _ => None,
    }
}

fn wrong_type(kind: &Kind, given: Given<'_>) -> Fault {
    let wanted = match kind {
        Kind::Text | Kind::Sid | Kind::OneOf(_) => "a string",
        Kind::Int { .. } | Kind::Switch { .. } => "an integer",
        Kind::Float => "a number",
        Kind::TimeRanges => "a list of strings such as \"12:00-13:00\"",
        Kind::States => "a list of strings such as \"775\"",
        Kind::StateGroups => "a list of strings such as \"777,781\"",
        Kind::FlatMap => "a flat object",
        Kind::Object(_) => "an object",
        Kind::List(_) => "a list of objects",
        Kind::File => "a file",
    };
    let quotes = match (kind, given) {
        (Kind::Int { .. } | Kind::Switch { .. }, Given::Text(text)) if text.parse::<i64>().is_ok() => {
            ", leave out the quotes"
        }
        (Kind::Text | Kind::Sid | Kind::OneOf(_), Given::Int(_) | Given::Huge) => ", put it in quotes",
        _ => "",
    };
    (Check::Type, format!("must be {wanted}; {} was sent{quotes}", given.name()).into())
}

fn sid(text: &str) -> Option<Fault> {
    match text.chars().count() {
        32 => None,
        count => Some((Check::Length, format!("must be 32 characters long; it has {count}").into())),
    }
}

fn range(min: i64, max: i64, number: i64) -> Option<Fault> {
    if (min..=max).contains(&number) {
        return None;
    }
    // A longer one could be a phone number in the wrong field.
    let sent =
        if number.unsigned_abs() < 10_000_000 { format!("; {number} was sent") } else { String::new() };
    Some((Check::Range, (bounds(min, max) + &sent).into()))
}

fn bounds(min: i64, max: i64) -> String {
    match max {
        i64::MAX => format!("must be at least {min}"),
        max => format!("must be between {min} and {max}"),
    }
}

/// The document's own examples have stray quotes and backslashes in these (§10.3).
fn is_state(text: &str) -> bool {
    text.trim_matches(['"', '\\', ' ']).parse::<i32>().is_ok()
}

/// `777,781`, or a list of such, written out.
fn groups(text: &str) -> Option<Fault> {
    let text = text.trim_matches(['[', ']', ' ']);
    let good = text.split(',').all(is_state);
    (!good).then_some((Check::Format, "must be call states joined by commas, as in \"777,781\"".into()))
}

fn is_time_range(text: &str) -> bool {
    let time =
        |text: &str| text.split_once(':').is_some_and(|(hour, minute)| below(hour, 24) && below(minute, 60));
    text.split_once('-').is_some_and(|(from, to)| time(from) && time(to))
}

fn below(text: &str, limit: u8) -> bool {
    text.len() == 2
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u8>().is_ok_and(|number| number < limit)
}
