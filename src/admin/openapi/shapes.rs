//! What the admin API says of events and subscribers, and how it is asked: query parameters and schemas.

use serde_json::{Value, json};

use super::component;
use crate::store::MAX_REPEATS;
use crate::xinyao::callback::Kind;

/// A query parameter by its name.
pub(super) fn query(name: &str) -> Value {
    let (schema, description) = match name {
        "app" => (text(), "Of this app."),
        "event" => (kind(), "Of this kind."),
        "task_id" => (text(), "Of this task."),
        "call_sn" => (text(), "Of this batch."),
        "subscriber" => (text(), "Of this subscriber."),
        "state" => (request_state(), "In this state."),
        "since" => (time(), "Which came then or later."),
        "until" => (time(), "Which came before then."),
        "limit" => {
            (json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 }), "Rows of a page.")
        }
        _ => (text(), "`next_cursor` of the page before, for the next one."),
    };
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

/// The schemas, by name.
pub(super) fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("Subscribers", object(json!({ "subscribers": list("Subscriber") }))),
        ("Subscriber", subscriber()),
        ("Paused", object(json!({ "name": text(), "paused": { "type": "boolean" } }))),
        ("Purged", object(json!({ "purged": count() }))),
        ("Replayed", object(json!({ "replayed": count() }))),
        ("Discarded", object(json!({ "discarded": count() }))),
        ("Tested", object(json!({ "results": list("Sample") }))),
        ("Sample", sample()),
        ("Replay", replay()),
        ("EventReplay", choice(json!({ "subscriber": text() }), &[])),
        ("DeadLetterChoice", choice(json!({ "subscriber": text(), "ids": ids() }), &["subscriber"])),
        ("Events", object(json!({ "events": list("Event"), "next_cursor": maybe("string") }))),
        ("Event", object(event())),
        ("EventDetail", event_detail()),
        ("Delivery", delivery()),
        ("Attempt", attempt()),
        (
            "DeadLetters",
            object(json!({ "dead_letters": list("DeadLetter"), "next_cursor": maybe("string") })),
        ),
        ("DeadLetter", dead_letter()),
        ("Batches", object(json!({ "batches": list("Batch"), "next_cursor": maybe("string") }))),
        ("Batch", batch()),
        ("Missing", missing()),
        ("MissingNumber", missing_number()),
        ("Requests", object(json!({ "requests": list("Request"), "next_cursor": maybe("string") }))),
        ("Request", request()),
        ("Settlement", choice(json!({ "outcome": outcome() }), &["outcome"])),
        ("Settled", object(json!({ "id": text(), "outcome": outcome() }))),
    ]
}

fn subscriber() -> Value {
    object(json!({
        "name": text(),
        "url": maybe("string"),
        "configured": { "type": "boolean", "description": "Whether it is in the file." },
        "state": { "type": "string", "enum": ["active", "probing", "paused"] },
        "backlog": described(count(), "Deliveries not yet done."),
        "oldest_age_seconds": described(json!({ "type": "number", "minimum": 0 }), "0 without a backlog."),
        "delivered": count(),
        "failed": described(count(), "Attempts that failed."),
        "dead": described(count(), "Dead letters."),
        "expired": described(count(), "Events that retention removed before it got them."),
        "in_flight": count(),
        "last_error": described(maybe("string"), "Of the last attempt that failed since the process began."),
        "last_error_at": { "type": ["string", "null"], "format": "date-time" },
    }))
}

fn batch() -> Value {
    let when = || json!({ "type": ["string", "null"], "format": "date-time" });
    let counts = || json!({ "type": "object", "additionalProperties": count() });
    object(json!({
        "call_sn": text(),
        "app": text(),
        "task_id": maybe("string"),
        "task_name": maybe("string"),
        "call_sn_name": maybe("string"),
        "submitted_at": described(when(), "When its outnum was answered."),
        "sent": described(maybe("integer"), "Numbers that the app said it sent."),
        "accepted": described(maybe("integer"), "Numbers that the SaaS took."),
        "returned": described(count(), "Distinct numbers with a call record."),
        "connected": described(count(), "Calls that were answered."),
        "by_state": described(counts(), "Calls by state."),
        "by_degree": described(counts(), "Numbers by degree."),
        "first_record_at": when(),
        "last_record_at": when(),
        "quiet": described(
            json!({ "type": "boolean" }),
            "Nothing came for an hour, and numbers are missing."
        ),
    }))
}

fn missing() -> Value {
    let counted = |description| described(maybe("integer"), description);
    object(json!({
        "call_sn": text(),
        "app": text(),
        "seen": described(json!({ "type": "boolean" }), "Whether the numbers of its upload are known."),
        "why": {
            "type": ["string", "null"],
            "enum": ["elsewhere", "unreadable", "no_room", "not_kept", null],
            "description": "Why they are not.",
        },
        "sent": counted("Rows below the header that have something in their first column."),
        "distinct": counted("Distinct numbers in them."),
        "unexpected": counted("Numbers with a call record that are not in the file."),
        "missing_count": counted("Distinct numbers of the file without a call record, on all pages together."),
        "missing": list("MissingNumber"),
        "next_cursor": maybe("string"),
    }))
}

fn missing_number() -> Value {
    object(json!({
        "row": described(count(), "Its first row in the file, from 1; the header is one."),
        "repeats": described(
            json!({ "type": "array", "items": count(), "maxItems": MAX_REPEATS }),
            "Further rows with the same number."
        ),
    }))
}

fn request() -> Value {
    object(json!({
        "id": text(),
        "state": request_state(),
        "app": text(),
        "endpoint": text(),
        "request_id": described(text(), "As the header `x-request-id`, and in the log."),
        "idempotency_key": maybe("string"),
        "task_id": maybe("string"),
        "begun_at": time(),
        "ended_at": { "type": ["string", "null"], "format": "date-time" },
    }))
}

fn request_state() -> Value {
    json!({ "type": "string", "enum": ["under_way", "done", "unknown"] })
}

fn outcome() -> Value {
    json!({ "type": "string", "enum": ["done", "not_sent"] })
}

fn event() -> Value {
    json!({
        "id": text(),
        "received_at": time(),
        "app": text(),
        "event": kind(),
        "label": maybe("string"),
        "task_id": maybe("string"),
        "call_sn": maybe("string"),
        "size": described(count(), "Bytes of its body."),
        "deliveries": list("Delivery"),
    })
}

fn event_detail() -> Value {
    let mut properties = event();
    properties["attempts"] = list("Attempt");
    object(properties)
}

fn delivery() -> Value {
    object(json!({
        "subscriber": text(),
        "state": { "type": "string", "enum": ["pending", "retrying", "delivered", "dead", "skipped"] },
        "attempts": count(),
        "next_attempt_at": { "type": ["string", "null"], "format": "date-time" },
        "last_error": maybe("string"),
    }))
}

fn attempt() -> Value {
    object(json!({
        "subscriber": text(),
        "attempt": count(),
        "at": time(),
        "status": maybe("integer"),
        "latency_ms": count(),
        "error": maybe("string"),
        "answer": described(text(), "Its first KiB."),
    }))
}

fn dead_letter() -> Value {
    object(json!({
        "event_id": text(),
        "subscriber": text(),
        "app": text(),
        "event": kind(),
        "task_id": maybe("string"),
        "call_sn": maybe("string"),
        "dead_at": time(),
        "attempts": count(),
        "last_error": maybe("string"),
    }))
}

fn sample() -> Value {
    object(json!({
        "event": kind(),
        "ok": { "type": "boolean" },
        "status": maybe("integer"),
        "latency_ms": count(),
        "error": maybe("string"),
        "answer": text(),
    }))
}

fn replay() -> Value {
    let mut schema = choice(
        json!({
            "since": time(),
            "until": time(),
            "events": { "type": "array", "items": kind() },
            "ids": ids(),
        }),
        &[],
    );
    schema["anyOf"] = json!([{ "required": ["since"] }, { "required": ["ids"] }]);
    schema
}

/// An object all of whose properties are there.
pub(super) fn object(properties: Value) -> Value {
    let required: Vec<_> = properties.as_object().into_iter().flat_map(|all| all.keys().cloned()).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// The body of a request; what is not known is refused.
pub(super) fn choice(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

pub(super) fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

pub(super) fn list(schema: &str) -> Value {
    json!({ "type": "array", "items": component("schemas", schema) })
}

fn ids() -> Value {
    json!({ "type": "array", "items": { "type": "string", "format": "uuid" }, "maxItems": 1000 })
}

fn kind() -> Value {
    json!({ "type": "string", "enum": Kind::ALL.map(Kind::name) })
}

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn maybe(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

pub(super) fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

pub(super) fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}
