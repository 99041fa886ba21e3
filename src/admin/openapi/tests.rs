//! The document against OpenAPI 3.1, its own references, and the table's examples.

use std::collections::HashSet;

use super::*;
use crate::xinyao::endpoint::{BodyKind, TABLE};

const METHODS: [&str; 3] = ["get", "post", "delete"];

/// Each operation, with its path and method.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        METHODS.into_iter().filter_map(move |method| Some((path.as_str(), method, item.get(method)?)))
    });
    operations.collect()
}

/// Calls `visit` with every object in `value`.
fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|inner| walk(inner, visit));
        }
        Value::Array(array) => array.iter().for_each(|inner| walk(inner, visit)),
        _ => {}
    }
}

/// Whether `instance` fits the component schema `name`, and where not.
fn misfits(name: &str, instance: &Value) -> Vec<String> {
    let document = document();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/schemas/{name}"),
        "components": document["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document();
    let mut seen = 0;
    walk(&document, &mut |object| {
        if let Some(reference) = object.get("$ref") {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
            seen += 1;
        }
    });
    assert!(seen > 100, "{seen}");
}

#[test]
fn the_frame_is_openapi_3_1() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    for server in document["servers"].as_array().unwrap() {
        let named: HashSet<_> = in_braces(server["url"].as_str().unwrap()).collect();
        let declared = server["variables"].as_object().unwrap();
        assert_eq!(named, declared.keys().map(String::as_str).collect());
        assert!(declared.values().all(|variable| variable["default"].is_string()));
    }
    for kind in document["components"].as_object().unwrap().values() {
        for name in kind.as_object().unwrap().keys() {
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c)), "{name}");
        }
    }
}

fn in_braces(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
}

#[test]
fn every_operation_is_whole() {
    let document = document();
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let schemes = &document["components"]["securitySchemes"];
    let mut ids = HashSet::new();
    for (path, method, operation) in operations(&document) {
        let place = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}: id used twice");
        assert!(operation["summary"].is_string(), "{place}");
        assert!(operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)), "{place}");
        for choice in operation["security"].as_array().unwrap() {
            assert!(choice.as_object().unwrap().keys().all(|name| schemes.get(name).is_some()), "{place}");
        }
        let declared: Vec<_> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path" && parameter["required"] == true)
            .filter_map(|parameter| parameter["name"].as_str())
            .collect();
        assert_eq!(declared, in_braces(path).collect::<Vec<_>>(), "{place}");
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(status == "default" || status.parse().is_ok_and(|n: u16| (200..600).contains(&n)));
            assert!(response["$ref"].is_string() || response["description"].is_string(), "{place} {status}");
        }
    }
    assert_eq!(ids.len(), TABLE.len() + 1 + 27);
}

#[test]
fn every_schema_is_a_json_schema() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let outcome = jsonschema::draft202012::meta::validate(schema);
        assert!(outcome.is_ok(), "{name}: {}", outcome.unwrap_err());
    }
    walk(&document, &mut |object| {
        if let Some(schema) = object.get("schema") {
            assert!(jsonschema::draft202012::meta::is_valid(schema), "{schema}");
        }
    });
}

#[test]
fn every_example_and_default_fits_its_schema() {
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for example in schema["examples"].as_array().into_iter().flatten() {
            assert_eq!(misfits(name, example), Vec::<String>::new(), "{name}");
        }
        walk(schema, &mut |inner| {
            if let Some(default) = inner.get("default").filter(|_| inner.contains_key("type")) {
                assert!(jsonschema::is_valid(&Value::Object(inner.clone()), default), "{name}: {default}");
            }
        });
    }
}

#[test]
fn the_tables_examples_fit() {
    let document = document();
    for spec in &TABLE {
        let operation = &document["paths"][spec.path]["post"];
        assert_eq!(operation["operationId"], spec.name);
        let body = &operation["requestBody"]["content"];
        let (media_type, name) = match spec.body {
            BodyKind::Json => ("application/json", endpoints::request_name(spec)),
            BodyKind::Multipart => ("multipart/form-data", endpoints::request_name(spec)),
        };
        assert_eq!(body[media_type]["schema"], component("schemas", &name));
        if spec.body == BodyKind::Json {
            assert_eq!(misfits(&name, &fields::parsed(spec.example)), Vec::<String>::new());
        }
        let answer = fields::parsed(spec.answer_example);
        assert_eq!(misfits(&endpoints::answer_name(spec), &answer), Vec::<String>::new());
    }
}

/// The example of `name`'s request, with `key` set so.
fn changed(name: &str, key: &str, value: Value) -> Value {
    let mut example = document()["components"]["schemas"][name]["examples"][0].clone();
    example[key] = value;
    example
}

#[test]
fn what_the_document_forbids_does_not_fit() {
    let cases = [
        ("AddtaskRequest", "is_record", json!(3)),
        ("AddtaskRequest", "is_ring_asr", json!("1")),
        ("AddtaskRequest", "forbid_policy", json!(["8:00-12:00"])),
        ("AddtaskRequest", "recall_policy", json!(["busy"])),
        ("AddtaskRequest", "ring_asr_code", json!(["777,"])),
        ("AddtaskRequest", "bot_id", json!(102)),
        ("OutnumRequest", "call_count", json!(150_001)),
        ("OutnumRequest", "call_count", json!(0)),
        ("OutnumRequest", "file_suffix", json!("xls")),
        ("TasklistRequest", "page_size", json!(51)),
        ("TasklistRequest", "page_no", json!(0)),
        ("BotdmStartRequest", "sid", json!("short")),
        ("BotdmStartRequest", "channel", json!("fax")),
        ("BotdmStartRequest", "var_json", json!({ "a": { "b": 1 } })),
        ("BotdmTriggerRequest", "cmd", json!("evt.other")),
        // The example says something; the end of a prompt needs prompt_id.
        ("BotdmTriggerRequest", "cmd", json!("evt.complete")),
    ];
    for (name, key, value) in cases {
        assert_ne!(misfits(name, &changed(name, key, value.clone())), Vec::<String>::new(), "{key}: {value}");
    }
    let complete = json!({ "sid": "a".repeat(32), "cmd": "evt.complete", "prompt_id": "x" });
    assert_eq!(misfits("BotdmTriggerRequest", &complete), Vec::<String>::new());
}

#[test]
fn every_required_field_is_asked_for() {
    for spec in &TABLE {
        let name = endpoints::request_name(spec);
        for field in fields::required(spec.fields) {
            let mut example = document()["components"]["schemas"][&name]["examples"][0].clone();
            example.as_object_mut().unwrap().shift_remove(field).unwrap();
            assert_ne!(misfits(&name, &example), Vec::<String>::new(), "{name} without {field}");
        }
    }
}

#[test]
fn a_call_that_failed_needs_no_result() {
    assert_eq!(misfits("AddtaskAnswer", &json!({ "code": 1, "msg": "no" })), Vec::<String>::new());
    assert_ne!(misfits("AddtaskAnswer", &json!({ "code": 0, "msg": "success" })), Vec::<String>::new());
}

#[test]
fn refusals_are_told_by_header_and_code() {
    let document = document();
    let responses = &document["components"]["responses"];
    for row in &refusals::TABLE {
        let response = &responses[refusals::name(row.status)];
        let reasons = &response["headers"]["x-gateway-error"]["schema"]["enum"];
        assert!(reasons.as_array().unwrap().contains(&json!(row.reason)), "{}", row.reason);
        assert_eq!(row.code / -100, i64::from(row.status), "the code begins with the status");
        let body = json!({ "code": row.code, "msg": "why", "request_id": "1" });
        assert_eq!(misfits("GatewayError", &body), Vec::<String>::new());
    }
    assert!(responses["Gateway429"]["headers"]["Retry-After"].is_object());
    assert!(responses["Gateway401"]["headers"]["WWW-Authenticate"].is_object());
    let outnum = &document["paths"][TABLE[1].path]["post"]["responses"];
    let tasklist = &document["paths"][TABLE[2].path]["post"]["responses"];
    assert!(outnum.get("409").is_some() && tasklist.get("409").is_none());
}

#[test]
fn what_must_not_be_sent_twice_takes_a_key() {
    let document = document();
    for spec in &TABLE {
        let operation = &document["paths"][spec.path]["post"];
        let guarded = ["addtask", "outnum"].contains(&spec.name);
        for name in ["IdempotencyKey", "Force"] {
            let taken = operation["parameters"].as_array().unwrap().contains(&component("parameters", name));
            assert_eq!(taken, guarded, "{} {name}", spec.name);
        }
        let replayed = operation["responses"]["200"]["headers"].get("idempotency-replayed");
        assert_eq!(replayed.is_some(), guarded, "{}", spec.name);
    }
}

#[test]
fn only_health_and_readiness_are_open() {
    let document = document();
    let admin = operations(&document).into_iter().filter(|(_, _, operation)| operation["tags"][0] == "admin");
    let open: Vec<_> = admin
        .filter(|(_, _, operation)| operation["security"].as_array().unwrap().is_empty())
        .map(|(path, ..)| path)
        .collect();
    assert_eq!(open, ["/healthz", "/readyz"]);
}
