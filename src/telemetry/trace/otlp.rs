//! Spans as OTLP's JSON: the mapping of `opentelemetry.proto.collector.trace.v1` in which ids are hex, and
//! numbers of 64 bits are texts (OTLP specification 1.x, "JSON Protobuf Encoding").

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};

use super::span::{Span, Value};

/// Where a collector takes traces over HTTP, where its URL does not say.
pub const PATH: &str = "/v1/traces";
/// What a batch is sent as.
pub const CONTENT_TYPE: &str = "application/json";
/// The status of what failed.
const ERROR: u8 = 2;

/// An `ExportTraceServiceRequest` of these spans.
pub fn request(spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        attribute("service.name", &Value::from(env!("CARGO_PKG_NAME"))),
        attribute("service.version", &Value::from(version)),
        attribute("process.pid", &Value::from(i64::from(std::process::id()))),
    ];
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({ "name": env!("CARGO_PKG_NAME"), "version": version });
    let request = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }]});
    request.to_string().into_bytes()
}

/// How many spans of a batch the collector's answer says it did not take.
pub fn rejected(answer: &[u8]) -> u64 {
    let answer: Json = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0)
}

fn span(span: &Span) -> Json {
    let attributes: Vec<Json> =
        span.told.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
    let mut json = json!({
        "traceId": span.context.trace.to_string(),
        "spanId": span.context.span.to_string(),
        "name": span.told.name,
        "kind": span.told.kind as u8,
        "startTimeUnixNano": nanos(span.began),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": attributes,
        "status": if span.told.failed { json!({ "code": ERROR }) } else { json!({}) },
        "flags": u8::from(span.context.sampled),
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = parent.to_string().into();
    }
    if let Some(state) = &span.context.state {
        json["traceState"] = Json::from(&**state);
    }
    json
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": key, "value": value })
}

fn nanos(at: SystemTime) -> String {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
