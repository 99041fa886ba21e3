//! What a call record (§7) or an intent result (§8) tells of its batch. The document's types are not relied on:
//! numbers may be texts and texts numbers, and what is odd is passed over.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What is told.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Told<'e> {
    #[serde(borrow, default)]
    pub(super) task_id: Text<'e>,
    #[serde(borrow, default)]
    pub(super) task_name: Text<'e>,
    #[serde(borrow, default)]
    pub(super) call_sn_name: Text<'e>,
    #[serde(borrow, default)]
    pub(super) calls: List<Call<'e>>,
    #[serde(borrow, default)]
    pub(super) degrees: List<Degree<'e>>,
}

impl<'e> Told<'e> {
    pub(super) fn of(body: &'e [u8]) -> Option<Self> {
        serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).ok()
    }
}

/// One call.
#[derive(Debug, Deserialize)]
pub(super) struct Call<'e> {
    #[serde(borrow, default)]
    pub(super) call_id: Text<'e>,
    #[serde(borrow, default)]
    pub(super) num: Text<'e>,
    #[serde(borrow, default)]
    pub(super) state: Text<'e>,
    #[serde(borrow, default)]
    pub(super) answered_time: Text<'e>,
}

/// What a callee was found to intend.
#[derive(Debug, Deserialize)]
pub(super) struct Degree<'e> {
    #[serde(borrow, default)]
    pub(super) num: Text<'e>,
    #[serde(borrow, default)]
    pub(super) degree_name: Text<'e>,
}

/// A text or a number; of anything else, nothing.
#[derive(Debug, Default)]
pub(super) struct Text<'e>(Option<Cow<'e, str>>);

impl Text<'_> {
    /// What it says, if it says something.
    pub(super) fn get(&self) -> Option<&str> {
        self.0.as_deref().filter(|text| !text.is_empty())
    }
}

impl<'de: 'e, 'e> Deserialize<'de> for Text<'e> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(Text)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("anything")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A list; `null` is an empty one.
#[derive(Debug, Deserialize)]
#[serde(transparent, bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct List<T>(Option<Vec<T>>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> List<T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }
}
