//! What becomes of an upload.

use std::collections::HashMap;

use http::StatusCode;
use serde_json::{Value, json};

use super::support::{Receiver, good, numbers, settings, start};
use crate::sandbox::{PushError, PushKind, Settings};
use crate::xinyao::Endpoint;

fn fails_first(n: usize) -> (u16, Value) {
    if n == 0 { (500, json!({ "code": 1, "msg": "later" })) } else { good(n) }
}

fn never(_: usize) -> (u16, Value) {
    (200, json!({ "code": 1, "msg": "no" }))
}

/// All entries of the arrays `key` in `pushes`.
fn entries(pushes: &[Value], key: &str) -> Vec<Value> {
    pushes.iter().filter_map(|push| push[key].as_array()).flatten().cloned().collect()
}

#[tokio::test]
async fn every_number_is_told_of_though_the_first_try_fails() {
    let receiver = Receiver::start(fails_first).await;
    let sandbox = start(settings()).await;
    let task = sandbox.task(json!({ "team_url": receiver.url, "recall_policy": [] })).await;
    let call_sn = sandbox.upload(&task, "csv", &numbers(20)).await.json()["result"]["call_sn"].clone();
    sandbox.handle.settled().await;

    let pushes = sandbox.handle.pushes();
    let accepted: Vec<Value> = pushes
        .iter()
        .filter(|push| push.accepted)
        .map(|push| serde_json::from_slice(&push.body).unwrap())
        .collect();
    assert!(!pushes[0].accepted && pushes[0].status == Some(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!(pushes.iter().filter(|push| push.attempt == 2).count(), 1);
    assert_eq!(receiver.taken().len(), pushes.len());

    let calls = entries(&accepted, "calls");
    let mut told: Vec<&str> = calls.iter().map(|call| call["num"].as_str().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, (0..20).map(|n| format!("138{n:08}")).collect::<Vec<_>>());
    let record = &accepted[0];
    assert_eq!((&record["task_id"], &record["call_sn"]), (&json!(task), &call_sn));
    assert_eq!((&record["call_sn_name"], &record["bot_id"]), (&json!("批次"), &json!("102094990155681792")));

    let degrees = entries(&accepted, "degrees");
    let answered = calls.iter().filter(|call| call["answered_time"].is_string()).count();
    assert!(answered > 0 && degrees.len() == answered);
    assert!(degrees.iter().all(|degree| degree["recall_flag"] == 0 && degree["degree_name"].is_string()));
    assert_eq!(sandbox.handle.batches()[0].answered, answered);
    sandbox.stop().await;
}

#[tokio::test]
async fn an_answered_call_can_be_looked_into() {
    let receiver = Receiver::start(good).await;
    let sandbox = start(settings()).await;
    let task = sandbox.task(json!({ "team_url": receiver.url, "is_record": 2 })).await;
    sandbox.upload(&task, "txt", &numbers(20)).await;
    sandbox.handle.settled().await;

    let calls = entries(&receiver.taken(), "calls");
    let call = calls.iter().find(|call| call["state"] == 1).unwrap();
    let time = |key: &str| call[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let talked = time("end_time") - time("answered_time");
    assert!(
        (talked - call["duration"].as_i64().unwrap()).abs() <= 1
            && time("start_time") < time("answered_time")
    );
    let dialogs = call["dialogs"].as_array().unwrap();
    let said: Vec<&Value> = dialogs.iter().filter(|line| line["dialog_type"] == 2).collect();
    assert_eq!(call["round"], said.len());
    assert!(said.iter().all(|line| line["intention_name"] != ""));

    let session = json!({ "session_id": call["call_id"] });
    let followed = sandbox.post(Endpoint::FollowedData, &session).await.json();
    assert_eq!(followed["result"].as_array().unwrap().len(), dialogs.len());
    assert_eq!(followed["result"][0]["content"], dialogs[0]["dialog_text"]);
    let unknown = sandbox.post(Endpoint::FollowedData, &json!({ "session_id": "7" })).await;
    assert_eq!(unknown.code(), -170_301);

    let path = call["record_url"].as_str().unwrap();
    let whole = sandbox.get(path, None).await;
    assert_eq!(
        (whole.status, &whole.headers["content-type"]),
        (StatusCode::OK, &"audio/wav".parse().unwrap())
    );
    assert_eq!(whole.body.len() as u64, 44 + 8000 * call["duration"].as_u64().unwrap());
    let part = sandbox.get(path, Some("bytes=8-11")).await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, b"WAVE".as_slice()));
    let beyond = sandbox.get(path, Some("bytes=99999999-")).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(sandbox.get(&path.replace("82001", "82002"), None).await.code(), -404_002);
}

#[tokio::test]
async fn a_state_of_the_recall_policy_is_called_once_more() {
    let receiver = Receiver::start(good).await;
    let sandbox = start(Settings { speed: 1e6, ..settings() }).await;
    let policy = json!(["775", "781", "773", "770", "774", "772", "788", "776", "778", "771"]);
    let task = sandbox.task(json!({ "team_url": receiver.url, "recall_policy": policy })).await;
    sandbox.upload(&task, "csv", &numbers(200)).await;
    sandbox.handle.settled().await;

    let mut states: HashMap<String, Vec<i64>> = HashMap::new();
    for call in entries(&receiver.taken(), "calls") {
        let number = call["num"].as_str().unwrap().to_owned();
        states.entry(number).or_default().push(call["state"].as_i64().unwrap());
    }
    assert_eq!(states.len(), 200);
    let unanswered = |state: i64| !matches!(state, 1 | 784 | 786);
    let twice = states.values().filter(|calls| calls.len() == 2).count();
    assert_eq!(twice, states.values().filter(|calls| calls.iter().any(|s| unanswered(*s))).count());
    assert!(states.values().all(|calls| calls.len() <= 2) && twice > 50);
    let again = entries(&receiver.taken(), "degrees").iter().filter(|d| d["recall_flag"] == 1).count();
    assert!(again > 0 && sandbox.handle.batches()[0].called == 200 + twice);
}

#[tokio::test]
async fn a_push_is_given_up_after_three_retries() {
    let receiver = Receiver::start(never).await;
    let sandbox = start(Settings { speed: 1e5, ..settings() }).await;
    let task = sandbox.task(json!({ "team_url": receiver.url, "recall_policy": [] })).await;
    sandbox.upload(&task, "csv", "phone\n13800138000\n").await;
    sandbox.handle.settled().await;
    let pushes = sandbox.handle.pushes();
    let attempts: Vec<u32> =
        pushes.iter().filter(|push| push.kind == PushKind::CallRecord).map(|push| push.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4]);
    assert!(pushes.iter().all(|push| !push.accepted && push.answer.contains("no")));
}

#[tokio::test]
async fn the_same_seed_makes_the_same_campaign() {
    let mut campaigns = Vec::new();
    for _ in 0..2 {
        let receiver = Receiver::start(good).await;
        let sandbox = start(settings()).await;
        let task = sandbox.task(json!({ "team_url": receiver.url, "recall_policy": [] })).await;
        sandbox.upload(&task, "csv", &numbers(30)).await;
        sandbox.handle.settled().await;
        let calls = entries(&receiver.taken(), "calls");
        let mut ends: Vec<(Value, Value)> =
            calls.iter().map(|call| (call["call_id"].clone(), call["state"].clone())).collect();
        ends.sort_by_key(|(id, _)| id.to_string());
        campaigns.push(ends);
    }
    assert_eq!(campaigns[0].len(), 30);
    assert_eq!(campaigns[0], campaigns[1]);
}

#[tokio::test]
async fn stopping_breaks_campaigns_off() {
    let sandbox = start(Settings { speed: 1.0, ..settings() }).await;
    let task = sandbox.task(json!({ "team_url": "http://127.0.0.1:9/" })).await;
    sandbox.upload(&task, "csv", &numbers(20)).await;
    let handle = sandbox.handle.clone();
    sandbox.stop().await;
    handle.settled().await;
    assert!(!handle.batches()[0].settled);
}

#[tokio::test]
async fn one_campaign_too_many_is_refused() {
    let sandbox = start(Settings { speed: 1.0, ..settings() }).await;
    let task = sandbox.task(json!({ "team_url": null })).await;
    for _ in 0..16 {
        assert_eq!(sandbox.upload(&task, "csv", &numbers(1)).await.code(), 0);
    }
    let refused = sandbox.upload(&task, "csv", &numbers(1)).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::SERVICE_UNAVAILABLE, -503_001));
    assert_eq!(sandbox.handle.batches().len(), 16);
}

#[tokio::test]
async fn some_who_missed_a_call_ring_back() {
    let receiver = Receiver::start(good).await;
    let sandbox = start(Settings { inbound_url: Some(receiver.url.clone()), ..settings() }).await;
    let task = sandbox.task(json!({ "team_url": null, "recall_policy": [] })).await;
    sandbox.upload(&task, "csv", &numbers(60)).await;
    sandbox.handle.settled().await;
    let asked = receiver.taken();
    let missed = 60 - sandbox.handle.batches()[0].answered;
    assert!(!asked.is_empty() && asked.len() < missed);
    assert!(asked.iter().all(|query| query["caller"].as_str().unwrap().starts_with("138")));
}

#[tokio::test]
async fn an_inbound_call_is_asked_about() {
    fn answer(_: usize) -> (u16, Value) {
        (200, json!({ "code": 0, "msg": "success", "prompt": "您好", "transfer": "01055667788" }))
    }
    let receiver = Receiver::start(answer).await;
    let sandbox = start(settings()).await;
    let answer = sandbox.handle.ask_inbound("13515525820", &receiver.url).await.unwrap();
    assert_eq!((answer.code, answer.prompt.as_str(), answer.transfer.as_str()), (0, "您好", "01055667788"));
    assert_eq!(receiver.taken(), [json!({ "caller": "13515525820" })]);
    assert_eq!(sandbox.handle.pushes()[0].kind, PushKind::InboundQuery);

    let refused = Receiver::start(fails_first).await;
    let error = sandbox.handle.ask_inbound("1", &refused.url).await.unwrap_err();
    assert!(matches!(error, PushError::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    let error = sandbox.handle.ask_inbound("1", "https://127.0.0.1/").await.unwrap_err();
    assert!(matches!(error, PushError::Url));
}
