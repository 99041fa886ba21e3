//! One ledger for all replicas.

use std::time::{Duration, Instant};

use super::super::tests::Cluster;
use super::*;
use crate::store::Cluster as _;

fn entry(part: &'static [u8]) -> BatchEntry {
    BatchEntry {
        app: "crm".into(),
        call_sn: "b".into(),
        task_name: Some("a\0b".into()),
        returned: 1,
        part: Bytes::from_static(part),
        ..BatchEntry::default()
    }
}

/// Waits until the ledger of `store` follows so many shards.
async fn follows(store: &PostgresStore, shards: usize) {
    let mut followed = store.ledger_shards();
    let until = Duration::from_secs(25);
    tokio::time::timeout(until, followed.wait_for(|known| known.len() == shards)).await.unwrap().unwrap();
}

#[tokio::test]
async fn one_replica_keeps_the_ledger_and_follows_all_shards() {
    let cluster = Cluster::new();
    let one = cluster.replica("one").await;
    follows(&one, 1).await;
    let other = cluster.replica("other").await;
    follows(&one, 2).await;
    assert!(other.ledger_shards().borrow().is_empty());
    assert_eq!(one.ledger_key().await.unwrap(), other.ledger_key().await.unwrap());
    one.enter_batches(ShardId(1), Seq(5), vec![entry(b"1")]).await.unwrap();
    let refused = other.enter_batches(ShardId(1), Seq(9), vec![entry(b"2")]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(other.ledger(ShardId(1)).await.unwrap().next, Seq(5));
    assert_eq!(other.batch_parts("crm", "b").await.unwrap(), ["1"]);
    assert_eq!(other.batch("b").await.unwrap().unwrap().told.task_name.as_deref(), Some("a\u{fffd}b"));
    let told = other.replicas().await.unwrap();
    let kept: Vec<_> = told.iter().map(|replica| (&*replica.name, replica.keeps_ledger)).collect();
    assert_eq!(kept, [("one", true), ("other", false)]);
    // Whoever ends gives it up at once.
    one.close().await;
    let begun = Instant::now();
    follows(&other, 2).await;
    assert!(begun.elapsed() < Duration::from_secs(8));
    other.enter_batches(ShardId(1), Seq(9), vec![entry(b"2")]).await.unwrap();
    assert_eq!(other.batch_parts("crm", "b").await.unwrap(), ["1", "2"]);
}

#[tokio::test]
async fn a_ledger_of_a_killed_replica_is_taken_up() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.replica("one").await, cluster.replica("other").await);
    follows(&one, 2).await;
    one.kill();
    cluster.server.sql("UPDATE xinyao_gateway.replica SET lease_until = '-infinity' WHERE name = 'one'");
    follows(&other, 2).await;
    one.enter_batches(ShardId(0), Seq(5), vec![entry(b"1")]).await.unwrap_err();
    assert!(other.batch_parts("crm", "b").await.unwrap().is_empty());
    assert_eq!(other.ledger(ShardId(0)).await.unwrap().next, Seq(1));
}

#[tokio::test]
async fn what_an_older_gateway_told_of_itself_is_read() {
    let cluster = Cluster::new();
    let one = cluster.replica("one").await;
    one.tell_about(crate::store::About { version: "9".into(), ..Default::default() });
    for (about, version) in [("{}", ""), (r#"{"version":"1","unheard_of":[1]}"#, "1"), ("no JSON", "")] {
        cluster.server.sql(&format!(
            "INSERT INTO xinyao_gateway.replica (name, about, started_at, lease_until)
             VALUES ('older', '{about}', 0, clock_timestamp() + interval '1 hour')"
        ));
        let older = one.replicas().await.unwrap().pop().unwrap();
        assert_eq!((&*older.name, &*older.about.version, older.shards.len()), ("older", version, 0));
    }
}
