//! What an app may call, and for which tenants.

use serde_json::json;

use crate::support::{
    ADDTASK, BOTDM_START, BOTDM_STOP, BOTDM_TRIGGER, FOLLOWED_DATA, Gateway, OUTNUM, SYNCPROMPT, TASKLIST,
    Upstream, get, post, request,
};

const ENDPOINTS: [(&str, &str); 8] = [
    ("addtask", ADDTASK),
    ("outnum", OUTNUM),
    ("tasklist", TASKLIST),
    ("syncprompt", SYNCPROMPT),
    ("followed_data", FOLLOWED_DATA),
    ("botdm_start", BOTDM_START),
    ("botdm_trigger", BOTDM_TRIGGER),
    ("botdm_stop", BOTDM_STOP),
];

#[tokio::test]
async fn every_documented_endpoint_is_let_through() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    for (name, path) in ENDPOINTS {
        assert_eq!(gateway.post(path, "{}").await.status, 200, "{name}");
        assert_eq!(upstream.seen().last().unwrap().target, path);
        let line =
            format!(r#"xinyao_requests_total{{app="crm",endpoint="{name}",status="200",outcome="ok"}}"#);
        gateway.counts(&line, 1.0).await;
    }
}

#[tokio::test]
async fn an_app_may_call_its_endpoints_and_no_other() {
    let upstream = Upstream::start();
    for (allowed, path) in ENDPOINTS {
        let gateway = Gateway::to(&upstream).crm(format!("endpoints: [{allowed}]")).start();
        assert_eq!(gateway.post(path, "{}").await.status, 200, "{allowed}");
        for (other, path) in ENDPOINTS.iter().filter(|(name, _)| *name != allowed) {
            let message = gateway.post(path, "{}").await.refused(403, -40302, "endpoint_not_allowed");
            assert!(message.contains(other) && message.contains("crm"), "{message}");
        }
    }
}

#[tokio::test]
async fn recordings_and_extra_paths_are_rights_of_their_own() {
    let upstream = Upstream::start();
    let recordings = Upstream::start();
    let addresses = format!("upstream: {{extra_paths: [/api/v2], recordings_url: {}}}", recordings.url());
    let all = Gateway::to(&upstream).with(&addresses).start();
    assert_eq!(all.ask(get("/coeus/2024/a.wav")).await.status, 200);
    assert_eq!(recordings.only().target, "/coeus/2024/a.wav");
    assert_eq!(all.ask(request("PUT", "/api/v2/new?x=1").body("b")).await.status, 200);
    assert_eq!((upstream.only().method, upstream.only().target), ("PUT".into(), "/api/v2/new?x=1".into()));
    let none = Gateway::to(&upstream).with(&addresses).crm("endpoints: [tasklist]").start();
    none.ask(get("/coeus/a.wav")).await.refused(403, -40302, "endpoint_not_allowed");
    none.ask(get("/api/v2")).await.refused(403, -40302, "endpoint_not_allowed");
}

#[tokio::test]
async fn other_paths_are_unknown() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("upstream: {extra_paths: [/api/v2]}").start();
    for path in [
        "/",
        "/coeus",
        "/api/v1",
        "/api/v22",
        "/API/v2",
        &format!("{TASKLIST}/"),
        &format!("{TASKLIST}x"),
        "/healthz",
    ] {
        gateway.post(path, "{}").await.refused(404, -40401, "unknown_endpoint");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_wrong_method_is_told_the_right_ones() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "post"] {
        let answer = gateway.ask(request(method, TASKLIST)).await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}: {answer:?}");
        assert_eq!(answer.header("x-gateway-error"), "method_not_allowed");
    }
    let answer = gateway.ask(post("/coeus/a.wav", "x")).await;
    answer.refused(405, -40501, "method_not_allowed");
    assert_eq!(answer.header("allow"), "GET, HEAD");
}

/// An app that may act for tenants `1` and `two`.
fn for_two_tenants(upstream: &Upstream) -> Gateway {
    Gateway::to(upstream).crm("app_ids: [\"1\", two]").start()
}

#[tokio::test]
async fn a_json_body_may_name_the_apps_own_tenants_only() {
    let upstream = Upstream::start();
    let gateway = for_two_tenants(&upstream);
    for body in [r#"{"app_id":"1"}"#, r#"{"a":{"app_id":"9"},"app_id":"two"}"#, r#"{"app_id":1}"#, "{}", ""] {
        assert_eq!(gateway.post(TASKLIST, body).await.status, 200, "{body}");
    }
    let let_through = upstream.seen().len();
    for body in [
        r#"{"app_id":"9"}"#,
        r#"{"app_id":"1","app_id":"9"}"#,
        r#"{"app_id":"1","app_id":"1"}"#,
        r#"{"app_id":"1","\u0061pp_id":"9"}"#,
        r#"{"app_id":["1"]}"#,
        r#"{"app_id":"1""#,
        r#"{"app_id":"1"}{"app_id":"9"}"#,
        r#"["app_id"]"#,
        "not json",
        "\u{feff}{\"app_id\":\"1\"}",
    ] {
        gateway.post(ADDTASK, body).await.refused(403, -40303, "app_id_not_allowed");
    }
    assert_eq!(upstream.seen().len(), let_through);
}

#[tokio::test]
async fn a_tenant_named_twice_is_refused_for_every_app() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    gateway.post(TASKLIST, r#"{"app_id":"1","app_id":"2"}"#).await.refused(403, -40303, "app_id_not_allowed");
    assert!(upstream.seen().is_empty());
    // What can't be read is left to the SaaS where the app may act for anybody.
    assert_eq!(gateway.post(TASKLIST, "not json").await.status, 200);
}

#[tokio::test]
async fn a_large_or_encoded_body_can_not_hide_a_tenant() {
    let upstream = Upstream::start();
    let gateway = for_two_tenants(&upstream);
    let padded = json!({ "padding": "x".repeat(2 << 20), "app_id": "9" }).to_string();
    gateway.post(TASKLIST, &padded).await.refused(403, -40303, "app_id_not_allowed");
    let encoded = post(TASKLIST, r#"{"app_id":"1"}"#).header("content-encoding", "gzip");
    gateway.ask(encoded).await.refused(403, -40303, "app_id_not_allowed");
    let chunked = format!(
        "POST {TASKLIST} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n6\r\n{{\"app_\r\n8\r\nid\":\"9\"}}\r\n0\r\n\r\n"
    );
    gateway.raw(chunked).await.refused(403, -40303, "app_id_not_allowed");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_query_may_name_the_apps_own_tenants_only() {
    let upstream = Upstream::start();
    let gateway = for_two_tenants(&upstream);
    for query in ["app_id=9", "app_id=1&app_id=9", "app%5fid=9"] {
        let path = format!("{TASKLIST}?{query}");
        gateway.post(&path, r#"{"app_id":"1"}"#).await.refused(403, -40303, "app_id_not_allowed");
    }
    assert_eq!(gateway.post(&format!("{TASKLIST}?app_id=1"), "{}").await.status, 200);
}

/// A form with these text fields before and after its file.
fn form(before: &[(&str, &str)], file: &[u8], after: &[(&str, &str)]) -> Vec<u8> {
    let text = |fields: &[(&str, &str)]| {
        fields.iter().fold(String::new(), |text, (name, value)| {
            text + &format!("--B\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        })
    };
    let head = "--B\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n";
    let before = text(before) + head;
    [before.as_bytes(), file, format!("\r\n{}--B--\r\n", text(after)).as_bytes()].concat()
}

fn upload(form: &[u8]) -> crate::support::Ask {
    request("POST", OUTNUM).header("content-type", "multipart/form-data; boundary=B").body(form)
}

#[tokio::test]
async fn an_upload_may_name_the_apps_own_tenants_only() {
    let upstream = Upstream::start();
    let gateway = for_two_tenants(&upstream);
    let file = crate::support::bytes(300_000);
    let own = form(&[("app_id", "1")], &file, &[]);
    assert_eq!(gateway.ask(upload(&own)).await.status, 200);
    assert_eq!(upstream.only().body, own);
    for foreign in [
        form(&[("app_id", "9")], &file, &[]),
        form(&[], &file, &[("app_id", "9")]),
        form(&[("app_id", "1")], &file, &[("app_id", "9")]),
        form(&[("app_id", "1")], &file, &[("app_id", "1")]),
        form(&[("app_id", "1")], &file, &[("APP_ID", "9")]),
    ] {
        gateway.ask(upload(&foreign)).await.refused(403, -40303, "app_id_not_allowed");
    }
    let as_json =
        request("POST", OUTNUM).header("content-type", "application/json").body(r#"{"app_id":"1"}"#);
    gateway.ask(as_json).await.refused(403, -40303, "app_id_not_allowed");
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn an_upload_for_a_foreign_tenant_is_refused_before_the_saas_has_all_of_it() {
    let upstream = Upstream::by_hand();
    let gateway = for_two_tenants(&upstream);
    let mut line = gateway.line().await;
    let form = form(&[("app_id", "1")], &crate::support::bytes(400_000), &[("app_id", "9")]);
    line.send(upload(&form).to_bytes()).await;
    let mut at_upstream = upstream.accept().await;
    at_upstream.head().await.unwrap();
    let came = at_upstream.rest().await;
    assert!(came.len() < form.len(), "all {} bytes came", came.len());
    line.answer().await.refused(403, -40303, "app_id_not_allowed");
}
