//! `app_id` in a JSON body.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Denied, Tenants};

/// Whether a JSON body names no tenant but those in `tenants`; read through once, without building it.
///
/// The body must be one object in UTF-8, without byte order mark; only its top level is looked at.
/// An empty body names nobody.
///
/// # Errors
/// What is wrong with it.
pub fn check_json(body: &[u8], tenants: &Tenants) -> Result<(), Denied> {
    if body.is_empty() {
        return Ok(());
    }
    read(body, tenants).or_else(|denied| tenants.excuse(denied))
}

fn read(body: &[u8], tenants: &Tenants) -> Result<(), Denied> {
    // also keeps strings apart from what another charset would make of them
    let text = std::str::from_utf8(body)
        .map_err(|_| Denied::Unreadable("the body is not UTF-8; send one JSON object in UTF-8"))?;
    let mut denied = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_map(Object { tenants, denied: &mut denied }).and_then(|()| json.end());
    match (read, denied) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(denied)) => Err(denied),
        (Err(_), None) => {
            Err(Denied::Unreadable("the body is not a single, valid JSON object; send one, without BOM"))
        }
    }
}

/// The top level. A serde error can't carry our own, so it is left in `denied`.
struct Object<'a> {
    tenants: &'a Tenants,
    denied: &'a mut Option<Denied>,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(tenant) = map.next_key_seed(Key(self.tenants))? {
            if !tenant {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let verdict = if seen { Err(Denied::Twice) } else { map.next_value_seed(Id(self.tenants))? };
            if let Err(denied) = verdict {
                *self.denied = Some(denied);
                return Err(de::Error::custom("denied"));
            }
            seen = true;
        }
        Ok(())
    }
}

/// Whether a key names the tenant.
struct Key<'a>(&'a Tenants);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(self.0.named_by(key))
    }
}

/// The tenant's id: text as documented, or an integer, which lenient receivers take as well.
struct Id<'a>(&'a Tenants);

impl Id<'_> {
    fn judge(&self, id: &str) -> Result<(), Denied> {
        if self.0.allows(id) { Ok(()) } else { Err(Denied::Foreign) }
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a visitor's methods return")]
    fn refuse<E>() -> Result<Result<(), Denied>, E> {
        Ok(Err(Denied::Unreadable("app_id is neither a string nor an integer; send it as a string")))
    }
}

impl<'de> DeserializeSeed<'de> for Id<'_> {
    type Value = Result<(), Denied>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Id<'_> {
    type Value = Result<(), Denied>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tenant's id")
    }

    fn visit_str<E>(self, id: &str) -> Result<Self::Value, E> {
        Ok(self.judge(id))
    }

    fn visit_u64<E>(self, id: u64) -> Result<Self::Value, E> {
        Ok(self.judge(&id.to_string()))
    }

    fn visit_i64<E>(self, id: i64) -> Result<Self::Value, E> {
        Ok(self.judge(&id.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Self::refuse()
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Self::refuse()
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Self::refuse()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Self::refuse()
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Self::refuse()
    }
}
