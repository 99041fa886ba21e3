//! Against a real PostgreSQL.

mod deliveries;
mod house;
mod model;

use std::time::Duration;

use super::seat::LEASE;
use super::server::Postgres;
use super::*;
use crate::store::suite::{event, id, place, seqs};
use crate::store::{
    Appended, EventFilter, Intake, Log, NewEvent, Place, Progress, Query, Seq, ShardId, Start,
};

/// A database, and the replicas that tests open on it.
pub(super) struct Cluster {
    pub server: Postgres,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub fn new() -> Self {
        Self { server: Postgres::start(), folder: tempfile::tempdir().unwrap() }
    }

    pub fn settings(&self, replica: &str) -> Settings {
        let url = self.server.url().parse().unwrap();
        Settings {
            path: self.folder.path().join(format!("{replica}.db")),
            retention: Duration::from_hours(7 * 24),
            max_size_bytes: 1 << 30,
            cluster: Some(ClusterSettings { url, replica: replica.into() }),
        }
    }

    pub async fn replica(&self, name: &str) -> PostgresStore {
        self.open(name).await.unwrap()
    }

    pub async fn open(&self, name: &str) -> Result<PostgresStore, StoreError> {
        let settings = self.settings(name);
        let local = crate::store::open(&settings)?.0;
        PostgresStore::open(&settings, settings.cluster.as_ref().unwrap(), None, local).await
    }
}

async fn keep(store: &PostgresStore, new: NewEvent) -> Place {
    match store.append(new).await.unwrap() {
        Appended::Kept(place) => place,
        Appended::Duplicate(id) => panic!("taken for a duplicate of {id}"),
    }
}

fn keyed(number: u64, key: u8) -> NewEvent {
    let new = event(number);
    NewEvent { unless_since: Some(([key; 16], new.received_at - Duration::from_mins(10))), ..new }
}

#[tokio::test]
async fn replicas_write_shards_of_their_own_and_know_each_others_duplicates() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.replica("one").await, cluster.replica("other").await);
    assert_eq!(keep(&one, keyed(1, 7)).await, place(1));
    let second = Place { shard: ShardId(1), seq: Seq(1) };
    assert_eq!(other.append(keyed(2, 7)).await.unwrap(), Appended::Duplicate(id(1)));
    assert_eq!(keep(&other, keyed(3, 8)).await, second);
    assert_eq!(*one.shards().borrow().clone(), [ShardId(0)]);
    assert_eq!(*other.shards().borrow().clone(), [ShardId(1)]);
    let read = other.read(ShardId(0), Seq(1), 9, 999).await.unwrap();
    assert_eq!(seqs(&read.events), [1]);
    assert_eq!(read.events[0].body, "body 1");
    one.close().await;
    let third = cluster.replica("third").await;
    assert_eq!(*third.shards().borrow().clone(), [ShardId(0)]);
    assert_eq!(keep(&third, keyed(4, 9)).await, place(2));
}

#[tokio::test]
async fn while_postgres_is_away_events_wait_here_and_follow_in_order() {
    let mut cluster = Cluster::new();
    let store = cluster.replica("one").await;
    assert_eq!(keep(&store, keyed(1, 1)).await, place(1));
    cluster.server.kill();
    for number in 2..=50 {
        store.append(keyed(number, u8::try_from(number).unwrap())).await.unwrap();
    }
    assert_eq!(store.local.waiting(), 49);
    assert!(store.writable().is_ok());
    cluster.server.resume();
    store.local.forwarded().await;
    assert_eq!(keep(&store, keyed(51, 51)).await, place(51));
    let read = store.read(ShardId(0), Seq(1), 99, 9999).await.unwrap();
    let ids: Vec<_> = read.events.iter().map(|event| event.id).collect();
    assert_eq!(ids, (1..=51).map(id).collect::<Vec<_>>());
    assert!(matches!(store.append(keyed(52, 40)).await.unwrap(), Appended::Duplicate(_)));
}

/// The ids of all events of the cluster.
fn kept(cluster: &Cluster) -> Vec<String> {
    let ids = cluster.server.sql("SELECT right(id::text, 4) FROM xinyao_gateway.event ORDER BY shard, seq");
    ids.lines().map(|id| id.trim_start_matches('0').to_owned()).collect()
}

/// Sweeps until it is `done`: the store's own sweep may be about it.
async fn sweep(store: &PostgresStore, now: jiff::Timestamp, done: impl AsyncFn() -> bool) {
    let sweeping = async {
        while !done().await {
            store.retention.sweep(now).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(15), sweeping).await.expect("nothing is removed");
}

async fn holds(store: &PostgresStore, shards: &[u32]) {
    let held = |held: &Arc<[ShardId]>| held.iter().map(|shard| shard.0).eq(shards.iter().copied());
    let mut watch = store.shards();
    let waited = tokio::time::timeout(Duration::from_secs(15), watch.wait_for(held)).await;
    waited.unwrap_or_else(|_| panic!("{:?} and not {shards:?}", store.shards().borrow())).unwrap();
}

#[tokio::test]
async fn who_lost_its_seat_writes_nothing_under_it_and_takes_another() {
    let cluster = Cluster::new();
    let store = cluster.replica("one").await;
    keep(&store, keyed(1, 1)).await;
    let epoch = store.seat.epoch().unwrap();
    cluster.server.sql("UPDATE xinyao_gateway.replica SET fenced = true");
    store.append(keyed(2, 2)).await.unwrap();
    assert_eq!(store.local.waiting(), 1, "it is kept here");
    store.local.forwarded().await;
    assert!(store.seat.epoch().unwrap() > epoch);
    let written = "SELECT string_agg(shard::text, ',' ORDER BY shard) FROM xinyao_gateway.event";
    assert_eq!(cluster.server.sql(written), "0,1");
    keep(&store, keyed(3, 3)).await;
    assert_eq!(kept(&cluster), ["1", "2", "3"]);
}

#[tokio::test]
async fn what_comes_while_a_subscriber_is_taken_up_is_for_it() {
    let cluster = Cluster::new();
    let store = cluster.replica("one").await;
    keep(&store, event(1)).await;
    let entering = store.open("hook", Start::Now);
    let now = crate::store::NewEvent { received_at: jiff::Timestamp::now(), ..event(2) };
    let place = keep(&store, now).await;
    assert_eq!(entering.await.unwrap().frontiers, [(place.shard, place.seq)]);
}

#[tokio::test]
async fn what_a_dead_replica_left_is_taken_over_and_given_up_when_it_is_delivered() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.replica("one").await, cluster.replica("other").await);
    let since = Start::Since("2026-01-01T00:00:00Z".parse().unwrap());
    one.open("hook", since).await.unwrap();
    keep(&one, event(1)).await;
    one.kill();
    let begun = std::time::Instant::now();
    holds(&other, &[0, 1]).await;
    assert!(begun.elapsed() < LEASE + Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(other.seat.adoptions(), 1);
    let state = other.open("hook", since).await.unwrap();
    assert_eq!(state.frontiers, [(ShardId(0), Seq(1)), (ShardId(1), Seq(1))]);
    other.advance("hook", ShardId(0), Seq(2));
    holds(&other, &[1]).await;
    let third = cluster.replica("third").await;
    assert_eq!(keep(&third, event(2)).await, place(2));
}

#[tokio::test]
async fn what_was_kept_unheard_is_not_kept_again() {
    let cluster = Cluster::new();
    let store = cluster.replica("one").await;
    for number in 1..=3 {
        keep(&store, keyed(number, u8::try_from(number).unwrap())).await;
    }
    for number in 2..=4 {
        store.local.store.append(keyed(number, u8::try_from(number).unwrap())).await.unwrap();
    }
    store.local.hurry.notify_one();
    store.local.forwarded().await;
    assert_eq!(kept(&cluster), ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn nobody_waits_for_a_postgresql_that_stands_still() {
    let cluster = Cluster::new();
    let store = cluster.replica("one").await;
    keep(&store, keyed(1, 1)).await;
    let url = cluster.server.url();
    let (locked, is_locked) = tokio::sync::oneshot::channel();
    let locking = tokio::spawn(async move {
        let (mut client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let transaction = client.transaction().await.unwrap();
        transaction.batch_execute("LOCK TABLE xinyao_gateway.event").await.unwrap();
        locked.send(()).unwrap();
        transaction.batch_execute("SELECT pg_sleep(4)").await.unwrap();
        transaction.commit().await.unwrap();
    });
    is_locked.await.unwrap();
    let begun = std::time::Instant::now();
    store.append(keyed(2, 2)).await.unwrap();
    let first = begun.elapsed();
    assert!(first < Duration::from_secs(4), "{first:?}");
    let begun = std::time::Instant::now();
    store.append(keyed(3, 3)).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    locking.await.unwrap();
    store.local.forwarded().await;
    assert_eq!(kept(&cluster), ["1", "2", "3"], "what was asked for and not heard of is there once");
}

#[tokio::test]
async fn no_name_is_too_long_to_be_kept() {
    let cluster = Cluster::new();
    let store = cluster.replica("one").await;
    let new = NewEvent { task_id: Some(random(1)), call_sn: Some(random(2)), ..event(1) };
    let filter = EventFilter { call_sn: new.call_sn.clone(), ..EventFilter::default() };
    keep(&store, new).await;
    assert_eq!(store.events(filter, 9, None).await.unwrap().rows.len(), 1);
}

/// Text that can't be made smaller.
fn random(seed: u64) -> String {
    let mut dice = fastrand::Rng::with_seed(seed);
    (0..20_000).map(|_| dice.char('一'..'龥')).collect()
}

#[tokio::test]
async fn a_store_is_closed_while_postgresql_is_away() {
    let mut cluster = Cluster::new();
    let store = cluster.replica("one").await;
    keep(&store, event(1)).await;
    cluster.server.kill();
    store.append(event(2)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(15), store.close()).await.unwrap();
    cluster.server.resume();
    let store = cluster.replica("one").await;
    store.local.forwarded().await;
    assert_eq!(kept(&cluster), ["1", "2"]);
}

#[tokio::test]
async fn a_file_in_which_deliveries_wait_is_no_local_log() {
    let cluster = Cluster::new();
    let (local, _) = crate::store::open(&cluster.settings("one")).unwrap();
    local.open("hook", Start::Now).await.unwrap();
    local.append(event(1)).await.unwrap();
    local.close().await;
    let refused = cluster.open("one").await.unwrap_err().to_string();
    assert!(refused.contains("hook") && refused.contains("run without store.postgres"), "{refused}");
    let (local, _) = crate::store::open(&cluster.settings("one")).unwrap();
    local.advance("hook", ShardId(0), Seq(2));
    local.close().await;
    let store = cluster.replica("one").await;
    assert_eq!(keep(&store, event(2)).await, place(1), "what was there before stays there");
    store.close().await;
    // Nor is it in the way of the next start that events went by it.
    cluster.open("one").await.unwrap();
}

#[tokio::test]
async fn tables_of_a_newer_gateway_are_a_reason_not_to_start() {
    let cluster = Cluster::new();
    cluster.replica("one").await.close().await;
    cluster.server.sql("UPDATE xinyao_gateway.schema_version SET version = 99, readable = 99");
    let refused = cluster.open("one").await.unwrap_err().to_string();
    assert!(refused.contains("upgrade this one"), "{refused}");
}

#[tokio::test]
async fn a_day_that_was_not_passed_stays() {
    let cluster = Cluster::new();
    let store = cluster.replica("one").await;
    let (another, connection) =
        tokio_postgres::connect(&cluster.server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    another.execute("SELECT pg_advisory_lock($1)", &[&schema::RETENTION]).await.unwrap();
    let now = jiff::Timestamp::now();
    for (number, days) in [(1, 9), (2, 0)] {
        let received_at = now - Duration::from_hours(24 * days);
        keep(&store, NewEvent { received_at, ..keyed(number, u8::try_from(number).unwrap()) }).await;
    }
    store.retention.sweep(now).await.unwrap();
    assert_eq!(kept(&cluster), ["1", "2"], "another replica is about it, whose cut may be an earlier one");
    drop(another);
    sweep(&store, now, async || kept(&cluster) == ["2"]).await;
    let batch = store.read(ShardId(0), Seq(1), 9, 9999).await.unwrap();
    assert_eq!((batch.gap.unwrap().until, seqs(&batch.events)), (Seq(2), vec![2]));
}

#[tokio::test]
async fn retention_drops_whole_days() {
    let cluster = Cluster::new();
    let store = cluster.replica("one").await;
    let now = jiff::Timestamp::now();
    for (number, days) in [(1, 9), (2, 8), (3, 6), (4, 0)] {
        let received_at = now - Duration::from_hours(24 * days);
        keep(&store, NewEvent { received_at, ..keyed(number, u8::try_from(number).unwrap()) }).await;
    }
    // By PostgreSQL's clock, which was not set.
    sweep(&store, now + Duration::from_hours(24 * 300), async || kept(&cluster) == ["3", "4"]).await;
    let batch = store.read(ShardId(0), Seq(1), 9, 9999).await.unwrap();
    assert_eq!((batch.gap.unwrap().until, seqs(&batch.events)), (Seq(3), vec![3, 4]));
    let old = NewEvent { received_at: now - Duration::from_hours(24 * 20), ..event(5) };
    assert_eq!(keep(&store, old).await, place(5), "its day is that of the event before it");
    let oldest = "SELECT min(received_at) < max(day) * 86400000000000 FROM xinyao_gateway.event";
    assert_eq!(cluster.server.sql(oldest), "t");
}
