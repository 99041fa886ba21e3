//! What operators are served before the gateway is: that it waits, and for what.

use axum::Router;
use axum::routing::get;
use http::StatusCode;

use super::{Check, Problem, healthz, readiness};

/// `/healthz`, a `/readyz` that is 503 and says why, and 503 for all else.
pub fn waiting(why: String) -> Router {
    let check = Check { name: "store", ok: false, detail: why };
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(async move || readiness(vec![check])))
        .fallback(|| async {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the gateway is being started; /readyz says what it waits for",
            )
        })
}
