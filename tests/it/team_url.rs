//! An app adopts the gateway by its base URL alone: the callback address that it names still gets its callbacks.

use std::sync::Arc;

use serde_json::{Value, json};
use xinyao_gateway::store::{MemoryStore, StoreError};

use crate::answers::gzip;
use crate::support::{
    ADDTASK, Answer, Ask, Builder, Gateway, TASKLIST, Upstream, answer, eventually, get, ok, post, request,
};

const CALLBACKS: &str = "callbacks: {public_url: \"http://gw.example/x\"}";
const RECORD: &str = r#"{"task_id":"1","call_sn":"2","bot_id":"3","calls":[{"call_id":"4","state":1}]}"#;

fn at(upstream: &Upstream) -> Builder {
    Gateway::to(upstream).with(CALLBACKS)
}

/// Where the SaaS was told to push: of the last task.
fn told(upstream: &Upstream) -> String {
    let body: Value = serde_json::from_slice(&upstream.seen().last().unwrap().body).unwrap();
    body["team_url"].as_str().unwrap().to_owned()
}

async fn add(gateway: &Gateway, url: &str) -> Answer {
    gateway.post(ADDTASK, json!({ "app_id": "1", "team_url": url }).to_string()).await
}

/// Pushes a call record as the SaaS does.
async fn push(gateway: &Gateway, url: &str) {
    let path = url.strip_prefix("http://gw.example/x").unwrap();
    assert_eq!(gateway.call_back(post(path, RECORD)).await.status, 200);
}

#[tokio::test]
async fn callbacks_go_to_the_apps_subscribers_and_to_the_address() {
    let (upstream, hook, team) = (Upstream::start(), Upstream::start(), Upstream::start());
    let subscribers = format!("subscribers: [{{name: hook, url: \"{}/hook\"}}]", hook.url());
    let gateway = at(&upstream).with(subscribers).start();
    let original = format!("{}/team?a=1", team.url());
    let body = format!(r#"{{ "app_id":"1" , "team_url": "{}", "é":1.0 }}"#, original.replace('/', "\\/"));
    assert_eq!(gateway.post(ADDTASK, &body).await.code(), 0);
    let url = told(&upstream);
    assert!(url.starts_with("http://gw.example/x/callbacks/crm/"), "{url}");
    let expected = body.replace(&original.replace('/', "\\/"), &url);
    assert_eq!(String::from_utf8(upstream.only().body).unwrap(), expected);

    push(&gateway, &url).await;
    hook.has_seen(1).await;
    team.has_seen(1).await;
    let seen = team.only();
    assert_eq!((seen.target.as_str(), seen.header("x-xinyao-event")), ("/team?a=1", "call_record"));
    assert_eq!(seen.body, RECORD.as_bytes());
    // What comes to other URLs is not for it.
    gateway.push(RECORD.replace("\"4\"", "\"5\"")).await;
    hook.has_seen(2).await;
    gateway.counts(r#"xinyao_deliveries_total{subscriber="hook",outcome="delivered"}"#, 2.0).await;
    assert_eq!(team.seen().len(), 1);
    // Operators see it like any other.
    let name = url.rsplit('/').next().unwrap();
    let listed = gateway.operate("/api/v1/subscribers").await.json();
    let listed = listed["subscribers"].as_array().unwrap().iter().find(|one| one["name"] == name).cloned();
    let listed = listed.unwrap();
    assert_eq!((&listed["url"], &listed["state"]), (&original.into(), &"active".into()));
}

#[tokio::test]
async fn a_failing_address_is_tried_again() {
    let (upstream, team) = (Upstream::start(), Upstream::in_turn([answer("500 Oh", "", ""), ok()]));
    let gateway = at(&upstream).start();
    assert_eq!(add(&gateway, &team.url()).await.status, 200);
    push(&gateway, &told(&upstream)).await;
    team.has_seen(2).await;
    let attempts: Vec<_> =
        team.seen().iter().map(|seen| seen.header("x-xinyao-attempt").to_owned()).collect();
    assert_eq!(attempts, ["1", "2"]);
}

#[tokio::test]
async fn a_task_without_an_address_gets_the_apps_callback_url() {
    let upstream = Upstream::start();
    let gateway = at(&upstream).start();
    for body in ["{}", r#"{"app_id":"1"}"#, r#"{"app_id":"1","team_url":""}"#] {
        assert_eq!(gateway.post(ADDTASK, body).await.status, 200);
        let url = told(&upstream);
        assert_eq!(url.strip_prefix("http://gw.example/x"), Some(crate::support::callback(None).as_str()));
        // An app that names it by itself means what it says.
        assert_eq!(add(&gateway, &format!("{url}/vip")).await.status, 200);
        assert_eq!(told(&upstream), format!("{url}/vip"));
    }
}

#[tokio::test]
async fn lists_of_tasks_show_the_original() {
    let upstream = Upstream::start();
    let store = Arc::new(MemoryStore::new());
    let gateway = at(&upstream).store(Arc::clone(&store) as _).start();
    let originals = ["http://127.0.0.1:7/a?b=\"c\"", "http://127.0.0.1:7/é"];
    let mut tasks = Vec::new();
    for original in originals {
        assert_eq!(add(&gateway, &original.replace('"', "%22").replace('é', "e")).await.status, 200);
        tasks.push(json!({ "team_url": told(&upstream) }));
    }
    drop(gateway);
    let list = json!({ "code": 0, "result": tasks, "padding": "x".repeat(200_000) }).to_string();
    for list in [list.clone(), list.replace('/', "\\/")] {
        let upstream = Upstream::scripted(move |seen| {
            assert_eq!(seen.header("accept-encoding"), "");
            answer("200 OK", "content-type: application/json\r\n", &list)
        });
        let gateway = at(&upstream).store(Arc::clone(&store) as _).start();
        let shown = gateway.ask(post(TASKLIST, "{}").header("accept-encoding", "gzip")).await;
        let shown = shown.json();
        assert_eq!(shown["result"][0]["team_url"], "http://127.0.0.1:7/a?b=%22c%22");
        assert_eq!(shown["result"][1]["team_url"], "http://127.0.0.1:7/e");
        assert_eq!(shown["padding"].as_str().map(str::len), Some(200_000));
    }
}

#[tokio::test]
async fn an_address_outlives_a_restart() {
    let (upstream, team) = (Upstream::start(), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let store = format!("store: {{path: {}}}", folder.path().join("gateway.db").display());
    let mut gateway = at(&upstream).with(&store).start();
    assert_eq!(add(&gateway, &team.url()).await.status, 200);
    let url = told(&upstream);
    gateway.stop().await;
    // Tasks of before are served, whatever is done about new ones.
    let off = "callbacks: {rewrite_team_url: false}";
    let gateway = at(&upstream).with(&store).with(off).start();
    push(&gateway, &url).await;
    team.has_seen(1).await;
}

#[tokio::test]
async fn an_address_outside_the_networks_is_refused() {
    let upstream = Upstream::start();
    let networks = "callbacks: {team_url_networks: [10.0.0.0/8]}";
    let gateway = at(&upstream).with(networks).start();
    for url in [
        "http://127.0.0.1/x",
        "http://2130706433/x",
        "http://0x7f.1/x",
        "http://[::ffff:127.0.0.1]/x",
        "http://[::1]/x",
        "http://localhost/x",
        "https://no-such-host.invalid/x",
        "http://10.0.0.1@127.0.0.1/x",
        "http://10.0.0.1@10.0.0.2/x",
        "ftp://10.0.0.1/x",
        "/x",
        "x y",
    ] {
        let message = add(&gateway, url).await.refused(400, -40001, "invalid_request");
        assert!(message.contains("callbacks.team_url_networks"), "{url}: {message}");
    }
    let twice = r#"{"team_url":"http://10.0.0.1/","team_url":"http://127.0.0.1/"}"#;
    gateway.post(ADDTASK, twice).await.refused(400, -40001, "invalid_request");
    assert!(upstream.seen().is_empty());
    assert_eq!(add(&gateway, "http://10.1.2.3/x").await.status, 200);
}

/// As few clients write it, and as the SaaS may read it all the same.
fn odd_ones(body: &str) -> [Ask; 6] {
    let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let wide: Vec<u8> = body.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let long = format!("{}{body}", " ".repeat(1 << 20));
    [
        request("POST", ADDTASK).header("transfer-encoding", "chunked").body(chunks),
        post(ADDTASK, body).header("content-encoding", "Identity"),
        post(ADDTASK, format!("\u{feff}{body}")),
        post(ADDTASK, gzip(body)).header("content-encoding", "gzip"),
        post(ADDTASK, wide),
        post(ADDTASK, long),
    ]
}

#[tokio::test]
async fn however_it_is_written_an_address_is_replaced_or_refused() {
    let upstream = Upstream::start();
    let gateway = at(&upstream).start();
    let task = r#"{"team_url":"http://127.0.0.1:7/","ring_asr_code":["777,781","\775"]}"#;
    for ask in &odd_ones(task)[..3] {
        assert_eq!(gateway.ask(ask.clone()).await.status, 200);
        let body = String::from_utf8(upstream.seen().last().unwrap().body.clone()).unwrap();
        let (before, after) = (
            r#"{"team_url":"http://gw.example/x/callbacks/crm/"#,
            r#"","ring_asr_code":["777,781","\775"]}"#,
        );
        assert!(body.trim_start_matches('\u{feff}').starts_with(before) && body.ends_with(after), "{body}");
    }
    let sent = upstream.seen().len();
    for ask in &odd_ones(task)[3..] {
        let message = gateway.ask(ask.clone()).await.refused(400, -40001, "invalid_request");
        assert!(message.contains("can't be looked through"), "{message}");
    }
    let gateway = at(&upstream).with("callbacks: {team_url_networks: [10.0.0.0/8]}").start();
    for ask in odd_ones(task) {
        gateway.ask(ask).await.refused(400, -40001, "invalid_request");
    }
    assert_eq!(upstream.seen().len(), sent);
    let pass = "callbacks: {team_url_networks: [10.0.0.0/8], team_url_outside: pass}";
    let gateway = at(&upstream).with(pass).start();
    for ask in odd_ones(task) {
        let passed = gateway.ask(ask).await;
        assert!(
            passed.status == 200 && passed.header("x-gateway-warning").contains("directly"),
            "{passed:?}"
        );
    }
}

#[tokio::test]
async fn one_outside_passes_where_that_is_wanted() {
    let upstream = Upstream::start();
    let networks = "callbacks: {team_url_networks: [10.0.0.0/8], team_url_outside: pass}";
    let gateway = at(&upstream).with(networks).start();
    let passed = add(&gateway, "http://127.0.0.1/x").await;
    assert_eq!(passed.status, 200);
    assert!(passed.header("x-gateway-warning").contains("team_url"), "{passed:?}");
    assert_eq!(told(&upstream), "http://127.0.0.1/x");
}

#[tokio::test]
async fn what_is_no_text_and_what_is_not_wanted_stays() {
    let upstream = Upstream::start();
    let gateway = at(&upstream).start();
    for body in [r#"{"team_url":null}"#, r#"{"team_url":7}"#, r#"{"team_url":"#, "no json"] {
        gateway.post(ADDTASK, body).await;
        assert_eq!(upstream.seen().last().unwrap().body, body.as_bytes());
    }
    let gateway = at(&upstream).with("callbacks: {rewrite_team_url: false}").start();
    for body in ["{}", r#"{"team_url":"http://8.8.8.8/"}"#] {
        gateway.post(ADDTASK, body).await;
        assert_eq!(upstream.seen().last().unwrap().body, body.as_bytes());
    }
}

#[tokio::test]
async fn without_a_store_no_address_is_replaced_nor_a_task_sent() {
    let (upstream, store) = (Upstream::start(), Arc::new(MemoryStore::new()));
    let gateway = at(&upstream).store(Arc::clone(&store) as _).start();
    store.refuse(Some(StoreError::Full("as the test wants it".into())));
    add(&gateway, "http://127.0.0.1/x").await.refused(503, -50301, "overloaded");
    assert!(upstream.seen().is_empty());
    store.refuse(None);
    assert_eq!(add(&gateway, "http://127.0.0.1/x").await.status, 200);
    eventually(async || get("/readyz").send(gateway.admin).await.status == 200).await;
}

#[tokio::test]
async fn an_app_has_so_many_addresses_and_an_operator_lets_one_go() {
    let (upstream, team) = (Upstream::start(), Upstream::start());
    let gateway = at(&upstream).start();
    let url = |number: usize| format!("{}/{number}", team.url());
    for number in 0..64 {
        assert_eq!(add(&gateway, &url(number)).await.status, 200);
    }
    let last = told(&upstream);
    let message = add(&gateway, &url(64)).await.refused(400, -40001, "invalid_request");
    assert!(message.contains("64 team_urls of app crm") && message.contains("/purge"), "{message}");
    assert_eq!(add(&gateway, &url(63)).await.status, 200);
    let name = last.rsplit('/').next().unwrap();
    let purge = post(&format!("/api/v1/subscribers/{name}/purge"), "");
    assert_eq!(purge.send(gateway.admin).await.status, 200);
    let listed = gateway.operate("/api/v1/subscribers").await.text();
    assert!(!listed.contains(name) && listed.contains("team-url-"), "{listed}");
    assert_eq!(add(&gateway, &url(64)).await.status, 200);
    // Its tasks still have somewhere to push to.
    push(&gateway, &last).await;
    push(&gateway, &told(&upstream)).await;
    team.has_seen(1).await;
    assert_eq!(team.only().target, "/64");
}

#[tokio::test]
async fn a_retry_with_its_key_makes_one_task() {
    let upstream = Upstream::start();
    let gateway = at(&upstream).start();
    let task = json!({ "team_url": "http://127.0.0.1:7/" }).to_string();
    for replayed in ["", "true"] {
        let answer = gateway.ask(post(ADDTASK, &task).header("idempotency-key", "k")).await;
        assert_eq!((answer.status, answer.header("idempotency-replayed")), (200, replayed));
    }
    assert_eq!(upstream.seen().len(), 1);
}
