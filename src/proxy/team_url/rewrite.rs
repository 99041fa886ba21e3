//! Finds `team_url` in a task, and changes it without touching another byte.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::xinyao::checks;

/// How a task names an address.
#[derive(Debug, PartialEq, Eq)]
pub enum Named {
    /// By this text, which stands there.
    Once {
        /// The text.
        url: String,
        /// Where its JSON begins.
        start: usize,
        /// And ends.
        end: usize,
    },
    /// Not at all; its first field begins behind `at`.
    Not {
        /// Behind the opening brace.
        at: usize,
        /// There are no fields.
        empty: bool,
    },
    /// Two readers could take it for two addresses.
    Twice,
}

/// Finds it; `None`: the body is no JSON object, or names something that is no text.
pub fn find(body: &[u8]) -> Option<Named> {
    let text = std::str::from_utf8(body).ok()?;
    if let Some(values) = values(text) {
        return named(text, &values);
    }
    // What the checks forgive must not keep an address from being seen.
    let mended = checks::mend(body)?;
    let text = std::str::from_utf8(&mended).ok()?;
    named(text, &values(text)?)
}

/// `None`: it is no JSON object. A byte order mark is overlooked, as lenient readers do.
fn values(text: &str) -> Option<Found<'_>> {
    let mut json = serde_json::Deserializer::from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    let values = json.deserialize_map(Values).ok()?;
    json.end().ok()?;
    Some(values)
}

fn named(text: &str, values: &Found<'_>) -> Option<Named> {
    let at = text.find('{')? + 1;
    match values.of[..] {
        [] => Some(Named::Not { at, empty: values.fields == 0 }),
        [value] => {
            // It is a part of the text that was read.
            let start = (value.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
            let url: String = serde_json::from_str(value.get()).ok()?;
            Some(Named::Once { url, start, end: start + value.get().len() })
        }
        _ => Some(Named::Twice),
    }
}

/// The body with `url` in it.
pub fn replace(body: &[u8], named: &Named, url: &str) -> Vec<u8> {
    let url = serde_json::Value::from(url).to_string();
    match named {
        Named::Once { start, end, .. } => [&body[..*start], url.as_bytes(), &body[*end..]].concat(),
        Named::Not { at, empty } => {
            let comma = if *empty { "" } else { "," };
            [&body[..*at], format!("\"team_url\":{url}{comma}").as_bytes(), &body[*at..]].concat()
        }
        Named::Twice => body.to_vec(),
    }
}

/// Collects the values of `team_url`.
struct Values;

#[derive(Default)]
struct Found<'t> {
    of: Vec<&'t RawValue>,
    fields: usize,
}

impl<'t> Visitor<'t> for Values {
    type Value = Found<'t>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Found<'t>, A::Error> {
        let mut found = Found::default();
        while let Some(key) = map.next_key::<String>()? {
            let value: &RawValue = map.next_value()?;
            found.fields += 1;
            if key == "team_url" {
                found.of.push(value);
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rewritten(body: &str) -> Option<String> {
        let named = find(body.as_bytes())?;
        Some(String::from_utf8(replace(body.as_bytes(), &named, "http://g/x")).unwrap())
    }

    #[test]
    fn only_the_address_changes() {
        for (body, expected) in [
            (
                r#"{"a": 1, "team_url" : "http:\/\/a\/" , "b":2}"#,
                Some(r#"{"a": 1, "team_url" : "http://g/x" , "b":2}"#),
            ),
            (r#" {"te\u0061m_url":"x"} "#, Some(r#" {"te\u0061m_url":"http://g/x"} "#)),
            (r#"{ "a":{"team_url":"x"} }"#, Some(r#"{"team_url":"http://g/x", "a":{"team_url":"x"} }"#)),
            ("{ }", Some(r#"{"team_url":"http://g/x" }"#)),
            ("\u{feff}{\"team_url\":\"x\"}", Some("\u{feff}{\"team_url\":\"http://g/x\"}")),
            ("\u{feff}{}", Some("\u{feff}{\"team_url\":\"http://g/x\"}")),
            (
                r#"{"ring_asr_code":["\775","773\"],"team_url":"http:\/\/a"}"#,
                Some(r#"{"ring_asr_code":["\775","773\"],"team_url":"http://g/x"}"#),
            ),
            (r#"{"team_url":"x","b":"\7"}"#, None),
            (r#"{"team_url":null}"#, None),
            (r#"{"team_url":["x"]}"#, None),
            (r#"{"team_url":"x"} {}"#, None),
            ("[]", None),
            ("", None),
            ("{", None),
        ] {
            assert_eq!(rewritten(body).as_deref(), expected, "{body}");
        }
        assert_eq!(find(br#"{"team_url":"a","team_url":"b"}"#), Some(Named::Twice));
        let url = |body: &str| match find(body.as_bytes()) {
            Some(Named::Once { url, .. }) => Some(url),
            _ => None,
        };
        assert_eq!(url(r#"{"team_url":"http:\/\/a\u002fb"}"#).as_deref(), Some("http://a/b"));
    }

    proptest! {
        #[test]
        fn nothing_panics(body in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(named) = find(&body) {
                replace(&body, &named, "u");
            }
        }
    }
}
