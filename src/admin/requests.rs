//! `/api/v1/requests`

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Problem;
use super::asked::{Named, Parameters, RequestsAsked, SettleTold, Told};
use super::cursor::Listing;
use super::operations::Operations;
use super::shown;
use crate::store::Finding;

type Answer = Result<Json<Value>, Problem>;
type Given = State<Arc<Operations>>;

pub(super) fn routes() -> Router<Arc<Operations>> {
    Router::new().route("/api/v1/requests", get(list)).route("/api/v1/requests/{id}/settle", post(settle))
}

async fn list(State(operations): Given, Parameters(asked): Parameters<RequestsAsked>) -> Answer {
    let (state, page) = asked.meant()?;
    let requests = operations.once.requests(state, page.limit, page.cursor).await?;
    Ok(Json(shown::page(Listing::Requests, requests, shown::request)))
}

async fn settle(State(operations): Given, Named(name): Named, Told(told): Told<SettleTold>) -> Answer {
    let finding = told.meant()?;
    let outcome = match finding {
        Finding::Done => "done",
        Finding::NotSent => "not_sent",
    };
    let missing = || Problem::not_found(format!("no request is remembered as {name:?}"));
    let id = name.parse().map_err(|_| missing())?;
    if operations.once.settle_request(id, finding, Timestamp::now()).await? {
        tracing::warn!(request = %id, outcome, "an operator has decided about an unknown outcome");
        return Ok(Json(json!({ "id": name, "outcome": outcome })));
    }
    let request = operations.once.request(id).await?.ok_or_else(missing)?;
    let state = request.state.name();
    Err(Problem::new(StatusCode::CONFLICT, format!("the request is {state}: there is nothing to decide")))
}
