//! Two replicas, and what must not be sent twice.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::sleep;

use super::super::tests::Cluster;
use super::*;

fn claim(key: Option<&str>, content: u8) -> Claim {
    let marks = Marks { fingerprint: [content; 32], content: Some([content; 32]), task_id: Some("7".into()) };
    Claim {
        app: "crm".into(),
        endpoint: "outnum",
        request_id: "r".into(),
        key: key.map(str::to_owned),
        marks: Some(marks),
        at: Timestamp::now(),
        unless_since: Some(Timestamp::now() - Duration::from_mins(1)),
        force: false,
    }
}

async fn taken(store: &PostgresStore, claim: Claim) -> RequestId {
    match store.claim(claim).await.unwrap() {
        Claimed::Taken(id) => id,
        Claimed::Blocked(earlier) => panic!("{earlier:?} stands in its way"),
    }
}

async fn stands(store: &PostgresStore, claim: Claim) -> RequestState {
    match store.claim(claim).await.unwrap() {
        Claimed::Blocked(earlier) => earlier.state,
        Claimed::Taken(id) => panic!("{id:?} is taken"),
    }
}

async fn become_unknown(store: &PostgresStore, id: RequestId) {
    let until = Instant::now() + Duration::from_secs(20);
    while store.request(id).await.unwrap().unwrap().state == RequestState::UnderWay {
        assert!(Instant::now() < until, "it is under way still");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.request(id).await.unwrap().unwrap().state, RequestState::Unknown);
}

#[tokio::test]
async fn of_two_replicas_one_takes_a_request() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.replica("one").await, cluster.replica("other").await);
    for round in 0..100_u8 {
        let key = round.to_string();
        for claim in [claim(Some(&key), 0), claim(None, round + 1)] {
            let (here, there) = tokio::join!(one.claim(claim.clone()), other.claim(claim));
            let both = [here.unwrap(), there.unwrap()];
            let taken = both.iter().filter(|claimed| matches!(claimed, Claimed::Taken(_))).count();
            assert_eq!(taken, 1, "{both:?}");
        }
    }
}

#[tokio::test]
async fn what_a_killed_replica_had_under_way_is_unknown() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.replica("one").await, cluster.replica("other").await);
    let (keyed, same) = (taken(&one, claim(Some("a"), 1)).await, taken(&one, claim(None, 2)).await);
    let others = taken(&other, claim(Some("b"), 3)).await;
    one.kill();
    for id in [keyed, same] {
        become_unknown(&other, id).await;
    }
    assert_eq!(stands(&other, claim(Some("a"), 1)).await, RequestState::Unknown);
    assert_eq!(stands(&other, claim(None, 2)).await, RequestState::Unknown);
    assert_eq!(other.request(others).await.unwrap().unwrap().state, RequestState::UnderWay);
    assert!(other.settle_request(keyed, Finding::NotSent, Timestamp::now()).await.unwrap());
    taken(&other, claim(Some("a"), 1)).await;
}

#[tokio::test]
async fn what_comes_to_a_lost_seat_is_not_written() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.replica("one").await, cluster.replica("other").await);
    let id = taken(&one, claim(Some("a"), 1)).await;
    one.stand_still();
    cluster.server.sql("UPDATE xinyao_gateway.replica SET lease_until = '-infinity' WHERE name = 'one'");
    become_unknown(&other, id).await;
    one.conclude(id, Conclusion::Done(None), Timestamp::now()).await.unwrap_err();
    one.claim(claim(Some("b"), 2)).await.unwrap_err();
    assert_eq!(other.request(id).await.unwrap().unwrap().state, RequestState::Unknown);
}

#[tokio::test]
async fn without_postgresql_nothing_is_taken_and_nothing_that_was_told_is_lost() {
    let mut cluster = Cluster::new();
    let one = cluster.replica("one").await;
    let ids = [taken(&one, claim(Some("a"), 1)).await, taken(&one, claim(Some("b"), 2)).await];
    cluster.server.kill();
    one.conclude(ids[0], Conclusion::Done(None), Timestamp::now()).await.unwrap_err();
    one.conclude(ids[1], Conclusion::NotSent, Timestamp::now()).await.unwrap_err();
    for _ in 0..2 {
        let asked = Instant::now();
        let refused = one.claim(claim(Some("c"), 3)).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!(asked.elapsed() < Duration::from_secs(2));
    }
    cluster.server.resume();
    let until = Instant::now() + Duration::from_secs(10);
    while one.claim(claim(Some("c"), 3)).await.is_err() {
        assert!(Instant::now() < until, "nothing is taken");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stands(&one, claim(Some("a"), 1)).await, RequestState::Done);
    taken(&one, claim(Some("b"), 2)).await;
}

#[tokio::test]
async fn a_claim_that_was_taken_unheard_is_undone() {
    let cluster = Cluster::new();
    let one = cluster.replica("one").await;
    let id = taken(&one, claim(Some("a"), 1)).await;
    one.conclusions.undo(0);
    one.conclusions.flush().await.unwrap();
    assert_eq!(one.request(id).await.unwrap(), None);
    taken(&one, claim(Some("a"), 1)).await;
}

#[tokio::test]
async fn what_is_remembered_is_counted_as_it_comes_and_goes() {
    let cluster = Cluster::new();
    let one = cluster.replica("one").await;
    let counted =
        || cluster.server.sql("SELECT coalesce(sum(requests), 0) FROM xinyao_gateway.request_count");
    let mut ids = Vec::new();
    for number in 0..40_u8 {
        ids.push(taken(&one, claim(Some(&number.to_string()), number)).await);
    }
    assert_eq!(counted(), "40");
    for id in &ids[..20] {
        one.conclude(*id, Conclusion::NotSent, Timestamp::now()).await.unwrap();
    }
    for id in &ids[20..] {
        one.conclude(*id, Conclusion::Done(None), Timestamp::now()).await.unwrap();
    }
    assert_eq!(counted(), "20");
    let later = Timestamp::now() + Duration::from_hours(48);
    forget_old(&one.database, later).await.unwrap();
    assert_eq!(counted(), "0");
}
