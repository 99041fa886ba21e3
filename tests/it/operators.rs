//! The operators' listener, as far as the proxy shows in it.

use crate::support::{Gateway, Line, Sandbox, TASKLIST, Upstream, eventually, get, post, request};

#[tokio::test]
async fn health_and_readiness_need_no_token() {
    let gateway = Gateway::to(&Upstream::start()).with("admin: {token: t}").start();
    assert_eq!(gateway.operate("/healthz").await.status, 200);
    let ready = gateway.operate("/readyz").await;
    assert_eq!(ready.status, 200);
    for (name, check) in ready.json()["checks"].as_object().unwrap() {
        assert_eq!(check["ok"], true, "{name}: {ready:?}");
    }
}

#[tokio::test]
async fn everything_else_wants_the_token_where_there_is_one() {
    let gateway = Gateway::to(&Upstream::start()).with("admin: {token: the-token}").start();
    for path in ["/metrics", "/openapi.json", "/api/v1/status", "/api/v1/config"] {
        for ask in [
            get(path),
            get(path).token("wrong"),
            get(path).token(""),
            get(path).header("authorization", "the-token"),
        ] {
            let answer = ask.send(gateway.admin).await;
            assert_eq!(
                (answer.status, answer.header("content-type")),
                (401, "application/problem+json"),
                "{answer:?}"
            );
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{answer:?}");
            assert_eq!(answer.json()["status"], 401);
        }
        assert_eq!(get(path).token("the-token").send(gateway.admin).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_a_problem_too() {
    let gateway = Gateway::to(&Upstream::start()).start();
    let many = format!("GET /healthz HTTP/1.1\r\nhost: g\r\n{}\r\n", "x: y\r\n".repeat(101));
    for (bytes, status) in [("GET /healthz HTTP/1.1\r\nx y\r\n\r\n", 400), (many.as_str(), 431)] {
        let mut line = Line::to(gateway.admin).await;
        line.send(bytes).await;
        let answer = line.answer().await;
        assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"));
        assert_eq!(answer.json()["status"], status);
    }
}

#[tokio::test]
async fn errors_are_problem_json() {
    let gateway = Gateway::to(&Upstream::start()).start();
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/nowhere", 404),
        ("DELETE", "/healthz", 405),
        ("POST", "/metrics", 405),
    ] {
        let answer = request(method, path).send(gateway.admin).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "application/problem+json"),
            "{answer:?}"
        );
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string(), "{problem}");
        if status == 405 {
            assert!(!answer.header("allow").is_empty(), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn the_proxys_metrics_are_there() {
    let sandbox = Sandbox::start().await;
    let gateway = Gateway::before(&sandbox).crm("rate_limits: [{limit: 1/h, burst: 1}]").start();
    gateway.post(TASKLIST, r#"{"app_id":"a","page_num":1,"page_size":10}"#).await;
    gateway.post(TASKLIST, "{}").await;
    gateway
        .counts(r#"xinyao_requests_total{app="crm",endpoint="tasklist",status="200",outcome="ok"}"#, 1.0)
        .await;
    gateway.counts(r#"xinyao_requests_total{app="crm",endpoint="tasklist",status="429",outcome="rejected_rate_limited"}"#, 1.0).await;
    let metrics = gateway.metrics().await;
    for line in [
        r#"xinyao_request_duration_seconds_count{endpoint="tasklist"}"#,
        r#"xinyao_gateway_overhead_seconds_count{endpoint="tasklist"}"#,
        r#"xinyao_upstream_connections{source_ip="any",state="idle"}"#,
        r#"xinyao_upstream_code_total{endpoint="tasklist",code="0"}"#,
        r#"xinyao_in_flight{app="crm"}"#,
        r#"xinyao_rate_limited_total{app="crm",endpoint="tasklist"}"#,
        "xinyao_clock_skew_seconds",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(metrics.value(line).is_some(), "{line} is not in\n{}", metrics.0);
    }
    assert!(metrics.0.contains("# TYPE xinyao_requests") && metrics.0.contains("# HELP xinyao_requests"));
}

#[tokio::test]
async fn no_label_is_a_string_of_a_clients() {
    let gateway = Gateway::to(&Upstream::start()).with("upstream: {extra_paths: [/new]}").start();
    let ask = request("CANARY", "/new/canary?canary=canary")
        .header("user-agent", "canary")
        .header("x-request-id", "canary");
    gateway.ask(ask).await;
    gateway.ask(request("CANARY", "/canary")).await;
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
    let metrics = gateway.metrics().await.0;
    assert!(
        metrics.contains("xinyao_requests_total{") && !metrics.to_lowercase().contains("canary"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_is_no_request_is_counted_too() {
    let gateway = Gateway::to(&Upstream::start()).start();
    gateway.raw("GET / HTTP/1.1\r\n\r\n").await.refused(400, -40001, "invalid_request");
    gateway.counts(r#"xinyao_requests_total{app="none",endpoint="none",status="400",outcome="rejected_invalid_request"}"#, 1.0).await;
}

#[tokio::test]
async fn status_tells_how_things_stand() {
    let upstream = Upstream::start();
    let egress = "egress: {allowed_ips: [127.0.0.1], source_ips: [127.0.0.1]}";
    let gateway = Gateway::to(&upstream).with(egress).start();
    gateway.post(TASKLIST, "{}").await;
    let status = gateway.status().await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_seconds"].is_u64());
    assert_eq!(status["config"]["outcome"], "ok");
    assert!(status["clock_skew_seconds"].is_number());
    assert_eq!(status["egress"]["allowed_ips"][0], "127.0.0.1");
    let api = &status["upstreams"][0];
    assert_eq!((&api["url"], &api["healthy"]), (&upstream.url().into(), &true.into()), "{status}");
    assert_eq!(api["addresses"][0], upstream.address.to_string());
}

#[tokio::test]
async fn the_running_configuration_shows_no_secret() {
    let file = "
credentials: {default: {apikey: canary-key, apisecret: canary-secret}}
admin: {token: canary-admin}
callbacks: {key: [canary-callbacks-0123456789]}
egress: {proxy: \"socks5://user:canary-proxy@127.0.0.1:1\"}
subscribers: [{name: s, url: \"http://127.0.0.1:1/x\", signing_secret: whsec_Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5, headers: {x-key: canary-header}}]
";
    let gateway = Gateway::to(&Upstream::start()).with(file).crm("token: canary-token").start();
    let answer = get("/api/v1/config").token("canary-admin").send(gateway.admin).await;
    let text = answer.text();
    assert!(!text.contains("canary") && !text.contains("Y2FuYXJ5"), "{text}");
    let config = answer.json();
    assert_eq!(config["credentials"]["default"]["apisecret"], "***", "{text}");
    assert_eq!(config["apps"][0]["name"], "crm");
    assert_eq!(config["limits"]["max_body"].as_str(), Some("64MiB"), "defaults are shown: {text}");
}

#[tokio::test]
async fn the_openapi_document_has_the_endpoints() {
    let gateway = Gateway::to(&Upstream::start()).start();
    let document = gateway.operate("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with('3'), "{document}");
    assert!(document["paths"][TASKLIST]["post"].is_object());
    assert!(document["paths"]["/api/v1/status"]["get"].is_object());
}

#[tokio::test]
async fn requests_under_way_show_while_they_are() {
    let upstream = Upstream::by_hand();
    let gateway = Gateway::to(&upstream).start();
    let mut line = gateway.line().await;
    line.send(post(TASKLIST, "{}").to_bytes()).await;
    let mut server = upstream.accept().await;
    server.request().await.unwrap();
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 1.0).await;
    gateway.counts(r#"xinyao_upstream_connections{source_ip="any",state="active"}"#, 1.0).await;
    server.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    line.answer().await;
    gateway.counts(r#"xinyao_in_flight{app="crm"}"#, 0.0).await;
    gateway.counts(r#"xinyao_upstream_connections{source_ip="any",state="idle"}"#, 1.0).await;
}

#[tokio::test]
async fn apps_show_how_much_of_their_limits_is_used() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream)
        .crm("token: sesame, max_in_flight: 9, rate_limits: [{limit: 60/h, burst: 5, endpoints: [tasklist]}]")
        .start();
    for _ in 0..2 {
        let ask = post(TASKLIST, r#"{"app_id":"a","page_no":1,"page_size":1}"#);
        assert_eq!(gateway.ask(ask.token("sesame")).await.status, 200);
    }
    let apps = async || gateway.operate("/api/v1/apps").await.json();
    eventually(async || apps().await["apps"][0]["requests"]["ok"] == 2).await;
    let told = apps().await;
    let crm = &told["apps"][0];
    assert_eq!(
        (&crm["name"], &crm["in_flight"], &crm["max_in_flight"]),
        (&"crm".into(), &0.into(), &9.into())
    );
    let limit = &crm["limits"][0];
    for (key, value) in [("limit", 60), ("per_seconds", 3600), ("burst", 5), ("remaining", 3)] {
        assert_eq!(limit[key], value, "{key}: {limit}");
    }
    assert_eq!(limit["endpoints"][0], "tasklist");
    assert_eq!(crm["token"], true, "whether there is one, and not which");
    assert!(!told.to_string().contains("sesame"));
}

#[tokio::test]
async fn the_last_hour_comes_in_samples() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).start();
    gateway.post(TASKLIST, r#"{"app_id":"a"}"#).await;
    gateway.ask(get("/nowhere")).await;
    let mut history = gateway.operate("/api/v1/history").await.json();
    assert_eq!(history["samples"].as_array().unwrap().len(), 0);
    eventually(async || {
        history = gateway.operate("/api/v1/history").await.json();
        history["samples"].as_array().is_some_and(|samples| !samples.is_empty())
    })
    .await;
    let sample = &history["samples"][0];
    assert_eq!(
        (&sample["requests"]["ok"], &sample["requests"]["rejected"]),
        (&1.into(), &1.into()),
        "{sample}"
    );
    assert!(sample["latency_ms"]["p50"].is_number(), "{sample}");
    assert_eq!(history["errors"][0]["code"], "unknown_endpoint");
    let wrong = gateway.operate("/api/v1/history?since=yesterday").await;
    assert_eq!(wrong.status, 400);
}
