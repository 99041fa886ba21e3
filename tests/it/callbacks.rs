//! What the SaaS pushes is taken in: kept first, then acknowledged, whatever it looks like.

use std::sync::Arc;
use std::time::Duration;

use xinyao_gateway::store::{Event, Log, MemoryStore, Seq, ShardId, StoreError};

use crate::support::{
    Binary, Builder, Gateway, Line, TOKEN, bytes, callback, eventually, get, logged, post, request, within,
};

const RECORD: &str = r#"{"task_id":"5682792453545984","call_sn":"17","bot_id":"1","calls":[{"num":"13800138000","state":775}]}"#;
const ACK: &str = r#"{"code":0,"msg":"success"}"#;

fn gateway() -> (Builder, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    (Gateway::at("http://127.0.0.1:9").store(Arc::clone(&store) as _), store)
}

async fn kept(store: &MemoryStore) -> Vec<Arc<Event>> {
    store.read(ShardId(0), Seq(1), 1000, usize::MAX).await.unwrap().events
}

#[tokio::test]
async fn whatever_comes_is_kept_byte_by_byte() {
    let (builder, store) = gateway();
    let gateway = builder.start();
    let deep = format!("{{\"degrees\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [(&[u8], &str); 9] = [
        (RECORD.as_bytes(), "call_record"),
        (b"{\"task_id\":1,\"bot_id\":2}", "call_record"),
        (b"\xef\xbb\xbf{\"task_id\":\"1\",\"degrees\":[{\"degree_name\":\"A\"}]}", "intent_result"),
        (deep.as_bytes(), "intent_result"),
        (b"{\"calls\":[{\"dialog_text\":\"\xc4\xe3\xba\xc3\"}]}", "call_record"),
        (b"{\"x\":1,\"x\":2}", "unknown"),
        (b"", "unknown"),
        (b"\xff\xfe\0", "unknown"),
        (b"{\"calls\":[", "unknown"),
    ];
    for (body, _) in bodies {
        let answer = gateway.push(body).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ACK), "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    let events = kept(&store).await;
    let came: Vec<(&[u8], &str)> = events.iter().map(|event| (&event.body[..], event.kind.name())).collect();
    assert_eq!(came, bodies);
    assert_eq!(events[0].call_sn.as_deref(), Some("17"));
}

#[tokio::test]
async fn a_body_of_16_mib_is_taken_and_one_byte_more_is_not() {
    let (builder, store) = gateway();
    let gateway = builder.start();
    let whole = bytes(16 << 20);
    assert_eq!(gateway.push(&whole).await.status, 200);
    gateway.push([&whole[..], b"x"].concat()).await.refused(413, -41301, "body_too_large");
    assert!(kept(&store).await[0].body == whole);
}

#[tokio::test]
async fn refusals_come_in_their_order() {
    let (builder, store) = gateway();
    let gateway = builder.with("callbacks: {networks: [127.0.0.2], max_body: 10}").start();
    let (good, wrong) = (callback(None), callback(None).replace('1', "2"));
    let large = "x".repeat(11);
    let from = |ask: crate::support::Ask| gateway.call_back(ask.from("127.0.0.2"));
    gateway.push(&large).await.refused(403, -40301, "not_allowed");
    from(request("GET", &wrong).body(&large)).await.refused(404, -40401, "unknown_url");
    from(post(&good.replace("/crm/", "/erp/"), "{}")).await.refused(404, -40401, "unknown_url");
    from(post(&format!("{good}/a/b"), "{}")).await.refused(404, -40401, "unknown_url");
    from(get("/healthz")).await.refused(404, -40401, "unknown_url");
    let answer = from(request("PUT", &good).body(&large)).await;
    answer.refused(405, -40501, "method_not_allowed");
    assert_eq!(answer.header("allow"), "POST");
    from(post(&good, &large)).await.refused(413, -41301, "body_too_large");
    assert_eq!(from(post(&good, "{}")).await.status, 200);
    assert_eq!(kept(&store).await.len(), 1);
    let metrics = gateway.metrics().await;
    let refused = "xinyao_callbacks_total{app=\"none\",event=\"none\",outcome=\"rejected_unknown_url\"}";
    assert_eq!(metrics.value(refused), Some(4.0), "{}", metrics.0);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_not_waited_for() {
    let (builder, store) = gateway();
    let gateway = builder.with("limits: {body_idle_timeout: 50ms}").start();
    let mut line = Line::to(gateway.callbacks).await;
    line.send(format!("POST {} HTTP/1.1\r\nhost: g\r\ncontent-length: 9\r\n\r\n{{", callback(None))).await;
    line.answer().await.refused(408, -40801, "request_timeout");
    let mut line = Line::to(gateway.callbacks).await;
    line.send(format!("POST {} HTTP/1.1\r\nhost: g\r\ncontent-length: 9\r\n\r\n{{", callback(None))).await;
    line.finish().await;
    gateway
        .counts(
            "xinyao_callbacks_total{app=\"crm\",event=\"none\",outcome=\"rejected_invalid_request\"}",
            1.0,
        )
        .await;
    assert!(kept(&store).await.is_empty());
}

#[tokio::test]
async fn what_is_no_request_is_answered_too() {
    let gateway = gateway().0.start();
    let mut line = Line::to(gateway.callbacks).await;
    line.send("POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n").await;
    line.answer().await.refused(400, -40001, "invalid_request");
}

#[tokio::test]
async fn the_address_is_the_one_that_a_trusted_proxy_tells() {
    let (builder, _) = gateway();
    let gateway =
        builder.with("{trusted_proxies: [127.0.0.3], callbacks: {networks: [203.0.113.0/24]}}").start();
    let forwarded = |by: &str| post(&callback(None), "{}").header("x-forwarded-for", "203.0.113.7").from(by);
    assert_eq!(gateway.call_back(forwarded("127.0.0.3")).await.status, 200);
    gateway.call_back(forwarded("127.0.0.4")).await.refused(403, -40301, "not_allowed");
}

#[tokio::test]
async fn the_same_again_is_acknowledged_once_more_and_kept_once() {
    let (builder, store) = gateway();
    let gateway = builder.start();
    for label in [None, None, Some("vip"), Some("vip")] {
        let answer = gateway.call_back(post(&callback(label), RECORD)).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ACK));
    }
    let labels: Vec<_> = kept(&store).await.iter().map(|event| event.label.clone()).collect();
    assert_eq!(labels, [None, Some("vip".into())]);
    let again = "xinyao_callbacks_total{app=\"crm\",event=\"call_record\",outcome=\"duplicate\"}";
    gateway.counts(again, 2.0).await;
}

#[tokio::test]
async fn without_a_window_the_same_is_kept_again() {
    let (builder, store) = gateway();
    let gateway = builder.with("callbacks: {dedup_window: 0s}").start();
    gateway.push(RECORD).await;
    gateway.push(RECORD).await;
    assert_eq!(kept(&store).await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_kept_is_to_be_pushed_again() {
    let (builder, store) = gateway();
    let gateway = builder.start();
    store.refuse(Some(StoreError::Full("the disk is full".into())));
    gateway.push(RECORD).await.refused(500, -50001, "not_kept");
    let ready = gateway.operate("/readyz").await;
    assert_eq!((ready.status, &ready.json()["checks"]["store"]["ok"]), (503, &false.into()));
    store.refuse(None);
    assert_eq!(gateway.push(RECORD).await.text(), ACK);
    assert_eq!(gateway.operate("/readyz").await.status, 200);
    assert_eq!(kept(&store).await.len(), 1);
}

#[tokio::test]
async fn a_key_that_is_being_rotated_verifies() {
    let key = "0123456789abcdef0123456789abcdef";
    let gateway =
        gateway().0.with(format!("callbacks: {{key: [another-key-of-the-gateway-00000, {key}]}}")).start();
    assert_eq!(gateway.push(RECORD).await.status, 200);
}

#[tokio::test]
async fn the_log_has_a_line_and_neither_token_nor_number() {
    let gateway = gateway().0.start();
    let answer = gateway.call_back(post(&callback(Some("13800138001")), RECORD)).await;
    let id = answer.header("x-request-id").to_owned();
    eventually(async || !logged(&[&id]).is_empty()).await;
    let line = logged(&[&id]).concat();
    for part in
        ["app=\"crm\"", "label=\"138****8001\"", "event=\"call_record\"", "outcome=accepted", "took_ms="]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    gateway.call_back(get(&callback(None))).await;
    assert!(logged(&[TOKEN]).is_empty(), "{:?}", logged(&[TOKEN]));
    assert!(logged(&["13800138001"]).is_empty());
}

#[tokio::test]
async fn the_end_waits_for_what_has_come() {
    let (builder, store) = gateway();
    let mut gateway = builder.start();
    let mut line = Line::to(gateway.callbacks).await;
    line.send(format!("POST {} HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n\r\n{{", callback(None))).await;
    // A second callback is answered, so the first one's head has been read.
    gateway.push(RECORD).await;
    let stopped = gateway.stop();
    eventually(async || tokio::net::TcpStream::connect(gateway.callbacks).await.is_err()).await;
    line.send("}").await;
    assert_eq!(line.answer().await.text(), ACK);
    within(stopped).await;
    assert_eq!(kept(&store).await.len(), 2);
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_by_its_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let builder = gateway().0.with(format!("listen: {{callbacks: \"{address}\"}}"));
    let error = builder.try_start().err().expect("it does not start");
    assert!(error.contains("listen.callbacks"), "{error}");
}

#[tokio::test]
async fn many_at_once_are_all_kept() {
    let (builder, store) = gateway();
    let gateway = builder.start();
    let pushes = (0..200).map(|number| gateway.push(format!("{{\"calls\":[],\"n\":{number}}}")));
    let answers = tokio::time::timeout(Duration::from_secs(20), futures_util::future::join_all(pushes)).await;
    assert!(answers.unwrap().iter().all(|answer| answer.status == 200));
    assert_eq!(kept(&store).await.len(), 200);
}

#[test]
fn callback_url_prints_what_the_listener_takes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let config = gateway().0.with("callbacks: {public_url: \"https://gw.example.com/\"}").text();
    std::fs::write(&file, config).unwrap();
    let run = |arguments: &[&str]| {
        let output =
            Binary::command().arg("callback-url").args(arguments).arg("--config").arg(&file).output();
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let url = |label| format!("https://gw.example.com{}\n", callback(label));
    assert_eq!(run(&["--app", "crm"]), (Some(0), url(None), String::new()));
    assert_eq!(run(&["--app", "crm", "--label", "vip"]), (Some(0), url(Some("vip")), String::new()));
    for (wrong, hint) in [
        (&["--app", "erp"][..], "there is crm"),
        (&["--app", "crm", "--label", "a b"], "no label"),
        (&[], "--app"),
    ] {
        let (status, out, err) = run(wrong);
        assert_eq!((status, out.as_str()), (Some(2), ""));
        assert!(err.contains(hint), "{err}");
    }
}
