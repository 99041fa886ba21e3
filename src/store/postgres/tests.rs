//! Against a real PostgreSQL.

mod deliveries;
mod house;
mod model;

use std::time::Duration;

use super::server::Postgres;
use super::*;
use crate::store::suite::{event, id, place, seqs};
use crate::store::{Appended, Intake, Log, NewEvent, Place, Seq, ShardId};

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
