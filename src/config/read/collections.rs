//! Lists, maps of names, and what may be left out.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{At, LIST, Reader, Value, wrong_kind};
use crate::config::node::{Content, Node};

/// Entries by name.
pub(in crate::config) type Named<T> = BTreeMap<String, At<T>>;

/// One value or a list of them; none when nothing is written.
#[derive(Debug, Clone)]
pub(in crate::config) struct OneOrMany<T>(pub(in crate::config) Vec<At<T>>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Value> Value for Option<T> {
    const IN_FILE: bool = T::IN_FILE;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        if is_unset(node) {
            return Some((None, Json::Null));
        }
        T::read(node, reader).map(|(value, shown)| (Some(value), shown))
    }

    fn schema() -> Json {
        or_null(T::schema())
    }
}

impl<T: Value> Value for Vec<At<T>> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        let Content::List(items) = &node.content else {
            wrong_kind(node, LIST, reader);
            return None;
        };
        let items: Self = items.iter().filter_map(|item| At::read(item, reader)).collect();
        let shown = items.iter().map(|item| item.shown.clone()).collect();
        Some((items, shown))
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }
}

impl<T: Value> Value for Named<T> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        let Content::Map(entries) = &node.content else {
            wrong_kind(node, "a mapping of names", reader);
            return None;
        };
        let mut named = Self::new();
        let mut shown = Map::new();
        for entry in entries {
            if let Some(mut value) = At::<T>::read(&entry.value, reader) {
                value.place = entry.place;
                shown.insert(entry.key.clone(), value.shown.clone());
                named.insert(entry.key.clone(), value);
            }
        }
        Some((named, shown.into()))
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

impl<T: Value> Value for OneOrMany<T> {
    const IN_FILE: bool = T::IN_FILE;

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<(Self, Json)> {
        if is_unset(node) {
            return Some((Self::default(), Json::Null));
        }
        if let Content::List(nodes) = &node.content {
            // an entry that a variable leaves empty is how a rotation ends
            let nodes = nodes.iter().filter(|node| !is_unset(node));
            let items: Vec<At<T>> = nodes.filter_map(|node| At::read(node, reader)).collect();
            let shown = items.iter().map(|item| item.shown.clone()).collect();
            return Some((Self(items), shown));
        }
        let one = At::<T>::read(node, reader)?;
        let shown = one.shown.clone();
        Some((Self(vec![one]), shown))
    }

    fn schema() -> Json {
        let one = T::schema();
        let title = one["title"].as_str().map(|name| format!("{name}, or a list of them"));
        let mut schema = json!({"anyOf": [one, {"type": "array", "items": T::schema()}, {"type": "null"}]});
        if let Some(title) = title {
            schema["title"] = title.into();
        }
        schema
    }
}

/// Nothing, or a text without a character.
fn is_unset(node: &Node) -> bool {
    node.is_null() || matches!(&node.content, Content::Scalar(scalar) if scalar.text.is_empty())
}

/// `schema`, or nothing.
pub(in crate::config) fn or_null(mut schema: Json) -> Json {
    if let Some(choices) = schema.get_mut("enum").and_then(Json::as_array_mut)
        && !choices.contains(&Json::Null)
    {
        choices.push(Json::Null);
    }
    if let Some(choices) = schema.get_mut("anyOf").and_then(Json::as_array_mut) {
        let null = json!({"type": "null"});
        if !choices.contains(&null) {
            choices.push(null);
        }
    }
    match schema.get_mut("type") {
        Some(Json::Array(types)) if !types.contains(&"null".into()) => types.push("null".into()),
        Some(single @ Json::String(_)) => *single = json!([single.take(), "null"]),
        _ => {}
    }
    schema
}
