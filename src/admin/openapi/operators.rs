//! What the admin listener serves: a table of operations, and the schemas of what they answer.

use serde_json::{Map, Value, json};

use super::{Parts, component, figures, json_of, reload, shapes};

pub(super) const TAG: &str = "admin";
pub(super) const SECURITY: &str = "adminToken";

/// One operation of the admin API.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// Whether it asks for no token.
    open: bool,
    /// Names that [`shapes::query`] knows.
    query: &'static [&'static str],
    /// The schema of its body, if it takes one, and whether it must have it.
    body: Option<(&'static str, bool)>,
    answers: &'static [Answer],
}

struct Answer {
    status: &'static str,
    when: &'static str,
    content: Content,
}

/// What an answer holds.
enum Content {
    /// Text of this media type.
    Text(&'static str),
    /// JSON of this row of [`schemas`] or of [`shapes::schemas`].
    Json(&'static str),
    /// A problem of this row.
    Problem(&'static str),
    /// Bytes of any type.
    Bytes,
    /// JSON of any shape.
    Any,
}

const fn get(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    answers: &'static [Answer],
) -> Operation {
    Operation { method: "get", path, id, summary, open: false, query: &[], body: None, answers }
}

const fn post(
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    answers: &'static [Answer],
) -> Operation {
    Operation { method: "post", ..get(path, id, summary, answers) }
}

impl Operation {
    const fn query(self, query: &'static [&'static str]) -> Self {
        Self { query, ..self }
    }

    const fn body(self, schema: &'static str) -> Self {
        Self { body: Some((schema, true)), ..self }
    }

    const fn optional_body(self, schema: &'static str) -> Self {
        Self { body: Some((schema, false)), ..self }
    }
}

const fn open(mut operation: Operation) -> Operation {
    operation.open = true;
    operation
}

const fn ok(when: &'static str, content: Content) -> Answer {
    Answer { status: "200", when, content }
}

/// All of them.
const OPERATIONS: &[Operation] = &[
    open(get("/healthz", "healthz", "Whether the process lives", &[ok("It does.", Content::Any)])),
    open(get(
        "/readyz",
        "readyz",
        "Whether requests and callbacks may be sent here",
        &[
            ok("They may.", Content::Json("Readiness")),
            Answer {
                status: "503",
                when: "They may not, as a check failed.",
                content: Content::Json("Readiness"),
            },
        ],
    )),
    get(
        "/metrics",
        "metrics",
        "Metrics for Prometheus",
        &[ok("In OpenMetrics too, for those who ask for it.", Content::Text("text/plain"))],
    ),
    get("/openapi.json", "openapi", "This document", &[ok("An OpenAPI 3.1 document.", Content::Any)]),
    get("/api/v1/status", "status", "How the gateway fares", &[ok("How it fares.", Content::Json("Status"))]),
    get(
        "/api/v1/history",
        "history",
        "The last hour in samples: what was counted in each step, and how things stood at its end",
        &[ok("Samples, oldest first, and the errors of all of them.", Content::Json("History"))],
    )
    .query(&["since"]),
    get(
        "/api/v1/apps",
        "apps",
        "Who may call, and how much of their limits is used",
        &[ok("The apps, as they are configured.", Content::Json("Apps"))],
    ),
    get(
        "/api/v1/config",
        "config",
        "The running configuration",
        &[ok("With the keys of the file; secrets are `***`.", Content::Json("Config"))],
    ),
    post(
        "/api/v1/reload",
        "reload",
        "Read the configuration file again and take it up",
        &[
            ok("It is what runs.", Content::Json("Reloaded")),
            Answer {
                status: "422",
                when: "It is not valid; what runs stays as it was. Each fault is told with its place.",
                content: Content::Problem("ReloadProblem"),
            },
            Answer {
                status: "409",
                when: "It can't run here, or not now; what runs stays as it was.",
                content: Content::Problem("ReloadProblem"),
            },
        ],
    ),
    get(
        "/api/v1/subscribers",
        "subscribers",
        "Each subscriber with its state and its figures",
        &[ok("Those configured, then those that only the store still knows.", Content::Json("Subscribers"))],
    ),
    post(
        "/api/v1/subscribers/{name}/pause",
        "pauseSubscriber",
        "Deliver nothing to it until it is resumed; its backlog waits",
        &[ok("It is paused.", Content::Json("Paused"))],
    ),
    post(
        "/api/v1/subscribers/{name}/resume",
        "resumeSubscriber",
        "Deliver to it again",
        &[ok("It is resumed.", Content::Json("Paused"))],
    ),
    post(
        "/api/v1/subscribers/{name}/purge",
        "purgeSubscriber",
        "Drop its backlog; one that is no longer configured, or an address of an app's task, is forgotten",
        &[ok("How many deliveries were dropped.", Content::Json("Purged"))],
    ),
    post(
        "/api/v1/subscribers/{name}/test",
        "testSubscriber",
        "Send it a signed sample of each kind that it takes, outside the log",
        &[ok("What it answered.", Content::Json("Tested"))],
    ),
    post(
        "/api/v1/subscribers/{name}/replay",
        "replayToSubscriber",
        "Deliver events to it again, beside the live deliveries",
        &[ok("How many events that is.", Content::Json("Replayed"))],
    )
    .body("Replay"),
    get(
        "/api/v1/events",
        "events",
        "Events, newest first, and how their deliveries stand",
        &[ok("A page of them.", Content::Json("Events"))],
    )
    .query(&["app", "event", "task_id", "call_sn", "since", "until", "limit", "cursor"]),
    get(
        "/api/v1/events/{id}",
        "event",
        "One event with its attempts",
        &[ok("The event.", Content::Json("EventDetail"))],
    ),
    get(
        "/api/v1/events/{id}/body",
        "eventBody",
        "What the SaaS sent",
        &[ok("The bytes as they came, with their `Content-Type`.", Content::Bytes)],
    ),
    post(
        "/api/v1/events/{id}/replay",
        "replayEvent",
        "Deliver it again, to one subscriber or to each that takes it",
        &[ok("How many deliveries that is.", Content::Json("Replayed"))],
    )
    .optional_body("EventReplay"),
    get(
        "/api/v1/dead-letters",
        "deadLetters",
        "Deliveries that were given up, newest first",
        &[ok("A page of them.", Content::Json("DeadLetters"))],
    )
    .query(&["subscriber", "limit", "cursor"]),
    post(
        "/api/v1/dead-letters/replay",
        "replayDeadLetters",
        "Deliver dead letters again at once, with a fresh schedule",
        &[ok("How many there are.", Content::Json("Replayed"))],
    )
    .body("DeadLetterChoice"),
    post(
        "/api/v1/dead-letters/discard",
        "discardDeadLetters",
        "Forget dead letters",
        &[ok("How many there were.", Content::Json("Discarded"))],
    )
    .body("DeadLetterChoice"),
    get(
        "/api/v1/batches",
        "batches",
        "Batches of numbers, newest first: what was sent, and what came back",
        &[ok("A page of them.", Content::Json("Batches"))],
    )
    .query(&["app", "limit", "cursor"]),
    get("/api/v1/batches/{call_sn}", "batch", "One batch", &[ok("The batch.", Content::Json("Batch"))]),
    get(
        "/api/v1/batches/{call_sn}/missing",
        "missing",
        "Which numbers of a batch lack a call record, by their rows in the uploaded file",
        &[ok("A page of them, in the order of the file.", Content::Json("Missing"))],
    )
    .query(&["limit", "cursor"]),
    get(
        "/api/v1/requests",
        "requests",
        "Requests that must not be sent twice, newest first: what came of each",
        &[ok("A page of them.", Content::Json("Requests"))],
    )
    .query(&["state", "limit", "cursor"]),
    post(
        "/api/v1/requests/{id}/settle",
        "settleRequest",
        "Decide about an unknown outcome: done, and it stays in the way of others; not sent, and it does not",
        &[ok("It is decided.", Content::Json("Settled"))],
    )
    .body("Settlement"),
];

/// What the answers are made of.
fn schemas() -> [(&'static str, Value); 4] {
    [("Problem", problem()), ("Readiness", readiness()), ("Status", status()), ("Config", config())]
}

pub(super) fn server() -> Value {
    json!({
        "url": "http://{address}",
        "description": "The admin listener (`listen.admin`).",
        "variables": { "address": { "default": "localhost:9090", "description": "Its host and port." } },
    })
}

pub(super) fn add(parts: &mut Parts) {
    let schemas =
        schemas().into_iter().chain(figures::schemas()).chain(reload::schemas()).chain(shapes::schemas());
    parts.schemas.extend(schemas.map(|(name, schema)| (name.to_owned(), schema)));
    parts.responses.insert("Problem".to_owned(), problem_response("What went wrong.", json!({})));
    let authenticate = json!({ "WWW-Authenticate": component("headers", "Authenticate") });
    let unauthorized = problem_response("The token is missing or wrong.", authenticate);
    parts.responses.insert("Unauthorized".to_owned(), unauthorized);
    for operation in OPERATIONS {
        parts.operation(operation.path, operation.method, &server(), described(operation));
    }
}

fn described(operation: &Operation) -> Value {
    let security = if operation.open { json!([]) } else { json!([{ SECURITY: [] }]) };
    let mut described = json!({
        "operationId": operation.id,
        "tags": [TAG],
        "summary": operation.summary,
        "security": security,
        "parameters": parameters(operation),
        "responses": responses(operation),
    });
    if let Some((schema, required)) = operation.body {
        described["requestBody"] = json!({ "required": required, "content": json_of(schema) });
    }
    described
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let segments = operation.path.split('/');
    let named = segments.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let path = named
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
    path.chain(operation.query.iter().map(|name| shapes::query(name))).collect()
}

fn responses(operation: &Operation) -> Map<String, Value> {
    let answers = operation.answers.iter();
    let mut responses: Map<_, _> = answers
        .map(|answer| {
            let content = content(&answer.content);
            (answer.status.to_owned(), json!({ "description": answer.when, "content": content }))
        })
        .collect();
    if !operation.open {
        responses.insert("401".to_owned(), component("responses", "Unauthorized"));
    }
    responses.insert("default".to_owned(), component("responses", "Problem"));
    responses
}

fn content(content: &Content) -> Value {
    match content {
        Content::Text(media_type) => json!({ *media_type: { "schema": { "type": "string" } } }),
        Content::Json(schema) => json_of(schema),
        Content::Problem(schema) => {
            json!({ "application/problem+json": { "schema": component("schemas", schema) } })
        }
        Content::Bytes => json!({ "*/*": {} }),
        Content::Any => json!({ "application/json": { "schema": { "type": "object" } } }),
    }
}

fn problem_response(description: &str, headers: Value) -> Value {
    json!({
        "description": description,
        "headers": headers,
        "content": { "application/problem+json": { "schema": component("schemas", "Problem") } },
    })
}

fn problem() -> Value {
    json!({
        "type": "object",
        "description": "A problem (RFC 9457).",
        "properties": {
            "type": { "type": "string", "format": "uri-reference", "default": "about:blank" },
            "title": { "type": "string" },
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": { "type": "string", "description": "What happened, and what to do." },
            "instance": { "type": "string", "format": "uri-reference" },
        },
        "required": ["title", "status"],
    })
}

fn readiness() -> Value {
    json!({
        "type": "object",
        "properties": {
            "ready": { "type": "boolean" },
            "checks": {
                "type": "object",
                "description": "The outcome of each check, by its name.",
                "additionalProperties": {
                    "type": "object",
                    "properties": { "ok": { "type": "boolean" }, "detail": { "type": "string" } },
                    "required": ["ok", "detail"],
                },
            },
        },
        "required": ["ready", "checks"],
    })
}

fn cluster() -> Value {
    let text = || json!({ "type": "string" });
    let count = |description| json!({ "type": "integer", "minimum": 0, "description": description });
    json!({
        "type": "object",
        "description": "Absent where replicas share no store (store.postgres).",
        "properties": {
            "replica": { "type": "string", "description": "The one that answers." },
            "error": { "type": "string", "description": "Why the others are not known at present." },
            "replicas": {
                "type": "array",
                "description": "Those that hold a seat, the longest first.",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": text(),
                        "epoch": count("Grows with each seat that is taken."),
                        "version": text(),
                        "started_at": { "type": "string", "format": "date-time" },
                        "silent_for_ms": count("Past 9000 another takes over from it."),
                        "shards": { "type": "array", "items": { "type": "integer", "minimum": 0 } },
                        "keeps_ledger": { "type": "boolean" },
                        "proxy": text(),
                        "callbacks": text(),
                        "admin": text(),
                        "source_ips": { "type": "array", "items": text() },
                        "in_flight": count("Requests under way."),
                        "waiting_events": count("Events that wait on its host while PostgreSQL is away."),
                    },
                },
            },
        },
    })
}

fn status() -> Value {
    json!({
        "type": "object",
        "description": "Further keys may be added.",
        "properties": {
            "version": { "type": "string" },
            "uptime_seconds": { "type": "number", "minimum": 0 },
            "config": component("schemas", "Loaded"),
            "credentials": { "type": "array", "items": component("schemas", "NextCredential") },
            "certificates": {
                "type": "array",
                "description": "Certificates of the listeners that speak TLS.",
                "items": {
                    "type": "object",
                    "properties": {
                        "listener": { "type": "string", "enum": ["proxy", "callbacks"] },
                        "expires_at": { "type": ["string", "null"], "format": "date-time" },
                        "error": {
                            "type": ["string", "null"],
                            "description": "Why the files as they are now are not used.",
                        },
                    },
                },
            },
            "clock_skew_seconds": {
                "type": ["number", "null"],
                "description": "The SaaS's clock less this host's.",
            },
            "in_flight": { "type": "integer", "description": "Requests under way." },
            "global": {
                "type": "object",
                "description": "What all apps together may send; less is allowed while the SaaS answers 429 or 503.",
                "properties": {
                    "configured_per_second": { "type": "number" },
                    "allowed_per_second": { "type": "number" },
                    "waiting": { "type": "integer", "description": "Requests that wait for their turn." },
                },
            },
            "limits": {
                "type": "object",
                "properties": { "shared": super::figures::shared() },
            },
            "egress": {
                "type": "object",
                "description": "The whitelisted addresses, and those that connections leave from.",
            },
            "upstreams": { "type": "array", "description": "The API and the recordings: addresses and health." },
            "backlog": {
                "type": "object",
                "description": "Totals of what subscribers have yet to get.",
                "properties": {
                    "events": { "type": "integer", "minimum": 0 },
                    "oldest_age_seconds": { "type": "number", "minimum": 0 },
                    "retrying": { "type": "integer", "minimum": 0 },
                    "replaying": { "type": "integer", "minimum": 0 },
                    "dead_letters": { "type": "integer", "minimum": 0 },
                },
            },
            "cluster": cluster(),
            "batches": {
                "type": "object",
                "properties": {
                    "quiet": {
                        "type": "integer",
                        "minimum": 0,
                        "description": "Batches that lack numbers, and of which nothing was heard for an hour.",
                    },
                },
            },
            "store": { "type": "object", "description": "Bytes on disk, and how many there may be." },
        },
        "required": ["version", "uptime_seconds"],
    })
}

fn config() -> Value {
    json!({ "type": "object", "description": "The keys of `config.yaml`." })
}
