//! What operators do.

use http::StatusCode;
use serde_json::json;

use super::support::Api;
use crate::store::{Fate, Progress, Start};
use crate::xinyao::callback::Kind;

#[tokio::test]
async fn a_subscriber_is_paused_and_resumed() {
    let api = Api::new();
    for (action, paused) in [("pause", true), ("pause", true), ("resume", false)] {
        let answer = api.good("POST", &format!("/api/v1/subscribers/crm/{action}"), "").await;
        assert_eq!(answer, json!({ "name": "crm", "paused": paused }));
        assert_eq!(api.store.open("crm", Start::Now).await.unwrap().paused, paused);
    }
}

#[tokio::test]
async fn a_purge_drops_the_backlog_of_one() {
    let api = Api::new();
    let (_, place) = api.event(Kind::CallRecord, 0);
    let answer = api.good("POST", "/api/v1/subscribers/crm/purge", "").await;
    assert_eq!(answer, json!({ "purged": 1 }));
    assert!(api.frontier("crm") > place.seq && api.frontier("warehouse") == place.seq);
}

#[tokio::test]
async fn one_that_is_no_longer_configured_is_listed_until_it_is_purged() {
    let api = Api::new();
    api.store.open("gone", Start::Now).await.unwrap();
    let list = api.good("GET", "/api/v1/subscribers", "").await;
    assert_eq!(
        (&list["subscribers"][2]["name"], &list["subscribers"][2]["configured"]),
        (&"gone".into(), &false.into())
    );
    assert_eq!(api.post("/api/v1/subscribers/gone/resume", "").await.status, StatusCode::NOT_FOUND);
    api.good("POST", "/api/v1/subscribers/gone/purge", "").await;
    let list = api.good("GET", "/api/v1/subscribers", "").await;
    assert_eq!(list["subscribers"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_replay_is_of_what_the_subscriber_takes() {
    let api = Api::new();
    for (kind, seconds_ago) in [(Kind::CallRecord, 7200), (Kind::CallRecord, 60), (Kind::Unknown, 60)] {
        api.event(kind, seconds_ago);
    }
    let since = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).to_string();
    let path = "/api/v1/subscribers/crm/replay";
    let replay =
        async |told: serde_json::Value| api.good("POST", path, &told.to_string()).await["replayed"].clone();
    assert_eq!(replay(json!({ "since": since })).await, 1);
    assert_eq!(replay(json!({ "since": "2020-01-01T00:00:00Z", "until": since })).await, 1);
    assert_eq!(replay(json!({ "since": since, "events": ["unknown"] })).await, 0);
    assert_eq!(replay(json!({ "since": "2999-01-01T00:00:00Z" })).await, 0);
    assert_eq!(api.store.replays("crm").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_replay_by_ids_is_of_these_and_no_others() {
    let api = Api::new();
    let (old, place) = api.event(Kind::CallRecord, 7200);
    let (new, _) = api.event(Kind::CallRecord, 0);
    api.passed("crm", place);
    let replay = async |told: serde_json::Value| {
        api.good("POST", "/api/v1/subscribers/crm/replay", &told.to_string()).await["replayed"].clone()
    };
    let since = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).to_string();
    assert_eq!(replay(json!({ "ids": [] })).await, 0);
    let both = [old.to_string(), new.to_string()];
    assert_eq!(replay(json!({ "ids": both, "since": since })).await, 1);
    assert_eq!(api.store.retries("crm").await.unwrap(), 1);
    assert_eq!(replay(json!({ "ids": both })).await, 2);
}

#[tokio::test]
async fn an_event_is_delivered_again_to_one_or_to_all_who_take_it() {
    let api = Api::new();
    let (id, _) = api.event(Kind::IntentResult, 0);
    let path = format!("/api/v1/events/{id}/replay");
    assert_eq!(api.good("POST", &path, "").await, json!({ "replayed": 1 }));
    assert_eq!(api.store.retries("warehouse").await.unwrap(), 1);
    assert_eq!(api.store.retries("crm").await.unwrap(), 0);
    assert_eq!(api.good("POST", &path, r#"{"subscriber":"crm"}"#).await, json!({ "replayed": 1 }));
    assert_eq!(api.store.retries("crm").await.unwrap(), 1);
    assert_eq!(api.post(&path, r#"{"subscriber":"nobody"}"#).await.status, StatusCode::NOT_FOUND);
    assert_eq!(api.post(&path, r#"{"subscribers":"crm"}"#).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn dead_letters_are_revived_or_discarded() {
    let api = Api::new();
    let letters: Vec<_> = (0..3)
        .map(|_| {
            let (id, place) = api.event(Kind::CallRecord, 0);
            api.failed("crm", place, 9, Fate::Dead);
            id.to_string()
        })
        .collect();
    let act = async |action: &str, told: serde_json::Value| {
        api.good("POST", &format!("/api/v1/dead-letters/{action}"), &told.to_string()).await
    };
    // A list that came out empty is not taken for all of them.
    let none = act("discard", json!({ "subscriber": "crm", "ids": [] })).await;
    assert_eq!(none, json!({ "discarded": 0 }));
    let one = act("replay", json!({ "subscriber": "crm", "ids": [letters[0]] })).await;
    assert_eq!(one, json!({ "replayed": 1 }));
    assert_eq!(act("discard", json!({ "subscriber": "crm" })).await, json!({ "discarded": 2 }));
    let left = api.good("GET", "/api/v1/dead-letters", "").await;
    assert_eq!(left["dead_letters"], json!([]));
    assert_eq!(api.store.retries("crm").await.unwrap(), 1);
}

#[tokio::test]
async fn a_test_tells_what_was_answered() {
    let api = Api::new();
    let answer = api.good("POST", "/api/v1/subscribers/warehouse/test", "").await;
    let kinds: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|row| row["event"].clone()).collect();
    assert_eq!(kinds, ["call_record", "intent_result", "inbound_query", "unknown"]);
    assert_eq!((&answer["results"][0]["ok"], &answer["results"][0]["status"]), (&true.into(), &200.into()));
}
