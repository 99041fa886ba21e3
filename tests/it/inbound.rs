//! Somebody is on the phone: inbound queries are answered by responders, in time and whatever these do.

use std::sync::Arc;

use serde_json::json;
use xinyao_gateway::store::{Log, MemoryStore, Seq, ShardId, StoreError};
use xinyao_gateway::xinyao::callback::Kind;

use crate::support::{Act, Gateway, Upstream, answer, callback, config, eventually, merge, post};

const QUERY: &str = r#"{"caller":"13515525820"}"#;
/// With spaces and an unknown field, so that it shows whether it is passed on as given.
const GOOD: &str =
    "{ \"code\": 0, \"msg\":\"success\",\"prompt\": \"您好\", \"transfer\":\"01055667788\", \"x\":[1] }";

fn says(body: impl AsRef<[u8]>) -> Upstream {
    let body = body.as_ref().to_vec();
    Upstream::scripted(move |_| answer("200 OK", "content-type: application/json;charset=UTF-8\r\n", &body))
}

fn silent() -> Upstream {
    Upstream::scripted(|_| Act::Hang)
}

/// A gateway whose one entry has these responders and this in addition.
fn gateway(responders: &[&Upstream], more: &str) -> (Gateway, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let mut entry = config("{hedge_after: 100ms, deadline: 3s}");
    merge(&mut entry, config(&format!("{{{more}}}")));
    entry["responders"] = responders
        .iter()
        .enumerate()
        .map(|(number, responder)| json!({ "name": format!("r{number}"), "url": format!("{}/ask?x=1", responder.url()) }))
        .collect();
    let builder = Gateway::at("http://127.0.0.1:9").store(Arc::clone(&store) as _);
    (builder.with(json!({ "inbound_query": [entry] }).to_string()).start(), store)
}

#[tokio::test]
async fn a_good_answer_is_passed_on_as_given() {
    let responder = says(GOOD);
    let (gateway, store) = gateway(&[&responder], "");
    let said = gateway.call_back(post(&callback(Some("vip")), QUERY)).await;
    assert_eq!((said.status, said.text().as_str()), (200, GOOD));
    assert_eq!(said.header("content-type"), "application/json;charset=UTF-8");

    let seen = responder.only();
    assert_eq!(
        (seen.method.as_str(), seen.target.as_str(), &seen.body[..]),
        ("POST", "/ask?x=1", QUERY.as_bytes())
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-xinyao-event", "inbound_query"),
        ("x-xinyao-app", "crm"),
        ("x-xinyao-label", "vip"),
        ("webhook-id", said.header("x-request-id")),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    let events = async || store.read(ShardId(0), Seq(1), 10, usize::MAX).await.unwrap().events;
    eventually(async || !events().await.is_empty()).await;
    let event = &events().await[0];
    assert_eq!((event.kind, &event.body[..]), (Kind::InboundQuery, QUERY.as_bytes()));
    gateway.counts("xinyao_inbound_query_seconds_count{outcome=\"answered\"}", 1.0).await;
    gateway
        .counts("xinyao_callbacks_total{app=\"crm\",event=\"inbound_query\",outcome=\"answered\"}", 1.0)
        .await;
}

#[tokio::test]
async fn the_same_query_is_asked_anew_over_a_kept_connection() {
    let responder = says(GOOD);
    let (gateway, _) = gateway(&[&responder], "");
    for _ in 0..3 {
        assert_eq!(gateway.push(QUERY).await.text(), GOOD);
    }
    assert_eq!((responder.seen().len(), responder.accepted()), (3, 1));
}

#[tokio::test]
async fn an_answer_that_is_no_good_one_is_followed_by_the_next() {
    let good = says(GOOD);
    let bad: [Upstream; 8] = [
        says(r#"{"code":7,"prompt":"x"}"#),
        says(r#"{"code":0}"#),
        says(r#"{"code":0,"prompt":{"x":1}}"#),
        says("ok"),
        says(vec![b' '; 70_000]),
        Upstream::scripted(|_| answer("500 Internal Server Error", "", GOOD)),
        Upstream::scripted(|_| answer("302 Found", "location: /elsewhere\r\n", GOOD)),
        Upstream::scripted(|_| Act::Close),
    ];
    for (number, first) in bad.iter().enumerate() {
        // Were it waited for the hedge, the deadline would pass.
        let (gateway, _) = gateway(&[first, &good], "hedge_after: 1h");
        assert_eq!(gateway.push(QUERY).await.text(), GOOD, "{number}");
    }
    assert_eq!(good.seen().len(), bad.len());
}

#[tokio::test]
async fn a_slow_one_is_hedged_and_cut_off() {
    let (slow, good) = (Upstream::by_hand(), says(GOOD));
    let (gateway, _) = gateway(&[&slow, &good], "");
    let (said, mut cut) = tokio::join!(gateway.push(QUERY), async {
        let mut line = slow.accept().await;
        line.request().await.unwrap();
        line
    });
    assert_eq!(said.text(), GOOD);
    cut.closed().await;
}

#[tokio::test]
async fn a_race_asks_all_at_once() {
    let (first, second) = (Upstream::by_hand(), Upstream::by_hand());
    let (gateway, _) = gateway(&[&first, &second], "strategy: race, hedge_after: 1h");
    let (said, mut cut) = tokio::join!(gateway.push(QUERY), async {
        let (mut slow, mut fast) = (first.accept().await, second.accept().await);
        slow.request().await.unwrap();
        fast.request().await.unwrap();
        fast.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{GOOD}", GOOD.len())).await;
        slow
    });
    assert_eq!(said.text(), GOOD);
    cut.closed().await;
}

#[tokio::test]
async fn past_the_deadline_the_fallback_is_given() {
    let (slow, slower) = (silent(), silent());
    let fallback = "deadline: 200ms, fallback: {prompt: 稍后再拨, transfer: \"01055667788\"}";
    for more in [fallback.to_owned(), format!("strategy: race, {fallback}")] {
        let (gateway, _) = gateway(&[&slow, &slower], &more);
        let said = gateway.push(QUERY).await;
        let expected = json!({"code": 0, "msg": "success", "prompt": "稍后再拨", "transfer": "01055667788"});
        assert_eq!((said.status, said.json()), (200, expected));
        gateway.counts("xinyao_inbound_query_seconds_count{outcome=\"fallback\"}", 1.0).await;
    }
}

#[tokio::test]
async fn with_no_fallback_it_is_said_that_nobody_answered() {
    let bad = says("no");
    for responders in [&[&bad][..], &[]] {
        let (gateway, _) = gateway(responders, "");
        let said = gateway.push(QUERY).await;
        assert_eq!((said.status, said.code()), (200, -50402));
        assert!(said.json()["msg"].is_string());
    }
    let nobodys = Gateway::at("http://127.0.0.1:9").start();
    let said = nobodys.push(QUERY).await;
    assert_eq!((said.status, said.code()), (200, -50402));
}

#[tokio::test]
async fn a_store_that_is_down_keeps_no_caller_waiting() {
    let responder = says(GOOD);
    let (gateway, store) = gateway(&[&responder], "");
    store.refuse(Some(StoreError::Full("the disk is full".into())));
    assert_eq!(gateway.push(QUERY).await.text(), GOOD);
    gateway
        .counts("xinyao_callbacks_total{app=\"crm\",event=\"inbound_query\",outcome=\"copy_lost\"}", 1.0)
        .await;
}

#[tokio::test]
async fn the_first_entry_for_the_app_serves() {
    let (others, own) = (says(r#"{"code":0,"prompt":"others"}"#), says(GOOD));
    let entry = |app: &str, responder: &Upstream| json!({ "apps": [app], "responders": [{ "name": "r", "url": responder.url() }] });
    let entries =
        json!({ "inbound_query": [entry("erp", &others), entry("crm", &own), entry("*", &others)] });
    let apps = json!({ "apps": [
        { "name": "crm", "networks": ["127.0.0.1"] },
        { "name": "erp", "networks": ["127.0.0.2"] },
    ] });
    let gateway = Gateway::at("http://127.0.0.1:9").with(entries.to_string()).with(apps.to_string()).start();
    assert_eq!(gateway.push(QUERY).await.text(), GOOD);
}
