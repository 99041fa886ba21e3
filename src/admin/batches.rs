//! `/api/v1/batches`

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use super::Problem;
use super::asked::{BatchesAsked, MissingAsked, Named, Parameters};
use super::cursor::Listing;
use super::operations::Operations;
use super::shown;
use crate::store::BatchRecord;

type Answer = Result<Json<Value>, Problem>;
type Given = State<Arc<Operations>>;

pub(super) fn routes() -> Router<Arc<Operations>> {
    Router::new()
        .route("/api/v1/batches", get(list))
        .route("/api/v1/batches/{call_sn}", get(one))
        .route("/api/v1/batches/{call_sn}/missing", get(missing))
}

async fn list(State(operations): Given, Parameters(asked): Parameters<BatchesAsked>) -> Answer {
    let (app, page) = asked.meant()?;
    let batches = operations.ledger.batches(app, page.limit, page.cursor).await?;
    Ok(Json(shown::page(Listing::Batches, batches, |batch| operations.batch(batch))))
}

async fn one(State(operations): Given, Named(name): Named) -> Answer {
    let batch = known(&operations, &name).await?;
    Ok(Json(operations.batch(&batch)))
}

async fn missing(
    State(operations): Given,
    Named(name): Named,
    Parameters(asked): Parameters<MissingAsked>,
) -> Answer {
    let (after, limit) = asked.meant()?;
    let batch = known(&operations, &name).await?;
    let found = (operations.missing)(batch.clone(), after, limit).await?;
    Ok(Json(shown::missing(&batch, found)))
}

async fn known(operations: &Operations, name: &str) -> Result<BatchRecord, Problem> {
    let batch = operations.ledger.batch(name).await?;
    batch.ok_or_else(|| Problem::not_found(format!("no batch is known as {name:?}")))
}
