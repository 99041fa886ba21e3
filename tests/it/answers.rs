//! Answers come back as the SaaS gave them, and are understood on the way (§5.4).

use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use crate::support::{Act, Gateway, Sandbox, TASKLIST, Upstream, answer, bytes, get, logged, post, request};

#[tokio::test]
async fn status_fields_and_body_come_back_as_they_are() {
    let upstream = Upstream::scripted(|_| {
        answer(
            "418 I'm a teapot",
            "x-one: 1\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nserver: saas\r\netag: \"e\"\r\ncontent-type: text/x\r\n",
            bytes(1000),
        )
    });
    let gateway = Gateway::to(&upstream).start();
    let answer = gateway.post(TASKLIST, "{}").await;
    assert_eq!((answer.status, &answer.body), (418, &bytes(1000)));
    for field in [
        "x-one: 1",
        "set-cookie: a=1",
        "set-cookie: b=2",
        "server: saas",
        "etag: \"e\"",
        "content-type: text/x",
        "content-length: 1000",
    ] {
        assert!(answer.head.contains(field), "{field} is lost: {answer:?}");
    }
    assert!(!answer.headers.contains_key("x-gateway-error"));
}

#[tokio::test]
async fn hop_by_hop_fields_of_an_answer_end_here() {
    let upstream = Upstream::scripted(|_| {
        answer(
            "200 OK",
            "connection: x-private\r\nx-private: 1\r\nkeep-alive: timeout=5\r\nproxy-authenticate: Basic\r\nupgrade: h2c\r\nx-request-id: theirs\r\n",
            "{}",
        )
    });
    let gateway = Gateway::to(&upstream).start();
    let answer = gateway.ask(post(TASKLIST, "{}").header("x-request-id", "mine")).await;
    for name in ["x-private", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert!(!answer.headers.contains_key(name), "{name}: {answer:?}");
    }
    assert_eq!(answer.headers.get_all("x-request-id").iter().collect::<Vec<_>>(), ["mine"]);
}

#[tokio::test]
async fn redirects_are_passed_on_and_never_followed() {
    let elsewhere = Upstream::start();
    let location = format!("location: {}/x\r\n", elsewhere.url());
    let upstream = Upstream::scripted(move |_| answer("302 Found", &location, ""));
    let gateway = Gateway::to(&upstream).start();
    let answer = gateway.ask(get("/coeus/a.wav")).await;
    assert_eq!((answer.status, answer.header("location")), (302, format!("{}/x", elsewhere.url()).as_str()));
    assert_eq!(elsewhere.accepted(), 0);
}

#[tokio::test]
async fn errors_of_the_saas_are_its_own() {
    for (status, body) in [
        ("500 Internal Server Error", r#"{"code":999999,"msg":"x"}"#),
        ("503 Unavailable", "busy"),
        ("429 Slow", ""),
    ] {
        let upstream = Upstream::scripted(move |_| answer(status, "retry-after: 7\r\n", body));
        let gateway = Gateway::to(&upstream).start();
        let answer = gateway.post(TASKLIST, "{}").await;
        assert_eq!((answer.status.to_string().as_str(), answer.text().as_str()), (&status[..3], body));
        assert_eq!((answer.header("retry-after"), answer.header("x-gateway-error")), ("7", ""));
        let line = format!(
            r#"xinyao_requests_total{{app="crm",endpoint="tasklist",status="{}",outcome="upstream_error"}}"#,
            answer.status
        );
        gateway.counts(&line, 1.0).await;
        assert_eq!(upstream.seen().len(), 1, "an answer is never asked for twice");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_of_its_own_is_passed_on_to_its_end() {
    let upstream = Upstream::scripted(|_| Act::Last(b"HTTP/1.1 200 OK\r\n\r\n{\"code\":0}".to_vec()));
    let gateway = Gateway::to(&upstream).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.text(), "{\"code\":0}");
}

#[tokio::test]
async fn head_and_204_and_304_have_no_body() {
    let upstream = Upstream::in_turn([
        Act::Answer(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n".to_vec()),
        Act::Answer(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        Act::Answer(b"HTTP/1.1 304 Not Modified\r\netag: \"e\"\r\n\r\n".to_vec()),
        answer("200 OK", "", "whole"),
    ]);
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    let head = request("HEAD", "/coeus/a.wav").send_on(&mut line).await;
    assert_eq!((head.status, head.header("content-length")), (200, "500"));
    for status in [204, 304] {
        assert_eq!(get("/coeus/a.wav").send_on(&mut line).await.status, status);
    }
    assert_eq!(get("/coeus/a.wav").send_on(&mut line).await.text(), "whole");
}

#[tokio::test]
async fn ranges_of_recordings_pass_both_ways() {
    let upstream =
        Upstream::scripted(|_| answer("206 Partial Content", "content-range: bytes 0-1/4\r\n", "ab"));
    let gateway = Gateway::to(&upstream).start();
    let answer = gateway.ask(get("/coeus/a.wav").header("range", "bytes=0-1")).await;
    assert_eq!((answer.status, answer.header("content-range")), (206, "bytes 0-1/4"));
    assert_eq!(upstream.only().header("range"), "bytes=0-1");
    gateway
        .counts(r#"xinyao_requests_total{app="crm",endpoint="recordings",status="206",outcome="ok"}"#, 1.0)
        .await;
}

#[tokio::test]
async fn interim_answers_do_not_end_the_wait() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"code\":0}";
    let upstream = Upstream::scripted(|_| Act::Answer(bytes.to_vec()));
    let gateway = Gateway::to(&upstream).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.code(), 0);
}

pub fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn deflate(text: &str) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn chunked(fields: &str, body: &[u8]) -> Act {
    let mut bytes = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{fields}\r\n").into_bytes();
    for part in body.chunks(3) {
        bytes.extend([format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
    }
    bytes.extend(b"0\r\n\r\n");
    Act::Answer(bytes)
}

#[tokio::test]
async fn the_code_is_read_however_the_answer_comes() {
    let envelope = r#"{"msg":"不行","result":{"code":0},"code":-174791}"#;
    let acts = [
        answer("200 OK", "", envelope),
        chunked("", envelope.as_bytes()),
        answer("200 OK", "content-encoding: gzip\r\n", gzip(envelope)),
        chunked("content-encoding: gzip\r\n", &gzip(envelope)),
        answer("200 OK", "content-encoding: deflate\r\n", deflate(envelope)),
    ];
    let count = acts.len();
    let upstream = Upstream::in_turn(acts);
    let gateway = Gateway::to(&upstream).start();
    for n in 1..=count {
        let answer = gateway.post(TASKLIST, "{}").await;
        assert!(!answer.body.is_empty());
        let count = f64::from(u32::try_from(n).unwrap());
        gateway.counts(r#"xinyao_upstream_code_total{endpoint="tasklist",code="-174791"}"#, count).await;
        gateway.counts(r#"xinyao_requests_total{app="crm",endpoint="tasklist",status="200",outcome="business_error"}"#, count).await;
    }
}

#[tokio::test]
async fn encoded_bytes_come_back_as_they_are() {
    let encoded = gzip(r#"{"code":0}"#);
    let sent = encoded.clone();
    let upstream = Upstream::scripted(move |_| answer("200 OK", "content-encoding: gzip\r\n", &sent));
    let gateway = Gateway::to(&upstream).start();
    let answer = gateway.ask(post(TASKLIST, "{}").header("accept-encoding", "gzip")).await;
    assert_eq!((answer.header("content-encoding"), &answer.body), ("gzip", &encoded));
    assert_eq!(upstream.only().header("accept-encoding"), "gzip");
}

#[tokio::test]
async fn an_answer_that_is_no_envelope_is_an_error_of_the_upstream() {
    let upstream = Upstream::scripted(|_| answer("200 OK", "", "<html>"));
    let gateway = Gateway::to(&upstream).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.text(), "<html>");
    gateway
        .counts(
            r#"xinyao_requests_total{app="crm",endpoint="tasklist",status="200",outcome="upstream_error"}"#,
            1.0,
        )
        .await;
}

#[tokio::test]
async fn codes_in_metrics_are_bounded() {
    let next = std::sync::atomic::AtomicUsize::new(1);
    let upstream = Upstream::scripted(move |_| {
        let code = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        answer("200 OK", "", format!("{{\"code\":{code}}}"))
    });
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    for _ in 0..300 {
        post(TASKLIST, "{}").send_on(&mut line).await;
    }
    gateway.counts(r#"xinyao_upstream_code_total{endpoint="tasklist",code="other"}"#, 300.0 - 64.0).await;
    let lines = gateway
        .metrics()
        .await
        .0
        .lines()
        .filter(|line| line.starts_with("xinyao_upstream_code_total{"))
        .count();
    assert_eq!(lines, 65);
}

#[tokio::test]
async fn a_request_has_one_line_in_the_access_log() {
    let sandbox = Sandbox::start().await;
    sandbox.fault("code:-174791=1");
    let gateway = Gateway::before(&sandbox).start();
    let id = format!("log-{}", gateway.proxy.port());
    gateway.ask(post(TASKLIST, "{}").header("x-request-id", &id)).await;
    crate::support::eventually(async || !logged(&["access", &id]).is_empty()).await;
    let lines = logged(&["access", &id]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in ["crm", "tasklist", "status=200", "business_error", "-174791"] {
        assert!(lines[0].contains(part), "{part}: {lines:?}");
    }
}

#[tokio::test]
async fn the_access_log_has_the_path_with_numbers_masked_and_no_query() {
    let gateway = Gateway::to(&Upstream::start()).with("upstream: {extra_paths: [/v2]}").start();
    let id = format!("path-{}", gateway.proxy.port());
    let secret = "/v2/13812345678/calls?phone=13987654321";
    gateway.ask(post(secret, "{}").header("x-request-id", &id)).await;
    crate::support::eventually(async || !logged(&["access", &id]).is_empty()).await;
    let line = logged(&["access", &id]).concat();
    assert!(line.contains("path=/v2/138****5678/calls "), "{line}");
    for part in ["phone", "?", "13812345678", "13987654321"] {
        assert!(!line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn the_access_log_may_be_switched_off() {
    let gateway = Gateway::to(&Upstream::start()).with("log: {access: false}").start();
    let id = format!("nolog-{}", gateway.proxy.port());
    gateway.ask(post(TASKLIST, "{}").header("x-request-id", &id)).await;
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
    assert!(logged(&["access", &id]).is_empty());
}
