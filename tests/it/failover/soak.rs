//! Faults at random, for as long as one likes.

use std::time::{Duration, Instant};

use crate::support::{Cluster, Subscriber, Upstream, in_time};

use super::{ADOPTED, between, nothing_is_lost, pushes_to};

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

/// What is taken away, of one replica or of all.
const FAULTS: [&str; 8] = [
    "is killed",
    "is ended",
    "stands still",
    "hears nothing of PostgreSQL",
    "is refused by PostgreSQL",
    "misses PostgreSQL, which is killed",
    "misses PostgreSQL, which stands still",
    "misses Redis, which is killed",
];

/// Takes it away.
async fn take(cluster: &mut Cluster, fault: usize, replica: usize) {
    let shard = cluster.shard_of(&cluster.replicas[replica]);
    let one = &mut cluster.replicas[replica];
    match fault {
        0 => one.kill().await,
        1 => one.stop().await,
        2 => one.freeze(),
        3 => one.postgres.silence(),
        4 => one.postgres.close(),
        5 => cluster.postgres.kill(),
        6 => cluster.postgres.freeze(),
        _ => cluster.redis.kill(),
    }
    if let (0 | 2, Some(shard)) = (fault, shard) {
        let holder =
            format!("SELECT count(*) FROM shard WHERE id = {} AND holder = {}", shard.id, shard.holder);
        let adopted = in_time(ADOPTED, async || cluster.count(&holder) == 0).await;
        eprintln!("its shard was adopted after {adopted:.1?}");
    }
}

/// Gives it back.
async fn give(cluster: &mut Cluster, fault: usize, replica: usize) {
    let one = &mut cluster.replicas[replica];
    match fault {
        0 | 1 => one.start().await,
        2 => one.wake(),
        3 | 4 => one.postgres.mend(),
        5 => cluster.postgres.resume(),
        6 => cluster.postgres.wake(),
        _ => cluster.redis.run_again(),
    }
}

/// One fault, and while it lasts perhaps another, of another replica or of all.
async fn fail(cluster: &mut Cluster, random: &mut fastrand::Rng) {
    let mut faults = vec![(random.usize(0..FAULTS.len()), random.usize(0..3))];
    let second = (random.usize(3..FAULTS.len()), (faults[0].1 + 1) % 3);
    // PostgreSQL can't be killed twice, nor asked who holds what while it is away.
    if random.bool() && faults[0].0 < 5 && second.0 != faults[0].0 {
        faults.push(second);
    }
    for (fault, replica) in &faults {
        eprintln!("replica {} {}", cluster.replicas[*replica].name, FAULTS[*fault]);
        take(cluster, *fault, *replica).await;
        tokio::time::sleep(Duration::from_millis(random.u64(200..12_000))).await;
    }
    for (fault, replica) in faults {
        give(cluster, fault, replica).await;
        tokio::time::sleep(Duration::from_millis(random.u64(0..4000))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes long: run it by hand"]
async fn nothing_is_lost_whatever_fails() {
    let (seconds, seed) = (number("CLUSTER_SOAK_SECONDS", 300), number("CLUSTER_SEED", fastrand::u64(..)));
    eprintln!("CLUSTER_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (saas, subscriber) = (Upstream::start(), Subscriber::start());
    let mut cluster = Cluster::run(between(&saas, &subscriber)).await;
    let pushes = pushes_to(&cluster);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut faults = 0;
    while Instant::now() < until {
        fail(&mut cluster, &mut random).await;
        faults += 1;
    }
    for replica in &cluster.replicas {
        let waits = async || replica.metrics().await.sum("xinyao_store_waiting_events") == 0.0;
        in_time(Duration::from_mins(1), waits).await;
    }
    nothing_is_lost(&format!("{faults} faults"), &cluster, pushes, &subscriber).await;
}
