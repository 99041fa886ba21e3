//! Batches are kept, and what is entered is entered once.

use bytes::Bytes;

use super::{House, SHARD, Seq, after, full};
use crate::store::{BatchEntry, SentNumbers, Submission, Unseen};

fn submission(call_sn: &str, second: i64) -> Submission {
    Submission {
        app: "crm".into(),
        call_sn: call_sn.into(),
        task_id: Some("7".into()),
        call_sn_name: Some("a batch".into()),
        sent: Some(12),
        accepted: Some(10),
        at: after(second),
    }
}

fn entry(call_sn: &str, returned: u64, second: i64, part: &'static [u8]) -> BatchEntry {
    BatchEntry {
        app: "crm".into(),
        call_sn: call_sn.into(),
        task_name: Some("a task".into()),
        returned,
        connected: 1,
        by_state: [(775, returned), (-1, 1)].into(),
        by_degree: [("A类".to_owned(), 1)].into(),
        first_record_at: Some(after(second)),
        last_record_at: Some(after(second)),
        part: Bytes::from_static(part),
        ..BatchEntry::default()
    }
}

pub(crate) async fn batches_add_up(house: &mut impl House) {
    let mut store = house.open().await;
    let start = store.ledger(SHARD).await.unwrap();
    assert_eq!(start.next, Seq(1));
    store.submit_batch(submission("a", 1)).await.unwrap();
    store
        .enter_batches(SHARD, Seq(5), vec![entry("a", 2, 20, b"12"), entry("b", 1, 20, b"x")])
        .await
        .unwrap();
    store.enter_batches(SHARD, Seq(9), vec![entry("a", 3, 10, b"3")]).await.unwrap();
    // Its outnum may be heard of after its records.
    store.submit_batch(submission("b", 30)).await.unwrap();
    if let Some(opened) = house.reopen().await {
        store = opened;
        assert_eq!(store.ledger(SHARD).await.unwrap().key, start.key);
    }
    assert_eq!(store.ledger(SHARD).await.unwrap().next, Seq(9));
    assert_eq!(store.batch_parts("crm", "a").await.unwrap(), ["12", "3"].map(Bytes::from));
    assert!(store.batch_parts("erp", "a").await.unwrap().is_empty());
    let found = store.batch("a").await.unwrap().unwrap();
    assert_eq!((found.submitted_at, found.sent, found.accepted), (Some(after(1)), Some(12), Some(10)));
    let told = found.told.clone();
    let expected = BatchEntry {
        task_id: Some("7".into()),
        call_sn_name: Some("a batch".into()),
        first_record_at: Some(after(10)),
        last_record_at: Some(after(20)),
        part: Bytes::new(),
        ..entry("a", 3, 0, b"")
    };
    assert_eq!(told, expected);
    let found = store.batch("b").await.unwrap().unwrap();
    assert_eq!((found.submitted_at, found.told.returned), (Some(after(30)), 1));
    assert_eq!(store.batch("c").await.unwrap(), None);
    for (before, quiet) in [(20, 0), (21, 1), (30, 1), (31, 2)] {
        assert_eq!(store.quiet_batches(after(before)).await.unwrap(), quiet, "{before}");
    }
    house.refuse(true);
    full(store.enter_batches(SHARD, Seq(10), Vec::new()).await);
    full(store.submit_batch(submission("c", 1)).await);
}

pub(crate) async fn batches_are_paged(house: &mut impl House) {
    let store = house.open().await;
    for name in ["a", "b", "c"] {
        store.submit_batch(submission(name, 1)).await.unwrap();
    }
    store.submit_batch(Submission { app: "erp".into(), ..submission("a", 2) }).await.unwrap();
    let first = store.batches(Some("crm".into()), 2, None).await.unwrap();
    let second = store.batches(Some("crm".into()), 2, first.next_cursor.clone()).await.unwrap();
    assert_eq!(second.next_cursor, None);
    let rows = first.rows.iter().chain(&second.rows).map(|row| row.told.call_sn.as_str());
    assert_eq!(rows.collect::<Vec<_>>(), ["c", "b", "a"]);
    assert_eq!(store.batches(None, 9, None).await.unwrap().rows.len(), 4);
}

pub(crate) async fn numbers_are_kept_with_their_batch(house: &mut impl House) {
    let mut store = house.open().await;
    let numbers =
        SentNumbers::of([(9, 7), (2, u64::MAX), (3, 7)].map(|(row, n)| SentNumbers::row(row, n)).into());
    // Of a batch that was not submitted nothing is kept for later.
    store.enter_batches(SHARD, Seq(2), vec![entry("b", 1, 1, b"x")]).await.unwrap();
    for name in ["a", "b"] {
        assert_eq!(store.sent("crm", name).await.unwrap(), Err(Unseen::Elsewhere));
    }
    for name in ["a", "c", "d", "e"] {
        store.submit_batch(submission(name, 1)).await.unwrap();
    }
    assert_eq!(store.sent("crm", "a").await.unwrap(), Err(Unseen::NotKept));
    store.keep_sent("crm", "a", Ok(numbers.clone())).await.unwrap();
    store.keep_sent("crm", "c", Err(Unseen::Unreadable)).await.unwrap();
    store.keep_sent("crm", "d", Err(Unseen::NoRoom)).await.unwrap();
    store.keep_sent("crm", "e", Ok(SentNumbers::default())).await.unwrap();
    if let Some(opened) = house.reopen().await {
        store = opened;
    }
    let kept = store.sent("crm", "a").await.unwrap();
    assert_eq!(kept.unwrap().iter().collect::<Vec<_>>(), [(2, u64::MAX), (3, 7), (9, 7)]);
    assert_eq!(store.sent("erp", "a").await.unwrap(), Err(Unseen::Elsewhere));
    assert_eq!(store.sent("crm", "c").await.unwrap(), Err(Unseen::Unreadable));
    assert_eq!(store.sent("crm", "d").await.unwrap(), Err(Unseen::NoRoom));
    assert_eq!(store.sent("crm", "e").await.unwrap(), Ok(SentNumbers::default()));
    // What is heard of it changes nothing, and another outnum that was answered with its name all.
    store.enter_batches(SHARD, Seq(3), vec![entry("a", 1, 1, b"x")]).await.unwrap();
    assert_eq!(store.sent("crm", "a").await.unwrap(), Ok(numbers.clone()));
    store.submit_batch(submission("a", 2)).await.unwrap();
    assert_eq!(store.sent("crm", "a").await.unwrap(), Err(Unseen::NotKept));
    house.refuse(true);
    full(store.keep_sent("crm", "a", Ok(numbers)).await);
}
