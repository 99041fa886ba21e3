//! The proxy listener's own answers: one table, a response for each HTTP status in it.

use serde_json::{Map, Value, json};

use super::{Parts, component, every_answers_headers};
use crate::xinyao::checks::Check;

/// One of the gateway's own answers.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: i64,
    pub(super) reason: &'static str,
    when: &'static str,
}

const fn refusal(status: u16, code: i64, reason: &'static str, when: &'static str) -> Refusal {
    Refusal { status, code, reason, when }
}

/// All of them.
pub(super) const TABLE: [Refusal; 19] = [
    refusal(
        400,
        -40001,
        "invalid_request",
        "a check failed, the HTTP is malformed or ends early, `Idempotency-Key` is not one of 1 to 255 visible \
         ASCII characters, or `team_url` is there twice or is where the gateway may not call",
    ),
    refusal(
        401,
        -40101,
        "bad_token",
        "the address is an app's that wants a token; none came, or a wrong one",
    ),
    refusal(403, -40301, "not_allowed", "no app has this address"),
    refusal(403, -40302, "endpoint_not_allowed", "the app may not use this endpoint"),
    refusal(
        403,
        -40303,
        "app_id_not_allowed",
        "the body names a tenant that the app may not act for, names it twice, or cannot be read for it",
    ),
    refusal(404, -40401, "unknown_endpoint", "neither a documented path nor one of upstream.extra_paths"),
    refusal(405, -40501, "method_not_allowed", "the path takes another method"),
    refusal(408, -40801, "request_timeout", "headers or body came too slowly"),
    refusal(
        DUPLICATE,
        -40901,
        "duplicate_request",
        "the same was sent before, is under way, or may have been sent; or another request had the key",
    ),
    refusal(413, -41301, "body_too_large", "the body is over limits.max_body"),
    refusal(414, -41401, "target_too_long", "path and query are too long"),
    refusal(429, -42901, "rate_limited", "a rate limit is reached"),
    refusal(429, -42902, "too_many_in_flight", "the app's max_in_flight is reached"),
    refusal(431, -43101, "headers_too_large", "too many headers, or too large ones"),
    refusal(502, -50201, "upstream_unreachable", "connecting to the SaaS failed, or TLS, or DNS"),
    refusal(502, -50202, "upstream_broke_off", "the connection was lost before the SaaS answered"),
    refusal(
        503,
        -50301,
        "overloaded",
        "upstream.max_in_flight is reached, the SaaS's circuit is open, or the store cannot be written",
    ),
    refusal(503, -50302, "draining", "the gateway is shutting down"),
    refusal(504, -50401, "upstream_timeout", "the SaaS did not answer in time"),
];

pub(super) const DUPLICATE: u16 = 409;
/// Statuses of a refused request to a path that there is, by the right method.
pub(super) const WITH_BODY: [u16; 12] = [400, 401, 403, 408, DUPLICATE, 413, 414, 429, 431, 502, 503, 504];
/// The same, for a request without a body.
pub(super) const WITHOUT_BODY: [u16; 10] = [400, 401, 403, 408, 414, 429, 431, 502, 503, 504];

/// The name of a status's response component.
pub(super) fn name(status: u16) -> String {
    format!("Gateway{status}")
}

pub(super) fn add(parts: &mut Parts) {
    parts.schemas.insert("GatewayError".to_owned(), schema());
    for refusals in TABLE.chunk_by(|one, next| one.status == next.status) {
        if let [first, ..] = refusals {
            parts.responses.insert(name(first.status), response(first.status, refusals));
        }
    }
}

fn schema() -> Value {
    json!({
        "type": "object",
        "description": "An answer of the gateway's own, in the SaaS's envelope.",
        "properties": {
            "code": { "type": "integer", "enum": TABLE.iter().map(|row| row.code).collect::<Vec<_>>() },
            "msg": { "type": "string", "description": "What happened, and what to do." },
            "request_id": { "type": "string", "description": "As the header `x-request-id`." },
            "failures": {
                "type": "array",
                "description": "Every check that the request fails, where it is refused for these.",
                "items": {
                    "type": "object",
                    "properties": {
                        "field": { "type": "string", "description": "A field's name, or `body`." },
                        "check": {
                            "type": "string",
                            "enum": Check::ALL.map(Check::name),
                            "description": "What it fails.",
                        },
                        "msg": { "type": "string", "description": "What is wrong, and what would be right." },
                    },
                    "required": ["field", "check", "msg"],
                },
            },
        },
        "required": ["code", "msg", "request_id"],
    })
}

fn response(status: u16, refusals: &[Refusal]) -> Value {
    let lines: Vec<_> =
        refusals.iter().map(|row| format!("`{}` ({}): {}.", row.reason, row.code, row.when)).collect();
    let reasons: Vec<_> = refusals.iter().map(|row| row.reason).collect();
    let codes: Vec<_> = refusals.iter().map(|row| row.code).collect();
    json!({
        "description": lines.join("\n"),
        "headers": headers(status, &reasons),
        "content": {
            "application/json": {
                "schema": {
                    "allOf": [component("schemas", "GatewayError")],
                    "properties": { "code": { "enum": codes } },
                },
            },
        },
    })
}

fn headers(status: u16, reasons: &[&str]) -> Map<String, Value> {
    let reason = json!({
        "description": "Which it is. Without this header the answer is the SaaS's.",
        "schema": { "type": "string", "enum": reasons },
    });
    let mut headers = every_answers_headers();
    headers.insert("x-gateway-error".to_owned(), reason);
    let further: &[(&str, &str)] = match status {
        401 => &[("WWW-Authenticate", "Authenticate")],
        405 => &[("Allow", "Allow")],
        DUPLICATE | 429 | 503 => &[("Retry-After", "RetryAfter")],
        _ => &[],
    };
    headers.extend(further.iter().map(|(header, name)| ((*header).to_owned(), component("headers", name))));
    headers
}
