//! `/api/v1/subscribers`

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::Problem;
use super::asked::{Again, Named, ReplayTold, Told};
use super::operations::Operations;
use crate::store::{EventFilter, EventId, EventSummary};

type Answer = Result<Json<Value>, Problem>;
type Given = State<Arc<Operations>>;

pub(super) fn routes() -> Router<Arc<Operations>> {
    Router::new()
        .route("/api/v1/subscribers", get(list))
        .route("/api/v1/subscribers/{name}/pause", post(pause))
        .route("/api/v1/subscribers/{name}/resume", post(resume))
        .route("/api/v1/subscribers/{name}/purge", post(purge))
        .route("/api/v1/subscribers/{name}/test", post(test))
        .route("/api/v1/subscribers/{name}/replay", post(replay))
}

/// Those configured, and then those that only the store still knows.
async fn list(State(operations): Given) -> Answer {
    let (standing, figures) = (operations.subscribers.standing(), operations.query.figures().await?);
    let configured = standing.iter().map(|one| {
        let known = figures.iter().find(|known| known.name == one.name);
        operations.subscriber(&one.name, Some(one), known)
    });
    let gone = figures.iter().filter(|known| standing.iter().all(|one| one.name != known.name));
    let gone = gone.map(|known| operations.subscriber(&known.name, None, Some(known)));
    Ok(Json(json!({ "subscribers": configured.chain(gone).collect::<Vec<_>>() })))
}

async fn pause(state: Given, name: Named) -> Answer {
    set_paused(state, name, true).await
}

async fn resume(state: Given, name: Named) -> Answer {
    set_paused(state, name, false).await
}

async fn set_paused(State(operations): Given, Named(name): Named, paused: bool) -> Answer {
    operations.configured(&name)?;
    if !operations.operate.set_paused(&name, paused).await? {
        return Err(Problem::not_found(format!("the store does not know subscriber {name:?} yet")));
    }
    tracing::info!(subscriber = name, paused, "an operator paused or resumed a subscriber");
    Ok(Json(json!({ "name": name, "paused": paused })))
}

/// One that is no longer configured is forgotten at that, and so is an address that an app named: nothing else
/// would ever end it.
async fn purge(State(operations): Given, Named(name): Named) -> Answer {
    let configured = operations.known(&name).await? && !operations.subscribers.give_up(&name).await?;
    let purged = operations.operate.purge(&name).await?;
    if !configured {
        operations.operate.forget(&name).await?;
    }
    tracing::warn!(subscriber = name, purged, forgotten = !configured, "an operator dropped a backlog");
    Ok(Json(json!({ "purged": purged })))
}

async fn test(State(operations): Given, Named(name): Named) -> Answer {
    operations.configured(&name)?;
    let samples = operations.subscribers.test(&name).await;
    // Between the two lines a reload may have taken it away.
    let samples = samples.ok_or_else(|| Problem::not_found(format!("no subscriber is named {name:?}")))?;
    let results: Vec<Value> = samples.iter().map(|sample| operations.sample(sample)).collect();
    Ok(Json(json!({ "results": results })))
}

async fn replay(State(operations): Given, Named(name): Named, Told(told): Told<ReplayTold>) -> Answer {
    operations.configured(&name)?;
    let replayed = match told.meant()? {
        Again::Matching(filter) => {
            let taken = taken(&operations, &name, filter);
            if taken.kinds.is_empty() { 0 } else { operations.operate.replay(&name, taken).await? }
        }
        Again::Ids(ids, filter) => {
            let ids = matching(&operations, ids, &filter).await?;
            if ids.is_empty() { 0 } else { operations.operate.replay_ids(&name, ids).await? }
        }
    };
    tracing::info!(subscriber = name, replayed, "an operator has events delivered again");
    Ok(Json(json!({ "replayed": replayed })))
}

/// `filter`, narrowed to kinds that the subscriber takes: it is told of no others as delivered again.
fn taken(operations: &Operations, name: &str, mut filter: EventFilter) -> EventFilter {
    let mut kinds = operations.subscribers.kinds(name);
    kinds.retain(|kind| filter.kinds.is_empty() || filter.kinds.contains(kind));
    filter.kinds = kinds;
    filter
}

/// Those of `ids` that match.
async fn matching(
    operations: &Operations,
    ids: Vec<EventId>,
    filter: &EventFilter,
) -> Result<Vec<EventId>, Problem> {
    if *filter == EventFilter::default() {
        return Ok(ids);
    }
    let mut matching = Vec::new();
    for id in ids {
        let event = operations.query.event(id).await?;
        matching.extend(event.filter(|event| meant(&event.summary, filter)).map(|_| id));
    }
    Ok(matching)
}

fn meant(event: &EventSummary, filter: &EventFilter) -> bool {
    (filter.kinds.is_empty() || filter.kinds.contains(&event.kind))
        && filter.since.is_none_or(|since| event.received_at >= since)
        && filter.until.is_none_or(|until| event.received_at < until)
}
