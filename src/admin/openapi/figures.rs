//! Schemas of the last hour, and of apps and their limits.

use serde_json::{Value, json};

use super::component;
use super::shapes::{count, described, list, object, text, time};

/// The schemas, by name.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("History", history()),
        ("HistorySample", sample()),
        ("Endings", endings()),
        ("Apps", apps()),
        ("App", app()),
        ("Limit", limit()),
        ("GlobalLimit", global()),
    ]
}

fn apps() -> Value {
    object(json!({ "apps": list("App"), "global": component("schemas", "GlobalLimit"), "shared": shared() }))
}

fn history() -> Value {
    object(json!({
        "step_seconds": described(count(), "Between two samples."),
        "samples": list("HistorySample"),
        "errors": {
            "type": "array",
            "description": "What was wrong with the requests of the last hour, the most frequent first.",
            "items": object(json!({
                "endpoint": text(),
                "outcome": { "type": "string", "enum": ["business_error", "upstream_error", "rejected"] },
                "code": described(text(), "The SaaS's code, a status, or why it was refused."),
                "count": count(),
            })),
        },
    }))
}

fn sample() -> Value {
    let milliseconds = || json!({ "type": ["number", "null"], "minimum": 0 });
    object(json!({
        "at": described(time(), "The end of the step."),
        "seconds": described(json!({ "type": "number" }), "How long the step was."),
        "requests": described(component("schemas", "Endings"), "Requests that ended in it."),
        "latency_ms": described(
            object(json!({ "p50": milliseconds(), "p95": milliseconds(), "p99": milliseconds() })),
            "How long requests took; null where none ended.",
        ),
        "in_flight": count(),
        "callbacks": described(count(), "Callbacks acknowledged or answered."),
        "callbacks_refused": count(),
        "delivered": described(count(), "Deliveries done."),
        "failed": described(count(), "Attempts that failed."),
        "backlog": described(count(), "Deliveries not yet done, of all subscribers."),
        "dead_letters": count(),
        "clock_skew_seconds": { "type": "number" },
    }))
}

fn endings() -> Value {
    let names = ["ok", "business_error", "upstream_error", "rejected", "client_gone"];
    let properties: serde_json::Map<_, _> =
        names.map(|name| (name.to_owned(), count())).into_iter().collect();
    json!({ "type": "object", "properties": properties, "description": "Requests by how they ended." })
}

fn app() -> Value {
    let texts = || json!({ "type": "array", "items": text() });
    object(json!({
        "name": text(),
        "networks": texts(),
        "token": { "type": "boolean", "description": "Whether it must show one." },
        "credential": text(),
        "app_ids": described(texts(), "Tenants that it may act for; empty: any."),
        "endpoints": texts(),
        "checks": { "type": "string", "enum": ["off", "report", "enforce"] },
        "in_flight": count(),
        "max_in_flight": count(),
        "limits": list("Limit"),
        "weight": described(count(), "Its share when there is not enough for all."),
        "waiting": described(count(), "Requests that wait for their turn."),
        "requests": component("schemas", "Endings"),
        "rate_limited": described(count(), "Requests that a rate limit refused."),
    }))
}

fn limit() -> Value {
    object(json!({
        "name": described(text(), "As in `RateLimit` fields."),
        "endpoints": { "type": "array", "items": text() },
        "limit": described(count(), "How many in `per_seconds`."),
        "per_seconds": count(),
        "burst": count(),
        "max_wait_ms": described(count(), "How long a request may be delayed before it is refused."),
        "remaining": described(count(), "How many would be let in now."),
        "reset_seconds": described(count(), "Until all of the burst is there again."),
    }))
}

/// The Redis of `limits.shared`.
pub(super) fn shared() -> Value {
    let redis = object(json!({
        "url": described(text(), "Without user and password."),
        "up": described(json!({ "type": "boolean" }), "Whether it answers, so that limits are shared."),
        "error": described(json!({ "type": ["string", "null"] }), "Why not."),
        "fallbacks": described(count(), "Requests that were decided without it."),
    }));
    let none = json!({ "type": "null" });
    json!({ "description": "What limits are shared through; null: each process keeps its own.", "anyOf": [redis, none] })
}

fn global() -> Value {
    let rate = || json!({ "type": "number", "minimum": 0 });
    object(json!({
        "configured_per_second": described(rate(), "What all apps together may send."),
        "allowed_per_second": described(rate(), "Less, while the SaaS answers 429 or 503."),
        "waiting": described(count(), "Requests that wait for their turn."),
    }))
}
