//! A replica stands still for longer than its lease, and wakes.

use std::time::{Duration, Instant};

use crate::support::{Cluster, HeldShard, Subscriber, Upstream, in_time};

use super::{ADOPTED, SOON, between, nothing_is_lost, pushes_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_wakes_after_its_lease_writes_nothing_under_it() {
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let cluster = Cluster::run(between(&saas, &subscriber)).await;
    cluster.watch();
    let pushes = pushes_to(&cluster);
    pushes.go_on(50, Some(2)).await;
    let sleeper = &cluster.replicas[2];
    let HeldShard { id: shard, holder: epoch } = cluster.shard_of(sleeper).expect("it has a seat");
    // With writes under way.
    pushes.go_on(1, Some(2)).await;
    sleeper.freeze();
    let begun = Instant::now();
    let holder = format!("SELECT coalesce(holder, 0) FROM shard WHERE id = {shard}");
    let adopted = in_time(ADOPTED, async || cluster.count(&holder) != epoch).await;
    in_time(Duration::from_secs(21), async || begun.elapsed() > Duration::from_secs(20)).await;
    sleeper.wake();
    pushes.go_on(50, Some(2)).await;
    let seats =
        format!("SELECT count(*) FROM replica WHERE name = 'three' AND NOT fenced AND epoch > {epoch}");
    in_time(SOON, async || cluster.count(&seats) == 1).await;
    assert!(cluster.shard_of(sleeper).is_some());
    eprintln!("adopted {adopted:?} after it stood still");
    nothing_is_lost("a replica stood still for 20 s", &cluster, pushes, &subscriber).await;
    assert_eq!(cluster.trespassers(), "");
    // One that does is noticed.
    cluster.rows("UPDATE frontier SET next = next");
    assert_ne!(cluster.trespassers(), "");
}
