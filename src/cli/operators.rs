//! `status`, `reload`, `events`, `dead-letters`, `replay`, `batches`, `requests`: asked of the running gateway, over the operators' API.

mod api;
mod ask;
mod told;

use std::path::Path;

use serde_json::{Value, json};

use self::api::Api;
use self::ask::query;
use super::arguments::{Batches, DeadLetters, Events, Outcome, Reach, Replay, Requests, SettleRequest};
use super::{Failed, print, print_json};

/// How the gateway fares, and its subscribers.
pub(super) async fn status(reach: Reach, file: &Path) -> Result<(), Failed> {
    let api = Api::reached(&reach, file)?;
    let mut status = api.get("/api/v1/status").await?;
    status["subscribers"] = api.get("/api/v1/subscribers").await?["subscribers"].take();
    if reach.json { print_json(&status) } else { print(&told::status(&status)) }
}

/// Has the file read again and taken up.
pub(super) async fn reload(reach: Reach, file: &Path) -> Result<(), Failed> {
    let told = Api::reached(&reach, file)?.post("/api/v1/reload", &json!({})).await?;
    if reach.json { print_json(&told) } else { print(&told::reload(&told)) }
}

/// A page of events, or one with its attempts.
pub(super) async fn events(asked: Events, file: &Path) -> Result<(), Failed> {
    let api = Api::reached(&asked.reach, file)?;
    if let Some(id) = &asked.id {
        let event = api.get(&format!("/api/v1/events/{}", ask::segment(id))).await?;
        return if asked.reach.json { print_json(&event) } else { print(&told::event(&event)) };
    }
    let limit = asked.page.limit.to_string();
    let (since, until) = (asked.since.map(|when| when.to_string()), asked.until.map(|when| when.to_string()));
    let query = query(&[
        ("app", asked.app.as_deref()),
        ("event", asked.event.map(crate::xinyao::callback::Kind::name)),
        ("task_id", asked.task_id.as_deref()),
        ("call_sn", asked.call_sn.as_deref()),
        ("since", since.as_deref()),
        ("until", until.as_deref()),
        ("limit", Some(&limit)),
        ("cursor", asked.page.cursor.as_deref()),
    ]);
    let page = api.get(&format!("/api/v1/events?{query}")).await?;
    if asked.reach.json { print_json(&page) } else { print(&told::events(&page)) }
}

/// A page of dead letters.
pub(super) async fn dead_letters(asked: DeadLetters, file: &Path) -> Result<(), Failed> {
    let api = Api::reached(&asked.reach, file)?;
    let limit = asked.page.limit.to_string();
    let query = query(&[
        ("subscriber", asked.subscriber.as_deref()),
        ("limit", Some(&limit)),
        ("cursor", asked.page.cursor.as_deref()),
    ]);
    let page = api.get(&format!("/api/v1/dead-letters?{query}")).await?;
    if asked.reach.json { print_json(&page) } else { print(&told::dead_letters(&page)) }
}

/// A page of batches, or one.
pub(super) async fn batches(asked: Batches, file: &Path) -> Result<(), Failed> {
    if asked.call_sn.is_some() && !asked.missing && asked.page.cursor.is_some() {
        return Err(Failed::Usage(
            "--cursor is for lists: of batches, or of a batch's numbers with --missing".into(),
        ));
    }
    let api = Api::reached(&asked.reach, file)?;
    if let Some(name) = asked.call_sn.as_ref().filter(|_| asked.missing) {
        return missing(&api, name, &asked).await;
    }
    if let Some(name) = &asked.call_sn {
        let batch = api.get(&format!("/api/v1/batches/{}", ask::segment(name))).await?;
        return if asked.reach.json { print_json(&batch) } else { print(&told::batch(&batch)) };
    }
    let limit = asked.page.limit.to_string();
    let query = query(&[
        ("app", asked.app.as_deref()),
        ("limit", Some(&limit)),
        ("cursor", asked.page.cursor.as_deref()),
    ]);
    let page = api.get(&format!("/api/v1/batches?{query}")).await?;
    if asked.reach.json { print_json(&page) } else { print(&told::batches(&page)) }
}

/// A page of a batch's numbers that have no call record.
async fn missing(api: &Api, name: &str, asked: &Batches) -> Result<(), Failed> {
    let limit = asked.page.limit.to_string();
    let query = query(&[("limit", Some(&limit)), ("cursor", asked.page.cursor.as_deref())]);
    let found = api.get(&format!("/api/v1/batches/{}/missing?{query}", ask::segment(name))).await?;
    if asked.reach.json { print_json(&found) } else { print(&told::missing(&found)) }
}

/// A page of requests that must not be sent twice; or one of them is settled.
pub(super) async fn requests(asked: Requests, file: &Path) -> Result<(), Failed> {
    if let Some(SettleRequest::Settle { id, outcome, reach }) = asked.settle {
        return settle(&id, outcome, &reach, file).await;
    }
    let api = Api::reached(&asked.reach, file)?;
    let limit = asked.page.limit.to_string();
    let state = Some(&*asked.state).filter(|state| *state != "any");
    let query = query(&[("state", state), ("limit", Some(&limit)), ("cursor", asked.page.cursor.as_deref())]);
    let page = api.get(&format!("/api/v1/requests?{query}")).await?;
    if asked.reach.json { print_json(&page) } else { print(&told::requests(&page)) }
}

async fn settle(id: &str, outcome: Outcome, reach: &Reach, file: &Path) -> Result<(), Failed> {
    let api = Api::reached(reach, file)?;
    let (outcome, then) = match outcome {
        Outcome::Done => ("done", "the same request stays refused"),
        Outcome::NotSent => ("not_sent", "the same request may be sent again"),
    };
    let path = format!("/api/v1/requests/{}/settle", ask::segment(id));
    let answer = api.post(&path, &json!({ "outcome": outcome })).await?;
    if reach.json { print_json(&answer) } else { print(&format!("request {id} is settled: {then}\n")) }
}

/// Has events delivered again.
pub(super) async fn replay(asked: Replay, file: &Path) -> Result<(), Failed> {
    let api = Api::reached(&asked.reach, file)?;
    let name = &asked.subscriber;
    let answer = if let Some(id) = &asked.event {
        let path = format!("/api/v1/events/{}/replay", ask::segment(id));
        api.post(&path, &json!({ "subscriber": name })).await?
    } else if asked.dead_letters {
        api.post("/api/v1/dead-letters/replay", &json!({ "subscriber": name })).await?
    } else {
        let mut told = json!({ "since": asked.since.map(|when| when.to_string()) });
        if let Some(until) = asked.until {
            told["until"] = until.to_string().into();
        }
        api.post(&format!("/api/v1/subscribers/{}/replay", ask::segment(name)), &told).await?
    };
    if asked.reach.json {
        return print_json(&answer);
    }
    let what = if asked.dead_letters { "dead letters" } else { "events" };
    print(&format!(
        "{} {what} are delivered to {name} again\n",
        answer.get("replayed").unwrap_or(&Value::Null)
    ))
}
