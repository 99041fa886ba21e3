//! Replicas that share a store are one gateway: it makes no difference to which of them something comes.

use serde_json::{Value, json};

use crate::support::{
    ADDTASK, Answer, Gateway, OUTNUM, Postgres, Upstream, answer, eventually, get, ok, outnum, post,
};

const NUMBERS: &str = "phone\n13800138000\n13900139000\n";

fn record(call: u32, number: &str) -> String {
    json!({
        "task_id": "1", "task_name": "t", "call_sn": "b", "call_sn_name": "n", "bot_id": "3",
        "calls": [{ "call_id": call, "num": number, "state": 775 }],
    })
    .to_string()
}

/// One of the replicas in front of `upstream`, as the one file of all of them says.
fn replica(server: &Postgres, upstream: &Upstream, name: &str, more: &str) -> Gateway {
    let store = format!("store: {{postgres: \"{}\", replica: {name}}}", server.url());
    Gateway::to(upstream)
        .with(store)
        .with("callbacks: {public_url: \"http://gw.example/x\"}")
        .with(more)
        .start()
}

fn replicas(server: &Postgres, upstream: &Upstream, more: &str) -> [Gateway; 2] {
    ["one", "other"].map(|name| replica(server, upstream, name, more))
}

/// The SaaS, which answers an outnum with the batch `b`.
fn saas() -> Upstream {
    Upstream::scripted(|_| {
        answer(
            "200 OK",
            "content-type: application/json\r\n",
            r#"{"code":0,"result":{"call_sn":"b","call_count":2}}"#,
        )
    })
}

async fn operate(gateway: &Gateway, path: &str, body: &str) -> Value {
    let answer = post(path, body).send(gateway.admin).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn subscriber(gateway: &Gateway, name: &str) -> Option<Value> {
    let listed = gateway.operate("/api/v1/subscribers").await.json();
    listed["subscribers"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned()
}

fn refused_as(answer: &Answer) -> bool {
    answer.status == 409 && answer.header("x-gateway-error") == "duplicate_request"
}

#[tokio::test]
async fn each_tells_of_all() {
    let (server, upstream) = (Postgres::start(), Upstream::start());
    let egress = "egress: {allowed_ips: [127.0.1.1, 203.0.113.9], source_ips: auto}";
    let both = replicas(&server, &upstream, egress);
    for gateway in &both {
        eventually(async || {
            let cluster = gateway.status().await["cluster"].clone();
            let all = cluster["replicas"].as_array().unwrap();
            all.len() == 2 && all.iter().all(|one| one["source_ips"] == json!(["127.0.1.1"]))
        })
        .await;
        let cluster = gateway.status().await["cluster"].clone();
        let of = |key: &str| -> Vec<Value> {
            cluster["replicas"].as_array().unwrap().iter().map(|one| one[key].clone()).collect()
        };
        assert_eq!(of("name"), ["one", "other"]);
        assert_eq!(of("shards"), [json!([0]), json!([1])]);
        assert_eq!(of("keeps_ledger"), [true, false]);
        assert_eq!(of("version"), [env!("CARGO_PKG_VERSION"); 2]);
        let addresses: Vec<Value> = both.iter().map(|one| one.proxy.to_string().into()).collect();
        assert_eq!(of("proxy"), addresses);
        assert!(of("silent_for_ms").iter().all(|silent| silent.as_u64().unwrap() < 9000), "{cluster}");
        gateway.counts("xinyao_cluster_replicas", 2.0).await;
    }
    assert_eq!(both[1].status().await["cluster"]["replica"], "other");
}

#[tokio::test]
async fn of_two_that_are_asked_at_once_one_sends() {
    let (server, upstream) = (Postgres::start(), saas());
    let [one, other] = replicas(&server, &upstream, "{}");
    for key in ["a", "b", "c"] {
        let ask = post(ADDTASK, r#"{"app_id":"1","name":"t"}"#).header("idempotency-key", key);
        let answers = tokio::join!(one.ask(ask.clone()), other.ask(ask.clone()));
        let answers = [answers.0, answers.1];
        assert!(answers.iter().any(|answer| answer.status == 200), "{answers:?}");
        // The other comes while it is under way, or has its answer.
        let again = |answer: &Answer| answer.header("idempotency-replayed") == "true";
        assert!(answers.iter().any(|answer| refused_as(answer) || again(answer)), "{answers:?}");
        // Later both have the answer.
        for gateway in [&one, &other] {
            assert!(again(&gateway.ask(ask.clone()).await));
        }
    }
    assert_eq!(upstream.seen().len(), 3);
    // The same numbers.
    assert_eq!(one.ask(outnum("7", NUMBERS)).await.status, 200);
    assert!(refused_as(&other.ask(outnum("7", NUMBERS)).await));
}

#[tokio::test]
async fn a_callback_finds_the_address_that_another_registered() {
    let (server, upstream, team) = (Postgres::start(), Upstream::start(), Upstream::start());
    let [one, other] = replicas(&server, &upstream, "{}");
    let task = json!({ "app_id": "1", "team_url": format!("{}/team", team.url()) }).to_string();
    assert_eq!(one.post(ADDTASK, &task).await.status, 200);
    let body: Value = serde_json::from_slice(&upstream.only().body).unwrap();
    let url = body["team_url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("http://gw.example/x").unwrap();
    assert_eq!(other.call_back(post(path, record(1, "13800138000"))).await.status, 200);
    team.has_seen(1).await;
    assert_eq!(team.only().body, record(1, "13800138000").as_bytes());
    // The one forgets it as well when it is purged at the other.
    let name = path.rsplit('/').next().unwrap();
    assert!(subscriber(&other, name).await.is_some());
    operate(&other, &format!("/api/v1/subscribers/{name}/purge"), "").await;
    eventually(async || subscriber(&one, name).await.is_none()).await;
}

#[tokio::test]
async fn what_operators_do_at_one_holds_for_the_other() {
    let (server, upstream) = (Postgres::start(), Upstream::start());
    let fails = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let hook = {
        let fails = std::sync::Arc::clone(&fails);
        Upstream::scripted(move |_| {
            if fails.load(std::sync::atomic::Ordering::Relaxed) { answer("410 Gone", "", "") } else { ok() }
        })
    };
    let subscribers = format!("subscribers: [{{name: hook, url: \"{}\", retry: [50ms]}}]", hook.url());
    let [one, other] = replicas(&server, &upstream, &subscribers);
    operate(&one, "/api/v1/subscribers/hook/pause", "").await;
    eventually(async || subscriber(&other, "hook").await.unwrap()["state"] == "paused").await;
    assert_eq!(other.push(record(1, "1")).await.status, 200);
    let backlog = async |gateway: &Gateway| subscriber(gateway, "hook").await.unwrap()["backlog"].clone();
    eventually(async || backlog(&one).await == 1 && backlog(&other).await == 1).await;
    assert!(hook.seen().is_empty());
    // What is delivered anew may come to the other's shard.
    operate(&one, "/api/v1/subscribers/hook/resume", "").await;
    hook.has_seen(1).await;
    eventually(async || backlog(&one).await == 0).await;
    let replayed =
        operate(&one, "/api/v1/subscribers/hook/replay", r#"{"since":"2020-01-01T00:00:00Z"}"#).await;
    assert_eq!(replayed["replayed"], 1);
    hook.has_seen(2).await;
    // A dead letter of the other's.
    fails.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(other.push(record(2, "2")).await.status, 200);
    let dead = async |gateway: &Gateway| {
        gateway.operate("/api/v1/dead-letters").await.json()["dead_letters"].as_array().unwrap().len()
    };
    eventually(async || dead(&one).await == 1).await;
    fails.store(false, std::sync::atomic::Ordering::Relaxed);
    operate(&one, "/api/v1/dead-letters/replay", r#"{"subscriber":"hook"}"#).await;
    eventually(async || dead(&other).await == 0 && backlog(&other).await == 0).await;
    assert_eq!(hook.seen().last().unwrap().body, record(2, "2").as_bytes());
}

#[tokio::test]
async fn an_outcome_that_is_unknown_to_one_is_settled_at_the_other() {
    let server = Postgres::start();
    let upstream = Upstream::in_turn([answer("502 Bad Gateway", "", ""), ok()]);
    let [one, other] = replicas(&server, &upstream, "{}");
    let ask = || post(ADDTASK, r#"{"app_id":"1"}"#).header("idempotency-key", "k");
    one.ask(ask()).await;
    assert!(refused_as(&other.ask(ask()).await));
    let listed = other.operate("/api/v1/requests?state=unknown").await.json();
    let id = listed["requests"][0]["id"].as_str().unwrap().to_owned();
    operate(&other, &format!("/api/v1/requests/{id}/settle"), r#"{"outcome":"not_sent"}"#).await;
    assert_eq!(one.ask(ask()).await.status, 200);
    assert_eq!(upstream.seen().len(), 2);
}

#[tokio::test]
async fn a_batch_adds_up_wherever_its_records_come_in() {
    let (server, upstream) = (Postgres::start(), saas());
    let [one, mut other] = replicas(&server, &upstream, "{}");
    assert_eq!(other.ask(outnum("7", NUMBERS)).await.code(), 0);
    assert_eq!(upstream.only().target, OUTNUM);
    // The same number twice, in two shards.
    for (gateway, call, number) in
        [(&one, 1, "13800138000"), (&other, 2, "13800138000"), (&other, 3, "13900139000")]
    {
        assert_eq!(gateway.push(record(call, number)).await.status, 200);
    }
    let returned = async |gateway: &Gateway| {
        let batch = get("/api/v1/batches/b").send(gateway.admin).await.json();
        batch["returned"].clone()
    };
    for gateway in [&one, &other] {
        eventually(async || returned(gateway).await == 2).await;
    }
    // Whoever is left goes on.
    other.stop().await;
    assert_eq!(one.push(record(4, "13700137000")).await.status, 200);
    eventually(async || returned(&one).await == 3).await;
}
