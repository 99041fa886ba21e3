//! `enrich`: what subscribers would otherwise each do for themselves.
//!
//! Of a call record (§7) each call's `record_url` is made absolute on the proxy listener's address, a
//! `state` of §18 gets its `state_text` beside it, and each `dialog_text` a `dialog_plain` without its
//! SSML. The additions are spliced into the text of the body, so that everything else stays byte for byte:
//! numbers of any size, doubled keys, white space. What is not of this shape is left alone.

mod ssml;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::xinyao::call_state;

/// The body as an enriched subscriber gets it; what is no JSON object is given back as it came.
///
/// `proxy_url` is without a slash at its end.
pub fn enrich(body: &Bytes, proxy_url: &str) -> Bytes {
    let Ok(text) = std::str::from_utf8(body) else { return body.clone() };
    let json = text.strip_prefix('\u{feff}').unwrap_or(text);
    let Ok(top) = serde_json::from_str::<Fields<'_>>(json) else { return body.clone() };
    let mut edits = Edits { text, proxy_url, edits: Vec::new() };
    for call in top.entries("calls") {
        edits.call(call);
    }
    edits.apply().map_or_else(|| body.clone(), Bytes::from)
}

/// The fields of an object as they stand, doubled ones included.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Fields<'a> {
    fn of(object: &'a RawValue) -> Option<Self> {
        serde_json::from_str(object.get()).ok()
    }

    fn named<'f>(&'f self, name: &'f str) -> impl DoubleEndedIterator<Item = &'a RawValue> + use<'a, 'f> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| *value)
    }

    /// The entries of every array of that name.
    fn entries(&self, name: &str) -> Vec<&'a RawValue> {
        self.named(name)
            .filter_map(|array| serde_json::from_str::<Vec<&'a RawValue>>(array.get()).ok())
            .flatten()
            .collect()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    fields.push((field.0.0, field.1));
                }
                Ok(Fields(fields))
            }
        }

        json.deserialize_map(Collect)
    }
}

/// Borrowed where it can be: a plain `Cow` never is.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// What is to be changed where.
struct Edits<'a> {
    text: &'a str,
    proxy_url: &'a str,
    edits: Vec<(Range<usize>, String)>,
}

impl Edits<'_> {
    fn call(&mut self, call: &RawValue) {
        let Some(fields) = Fields::of(call) else { return };
        for url in fields.named("record_url") {
            if let Some(absolute) = string(url).and_then(|path| absolute(&path, self.proxy_url)) {
                self.edits.push((self.range(url), quoted(&absolute)));
            }
        }
        let state = fields.named("state").next_back().filter(|_| fields.named("state_text").next().is_none());
        if let Some((state, text)) = state.and_then(|raw| Some((raw, call_state::text(integer(raw)?)?))) {
            self.insert_after(state, "state_text", text);
        }
        for dialog in fields.entries("dialogs") {
            self.dialog(dialog);
        }
    }

    fn dialog(&mut self, dialog: &RawValue) {
        let Some(fields) = Fields::of(dialog) else { return };
        let text = fields.named("dialog_text").next_back();
        let text = text.filter(|_| fields.named("dialog_plain").next().is_none());
        if let Some((raw, text)) = text.and_then(|raw| Some((raw, string(raw)?))) {
            self.insert_after(raw, "dialog_plain", &ssml::plain(&text));
        }
    }

    fn insert_after(&mut self, value: &RawValue, name: &str, text: &str) {
        let end = self.range(value).end;
        self.edits.push((end..end, format!(",\"{name}\":{}", quoted(text))));
    }

    /// Where in the text a value stands: it was borrowed from there.
    fn range(&self, value: &RawValue) -> Range<usize> {
        let start = value.get().as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + value.get().len()
    }

    fn apply(mut self) -> Option<String> {
        self.edits.sort_by_key(|(range, _)| range.start);
        let added: usize = self.edits.iter().map(|(_, text)| text.len()).sum();
        let (mut whole, mut at) = (String::with_capacity(self.text.len() + added), 0);
        for (range, text) in &self.edits {
            whole.push_str(self.text.get(at..range.start)?);
            whole.push_str(text);
            at = range.end;
        }
        whole.push_str(self.text.get(at..)?);
        (!self.edits.is_empty()).then_some(whole)
    }
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A state, as a number or as its text.
fn integer(value: &RawValue) -> Option<i64> {
    value.get().trim_matches('"').parse().ok()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A path on the proxy's address; `None` for what is a URL already, and for nothing.
fn absolute(path: &str, proxy_url: &str) -> Option<String> {
    if path.is_empty() || path.contains("://") || path.starts_with("//") {
        return None;
    }
    let slash = if path.starts_with('/') { "" } else { "/" };
    Some(format!("{proxy_url}{slash}{path}"))
}

#[cfg(test)]
mod tests;
