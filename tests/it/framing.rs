//! A request that two readers could take for two requests is refused, never repaired (RFC 9112 §11.2).

use crate::support::{Gateway, Line, TASKLIST, Upstream, eventually, get, post, request};

/// Sends these bytes; they must be answered with a 400, and nothing sent on.
async fn is_refused(request: &str) {
    drop(refusal_of(request).await);
}

/// And the connection must be closed: where this request ends is anybody's guess.
async fn is_refused_and_closed(request: &str) {
    let (_gateway, mut line) = refusal_of(request).await;
    line.closed().await;
}

async fn refusal_of(request: &str) -> (Gateway, Line) {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("upstream: {extra_paths: [/extra]}").start();
    let mut line = gateway.line().await;
    line.send(request).await;
    line.answer().await.refused(400, -40001, "invalid_request");
    assert!(upstream.seen().is_empty(), "{request:?} reached the upstream: {:?}", upstream.seen());
    (gateway, line)
}

/// A request with these fields and this body.
fn with(fields: &str, body: &str) -> String {
    format!("POST {TASKLIST} HTTP/1.1\r\nhost: g\r\n{fields}\r\n{body}")
}

#[tokio::test]
async fn conflicting_lengths_are_refused() {
    for fields in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: 2\r\ncontent-length: 2\r\n",
        "content-length: 2, 2\r\n",
        "content-length: +2\r\n",
        "content-length: -2\r\n",
        "content-length: 0x2\r\n",
        "content-length: 2 2\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999\r\n",
    ] {
        is_refused_and_closed(&with(fields, "{}")).await;
    }
}

#[tokio::test]
async fn a_length_beside_chunks_is_refused() {
    for fields in [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \x0bchunked\r\n",
        "transfer-encoding:\r\n",
    ] {
        is_refused_and_closed(&with(fields, "2\r\n{}\r\n0\r\n\r\n")).await;
    }
    is_refused_and_closed(&format!(
        "POST {TASKLIST} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    ))
    .await;
}

#[tokio::test]
async fn malformed_fields_are_refused() {
    for fields in [
        "x-a: 1\r\n folded\r\n",
        "x-a: 1\r\n\tfolded\r\n",
        "x-a : 1\r\n",
        " x-a: 1\r\n",
        "x-a\r\n",
        ": 1\r\n",
        "x a: 1\r\n",
        "x-a: \0\r\n",
        "x-a: 1\rx-b: 2\r\n",
    ] {
        is_refused_and_closed(&with(fields, "")).await;
    }
}

#[tokio::test]
async fn a_bare_line_feed_ends_nothing() {
    is_refused_and_closed(&with("", "").replace("\r\n", "\n")).await;
    is_refused_and_closed(&with("x-a: 1\n", "")).await;
    is_refused_and_closed(&format!("POST {TASKLIST} HTTP/1.1\nhost: g\r\n\r\n")).await;
    is_refused_and_closed(&format!("POST {TASKLIST} HTTP/1.1\r\nhost: g\r\n\n")).await;
}

#[tokio::test]
async fn the_host_must_be_named_once() {
    is_refused_and_closed(&format!("POST {TASKLIST} HTTP/1.1\r\ncontent-length: 0\r\n\r\n")).await;
    is_refused_and_closed(&with("host: g\r\n", "")).await;
    is_refused_and_closed(&with("host: other\r\n", "")).await;
    is_refused_and_closed(&format!("POST {TASKLIST} HTTP/1.1\r\nhost: g/x@y\r\n\r\n")).await;
}

#[tokio::test]
async fn broken_request_lines_are_refused() {
    for line in [
        "POST  /extra HTTP/1.1",
        "POST /extra  HTTP/1.1",
        " POST /extra HTTP/1.1",
        "POST /extra HTTP/1.1 ",
        "POST\t/extra HTTP/1.1",
        "POST /extra",
        "POST /extra HTTP/2.0",
        "POST /extra http/1.1",
        "PO(ST /extra HTTP/1.1",
        "POST /ex tra HTTP/1.1",
        "POST extra HTTP/1.1",
        "POST /extra#fragment HTTP/1.1",
    ] {
        is_refused_and_closed(&format!("{line}\r\nhost: g\r\n\r\n")).await;
    }
    is_refused_and_closed("\x16\x03\x01\x02\0\x01\0\x01\u{7c}\x03\x03").await;
}

#[tokio::test]
async fn paths_that_could_mean_another_are_refused() {
    for path in [
        "/extra/../api",
        "/extra/./api",
        "/extra/..",
        "/extra//api",
        "//extra",
        "/extra%2fapi",
        "/extra%2Fapi",
        "/extra/%2e%2e/api",
        "/extra/%2E",
        "/extra\\api",
        "/extra%5capi",
        "/extra/%00",
        "/extra/%0d%0a",
        "/extra/%",
        "/extra/%zz",
        "/extra/%252e%252e",
        "/extra/;/../x",
        "*",
    ] {
        is_refused(&format!("POST {path} HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n")).await;
    }
}

#[tokio::test]
async fn an_absolute_target_must_be_for_the_host_that_is_named() {
    for target in
        ["http://other/extra", "https://g/extra", "http://g@g/extra", "http://g:81/extra", "ftp://g/extra"]
    {
        is_refused(&format!("POST {target} HTTP/1.1\r\nhost: g\r\ncontent-length: 0\r\n\r\n")).await;
    }
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    let target = format!("http://g{TASKLIST}?a=b");
    let answer = gateway.ask(post(&target, "{}").header("host", "g")).await;
    assert_eq!((answer.status, upstream.only().target), (200, format!("{TASKLIST}?a=b")));
}

#[tokio::test]
async fn an_upgrade_with_a_body_is_refused_and_one_without_ends_here() {
    is_refused(&with("connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n", "{}")).await;
    is_refused(&with(
        "connection: upgrade\r\nupgrade: websocket\r\ntransfer-encoding: chunked\r\n",
        "0\r\n\r\n",
    ))
    .await;
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    let ask =
        request("POST", TASKLIST).header("connection", "upgrade").header("upgrade", "websocket").body("");
    assert_eq!(gateway.ask(ask).await.status, 200);
    assert_eq!(upstream.only().header("upgrade"), "");
}

#[tokio::test]
async fn connect_and_trace_lead_nowhere() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("upstream: {extra_paths: [/extra]}").start();
    let answer = gateway.raw("CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n").await;
    assert!(matches!(answer.status, 400 | 405), "{answer:?}");
    for path in [TASKLIST, "/extra"] {
        let answer = gateway.ask(request("TRACE", path)).await;
        answer.refused(405, -40501, "method_not_allowed");
        assert!(!answer.header("allow").is_empty() && !answer.header("allow").contains("TRACE"));
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn broken_chunks_end_the_request() {
    for chunks in [
        "x\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}",
        " 2\r\n{}\r\n0\r\n\r\n",
        "2;\n\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\n\n",
    ] {
        let upstream = Upstream::start();
        let gateway = Gateway::to(&upstream).start();
        let mut line = gateway.line().await;
        line.send(with("transfer-encoding: chunked\r\n", chunks)).await;
        line.answer().await.refused(400, -40001, "invalid_request");
        line.closed().await;
        assert!(upstream.seen().is_empty(), "{chunks:?} came whole");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_never_comes_whole() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    line.send(with("transfer-encoding: chunked\r\n", "2\r\n{}\r\n")).await;
    let mut at_upstream = upstream.accept().await;
    assert!(at_upstream.head().await.is_ok());
    drop(line);
    assert!(!at_upstream.rest().await.ends_with(b"0\r\n\r\n"));
    eventually(async || gateway.metrics().await.sum("xinyao_in_flight{") < 0.5).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::scripted(|seen| crate::support::answer("200 OK", "", &seen.body));
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    let requests: Vec<u8> =
        (0..3).flat_map(|n| post(TASKLIST, format!("{{\"n\":{n}}}")).to_bytes()).collect();
    line.send(requests).await;
    for n in 0..3 {
        assert_eq!(line.answer().await.text(), format!("{{\"n\":{n}}}"));
    }
}

#[tokio::test]
async fn a_refused_request_is_no_cover_for_another() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    let smuggled = with("content-length: 2\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n");
    line.send(smuggled + &String::from_utf8(post(TASKLIST, "{}").to_bytes()).unwrap()).await;
    line.answer().await.refused(400, -40001, "invalid_request");
    line.closed().await;
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn blank_lines_before_a_request_are_forgiven() {
    let gateway = Gateway::to(&Upstream::start()).start();
    let mut line = gateway.line().await;
    line.send("\r\n\r\n").await;
    assert_eq!(get("/nowhere").send_on(&mut line).await.status, 404);
}
