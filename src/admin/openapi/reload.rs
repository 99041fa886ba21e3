//! What the admin API says of the configuration's reloads, and of credentials that are to take over.

use serde_json::{Value, json};

use super::component;

/// The schemas, by name.
pub(super) fn schemas() -> [(&'static str, Value); 5] {
    [
        ("Reloaded", object(told(&["warnings", "restart_needed"]), &["outcome", "restart_needed"])),
        ("ReloadProblem", problem()),
        ("Loaded", loaded()),
        ("Finding", finding()),
        ("NextCredential", next_credential()),
    ]
}

/// What is told of a reload: what always is, and `more`.
fn told(more: &[&str]) -> Value {
    let mut told = json!({
        "outcome": {
            "type": "string",
            "enum": ["ok", "invalid", "failed"],
            "description": "The file runs; it is not valid; it is, but can't run here.",
        },
        "trigger": { "type": "string", "enum": ["start", "file", "signal", "api"] },
        "at": { "type": "string", "format": "date-time" },
        "took_ms": { "type": "number", "minimum": 0 },
    });
    let findings = || json!({ "type": "array", "items": component("schemas", "Finding") });
    for name in more {
        told[*name] = match *name {
            "restart_needed" => json!({
                "type": "array",
                "items": { "type": "string" },
                "description": "Keys whose new values take effect with the next start.",
            }),
            "error" => json!({ "type": "string", "description": "What is wrong, in a line." }),
            _ => findings(),
        };
    }
    told
}

fn problem() -> Value {
    let told = told(&["error", "faults"]);
    json!({ "allOf": [component("schemas", "Problem"), { "type": "object", "properties": told }] })
}

fn loaded() -> Value {
    let mut told = told(&["warnings", "restart_needed", "error", "faults"]);
    told["loaded_at"] =
        json!({ "type": "string", "format": "date-time", "description": "Since when what runs does." });
    let mut loaded = object(told, &["outcome", "loaded_at"]);
    loaded["description"] = "What became of the file when it was last read.".into();
    loaded
}

fn finding() -> Value {
    let place = |of: &str| json!({ "type": ["integer", "null"], "minimum": 1, "description": of });
    let properties = json!({
        "file": { "type": "string" },
        "line": place("From 1; null: the file as a whole."),
        "column": place("From 1, in characters."),
        "message": { "type": "string" },
        "snippet": { "type": ["string", "null"], "description": "The line, secrets masked, and a pointer." },
        "hint": { "type": ["string", "null"], "description": "A way out." },
    });
    object(properties, &["file", "line", "column", "message", "snippet", "hint"])
}

fn next_credential() -> Value {
    let properties = json!({
        "name": { "type": "string", "description": "Whose place it takes." },
        "next": {
            "type": "string",
            "enum": ["signs", "not_proven"],
            "description": "It has taken over; the SaaS has not accepted it, and the old one signs.",
        },
        "tried_at": { "type": "string", "format": "date-time" },
        "error": { "type": ["string", "null"], "description": "Why it is not proven." },
    });
    object(properties, &["name", "next", "tried_at", "error"])
}

fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}
