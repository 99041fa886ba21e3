//! What reaches the SaaS: the request as it was sent, signed, and nothing of the way it came.

use std::time::{SystemTime, UNIX_EPOCH};

use md5::{Digest, Md5};

use crate::support::{
    Act, BOTDM_START, Gateway, OUTNUM, Sandbox, Seen, TASKLIST, Upstream, answer, bytes, get, ok, post,
    request,
};

/// Holds a request to the document's §3.1, computed here.
#[track_caller]
fn is_signed(seen: &Seen, apikey: &str, apisecret: &str) -> u64 {
    let [key, timestamp, digest] = seen.signature();
    let expected = hex::encode(Md5::digest(format!("{apisecret}:{timestamp}")));
    assert_eq!((key, digest), (apikey, expected.as_str()), "{seen:?}");
    let (signed, now) = (timestamp.parse::<u64>().unwrap(), now());
    assert!(now.abs_diff(signed) <= 2, "signed for {signed}, now {now}");
    signed
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn requests_are_signed_with_the_apps_credential() {
    let upstream = Upstream::start();
    let file = "
credentials: {one: {apikey: k1, apisecret: s1}, two: {apikey: k2, apisecret: s2}}
apps: [{name: a, networks: [127.0.0.2], credential: one}, {name: b, networks: [127.0.0.3], credential: two}]
";
    let gateway = Gateway::to(&upstream).with(file).start();
    gateway.ask(post(TASKLIST, "{}").from("127.0.0.2")).await;
    gateway.ask(post(TASKLIST, "{}").from("127.0.0.3")).await;
    is_signed(&upstream.seen()[0], "k1", "s1");
    is_signed(&upstream.seen()[1], "k2", "s2");
}

#[tokio::test]
async fn the_sandbox_takes_the_signature_of_every_endpoint_and_of_recordings() {
    let sandbox = Sandbox::start().await;
    let gateway = Gateway::before(&sandbox).start();
    for path in [TASKLIST, OUTNUM, BOTDM_START] {
        gateway.post(path, "{}").await;
    }
    gateway.ask(get("/coeus/nothing.wav")).await;
    let authorized: Vec<bool> = sandbox.requests().iter().map(|seen| seen.authorized).collect();
    assert_eq!(authorized, [true; 4]);
}

#[tokio::test]
async fn the_apps_own_authorization_never_passes() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    let ask = post(TASKLIST, "{}").header("authorization", "key:1:abc").header("authorization", "Basic eA==");
    assert_eq!(gateway.ask(ask).await.status, 200);
    assert_eq!(upstream.only().headers.get_all("authorization").iter().count(), 1);
    is_signed(&upstream.only(), "key", "secret");
}

#[tokio::test]
async fn what_ends_at_the_gateway_does_not_pass() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("trusted_proxies: [127.0.0.0/8]").start();
    let ends = [
        ("connection", "close, X-Private, keep-alive"),
        ("connection", "x-other"),
        ("x-private", "1"),
        ("x-other", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers"),
        ("trailer", "x-t"),
        ("forwarded", "for=127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "inner"),
        ("x-forwarded-anything", "1"),
        ("x-real-ip", "127.0.0.1"),
        ("cookie", "session=1"),
        ("x-gateway-force", "true"),
        ("x-gateway-anything", "1"),
        ("idempotency-key", "\"k\""),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "inner=1"),
        ("baggage", "user=1"),
    ];
    let passes = [
        ("accept", "application/json"),
        ("accept-encoding", "gzip"),
        ("user-agent", "crm/1"),
        ("x-trace", "a"),
        ("x-trace", "b"),
        ("x-empty", ""),
        ("if-none-match", "\"e\""),
    ];
    let ask =
        ends.iter().chain(&passes).fold(post(TASKLIST, "{}"), |ask, (name, value)| ask.header(name, value));
    assert_eq!(gateway.ask(ask).await.status, 200);
    let seen = upstream.only();
    for (name, _) in ends {
        assert!(!seen.headers.contains_key(name), "{name} passed: {seen:?}");
    }
    for (name, value) in passes {
        assert!(seen.headers.get_all(name).iter().any(|v| v == value), "{name} is lost: {seen:?}");
    }
    let host = upstream.address.to_string();
    assert_eq!((seen.header("host"), seen.header("content-type")), (host.as_str(), "application/json"));
}

#[tokio::test]
async fn method_path_query_and_body_pass_untouched() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("upstream: {extra_paths: [/new]}").start();
    let body = [&bytes(10_000)[..], &[0, 255, 13, 10]].concat();
    for target in [
        "/new?",
        "/new?a=1&a=2&&=x&%20=+%2F%2e%2E..//\\&b=http://h/?q",
        "/new/%E4%BD%A0%20b/c;d=e,f:g@h!$&'()*+",
        "/new/a.b/..c/~d",
        "/new?'!*()[]",
    ] {
        let ask = request("PATCH", target).header("content-type", "x/y").body(&body);
        assert_eq!(gateway.ask(ask).await.status, 200, "{target}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!((seen.method.as_str(), seen.target.as_str(), &seen.body), ("PATCH", target, &body));
    }
}

#[tokio::test]
async fn a_chunked_body_passes_whole() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    for (path, size) in [(TASKLIST, 100), (TASKLIST, 200_000), (OUTNUM, 500_000)] {
        let body = bytes(size);
        let mut line = gateway.line().await;
        line.send(format!("POST {path} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")).await;
        for part in body.chunks(70_000) {
            line.send([format!("{:x};ext=1\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()).await;
        }
        line.send("0\r\nx-trailer: 1\r\n\r\n").await;
        assert_eq!(line.answer().await.status, 200);
        assert!(upstream.seen().pop().unwrap().body == body, "{size} bytes to {path}");
    }
}

#[tokio::test]
async fn an_http_1_0_client_is_served() {
    let upstream = Upstream::in_turn([
        ok(),
        Act::Answer(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec()),
    ]);
    let gateway = Gateway::to(&upstream).start();
    for expected in [crate::support::OK, "{}"] {
        let mut line = gateway.line().await;
        line.send(format!("POST {TASKLIST} HTTP/1.0\r\ncontent-length: 2\r\n\r\n{{}}")).await;
        let answer = line.answer().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, expected));
        assert!(!answer.headers.contains_key("transfer-encoding"), "{answer:?}");
        line.closed().await;
    }
    assert!(upstream.seen()[0].head.contains("HTTP/1.1"));
}

#[tokio::test]
async fn a_client_keeps_its_request_id_where_it_is_fit_to_be_logged() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    for own in ["a", "ID-1/x:y;z=~!", &"x".repeat(128)] {
        let answer = gateway.ask(post(TASKLIST, "{}").header("x-request-id", own)).await;
        assert_eq!(answer.header("x-request-id"), own);
        let refused = gateway.ask(get("/nowhere").header("x-request-id", own)).await;
        assert_eq!(refused.json()["request_id"], own);
    }
    let mut new = std::collections::BTreeSet::new();
    for unfit in ["", "a b", "a\tb", "\u{e9}", &"x".repeat(129)] {
        let mut line = gateway.line().await;
        line.send(format!(
            "POST {TASKLIST} HTTP/1.1\r\nhost: g\r\nx-request-id: {unfit}\r\ncontent-length: 2\r\n\r\n{{}}"
        ))
        .await;
        let answer = line.answer().await;
        let id = answer.header("x-request-id");
        assert!(!id.is_empty() && id != unfit && id.len() <= 128, "{answer:?}");
        new.insert(id.to_owned());
    }
    assert_eq!(new.len(), 5, "{new:?}");
}

#[tokio::test]
async fn each_attempt_is_signed_afresh() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    line.send(post(TASKLIST, "{}").to_bytes()).await;
    let first = upstream.accept().await.request().await.unwrap();
    // The connection is lost; the second attempt comes on another, and signed for its own time.
    let mut second_line = upstream.accept().await;
    let second = second_line.request().await.unwrap();
    assert!(is_signed(&second, "key", "secret") >= is_signed(&first, "key", "secret"));
    second_line.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!(line.answer().await.status, 200);
}

#[tokio::test]
async fn a_request_that_waited_is_signed_for_the_time_it_is_sent() {
    let upstream = Upstream::start();
    let app = "rate_limits: [{limit: 1/s, burst: 1, max_wait: 3s}]";
    let gateway = Gateway::to(&upstream).crm(app).start();
    gateway.post(TASKLIST, "{}").await;
    let asked = now();
    gateway.post(TASKLIST, "{}").await;
    let seen = upstream.seen();
    assert!(is_signed(&seen[1], "key", "secret") > is_signed(&seen[0], "key", "secret"), "asked at {asked}");
}

#[tokio::test]
async fn the_proxys_environment_is_ignored() {
    // Set for the real thing: it would change the address that requests leave from.
    let upstream = Upstream::start();
    let script = "HTTP_PROXY=http://127.0.0.1:1 http_proxy=http://127.0.0.1:1 ALL_PROXY=socks5://127.0.0.1:1 exec \"$0\" \"$@\"";
    let gateway = crate::support::Binary::run_as(Gateway::to(&upstream), script);
    assert_eq!(post(TASKLIST, "{}").send(gateway.proxy).await.status, 200);
}

#[tokio::test]
async fn a_get_of_an_endpoint_below_extra_paths_has_no_body() {
    let upstream = Upstream::scripted(|_| answer("200 OK", "", "x"));
    let gateway = Gateway::to(&upstream).with("upstream: {extra_paths: [/new]}").start();
    assert_eq!(gateway.ask(get("/new/list?a=b")).await.text(), "x");
    let seen = upstream.only();
    assert!(!seen.headers.contains_key("content-length") && !seen.headers.contains_key("transfer-encoding"));
}
