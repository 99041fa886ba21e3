//! How much is too much: rates, requests under way, sizes and slowness.

use std::time::{Duration, Instant};

use crate::support::{
    Act, Gateway, OUTNUM, SYNCPROMPT, TASKLIST, Upstream, bytes, eventually, get, ok, post, request,
};

/// The parameter `name` of a `RateLimit` or `RateLimit-Policy` item.
fn parameter(field: &str, name: &str) -> u64 {
    let found = field.split(';').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {field:?}"))
}

#[tokio::test]
async fn past_its_rate_an_app_is_told_when_to_come_back() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).crm("rate_limits: [{limit: 60/h, burst: 2}]").start();
    for left in [1, 0] {
        let answer = gateway.post(TASKLIST, "{}").await;
        assert_eq!((answer.status, parameter(answer.header("ratelimit"), "r")), (200, left));
        assert_eq!(parameter(answer.header("ratelimit-policy"), "q"), 60, "{answer:?}");
        assert_eq!(parameter(answer.header("ratelimit-policy"), "w"), 3600, "{answer:?}");
    }
    let answer = gateway.post(TASKLIST, "{}").await;
    answer.refused(429, -42901, "rate_limited");
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:?}");
    assert_eq!(parameter(answer.header("ratelimit"), "r"), 0);
    assert!((1..=61).contains(&parameter(answer.header("ratelimit"), "t")));
    assert_eq!(upstream.seen().len(), 2);
    gateway.counts(r#"xinyao_rate_limited_total{app="crm",endpoint="tasklist"}"#, 1.0).await;
}

#[tokio::test]
async fn all_limits_that_apply_must_admit() {
    let upstream = Upstream::start();
    let limits = "rate_limits: [{limit: 60/h, burst: 4}, {limit: 60/h, burst: 2, endpoints: [outnum]}]";
    let gateway = Gateway::to(&upstream).crm(limits).start();
    assert_eq!(gateway.post(OUTNUM, "").await.status, 200);
    let answer = gateway.post(OUTNUM, "").await;
    assert_eq!(answer.header("ratelimit-policy").matches(";q=60").count(), 2, "{answer:?}");
    assert_eq!(parameter(answer.header("ratelimit"), "r"), 0, "{answer:?}");
    gateway.post(OUTNUM, "").await.refused(429, -42901, "rate_limited");
    // The refused one took nothing from the wider limit.
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    gateway.post(TASKLIST, "{}").await.refused(429, -42901, "rate_limited");
}

#[tokio::test]
async fn apps_have_limits_of_their_own() {
    let upstream = Upstream::start();
    let apps = "
apps:
  - {name: a, networks: [127.0.0.2], rate_limits: [{limit: 60/h, burst: 1}]}
  - {name: b, networks: [127.0.0.0/8]}
";
    let gateway = Gateway::to(&upstream).with(apps).start();
    assert_eq!(gateway.ask(post(TASKLIST, "{}").from("127.0.0.2")).await.status, 200);
    assert_eq!(gateway.ask(post(TASKLIST, "{}").from("127.0.0.2")).await.status, 429);
    for _ in 0..5 {
        let answer = gateway.post(TASKLIST, "{}").await;
        assert_eq!(
            (answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")),
            (200, "", "")
        );
    }
}

#[tokio::test]
async fn every_answer_of_a_limited_app_tells_its_limits() {
    let upstream = Upstream::start();
    let app = "rate_limits: [{limit: 1000/s}], app_ids: [\"1\"], endpoints: [tasklist], max_in_flight: 1";
    let gateway = Gateway::to(&upstream).crm(app).with("limits: {max_body: 1KiB}").start();
    for (ask, status) in [
        (post(TASKLIST, r#"{"app_id":"1"}"#), 200),
        (post(TASKLIST, r#"{"app_id":"2"}"#), 403),
        (post(TASKLIST, bytes(2000)), 413),
        (post(SYNCPROMPT, "{}"), 403),
        (get(TASKLIST), 405),
        (get("/nowhere"), 404),
    ] {
        let answer = gateway.ask(ask).await;
        assert_eq!(answer.status, status);
        assert!(!answer.header("ratelimit-policy").is_empty(), "{answer:?}");
        assert!(!answer.header("ratelimit").is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_limit_with_max_wait_delays_before_it_refuses() {
    let upstream = Upstream::start();
    let app = "rate_limits: [{limit: 10/s, burst: 1, max_wait: 250ms}]";
    let gateway = Gateway::to(&upstream).crm(app).start();
    let started = Instant::now();
    let asks = (0..6).map(|_| gateway.post(TASKLIST, "{}"));
    let statuses: Vec<u16> = futures_util::future::join_all(asks).await.iter().map(|a| a.status).collect();
    // At once, after 100 ms, after 200 ms; the others would have to wait longer than they may.
    let let_in = statuses.iter().filter(|status| **status == 200).count();
    assert!((3..=4).contains(&let_in), "{statuses:?}");
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    assert!(started.elapsed() >= Duration::from_millis(195), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_delayed_request_counts_as_under_way_until_its_client_goes() {
    let upstream = Upstream::start();
    let app = "rate_limits: [{limit: 1/m, burst: 1, max_wait: 2m}], max_in_flight: 1";
    let gateway = Gateway::to(&upstream).crm(app).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    let mut line = gateway.line().await;
    line.send(post(TASKLIST, "{}").to_bytes()).await;
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 1.0).await;
    gateway.post(TASKLIST, "{}").await.refused(429, -42902, "too_many_in_flight");
    drop(line);
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn all_apps_together_have_a_limit() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("limits: {global: {limit: 60/h, burst: 2}}").start();
    for _ in 0..2 {
        assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    }
    let answer = gateway.post(TASKLIST, "{}").await;
    answer.refused(429, -42901, "rate_limited");
    assert!(!answer.header("retry-after").is_empty());
}

#[tokio::test]
async fn an_app_has_so_many_requests_under_way_and_no_more() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).crm("max_in_flight: 2").start();
    let (mut one, mut two) = (gateway.line().await, gateway.line().await);
    one.send(post(TASKLIST, "{}").to_bytes()).await;
    two.send(post(TASKLIST, "{}").to_bytes()).await;
    let (mut first, mut second) = (upstream.accept().await, upstream.accept().await);
    let answer = gateway.post(TASKLIST, "{}").await;
    answer.refused(429, -42902, "too_many_in_flight");
    assert!(!answer.header("retry-after").is_empty());
    for server in [&mut first, &mut second] {
        server.request().await.unwrap();
        server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    }
    assert_eq!((one.answer().await.status, two.answer().await.status), (200, 200));
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn an_answer_that_is_being_streamed_is_still_under_way() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).crm("max_in_flight: 1").start();
    let mut line = gateway.line().await;
    line.send(get("/coeus/a.wav").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await;
    line.head().await.unwrap();
    assert_eq!(line.exactly(2).await, b"ab");
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 1.0).await;
    gateway.post(TASKLIST, "{}").await.refused(429, -42902, "too_many_in_flight");
    server.send("cd").await;
    assert_eq!(line.exactly(2).await, b"cd");
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn past_max_in_flight_of_the_upstream_requests_are_refused_at_once() {
    let upstream = Upstream::scripted(|_| Act::Hang);
    let gateway = Gateway::to(&upstream).with("upstream: {max_in_flight: 1}").start();
    let mut line = gateway.line().await;
    line.send(post(TASKLIST, "{}").to_bytes()).await;
    upstream.has_seen(1).await;
    gateway.post(TASKLIST, "{}").await.refused(503, -50301, "overloaded");
    drop(line);
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_its_announcement() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("limits: {max_body: 1KiB}").start();
    assert_eq!(gateway.post(TASKLIST, bytes(1024)).await.status, 200);
    let mut line = gateway.line().await;
    // Nothing of the body is sent, and nothing of it awaited.
    line.send(format!("POST {TASKLIST} HTTP/1.1\r\nhost: g\r\ncontent-length: 1025\r\n\r\n")).await;
    line.answer().await.refused(413, -41301, "body_too_large");
    line.closed().await;
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_cut_off() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("limits: {max_body: 100KiB}").start();
    let mut line = gateway.line().await;
    line.send(format!("POST {OUTNUM} HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n")).await;
    let chunk = [b"8000\r\n", &bytes(0x8000)[..], b"\r\n"].concat();
    for _ in 0..8 {
        drop(line.try_send(&chunk).await);
    }
    line.answer().await.refused(413, -41301, "body_too_large");
    line.closed().await;
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_refused_without_its_body() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("limits: {max_body: 1KiB}").start();
    let mut line = gateway.line().await;
    let head = |length: u32| {
        format!(
            "POST {TASKLIST} HTTP/1.1\r\nhost: g\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    line.send(head(2)).await;
    assert!(line.head().await.unwrap().starts_with("HTTP/1.1 100"));
    line.send("{}").await;
    assert_eq!(line.answer().await.status, 200);
    line.send(head(5000)).await;
    assert!(line.head().await.unwrap().starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn heads_over_the_limits_are_refused() {
    let upstream = Upstream::start();
    let limits = "limits: {max_headers: 20, max_header_size: 16KiB}";
    let gateway = Gateway::to(&upstream).with(limits).start();
    let many =
        |count: usize| (0..count).fold(post(TASKLIST, "{}"), |ask, n| ask.header(&format!("x-{n}"), n));
    assert_eq!(gateway.ask(many(17)).await.status, 200);
    gateway.ask(many(18)).await.refused(431, -43101, "headers_too_large");
    let large = |size: usize| post(TASKLIST, "{}").header("x-large", "x".repeat(size));
    assert_eq!(gateway.ask(large(15_000)).await.status, 200);
    gateway.ask(large(16_384)).await.refused(431, -43101, "headers_too_large");
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_target_over_the_limit_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    let target = |size: usize| format!("{TASKLIST}?{}", "x".repeat(size - TASKLIST.len() - 1));
    assert_eq!(gateway.post(&target(8192), "{}").await.status, 200);
    for size in [8193, 70_000] {
        gateway.post(&target(size), "{}").await.refused(414, -41401, "target_too_long");
    }
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("limits: {header_timeout: 200ms}").start();
    let mut line = gateway.line().await;
    line.send("POST / HT").await;
    line.answer().await.refused(408, -40801, "request_timeout");
    line.closed().await;
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with("limits: {body_idle_timeout: 200ms}").start();
    for length in [10, 1_000_000] {
        let mut line = gateway.line().await;
        line.send(format!("POST {TASKLIST} HTTP/1.1\r\nhost: g\r\ncontent-length: {length}\r\n\r\nabc"))
            .await;
        line.answer().await.refused(408, -40801, "request_timeout");
        line.closed().await;
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn refusals_come_in_their_order() {
    let upstream = Upstream::start();
    let apps = "
apps:
  - name: crm
    networks: [127.0.0.2]
    token: t
    endpoints: [tasklist]
    app_ids: [\"1\"]
    rate_limits: [{limit: 1/h, burst: 2}]
limits: {max_body: 1KiB}
";
    let gateway = Gateway::to(&upstream).with(apps).start();
    let large = bytes(2000);
    let everything_wrong = |path, method| request(method, path).body(&large);
    let mine = |path, method| everything_wrong(path, method).from("127.0.0.2").token("t");
    let ask = |ask| gateway.ask(ask);
    ask(everything_wrong("/nowhere", "PUT")).await.refused(403, -40301, "not_allowed");
    ask(everything_wrong("/nowhere", "PUT").from("127.0.0.2")).await.refused(401, -40101, "bad_token");
    ask(mine("/nowhere", "PUT")).await.refused(404, -40401, "unknown_endpoint");
    ask(mine(OUTNUM, "PUT")).await.refused(405, -40501, "method_not_allowed");
    ask(mine(OUTNUM, "POST")).await.refused(403, -40302, "endpoint_not_allowed");
    // Twice let in by the limit, which then is used up.
    ask(mine(TASKLIST, "POST")).await.refused(413, -41301, "body_too_large");
    let foreign = post(TASKLIST, r#"{"app_id":"2"}"#).from("127.0.0.2").token("t");
    ask(foreign).await.refused(403, -40303, "app_id_not_allowed");
    ask(mine(TASKLIST, "POST")).await.refused(429, -42901, "rate_limited");
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_its_next_request() {
    let upstream = Upstream::scripted(|_| ok());
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    for _ in 0..3 {
        assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
    }
    assert_eq!(upstream.accepted(), 1);
    eventually(async || {
        gateway.metrics().await.value(r#"xinyao_upstream_connections{source_ip="any",state="idle"}"#)
            == Some(1.0)
    })
    .await;
}
