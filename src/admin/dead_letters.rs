//! `/api/v1/dead-letters`

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Problem;
use super::asked::{DeadLettersAsked, DeadLettersTold, Parameters, Told};
use super::cursor::Listing;
use super::operations::Operations;
use super::shown;

type Answer = Result<Json<Value>, Problem>;
type Given = State<Arc<Operations>>;

pub(super) fn routes() -> Router<Arc<Operations>> {
    Router::new()
        .route("/api/v1/dead-letters", get(list))
        .route("/api/v1/dead-letters/replay", post(replay))
        .route("/api/v1/dead-letters/discard", post(discard))
}

async fn list(State(operations): Given, Parameters(asked): Parameters<DeadLettersAsked>) -> Answer {
    let (subscriber, page) = asked.meant()?;
    if let Some(name) = &subscriber {
        operations.known(name).await?;
    }
    let letters = operations.query.dead_letters(subscriber, page.limit, page.cursor).await?;
    Ok(Json(shown::page(Listing::DeadLetters, letters, |letter| operations.dead_letter(letter))))
}

async fn replay(State(operations): Given, Told(told): Told<DeadLettersTold>) -> Answer {
    let (subscriber, ids) = (&told.subscriber, told.ids()?);
    operations.configured(subscriber)?;
    let replayed = match ids {
        // To the store none named means all; an operator who names none means none.
        Some(ids) if ids.is_empty() => 0,
        ids => operations.operate.revive(subscriber, ids.unwrap_or_default()).await?,
    };
    tracing::info!(subscriber, replayed, "an operator has dead letters delivered again");
    Ok(Json(json!({ "replayed": replayed })))
}

async fn discard(State(operations): Given, Told(told): Told<DeadLettersTold>) -> Answer {
    let (subscriber, ids) = (&told.subscriber, told.ids()?);
    operations.known(subscriber).await?;
    let discarded = match ids {
        Some(ids) if ids.is_empty() => 0,
        ids => operations.operate.discard(subscriber, ids.unwrap_or_default()).await?,
    };
    tracing::warn!(subscriber, discarded, "an operator discarded dead letters");
    Ok(Json(json!({ "discarded": discarded })))
}
