//! `record!`: a mapping of the file as a struct. A field's doc comment, key, type and default (as YAML)
//! stand in one place, from which reading, the JSON Schema and `docs/configuration.md` all come.

use serde_json::{Map, Value as Json, json};

use super::read::{Field, or_null};

/// Declares structs whose fields are `key: Type = "default",`, or `key: Type,` for required ones.
macro_rules! record {
    ($($(#[doc = $doc:literal])+ struct $name:ident {
        $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty $(= $default:literal)?,)+
    })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Default)]
        pub(in crate::config) struct $name {
            $($(#[doc = $field_doc])+ pub(in crate::config) $field: $crate::config::read::At<$type>,)+
        }

        impl $crate::config::read::Value for $name {
            fn read(
                node: &$crate::config::node::Node,
                reader: &mut $crate::config::read::Reader<'_>,
            ) -> Option<(Self, serde_json::Value)> {
                let known = [$($crate::config::record::field_of!($field, $type $(, $default)?)),+];
                let mut fields = $crate::config::read::Fields::of(node, &known, reader);
                $(let $field = fields.take(
                    $crate::config::record::field_of!($field, $type $(, $default)?),
                    reader,
                );)+
                Some((Self { $($field),+ }, fields.shown()))
            }

            fn schema() -> serde_json::Value {
                $crate::config::record::object(concat!($($doc),+), [$((
                    $crate::config::record::field_of!($field, $type $(, $default)?),
                    concat!($($field_doc),+),
                    <$type as $crate::config::read::Value>::schema(),
                )),+])
            }
        }
    )+};
}

/// What is known of a field from its declaration.
macro_rules! field_of {
    ($field:ident, $type:ty) => {
        $crate::config::record::field_of!(@ $field, $type, None)
    };
    ($field:ident, $type:ty, $default:literal) => {
        $crate::config::record::field_of!(@ $field, $type, Some($default))
    };
    (@ $field:ident, $type:ty, $default:expr) => {
        $crate::config::read::Field {
            key: $crate::config::record::key(stringify!($field)),
            in_file: <$type as $crate::config::read::Value>::IN_FILE,
            default: $default,
        }
    };
}

pub(super) use {field_of, record};

/// A field's key: its name, without what Rust wants before its own keywords.
pub(super) fn key(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

/// The JSON Schema of a mapping of `fields`: what is known of each, its text, its own schema.
pub(super) fn object<const N: usize>(doc: &str, fields: [(Field, &str, Json); N]) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    let mut either = Vec::new();
    for (field, doc, mut schema) in fields {
        if let Some(default) = field.default {
            schema = or_null(schema);
            schema["default"] = super::schema::default_value(default);
        }
        schema["description"] = doc.trim().into();
        properties.insert(field.key.to_owned(), schema);
        let file_key = format!("{}_file", field.key);
        if field.in_file {
            let text = format!("A file that holds `{}`; its last newline is cut.", field.key);
            let path =
                json!({"type": ["string", "array", "null"], "title": "path of a file", "description": text});
            properties.insert(file_key.clone(), path);
        }
        match field.default {
            None if field.in_file => {
                either.push(json!({"anyOf": [{"required": [field.key]}, {"required": [file_key]}]}));
            }
            None => required.push(Json::from(field.key)),
            Some(_) => {}
        }
    }
    let mut object = json!({
        "type": "object", "description": doc.trim(), "properties": properties, "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = required.into();
    }
    if !either.is_empty() {
        object["allOf"] = either.into();
    }
    object
}
