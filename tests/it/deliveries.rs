//! What was acknowledged reaches every subscriber, each at its own pace, whatever the others do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use xinyao_gateway::store::MemoryStore;

use crate::support::{
    Act, Answer, Gateway, Line, OK, Seen, Upstream, answer, callback, eventually, get, ok, post,
};

/// A gateway with these subscribers of call records.
fn gateway(subscribers: &[(&str, &Upstream, &str)]) -> Gateway {
    gateway_on(&Arc::new(MemoryStore::new()), subscribers)
}

fn gateway_on(store: &Arc<MemoryStore>, subscribers: &[(&str, &Upstream, &str)]) -> Gateway {
    Gateway::at("http://127.0.0.1:9").store(Arc::clone(store) as _).with(list(subscribers)).start()
}

fn list(subscribers: &[(&str, &Upstream, &str)]) -> String {
    let one = |(name, server, more): &(&str, &Upstream, &str)| {
        format!("  - {{name: {name}, url: \"{}/hook\", events: [call_record], {more}}}\n", server.url())
    };
    let list: String = subscribers.iter().map(one).collect();
    if list.is_empty() { "subscribers: []".to_owned() } else { format!("subscribers:\n{list}") }
}

/// The call record of that number, unlike any other.
fn record(number: usize) -> String {
    format!(r#"{{"bot_id":"1","call_sn":"{number}","calls":[{{"state":775}}]}}"#)
}

async fn push(gateway: &Gateway, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        assert_eq!(gateway.push(record(number)).await.text(), OK);
    }
}

fn number(seen: &Seen) -> usize {
    let record: Value = serde_json::from_slice(&seen.body).unwrap();
    record["call_sn"].as_str().unwrap().parse().unwrap()
}

fn numbers(seen: &[Seen]) -> Vec<usize> {
    seen.iter().map(number).collect()
}

fn attempts(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.header("x-xinyao-attempt")).collect()
}

async fn operate(gateway: &Gateway, path: &str, body: &str) -> Answer {
    let answer = post(path, body).send(gateway.admin).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

async fn subscriber(gateway: &Gateway, name: &str) -> Value {
    let all = gateway.operate("/api/v1/subscribers").await.json();
    let all = all["subscribers"].as_array().unwrap().clone();
    all.into_iter().find(|one| one["name"] == name).unwrap()
}

async fn dead(gateway: &Gateway) -> Vec<Value> {
    let page = get("/api/v1/dead-letters?limit=100").send(gateway.admin).await.json();
    page["dead_letters"].as_array().unwrap().clone()
}

#[tokio::test]
async fn what_fails_is_tried_again_and_then_given_up_with_every_attempt_on_record() {
    let server = Upstream::scripted(|_| answer("500 Internal Server Error", "", "no"));
    let gateway = gateway(&[("hook", &server, "retry: [50ms, 100ms]")]);
    push(&gateway, [1]).await;
    eventually(async || dead(&gateway).await.len() == 1).await;
    let seen = server.seen();
    assert_eq!(attempts(&seen), ["1", "2", "3"]);
    assert!(seen.iter().all(|one| one.header("webhook-id") == seen[0].header("webhook-id")));
    assert!(seen.iter().all(|one| one.body == record(1).as_bytes() && one.target == "/hook"));

    let letter = &dead(&gateway).await[0];
    assert_eq!((letter["subscriber"].as_str(), letter["attempts"].as_u64()), (Some("hook"), Some(3)));
    let id = letter["event_id"].as_str().unwrap();
    assert_eq!(id, seen[0].header("webhook-id"));
    let event = gateway.operate(&format!("/api/v1/events/{id}")).await.json();
    let attempts = event["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3, "{event}");
    assert_eq!((&attempts[2]["status"], &attempts[2]["answer"]), (&json!(500), &json!("no")));

    operate(&gateway, "/api/v1/dead-letters/replay", r#"{"subscriber":"hook"}"#).await;
    server.has_seen(6).await;
    eventually(async || dead(&gateway).await.len() == 1).await;
}

#[tokio::test]
async fn retry_after_is_obeyed_and_410_is_final() {
    let server = Upstream::scripted(|seen| match (number(seen), seen.header("x-xinyao-attempt")) {
        (1, "1") => answer("503 Service Unavailable", "retry-after: 1\r\n", ""),
        (2, _) => answer("410 Gone", "", ""),
        _ => ok(),
    });
    let gateway = gateway(&[("hook", &server, "retry: [1ms]")]);
    let began = Instant::now();
    push(&gateway, [1, 2]).await;
    server.has_seen(3).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(numbers(&server.seen()).last(), Some(&1));
    eventually(async || dead(&gateway).await.len() == 1).await;
    assert_eq!(dead(&gateway).await[0]["call_sn"], "2");
}

#[tokio::test]
async fn an_envelope_may_say_no_and_a_redirect_is_not_followed() {
    let elsewhere = Upstream::start();
    let away = format!("location: {}/\r\n", elsewhere.url());
    let server = Upstream::in_turn([
        answer("200 OK", "", r#"{"code":7,"msg":"not today"}"#),
        answer("307 Temporary Redirect", &away, ""),
        answer("200 OK", "", "thanks"),
    ]);
    let gateway = gateway(&[("hook", &server, "retry: [1ms, 1ms, 1ms]")]);
    push(&gateway, [1]).await;
    eventually(async || subscriber(&gateway, "hook").await["delivered"] == 1).await;
    assert_eq!(attempts(&server.seen()), ["1", "2", "3"]);
    assert_eq!(elsewhere.seen().len(), 0);
    let failed = r#"xinyao_deliveries_total{subscriber="hook",outcome="failed"}"#;
    assert_eq!(gateway.metrics().await.value(failed), Some(2.0));
}

#[tokio::test]
async fn a_hostile_answer_is_a_failure_and_no_more() {
    let server = Upstream::by_hand();
    let gateway = gateway(&[("hook", &server, "retry: [1ms, 1ms, 1ms, 1ms], timeout: 300ms")]);
    push(&gateway, [1]).await;
    // Endless.
    let mut line = server.accept().await;
    line.request().await.unwrap();
    line.send("HTTP/1.1 200 OK\r\n\r\n").await;
    while line.try_send(&[b'x'; 8192]).await.is_ok() {}
    // A trickle.
    let mut line = server.accept().await;
    line.request().await.unwrap();
    line.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
    while line.try_send(b"x").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Broken off.
    let mut line = server.accept().await;
    line.request().await.unwrap();
    line.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun").await;
    drop(line);
    // Well.
    let mut line = server.accept().await;
    assert_eq!(line.request().await.unwrap().header("x-xinyao-attempt"), "4");
    line.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    eventually(async || subscriber(&gateway, "hook").await["delivered"] == 1).await;
}

#[tokio::test]
async fn one_that_hangs_and_one_that_is_not_there_hold_up_no_other() {
    let hanging = Upstream::scripted(|_| Act::Hang);
    let gone = Upstream::start();
    let well = Upstream::start();
    let gateway = gateway(&[("hanging", &hanging, "timeout: 10m"), ("gone", &gone, ""), ("well", &well, "")]);
    drop(gone);
    push(&gateway, 0..100).await;
    well.has_seen(100).await;
    let mut seen = numbers(&well.seen());
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..100));
    assert_eq!(subscriber(&gateway, "hanging").await["in_flight"], 32);
    eventually(async || subscriber(&gateway, "gone").await["state"] == "probing").await;
    assert_eq!(subscriber(&gateway, "gone").await["backlog"], 100);
}

#[tokio::test]
async fn an_ordered_queue_keeps_its_order() {
    let server = Upstream::scripted(|seen| match (number(seen), seen.header("x-xinyao-attempt")) {
        (2, "1" | "2") | (4, _) => answer("500 Internal Server Error", "", ""),
        _ => ok(),
    });
    let gateway = gateway(&[("hook", &server, "ordered: true, retry: [20ms, 20ms]")]);
    push(&gateway, 1..=5).await;
    server.has_seen(9).await;
    assert_eq!(numbers(&server.seen()), [1, 2, 2, 2, 3, 4, 4, 4, 5]);
}

#[tokio::test]
async fn a_subscriber_that_is_down_is_probed_until_it_is_back() {
    let server = Upstream::start();
    let address = server.address;
    let gateway = gateway(&[("hook", &server, "retry: [10m]")]);
    drop(server);
    push(&gateway, 0..40).await;
    eventually(async || subscriber(&gateway, "hook").await["state"] == "probing").await;
    let back = Upstream::at(address.to_string());
    // What failed before it was noticed comes by its schedule; what waited comes at once.
    let figures = subscriber(&gateway, "hook").await;
    let waiting = 40 - usize::try_from(figures["failed"].as_u64().unwrap()).unwrap();
    back.has_seen(waiting.min(8)).await;
    eventually(async || subscriber(&gateway, "hook").await["state"] == "active").await;
    let figures = subscriber(&gateway, "hook").await;
    assert_eq!(figures["dead"], 0, "{figures}");
}

#[tokio::test]
async fn a_rate_limit_is_kept() {
    let server = Upstream::start();
    let gateway = gateway(&[("hook", &server, "rate_limit: 20/s")]);
    let began = Instant::now();
    push(&gateway, 0..40).await;
    server.has_seen(40).await;
    assert!(began.elapsed() >= Duration::from_millis(950), "{:?}", began.elapsed());
}

#[tokio::test]
async fn operators_pause_resume_purge_and_replay() {
    let server = Upstream::start();
    let gateway = gateway(&[("hook", &server, "")]);
    push(&gateway, [1]).await;
    eventually(async || subscriber(&gateway, "hook").await["delivered"] == 1).await;
    operate(&gateway, "/api/v1/subscribers/hook/pause", "").await;
    eventually(async || subscriber(&gateway, "hook").await["state"] == "paused").await;
    push(&gateway, [2, 3]).await;
    assert_eq!(subscriber(&gateway, "hook").await["backlog"], 2);
    operate(&gateway, "/api/v1/subscribers/hook/purge", "").await;
    push(&gateway, [4]).await;
    operate(&gateway, "/api/v1/subscribers/hook/resume", "").await;
    server.has_seen(2).await;
    assert_eq!(numbers(&server.seen()), [1, 4]);
    let replayed =
        operate(&gateway, "/api/v1/subscribers/hook/replay", r#"{"since":"2020-01-01T00:00:00Z"}"#).await;
    assert_eq!(replayed.json()["replayed"], 4);
    server.has_seen(6).await;
    let again: Vec<usize> = numbers(&server.seen())[2..].to_vec();
    assert_eq!(
        {
            let mut sorted = again;
            sorted.sort_unstable();
            sorted
        },
        [1, 2, 3, 4]
    );
}

#[tokio::test]
async fn only_what_is_wanted_comes() {
    let server = Upstream::start();
    let more = "where: {label: vip, state: [1, \"775\"], call_sn: [\"2\", \"3\"]}";
    let gateway = gateway(&[("hook", &server, more)]);
    push(&gateway, [2]).await;
    for body in [record(1), record(3).replace("775", "776"), record(3)] {
        let pushed = gateway.call_back(post(&callback(Some("vip")), body)).await;
        assert_eq!(pushed.status, 200);
    }
    let pushed = gateway.call_back(post(&callback(Some("vip")), r#"{"caller":"1"}"#)).await;
    assert_eq!(pushed.status, 200);
    eventually(async || subscriber(&gateway, "hook").await["backlog"] == 0).await;
    let only = server.only();
    assert_eq!((number(&only), only.header("x-xinyao-label")), (3, "vip"));
}

/// §7.3, with two of its dialogs.
const EXAMPLE: &str = r#"{
    "bot_id": "134614200106471424",
    "bot_name": "",
    "call_sn": "177356849321648128",
    "call_sn_name": "外呼号码模板自己123",
    "calls": [{
        "num": "18533765401",
        "state": 785,
        "state_desc": "200",
        "start_time": "2024-04-03T09:53:10+08:00",
        "end_time": "2024-04-03T09:53:34+08:00",
        "duration": 16,
        "record_url": "/coeus/82001/200000000/174212519459778560/202404030953/82b18191-c3d2-43e9-98d2-3d356b2220d8.mp3",
        "round": 2,
        "call_id": "82b18191-c3d2-43e9-98d2-3d356b2220d8",
        "answered_time": "2024-04-03T09:53:18+08:00",
        "hangup_by": 1,
        "dialogs": [{
            "dialog_type": 1,
            "dialog_text": "\u003cspeak\u003e\u003cphoneme alphabet=\"py\" ph=\"wei2\" \u003e喂\u003c/phoneme\u003e，您好\u003cbreak time=\"500ms\"/\u003e您好，马先生\u003c/speak\u003e",
            "msg_time": "",
            "intention_name": ""
        }, {
            "dialog_type": 2,
            "dialog_text": "好的好的",
            "msg_time": "",
            "intention_name": "yes"
        }]
    }],
    "task_id": "174212519459778560",
    "task_name": "测试新版意向外呼任务"
}"#;

#[tokio::test]
async fn bodies_are_enriched_for_who_wants_it() {
    let (plain, rich) = (Upstream::start(), Upstream::start());
    let gateway = gateway(&[("plain", &plain, ""), ("rich", &rich, "enrich: true")]);
    assert_eq!(gateway.push(EXAMPLE).await.status, 200);
    plain.has_seen(1).await;
    rich.has_seen(1).await;
    assert_eq!(String::from_utf8(plain.only().body).unwrap(), EXAMPLE);
    let mut expected: Value = serde_json::from_str(EXAMPLE).unwrap();
    let call = &mut expected["calls"][0];
    let path = call["record_url"].as_str().unwrap().to_owned();
    call["record_url"] = json!(format!("http://localhost:8080{path}"));
    call["state_text"] = json!("自然人摘机识别");
    call["dialogs"][0]["dialog_plain"] = json!("喂，您好您好，马先生");
    call["dialogs"][1]["dialog_plain"] = json!("好的好的");
    assert_eq!(serde_json::from_slice::<Value>(&rich.only().body).unwrap(), expected);
}

#[tokio::test]
async fn one_that_was_taken_out_goes_on_where_it_was_and_a_new_one_begins_where_it_says() {
    let store = Arc::new(MemoryStore::new());
    let server = Upstream::start();
    let mut first = gateway_on(&store, &[("hook", &server, "")]);
    push(&first, [1]).await;
    eventually(async || subscriber(&first, "hook").await["delivered"] == 1).await;
    first.stop().await;

    let mut without = gateway_on(&store, &[]);
    push(&without, [2]).await;
    without.stop().await;

    let (since, now) = (Upstream::start(), Upstream::start());
    let last = gateway_on(
        &store,
        &[("hook", &server, ""), ("since", &since, "since: 2020-01-01T00:00:00Z"), ("now", &now, "")],
    );
    server.has_seen(2).await;
    since.has_seen(2).await;
    assert_eq!(numbers(&server.seen()), [1, 2]);
    push(&last, [3]).await;
    now.has_seen(1).await;
    assert_eq!(numbers(&now.seen()), [3]);
    since.has_seen(3).await;
}

#[tokio::test]
async fn what_was_under_way_at_the_end_comes_again() {
    let store = Arc::new(MemoryStore::new());
    let server = Upstream::by_hand();
    let cut = gateway_on(&store, &[("hook", &server, "")]);
    push(&cut, [1]).await;
    let mut line: Line = server.accept().await;
    line.request().await.unwrap();
    drop(cut);
    let _again = gateway_on(&store, &[("hook", &server, "")]);
    let mut line = server.accept().await;
    assert_eq!(line.request().await.unwrap().body, record(1).as_bytes());
    line.send("HTTP/1.1 204 No Content\r\n\r\n").await;
}

#[tokio::test]
async fn a_test_sends_a_sample_of_each_kind() {
    let server = Upstream::in_turn([answer("200 OK", "", "fine"), answer("503 Busy", "", "no")]);
    let gateway = Gateway::at("http://127.0.0.1:9")
        .with(format!(
            "subscribers: [{{name: hook, url: \"{}\", events: [call_record, intent_result]}}]",
            server.url()
        ))
        .start();
    let tested = operate(&gateway, "/api/v1/subscribers/hook/test", "").await.json();
    let seen = server.seen();
    let mut kinds: Vec<&str> = seen.iter().map(|one| one.header("x-xinyao-event")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["call_record", "intent_result"]);
    assert!(seen.iter().all(|one| one.header("x-xinyao-sample") == "true"));
    let text = tested.to_string();
    assert!(text.contains("fine") && text.contains("503"), "{text}");
    assert_eq!(subscriber(&gateway, "hook").await["delivered"], 0);
}
