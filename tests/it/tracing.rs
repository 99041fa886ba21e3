//! Traces: what requests, callbacks and deliveries took, for a collector that nobody ever waits for.

use std::sync::Arc;

use xinyao_gateway::store::MemoryStore;

use crate::support::{
    Act, Collector, Gateway, OK, Span, TASKLIST, TOKEN, Upstream, answer, callback, nobody, ok, post,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const ABOVE: &str = "b7ad6b7169203331";
const NUMBER: &str = "13800138000";
const RECORD: &str = r#"{"bot_id":"1","call_sn":"9","calls":[{"number":"13800138000","state":775}]}"#;

fn parent(flags: &str) -> String {
    format!("00-{TRACE}-{ABOVE}-{flags}")
}

fn to(collector: &Collector) -> String {
    format!("tracing_otlp: {}", collector.url())
}

/// The one of `spans` of this subscriber's attempt.
#[track_caller]
fn attempt<'s>(spans: &'s [Span], subscriber: &str, number: &str) -> &'s Span {
    let of = |span: &&Span| {
        span.attribute("xinyao.subscriber") == subscriber && span.attribute("xinyao.attempt") == number
    };
    spans.iter().find(of).unwrap_or_else(|| panic!("no attempt {number} of {subscriber}: {spans:?}"))
}

#[tokio::test]
async fn a_request_is_below_its_apps_span_and_its_attempts_below_it() {
    let (collector, upstream) = (Collector::start(), Upstream::in_turn([Act::Close, ok()]));
    let gateway = Gateway::to(&upstream).with(to(&collector)).crm("token: a-token-of-the-apps").start();
    let ask = post(&format!("{TASKLIST}?number={NUMBER}"), format!(r#"{{"number":"{NUMBER}"}}"#))
        .header("traceparent", parent("01"))
        .header("tracestate", "inner=1")
        .header("baggage", "user=1")
        .header("x-request-id", NUMBER)
        .token("a-token-of-the-apps");
    assert_eq!(gateway.ask(ask).await.status, 200);

    let request = &collector.has("request", 1).await[0];
    assert_eq!((request.field("traceId"), request.field("parentSpanId")), (TRACE, ABOVE));
    assert_eq!((&request.0["kind"], request.field("traceState")), (&2.into(), "inner=1"));
    for (key, value) in [
        ("xinyao.app", "crm"),
        ("xinyao.endpoint", "tasklist"),
        ("xinyao.outcome", "ok"),
        ("xinyao.code", "0"),
        ("xinyao.attempts", "2"),
        ("xinyao.request_id", "138****8000"),
        ("http.request.method", "POST"),
        ("http.response.status_code", "200"),
    ] {
        assert_eq!(request.attribute(key), value, "{key}");
    }
    let attempts = collector.has("upstream attempt", 2).await;
    for (attempt, number) in attempts.iter().zip(["1", "2"]) {
        assert_eq!(
            (attempt.field("traceId"), attempt.field("parentSpanId")),
            (TRACE, request.field("spanId"))
        );
        assert_eq!((&attempt.0["kind"], attempt.attribute("xinyao.attempt")), (&3.into(), number));
        assert_eq!(attempt.attribute("network.peer.port"), upstream.address.port().to_string());
        assert!(attempt.took() <= request.took(), "{attempt:?} {request:?}");
    }
    let told: Vec<_> = attempts
        .iter()
        .map(|one| (one.failed(), one.attribute("error.type"), one.attribute("http.response.status_code")))
        .collect();
    assert_eq!(told, [(true, "lost", ""), (false, "", "200")]);

    for seen in upstream.seen() {
        for name in ["traceparent", "tracestate", "baggage"] {
            assert!(!seen.headers.contains_key(name), "{name} reached the SaaS");
        }
        let signature = seen.header("authorization").to_owned();
        for secret in [NUMBER, "a-token-of-the-apps", "secret", "user=1", &signature] {
            assert!(!collector.text().contains(secret), "{secret} was exported");
        }
    }
    gateway.counts("xinyao_spans_exported_total", 3.0).await;
    gateway.counts("xinyao_spans_dropped_total", 0.0).await;
}

#[tokio::test]
async fn an_attempt_tells_whether_its_connection_was_kept() {
    let (collector, upstream) = (Collector::start(), Upstream::start());
    let gateway = Gateway::to(&upstream)
        .with(to(&collector))
        .with("egress: {allowed_ips: [127.0.0.2], source_ips: [127.0.0.2]}")
        .start();
    let mut line = gateway.line().await;
    for _ in 0..2 {
        assert_eq!(post(TASKLIST, "{}").send_on(&mut line).await.status, 200);
    }
    let attempts = collector.has("upstream attempt", 2).await;
    let connections: Vec<_> = attempts.iter().map(|one| one.attribute("xinyao.connection")).collect();
    assert_eq!(connections, ["fresh", "kept"]);
    assert!(attempts.iter().all(|one| one.attribute("xinyao.source_ip") == "127.0.0.2"));
    assert_ne!(attempts[0].field("traceId"), attempts[1].field("traceId"), "each request begins a trace");
}

#[tokio::test]
async fn a_refusal_and_a_saas_out_of_reach_are_told() {
    let collector = Collector::start();
    let gateway = Gateway::at(&format!("http://{}", nobody())).with(to(&collector)).start();
    gateway.post(TASKLIST, "{}").await.refused(502, -50201, "upstream_unreachable");
    gateway.post("/nothing", "{}").await.refused(404, -40401, "unknown_endpoint");
    let requests = collector.has("request", 2).await;
    let told: Vec<_> = requests.iter().map(|one| (one.failed(), one.attribute("error.type"))).collect();
    assert_eq!(told, [(true, "upstream_unreachable"), (false, "")]);
    assert_eq!(requests[1].attribute("xinyao.outcome"), "rejected_unknown_endpoint");
    let attempt = &collector.has("upstream attempt", 1).await[0];
    assert_eq!(attempt.attribute("error.type"), "upstream_unreachable");
}

#[tokio::test]
async fn a_callback_its_commit_and_its_deliveries_are_one_trace_after_a_restart_too() {
    let collector = Collector::start();
    let good = Upstream::start();
    let shaky = Upstream::in_turn([answer("500 Internal Server Error", "", "no"), ok()]);
    let store = Arc::new(MemoryStore::new());
    let start = || {
        let subscriber = |name: &str, server: &Upstream| {
            format!("{{name: {name}, url: \"{}/?key=hidden\", retry: [1ms]}}", server.url())
        };
        Gateway::at("http://127.0.0.1:9")
            .store(Arc::clone(&store) as _)
            .with(to(&collector))
            .with(format!("subscribers: [{}, {}]", subscriber("good", &good), subscriber("shaky", &shaky)))
            .start()
    };
    let gateway = start();
    gateway.call_back(post("/callbacks/crm/0", RECORD)).await.refused(404, -40401, "unknown_url");
    let answer = gateway.call_back(post(&callback(Some(NUMBER)), RECORD)).await;
    assert_eq!(answer.text(), OK);

    let callback = &collector.has("callback", 1).await[0];
    let event = answer.header("x-request-id");
    assert_eq!(callback.field("traceId"), event.replace('-', ""));
    for (key, value) in [
        ("xinyao.event_id", event),
        ("xinyao.app", "crm"),
        ("xinyao.label", "138****8000"),
        ("xinyao.event", "call_record"),
        ("xinyao.outcome", "accepted"),
    ] {
        assert_eq!(callback.attribute(key), value, "{key}");
    }
    let commits = collector.has("store commit", 1).await;
    let deliveries = collector.has("delivery attempt", 3).await;
    for part in commits.iter().chain(&deliveries) {
        let above = (part.field("traceId"), part.field("parentSpanId"));
        assert_eq!(above, (callback.field("traceId"), callback.field("spanId")), "{part:?}");
    }
    let failed = attempt(&deliveries, "shaky", "1");
    assert_eq!((failed.failed(), failed.attribute("error.type")), (true, "failed"));
    assert!(!attempt(&deliveries, "shaky", "2").failed());
    let delivered = attempt(&deliveries, "good", "1");
    let given = format!("00-{}-{}-01", callback.field("traceId"), delivered.field("spanId"));
    assert_eq!(good.only().header("traceparent"), given);

    drop(gateway);
    let gateway = start();
    let replay = post("/api/v1/events/ID/replay".replace("ID", event).as_str(), r#"{"subscriber":"good"}"#);
    assert_eq!(replay.send(gateway.admin).await.status, 200);
    let again = &collector.has("delivery attempt", 4).await[3];
    let above = (again.field("traceId"), again.field("parentSpanId"));
    assert_eq!(above, (callback.field("traceId"), callback.field("spanId")));

    for secret in [NUMBER, TOKEN, "hidden", "/callbacks/"] {
        assert!(!collector.text().contains(secret), "{secret} was exported");
    }
}

#[tokio::test]
async fn what_an_app_does_not_keep_is_not_exported_and_the_ratio_is_for_what_begins_here() {
    let (collector, upstream, hook) = (Collector::start(), Upstream::start(), Upstream::start());
    let gateway = Gateway::to(&upstream)
        .with(format!("tracing_otlp: {{endpoint: '{}', ratio: 0}}", collector.url()))
        .with(format!("subscribers: [{{name: hook, url: \"{}\"}}]", hook.url()))
        .start();
    let ask = |flags: &str| post(TASKLIST, "{}").header("traceparent", parent(flags));
    assert_eq!(gateway.ask(ask("00")).await.status, 200);
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    assert_eq!(gateway.push(RECORD).await.text(), OK);
    hook.has_seen(1).await;
    assert!(hook.only().header("traceparent").ends_with("-00"));
    // Behind all these in the queue.
    assert_eq!(gateway.ask(ask("01")).await.status, 200);
    collector.has("request", 1).await;
    collector.has("upstream attempt", 1).await;
    assert_eq!(collector.spans().len(), 2);
}

#[tokio::test]
async fn a_collector_that_is_away_harms_nobody_and_what_is_lost_is_counted() {
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with(format!("tracing_otlp: http://{}", nobody())).start();
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
    assert_eq!(gateway.push(RECORD).await.text(), OK);
    gateway.counts("xinyao_spans_dropped_total", 4.0).await;
    gateway.counts("xinyao_spans_exported_total", 0.0).await;
    assert_eq!(gateway.post(TASKLIST, "{}").await.status, 200);
}

#[tokio::test]
async fn a_busy_collector_is_asked_again_and_one_that_refuses_is_not() {
    let busy = answer("503 Service Unavailable", "retry-after: 0\r\n", "");
    let refusing = answer("400 Bad Request", "", "");
    let collector = Collector::in_turn([busy, ok(), refusing, ok()]);
    let upstream = Upstream::start();
    let gateway = Gateway::to(&upstream).with(to(&collector)).start();
    gateway.post(TASKLIST, "{}").await;
    gateway.counts("xinyao_spans_exported_total", 2.0).await;
    assert_eq!(collector.batches(), 2);
    gateway.post(TASKLIST, "{}").await;
    gateway.counts("xinyao_spans_dropped_total", 2.0).await;
    assert_eq!(collector.batches(), 3);
}

#[tokio::test]
async fn the_last_spans_go_out_at_the_end_and_a_collector_that_hangs_holds_nothing_up() {
    let (collector, upstream) = (Collector::start(), Upstream::start());
    let mut gateway = Gateway::to(&upstream).with(to(&collector)).start();
    gateway.post(TASKLIST, "{}").await;
    gateway.stop().await;
    collector.has("request", 1).await;

    let hanging = Collector::in_turn([Act::Hang]);
    let mut gateway = Gateway::to(&upstream).with(to(&hanging)).start();
    gateway.post(TASKLIST, "{}").await;
    gateway.stop().await;
}

#[tokio::test]
async fn without_a_collector_subscribers_are_told_of_no_trace() {
    let hook = Upstream::start();
    let gateway = Gateway::at("http://127.0.0.1:9")
        .with(format!("subscribers: [{{name: hook, url: \"{}\"}}]", hook.url()))
        .start();
    gateway.push(RECORD).await;
    hook.has_seen(1).await;
    assert!(!hook.only().headers.contains_key("traceparent"));
    assert!(!gateway.metrics().await.0.contains("xinyao_spans"));
}
