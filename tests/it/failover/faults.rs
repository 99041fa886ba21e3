//! A replica is taken away.

use std::time::{Duration, Instant};

use crate::support::{Subscriber, Upstream, in_time};

use super::{ADOPTED, SOON, between, nothing_is_lost, pushes_to};
use crate::support::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_has_not_delivered_others_deliver_within_15_s() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let mut cluster = Cluster::run(between(&saas, &subscriber)).await;
    let pushes = pushes_to(&cluster);
    pushes.go_on(50, Some(0)).await;
    cluster.replicas[1].act("/api/v1/subscribers/hook/pause", "").await;
    let acked = || pushes.acked().into_iter().filter(|pushed| pushed.replica == 0);
    // The others may have heard of the pause before it has.
    let waiting = || acked().filter(|pushed| subscriber.of(&pushed.name).is_empty()).count();
    in_time(SOON, async || waiting() >= 50).await;
    cluster.replicas[0].kill().await;
    let killed = Instant::now();
    cluster.replicas[1].act("/api/v1/subscribers/hook/resume", "").await;
    let of_the_killed: Vec<_> = acked().collect();
    subscriber.gets(&of_the_killed, ADOPTED).await;
    eprintln!("adopted and delivered {:?} after the kill", killed.elapsed());
    assert!(of_the_killed.iter().any(|pushed| subscriber.of(&pushed.name).iter().all(|got| got.by != "one")));
    // It comes again, with a seat of its own.
    cluster.replicas[0].start().await;
    pushes.go_on(50, Some(0)).await;
    nothing_is_lost("a replica was killed", &cluster, pushes, &subscriber).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_from_postgres_takes_events_in_and_forwards_them_in_order() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let cluster = Cluster::run(between(&saas, &subscriber)).await;
    let pushes = pushes_to(&cluster);
    pushes.go_on(50, None).await;
    let alone = &cluster.replicas[2];
    for silently in [true, false] {
        if silently {
            alone.postgres.silence();
        } else {
            alone.postgres.close();
        }
        pushes.go_on(100, Some(2)).await;
        let waits = async || alone.metrics().await.sum("xinyao_store_waiting_events") > 0.0;
        in_time(SOON, waits).await;
        assert_eq!(alone.operate("/readyz").await.status, 200);
        assert_eq!(alone.metrics().await.value("xinyao_store_up{store=\"postgres\"}"), Some(0.0));
        alone.postgres.mend();
        let waits = async || alone.metrics().await.sum("xinyao_store_waiting_events") == 0.0;
        in_time(SOON, waits).await;
        pushes.go_on(20, Some(2)).await;
    }
    nothing_is_lost("a replica was cut off", &cluster, pushes, &subscriber).await;
    // Each client pushes a record once the one before it is acknowledged.
    let disordered = "WITH pushed AS (
        SELECT shard, seq, split_part(call_sn, '-', 1) AS client, split_part(call_sn, '-', 2)::integer AS number
        FROM event)
      SELECT count(*) FROM (
        SELECT number < lag(number) OVER (PARTITION BY shard, client ORDER BY seq) AS wrong FROM pushed) AS pairs
      WHERE wrong";
    assert_eq!(cluster.count(disordered), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_killed_with_events_in_its_local_log_brings_them_when_it_starts() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let mut cluster = Cluster::run(between(&saas, &subscriber)).await;
    let pushes = pushes_to(&cluster);
    cluster.replicas[1].postgres.close();
    pushes.go_on(100, Some(1)).await;
    cluster.replicas[1].kill().await;
    pushes.go_on(50, None).await;
    // PostgreSQL is still out of reach: it starts, and takes more in.
    cluster.replicas[1].start().await;
    pushes.go_on(50, Some(1)).await;
    cluster.replicas[1].kill().await;
    cluster.replicas[1].postgres.mend();
    cluster.replicas[1].start().await;
    nothing_is_lost("a replica was killed while events waited in it", &cluster, pushes, &subscriber).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_missed_by_nobody() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let mut cluster = Cluster::run(between(&saas, &subscriber).crm("rate_limits: [{limit: 10000/s}]")).await;
    let pushes = pushes_to(&cluster);
    pushes.go_on(50, None).await;
    cluster.redis.kill();
    for replica in &cluster.replicas {
        let begun = Instant::now();
        let answer = crate::support::post(crate::support::TASKLIST, "{}").send(replica.proxy).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        // `limits.shared.timeout` of the cluster's file, and a moment.
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(replica.operate("/readyz").await.status, 200);
    }
    pushes.go_on(50, None).await;
    cluster.redis.run_again();
    pushes.go_on(50, None).await;
    nothing_is_lost("Redis was killed", &cluster, pushes, &subscriber).await;
}
