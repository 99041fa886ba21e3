//! What is shown of events, dead letters and subscribers.

use http::StatusCode;
use serde_json::Value;

use super::support::Api;
use crate::store::{Fate, StoreError};
use crate::xinyao::callback::Kind;

fn ids(page: &Value) -> Vec<String> {
    page["events"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_events_arrive() {
    let api = Api::new();
    let mut expected: Vec<String> = (0..5).map(|_| api.event(Kind::CallRecord, 0).0.to_string()).collect();
    expected.reverse();
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = api.good("GET", &format!("/api/v1/events?limit=2&cursor={cursor}"), "").await;
        seen.extend(ids(&page));
        api.event(Kind::CallRecord, 0);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, expected);
    let other = api.get(&format!("/api/v1/dead-letters?cursor={cursor}")).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "a cursor is of its listing");
}

#[tokio::test]
async fn filters_narrow() {
    let api = Api::new();
    let (old, _) = api.event(Kind::CallRecord, 7200);
    let (new, _) = api.event(Kind::IntentResult, 0);
    let hour_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).to_string();
    for (query, expected) in [
        ("event=call_record".to_owned(), vec![old]),
        (format!("since={hour_ago}"), vec![new]),
        (format!("until={hour_ago}"), vec![old]),
        ("app=crm&task_id=7&call_sn=8".to_owned(), vec![new, old]),
        ("app=other".to_owned(), vec![]),
        ("task_id=8".to_owned(), vec![]),
    ] {
        let page = api.good("GET", &format!("/api/v1/events?{query}"), "").await;
        let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(ids(&page), expected, "{query}");
    }
}

#[tokio::test]
async fn deliveries_show_their_states() {
    let api = Api::new();
    let (id, place) = api.event(Kind::CallRecord, 0);
    let due = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(5);
    api.failed("warehouse", place, 1, Fate::Retry { due, spent: 1 });
    let event = api.good("GET", &format!("/api/v1/events/{id}"), "").await;
    let states: Vec<_> = event["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["subscriber"].as_str().unwrap(), row["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("crm", "pending"), ("warehouse", "retrying")]);
    let attempt = &event["attempts"][0];
    assert_eq!((&attempt["status"], &attempt["latency_ms"]), (&500.into(), &12.into()));
    assert_eq!(event["deliveries"][1]["next_attempt_at"], due.to_string());

    // What crm does not take is no delivery of its.
    let (id, _) = api.event(Kind::Unknown, 0);
    let event = api.good("GET", &format!("/api/v1/events/{id}"), "").await;
    let shown: Vec<_> =
        event["deliveries"].as_array().unwrap().iter().map(|row| &row["subscriber"]).collect();
    assert_eq!(shown, ["warehouse"]);
}

#[tokio::test]
async fn numbers_are_masked_but_in_bodies() {
    let api = Api::new();
    let (id, place) = api.event(Kind::CallRecord, 0);
    api.failed("crm", place, 1, Fate::Dead);
    for path in [format!("/api/v1/events/{id}"), "/api/v1/events".into(), "/api/v1/dead-letters".into()] {
        let shown = api.get(&path).await;
        assert!(shown.text().contains("138****8000"), "{}", shown.text());
        assert!(!shown.text().contains("13800138000"), "{path}");
    }
    let tested = api.post("/api/v1/subscribers/crm/test", "").await;
    assert!(tested.text().contains("138****8000"));

    let body = api.get(&format!("/api/v1/events/{id}/body")).await;
    assert_eq!(body.text(), "<b>13800138000</b>");
    // The SaaS chose the type: a browser is not to run it.
    assert_eq!(body.headers["content-type"], "text/html");
    assert_eq!(body.headers["x-content-type-options"], "nosniff");
    assert!(body.headers["content-security-policy"].to_str().unwrap().starts_with("sandbox"));
}

#[tokio::test]
async fn dead_letters_are_listed_by_subscriber() {
    let api = Api::new();
    let (first, place) = api.event(Kind::CallRecord, 0);
    api.failed("crm", place, 9, Fate::Dead);
    let (second, place) = api.event(Kind::IntentResult, 0);
    api.failed("warehouse", place, 9, Fate::Dead);
    let all = api.good("GET", "/api/v1/dead-letters", "").await;
    let listed: Vec<_> = all["dead_letters"].as_array().unwrap().iter().map(|row| &row["event_id"]).collect();
    assert_eq!(listed, [&Value::from(second.to_string()), &first.to_string().into()]);
    let own = api.good("GET", "/api/v1/dead-letters?subscriber=crm&limit=1", "").await;
    assert_eq!(own["dead_letters"][0]["event_id"], first.to_string());
    assert_eq!((own["dead_letters"].as_array().unwrap().len(), &own["next_cursor"]), (1, &Value::Null));
}

#[tokio::test]
async fn missing_numbers_are_paged_by_their_rows() {
    let api = Api::new();
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    api.batch("b");
    loop {
        let page = api.good("GET", &format!("/api/v1/batches/b/missing?limit=2&cursor={cursor}"), "").await;
        assert_eq!(
            (&page["sent"], &page["distinct"], &page["missing_count"]),
            (&12.into(), &7.into(), &5.into())
        );
        rows.extend(page["missing"].as_array().unwrap().iter().map(|number| number["row"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(rows, [2, 3, 4, 5, 6]);
    let other = api.get(&format!("/api/v1/batches?cursor={cursor}")).await;
    assert_eq!(other.status, StatusCode::BAD_REQUEST, "a cursor is of its listing");
    assert_eq!(api.get("/api/v1/batches/c/missing").await.status, StatusCode::NOT_FOUND);
    api.batch("c");
    let unseen = api.good("GET", "/api/v1/batches/c/missing", "").await;
    assert_eq!(
        (&unseen["seen"], &unseen["why"], &unseen["sent"]),
        (&false.into(), &"elsewhere".into(), &Value::Null)
    );
}

#[tokio::test]
async fn a_backlog_counts_what_the_subscriber_takes() {
    let api = Api::new();
    for (kind, seconds_ago) in [(Kind::CallRecord, 100), (Kind::Unknown, 50), (Kind::IntentResult, 10)] {
        api.event(kind, seconds_ago);
    }
    let list = api.good("GET", "/api/v1/subscribers", "").await;
    let rows = list["subscribers"].as_array().unwrap();
    let backlogs: Vec<_> = rows.iter().map(|row| (row["name"].as_str().unwrap(), &row["backlog"])).collect();
    assert_eq!(backlogs, [("crm", &1.into()), ("warehouse", &3.into())]);
    assert!(rows[0]["oldest_age_seconds"].as_f64().unwrap() >= 100.0);
    assert_eq!((&rows[1]["state"], &rows[1]["in_flight"]), (&"probing".into(), &1.into()));

    let status = api.good("GET", "/api/v1/status", "").await;
    assert_eq!(status["backlog"]["events"], 4);
    assert_eq!(status["version"], "0");
}

#[tokio::test]
async fn trouble_in_the_store_is_said_and_the_rest_still_shown() {
    let api = Api::new();
    api.store.refuse(Some(StoreError::Unavailable("the disk is gone".into())));
    let refused = api.post("/api/v1/subscribers/crm/pause", "").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.json()["detail"].as_str().unwrap().contains("the disk is gone"));
    assert_eq!(api.get("/api/v1/status").await.status, StatusCode::OK);
}
