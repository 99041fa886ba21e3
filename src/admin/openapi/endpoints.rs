//! What the proxy listener serves: the documented endpoints, and recordings.

use serde_json::{Map, Value, json};

use super::{Parts, component, every_answers_headers, fields, json_of, refusals};
use crate::xinyao::endpoint::{ANSWER, BodyKind, Endpoint, Field, Kind, Spec, TABLE};

pub(super) const TAG: &str = "proxy";
pub(super) const SECURITY: &str = "appToken";
const NUMBER_FILE: &str = "number,name\n13800138000,张三\n";
const NUMBER_FILE_TYPES: &str =
    "text/csv, text/plain, application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";

pub(super) fn server() -> Value {
    json!({
        "url": "http://{address}",
        "description": "The proxy listener (`listen.proxy`).",
        "variables": { "address": { "default": "localhost:8080", "description": "Its host and port." } },
    })
}

pub(super) fn add(parts: &mut Parts) {
    for spec in &TABLE {
        parts.schemas.insert(request_name(spec), request_schema(spec));
        parts.schemas.insert(answer_name(spec), answer_schema(spec));
        parts.operation(spec.path, "post", &server(), operation(spec));
    }
    parts.operation("/coeus/{path}", "get", &server(), recordings());
}

/// `followed_data`'s request is called `FollowedDataRequest`.
pub(super) fn request_name(spec: &Spec) -> String {
    pascal(spec.name) + "Request"
}

pub(super) fn answer_name(spec: &Spec) -> String {
    pascal(spec.name) + "Answer"
}

fn pascal(name: &str) -> String {
    let words = name.split('_').filter_map(|word| word.split_at_checked(1));
    words.map(|(first, rest)| first.to_ascii_uppercase() + rest).collect()
}

fn request_schema(spec: &Spec) -> Value {
    let mut schema = fields::object(spec.fields);
    schema.insert("examples".to_owned(), json!([request_example(spec)]));
    Value::Object(schema)
}

/// Of a multipart body the table gives the text fields as they are sent; here each is what it stands
/// for, and the file is there too.
fn request_example(spec: &Spec) -> Value {
    let mut example = fields::parsed(spec.example);
    if let (BodyKind::Multipart, Value::Object(example)) = (spec.body, &mut example) {
        for field in spec.fields {
            match (&field.kind, example.get_mut(field.name)) {
                (Kind::Int { .. } | Kind::Float | Kind::Switch { .. }, Some(value)) => {
                    *value = fields::parsed(value.as_str().unwrap_or_default());
                }
                (Kind::File, None) => {
                    example.insert(field.name.to_owned(), json!(NUMBER_FILE));
                }
                _ => {}
            }
        }
    }
    example
}

/// `code` and `msg` always; the endpoint's own fields when the call succeeded.
fn answer_schema(spec: &Spec) -> Value {
    let mut schema = fields::object(&ANSWER);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        properties.append(&mut fields::properties(spec.answer));
    }
    let required = fields::required(spec.answer);
    if !required.is_empty() {
        schema.insert("if".to_owned(), json!({ "properties": { "code": { "const": 0 } } }));
        schema.insert("then".to_owned(), json!({ "required": required }));
    }
    schema.insert("examples".to_owned(), json!([fields::parsed(spec.answer_example)]));
    Value::Object(schema)
}

fn operation(spec: &Spec) -> Value {
    let target = format!("Vendor document §{}.", spec.section);
    let twice = if spec.repeatable {
        "May be sent again after a connection broke off; the gateway does so once."
    } else {
        "Never sent again by the gateway once any of it was sent."
    };
    json!({
        "operationId": spec.name,
        "tags": [TAG],
        "summary": spec.summary,
        "description": format!("{target} {twice}"),
        "security": security(),
        "parameters": parameters(spec),
        "requestBody": { "required": true, "content": request_content(spec) },
        "responses": responses(&refusals_of(spec), [("200", json!({
            "description": "The SaaS's answer. The call succeeded if `code` is 0.",
            "headers": good_answers_headers(spec),
            "content": json_of(&answer_name(spec)),
        }))]),
    })
}

fn parameters(spec: &Spec) -> Vec<Value> {
    let guard: &[&str] = if is_guarded(spec) { &["IdempotencyKey", "Force"] } else { &[] };
    ["RequestId"].iter().chain(guard).map(|name| component("parameters", name)).collect()
}

fn good_answers_headers(spec: &Spec) -> Map<String, Value> {
    let mut headers = answers_headers();
    if is_guarded(spec) {
        headers.insert("idempotency-replayed".to_owned(), component("headers", "IdempotencyReplayed"));
    }
    headers
}

fn answers_headers() -> Map<String, Value> {
    let mut headers = every_answers_headers();
    headers.insert("x-gateway-warning".to_owned(), component("headers", "Warning"));
    headers
}

/// A token is a second factor, for those apps that have one.
fn security() -> Value {
    json!([{}, { SECURITY: [] }])
}

fn request_content(spec: &Spec) -> Value {
    let schema = request_name(spec);
    match spec.body {
        BodyKind::Json => json_of(&schema),
        BodyKind::Multipart => json!({
            "multipart/form-data": {
                "schema": component("schemas", &schema),
                "encoding": encodings(spec.fields),
            },
        }),
    }
}

fn encodings(fields: &[Field]) -> Map<String, Value> {
    let files = fields.iter().filter(|field| matches!(field.kind, Kind::File));
    files.map(|field| (field.name.to_owned(), json!({ "contentType": NUMBER_FILE_TYPES }))).collect()
}

fn recordings() -> Value {
    let recording = |description: &str| {
        json!({
            "description": description,
            "headers": every_answers_headers(),
            "content": { "audio/*": { "schema": { "type": "string", "format": "binary" } } },
        })
    };
    json!({
        "operationId": "recordings",
        "tags": [TAG],
        "summary": "录音文件",
        "description": "A recording: the path is the `record_url` of a call record (vendor document §7). \
                        Streamed from `upstream.recordings_url`.",
        "security": security(),
        "parameters": [
            {
                "name": "path",
                "in": "path",
                "required": true,
                "description": "The rest of the path; its slashes are slashes.",
                "schema": { "type": "string" },
            },
            {
                "name": "Range",
                "in": "header",
                "description": "Passed on (RFC 9110 §14.2).",
                "schema": { "type": "string" },
            },
            component("parameters", "RequestId"),
        ],
        "responses": responses(&refusals::WITHOUT_BODY, [
            ("200", recording("The recording.")),
            ("206", recording("The range that was asked for.")),
        ]),
    })
}

/// Whether it must not be sent twice by accident.
fn is_guarded(spec: &Spec) -> bool {
    matches!(spec.endpoint, Endpoint::AddTask | Endpoint::Outnum)
}

fn refusals_of(spec: &Spec) -> Vec<u16> {
    let guarded = is_guarded(spec);
    let statuses = refusals::WITH_BODY.iter().copied();
    statuses.filter(|status| guarded || *status != refusals::DUPLICATE).collect()
}

fn responses<const N: usize>(refused: &[u16], good: [(&str, Value); N]) -> Map<String, Value> {
    let mut responses = Map::from_iter(good.map(|(status, response)| (status.to_owned(), response)));
    for status in refused {
        responses.insert(status.to_string(), component("responses", &refusals::name(*status)));
    }
    let other = "Any other answer of the SaaS, passed on as it is.";
    responses.insert("default".to_owned(), json!({ "description": other, "headers": answers_headers() }));
    responses
}
