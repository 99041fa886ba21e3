//! Operators look at events and have them delivered again, with the commands that ask the running gateway.

use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use serde_json::Value;

use crate::support::{Binary, Gateway, Upstream, answer, eventually, ok, post};

const RECORD: &str =
    r#"{"task_id":"7","call_sn":"17","bot_id":"1","calls":[{"num":"13800138000","state":775}]}"#;
const INTENT: &str = r#"{"task_id":"7","call_sn":"17","degrees":[{"num":"13800138000","degree_name":"A"}]}"#;

/// A gateway whose subscriber `crm-hook` is `upstream`; what fails is dead at once.
fn gateway(upstream: &Upstream) -> Gateway {
    let subscriber = format!("{{name: crm-hook, url: \"{}/hook\", retry: []}}", upstream.url());
    Gateway::at("http://127.0.0.1:9").with(format!("subscribers: [{subscriber}]")).start()
}

fn command(gateway: &Gateway, arguments: &[&str]) -> Command {
    let mut command = Binary::command();
    command.args(arguments).arg("--admin").arg(format!("http://{}", gateway.admin)).env_clear();
    command
}

/// What a command prints. The gateway is on a thread of its own, and goes on meanwhile.
#[track_caller]
fn told(gateway: &Gateway, arguments: &[&str]) -> String {
    let assert = command(gateway, arguments).assert().success();
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

#[track_caller]
fn json(gateway: &Gateway, arguments: &[&str]) -> Value {
    serde_json::from_str(&told(gateway, &[arguments, &["--json"]].concat())).unwrap()
}

async fn delivered(gateway: &Gateway, count: u64) {
    eventually(async || {
        let known = gateway.operate("/api/v1/subscribers").await.json();
        known["subscribers"][0]["delivered"] == count && known["subscribers"][0]["backlog"] == 0
    })
    .await;
}

#[tokio::test]
async fn status_tells_how_the_gateway_and_its_subscribers_fare() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    assert_eq!(gateway.push(RECORD).await.status, 200);
    delivered(&gateway, 1).await;
    let text = told(&gateway, &["status"]);
    assert!(text.contains("config   ok") && text.contains("crm-hook") && text.contains("active"), "{text}");
    let status = json(&gateway, &["status"]);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&status["backlog"]["events"], &status["subscribers"][0]["delivered"]),
        (&0.into(), &1.into())
    );
}

#[tokio::test]
async fn events_are_listed_filtered_and_shown_one_by_one() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    gateway.push(RECORD).await;
    gateway.push(INTENT).await;
    delivered(&gateway, 2).await;
    let page = json(&gateway, &["events", "--limit", "1"]);
    assert_eq!(page["events"][0]["event"], "intent_result");
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = json(&gateway, &["events", "--limit", "1", "--cursor", cursor]);
    assert_eq!((&next["events"][0]["event"], &next["next_cursor"]), (&"call_record".into(), &Value::Null));
    let filtered = json(&gateway, &["events", "--event", "call_record", "--since", "1h", "--call-sn", "17"]);
    assert_eq!(filtered["events"], next["events"]);
    assert!(told(&gateway, &["events", "--until", "1h"]).contains("no events"));

    let id = next["events"][0]["id"].as_str().unwrap();
    let text = told(&gateway, &["events", id]);
    assert!(text.contains(id) && text.contains("crm-hook") && text.contains("delivered"), "{text}");
    assert_eq!(json(&gateway, &["events", id])["attempts"][0]["status"], 200);
}

#[tokio::test]
async fn a_replay_by_time_or_id_delivers_again_what_was_delivered() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    gateway.push(RECORD).await;
    delivered(&gateway, 1).await;
    assert_eq!(json(&gateway, &["replay", "crm-hook", "--since", "1h"])["replayed"], 1);
    delivered(&gateway, 2).await;
    let id = json(&gateway, &["events"])["events"][0]["id"].as_str().unwrap().to_owned();
    let text = told(&gateway, &["replay", "crm-hook", "--event", &id]);
    assert_eq!(text, "1 events are delivered to crm-hook again\n");
    delivered(&gateway, 3).await;
    let ids: Vec<String> = upstream.seen().iter().map(|seen| seen.header("webhook-id").to_owned()).collect();
    assert_eq!(ids, [id.clone(), id.clone(), id], "a subscriber knows it again");
}

#[tokio::test]
async fn dead_letters_are_listed_and_replayed_once_the_subscriber_is_well() {
    let upstream = Upstream::in_turn([answer("410 Gone", "", ""), ok()]);
    let gateway = gateway(&upstream);
    gateway.push(RECORD).await;
    eventually(async || gateway.operate("/api/v1/subscribers").await.json()["subscribers"][0]["dead"] == 1)
        .await;
    let text = told(&gateway, &["dead-letters"]);
    assert!(text.contains("crm-hook") && text.contains("410"), "{text}");
    let page = json(&gateway, &["dead-letters", "--subscriber", "crm-hook"]);
    assert_eq!(page["dead_letters"][0]["attempts"], 1);

    assert_eq!(json(&gateway, &["replay", "crm-hook", "--dead-letters"])["replayed"], 1);
    delivered(&gateway, 1).await;
    assert!(told(&gateway, &["dead-letters"]).contains("no dead letters"));
}

#[tokio::test]
async fn pausing_holds_the_backlog_and_purging_drops_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let operate = async |action: &str| {
        post(&format!("/api/v1/subscribers/crm-hook/{action}"), "").send(gateway.admin).await
    };
    assert_eq!(operate("pause").await.status, 200);
    let state = async || gateway.operate("/api/v1/subscribers").await.json()["subscribers"][0].clone();
    eventually(async || state().await["state"] == "paused").await;
    gateway.push(RECORD).await;
    eventually(async || state().await["backlog"] == 1).await;
    assert_eq!(operate("purge").await.json()["purged"], 1);
    assert_eq!(operate("resume").await.status, 200);
    eventually(async || state().await["state"] == "active").await;
    gateway.push(INTENT).await;
    delivered(&gateway, 1).await;
    assert_eq!(upstream.seen().len(), 1, "what was purged is not delivered");
}

#[tokio::test]
async fn a_test_reaches_the_subscriber_and_leaves_no_event() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let tested = post("/api/v1/subscribers/crm-hook/test", "").send(gateway.admin).await.json();
    assert_eq!(tested["results"].as_array().unwrap().len(), upstream.seen().len());
    assert!(tested["results"].as_array().unwrap().iter().all(|sample| sample["status"] == 200), "{tested}");
    assert!(told(&gateway, &["events"]).contains("no events"));
}

#[tokio::test]
async fn a_token_is_asked_for_and_hinted_at() {
    let gateway = Gateway::at("http://127.0.0.1:9").with("admin: {token: sesame}").start();
    for arguments in [&["status"][..], &["status", "--token", "wrong"]] {
        let assert = command(&gateway, arguments).assert().code(1);
        let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(said.contains("--token"), "{said}");
    }
    command(&gateway, &["status", "--token", "sesame"]).assert().success();
    command(&gateway, &["status"]).env("ADMIN_TOKEN", "sesame").assert().success();
}

#[test]
fn what_is_asked_wrongly_exits_with_2_and_nobody_there_with_1() {
    for arguments in [
        &["replay", "crm-hook"][..],
        &["replay", "crm-hook", "--since", "1h", "--dead-letters"],
        &["replay", "crm-hook", "--until", "1h"],
        &["replay", "crm-hook", "--since", "yesterday"],
        &["events", "--event", "calls"],
        &["events", "--limit", "0"],
        &["status", "--admin", "ftp://x"],
        &["sandbox", "--apikey", "k", "--apisecret", "s", "--fault", "drop"],
        &["sandbox", "--apikey", "k", "--apisecret", "s", "--speed", "0"],
        &["sandbox", "--listen", "127.0.0.1:0"],
    ] {
        Binary::command().args(arguments).assert().code(2);
    }
    let assert = Binary::command().args(["status", "--admin", "http://127.0.0.1:1"]).assert().code(1);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains("127.0.0.1:1") && said.contains("is the gateway running"), "{said}");
}
