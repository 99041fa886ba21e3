//! The file's JSON Schema.

use serde_json::{Value as Json, json};

use super::node::{Content, Node, Place};
use super::read::Value;
use super::{written, yaml};

/// The JSON Schema (draft 2020-12) of the file.
pub fn schema() -> Json {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of xinyao-gateway",
    });
    if let (Json::Object(schema), Json::Object(file)) = (&mut schema, written::File::schema()) {
        schema.extend(file);
        let text = "`${NAME}` and `${NAME:-default}` are replaced from the environment inside any scalar.";
        schema.insert("description".to_owned(), text.into());
        // nothing can be signed without one
        schema.insert("required".to_owned(), json!(["credentials"]));
    }
    schema["properties"]["credentials"]["minProperties"] = 1.into();
    schema
}

/// A default, written as YAML, as JSON.
pub(super) fn default_value(text: &str) -> Json {
    json_of(&yaml::snippet(text, Place::default()))
}

fn json_of(node: &Node) -> Json {
    match &node.content {
        _ if node.is_null() => Json::Null,
        Content::List(items) => items.iter().map(json_of).collect(),
        Content::Map(entries) => {
            entries.iter().map(|entry| (entry.key.clone(), json_of(&entry.value))).collect()
        }
        Content::Scalar(scalar) if scalar.quoted => scalar.text.clone().into(),
        Content::Scalar(scalar) => match scalar.text.as_str() {
            "true" => true.into(),
            "false" => false.into(),
            text => text.parse::<u32>().map_or_else(|_| text.into(), Into::into),
        },
        Content::Broken => Json::Null,
    }
}
