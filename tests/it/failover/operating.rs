//! Operators act on any replica, and on all.

use serde_json::Value;

use crate::support::{
    Cluster, Gateway, Pushed, Replica, Subscriber, TASKLIST, Upstream, callback, in_time, post,
};

use super::{SOON, between, pushes_to};

async fn subscriber(replica: &Replica) -> Value {
    let all = replica.operate("/api/v1/subscribers").await.json();
    all["subscribers"].as_array().unwrap().iter().find(|one| one["name"] == "hook").unwrap().clone()
}

/// So many records, pushed to each replica in turn.
async fn push(cluster: &Cluster, count: usize) -> Vec<Pushed> {
    let pushes = pushes_to(cluster);
    pushes.go_on(count, None).await;
    pushes.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_holds_the_deliveries_of_all_and_a_replay_repeats_those_of_all() {
    let (saas, hook) = (Upstream::start(), Subscriber::start());
    let cluster = Cluster::run(between(&saas, &hook)).await;
    let [one, two, three] = &cluster.replicas[..] else { panic!() };
    one.act("/api/v1/subscribers/hook/pause", "").await;
    for replica in &cluster.replicas {
        in_time(SOON, async || subscriber(replica).await["state"] == "paused").await;
    }
    let before = hook.count();
    let pushed = push(&cluster, 60).await;
    assert_eq!(hook.count(), before);
    for replica in &cluster.replicas {
        in_time(SOON, async || subscriber(replica).await["backlog"] == pushed.len()).await;
    }
    two.act("/api/v1/subscribers/hook/resume", "").await;
    hook.gets(&pushed, SOON).await;
    in_time(SOON, async || subscriber(one).await["backlog"] == 0).await;

    let replayed = three.act("/api/v1/subscribers/hook/replay", r#"{"since":"2020-01-01T00:00:00Z"}"#).await;
    assert_eq!(replayed["replayed"], pushed.len());
    let twice = async || pushed.iter().all(|one| hook.of(&one.name).len() == 2);
    in_time(SOON, twice).await;
    assert_eq!(hook.repetitions(), [pushed.len(), 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_of_all_are_listed_and_revived_anywhere() {
    let (saas, hook) = (Upstream::start(), Subscriber::start());
    let subscribers = format!("subscribers: [{}]", hook.entry("hook", ", retry: []"));
    let cluster = Cluster::run(Gateway::to(&saas).with(subscribers)).await;
    let [one, two, three] = &cluster.replicas[..] else { panic!() };
    hook.refuse(true);
    // Fewer than it takes to have the subscriber probed.
    for (number, replica) in cluster.replicas.iter().enumerate() {
        let record = format!(r#"{{"bot_id":"1","uuid":"dead-{number}"}}"#);
        assert_eq!(post(&callback(None), record).send(replica.callbacks).await.status, 200);
    }
    let dead = async |replica: &Replica| {
        let page = replica.operate("/api/v1/dead-letters?subscriber=hook").await.json();
        page["dead_letters"].as_array().unwrap().len()
    };
    for replica in &cluster.replicas {
        in_time(SOON, async || dead(replica).await == 3).await;
    }
    hook.refuse(false);
    let revived = two.act("/api/v1/dead-letters/replay", r#"{"subscriber":"hook"}"#).await;
    assert_eq!(revived["replayed"], 3, "{revived}");
    in_time(SOON, async || (0..3).all(|number| hook.of(&format!("dead-{number}")).len() == 1)).await;
    for replica in [one, three] {
        in_time(SOON, async || dead(replica).await == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_sends_from_its_own_address_and_all_are_in_sight() {
    let saas = Upstream::start();
    let egress = "egress: {allowed_ips: ['127.0.1.1', '127.0.1.2', '127.0.1.3'], source_ips: auto}";
    let cluster = Cluster::run(Gateway::to(&saas).with(egress)).await;
    for replica in &cluster.replicas {
        let before = saas.seen().len();
        assert_eq!(post(TASKLIST, "{}").send(replica.proxy).await.status, 200);
        assert_eq!(saas.seen()[before].peer.ip().to_string(), replica.address);
    }
    for replica in &cluster.replicas {
        in_time(SOON, async || {
            let status = replica.status().await;
            let names = status["cluster"]["replicas"].as_array().cloned().unwrap_or_default();
            let names: Vec<_> = names.iter().filter_map(|one| one["name"].as_str()).collect();
            status["cluster"]["replica"] == replica.name
                && ["one", "two", "three"].iter().all(|name| names.contains(name))
        })
        .await;
    }
}
