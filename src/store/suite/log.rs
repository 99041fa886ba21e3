//! Events go in, and come back in order.

use std::collections::BTreeSet;

use super::{Arc, Bytes, House, Kind, SHARD, Seq, after, event, fill, full, id, keep, place};
use super::{read, seqs};
use crate::store::{Appended, Gap};

pub(crate) async fn events_stand_in_the_order_of_their_acceptance(house: &mut impl House) {
    let store = house.open().await;
    let mut tail = store.tail(SHARD);
    assert_eq!(*tail.borrow_and_update(), Seq(1));
    assert_eq!(store.shards().borrow().as_ref(), [SHARD]);
    assert!(read(&store, 1).await.is_empty());
    for number in 1..=3 {
        assert_eq!(keep(&store, event(number)).await, place(number));
    }
    tail.changed().await.unwrap();
    assert_eq!(*tail.borrow(), Seq(4));
    assert_eq!(seqs(&read(&store, 1).await), [1, 2, 3]);
    assert_eq!(seqs(&read(&store, 3).await), [3]);
    assert!(read(&store, 4).await.is_empty());
    assert!(store.event_at(place(4)).await.unwrap().is_none());
    assert_eq!(store.event_at(place(2)).await.unwrap().unwrap().body, "body 2");
}

pub(crate) async fn a_read_keeps_to_its_bounds(house: &mut impl House) {
    let store = house.open().await;
    for number in 1..=5 {
        keep(&store, super::NewEvent { body: Bytes::from(vec![0; 100]), ..event(number) }).await;
    }
    let count = async |from, events, bytes| {
        let batch = store.read(SHARD, Seq(from), events, bytes).await.unwrap();
        assert_eq!(batch.next.0, from + batch.events.len() as u64);
        assert_eq!(batch.gap, None);
        batch.events.len()
    };
    assert_eq!(count(1, 3, 10_000).await, 3);
    assert_eq!(count(1, 9, 250).await, 2);
    assert_eq!(count(1, 9, 200).await, 2);
    assert_eq!(count(4, 9, 10_000).await, 2);
    assert_eq!(count(1, 9, 10).await, 1, "one at least");
    assert_eq!(count(6, 9, 10_000).await, 0);
}

pub(crate) async fn a_duplicate_is_refused_for_a_window_from_the_first(house: &mut impl House) {
    let store = house.open().await;
    let same = |number: u64| {
        let since = after(i64::try_from(number).unwrap() - 600);
        super::NewEvent { unless_since: Some(([7; 16], since)), ..event(number) }
    };
    keep(&store, same(1)).await;
    keep(&store, event(2)).await;
    let first = id(1);
    // The refused ones do not make the window longer.
    for number in [10, 300, 601] {
        assert_eq!(store.append(same(number)).await.unwrap(), Appended::Duplicate(first), "{number}");
    }
    assert_eq!(keep(&store, same(602)).await, place(3));
    let second = id(602);
    assert_eq!(store.append(same(603)).await.unwrap(), Appended::Duplicate(second));
    let other = super::NewEvent { unless_since: Some(([8; 16], after(0))), ..event(604) };
    keep(&store, other).await;
    if let Some(store) = house.reopen().await {
        assert_eq!(store.append(same(1202)).await.unwrap(), Appended::Duplicate(second));
        keep(&store, same(1203)).await;
    }
}

pub(crate) async fn everything_about_an_event_comes_back(house: &mut impl House) {
    let mut store = house.open().await;
    let new = super::NewEvent {
        label: Some("vip".into()),
        kind: Kind::Unknown,
        call_sn: Some("批次".into()),
        content_type: Some(Bytes::from_static(b"application/json; charset=\xff")),
        body: Bytes::from_static(b"\x00\xff{}"),
        ..event(1)
    };
    keep(&store, new.clone()).await;
    keep(&store, super::NewEvent { task_id: None, body: Bytes::new(), ..event(2) }).await;
    for _ in 0..2 {
        let kept = store.event_at(place(1)).await.unwrap().unwrap();
        assert_eq!((kept.id, kept.received_at, kept.kind), (new.id, new.received_at, new.kind));
        assert_eq!((&kept.app, &kept.label, &kept.task_id), (&new.app, &new.label, &new.task_id));
        assert_eq!((&kept.call_sn, &kept.content_type), (&new.call_sn, &new.content_type));
        assert_eq!(kept.body, new.body);
        let bare = store.event_at(place(2)).await.unwrap().unwrap();
        assert_eq!((&bare.label, &bare.task_id, &bare.call_sn), (&None, &None, &None));
        assert_eq!((&bare.content_type, bare.body.len()), (&None, 0));
        assert_eq!(store.body(new.id).await.unwrap().unwrap().body, new.body);
        let Some(reopened) = house.reopen().await else { return };
        store = reopened;
    }
}

pub(crate) async fn what_retention_removes_is_a_gap(house: &mut impl House) {
    let store = house.open().await;
    fill(&store, 5).await;
    house.remove_before(Seq(4)).await;
    let batch = store.read(SHARD, Seq(2), 9, 9999).await.unwrap();
    assert_eq!(batch.gap, Some(Gap { from: Seq(2), until: Seq(4) }));
    assert_eq!((seqs(&batch.events), batch.next), (vec![4, 5], Seq(6)));
    assert!(store.event_at(place(3)).await.unwrap().is_none());
    assert!(store.body(id(3)).await.unwrap().is_none());
    assert_eq!(keep(&store, event(6)).await, place(6));
}

pub(crate) async fn a_full_store_refuses_and_recovers(house: &mut impl House) {
    let store = house.open().await;
    keep(&store, event(1)).await;
    assert!(store.writable().is_ok());
    house.refuse(true);
    full(store.append(event(2)).await);
    full(store.writable());
    assert_eq!(seqs(&read(&store, 1).await), [1]);
    house.refuse(false);
    assert_eq!(keep(&store, event(3)).await, place(2));
    assert!(store.writable().is_ok());
    assert_eq!(read(&store, 2).await[0].body, "body 3");
}

pub(crate) async fn many_writers_leave_no_gap(house: &mut impl House) {
    let store = house.open().await;
    let writers = (0..32).map(|writer: u64| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut places = Vec::new();
            for number in 1..=10 {
                places.push(keep(&store, event(writer * 10 + number)).await.seq.0);
            }
            assert!(places.is_sorted());
            places
        })
    });
    let places = futures_util::future::join_all(writers).await;
    let places: BTreeSet<u64> = places.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(places, (1..=320).collect());
    assert_eq!(seqs(&read(&store, 1).await), (1..=320).collect::<Vec<u64>>());
}

pub(crate) async fn events_outlive_a_restart(house: &mut impl House) {
    let store = house.open().await;
    fill(&store, 3).await;
    let Some(store) = house.reopen().await else { return };
    assert_eq!(*store.tail(SHARD).borrow(), Seq(4));
    assert_eq!(seqs(&read(&store, 1).await), [1, 2, 3]);
    assert_eq!(keep(&store, event(4)).await, place(4));
}
