//! The operators' listener.
//!
//! | route | what it gives | wants the token |
//! | --- | --- | --- |
//! | `GET /healthz` | 200 while the process lives | no |
//! | `GET /readyz` | 200 while it can take requests, JSON per check | no |
//! | `GET /metrics` | Prometheus text | yes |
//! | `GET /openapi.json` | this API, and the SaaS's endpoints as the proxy listener serves them | yes |
//! | `GET /api/v1/status` | how things stand | yes |
//! | `GET /api/v1/config` | the running configuration, secrets as `***` | yes |
//!
//! Errors are `application/problem+json` (RFC 9457).

pub mod openapi;
mod problem;
mod settings;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use prometheus_client::registry::Registry;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use subtle::ConstantTimeEq;

pub use self::problem::Problem;
pub use self::settings::Settings;

/// What the listener shows, given by who made the parts.
pub struct Views {
    /// Everything that is counted.
    pub metrics: Registry,
    /// How things stand.
    pub status: Box<dyn Fn() -> Value + Send + Sync>,
    /// What must hold for requests to be taken.
    pub checks: Box<dyn Fn() -> Vec<Check> + Send + Sync>,
    /// The running configuration, secrets as `***`.
    pub config: Box<dyn Fn() -> Value + Send + Sync>,
    /// The OpenAPI document.
    pub openapi: Value,
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

/// The routes; `token` is what callers must show where the table says so.
pub fn router(views: Views, token: Option<SecretString>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/api/v1/status", get(status))
        .route("/api/v1/config", get(config))
        .route_layer(middleware::from_fn_with_state(token.map(Arc::new), authorize));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(guarded)
        .fallback(|| async { Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .with_state(Arc::new(views))
}

async fn healthz() -> Json<Value> {
    Json(serde_json::json!({ "status": "ok" }))
}

async fn readyz(State(views): State<Arc<Views>>) -> Response {
    let checks = (views.checks)();
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let checks: serde_json::Map<String, Value> = checks
        .into_iter()
        .map(|check| (check.name.to_owned(), serde_json::json!({ "ok": check.ok, "detail": check.detail })))
        .collect();
    (status, Json(serde_json::json!({ "ready": ready, "checks": checks }))).into_response()
}

async fn metrics(State(views): State<Arc<Views>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &views.metrics) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(_) => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written out")
            .into_response(),
    }
}

async fn openapi(State(views): State<Arc<Views>>) -> Json<Value> {
    Json(views.openapi.clone())
}

async fn status(State(views): State<Arc<Views>>) -> Json<Value> {
    Json((views.status)())
}

async fn config(State(views): State<Arc<Views>>) -> Json<Value> {
    Json((views.config)())
}

async fn authorize(State(token): State<Option<Arc<SecretString>>>, request: Request, next: Next) -> Response {
    match token {
        Some(token) if !shows(request.headers(), &token) => Problem::unauthorized().into_response(),
        _ => next.run(request).await,
    }
}

fn shows(headers: &HeaderMap, token: &SecretString) -> bool {
    let value = headers.get(AUTHORIZATION).map_or(&[][..], http::HeaderValue::as_bytes);
    value.split_at_checked(7).is_some_and(|(scheme, shown)| {
        scheme.eq_ignore_ascii_case(b"bearer ") && shown.ct_eq(token.expose_secret().as_bytes()).into()
    })
}
