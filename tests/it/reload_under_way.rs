//! What is under way when another configuration is taken up, and what is known and counted, goes on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use xinyao_gateway::store::{MemoryStore, Once, RequestState};

use crate::support::{
    ADDTASK, Act, Gateway, Line, OK, OUTNUM, Seen, TASKLIST, Upstream, answer, bytes, callback, eventually,
    ok, post,
};

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}";

/// One app with this in addition.
fn crm(more: &str) -> String {
    format!("apps: [{{name: crm, networks: [127.0.0.0/8], {more}}}]")
}

#[tokio::test]
async fn of_requests_under_load_none_fails() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::to(&upstream).with("limits: {global: 100000/s}").start();
    let proxy = gateway.proxy;
    let (end, ended) = tokio::sync::watch::channel(false);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let ended = ended.clone();
        clients.spawn(async move {
            let mut line = Line::to(proxy).await;
            let mut count = 0;
            while !*ended.borrow() {
                let answer = post(TASKLIST, bytes(300)).send_on(&mut line).await;
                assert_eq!((answer.status, answer.code()), (200, 0), "{answer:?}");
                count += 1;
            }
            count
        });
    }
    for round in 1..=20 {
        let seen = upstream.seen().len();
        upstream.has_seen(seen + 8).await;
        let http2 = if round % 4 == 0 { "never" } else { "auto" };
        gateway.change(crm(&format!("max_in_flight: {}", 100 + round))).await;
        gateway.change(format!("upstream: {{http2: {http2}}}")).await;
    }
    end.send(true).unwrap();
    let counts = clients.join_all().await;
    assert_eq!(upstream.seen().len(), counts.iter().sum::<usize>());
    let metrics = gateway.metrics().await;
    assert!(metrics.value(r#"xinyao_config_reloads_total{outcome="ok"}"#) >= Some(40.0), "{}", metrics.0);
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn an_upload_and_an_answer_under_way_end_as_they_began_and_the_end_waits_for_them() {
    let upstream = Upstream::by_hand();
    let mut gateway = Gateway::to(&upstream).start();
    let (mut one, mut two) = (gateway.line().await, gateway.line().await);
    let size = 1 << 20;
    let head = format!(
        "POST {OUTNUM} HTTP/1.1\r\nhost: g\r\ncontent-type: text/plain\r\ncontent-length: {size}\r\n\r\n"
    );
    one.send(head).await;
    one.send(bytes(size / 2)).await;
    let mut server = upstream.accept().await;
    server.head().await.unwrap();
    two.send(post(TASKLIST, "{}").to_bytes()).await;
    let mut other = upstream.accept().await;
    other.request().await.unwrap();
    other.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"co").await;
    two.head().await.unwrap();

    // Another upstream, another app, a smaller body: none of it is for them.
    let elsewhere = Upstream::start();
    gateway.change("apps: [{name: erp, networks: [127.0.0.0/8]}]").await;
    let to = format!("{{upstream: {{base_url: {0}}}, limits: {{max_body: 1KiB}}}}", elsewhere.url());
    gateway.change(to).await;
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    assert_eq!(elsewhere.seen().len(), 1);
    assert_eq!(gateway.status().await["in_flight"], 2);

    let stopping = gateway.stop();
    eventually(async || tokio::net::TcpStream::connect(gateway.proxy).await.is_err()).await;
    one.send(bytes(size / 2)).await;
    server.exactly(size).await;
    server.send(ANSWER).await;
    assert_eq!(one.answer().await.status, 200);
    other.send("de\":0}").await;
    assert_eq!(two.exactly(10).await, b"{\"code\":0}");
    stopping.await;
}

#[tokio::test]
async fn the_end_waits_for_what_an_earlier_configuration_sent_and_has_no_client_any_more() {
    let upstream = Upstream::by_hand();
    let store = Arc::new(MemoryStore::new());
    let mut gateway = Gateway::to(&upstream).store(Arc::clone(&store) as _).start();
    let mut line = gateway.line().await;
    line.send(post(ADDTASK, r#"{"app_id":"1"}"#).header("idempotency-key", "k").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    drop(line);
    gateway.change("apps: []").await;
    gateway.change(crm("max_in_flight: 7")).await;
    let stopping = gateway.stop();
    eventually(async || tokio::net::TcpStream::connect(gateway.proxy).await.is_err()).await;
    server.send(ANSWER).await;
    stopping.await;
    let states: Vec<_> =
        store.requests(None, 9, None).await.unwrap().rows.iter().map(|row| row.state).collect();
    assert_eq!(states, [RequestState::Done]);
}

#[tokio::test]
async fn what_is_under_way_counts_under_the_new_limit() {
    let upstream = Upstream::by_hand();
    let mut gateway = Gateway::to(&upstream).crm("max_in_flight: 2").start();
    let mut line = gateway.line().await;
    line.send(post(TASKLIST, "{}").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    gateway.change(crm("max_in_flight: 1")).await;
    gateway.post(TASKLIST, "{}").await.refused(429, -42902, "too_many_in_flight");
    gateway.change("{upstream: {max_in_flight: 1}}").await;
    gateway.change(crm("max_in_flight: 9")).await;
    gateway.post(TASKLIST, "{}").await.refused(503, -50301, "overloaded");
    server.send(ANSWER).await;
    assert_eq!(line.answer().await.status, 200);
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn limits_that_did_not_change_go_on_and_others_begin_anew() {
    let upstream = Upstream::start();
    let limits = "rate_limits: [{limit: 60/h, burst: 2}, {limit: 60/h, burst: 1, endpoints: [outnum]}]";
    let mut gateway =
        Gateway::to(&upstream).crm(limits).with("limits: {global: {limit: 60/h, burst: 5}}").start();
    assert_eq!(gateway.post(OUTNUM, "").await.status, 200);
    gateway.change(crm(&format!("{limits}, max_in_flight: 3"))).await;
    gateway.post(OUTNUM, "").await.refused(429, -42901, "rate_limited");
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    gateway.post(TASKLIST, "{}").await.refused(429, -42901, "rate_limited");

    let other = "rate_limits: [{limit: 60/h, burst: 2}, {limit: 60/h, burst: 2, endpoints: [outnum]}]";
    gateway.change(crm(other)).await;
    gateway.post(OUTNUM, "").await.refused(429, -42901, "rate_limited");
    gateway.change(crm("rate_limits: [{limit: 60/h, burst: 2, endpoints: [outnum]}]")).await;
    assert_eq!(gateway.post(OUTNUM, "").await.status, 200);

    // The limit of all apps together had 3 of its 5, and the one that came to it as the second of the new one's.
    gateway.change(crm("")).await;
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    gateway.post(TASKLIST, "{}").await.refused(429, -42901, "rate_limited");
    gateway.change("limits: {global: {limit: 60/h, burst: 1}}").await;
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    gateway.post(TASKLIST, "{}").await.refused(429, -42901, "rate_limited");
}

#[tokio::test]
async fn connections_to_the_upstream_are_kept_unless_the_way_there_changed() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::to(&upstream).start();
    // One client's connection, so that it is one worker's.
    let mut line = gateway.line().await;
    let mut connections = Vec::new();
    for change in [
        "{}",
        "upstream: {response_timeout: 10s, connect_timeout: 2s}",
        "upstream: {http2: never}",
        "apps: []",
    ] {
        gateway.change(change).await;
        if change == "apps: []" {
            gateway.change(crm("")).await;
        }
        assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
        connections.push(upstream.accepted());
    }
    assert_eq!(connections, [1, 1, 2, 2]);
}

#[tokio::test]
async fn an_address_that_is_left_alone_is_left_alone_further() {
    let nobody = crate::support::nobody();
    let mut gateway = Gateway::at(&format!("http://{nobody}")).start();
    eventually(async || gateway.post(TASKLIST, "{}").await.status == 503).await;
    gateway.change(crm("max_in_flight: 9")).await;
    let open = gateway.status().await["upstreams"][0]["open_circuits"].clone();
    assert_eq!(open, json!([nobody.to_string()]));
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

fn numbers(seen: &[Seen]) -> Vec<usize> {
    let number = |seen: &Seen| -> Option<usize> {
        serde_json::from_slice::<Value>(&seen.body).ok()?["call_sn"].as_str()?.parse().ok()
    };
    seen.iter().filter_map(number).collect()
}

fn hook(name: &str, server: &Upstream, more: &str) -> String {
    format!("{{name: {name}, url: \"{}/hook\", events: [call_record], {more}}}", server.url())
}

#[tokio::test]
async fn subscribers_come_change_and_go() {
    let (first, second, late) = (Upstream::start(), Upstream::start(), Upstream::start());
    let store = Arc::new(MemoryStore::new());
    let subscribers = |list: &[String]| format!("subscribers: [{}]", list.join(", "));
    let mut gateway = Gateway::at("http://127.0.0.1:9")
        .store(Arc::clone(&store) as _)
        .with(subscribers(&[hook("hook", &first, "")]))
        .start();
    push(&gateway, [1]).await;
    first.has_seen(1).await;

    // Elsewhere, and one more that wants what came before it.
    let both = [hook("hook", &second, ""), hook("late", &late, "since: 2020-01-01T00:00:00Z")];
    gateway.change(subscribers(&both)).await;
    push(&gateway, [2]).await;
    second.has_seen(1).await;
    late.has_seen(2).await;
    assert_eq!((numbers(&first.seen()), numbers(&second.seen())), (vec![1], vec![2]));
    let mut all = numbers(&late.seen());
    all.sort_unstable();
    assert_eq!(all, [1, 2]);

    // One that is gone gets nothing, and its backlog stays.
    gateway.change(subscribers(&both[1..])).await;
    push(&gateway, [3]).await;
    late.has_seen(3).await;
    let rows = gateway.operate("/api/v1/subscribers").await.json()["subscribers"].clone();
    let gone = rows.as_array().unwrap().iter().find(|row| row["name"] == "hook").unwrap();
    assert_eq!(gone["configured"], false);
    assert_eq!(second.seen().len(), 1);
    gateway.change(subscribers(&both)).await;
    second.has_seen(2).await;
    assert_eq!(numbers(&second.seen()), [2, 3]);
}

#[tokio::test]
async fn an_ordered_subscriber_keeps_its_order_and_a_delivery_under_way_is_not_made_twice() {
    let slow = Upstream::by_hand();
    let subscribers = |more: &str| format!("subscribers: [{}]", hook("hook", &slow, more));
    let mut gateway = Gateway::at("http://127.0.0.1:9").with(subscribers("ordered: true")).start();
    push(&gateway, [1, 2, 3]).await;
    let mut server = slow.accept().await;
    let mut seen = vec![server.request().await.unwrap()];
    for timeout in 11..16 {
        gateway
            .change(subscribers(&format!(
                "ordered: true, timeout: {timeout}s, headers: {{x-round: \"{timeout}\"}}"
            )))
            .await;
    }
    for _ in 0..2 {
        server.send(ANSWER).await;
        seen.push(server.request().await.unwrap());
    }
    server.send(ANSWER).await;
    assert_eq!(numbers(&seen), [1, 2, 3]);
    assert_eq!(seen.iter().map(|seen| seen.header("x-round")).collect::<Vec<_>>(), ["", "15", "15"]);
    eventually(async || {
        let rows = gateway.operate("/api/v1/subscribers").await.json();
        rows["subscribers"][0]["delivered"] == 3
    })
    .await;
}

#[tokio::test]
async fn callbacks_go_by_the_new_keys_networks_and_responders() {
    let says = |prompt: &str| {
        let body = format!(r#"{{"code":0,"msg":"","prompt":"{prompt}","transfer":""}}"#);
        Upstream::scripted(move |_| answer("200 OK", "content-type: application/json\r\n", &body))
    };
    let (one, two) = (says("one"), says("two"));
    let responders = |server: &Upstream| {
        format!("inbound_query: [{{responders: [{{name: r, url: \"{}/\"}}]}}]", server.url())
    };
    let mut gateway = Gateway::at("http://127.0.0.1:9").with(responders(&one)).start();
    let mut line = Line::to(gateway.callbacks).await;
    let ask =
        async |line: &mut Line| post(&callback(None), r#"{"caller":"13515525820"}"#).send_on(line).await;
    assert!(ask(&mut line).await.text().contains("one"));
    gateway.change(responders(&two)).await;
    assert!(ask(&mut line).await.text().contains("two"));

    gateway
        .change("callbacks: {key: [fedcba9876543210fedcba9876543210, 0123456789abcdef0123456789abcdef]}")
        .await;
    assert_eq!(gateway.push("{}").await.status, 200);
    gateway.change("callbacks: {key: fedcba9876543210fedcba9876543210}").await;
    assert_eq!(gateway.push("{}").await.status, 404);
    gateway.change("callbacks: {key: 0123456789abcdef0123456789abcdef, networks: [192.0.2.0/24]}").await;
    assert_eq!(gateway.push("{}").await.status, 403);
}

#[tokio::test]
async fn the_listeners_limits_hold_for_connections_that_come_later() {
    let upstream = Upstream::start();
    let mut gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    let large = || post(TASKLIST, "{}").header("x-large", "x".repeat(2000));
    assert_eq!(large().send_on(&mut line).await.status, 200);
    gateway.change("{limits: {max_header_size: 1KiB}, trusted_proxies: [127.0.0.1]}").await;
    assert_eq!(large().send_on(&mut line).await.status, 200);
    assert_eq!(gateway.ask(large()).await.status, 431);
    let forwarded = post(TASKLIST, "{}").header("x-forwarded-for", "192.0.2.1");
    gateway.ask(forwarded).await.refused(403, -40301, "not_allowed");
}

#[tokio::test]
async fn addresses_of_tasks_are_replaced_as_the_new_file_says() {
    let upstream = Upstream::start();
    let (inside, body) =
        (Upstream::start(), |url: &str| json!({ "app_id": "1", "team_url": url }).to_string());
    let mut gateway = Gateway::to(&upstream).with("callbacks: {rewrite_team_url: false}").start();
    let url = format!("{}/report", inside.url());
    let sent = async |gateway: &Gateway| {
        assert_eq!(gateway.post(ADDTASK, body(&url)).await.status, 200);
        let seen = upstream.seen().last().unwrap().body.clone();
        serde_json::from_slice::<Value>(&seen).unwrap()["team_url"].as_str().unwrap().to_owned()
    };
    assert_eq!(sent(&gateway).await, url);
    gateway.change("callbacks: {rewrite_team_url: true, public_url: \"http://192.0.2.7\"}").await;
    let replaced = sent(&gateway).await;
    assert!(replaced.starts_with("http://192.0.2.7/callbacks/crm/"), "{replaced}");
    let path = replaced.strip_prefix("http://192.0.2.7").unwrap();
    assert_eq!(gateway.call_back(post(path, record(1))).await.text(), OK);
    inside.has_seen(1).await;

    // No longer where an address may point: it is not delivered to, nor taken.
    gateway.change("callbacks: {team_url_networks: [192.0.2.0/24]}").await;
    gateway.post(ADDTASK, body(&url)).await.refused(400, -40001, "invalid_request");
    assert_eq!(gateway.call_back(post(path, record(2))).await.text(), OK);
    eventually(async || {
        let rows = gateway.operate("/api/v1/subscribers").await.json();
        rows["subscribers"][0]["failed"].as_u64() > Some(0)
    })
    .await;
    assert_eq!(inside.seen().len(), 1);
}

#[tokio::test]
async fn a_retry_that_waits_goes_to_where_the_subscriber_is_now() {
    let broken = Upstream::scripted(|_| answer("500 No", "", ""));
    let good = Upstream::scripted(|_| ok());
    let subscribers =
        |server: &Upstream| format!("subscribers: [{}]", hook("hook", server, "retry: [300ms]"));
    let mut gateway = Gateway::at("http://127.0.0.1:9").with(subscribers(&broken)).start();
    push(&gateway, [1]).await;
    broken.has_seen(1).await;
    gateway.change(subscribers(&good)).await;
    good.has_seen(1).await;
    assert_eq!(good.only().header("x-xinyao-attempt"), "2");
}

#[tokio::test]
async fn what_waits_for_its_limit_is_let_in_by_it() {
    let upstream = Upstream::scripted(|_| {
        Act::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}".to_vec())
    });
    let limits = "rate_limits: [{limit: 5/s, burst: 1, max_wait: 2s}]";
    let mut gateway = Gateway::to(&upstream).crm(limits).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    let mut line = gateway.line().await;
    line.send(post(TASKLIST, "{}").to_bytes()).await;
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 1.0).await;
    gateway.change(crm("rate_limits: []")).await;
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), line.answer()).await.unwrap().status, 200);
}
