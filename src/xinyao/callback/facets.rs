//! What callbacks are told apart by, read from a body as it is passed over: no tree is built of it.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A field of §7 or §8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Facet {
    /// `task_id`
    TaskId,
    /// `bot_id`
    BotId,
    /// `call_sn`
    CallSn,
    /// `call_sn_name`
    CallSnName,
    /// `state` of an entry of `calls`
    State,
    /// `degree_name` of an entry of `degrees`
    DegreeName,
}

impl Facet {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::TaskId, Self::BotId, Self::CallSn, Self::CallSnName, Self::State, Self::DegreeName];

    /// The field's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TaskId => "task_id",
            Self::BotId => "bot_id",
            Self::CallSn => "call_sn",
            Self::CallSnName => "call_sn_name",
            Self::State => "state",
            Self::DegreeName => "degree_name",
        }
    }
}

/// Tells `found` of every facet of `body` in order, as text: numbers as they are written, strings
/// unescaped. `null`, arrays and objects are none. Returns whether the body is a JSON object to its end.
pub fn scan(body: &[u8], found: &mut dyn FnMut(Facet, &str)) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut json = serde_json::Deserializer::from_slice(body);
    json.deserialize_map(Fields { level: Level::Top, found }).is_ok() && json.end().is_ok()
}

#[derive(Clone, Copy)]
enum Level {
    Top,
    Call,
    Degree,
}

/// What a field holds.
enum Holds {
    Facet(Facet),
    Entries(Level),
    Nothing,
}

impl Level {
    fn field(self, name: &str) -> Holds {
        match (self, name) {
            (Self::Top, "task_id") => Holds::Facet(Facet::TaskId),
            (Self::Top, "bot_id") => Holds::Facet(Facet::BotId),
            (Self::Top, "call_sn") => Holds::Facet(Facet::CallSn),
            (Self::Top, "call_sn_name") => Holds::Facet(Facet::CallSnName),
            (Self::Top, "calls") => Holds::Entries(Self::Call),
            (Self::Top, "degrees") => Holds::Entries(Self::Degree),
            (Self::Call, "state") => Holds::Facet(Facet::State),
            (Self::Degree, "degree_name") => Holds::Facet(Facet::DegreeName),
            (Self::Top | Self::Call | Self::Degree, _) => Holds::Nothing,
        }
    }
}

struct Fields<'f> {
    level: Level,
    found: &'f mut dyn FnMut(Facet, &str),
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            match self.level.field(&name) {
                Holds::Facet(facet) => {
                    let value: &RawValue = map.next_value()?;
                    if let Some(text) = text(value).map_err(A::Error::custom)? {
                        (self.found)(facet, &text);
                    }
                }
                Holds::Entries(level) => map.next_value_seed(Entries { level, found: &mut *self.found })?,
                Holds::Nothing => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// An array of objects, or something else that is passed over.
struct Entries<'f> {
    level: Level,
    found: &'f mut dyn FnMut(Facet, &str),
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

/// Passes over what is not of the shape that is looked for.
macro_rules! pass_over {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E: serde::de::Error>(self, _: $kind) -> Result<Self::Value, E> {
            Ok(())
        })*
        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(())
        }
    };
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { level, found } = self;
        while seq.next_element_seed(Entry { level, found: &mut *found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }

    pass_over!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}

struct Entry<'f> {
    level: Level,
    found: &'f mut dyn FnMut(Facet, &str),
}

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Fields { level: self.level, found: self.found }.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    pass_over!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);
}

/// A string without its quotes, a number or a truth value as it stands; `None` for anything else.
fn text(value: &RawValue) -> serde_json::Result<Option<Cow<'_, str>>> {
    let raw = value.get();
    Ok(match raw.as_bytes().first() {
        Some(b'"') => Some(Cow::Owned(serde_json::from_str(raw)?)),
        Some(b'-' | b'0'..=b'9' | b't' | b'f') => Some(Cow::Borrowed(raw)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facets(body: &[u8]) -> (Vec<(Facet, String)>, bool) {
        let mut found = Vec::new();
        let whole = scan(body, &mut |facet, text| found.push((facet, text.to_owned())));
        (found, whole)
    }

    #[test]
    fn facets_are_found_where_they_belong() {
        let body = r#"{"task_id":17,"state":9,"call_sn":"a\u0062","x":{"task_id":"no"},"call_sn_name":null,
            "calls":[{"state":775,"y":[{"state":1}]},7,[{"state":2}],{"state":"1"}],
            "degrees":[{"degree_name":"A类","state":3}],"bot_id":18446744073709551999.10}"#;
        let found = [
            (Facet::TaskId, "17"),
            (Facet::CallSn, "ab"),
            (Facet::State, "775"),
            (Facet::State, "1"),
            (Facet::DegreeName, "A类"),
            (Facet::BotId, "18446744073709551999.10"),
        ];
        assert_eq!(facets(body.as_bytes()), (found.map(|(f, t)| (f, t.to_owned())).to_vec(), true));
        assert_eq!(facets(b"\xef\xbb\xbf{\"task_id\":\"1\"}").0, [(Facet::TaskId, "1".to_owned())]);
    }

    #[test]
    fn what_is_no_object_has_none() {
        for body in [&b""[..], b"[]", b"7", b"{\"task_id\":", b"{\"task_id\":{}} x", b"\xff{}", b"null"] {
            assert_eq!(facets(body), (vec![], false), "{body:?}");
        }
        assert_eq!(facets(br#"{"calls":{"state":1},"degrees":"x"}"#), (vec![], true));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"x\":{}1{},\"task_id\":1}}", "[".repeat(1 << 20), "]".repeat(1 << 20));
        assert_eq!(facets(deep.as_bytes()), (vec![(Facet::TaskId, "1".to_owned())], true));
    }

    proptest! {
        #[test]
        fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..200), cut in 0_usize..90) {
            facets(&body);
            let whole = br#"{"task_id":"1","calls":[{"state":775}],"degrees":[{"degree_name":"\ud83d\ude00"}]}"#;
            facets(&whole[..cut.min(whole.len())]);
        }
    }
}
