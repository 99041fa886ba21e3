//! What can be called, as an OpenAPI 3.1 document: the SaaS's endpoints as the proxy listener serves
//! them, and the admin API.
//!
//! The endpoints are the rows of [`crate::xinyao::endpoint::TABLE`]; the gateway's own refusals those of
//! `refusals`; the admin API's paths those of `operators`. A new row is all that a new path needs.

mod endpoints;
mod fields;
mod figures;
mod operators;
mod refusals;
mod reload;
mod shapes;

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

/// The parts of the document that each group of paths adds to.
#[derive(Default)]
struct Parts {
    paths: Map<String, Value>,
    schemas: Map<String, Value>,
    responses: Map<String, Value>,
}

impl Parts {
    /// Adds an operation to its path; `server` is where that path is served.
    fn operation(&mut self, path: &str, method: &str, server: &Value, operation: Value) {
        let item = self.paths.entry(path).or_insert_with(|| json!({ "servers": [server] }));
        if let Value::Object(item) = item {
            item.insert(method.to_owned(), operation);
        }
    }
}

/// The whole document.
pub fn document() -> Value {
    let mut parts = Parts::default();
    endpoints::add(&mut parts);
    refusals::add(&mut parts);
    operators::add(&mut parts);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "xinyao-gateway",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": env!("CARGO_PKG_DESCRIPTION"),
            "description": ABOUT,
            "license": { "name": "Apache License 2.0", "identifier": "Apache-2.0" },
        },
        "servers": [endpoints::server(), operators::server()],
        "tags": [
            { "name": endpoints::TAG, "description": "For internal apps, with unsigned requests." },
            { "name": operators::TAG, "description": "For operators and Prometheus." },
        ],
        "paths": parts.paths,
        "components": {
            "schemas": parts.schemas,
            "responses": parts.responses,
            "headers": headers(),
            "parameters": parameters(),
            "securitySchemes": {
                endpoints::SECURITY: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The app's `token`, where it has one, beside an address in its `networks`.",
                },
                operators::SECURITY: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`admin.token`, where it is set.",
                },
            },
        },
    })
}

const ABOUT: &str = "The proxy listener serves the SaaS's endpoints under their own paths. Requests are \
    signed on their way, and answers come back as they are: HTTP 200 with `code` 0 is success. An answer \
    of the gateway's own has the same envelope, and is told by its header `x-gateway-error`.";

fn headers() -> Value {
    let text = |description: &str| json!({ "description": description, "schema": { "type": "string" } });
    json!({
        "RequestId": text("The client's own `x-request-id`, or a new one."),
        "RateLimit": text("What is left of each limit (IETF draft); for apps that have limits."),
        "RateLimitPolicy": text("The limits themselves (IETF draft); for apps that have limits."),
        "Warning": text("What the request fails of the document's checks, where it was forwarded all the same."),
        "RetryAfter": {
            "description": "After how many seconds another try can be of use.",
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Authenticate": text("How to name the app's token (RFC 9110 §11.6.1)."),
        "Allow": text("The methods that this path takes."),
        "IdempotencyReplayed": {
            "description": "The answer is that of an earlier request with the same key. Absent otherwise.",
            "schema": { "type": "string", "enum": ["true"] },
        },
    })
}

fn parameters() -> Value {
    let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    json!({
        "RequestId": header(
            "x-request-id",
            "Kept for the answer and the log if it is at most 128 visible ASCII characters.",
            json!({ "type": "string", "pattern": "^[!-~]{1,128}$" }),
        ),
        "IdempotencyKey": header(
            "Idempotency-Key",
            "Names the request: it is carried out once, and each further try has that answer for 24 hours.",
            json!({ "type": "string", "pattern": "^[!-~]{1,255}$" }),
        ),
        "Force": header(
            "X-Gateway-Force",
            "Send it although it may have been sent before: people may be called twice.",
            json!({ "type": "string", "enum": ["true"] }),
        ),
    })
}

/// The headers of every answer of the proxy listener.
fn every_answers_headers() -> Map<String, Value> {
    let headers =
        [("x-request-id", "RequestId"), ("RateLimit", "RateLimit"), ("RateLimit-Policy", "RateLimitPolicy")];
    headers.into_iter().map(|(header, name)| (header.to_owned(), component("headers", name))).collect()
}

/// A reference to a component.
fn component(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// The content of a JSON body whose schema is a component.
fn json_of(schema: &str) -> Value {
    json!({ "application/json": { "schema": component("schemas", schema) } })
}
