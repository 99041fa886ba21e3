//! Deliveries of several replicas on one database.

use jiff::{SignedDuration, Timestamp};

use super::{Cluster, keep};
use crate::store::postgres::PostgresStore;
use crate::store::suite::{event, id};
use crate::store::{
    Attempt, EventFilter, Fate, Intake, NewEvent, Operate, Place, Progress, Query, Seq, Settled, ShardId,
    Start, StoreError,
};
use crate::xinyao::callback::Kind;

const HOOK: &str = "hook";

fn settled(place: Place, number: u32, fate: Fate) -> Settled {
    let failed = fate != Fate::Delivered;
    let attempt = Attempt {
        subscriber: HOOK.into(),
        number,
        at: event(50).received_at + SignedDuration::from_secs(number.into()),
        status: Some(if failed { 500 } else { 200 }),
        latency_ms: 12,
        error: failed.then(|| "no\0".to_owned()),
        answer: "answer".into(),
    };
    Settled { subscriber: HOOK.into(), place, attempt: Some(attempt), fate }
}

fn retry(place: Place, number: u32) -> Settled {
    settled(place, number, Fate::Retry { due: event(60).received_at, spent: number })
}

async fn due(store: &PostgresStore) -> Vec<Place> {
    let due = store.due(HOOK, Timestamp::now(), 99).await.unwrap();
    due.iter().map(|retry| retry.event.place).collect()
}

async fn frontiers(store: &PostgresStore, start: Start) -> Vec<(ShardId, Seq)> {
    store.open(HOOK, start).await.unwrap().frontiers
}

/// Two replicas, one subscriber, and the places of an event that each of them kept.
async fn two(cluster: &Cluster) -> (PostgresStore, PostgresStore, [Place; 2]) {
    let (one, other) = (cluster.replica("one").await, cluster.replica("other").await);
    frontiers(&one, Start::Now).await;
    let places = [keep(&one, event(1)).await, keep(&other, event(2)).await];
    (one, other, places)
}

fn fence(cluster: &Cluster, store: &PostgresStore) {
    let epoch = store.seat.last().unwrap().epoch;
    cluster.server.sql(&format!("UPDATE xinyao_gateway.replica SET fenced = true WHERE epoch = {epoch}"));
}

#[tokio::test]
async fn a_retry_is_tried_by_one_replica() {
    let cluster = Cluster::new();
    let (one, other, [place, _]) = two(&cluster).await;
    one.settle(vec![retry(place, 1)]).await.unwrap();
    for number in 2..20 {
        let (here, there) = tokio::join!(due(&one), due(&other));
        assert_eq!([&here[..], &there].concat(), [place]);
        let (tries, waits) = if here.is_empty() { (&other, &one) } else { (&one, &other) };
        assert_eq!(due(tries).await, [place], "it is asked for again");
        assert_eq!(waits.next_due(HOOK).await.unwrap(), None);
        waits.settle(vec![settled(place, 99, Fate::Dead)]).await.unwrap();
        tries.settle(vec![retry(place, number)]).await.unwrap();
        assert_eq!(waits.next_due(HOOK).await.unwrap(), Some(event(60).received_at));
    }
    assert_eq!(due(&other).await, [place]);
    other.settle(vec![settled(place, 20, Fate::Delivered)]).await.unwrap();
    assert_eq!((one.retries(HOOK).await.unwrap(), due(&one).await), (0, vec![]));
    let figures = one.figures().await.unwrap().remove(0);
    assert_eq!((figures.delivered, figures.failed, figures.dead), (1, 19, 0));
}

#[tokio::test]
async fn a_claim_ends_with_its_seat() {
    let cluster = Cluster::new();
    let (one, other, [place, _]) = two(&cluster).await;
    one.settle(vec![retry(place, 1)]).await.unwrap();
    assert_eq!(due(&other).await, [place]);
    assert!(due(&one).await.is_empty());
    other.kill();
    fence(&cluster, &other);
    assert_eq!(one.next_due(HOOK).await.unwrap(), Some(event(60).received_at));
    assert_eq!(due(&one).await, [place]);
}

#[tokio::test]
async fn a_fenced_seat_writes_nothing() {
    let cluster = Cluster::new();
    let (one, other, [place, _]) = two(&cluster).await;
    one.stand_still();
    fence(&cluster, &one);
    one.advance(HOOK, place.shard, Seq(2));
    let refused = one.settle(vec![retry(place, 1), settled(place, 2, Fate::Dead)]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(one.due(HOOK, Timestamp::now(), 9).await.is_err());
    let figures = other.figures().await.unwrap().remove(0);
    assert_eq!((figures.retrying, figures.dead, figures.failed), (0, 0, 0));
    assert_eq!(figures.frontiers[0], (ShardId(0), Seq(1)));
    let detail = other.event(id(1)).await.unwrap().unwrap();
    assert!(detail.attempts.is_empty());
}

#[tokio::test]
async fn an_action_on_one_replica_is_seen_by_the_others() {
    let cluster = Cluster::new();
    let (one, other, places) = two(&cluster).await;
    let mut changes = other.changes();
    changes.mark_unchanged();
    assert!(one.set_paused(HOOK, true).await.unwrap());
    let seen = tokio::time::timeout(std::time::Duration::from_secs(2), changes.changed());
    seen.await.unwrap().unwrap();
    assert!(other.open(HOOK, Start::Now).await.unwrap().paused);

    for store in [&one, &other] {
        let own = store.seat.last().unwrap().shard;
        store.advance(HOOK, own, Seq(2));
        store.settled().await.unwrap();
    }
    assert_eq!(one.replay(HOOK, EventFilter::default()).await.unwrap(), 2);
    for (store, place) in [(&one, places[0]), (&other, places[1])] {
        let replays = store.replays(HOOK).await.unwrap();
        assert_eq!(replays.iter().map(|replay| replay.shard).collect::<Vec<_>>(), [place.shard]);
    }
    assert_eq!(one.purge(HOOK).await.unwrap(), 2);
    assert!(other.replays(HOOK).await.unwrap().is_empty());
    assert!(other.forget(HOOK).await.unwrap());
    one.settle(vec![retry(places[0], 1)]).await.unwrap();
    assert!(one.figures().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_new_shard_is_followed_from_its_first_event() {
    let cluster = Cluster::new();
    let one = cluster.replica("one").await;
    keep(&one, event(1)).await;
    assert_eq!(frontiers(&one, Start::Now).await, [(ShardId(0), Seq(2))]);
    let other = cluster.replica("other").await;
    keep(&other, event(2)).await;
    assert_eq!(frontiers(&other, Start::Now).await, [(ShardId(1), Seq(1))]);
    other.open("late", Start::Since(event(2).received_at)).await.unwrap();
    let late = one.figures().await.unwrap().remove(1);
    assert_eq!(late.frontiers, [(ShardId(0), Seq(2)), (ShardId(1), Seq(1))]);
    assert_eq!(late.ahead, [("crm".to_owned(), Kind::CallRecord, 1)]);
    assert_eq!(late.oldest, Some(event(2).received_at));
}

#[tokio::test]
async fn what_was_written_twice_counts_once() {
    let cluster = Cluster::new();
    let (one, _other, [place, _]) = two(&cluster).await;
    let outcomes = vec![retry(place, 1), retry(place, 2), settled(place, 3, Fate::Delivered)];
    for _ in 0..2 {
        one.settle(outcomes.clone()).await.unwrap();
    }
    let figures = one.figures().await.unwrap().remove(0);
    assert_eq!((figures.delivered, figures.failed, figures.retrying), (1, 2, 0));
    let detail = one.event(id(1)).await.unwrap().unwrap();
    assert_eq!(detail.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn outcomes_are_written_once_postgres_is_back() {
    let mut cluster = Cluster::new();
    let one = cluster.replica("one").await;
    frontiers(&one, Start::Now).await;
    let place = keep(&one, event(1)).await;
    cluster.server.kill();
    let refused = one.settle(vec![retry(place, 1)]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(one.due(HOOK, Timestamp::now(), 9).await.is_err());
    one.advance(HOOK, place.shard, Seq(2));
    cluster.server.resume();
    let mut up = one.seat.up();
    up.wait_for(|up| *up).await.unwrap();
    one.settle(vec![retry(place, 1)]).await.unwrap();
    assert_eq!(due(&one).await, [place]);
    assert_eq!(frontiers(&one, Start::Now).await, [(ShardId(0), Seq(2))]);
}

#[tokio::test]
async fn pages_go_through_all_shards_newest_first() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.replica("one").await, cluster.replica("other").await);
    for number in 1..=20 {
        let kind = if number % 3 == 0 { Kind::Unknown } else { Kind::CallRecord };
        let app = if number % 5 == 0 { "erp" } else { "crm" };
        let store = if number % 2 == 0 { &one } else { &other };
        keep(store, NewEvent { kind, app: app.into(), ..event(number) }).await;
    }
    let any = EventFilter::default;
    let crm = EventFilter { app: Some("crm".into()), ..any() };
    let unknown = EventFilter { kinds: vec![Kind::Unknown], ..any() };
    let times = EventFilter {
        since: Some(event(4).received_at),
        until: Some(event(9).received_at),
        task_id: Some("7".into()),
        ..any()
    };
    for (filter, expected) in [
        (any(), (1..=20).collect::<Vec<u64>>()),
        (crm, (1..=20).filter(|number| number % 5 != 0).collect()),
        (unknown, vec![3, 6, 9, 12, 15, 18]),
        (times, vec![4, 5, 6, 7, 8]),
    ] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = one.events(filter.clone(), 3, cursor).await.unwrap();
            seen.extend(page.rows.iter().map(|row| row.id));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected.into_iter().rev().map(id).collect::<Vec<_>>(), "{filter:?}");
    }
}

#[tokio::test]
async fn a_name_that_postgres_does_not_take_holds_nothing_up() {
    let cluster = Cluster::new();
    let one = cluster.replica("one").await;
    let named = || Some("a\0b".to_owned());
    one.append(NewEvent { task_id: named(), call_sn: named(), ..event(1) }).await.unwrap();
    assert_eq!(one.local.waiting(), 0);
    let filter = EventFilter { task_id: named(), ..EventFilter::default() };
    assert_eq!(one.events(filter, 9, None).await.unwrap().rows.len(), 1);
}
