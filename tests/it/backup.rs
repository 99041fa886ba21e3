//! A database that was restored as docs/cluster.md says is one that gateways go on with.

use crate::support::{Gateway, OK, Postgres, Upstream, eventually, post};

fn gateway(hook: &Upstream, postgres: &Postgres) -> Gateway {
    let subscribers = format!("subscribers: [{{name: hook, url: \"{}/\"}}]", hook.url());
    let store = format!("store: {{postgres: \"{}\"}}", postgres.url());
    Gateway::at("http://127.0.0.1:9").with(subscribers).with(store).start()
}

async fn push(gateway: &Gateway, number: u32) {
    let record = format!(r#"{{"bot_id":"1","call_sn":"{number}","calls":[{{"state":775}}]}}"#);
    assert_eq!(gateway.push(record).await.text(), OK);
}

/// Once the store knows the subscriber.
async fn operate(gateway: &Gateway, action: &str) {
    let act = async || post(&format!("/api/v1/subscribers/hook/{action}"), "").send(gateway.admin).await;
    eventually(async || act().await.status == 200).await;
}

#[tokio::test]
async fn after_a_restore_what_was_delivered_since_is_delivered_again_and_what_came_since_is_gone() {
    let (hook, postgres) = (Upstream::start(), Postgres::start());
    let mut before = gateway(&hook, &postgres);
    operate(&before, "pause").await;
    let hooks = async || before.operate("/api/v1/subscribers").await.json();
    eventually(async || hooks().await["subscribers"][0]["state"] == "paused").await;
    push(&before, 1).await;
    before.stop().await;
    let dump = postgres.dump();

    let mut since = gateway(&hook, &postgres);
    operate(&since, "resume").await;
    hook.has_seen(1).await;
    push(&since, 2).await;
    hook.has_seen(2).await;
    since.stop().await;

    postgres.restore(&dump);
    let after = gateway(&hook, &postgres);
    operate(&after, "resume").await;
    hook.has_seen(3).await;
    push(&after, 3).await;
    hook.has_seen(4).await;
    let seen = hook.seen();
    let ids: Vec<&str> = seen.iter().map(|seen| seen.header("webhook-id")).collect();
    assert_eq!(ids[2], ids[0], "{ids:?}");
    assert_eq!(postgres.sql("SELECT count(*) FROM xinyao_gateway.event"), "2");
    assert!(!after.operate("/api/v1/events").await.text().contains(ids[1]));
}
