//! Requests are held to the document: told of, or refused, as the app's `checks` say.

use std::sync::Arc;

use serde_json::{Value, json};
use xinyao_gateway::store::MemoryStore;

use crate::support::{
    ADDTASK, Answer, Ask, BOTDM_START, BOTDM_STOP, BOTDM_TRIGGER, FOLLOWED_DATA, Gateway, Line, OUTNUM,
    SYNCPROMPT, TASKLIST, Upstream, logged, post, request, workbook,
};

const SID: &str = "ad84177a55e14ce02a46331bd500243c";
const NUMBERS: &str = "phone,name\n13800138000,张三\n9998,b\n";

/// A good request to each endpoint with a JSON body.
fn good() -> [(&'static str, Value); 7] {
    [
        (ADDTASK, json!({"app_id": "1", "task_name": "t", "bot_id": "b", "voice": "v", "disnumber": "d"})),
        (TASKLIST, json!({"app_id": "1", "page_no": 1, "page_size": 50})),
        (SYNCPROMPT, json!({"app_id": "1"})),
        (FOLLOWED_DATA, json!({"session_id": "9082792453545984"})),
        (BOTDM_START, json!({"app_id": "1", "bot_id": "b", "sid": SID, "channel": "h5"})),
        (BOTDM_TRIGGER, json!({"sid": SID, "cmd": "evt.complete", "prompt_id": "p"})),
        (BOTDM_STOP, json!({"sid": SID})),
    ]
}

fn with_checks(upstream: &Upstream, checks: &str) -> Gateway {
    Gateway::to(upstream).crm(format!("checks: {checks}, outnum_duplicate_window: 0s")).start()
}

/// An upload of `file` as `suffix`, with `changed` in the place of the field of that name.
fn upload(suffix: &str, file: &[u8], changed: (&str, &str)) -> Ask {
    let fields = [
        ("app_id", "1"),
        ("task_id", "7"),
        ("call_count", "2"),
        ("file_suffix", suffix),
        ("disnum_group_id", "1"),
    ];
    let mut body = String::new();
    for (name, value) in fields {
        let value = if name == changed.0 { changed.1 } else { value };
        body += &format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"numbers\"\r\n\r\n";
    let body = [body.as_bytes(), file, b"\r\n--B--\r\n"].concat();
    request("POST", OUTNUM).header("content-type", "multipart/form-data; boundary=B").body(body)
}

/// What fails, as `field check`.
fn failures(answer: &Answer) -> Vec<String> {
    answer.refused(400, -40001, "invalid_request");
    let list = answer.json()["failures"].as_array().unwrap().clone();
    assert!(list.iter().all(|failure| !failure["msg"].as_str().unwrap().is_empty()));
    list.iter().map(|failure| format!("{} {}", failure["field"], failure["check"]).replace('"', "")).collect()
}

#[tokio::test]
async fn what_is_as_the_document_asks_passes() {
    let upstream = Upstream::start();
    for checks in ["report", "enforce"] {
        let gateway = with_checks(&upstream, checks);
        for (path, body) in good() {
            let answer = gateway.post(path, body.to_string()).await;
            assert_eq!((answer.status, answer.header("x-gateway-warning")), (200, ""), "{path}: {answer:?}");
        }
        for (suffix, file) in [("csv", NUMBERS.as_bytes()), ("excel", &workbook("9998"))] {
            let ask = upload(suffix, file, ("", ""));
            let answer = gateway.ask(ask.clone()).await;
            assert_eq!(
                (answer.status, answer.header("x-gateway-warning")),
                (200, ""),
                "{suffix}: {answer:?}"
            );
            let sent = ask.to_bytes();
            assert!(sent.ends_with(&upstream.seen().last().unwrap().body), "it goes out as it came");
        }
    }
}

#[tokio::test]
async fn report_forwards_and_tells() {
    let upstream = Upstream::start();
    let gateway = with_checks(&upstream, "report");
    let body = r#"{"app_id":"1","page_size":51,"page_no":"x"}"#;
    let answer = gateway.post(TASKLIST, body).await;
    assert_eq!((answer.status, answer.header("x-gateway-error")), (200, ""));
    let warning = answer.header("x-gateway-warning");
    assert!(warning.contains("page_size: must be between 1 and 50; 51 was sent"), "{warning}");
    assert!(warning.contains("page_no: must be an integer"), "{warning}");
    assert_eq!(upstream.only().body, body.as_bytes());
    let count = |check| format!(r#"xinyao_check_failures_total{{endpoint="tasklist",check="{check}"}}"#);
    gateway.counts(&count("range"), 1.0).await;
    gateway.counts(&count("type"), 1.0).await;
    let id = answer.header("x-request-id");
    assert_eq!(logged(&["fails checks", id, "page_size"]).len(), 1);
}

#[tokio::test]
async fn report_is_the_default() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    assert!(gateway.post(SYNCPROMPT, "{}").await.header("x-gateway-warning").contains("app_id: is required"));
}

#[tokio::test]
async fn enforce_refuses_with_every_failure() {
    let upstream = Upstream::start();
    let gateway = with_checks(&upstream, "enforce");
    let body = json!({"app_id": "1", "bot_id": 7, "sid": "x", "channel": "fax", "var_json": {"a": {}}});
    let answer = gateway.post(BOTDM_START, body.to_string()).await;
    assert_eq!(failures(&answer), ["bot_id type", "sid length", "channel enum", "var_json flat"]);
    let message = answer.json()["msg"].as_str().unwrap().to_owned();
    assert!(
        message.contains("4 of the checks") && message.contains("channel: must be one of h5"),
        "{message}"
    );
    assert_eq!(answer.header("x-gateway-warning"), "");
    let answer = gateway.post(BOTDM_TRIGGER, json!({"sid": SID, "cmd": "evt.input"}).to_string()).await;
    assert_eq!(failures(&answer), ["text required"]);
    for body in ["", "[]", "{", "\u{feff}{}"] {
        assert_eq!(failures(&gateway.post(SYNCPROMPT, body).await), ["body body"], "{body}");
    }
    assert!(upstream.seen().is_empty());
    let count = r#"xinyao_check_failures_total{endpoint="syncprompt",check="body"}"#;
    gateway.counts(count, 4.0).await;
}

#[tokio::test]
async fn off_looks_at_nothing() {
    let upstream = Upstream::start();
    let gateway = with_checks(&upstream, "\"off\"");
    assert_eq!(gateway.post(BOTDM_START, "{").await.header("x-gateway-warning"), "");
    assert_eq!(gateway.ask(upload("pdf", b"x", ("", ""))).await.header("x-gateway-warning"), "");
    assert!(!gateway.metrics().await.0.contains("xinyao_check_failures_total{"));
}

#[tokio::test]
async fn other_refusals_come_first() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::to(&upstream).crm("checks: enforce, app_ids: [\"1\"], endpoints: [tasklist, outnum]");
    let gateway = gateway.with("limits: {max_body: 64KiB}").start();
    let foreign = gateway.post(TASKLIST, r#"{"app_id":"2","page_size":51}"#).await;
    foreign.refused(403, -40303, "app_id_not_allowed");
    gateway.post(BOTDM_STOP, "{}").await.refused(403, -40302, "endpoint_not_allowed");
    let foreign = gateway.ask(upload("pdf", b"x", ("app_id", "2"))).await;
    foreign.refused(403, -40303, "app_id_not_allowed");
    let large = gateway.ask(upload("pdf", &vec![b'x'; 70_000], ("", ""))).await;
    large.refused(413, -41301, "body_too_large");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn an_upload_is_judged_while_it_streams_by() {
    let upstream = Upstream::start();
    let gateway = with_checks(&upstream, "report");
    for (ask, expected) in [
        (
            upload("csv", NUMBERS.as_bytes(), ("call_count", "3")),
            "call_count: says 3, but the file has 2 rows",
        ),
        (upload("csv", NUMBERS.as_bytes(), ("task_id", "")), "task_id: is required, and empty"),
        (upload("csv", "号码\n138001\n138002\n".as_bytes(), ("", "")), "file: must begin with a header row"),
        (upload("txt", b"phone\nnobody\n138002\n", ("", "")), "first column in row 2"),
        (upload("excel", b"\xd0\xcf\x11\xe0old", ("", "")), "an .xls of before 2007"),
        (upload("excel", &workbook("nobody"), ("", "")), "first column in row 3"),
        (upload("csv", &workbook("9998"), ("", "")), "file: is a workbook"),
    ] {
        let answer = gateway.ask(ask).await;
        let warning = answer.header("x-gateway-warning");
        assert!(answer.status == 200 && warning.contains(expected), "{expected}: {warning}");
    }
    let broken = request("POST", OUTNUM).header("content-type", "multipart/form-data").body("x");
    assert!(gateway.ask(broken).await.header("x-gateway-warning").starts_with("body: is not multipart"));
}

#[tokio::test]
async fn an_upload_is_refused_before_anything_is_sent() {
    let upstream = Upstream::start();
    let gateway = with_checks(&upstream, "enforce");
    let answer = gateway.ask(upload("csv", b"phone\n138001\nx\n", ("disnum_group_id", ""))).await;
    assert_eq!(failures(&answer), ["disnum_group_id required", "file file_number"]);
    let answer = gateway.ask(upload("excel", &workbook("x"), ("call_count", "9"))).await;
    assert_eq!(failures(&answer), ["file file_number", "call_count call_count"]);
    assert_eq!(failures(&gateway.ask(upload("pdf", b"x", ("", ""))).await)[0], "file_suffix enum");
    assert_eq!(upstream.accepted(), 0);
}

#[tokio::test]
async fn an_upload_waits_in_the_spool() {
    let upstream = Upstream::start();
    let gateway = with_checks(&upstream, "enforce");
    let rows = "13800138000,\"a,\r\nb\"\n".repeat(100_000);
    let bytes = upload("csv", format!("phone,name\n{rows}").as_bytes(), ("call_count", "100000")).to_bytes();
    let mut line = gateway.line().await;
    let (most, last) = bytes.split_at(bytes.len() - 1);
    line.send(most).await;
    // An upload on another connection overtakes it: so this one has had its time to go out.
    assert_eq!(gateway.ask(upload("csv", NUMBERS.as_bytes(), ("", ""))).await.status, 200);
    assert_eq!(upstream.seen().len(), 1);
    line.send(last).await;
    assert_eq!(line.answer().await.status, 200);
    assert!(bytes.ends_with(&upstream.seen()[1].body) && upstream.seen()[1].body.len() > rows.len());
    // The connection goes on.
    assert_eq!(post(TASKLIST, r#"{"app_id":"1"}"#).send_on(&mut line).await.status, 200);
}

#[tokio::test]
async fn without_room_to_look_enforce_sends_nothing_and_report_everything() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("missing/gateway.db");
    for (checks, status) in [("enforce", 503), ("report", 200)] {
        let gateway = Gateway::to(&upstream)
            .with(format!("store: {{path: {}}}", nowhere.display()))
            .crm(format!("checks: {checks}, outnum_duplicate_window: 0s"))
            .store(Arc::new(MemoryStore::new()))
            .start();
        let answer = gateway.ask(upload("excel", &workbook("nobody"), ("", ""))).await;
        assert_eq!((answer.status, answer.header("x-gateway-warning")), (status, ""), "{answer:?}");
    }
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn whoever_breaks_off_sends_nothing() {
    let upstream = Upstream::start();
    let gateway = with_checks(&upstream, "enforce");
    let bytes = upload("csv", NUMBERS.as_bytes(), ("", "")).to_bytes();
    let mut line = gateway.line().await;
    line.send(&bytes[..bytes.len() - 1]).await;
    line.finish().await;
    line.answer().await.refused(400, -40001, "invalid_request");
    assert_eq!(upstream.accepted(), 0);
}

/// Sends `body` in chunks, its length untold.
async fn chunked(line: &mut Line, path: &str, body: &str) -> Answer {
    line.send(format!("POST {path} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    for piece in body.as_bytes().chunks(100_000) {
        line.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
    }
    line.send("0\r\n\r\n").await;
    line.answer().await
}

#[tokio::test]
async fn a_body_of_untold_length_is_looked_at_too() {
    let upstream = Upstream::start();
    let gateway = with_checks(&upstream, "report");
    let mut line = gateway.line().await;
    let answer = chunked(&mut line, BOTDM_STOP, r#"{"sid":"x"}"#).await;
    assert!(answer.header("x-gateway-warning").contains("sid: must be 32"), "{answer:?}");
    let long = format!(r#"{{"sid":"{}"}}"#, "x".repeat(3_000_000));
    let answer = chunked(&mut line, BOTDM_STOP, &long).await;
    assert!(answer.header("x-gateway-warning").contains("body: is over 1 MiB"), "{answer:?}");
    assert_eq!(upstream.seen()[1].body, long.as_bytes());
    let gateway = with_checks(&upstream, "enforce");
    let answer = chunked(&mut gateway.line().await, BOTDM_STOP, r#"{"sid":"x"}"#).await;
    assert_eq!(failures(&answer), ["sid length"]);
}
