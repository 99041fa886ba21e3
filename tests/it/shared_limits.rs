//! Limits that several gateways share: together they let in what one would, and without Redis each its share.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::{Either, join_all, select};

use serde_json::Value;

use crate::support::{
    Act, Authority, Binary, Gateway, Line, OUTNUM, Redis, TASKLIST, Upstream, answer, eventually, get, post,
    within,
};

/// As many gateways before `upstream`, which share the limits of `crm` through `redis`.
async fn gateways<const N: usize>(upstream: &Upstream, redis: &Redis, crm: &str) -> [Gateway; N] {
    gateways_with(upstream, redis, crm, "{}").await
}

/// Likewise, with `more` in their files.
async fn gateways_with<const N: usize>(
    upstream: &Upstream,
    redis: &Redis,
    crm: &str,
    more: &str,
) -> [Gateway; N] {
    let gateways = [(); N].map(|()| Gateway::to(upstream).crm(crm).with(redis.limits()).with(more).start());
    for gateway in &gateways {
        share(gateway, true).await;
    }
    gateways
}

/// How many requests of `clients` for each of `gateways`, which ask again and again for so long, are let in, and how many
/// there were.
async fn crowd(gateways: &[Gateway], clients: usize, until: Instant) -> (f64, f64) {
    let counts = join_all((0..gateways.len() * clients).map(async |client| {
        let (mut let_in, mut asked) = (0_u32, 0_u32);
        while Instant::now() < until {
            let answer = gateways[client % gateways.len()].post(TASKLIST, "{}").await;
            assert!(matches!(answer.status, 200 | 429), "{answer:?}");
            asked += 1;
            let_in += u32::from(answer.status == 200);
        }
        (let_in, asked)
    }));
    let (let_in, asked): (Vec<u32>, Vec<u32>) = counts.await.into_iter().unzip();
    (f64::from(let_in.iter().sum::<u32>()), f64::from(asked.iter().sum::<u32>()))
}

/// Sends requests through `gateway` until one is not refused but `taken`; the line that it waits on, and what took it.
async fn until_taken<T>(gateway: &Gateway, taken: impl AsyncFn() -> T) -> (Line, T) {
    let trying = async {
        loop {
            let mut line = gateway.line().await;
            line.send(post(TASKLIST, "{}").to_bytes()).await;
            let took = {
                let (taken, answer) = (pin!(taken()), pin!(line.answer()));
                match select(taken, answer).await {
                    Either::Left((took, _)) => Some(took),
                    Either::Right(_) => None,
                }
            };
            if let Some(took) = took {
                return (line, took);
            }
        }
    };
    within(trying).await
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
    let (let_in, asked) = crowd(&gateways, 4, began + Duration::from_secs(3)).await;
    let may = 100.0 + 200.0 * began.elapsed().as_secs_f64();
    // A machine that is slow asks for less.
    let least = 0.8 * may.min(asked);
    // One that waits for Redis for too long goes by its own part of the limit.
    assert!((least..=1.05 * may).contains(&let_in), "{let_in} of {may}, {asked} asked");
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
    // At once, after 100 ms, after 200 ms; the others would have to wait longer than they may, unless they came late.
    let may = 1.0 + 10.0 * began.elapsed().as_secs_f64();
    assert!(let_in >= 2 && let_in as f64 <= may, "{statuses:?}, {may}");
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
    took[1..].sort();
    assert!(took[10] < Duration::from_millis(90), "{took:?}");
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
async fn so_many_are_under_way_with_all_and_no_more() {
    let (upstream, redis) = (Upstream::by_hand(), Redis::start());
    let gateways: [Gateway; 2] = gateways(&upstream, &redis, "max_in_flight: 2").await;
    let (mut one, mut two) = (gateways[0].line().await, gateways[1].line().await);
    one.send(post(TASKLIST, "{}").to_bytes()).await;
    let mut server = upstream.accept().await;
    two.send(post(TASKLIST, "{}").to_bytes()).await;
    let _other = upstream.accept().await;
    for gateway in &gateways {
        gateway.post(TASKLIST, "{}").await.refused(429, -42902, "too_many_in_flight");
    }
    server.request().await.unwrap();
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!(one.answer().await.status, 200);
    // What one does not use, the other has.
    let (_third, _server) = until_taken(&gateways[1], async || upstream.accept().await).await;
    gateways[0].post(TASKLIST, "{}").await.refused(429, -42902, "too_many_in_flight");
}

#[tokio::test]
async fn what_a_killed_gateway_had_under_way_comes_free() {
    let (upstream, redis) = (Upstream::scripted(|_| Act::Hang), Redis::start());
    let [gateway]: [Gateway; 1] = gateways(&upstream, &redis, "max_in_flight: 1").await;
    let other = Binary::run(Gateway::to(&upstream).crm("max_in_flight: 1").with(redis.limits()));
    let status = async || get("/api/v1/status").send(other.admin).await.json();
    eventually(async || status().await["limits"]["shared"]["up"] == true).await;
    let mut line = Line::to(other.proxy).await;
    line.send(post(TASKLIST, "{}").to_bytes()).await;
    upstream.has_seen(1).await;
    gateway.post(TASKLIST, "{}").await.refused(429, -42902, "too_many_in_flight");
    other.signal("KILL");
    until_taken(&gateway, async || upstream.has_seen(2).await).await;
}

#[tokio::test]
async fn all_apps_of_all_gateways_together_have_a_limit() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let limits = "limits: {global: {limit: 60/h, burst: 5}}";
    let gateways: [Gateway; 2] = gateways_with(&upstream, &redis, "weight: 1", limits).await;
    assert_eq!(let_in(&gateways, 4).await, 5);
    let answer = gateways[0].post(TASKLIST, "{}").await;
    answer.refused(429, -42901, "rate_limited");
    assert!((1..=61).contains(&answer.header("retry-after").parse().unwrap()), "{answer:?}");
}

#[tokio::test]
async fn who_waits_has_a_turn_on_whichever_gateway() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let limits = "limits: {global: {limit: 30/s, burst: 10, max_wait: 2s}}";
    let gateways: [Gateway; 2] = gateways_with(&upstream, &redis, "weight: 1", limits).await;
    let began = Instant::now();
    let (let_in, _) = crowd(&gateways, 4, began + Duration::from_secs(3)).await;
    let may = 10.0 + 30.0 * began.elapsed().as_secs_f64();
    assert!((0.6 * may..=1.0 + may).contains(&let_in), "{let_in} of {may}");
    let refused = gateways[0].metrics().await.sum("xinyao_rate_limited_total{");
    assert!(refused < 1.0, "{refused} did not have a turn");
}

#[tokio::test]
async fn what_the_saas_asks_one_gateway_for_all_heed() {
    let upstream = Upstream::scripted(|_| answer("429 Too Many Requests", "", "{}"));
    let redis = Redis::start();
    let gateways: [Gateway; 2] = gateways(&upstream, &redis, "weight: 1").await;
    let allowed =
        async |gateway: &Gateway| gateway.status().await["global"]["allowed_per_second"].as_f64().unwrap();
    assert!(allowed(&gateways[1]).await > 1999.0);
    for _ in 0..5 {
        assert_eq!(gateways[0].post(TASKLIST, "{}").await.status, 429);
    }
    for gateway in &gateways {
        eventually(async || allowed(gateway).await < 200.0).await;
    }
    // It rises with time: long ago, it is as if it had never been.
    redis.cli("HSET xinyao:{*}:slowed since 1");
    for gateway in &gateways {
        eventually(async || allowed(gateway).await > 1999.0).await;
    }
}

#[tokio::test]
async fn without_redis_who_waits_has_a_turn_all_the_same() {
    let (upstream, redis) = (Upstream::start(), Redis::start());
    let limits = format!(
        "limits: {{global: {{limit: 100/s, burst: 2, max_wait: 2s}}, shared: {{url: \"{}\", timeout: 200ms}}}}",
        redis.url()
    );
    let gateway = Gateway::to(&upstream).with(limits).start();
    share(&gateway, true).await;
    redis.freeze();
    let began = Instant::now();
    let answers = join_all((0..20).map(|_| gateway.post(TASKLIST, "{}"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    redis.resume();
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
async fn the_certificate_of_redis_is_looked_at() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let pair = authority.pair("127.0.0.9");
    let redis = Redis::secured(pair.certificate(), pair.key());
    let told = async |gateway: &Binary| {
        let status = get("/api/v1/status").send(gateway.admin).await;
        serde_json::from_slice::<Value>(&status.body).unwrap()["limits"]["shared"].clone()
    };
    let unknown = Binary::run(Gateway::to(&upstream).with(redis.limits()));
    eventually(async || told(&unknown).await["error"].to_string().contains("certificate")).await;
    let believes = format!("export SSL_CERT_FILE='{}'; exec \"$0\" \"$@\"", authority.file());
    let known = Binary::run_as(Gateway::to(&upstream).with(redis.limits()), &believes);
    eventually(async || told(&known).await["up"] == true).await;
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
