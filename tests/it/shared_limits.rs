//! Limits that several gateways share: together they let in what one would, and without Redis each its share.

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::support::{Gateway, OUTNUM, Redis, TASKLIST, Upstream, eventually, post};

/// As many gateways before `upstream`, which share the limits of `crm` through `redis`.
async fn gateways<const N: usize>(upstream: &Upstream, redis: &Redis, crm: &str) -> [Gateway; N] {
    let gateways = [(); N].map(|()| Gateway::to(upstream).crm(crm).with(redis.limits()).start());
    for gateway in &gateways {
        share(gateway, true).await;
    }
    gateways
}

/// Waits until `gateway` shares its limits, or no longer does.
async fn share(gateway: &Gateway, up: bool) {
    eventually(async || gateway.status().await["limits"]["shared"]["up"] == up).await;
}

/// How many of `count` requests that come to each of `gateways` one after the other are let in.
async fn let_in(gateways: &[Gateway], count: usize) -> usize {
    let mut let_in = 0;
    for _ in 0..count {
        for gateway in gateways {
            let answer = gateway.post(TASKLIST, "{}").await;
            assert!(matches!(answer.status, 200 | 429), "{answer:?}");
            let_in += usize::from(answer.status == 200);
        }
    }
    let_in
}

#[tokio::test]
async fn rare_requests_are_counted_to_the_last_one() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let gateways: [Gateway; 3] = gateways(&upstream, &redis, "rate_limits: [{limit: 7/h, burst: 7}]").await;
    assert_eq!(let_in(&gateways, 5).await, 7);
    let answer = gateways[2].post(TASKLIST, "{}").await;
    answer.refused(429, -42901, "rate_limited");
    assert!((1..=520).contains(&answer.header("retry-after").parse().unwrap()), "{answer:?}");
    assert_eq!(answer.header("ratelimit-policy"), "\"all\";q=7;w=3600");
    assert!(answer.header("ratelimit").starts_with("\"all\";r=0;t="), "{answer:?}");
}

#[tokio::test]
async fn what_is_left_is_told_as_all_count_it() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let gateways: [Gateway; 2] = gateways(&upstream, &redis, "rate_limits: [{limit: 60/h, burst: 4}]").await;
    for (gateway, left) in [(0, 3), (1, 2), (0, 1), (1, 0)] {
        let answer = gateways[gateway].post(TASKLIST, "{}").await;
        assert!(answer.header("ratelimit").contains(&format!("r={left};")), "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_that_one_limit_refuses_is_charged_to_none() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let crm = "rate_limits: [{limit: 60/h, burst: 4}, {limit: 60/h, burst: 1, endpoints: [outnum]}]";
    let gateways: [Gateway; 2] = gateways(&upstream, &redis, crm).await;
    assert_eq!(gateways[0].post(OUTNUM, "").await.status, 200);
    for gateway in [&gateways[0], &gateways[1], &gateways[0]] {
        let answer = gateway.post(OUTNUM, "").await;
        answer.refused(429, -42901, "rate_limited");
        assert!(answer.header("ratelimit").starts_with("\"outnum\";r=0"), "{answer:?}");
    }
    assert_eq!(let_in(&gateways, 3).await, 3);
}

#[tokio::test]
async fn busy_gateways_keep_to_the_rate_together() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let gateways: [Gateway; 3] =
        gateways(&upstream, &redis, "rate_limits: [{limit: 200/s, burst: 100}]").await;
    let began = Instant::now();
    let until = began + Duration::from_secs(3);
    let counts = join_all((0..12).map(async |client| {
        let mut let_in = 0_u32;
        while Instant::now() < until {
            let answer = gateways[client % 3].post(TASKLIST, "{}").await;
            assert!(matches!(answer.status, 200 | 429), "{answer:?}");
            let_in += u32::from(answer.status == 200);
        }
        let_in
    }));
    let let_in = f64::from(counts.await.iter().sum::<u32>());
    let may = 100.0 + 200.0 * began.elapsed().as_secs_f64();
    assert!((0.95 * may..=1.0 + may).contains(&let_in), "{let_in} of {may}");
    // Most waited for nobody.
    for gateway in &gateways {
        let calls = gateway.metrics().await.sum("xinyao_shared_limits_round_trip_seconds_count");
        assert!(calls < 1000.0, "{calls}");
    }
}

#[tokio::test]
async fn what_is_not_used_goes_back() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let gateways: [Gateway; 2] =
        gateways(&upstream, &redis, "rate_limits: [{limit: 400/h, burst: 400}]").await;
    assert_eq!(let_in(&gateways[..1], 200).await, 200);
    // However many it fetched ahead, the other gets the rest.
    let mut rest = 0;
    eventually(async || {
        rest += let_in(&gateways[1..], 1).await;
        rest == 200
    })
    .await;
    assert_eq!(let_in(&gateways, 5).await, 0);
}

#[tokio::test]
async fn a_limit_may_delay_before_it_refuses() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let crm = "rate_limits: [{limit: 10/s, burst: 1, max_wait: 250ms}]";
    let gateways: [Gateway; 2] = gateways(&upstream, &redis, crm).await;
    let began = Instant::now();
    let asks = (0..6).map(|at| gateways[at % 2].post(TASKLIST, "{}"));
    let statuses: Vec<u16> = join_all(asks).await.iter().map(|answer| answer.status).collect();
    let let_in = statuses.iter().filter(|status| **status == 200).count();
    assert!((3..=4).contains(&let_in), "{statuses:?}");
    assert!(began.elapsed() >= Duration::from_millis(195), "{:?}", began.elapsed());
}

#[tokio::test]
async fn without_redis_each_has_its_share_and_nobody_an_error() {
    let (upstream, mut redis) = (Upstream::start(), Redis::start());
    let gateways: [Gateway; 2] = gateways(&upstream, &redis, "rate_limits: [{limit: 20/h, burst: 20}]").await;
    assert_eq!(let_in(&gateways, 5).await, 10);
    redis.kill();
    // Half of twenty, each.
    assert_eq!(let_in(&gateways, 20).await, 20);
    for gateway in &gateways {
        share(gateway, false).await;
        let metrics = gateway.metrics().await;
        assert_eq!(metrics.value("xinyao_shared_limits_up"), Some(0.0));
        assert_eq!(metrics.value("xinyao_shared_limits_fallback_total"), Some(20.0));
        assert_eq!(gateway.operate("/readyz").await.status, 200);
        let error = gateway.status().await["limits"]["shared"]["error"].to_string();
        assert!(error.len() > 4, "{error}");
    }
    redis.run_again();
    for gateway in &gateways {
        share(gateway, true).await;
    }
    // It has lost all that was counted.
    assert_eq!(let_in(&gateways, 20).await, 20);
}

#[tokio::test]
async fn a_redis_that_does_not_answer_delays_nobody_for_long() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let limits = format!("limits: {{shared: {{url: \"{}\", timeout: 100ms}}}}", redis.url());
    let gateway =
        Gateway::to(&upstream).crm("rate_limits: [{limit: 1000/h, burst: 1000}]").with(limits).start();
    share(&gateway, true).await;
    redis.freeze();
    let mut line = gateway.line().await;
    let mut took = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
        took.push(began.elapsed());
    }
    // The first waits for its time to be up; from then on nobody does.
    assert!(took[0] >= Duration::from_millis(90), "{took:?}");
    assert!(took[1..].iter().sum::<Duration>() < Duration::from_millis(600), "{took:?}");
    share(&gateway, false).await;
    redis.resume();
    share(&gateway, true).await;
    redis.cli("CLIENT PAUSE 500");
    for _ in 0..20 {
        assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
    }
    share(&gateway, true).await;
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_loaded_again() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let gateways: [Gateway; 1] = gateways(&upstream, &redis, "rate_limits: [{limit: 6/h, burst: 6}]").await;
    assert_eq!(let_in(&gateways, 2).await, 2);
    assert_eq!(redis.cli("SCRIPT FLUSH"), "OK\n");
    assert_eq!(let_in(&gateways, 10).await, 4);
    let metrics = gateways[0].metrics().await;
    assert_eq!(metrics.value("xinyao_shared_limits_fallback_total"), Some(0.0));
}

#[tokio::test]
async fn a_password_is_asked_for_and_never_shown() {
    let (upstream, redis) = (Upstream::start(), Redis::with("hush-hush"));
    let gateway = Gateway::to(&upstream).crm("rate_limits: [{limit: 6/h, burst: 6}]");
    let without = format!("limits: {{shared: \"redis://{}\"}}", redis.address);
    let stranger = gateway.with(without).start();
    let error = async || stranger.status().await["limits"]["shared"]["error"].to_string();
    eventually(async || error().await.contains("NOAUTH")).await;
    assert_eq!(stranger.post(TASKLIST, "{}").await.status, 200);
    let [gateway]: [Gateway; 1] = gateways(&upstream, &redis, "rate_limits: [{limit: 6/h, burst: 6}]").await;
    for path in ["/api/v1/status", "/api/v1/config", "/api/v1/apps", "/metrics"] {
        assert!(!gateway.operate(path).await.text().contains("hush"), "{path}");
    }
}

#[tokio::test]
async fn a_limit_that_was_changed_begins_anew_and_the_others_go_on() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let crm = "rate_limits: [{limit: 6/h, burst: 2, endpoints: [outnum]}, {limit: 60/h, burst: 5, endpoints: [tasklist]}]";
    let [mut gateway]: [Gateway; 1] = gateways(&upstream, &redis, crm).await;
    assert_eq!(gateway.post(OUTNUM, "").await.status, 200);
    assert_eq!(let_in(std::slice::from_ref(&gateway), 9).await, 5);
    let crm = "{name: crm, networks: [127.0.0.0/8], rate_limits: [{limit: 6/h, burst: 2, endpoints: [outnum]}, {limit: 60/h, burst: 3, endpoints: [tasklist]}]}";
    gateway.change(format!("apps: [{crm}]")).await;
    assert_eq!(gateway.post(OUTNUM, "").await.status, 200);
    assert_eq!(gateway.post(OUTNUM, "").await.status, 429);
    assert_eq!(let_in(std::slice::from_ref(&gateway), 9).await, 3);
    gateway.rewrite("limits: {shared: \"\"}");
    let told = gateway.reload().await.json();
    assert_eq!(told["restart_needed"][0], "limits.shared", "{told}");
}
