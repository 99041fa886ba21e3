//! A field of the endpoint table as a JSON Schema.

use serde_json::{Map, Value, json};

use crate::xinyao::endpoint::{Field, Kind, Need};

const TIME_RANGE: &str = "^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$";
// Some states are negative.
const STATE: &str = "^-?[0-9]+$";
const STATE_GROUP: &str = "^-?[0-9]+(,-?[0-9]+)*$";

/// An object of `fields`; those that another field makes required are asked for by `if` and `then`.
/// Further keys are let pass, as the SaaS does.
pub(super) fn object(fields: &[Field]) -> Map<String, Value> {
    let mut schema = Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), Value::Object(properties(fields))),
    ]);
    let required = required(fields);
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    let conditions: Vec<_> = fields.iter().filter_map(condition).collect();
    if !conditions.is_empty() {
        schema.insert("allOf".to_owned(), json!(conditions));
    }
    schema
}

/// The schema of each field, by its key.
pub(super) fn properties(fields: &[Field]) -> Map<String, Value> {
    fields.iter().map(|field| (field.name.to_owned(), Value::Object(property(field)))).collect()
}

/// The keys that must always be there.
pub(super) fn required(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().filter(|field| field.need == Need::Required).map(|field| field.name).collect()
}

/// A value that the table gives as JSON text; text that is no JSON stands for itself.
pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn property(field: &Field) -> Map<String, Value> {
    let mut schema = kind(&field.kind);
    let mut description = field.meaning.to_owned();
    if let Kind::Switch { one, two } = field.kind {
        description.push_str(&format!(" (1: {one}; 2: {two})"));
    }
    if let Need::When { field, is } = field.need {
        description.push_str(&format!(" ({field} 为 {is} 时必填)"));
    }
    schema.insert("description".to_owned(), Value::from(description));
    if let Some(default) = field.default {
        schema.insert("default".to_owned(), parsed(default));
    }
    schema
}

fn kind(kind: &Kind) -> Map<String, Value> {
    let schema = match kind {
        Kind::Text => json!({ "type": "string" }),
        Kind::Int { min, max } => return integer(*min, *max),
        Kind::Float => json!({ "type": "number" }),
        Kind::Switch { .. } => json!({ "type": "integer", "enum": [1, 2] }),
        Kind::OneOf(choices) => json!({ "type": "string", "enum": choices }),
        Kind::Sid => json!({ "type": "string", "minLength": 32, "maxLength": 32 }),
        Kind::TimeRanges => texts(TIME_RANGE),
        Kind::States => texts(STATE),
        Kind::StateGroups => texts(STATE_GROUP),
        Kind::FlatMap => json!({
            "type": "object",
            "additionalProperties": { "type": ["string", "number", "boolean"] },
        }),
        Kind::Object(fields) => return object(fields),
        Kind::List(fields) => json!({ "type": "array", "items": object(fields) }),
        Kind::File => json!({ "type": "string", "format": "binary" }),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

fn texts(pattern: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string", "pattern": pattern } })
}

/// Bounds that are those of the number's type say nothing, and are left out.
fn integer(min: i64, max: i64) -> Map<String, Value> {
    let mut schema = Map::from_iter([("type".to_owned(), json!("integer"))]);
    if min != i64::MIN {
        schema.insert("minimum".to_owned(), json!(min));
    }
    if max != i64::MAX {
        schema.insert("maximum".to_owned(), json!(max));
    }
    schema
}

fn condition(field: &Field) -> Option<Value> {
    let Need::When { field: deciding, is } = field.need else { return None };
    Some(json!({
        "if": { "properties": { deciding: { "const": is } }, "required": [deciding] },
        "then": { "required": [field.name] },
    }))
}
