//! PostgreSQL is taken away from all.

use std::time::Duration;

use crate::support::{Cluster, Subscriber, Upstream, in_time};

use super::{SOON, between, nothing_is_lost, pushes_to};

/// No acknowledgement waits longer for a PostgreSQL that does not answer, on a machine that does much else.
const ACKED: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed_under_load() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let mut cluster = Cluster::run(between(&saas, &subscriber)).await;
    let pushes = pushes_to(&cluster);
    for _ in 0..2 {
        pushes.go_on(50, None).await;
        cluster.postgres.kill();
        for replica in 0..3 {
            pushes.go_on(20, Some(replica)).await;
        }
        for replica in &cluster.replicas {
            assert_eq!(replica.operate("/readyz").await.status, 200);
        }
        cluster.postgres.resume();
        for replica in &cluster.replicas {
            let waits = async || replica.metrics().await.sum("xinyao_store_waiting_events") == 0.0;
            in_time(SOON, waits).await;
        }
    }
    let acked = nothing_is_lost("PostgreSQL was killed twice", &cluster, pushes, &subscriber).await;
    assert!(acked.iter().all(|pushed| pushed.took < ACKED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_stands_still_under_load() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let cluster = Cluster::run(between(&saas, &subscriber)).await;
    let pushes = pushes_to(&cluster);
    pushes.go_on(50, None).await;
    cluster.postgres.freeze();
    for replica in 0..3 {
        pushes.go_on(50, Some(replica)).await;
    }
    cluster.postgres.wake();
    for replica in &cluster.replicas {
        let waits = async || replica.metrics().await.sum("xinyao_store_waiting_events") == 0.0;
        in_time(SOON, waits).await;
    }
    pushes.go_on(50, None).await;
    let acked = nothing_is_lost("PostgreSQL stood still", &cluster, pushes, &subscriber).await;
    assert!(acked.iter().all(|pushed| pushed.took < ACKED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_postgres_keeps_too_late_is_not_kept_twice() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let cluster = Cluster::run(between(&saas, &subscriber)).await;
    let pushes = pushes_to(&cluster);
    pushes.go_on(50, None).await;
    // Whoever writes waits, and gives up before PostgreSQL does: its group is kept all the same.
    let slow = "SELECT FROM shard FOR UPDATE; SELECT pg_sleep(4)";
    tokio::task::block_in_place(|| cluster.rows(slow));
    pushes.go_on(50, None).await;
    for replica in &cluster.replicas {
        let waits = async || replica.metrics().await.sum("xinyao_store_waiting_events") == 0.0;
        in_time(SOON, waits).await;
    }
    let acked = nothing_is_lost("PostgreSQL was slow", &cluster, pushes, &subscriber).await;
    assert!(acked.iter().all(|pushed| pushed.took < ACKED));
}
