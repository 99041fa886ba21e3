//! A JSON body, passed over once; nothing is built of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::value::{Given, judge, judge_entry};
use super::{Check, Failure, Present};
use crate::xinyao::endpoint::{Endpoint, Field, Kind};

/// What failures name that belong to no field.
pub const BODY: &str = "body";

/// Everything that is wrong with `body` as a request to `endpoint`.
pub fn json(endpoint: Endpoint, body: &[u8]) -> Vec<Failure> {
    let fields = endpoint.spec().fields;
    read(fields, body).unwrap_or_else(|failure| match mend(body) {
        Some(mended) => read(fields, &mended).unwrap_or_else(|_| vec![failure]),
        None => vec![failure],
    })
}

/// The failures, or why it can't be read.
fn read(fields: &'static [Field], body: &[u8]) -> Result<Vec<Failure>, Failure> {
    let unreadable = |msg: String| Failure::new(BODY, Check::Body, msg);
    let text = std::str::from_utf8(body)
        .map_err(|_| unreadable("is not UTF-8; send one JSON object in UTF-8".into()))?;
    if text.trim_ascii().is_empty() {
        return Err(unreadable("is empty; send one JSON object".into()));
    }
    let mut found = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let object = Object { fields, failures: &mut found };
    match json.deserialize_map(object).and_then(|()| json.end()) {
        Ok(()) => Ok(found),
        // What this one says would repeat what was sent.
        Err(error) if error.is_data() => Err(unreadable("is not a JSON object; send one".into())),
        Err(_) if text.starts_with('\u{feff}') => {
            Err(unreadable("begins with a byte order mark; send the JSON object without it".into()))
        }
        Err(error) => Err(unreadable(format!("is not one JSON object: {error}"))),
    }
}

/// The example of §10.3 has backslashes inside `ring_asr_code` that make it no JSON; whoever took it over
/// is not told of them. Blanks take their place, so that all else stays where it is. `None`: that is not what
/// is wrong.
pub fn mend(body: &[u8]) -> Option<Vec<u8>> {
    let key = memchr::memmem::find(body, b"\"ring_asr_code\"")?;
    let start = key + memchr::memchr(b'[', &body[key..])?;
    let end = start + memchr::memchr(b']', &body[start..])?;
    let mut mended = body.to_vec();
    for byte in mended[start..end].iter_mut().filter(|byte| **byte == b'\\') {
        *byte = b' ';
    }
    (mended != body).then_some(mended)
}

/// The top level.
struct Object<'a> {
    fields: &'static [Field],
    failures: &'a mut Vec<Failure>,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut present = Present::default();
        while let Some(at) = map.next_key_seed(Key(self.fields))? {
            let Some(at) = at else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &self.fields[at];
            if !present.see(at, field, self.failures) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if let Some(chosen) = map.next_value_seed(Value { field, failures: self.failures })? {
                present.has(at, field, chosen);
            }
        }
        present.miss(self.fields, self.failures);
        Ok(())
    }
}

/// Where the field of this name is in the table's row.
struct Key(&'static [Field]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|field| field.name == key))
    }
}

/// A field's value. Told is whether it is one: null and an empty text are not; and which of its choices it is.
struct Value<'a> {
    field: &'static Field,
    failures: &'a mut Vec<Failure>,
}

type Valued = Option<Option<&'static str>>;

impl Value<'_> {
    /// Which of its choices it is, if it has any.
    fn judge(self, given: Given<'_>) -> Option<&'static str> {
        judge(self.field, given).unwrap_or_else(|failure| {
            self.failures.push(failure);
            None
        })
    }

    /// Tells of the first bad entry.
    fn entry(&mut self, told: &mut bool, at: usize, given: Given<'_>) {
        let fault = if *told { None } else { judge_entry(&self.field.kind, given) };
        if let Some((check, msg)) = fault {
            *told = true;
            self.failures.push(Failure::new(self.field.name, check, format!("entry {} {msg}", at + 1)));
        }
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Valued;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Valued, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Valued;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Valued, E> {
        let empty = text.is_empty() && matches!(self.field.kind, Kind::Text | Kind::OneOf(_) | Kind::Sid);
        Ok((!empty).then(|| self.judge(Given::Text(text))))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Valued, E> {
        Ok(Some(self.judge(i64::try_from(number).map_or(Given::Huge, Given::Int))))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Valued, E> {
        Ok(Some(self.judge(Given::Int(number))))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Valued, E> {
        Ok(Some(self.judge(Given::Float)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Valued, E> {
        Ok(Some(self.judge(Given::Bool)))
    }

    fn visit_unit<E>(self) -> Result<Valued, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Valued, A::Error> {
        let (mut at, mut told) = (0, false);
        let is_list = judge(self.field, Given::List).is_ok();
        while let Some(()) = list.next_element_seed(Entry(|given: Given<'_>| {
            if is_list {
                self.entry(&mut told, at, given);
            }
        }))? {
            at += 1;
        }
        Ok(Some(self.judge(Given::List)))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Valued, A::Error> {
        let (mut at, mut told) = (0, false);
        let is_map = judge(self.field, Given::Map).is_ok();
        while map.next_key::<IgnoredAny>()?.is_some() {
            map.next_value_seed(Entry(|given: Given<'_>| {
                if is_map {
                    self.entry(&mut told, at, given);
                }
            }))?;
            at += 1;
        }
        Ok(Some(self.judge(Given::Map)))
    }
}

/// An entry of a list or map; told as it is, with what is in it passed over.
struct Entry<F>(F);

impl<'de, F: FnMut(Given<'_>)> DeserializeSeed<'de> for Entry<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Given<'_>)> Visitor<'de> for Entry<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        (self.0)(Given::Text(text));
        Ok(())
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        (self.0)(i64::try_from(number).map_or(Given::Huge, Given::Int));
        Ok(())
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        (self.0)(Given::Int(number));
        Ok(())
    }

    fn visit_f64<E>(mut self, _: f64) -> Result<(), E> {
        (self.0)(Given::Float);
        Ok(())
    }

    fn visit_bool<E>(mut self, _: bool) -> Result<(), E> {
        (self.0)(Given::Bool);
        Ok(())
    }

    fn visit_unit<E>(mut self) -> Result<(), E> {
        (self.0)(Given::Null);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        (self.0)(Given::List);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        (self.0)(Given::Map);
        Ok(())
    }
}
