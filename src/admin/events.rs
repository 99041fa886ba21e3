//! `/api/v1/events`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{
    CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use serde_json::{Value, json};

use super::Problem;
use super::asked::{EventReplayTold, EventsAsked, Named, Parameters, Told};
use super::cursor::Listing;
use super::operations::Operations;
use super::shown;
use crate::store::{EventDetail, EventId};

type Answer = Result<Json<Value>, Problem>;
type Given = State<Arc<Operations>>;

pub(super) fn routes() -> Router<Arc<Operations>> {
    Router::new()
        .route("/api/v1/events", get(list))
        .route("/api/v1/events/{id}", get(one))
        .route("/api/v1/events/{id}/body", get(body))
        .route("/api/v1/events/{id}/replay", post(replay))
}

async fn list(State(operations): Given, Parameters(asked): Parameters<EventsAsked>) -> Answer {
    let (filter, page) = asked.meant()?;
    let events = operations.query.events(filter, page.limit, page.cursor).await?;
    Ok(Json(shown::page(Listing::Events, events, |event| operations.event(event))))
}

async fn one(State(operations): Given, Named(id): Named) -> Answer {
    Ok(Json(operations.event_detail(&found(&operations, &id).await?)))
}

/// The bytes as they came. They are somebody else's: a browser is to make nothing of them.
async fn body(State(operations): Given, Named(id): Named) -> Result<Response, Problem> {
    let event = operations.query.body(event_id(&id)?).await?.ok_or_else(|| no_event(&id))?;
    let kind = event.content_type.as_ref().and_then(|kind| HeaderValue::from_bytes(kind).ok());
    let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
        (CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
    ];
    Ok((headers, event.body.clone()).into_response())
}

/// To one subscriber, whether it wants the event or not; or to each that wants it.
async fn replay(State(operations): Given, Named(id): Named, Told(told): Told<EventReplayTold>) -> Answer {
    let event = found(&operations, &id).await?.summary;
    let subscribers = match told.subscriber {
        Some(name) => {
            operations.configured(&name)?;
            vec![name]
        }
        None => {
            let mut names: Vec<_> =
                operations.subscribers.standing().into_iter().map(|one| one.name).collect();
            names.retain(|name| operations.subscribers.wants(name, &event.app, event.kind));
            names
        }
    };
    let mut replayed = 0;
    for name in subscribers {
        replayed += operations.operate.replay_ids(&name, vec![event.id]).await?;
        tracing::info!(subscriber = name, event = %event.id, "an operator has an event delivered again");
    }
    Ok(Json(json!({ "replayed": replayed })))
}

async fn found(operations: &Operations, id: &str) -> Result<EventDetail, Problem> {
    operations.query.event(event_id(id)?).await?.ok_or_else(|| no_event(id))
}

fn event_id(id: &str) -> Result<EventId, Problem> {
    id.parse().map_err(|_| no_event(id))
}

fn no_event(id: &str) -> Problem {
    Problem::not_found(format!("no event has the id {id:?}, or retention has removed it"))
}
