//! The operators' listener.
//!
//! | route | what it gives | wants the token |
//! | --- | --- | --- |
//! | `GET /healthz` | 200 while the process lives | no |
//! | `GET /readyz` | 200 while it can take requests, JSON per check | no |
//! | `GET /`, `/console/…` | the console; what it shows comes from the calls below | no |
//! | `GET /metrics` | metrics, as Prometheus text or OpenMetrics | yes |
//! | `GET /openapi.json` | this API, and the SaaS's endpoints as the proxy listener serves them | yes |
//! | `GET /api/v1/status` | how things stand | yes |
//! | `GET /api/v1/history` | the last hour in samples | yes |
//! | `GET /api/v1/apps` | who may call, and how much of their limits is used | yes |
//! | `GET /api/v1/config` | the running configuration, secrets as `***` | yes |
//! | `POST /api/v1/reload` | the file is read again and taken up | yes |
//! | `GET /api/v1/subscribers` | each with its state and its figures | yes |
//! | `POST /api/v1/subscribers/{name}/pause`, `/resume` | no deliveries; deliveries again | yes |
//! | `POST /api/v1/subscribers/{name}/purge` | its backlog is dropped | yes |
//! | `POST /api/v1/subscribers/{name}/test` | it is sent samples, outside the log | yes |
//! | `POST /api/v1/subscribers/{name}/replay` | events are delivered to it again | yes |
//! | `GET /api/v1/events` | events, newest first, and how their deliveries stand | yes |
//! | `GET /api/v1/events/{id}` | one, with its attempts | yes |
//! | `GET /api/v1/events/{id}/body` | its bytes, as they came | yes |
//! | `POST /api/v1/events/{id}/replay` | it is delivered again | yes |
//! | `GET /api/v1/dead-letters` | deliveries that were given up, newest first | yes |
//! | `POST /api/v1/dead-letters/replay`, `/discard` | they are delivered again, or forgotten | yes |
//! | `GET /api/v1/batches` | batches, newest first: what was sent and what came back | yes |
//! | `GET /api/v1/batches/{call_sn}` | one | yes |
//! | `GET /api/v1/batches/{call_sn}/missing` | its numbers without a call record, in the order of the file | yes |
//! | `GET /api/v1/requests` | what must not be sent twice and was sent, newest first | yes |
//! | `POST /api/v1/requests/{id}/settle` | what came of one is decided | yes |
//!
//! Errors are `application/problem+json` (RFC 9457).

mod asked;
mod batches;
mod console;
mod cursor;
mod dead_letters;
mod events;
mod exposition;
mod history;
pub mod openapi;
mod operations;
mod problem;
mod requests;
mod settings;
mod shown;
mod subscribers;
#[cfg(test)]
mod tests;
mod waiting;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{HeaderMap, StatusCode};
use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

pub use self::history::{Complaint, History, Reading, STEP};
pub use self::operations::{FindMissing, Operations, Sample, Standing, Subscribers};
pub use self::problem::Problem;
pub use self::settings::Settings;
pub use self::waiting::waiting;

/// What the listener shows, given by who made the parts.
pub struct Views {
    /// Everything that is counted.
    pub metrics: Registry,
    /// How things stand.
    pub status: Box<dyn Fn() -> Value + Send + Sync>,
    /// What must hold for requests to be taken.
    pub checks: Box<dyn Fn() -> Vec<Check> + Send + Sync>,
    /// Apps, and how much of their limits is used.
    pub apps: Box<dyn Fn() -> Value + Send + Sync>,
    /// The last hour.
    pub history: Arc<History>,
    /// The running configuration, secrets as `***`.
    pub config: Box<dyn Fn() -> Value + Send + Sync>,
    /// Has the file read again and taken up; what came of it.
    pub reload: Box<dyn Fn() -> BoxFuture<'static, Result<Value, Problem>> + Send + Sync>,
    /// What callers must show at present where the table says so.
    pub token: Box<dyn Fn() -> Option<Arc<SecretString>> + Send + Sync>,
    /// The OpenAPI document.
    pub openapi: Value,
    /// Events and subscribers.
    pub operations: Option<Operations>,
}

/// One thing that must hold for requests to be taken.
#[derive(Debug, Clone)]
pub struct Check {
    /// What is looked at.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
    /// How it stands.
    pub detail: String,
}

/// Largest body of a request, bytes: a thousand ids have room.
const MAX_BODY: usize = 128 << 10;

/// The routes.
pub fn router(views: Views) -> Router {
    let views = Arc::new(views);
    let operations = views.operations.clone().map_or_else(Router::new, |operations| {
        let routes = subscribers::routes()
            .merge(events::routes())
            .merge(dead_letters::routes())
            .merge(requests::routes())
            .merge(batches::routes());
        routes.with_state(Arc::new(operations))
    });
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/api/v1/status", get(status))
        .route("/api/v1/apps", get(apps))
        .route("/api/v1/config", get(config))
        .route("/api/v1/reload", post(reload))
        .merge(operations)
        .merge(history::routes().with_state(Arc::clone(&views.history)))
        .route_layer(middleware::from_fn(same_site))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&views), authorize));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(console::routes())
        .merge(guarded)
        .fallback(|| async { Problem::not_found("there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(views)
}

async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn readyz(State(views): State<Arc<Views>>) -> Response {
    readiness((views.checks)())
}

fn readiness(checks: Vec<Check>) -> Response {
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let checks: serde_json::Map<String, Value> = checks
        .into_iter()
        .map(|check| (check.name.to_owned(), json!({ "ok": check.ok, "detail": check.detail })))
        .collect();
    (status, Json(json!({ "ready": ready, "checks": checks }))).into_response()
}

async fn metrics(State(views): State<Arc<Views>>, headers: HeaderMap) -> Response {
    exposition::scrape(&views.metrics, &headers)
}

async fn openapi(State(views): State<Arc<Views>>) -> Json<Value> {
    Json(views.openapi.clone())
}

async fn status(State(views): State<Arc<Views>>) -> Json<Value> {
    let mut status = (views.status)();
    if let Some(operations) = &views.operations {
        match operations.totals().await {
            Ok((backlog, store)) => (status["backlog"], status["store"]) = (backlog, store),
            // The rest is all the more wanted while the store is in trouble.
            Err(error) => status["store"] = json!({ "error": error.to_string() }),
        }
        if let Some(cluster) = operations.cluster().await {
            status["cluster"] = cluster;
        }
    }
    Json(status)
}

async fn apps(State(views): State<Arc<Views>>) -> Json<Value> {
    Json((views.apps)())
}

async fn config(State(views): State<Arc<Views>>) -> Json<Value> {
    Json((views.config)())
}

async fn reload(State(views): State<Arc<Views>>) -> Result<Json<Value>, Problem> {
    (views.reload)().await.map(Json)
}

async fn authorize(State(views): State<Arc<Views>>, request: Request, next: Next) -> Response {
    match (views.token)() {
        Some(token) if !shows(request.headers(), &token) => Problem::unauthorized().into_response(),
        None if !is_local(request.headers()) => {
            let detail = "without admin.token operators are served under localhost, an IP address or a name without a dot";
            Problem::new(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Whether it was asked for under a name that nobody outside can have. Any other may have come to point here (DNS
/// rebinding), and to a browser its page and this listener are the same site then.
fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let Ok(Ok(host)) = host.to_str().map(str::parse::<Authority>) else { return false };
    let name = host.host();
    !name.contains(['.', ':']) || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
}

/// Refuses what another site's page has a browser send: without a token the loopback is all that protects.
async fn same_site(request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site").map(http::HeaderValue::as_bytes);
    match site {
        Some(b"cross-site" | b"same-site") if !request.method().is_safe() => {
            Problem::new(StatusCode::FORBIDDEN, "another site's page may not do this").into_response()
        }
        _ => next.run(request).await,
    }
}

fn shows(headers: &HeaderMap, token: &SecretString) -> bool {
    let value = headers.get(AUTHORIZATION).map_or(&[][..], http::HeaderValue::as_bytes);
    value.split_at_checked(7).is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case(b"bearer ") && shown.ct_eq(token.expose_secret().as_bytes()).into()
    })
}
